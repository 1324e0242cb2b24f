"""The table of components by the names that users give them."""

import copyreg
from collections.abc import Callable
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.components.component import GAUSSIAN, Component, Gaussian
from bayesgmm.mixture.components.student_t import DOF_KINDS, StudentT
from bayesgmm.validation import as_positive, told

COMPONENTS: dict[str, Callable[..., Component]] = {"gaussian": lambda *_: GAUSSIAN, "student_t": StudentT}


def component_of(component: str, dof: str | float = "each", prior: tuple[float, float] | None = None) -> Component:
    """The distribution of a component, checked.

    Parameters
    ----------
    component : str
        ``"gaussian"`` or ``"student_t"``.
    dof : "each", "shared" or a number
        Degrees of freedom of Student-t components: one for each component, one for all, or as given.
    prior : (shape, rate), optional
        Of a Gamma prior on them.

    Raises
    ------
    InputError
        If the name is not known, or degrees of freedom are none.
    """
    if not isinstance(component, str) or component not in COMPONENTS:
        raise InputError(expected=f"component one of {', '.join(map(repr, COMPONENTS))}", got=repr(component))
    number = isinstance(dof, Real) and not isinstance(dof, bool) and dof > 0.0 and isfinite(dof)
    if not number and not (isinstance(dof, str) and dof in DOF_KINDS):
        raise InputError(
            expected=f"dof {', '.join(map(repr, DOF_KINDS))} or a positive number",
            got=repr(dof),
            hint="Infinitely many degrees of freedom are component='gaussian'.",
        )
    return COMPONENTS[component](float(dof) if number else dof, prior)


component_of.__module__ = "bayesgmm.mixture"  # pickles name it


def _of_pickle(one: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a pickle holds of a component."""
    return component_of, (one.name, *(getattr(one, part) for part in ("kind", "prior") if hasattr(one, part)))


for _each in (Gaussian, StudentT):
    copyreg.pickle(_each, _of_pickle)


def with_dof(dof: ArrayLike | None, n_components: int) -> tuple[Component, Array]:
    """The component of a mixture with these degrees of freedom, if any, and what stands behind its log scales."""
    if dof is None:
        return GAUSSIAN, GAUSSIAN.start(n_components)
    values = as_positive(dof, name="dof")
    if values.shape not in ((), (n_components,)):
        raise InputError(expected=f"dof a number, or of shape ({n_components},)", got=told(dof))
    component = StudentT("each" if values.ndim else "shared")
    return component, component.behind(np.broadcast_to(values, (n_components,)))
