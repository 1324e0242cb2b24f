"""Labels: what is known of the components that rows come from."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import IntArray
from bayesgmm.data.blocks import Allowed
from bayesgmm.exceptions import InputError, LabelWarning, warn_user

UNKNOWN = -1  # the label of a row without one, as in sklearn.semi_supervised
N_LABELLED = "n_labelled"  # attribute of a posterior
_SHOWN = 5


def allowed_components(labels: ArrayLike, n_rows: int, n_components: int) -> Allowed:
    """Components that each row may come from, (obs, cluster), by ``labels`` of either kind.

    Raises
    ------
    InputError
        If the shape is wrong, labels are others than -1 to K - 1, a row has no component, or a component no row.
    """
    given = np.asarray(labels)
    expected = (
        f"labels with shape ({n_rows},), integers from 0 to {n_components - 1}, -1 for unknown, "
        f"or true and false with shape ({n_rows}, {n_components})"
    )
    if given.shape not in ((n_rows,), (n_rows, n_components)) or (given.ndim == 2) != (given.dtype == bool):
        raise InputError(expected=expected, got=f"{given.dtype} with shape {given.shape}")
    if given.ndim == 1:
        strange = sorted({str(label) for label in given.tolist() if label not in range(UNKNOWN, n_components)})
        if strange:
            hint = "Code them, for instance with sklearn.preprocessing.LabelEncoder or pandas.factorize."
            raise InputError(expected=expected, got=", ".join(strange[:_SHOWN]), hint=hint)
        given = np.equal.outer(given, np.arange(n_components)) | (given == UNKNOWN)[:, None]
    for axis, what, of in ((1, "a component for each row", "row"), (0, "a row for each component", "component")):
        nothing = np.flatnonzero(~given.any(axis=axis))
        if len(nothing):
            raise InputError(expected=f"labels that allow {what}", got=f"none for {of} {nothing[0]}")
    return given


def alike_components(allowed: Allowed) -> IntArray:
    """A number for each component, (cluster,), the same for those that labels do not tell apart.

    Permutations of such components are the stabilizer of the mask (obs, cluster): the likelihood is the same for all.

    Examples
    --------
    >>> from bayesgmm.data import allowed_components
    >>> from bayesgmm.data.labels import alike_components
    >>> alike_components(allowed_components([0, -1, 0, -1], 4, 3))
    array([1, 0, 0])
    """
    return np.asarray(np.unique(allowed, axis=1, return_inverse=True)[1]).ravel()


def warn_of_labels(y: object, n_components: int) -> None:
    """Say that ``y`` is not read, where it can only be labels of some rows: -1 and components, and nothing else."""
    values = np.asarray(y) if isinstance(y, np.ndarray | list) else np.empty(0)
    if values.dtype.kind != "i" or not values.size:
        return
    if values.min() == UNKNOWN and 0 <= values.max() < n_components:
        warn_user(
            "y is not read, as in scikit-learn, though it looks like known labels and -1 for unknown ones. Pass it as "
            "labels=y for rows of which the component is known.",
            LabelWarning,
        )


def refuse_labelled(fit: Any, what: str) -> None:
    """Refuse what a fit with labels, or its posterior, does not offer."""
    n_labelled = getattr(fit, "n_labelled_", 0) or getattr(fit, "attrs", {}).get(N_LABELLED, 0)
    if n_labelled:
        raise InputError(expected=f"a fit without labels for {what}", got=f"one with {n_labelled} labelled rows")
