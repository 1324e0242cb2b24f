"""Exceptions and warnings. Each carries the values that explain it."""

import copyreg
from collections.abc import Mapping, Sequence
from typing import Any


class _PicklableError(Exception):
    """An exception that comes back from another process as it was, whatever its constructor asks for."""

    def __reduce__(self) -> Any:
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InputError(_PicklableError, ValueError, TypeError):
    """Bad input, of value or type, raised before any work: what was expected, what came, what to try.

    ``sentence`` tells the first two in words that users of scikit-learn know; ``alternatives`` are names that would do.
    """

    def __init__(
        self, *, expected: str, got: str, hint: str = "", sentence: str = "", alternatives: Sequence[str] = ()
    ) -> None:
        self.expected, self.got, self.hint, self.alternatives = expected, got, hint, tuple(alternatives)
        told = sentence or f"Expected {expected}; got {got}."
        super().__init__(told + (f" {hint}" if hint else ""))


class DegenerateComponentError(_PicklableError, ValueError):
    """A component's covariance collapsed, or every start did; carries the figures of the collapse."""

    def __init__(self, message: str, *, figures: Mapping[str, float]) -> None:
        self.figures = dict(figures)
        shown = ", ".join(f"{name} = {value:.3g}" for name, value in self.figures.items())
        super().__init__(f"{message} ({shown})" if shown else message)


class NotIdentifiedError(_PicklableError, ValueError):
    """Components of a posterior that cannot be told apart: what was found, and what to do instead."""

    def __init__(self, findings: Sequence[str], *, hint: str) -> None:
        self.findings, self.hint = tuple(findings), hint
        super().__init__(" ".join(["The components are not identified.", *self.findings, hint]))


class InformationError(_PicklableError, ValueError):
    """An observed information that is not positive definite, so that there are no standard errors; with figures."""

    def __init__(self, message: str, *, figures: Mapping[str, float]) -> None:
        self.figures = dict(figures)
        super().__init__(f"{message} ({', '.join(f'{name} = {value:.3g}' for name, value in self.figures.items())})")


class SamplingError(RuntimeError):
    """The sampler could not start or ended without a draw."""


class DegeneracyWarning(UserWarning):
    """A component emptied or sits at the eigenvalue floor; the fit may describe a spike, not a cluster."""


class SingularDataWarning(DegeneracyWarning):
    """The data have constant or linearly dependent columns, or none that vary beyond ``reg_covar``."""


class FewRowsWarning(DegeneracyWarning):
    """A fit has more parameters than there are different rows."""


class InformationWarning(UserWarning):
    """Standard errors asked for away from the maximum that they describe."""


class SingleBestStartWarning(UserWarning):
    """Only one of many starts reached the best optimum; more starts may find a better one."""


class InterruptedWarning(UserWarning):
    """The work was interrupted; what was done so far was kept."""


class SamplingWarning(UserWarning):
    """The sampler reported something the user can act on: divergences, low ESS, high R-hat."""


class LabelWarning(UserWarning):
    """Variables of a posterior that may belong to its components, and were not relabelled with them."""


class EvidenceWarning(UserWarning):
    """Two estimates of an evidence disagree."""


class ParetoWarning(UserWarning):
    """Importance weights so uneven that the estimate of a row cannot be trusted: large Pareto k."""
