"""Table of model selection criteria, and differences that are not negligible."""

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot, nan, sqrt
from typing import Any, NamedTuple

import numpy as np

from bayesgmm._common import PerRow
from bayesgmm.exceptions import InputError

STANDARD_ERRORS = 2.0  # a smaller difference of estimates is indistinguishable from none


class Score(NamedTuple):
    """A criterion's value for one model; where it has them its standard error, its parts by row, and further columns.

    Further columns of the table have their names after the criterion's.
    """

    value: float
    se: float = nan
    by_row: PerRow | None = None
    further: tuple[tuple[str, float], ...] = ()


Score.__module__ = "bayesgmm.selection"  # in the body, type checkers take it for a field


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One row of the table.

    Attributes
    ----------
    name, label : str
        As users give it, and as figures show it.
    higher_is_better, bayesian : bool
        ``bayesian`` criteria ask for draws, the others for a fit by EM.
    score : callable
        ``(fit, seed) -> Score``.
    close : float
        A difference that is hardly worth mentioning by the source named in ``convention``; 0 if nobody gave one.
    """

    name: str
    label: str
    higher_is_better: bool
    bayesian: bool
    score: Callable[[Any, int], Score]
    close: float = 0.0
    convention: str = ""

    @property
    def direction(self) -> str:
        """Which values are better, in words."""
        return "higher is better" if self.higher_is_better else "lower is better"

    def loss(self, value: float) -> float:
        """The value, with its sign such that lower is better."""
        return -value if self.higher_is_better else value

    def behind(self, score: Score, best: Score) -> tuple[float, float]:
        """By how much a score is worse than the best one, and the standard error of that (NaN: no error)."""
        gap = self.loss(score.value) - self.loss(best.value)
        if score.by_row is None or best.by_row is None or len(score.by_row) != len(best.by_row):
            return gap, hypot(score.se, best.se)
        return gap, sqrt(len(score.by_row)) * float(np.std(score.by_row - best.by_row, ddof=1))

    def is_close(self, gap: float, se: float) -> bool:
        """Whether a model that far behind is indistinguishable from the best one."""
        return gap <= self.close or gap <= STANDARD_ERRORS * se


def _log_evidence(fit: Any, seed: int) -> Score:
    from bayesgmm.evidence import log_evidence

    found = log_evidence(fit, random_state=seed)
    return Score(found.log_evidence, found.se, further=(("per_doubling", found.per_doubling),))


def _loo(fit: Any, seed: int) -> Score:
    from bayesgmm.cross_validation import loo

    found = loo(fit, progress=False)
    return Score(float(found.elpd), float(found.se), np.asarray(found.elpd_i, dtype=np.float64).ravel())


_KASS_RAFTERY = "Kass & Raftery 1995"
CRITERIA = {
    criterion.name: criterion
    for criterion in (
        Criterion(
            name="bic",
            label="BIC",
            higher_is_better=False,
            bayesian=False,
            score=lambda fit, seed: Score(fit.bic()),
            close=2.0,
            convention=_KASS_RAFTERY,
        ),
        Criterion(
            name="aic",
            label="AIC",
            higher_is_better=False,
            bayesian=False,
            score=lambda fit, seed: Score(fit.aic()),
            close=2.0,
            convention="Burnham & Anderson 2002",
        ),
        Criterion(
            name="icl",
            label="ICL",
            higher_is_better=False,
            bayesian=False,
            score=lambda fit, seed: Score(fit.icl()),
        ),
        Criterion(
            name="evidence",
            label="log evidence",
            higher_is_better=True,
            bayesian=True,
            score=_log_evidence,
            close=1.0,
            convention=_KASS_RAFTERY,
        ),
        Criterion(name="loo", label="LOO", higher_is_better=True, bayesian=True, score=_loo),
    )
}
BY_EM = tuple(name for name, criterion in CRITERIA.items() if not criterion.bayesian)


def criterion_named(name: str) -> Criterion:
    """Look a criterion up.

    Examples
    --------
    >>> criterion_named("bic").direction
    'lower is better'
    """
    try:
        return CRITERIA[name]
    except (KeyError, TypeError):
        raise InputError(expected=f"criterion one of {', '.join(CRITERIA)}", got=repr(name)) from None
