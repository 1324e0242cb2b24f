"""Expectation-maximisation: sum the expected statistics over blocks of rows, take the M-step, repeat."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from copy import copy
from dataclasses import dataclass
from functools import partial, reduce
from math import inf, isfinite, nan
from operator import add
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit, types
from numpy.typing import ArrayLike

from bayesgmm.algorithms.m_step import (
    IN_1,
    IN_2,
    OUT_1,
    PARTS,
    PRIOR,
    SUMS_AND_MIXTURE,
    assembled,
    compiled_m_step,
    empty_parts,
    m_step,
)
from bayesgmm.ground.kernel import add_statistics
from bayesgmm.ground.linalg import compiled
from bayesgmm.ground.mixture import Mixture, column_statistics
from bayesgmm.ground.priors import ResolvedPrior
from bayesgmm.ground.pseudo_data import PseudoData, pseudo_data
from bayesgmm.words.arrays import Array, Columns, PerRow, Weights
from bayesgmm.words.checks import as_row_weights, as_rows
from bayesgmm.words.statistics import Statistics

ROWS_PER_BLOCK = 25_000  # what a thread takes at a time; fixed, so that sums do not depend on the number of threads
_ROWS_PER_LEAP, _STEPS_PER_LEAP = 200_000, 64  # below a hundredth of a second between two calls of a callback


class BlockSource(Protocol):
    """Blocks of rows that can be read again and again: (feature, obs) columns and their row weights."""

    def __iter__(self) -> Iterator[tuple[Columns, PerRow]]: ...


class Rows:
    """The block source of data in memory: one block up to `ROWS_PER_BLOCK` rows, else copies of so many rows."""

    def __init__(self, X: ArrayLike, row_weights: ArrayLike | None = None) -> None:
        X = as_rows(X)
        weights = as_row_weights(row_weights, len(X))
        starts = range(ROWS_PER_BLOCK, len(X), ROWS_PER_BLOCK)
        columns = [np.ascontiguousarray(part) for part in np.split(X.T, starts, axis=1)]
        self.blocks = list(zip(columns, np.split(np.empty(0) if weights is None else weights, starts), strict=True))

    def with_weights(self, row_weights: PerRow) -> "Rows":
        """The same rows with other weights, (obs,) and not negative; no row is copied."""
        other = copy(self)
        ends = np.cumsum([columns.shape[1] for columns, _ in self.blocks])[:-1]
        pieces = np.split(row_weights, ends)
        other.blocks = [(columns, piece) for (columns, _), piece in zip(self.blocks, pieces, strict=True)]
        return other

    def __iter__(self) -> Iterator[tuple[Columns, PerRow]]:
        return iter(self.blocks)


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
    pool: Executor | None = None,
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
        Called with an `EMState` after an E-step; a true return value ends the run. After every one, or for
        data in memory without a prior once in a while: every 200,000 rows read, at least every 64 steps.
    pool : concurrent.futures.Executor, optional
        Threads among which the blocks of data in memory are shared out. The result is the same without.

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
    n_blocks = len(source.blocks) if isinstance(source, Rows) else 0
    block = source.blocks[0] if isinstance(source, Rows) and n_blocks == 1 and prior is None else None
    spread = pool.map if pool is not None and n_blocks > 1 else map
    mixture, n_floored = start, 0
    history: list[float] = []
    while True:
        statistics = reduce(add, spread(partial(_statistics, mixture), source))
        objective = statistics.log_likelihood + _penalty(mixture, prior)
        history.append(objective)
        n_steps = len(history) - 1
        state = EMState(n_steps, mixture, objective, statistics.log_likelihood, statistics.counts, n_floored)
        if n_steps == 0:
            smallest_gain = settings.tol * float(statistics.counts.sum())
        converged = _gain_to_come(*_last_three(history)) <= smallest_gain
        stopped = callback is not None and bool(callback(state))
        if converged or stopped or n_steps >= settings.max_iter or not isfinite(objective):
            return _result(state, converged, history)
        if block is None:
            mixture, n_floored = m_step(statistics, mixture, pseudo, floor=settings.reg_covar)
        else:
            goal = _Goal(settings.reg_covar, smallest_gain, settings.max_iter - n_steps)
            mixture, n_floored = _leap(block, statistics, mixture, pseudo=pseudo, goal=goal, history=history)


def _statistics(mixture: Mixture, block: tuple[Columns, PerRow]) -> Statistics:
    return column_statistics(block[0], mixture, block[1])


def _penalty(mixture: Mixture, prior: ResolvedPrior | None) -> float:
    """Log prior; with a concentration below one, in the softmax coordinates in which the mode exists."""
    if prior is None:
        return 0.0
    softmax = float(np.log(mixture.weights).sum()) if prior.concentration.min() < 1.0 else 0.0
    return prior.log_prob(mixture) + softmax


def _last_three(history: list[float]) -> tuple[float, float, float]:
    """The last three objectives; NaN for those that are not there yet."""
    now, *earlier = history[:-4:-1]
    before, first = (*earlier, nan, nan)[:2]
    return first, before, now


@compiled
def _gain_to_come(first: float, before: float, now: float) -> float:
    """What a geometric sequence through three objectives would still gain."""
    gain = now - before
    if gain <= 1e-14 * abs(now):
        return 0.0
    if not gain < before - first:
        return inf
    return gain * gain / (before - first - gain)


class _Goal(NamedTuple):
    """When a leap ends."""

    floor: float
    smallest_gain: float
    most_steps: int


def _leap(
    block: tuple[Columns, PerRow],
    statistics: Statistics,
    mixture: Mixture,
    *,
    pseudo: PseudoData,
    goal: _Goal,
    history: list[float],
) -> tuple[Mixture, int]:
    """`m_step`, and for few rows more steps after it without coming back to Python; objectives go to history.

    It stops short of the step that would end EM: that decision is made in one place, `run_em`.
    """
    x, row_weights = block
    n_steps = max(1, min(_ROWS_PER_LEAP // x.shape[1], _STEPS_PER_LEAP, goal.most_steps))
    parts, objectives = empty_parts(mixture), np.empty(n_steps + 2)
    objectives[:2] = _last_three(history)[1:]
    n_more, n_floored = _compiled_leap(
        mixture.family.residual,
        goal.floor,
        goal.smallest_gain,
        x,
        row_weights,
        statistics.counts,
        statistics.first,
        statistics.second,
        mixture.means,
        mixture.factors,
        mixture.precision_factors,
        *pseudo,
        *parts,
        objectives,
    )
    history.extend(objectives[2 : n_more + 2].tolist())
    return assembled(mixture, parts), n_floored


@compiled
def _copy(source: Array, target: Array) -> None:
    """target[...] = source of the same shape, without what numba compiles to see whether they broadcast."""
    a, b = source.ravel(), target.ravel()
    for i in range(a.shape[0]):
        b[i] = a[i]


@njit(
    types.UniTuple(types.int64, 2)(
        types.int64, types.float64, types.float64, IN_2, IN_1, *SUMS_AND_MIXTURE, *PRIOR, *PARTS, OUT_1
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _compiled_leap(  # type: ignore[no-untyped-def]
    residual,
    floor,
    smallest_gain,
    x,
    row_weights,
    counts,
    first,
    second,
    mu,
    factors,
    prec,
    concentration,
    prior_mean,
    kappa,
    mean_precision,
    exponent,
    scale,
    weights,
    new_mu,
    new_factors,
    new_prec,
    blocks,
    log_scale,
    objectives,
):
    counts, first, second = counts.copy(), first.copy(), second.copy()
    mu, factors, prec = mu.copy(), factors.copy(), prec.copy()
    last = objectives.shape[0] - 1
    for step in range(2, last + 1):
        n_floored = compiled_m_step(
            residual, floor, counts, first, second, mu, factors, prec,
            concentration, prior_mean, kappa, mean_precision, exponent, scale,
            weights, new_mu, new_factors, new_prec, blocks, log_scale,
        )  # fmt: skip
        if step == last:
            break
        _copy(new_mu, mu)
        _copy(new_factors, factors)
        _copy(new_prec, prec)
        counts[:], first[:], second[:] = 0.0, 0.0, 0.0
        value = add_statistics(residual, x, row_weights, log_scale, mu, prec, counts, first, second)
        gain = _gain_to_come(objectives[step - 2], objectives[step - 1], value)
        if gain <= smallest_gain or not math.isfinite(value):
            break
        objectives[step] = value
    return step - 2, n_floored


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
