"""Exceptions and warnings, with the values that explain them as attributes."""

import copyreg
import os
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# scikit-learn's decorators stand between `fit` and the line that calls it.
_PACKAGES = (str(Path(__file__).parent), *(getattr(find_spec("sklearn"), "submodule_search_locations", None) or ()))
_NOT_THE_USERS = tuple(folder + os.sep for folder in _PACKAGES)


def warn_user(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code that led to it: the first outside this package and scikit-learn."""
    warnings.warn(message, category, skip_file_prefixes=_NOT_THE_USERS)


class _PicklableError(Exception):
    """An exception that can be pickled, whatever the signature of its constructor."""

    def __reduce__(self) -> Any:
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InputError(_PicklableError, ValueError, TypeError):
    """Invalid value or type of an input, raised before any work: what was expected, what was given, what to try.

    ``sentence`` replaces the first two by scikit-learn's wording; ``alternatives`` are names that would be valid.
    """

    def __init__(
        self, *, expected: str, got: str, hint: str = "", sentence: str = "", alternatives: Sequence[str] = ()
    ) -> None:
        self.expected, self.got, self.hint, self.alternatives = expected, got, hint, tuple(alternatives)
        told = sentence or f"Expected {expected}; got {got}."
        super().__init__(told + (f" {hint}" if hint else ""))


class DegenerateComponentError(_PicklableError, ValueError):
    """The covariance of a component collapsed, or every start did; with figures on the collapse."""

    def __init__(self, message: str, *, figures: Mapping[str, float]) -> None:
        self.figures = dict(figures)
        shown = ", ".join(f"{name} = {value:.3g}" for name, value in self.figures.items())
        super().__init__(f"{message} ({shown})" if shown else message)


class NotIdentifiedError(_PicklableError, ValueError):
    """The components of a posterior are not identified; with the findings and what to do instead."""

    def __init__(self, findings: Sequence[str], *, hint: str) -> None:
        self.findings, self.hint = tuple(findings), hint
        super().__init__(" ".join(["The components are not identified.", *self.findings, hint]))


class InformationError(_PicklableError, ValueError):
    """The observed information is not positive definite, so that there are no standard errors; with figures."""

    def __init__(self, message: str, *, figures: Mapping[str, float]) -> None:
        self.figures = dict(figures)
        super().__init__(f"{message} ({', '.join(f'{name} = {value:.3g}' for name, value in self.figures.items())})")


class SamplingError(RuntimeError):
    """The sampler could not start, or stopped without any draws."""


class ClusterError(_PicklableError, RuntimeError):
    """A Dask cluster is lost: its scheduler has died, or it has no workers any more."""


class DegeneracyWarning(UserWarning):
    """A component is empty or at the eigenvalue floor; the fit may describe a spike, not a cluster."""


class SingularDataWarning(DegeneracyWarning):
    """The data have constant or linearly dependent columns, or none that vary beyond ``reg_covar``."""


class FewRowsWarning(DegeneracyWarning):
    """A fit has more parameters than distinct rows."""


class InformationWarning(UserWarning):
    """Standard errors were requested away from the maximum, at which they are valid."""


class SingleBestStartWarning(UserWarning):
    """Only one of many starts reached the best optimum; more starts may find a better one."""


class InterruptedWarning(UserWarning):
    """A computation was interrupted; results so far were kept."""


class SamplingWarning(UserWarning):
    """The sampler reported something the user can act on: divergences, low ESS, high R-hat."""


class CompactWarning(UserWarning):
    """A posterior keeps variances in place of full covariance matrices, which would take much memory."""


class LabelWarning(UserWarning):
    """Variables that may be component-specific were not relabelled; or ``y``, which is not read, looks like labels."""


class EvidenceWarning(UserWarning):
    """Two estimates of the evidence disagree."""


class ParetoWarning(UserWarning):
    """Importance weights are too uneven for a reliable estimate: large Pareto k."""


class ExtrapolationWarning(UserWarning):
    """Observed values lie far from the data, where predictions follow the widest component."""
