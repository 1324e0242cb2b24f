"""The EM algorithm: an E-step sums expected statistics over blocks of rows, an M-step gives the next mixture."""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import NamedTuple

import numpy as np
from numba import types

from bayesgmm._common import Array, Columns, PerRow, Weights
from bayesgmm._compiled import IN_1, IN_2, linked
from bayesgmm.data import PATTERNS, Block, Data, HaltedError, total
from bayesgmm.em.anderson import Anderson
from bayesgmm.em.m_step import assembled, m_step
from bayesgmm.em.moments import RegCovar, moments_of, variance_floors
from bayesgmm.em.squarem import (
    AT_NOW,
    CONVERGED,
    FLOORED,
    GOES_ON,
    ITERATES,
    N_STEPS,
    NOW,
    REJECTED,
    RULES,
    Iterates,
    Rules,
    aitken_remaining,
    check_convergence,
    next_iterate,
)
from bayesgmm.exceptions import ClusterError
from bayesgmm.mixture import (
    COMPONENT,
    COVARIANCE,
    SUMS,
    Mixture,
    Statistics,
    Sums,
    add_rows,
    column_statistics,
)
from bayesgmm.priors import PSEUDO_DATA, PseudoData, ResolvedPrior, pseudo_data

_SMALLEST_GAIN, _GAIN_PER_ROW = 1e-3, 1e-7  # nats to come at which EM stops by default
_MANY_ROWS = 25_000  # above, a pass takes longer than what Anderson's acceleration does in Python
_SECONDS_PER_CALL, _STEPS_PER_CALL = 0.03, 64  # of compiled code, which cannot be interrupted


@dataclass(frozen=True, slots=True)
class EMSettings:
    """Stopping rule of EM, floor of the covariances, and acceleration.

    Attributes
    ----------
    tol : float, optional
        EM stops when the remaining increase, extrapolated from the last three objectives (Aitken), is below
        ``tol`` per row; zero means to rounding error, and None below 1e-7 per row and 1e-3 in all.
    max_iter : int
        Maximum number of EM steps.
    reg_covar : float, (feature,) or None
        Smallest eigenvalue of a covariance, in squared units of the data; or smallest variances; by default a tiny
        share of each feature's own variance, see `bayesgmm.em.moments.variance_floors`.
    accelerate : bool
        Extrapolate where plain EM would take many more steps; see `bayesgmm.em.squarem` and, for more than 25,000 rows
        in memory, `bayesgmm.em.anderson`.
    """

    tol: float | None = 1e-6
    max_iter: int = 1000
    reg_covar: RegCovar = None
    accelerate: bool = True

    def smallest_gain(self, n_rows: float) -> float:
        """The gain to come, in nats, below which EM stops on rows that weigh so much."""
        return min(_SMALLEST_GAIN, _GAIN_PER_ROW * n_rows) if self.tol is None else self.tol * n_rows


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
        The objective before each step and at the end; it never decreases.
    counts : (cluster,)
        Expected rows in each component.
    n_floored : int
        Covariances that sit at the floor.
    n_noise : float
        Expected rows that came from no component.
    """

    mixture: Mixture
    objective: float
    log_likelihood: float
    n_iter: int
    converged: bool
    history: Array
    counts: Weights
    n_floored: int
    n_noise: float = 0.0

    @property
    def last_gain(self) -> float:
        """What the last step gained; infinite if there was none."""
        return float(self.history[-1] - self.history[-2]) if self.n_iter else math.inf

    @property
    def gain_to_come(self) -> float:
        """The gain to come, extrapolated from the last three objectives (Aitken); infinite where there are fewer."""
        return aitken_remaining(*self.history[-3:]) if len(self.history) >= 3 else math.inf

    @property
    def in_order(self) -> "EMResult":
        """Components in ascending order of the first feature's mean, ties by the next."""
        order = np.lexsort(self.mixture.means.T[::-1])
        if (order[1:] > order[:-1]).all():
            return self
        return replace(self, mixture=self.mixture.permute(order), counts=self.counts[order])


def run_em(
    data: Iterable[Block | tuple[Columns, PerRow]],
    start: Mixture,
    *,
    prior: ResolvedPrior | None = None,
    settings: EMSettings | None = None,
    callback: Callable[[EMState], object] | None = None,
    halted: Callable[[], bool] | None = None,
    pool: Executor | None = None,
) -> EMResult:
    """Run EM from ``start`` to a maximum of the likelihood, or of the posterior density when given a prior.

    Parameters
    ----------
    data : Data, or iterable of (columns, row_weights)
        Blocks of rows, read once per step.
    start : Mixture
        Where to start; its family is kept.
    prior : ResolvedPrior, optional
        Makes the objective the log posterior density in natural coordinates (softmax coordinates for
        weights when a concentration is below one or has a prior itself).
    settings : EMSettings, optional
    callback : callable, optional
        Called with an `EMState` after an E-step; a true return value ends the run. After every one, or for
        data in memory without a prior once in a while: every few hundredths of a second, at least every 64 steps.
    halted : callable, optional
        Asked between blocks of rows; if it returns true the run ends where it stood before that pass, as it does if
        rows are on a cluster that is lost.
    pool : concurrent.futures.Executor, optional
        Threads among which the blocks of data are shared out. The result is the same without.

    Raises
    ------
    HaltedError, ClusterError
        If it is halted in the first pass, or the cluster lost.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.data import Block, Data
    >>> from bayesgmm.em import run_em
    >>> X = np.array([[-1.1], [-0.9], [-1.0], [2.0], [2.2], [1.8]])
    >>> start = Mixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]])
    >>> run_em(Data.of(X), start).mixture.means.round(3)
    array([[-1.],
           [ 2.]])
    """
    run = _Run(data, start, prior=prior, settings=settings or EMSettings(), halted=halted, pool=pool)
    statistics = run.e_step(start)
    verdict = run.check_convergence(statistics, start)
    while True:
        if verdict != REJECTED:
            state = run.state(statistics)
            stopped = callback is not None and bool(callback(state))
            if verdict == CONVERGED or stopped or run.n_left <= 0 or not isfinite(state.objective):
                return _result(state, verdict == CONVERGED, run.history)
        if run.block is not None:
            verdict, statistics = run.steps_on(run.block, statistics)
        else:
            mixture = run.m_step(statistics)
            try:
                statistics = run.e_step(mixture)
            except (HaltedError, ClusterError):
                return _result(state, False, run.history)
            verdict = run.check_convergence(statistics, mixture)


class _Run:
    """A run of EM in progress: its rows, its prior as pseudo-data, the iterates and the objectives so far."""

    def __init__(
        self,
        data: Iterable[Block | tuple[Columns, PerRow]],
        start: Mixture,
        *,
        prior: ResolvedPrior | None,
        settings: EMSettings,
        halted: Callable[[], bool] | None = None,
        pool: Executor | None,
    ) -> None:
        handles = data.handles if isinstance(data, Data) else ()
        self.data, self.start, self.prior, self.settings = data, start, prior, settings
        only = handles[0] if len(handles) == 1 and prior is None else None
        self.block = only if isinstance(only, Block) and not len(only.allowed) else None
        self.halted = halted or (lambda: False)
        self.pool = pool if len(handles) > 1 else None
        self.pseudo = pseudo_data(prior, start.n_components, start.n_features, start.family)
        n_alone = 0 if self.block is None else _steps_alone(start, self.block)
        self.rules = Rules(_floors(settings.reg_covar, data, start), np.nan, settings.max_iter)
        self.iterates = Iterates.begin(start, accelerate=settings.accelerate, n_alone=1 + n_alone)
        is_long = isinstance(data, Data) and data.shape[0] > _MANY_ROWS and self.block is None
        plain = not start.component.has_others and start.family.parametrisation.multiplies
        alone = is_long and prior is None and settings.accelerate and plain
        self.anderson = Anderson(start, self.pseudo, self.rules.floors) if alone else None
        self.history: list[float] = []

    @property
    def n_left(self) -> int:
        """How many E-steps may still follow."""
        return self.settings.max_iter - (len(self.history) - 1)

    def e_step(self, mixture: Mixture) -> Statistics:
        """Expected statistics of all rows under a mixture."""
        task = partial(statistics_of, mixture)
        return task(self.block) if self.block else total(task, self.data, self.pool, halted=self.halted)

    def m_step(self, statistics: Statistics) -> Mixture:
        """The next mixture to evaluate: an M-step, or an extrapolation along the last ones (Anderson, or SQUAREM)."""
        if self.anderson is not None:
            return self.anderson.next_point(statistics)
        next_iterate(*self.start.kernel, self.rules, _sums(statistics), self._pseudo_data(), self.iterates)
        return assembled(self.start, self.iterates.now)

    def check_convergence(self, statistics: Statistics, mixture: Mixture) -> int:
        """What to make of the objective at a mixture: whether to go on, to stop, or to reject an extrapolation."""
        objective = statistics.log_likelihood + log_penalty(mixture, self.prior)
        if not self.history:
            self.rules = self.rules._replace(smallest_gain=self.settings.smallest_gain(float(statistics.counts.sum())))
        if self.anderson is not None:
            verdict = self.anderson.judge(objective, self.rules.smallest_gain)
            self.history.append(self.anderson.objective)
            if verdict == GOES_ON and self.anderson.has_failed:
                self._go_on_with_squarem(self.anderson)
            return verdict
        verdict = check_convergence(self.iterates.state, objective, self.rules.smallest_gain)
        self.history.append(float(self.iterates.state[NOW]))
        return verdict

    def _go_on_with_squarem(self, anderson: Anderson) -> None:
        """From the point that was evaluated last."""
        self.iterates = Iterates.begin(anderson.now, accelerate=True, n_alone=1)
        self.iterates.state[NOW], self.iterates.state[N_STEPS] = anderson.objective, len(self.history)
        self.iterates.state[FLOORED] = anderson.n_floored
        self.anderson = None

    def steps_on(self, block: Block, statistics: Statistics) -> tuple[int, Statistics]:
        """Many M- and E-steps on one block of rows without coming back to Python."""
        sums = _sums(statistics)
        rows = block.columns, block.row_weights, block.patterns
        n_taken, verdict, log_likelihood = compiled_steps(
            *self.start.kernel, self.rules, *rows, sums, self.pseudo, self.iterates
        )
        self.history.extend(self.iterates.objectives[:n_taken].tolist())
        return verdict, Statistics(log_likelihood, *sums)

    def _pseudo_data(self) -> PseudoData:
        """The prior; a concentration that has one is a missing value, in whose place stands its mean."""
        if self.prior is None or self.prior.concentration_prior is None:
            return self.pseudo
        mean = self.prior.concentration_given(self.iterates.now.weights)
        return self.pseudo._replace(concentration=mean + 1.0)  # a mode on the simplex takes one away again

    def state(self, statistics: Statistics) -> EMState:
        """Where EM stands; not to be asked at a rejected point."""
        n_steps, at = len(self.history) - 1, self.anderson
        if at is None:
            mixture = assembled(self.start, self.iterates.now) if n_steps else self.start
            n_floored = int(self.iterates.state[FLOORED])
        else:
            mixture, n_floored = at.now, at.n_floored
        counts = statistics.counts.copy()
        return EMState(n_steps, mixture, self.history[-1], statistics.log_likelihood, counts, n_floored)


def next_mixture(
    statistics: Statistics, mixture: Mixture, prior: ResolvedPrior | None, *, floors: Array
) -> tuple[Mixture, int]:
    """The M-step after expected statistics under a mixture, and how many covariances were lifted to the floors."""
    return m_step(
        statistics, mixture, pseudo_data(prior, mixture.n_components, mixture.n_features, mixture.family), floor=floors
    )


def statistics_of(mixture: Mixture, block: Block) -> Statistics:
    """Expected statistics of a block of rows."""
    return column_statistics(block.columns, mixture, block.row_weights, block.patterns, block.allowed)


def _steps_alone(start: Mixture, block: Block) -> int:
    """How many steps compiled code takes before it comes back to Python."""
    (k, d), n_rows = start.means.shape, block.columns.shape[1]
    seconds = start.family.parametrisation.pass_seconds(k, d, n_rows)
    return max(1, min(int(_SECONDS_PER_CALL / seconds), _STEPS_PER_CALL))


def _floors(reg_covar: RegCovar, data: Iterable[Block | tuple[Columns, PerRow]], start: Mixture) -> Array:
    """Smallest variances (feature,); those that were found before are taken as they are."""
    if isinstance(reg_covar, np.ndarray):
        return reg_covar
    if reg_covar is not None:
        return np.full(start.n_features, reg_covar, dtype=np.float64)
    return variance_floors(None, moments_of(data, start.family), start.family)


def log_penalty(mixture: Mixture, prior: ResolvedPrior | None) -> float:
    """Log prior; with sparse weights in the softmax coordinates in which the mode exists."""
    if prior is None:
        return 0.0
    softmax = float(np.log(mixture.weights).sum()) if prior.sparse else 0.0
    return prior.log_prob(mixture) + softmax + float(mixture.component.log_prior(mixture.dof))


def _sums(statistics: Statistics) -> Sums:
    return Sums(statistics.counts, statistics.first, statistics.second, statistics.others)


@linked(
    types.Tuple((types.int64, types.int64, types.float64))(
        COVARIANCE, COMPONENT, RULES, IN_2, IN_1, PATTERNS, SUMS, PSEUDO_DATA, ITERATES
    ),
    allocates=False,
)
def compiled_steps(  # type: ignore[no-untyped-def]
    covariance, component, rules, x, row_weights, patterns, sums, prior, iterates
):
    """Steps until the objectives are full, the run ends, or no more may be taken, and past a rejected point."""
    objectives, verdict, value, n_taken = iterates.objectives, GOES_ON, 0.0, 0
    n_left = int(rules.max_iter + 1 - iterates.state[N_STEPS])
    for step in range(min(objectives.shape[0], n_left)):
        next_iterate(covariance, component, rules, sums, prior, iterates)
        now = iterates.buffers[AT_NOW]
        sums.counts.fill(0.0)
        sums.first.fill(0.0)
        sums.second.fill(0.0)
        sums.others.fill(0.0)
        value = add_rows(
            covariance,
            component,
            x,
            row_weights,
            patterns,
            iterates.log_scale[now],
            iterates.means[now],
            iterates.precision_factors[now],
            sums,
        )
        verdict = check_convergence(iterates.state, value, rules.smallest_gain)
        objectives[step] = iterates.state[NOW]
        n_taken = step + 1
        full = n_taken >= objectives.shape[0] - 1 and verdict != REJECTED
        if verdict == CONVERGED or full or not np.isfinite(iterates.state[NOW]):
            break
    return n_taken, verdict, value


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
