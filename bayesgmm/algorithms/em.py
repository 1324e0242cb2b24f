"""Expectation-maximisation: sum the expected statistics over blocks of rows, take the M-step, repeat."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from math import inf, isfinite
from operator import add
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.algorithms.m_step import m_step
from bayesgmm.ground.mixture import Mixture, column_statistics
from bayesgmm.ground.priors import ResolvedPrior
from bayesgmm.ground.pseudo_data import pseudo_data
from bayesgmm.words.arrays import Array, Columns, PerRow, Weights
from bayesgmm.words.checks import as_row_weights, as_rows
from bayesgmm.words.statistics import Statistics


class BlockSource(Protocol):
    """Blocks of rows that can be read again and again: (feature, obs) columns and their row weights."""

    def __iter__(self) -> Iterator[tuple[Columns, PerRow]]: ...


class Rows:
    """The block source of data in memory: a single block."""

    def __init__(self, X: ArrayLike, row_weights: ArrayLike | None = None) -> None:
        X = as_rows(X)
        weights = as_row_weights(row_weights, len(X))
        self._block = (X.T, np.empty(0) if weights is None else weights)

    def __iter__(self) -> Iterator[tuple[Columns, PerRow]]:
        yield self._block


@dataclass(frozen=True, slots=True)
class EMSettings:
    """How long EM runs and how far a covariance may shrink.

    Attributes
    ----------
    tol : float
        EM stops when the gain still to come, extrapolated from the last three objectives (Aitken), is below
        ``tol`` per row; zero means down to rounding error.
    max_iter : int
        Most EM steps.
    reg_covar : float
        Smallest eigenvalue of a covariance, in squared units of the data.
    """

    tol: float = 1e-6
    max_iter: int = 1000
    reg_covar: float = 1e-6


class EMState(NamedTuple):
    """Where EM stands after a step: the mixture, the sums it produced and the objective there."""

    iteration: int
    mixture: Mixture
    objective: float
    log_likelihood: float
    counts: Weights
    n_floored: int


@dataclass(frozen=True, slots=True)
class EMResult:
    """A finished EM run.

    Attributes
    ----------
    mixture : Mixture
    objective : float
        Log-likelihood, plus the log prior if there is one, at ``mixture``.
    log_likelihood : float
    n_iter : int
    converged : bool
    history : (n_iter + 1,)
        The objective before each step and at the end; it never falls.
    counts : (cluster,)
        Expected rows in each component.
    n_floored : int
        Covariances that sit at the eigenvalue floor.
    """

    mixture: Mixture
    objective: float
    log_likelihood: float
    n_iter: int
    converged: bool
    history: Array
    counts: Weights
    n_floored: int


def run_em(
    source: BlockSource | Iterable[tuple[Columns, PerRow]],
    start: Mixture,
    *,
    prior: ResolvedPrior | None = None,
    settings: EMSettings | None = None,
    callback: Callable[[EMState], object] | None = None,
) -> EMResult:
    """Climb from ``start`` to a maximum of the likelihood, or of the posterior density when given a prior.

    Parameters
    ----------
    source : iterable of (columns, row_weights)
        Blocks of rows, read once per step; `Rows` for data in memory.
    start : Mixture
        Where to start; its family is kept.
    prior : ResolvedPrior, optional
        Makes the objective the log posterior density in natural coordinates (softmax coordinates for
        weights when a concentration is below one).
    settings : EMSettings, optional
    callback : callable, optional
        Called with an `EMState` after every E-step; a true return value ends the run.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.algorithms.em import Rows, run_em
    >>> X = np.array([[-1.1], [-0.9], [-1.0], [2.0], [2.2], [1.8]])
    >>> start = Mixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]])
    >>> run_em(Rows(X), start).mixture.means.round(3)
    array([[-1.],
           [ 2.]])
    """
    settings = settings or EMSettings()
    pseudo = pseudo_data(prior, start.n_components, start.n_features, start.family)
    mixture, n_floored, converged = start, 0, False
    history: list[float] = []
    while True:
        statistics = _total(source, mixture)
        objective = statistics.log_likelihood + _penalty(mixture, prior)
        history.append(objective)
        state = EMState(len(history) - 1, mixture, objective, statistics.log_likelihood, statistics.counts, n_floored)
        converged = bool(_gain_to_come(history) <= settings.tol * statistics.counts.sum())
        stopped = callback is not None and bool(callback(state))
        if converged or stopped or len(history) > settings.max_iter or not isfinite(objective):
            return _result(state, converged, history)
        mixture, n_floored = m_step(statistics, mixture, pseudo, floor=settings.reg_covar)


def _total(source: Iterable[tuple[Columns, PerRow]], mixture: Mixture) -> Statistics:
    return reduce(add, (column_statistics(x, mixture, weights) for x, weights in source))


def _penalty(mixture: Mixture, prior: ResolvedPrior | None) -> float:
    """Log prior; with a concentration below one, in the softmax coordinates in which the mode exists."""
    if prior is None:
        return 0.0
    softmax = float(np.log(mixture.weights).sum()) if prior.concentration.min() < 1.0 else 0.0
    return prior.log_prob(mixture) + softmax


def _gain_to_come(history: list[float]) -> float:
    """What a geometric sequence through the last three objectives would still gain."""
    if len(history) < 3:
        return inf
    gain, before = history[-1] - history[-2], history[-2] - history[-3]
    if gain <= 1e-14 * abs(history[-1]):
        return 0.0
    if gain >= before:
        return inf
    return gain * gain / (before - gain)


def _result(state: EMState, converged: bool, history: list[float]) -> EMResult:
    return EMResult(
        state.mixture,
        state.objective,
        state.log_likelihood,
        state.iteration,
        converged,
        np.asarray(history),
        state.counts,
        state.n_floored,
    )
