r"""Search for modes from random starts, and what it may have missed.

R short Gibbs chains begin at random rows and end after some ninety sweeps in a mode of the posterior, of up to 1,000
random rows if there are more: a mode that moves m of n rows moves 1,000 m / n of these. From every different partition
that they end in, and from the optima of EM, a chain goes on with all rows; those of a mass far below that of another
are left out. Where the others lie apart, chains of the fit have to visit each (`bayesgmm.inference.jumps`).

Above 4,000 rows, and where Gibbs sampling is not possible, R runs of EM begin at such starts instead, under the prior,
on 1,000 rows that stand for all. Different ends go on with ten times as many rows, and so on to all of them, with these
until EM has converged; those of an objective far below the best, also for these rows being some of all, are left out.

What no start met is bounded by

.. math:: \sum_{m: c_m = 1} w_m + \frac{3}{R} \max\Bigl(1, \max_m \frac{w_m}{c_m / R}\Bigr)

with :math:`w_m` the weight of a mode and :math:`c_m` the number of random starts that ended in it: Good and Turing's
estimate, and the rule of three for a mode that random starts reach as seldom as the seldomest that is known, at most.
Nothing bounds a mode that random starts do not reach.
"""

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import joblib
import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import NDArray

from bayesgmm._common import Array, IntArray, in_threads
from bayesgmm.data import Data, HaltedError
from bayesgmm.diagnostics import EMPTY_COUNT
from bayesgmm.em import EMSettings, run_em
from bayesgmm.evidence import Modes, Target, log_masses, partitions_of
from bayesgmm.exceptions import SamplingError
from bayesgmm.gibbs import Sweeps, random_starts, refusal, run_chains
from bayesgmm.inference.problem import Problem, log_mass
from bayesgmm.inference.settings import TOO_SHORT
from bayesgmm.mixture import Draws, Mixture, row_densities, row_memberships
from bayesgmm.partitions import Labels, losses
from bayesgmm.priors import Model

MOST_ROWS = 4_000  # above, sweeps take long beside the gradients of NUTS
_SEARCHED_ROWS = 1_000
_STARTS, _WORK = (64, 128), 4e7  # least and most; rows times components times entries of a covariance of all starts
_THOROUGH = 3  # times as many: the bound is then a third
_BURN, _SETTLED = 21, 10  # draws of four sweeps: of random starts, and with all rows
_DRAWS, _FURTHER = 50, 150  # that are kept; of chains that lie apart: with more they may not
_DISTINCT, _MOST_DISTINCT = 0.2, 24  # bits of variation of information; partitions that are followed
_HOPELESS, _PER_PARAMETER = 20.0, 0.1  # nats below the largest mass, and for each parameter
APART = 1.2  # R-hat of distances to partitions, above which chains do not move freely
_FEW_ROWS = 2.0  # rows of a component for each of its coordinates, D + 1, below which its posterior is no normal one
_OFTEN = 0.01  # share of draws
_MORE_ROWS = 10  # times as many, on which ends of EM go on
_STEPS, _TOLERANCE = 60, 1e-4  # of EM, at most, and nats a row to come at which it ends, until it is to converge
_DEVIATIONS = 4.0  # standard deviations that a difference on some rows may be off


@dataclass(frozen=True)
class RandomSearch:
    """Where random starts and the optima of EM led to.

    Attributes
    ----------
    draws : Draws
        Of Gibbs chains in different places that may have weight, chains end to end; of EM, its optima.
    places : Draws
        One in each place, alike or not.
    ends : (start, obs)
        The partition that each random start ended in, of some rows.
    rows : (obs,)
        Those rows.
    near : (start,)
        Whether the mass there is not far below.
    lowest : float
        The log mass from which on it is not.
    better : Mixture, optional
        The draw of the largest mass, if that of EM's best optimum is far below.
    apart : bool
        Whether the chains do not move freely between each other's places; of EM, whether there are several.
    by_chains : bool
        Whether starts were followed by Gibbs chains, not by EM.
    has_small, has_empty : bool
        Whether a component has few rows in some of the draws, or none.
    """

    draws: Draws
    places: Draws
    ends: Labels
    rows: IntArray
    near: NDArray[np.bool_]
    lowest: float
    better: Mixture | None
    apart: bool
    by_chains: bool
    has_small: bool = False
    has_empty: bool = False

    @property
    def lasts(self) -> list[Mixture]:
        """The last draw of each chain."""
        return [self.draws.mixture(int(np.flatnonzero(self.draws.chain == c)[-1])) for c in np.unique(self.draws.chain)]

    def others(self, problem: Problem) -> tuple[Mixture, ...]:
        """The last draws of the chains that are not in the place of the problem's start."""
        some, lasts = problem.data.take(self.rows), self.lasts
        own, *labels = (row_memberships(some, each).argmax(axis=1) for each in (problem.start, *lasts))
        at_start = int(losses(np.array(labels, dtype=np.int32), own.astype(np.int32), loss="vi").argmin())
        return tuple(last for i, last in enumerate(lasts) if i != at_start)

    def counts(self, modes: Modes) -> IntArray:
        """Random starts that ended in each mode."""
        centres = [mode.centre[self.rows] for mode in modes.modes]
        nearest = np.stack([losses(self.ends, centre, loss="vi") for centre in centres]).argmin(axis=0)
        return np.bincount(nearest[self.near], minlength=len(centres))


def missing_weight(weights: Array, counts: IntArray, n_starts: int) -> float:
    """Bound of the weight of modes that were not met, given those of the others, see this module; at most one.

    A mode that only EM led to counts as met by one random start.

    Examples
    --------
    >>> import numpy as np
    >>> missing_weight(np.array([1.0]), np.array([128]), 128)
    0.0234375
    >>> missing_weight(np.array([0.9, 0.1]), np.array([63, 1]), 64) > 0.1 + 3 / 64
    True
    """
    counts = np.maximum(counts, 1)
    seldom = float((weights * n_starts / counts).max(initial=1.0))
    return min(1.0, float(weights[counts == 1].sum()) + 3.0 / n_starts * seldom)


def can_search(model: Model, data: Data) -> bool:
    """Whether labels carry no meaning, and there are several."""
    return model.exchangeable and 1 < model.n_components <= data.shape[0]


def search_from_random_starts(
    problem: Problem,
    optima: tuple[Mixture, ...],
    *,
    rng: np.random.Generator,
    thorough: bool = False,
    until: float = math.inf,
) -> RandomSearch:
    """The modes that random starts end in, and EM, see this module; three times as many starts if thorough.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    SamplingError
        The clock (`time.monotonic`) has come to ``until``.
    """
    times = _THOROUGH if thorough else 1
    if problem.data.shape[0] <= MOST_ROWS and refusal(problem.model, problem.data) is None:
        return _by_chains(problem, optima, rng=rng, times=times)
    return _by_em(problem, optima, rng=rng, times=times, until=until)


def _by_chains(problem: Problem, optima: tuple[Mixture, ...], *, rng: np.random.Generator, times: int) -> RandomSearch:
    data, model = problem.data, problem.model
    target, sweeps, rows = Target(data, model), Sweeps(data, model), _some_rows(data, rng)
    some = data.take(rows)  # by whose labels partitions are compared
    ends = _random_ends(some, model, rng=rng, times=times)
    n_starts, is_part = len(ends.draws), len(rows) < data.shape[0]
    starts = [*(ends.mixtures(np.arange(n_starts)) if is_part else []), *optima]
    settled = _run(sweeps, target, starts, burn=_SETTLED, n=1, rng=rng)
    settled = settled if is_part else ends.followed_by(settled)
    masses = log_masses(settled.draws, settled.log_joint, target, rng=rng)
    lowest = float(masses.max()) - _HOPELESS - _PER_PARAMETER * model.n_parameters
    is_near = masses > lowest
    near = np.flatnonzero(is_near)
    chosen = distinct_partitions(partitions_of(settled.draws[near], some), masses[near])
    points, apart = _run(sweeps, target, settled.mixtures(near[chosen]), burn=0, n=_DRAWS, rng=rng), False
    if len(chosen) > 1 and _lie_apart(points, some):
        lasts = np.arange(1, len(chosen) + 1) * _DRAWS - 1
        points = _run(sweeps, target, points.mixtures(lasts), burn=0, n=_FURTHER, rng=rng)
        apart = _lie_apart(points, some)
    smallest = data.total * points.draws.weights.min(axis=1)
    few, none = _FEW_ROWS * (model.n_features + 1), EMPTY_COUNT
    has_small, has_empty = (bool((smallest < most).mean() > _OFTEN) for most in (few, none))
    return RandomSearch(
        draws=points.draws,
        places=settled.draws[near],
        ends=partitions_of(ends.draws, some),
        rows=rows,
        near=is_near[:n_starts],
        lowest=lowest,
        better=None if is_near[n_starts] else settled.draws.mixture(int(masses.argmax())),
        apart=apart,
        by_chains=True,
        has_small=has_small,
        has_empty=has_empty,
    )


def with_more_starts(search: RandomSearch, problem: Problem, *, rng: np.random.Generator) -> RandomSearch:
    """The search with three times as many random starts more, which are only counted."""
    data, model = problem.data, problem.model
    if not search.by_chains:
        more = _by_em(problem, tuple(search.lasts), rng=rng, times=_THOROUGH, rows=search.rows)
        return replace(search, ends=np.concatenate([search.ends, more.ends]), near=np.append(search.near, more.near))
    target, some = Target(data, model), data.take(search.rows)
    settled = ends = _random_ends(some, model, rng=rng, times=_THOROUGH)
    if len(search.rows) < data.shape[0]:
        starts = ends.mixtures(np.arange(len(ends.draws)))
        settled = _run(Sweeps(data, model), target, starts, burn=_SETTLED, n=1, rng=rng)
    masses = log_masses(settled.draws, settled.log_joint, target, rng=rng)
    labels = np.concatenate([search.ends, partitions_of(ends.draws, some)])
    return replace(search, ends=labels, near=np.append(search.near, masses > search.lowest))


class _Points(NamedTuple):
    """Draws of chains, end to end, and their log densities."""

    draws: Draws
    log_joint: Array

    def followed_by(self, others: "_Points") -> "_Points":
        """These and others."""
        return _Points(Draws.joined([self.draws, others.draws]), np.append(self.log_joint, others.log_joint))

    def mixtures(self, which: IntArray) -> list[Mixture]:
        """Some of the draws."""
        return [self.draws.mixture(int(s)) for s in which]


def _run(
    sweeps: Sweeps, target: Target, starts: list[Mixture], *, burn: int, n: int, rng: np.random.Generator
) -> _Points:
    draws, log_likelihood = run_chains(sweeps, starts, burn=burn, n=n, rng=rng)
    return _Points(draws, log_likelihood + target.log_prior(draws))


def _some_rows(data: Data, rng: np.random.Generator) -> IntArray:
    """All rows, or so many random ones."""
    n = data.shape[0]
    return np.sort(rng.choice(n, size=min(n, _SEARCHED_ROWS), replace=False))


def _random_starts(data: Data, model: Model, *, rng: np.random.Generator, times: int) -> list[Mixture]:
    (n, d), k = data.shape, model.n_components
    n_starts = times * int(np.clip(_WORK // (n * k * (10 + d * d)), *_STARTS))
    return random_starts(data, model, n_starts, rng=rng)


def _random_ends(data: Data, model: Model, *, rng: np.random.Generator, times: int) -> _Points:
    """Ends of random starts."""
    starts = _random_starts(data, model, rng=rng, times=times)
    return _run(Sweeps(data, model), Target(data, model), starts, burn=_BURN, n=1, rng=rng)


def distinct_partitions(labels: Labels, height: Array) -> IntArray:
    """Which partitions differ from all higher ones, at most some."""
    chosen: list[int] = []
    distance = np.full(len(labels), np.inf)
    for i in np.argsort(-height, kind="stable"):
        if distance[i] > _DISTINCT and len(chosen) < _MOST_DISTINCT:
            distance = np.minimum(distance, losses(labels, labels[i], loss="vi"))
            chosen.append(int(i))
    return np.array(chosen)


def _lie_apart(points: _Points, data: Data) -> bool:
    """Whether chains do not move freely, by R-hat of the distances of partitions from the last one of each chain."""
    labels, n_chains = partitions_of(points.draws, data), int(points.draws.chain.max()) + 1
    lasts = labels.reshape(n_chains, -1, labels.shape[1])[:, -1]
    distances = np.stack([losses(labels, last, loss="vi") for last in lasts])
    with np.errstate(invalid="ignore", divide="ignore"):  # a chain that does not move
        r_hats = array_stats.rhat(distances.reshape(len(lasts), n_chains, -1), chain_axis=1, draw_axis=2)
    return bool(np.nan_to_num(r_hats, nan=1.0, posinf=np.inf).max() > APART)


def _by_em(
    problem: Problem,
    optima: tuple[Mixture, ...],
    *,
    rng: np.random.Generator,
    times: int,
    rows: IntArray | None = None,
    until: float = math.inf,
) -> RandomSearch:
    """The search by EM, on more and more rows."""
    data, model, size = problem.data, problem.model, _SEARCHED_ROWS
    rows = _some_rows(data, rng) if rows is None else rows
    some, part = data.take(rows), data.subset(size, rng=rng)
    random = _random_starts(part, model, rng=rng, times=times)
    found, place = [*random, *optima], np.arange(len(random) + len(optima))  # of each start, -1 if it was left out
    exactly = False
    while True:
        found = _optima(found, part, model, until=until, exactly=exactly)
        masses = np.array([log_mass(mixture, part, model) for mixture in found])
        best = int(masses.argmax())
        lowest = float(masses[best]) - _HOPELESS - _PER_PARAMETER * model.n_parameters
        margin = _margins(found, best, part) if part.shape[0] < data.shape[0] else np.zeros(len(found))
        near = np.flatnonzero(masses + margin > lowest)
        labels = np.stack([row_memberships(some, mixture).argmax(axis=1) for mixture in found]).astype(np.int32)
        chosen = near[distinct_partitions(labels[near], masses[near])]
        nearest = np.stack([losses(labels, labels[i], loss="vi") for i in chosen]).argmin(axis=0)
        place = np.where((place >= 0) & np.isin(place, near), nearest[place], -1)
        found, labels = [found[i] for i in chosen], labels[chosen]
        if exactly or (len(found) == 1 and part.shape[0] == data.shape[0]):
            break
        exactly = part.shape[0] == data.shape[0]
        size *= _MORE_ROWS
        part = data.subset(size, rng=rng)
    n_starts = len(random)
    is_better = place[n_starts] < 0 and float(masses[best]) > log_mass(optima[0], data, model)
    points = Draws(
        np.stack([mixture.weights for mixture in found]),
        np.stack([mixture.means for mixture in found]),
        np.stack([mixture.full_covariances for mixture in found]),
        family=model.family,
        chain=np.arange(len(found)),
    )
    return RandomSearch(
        draws=points,
        places=points,
        ends=labels[place[:n_starts]],
        rows=rows,
        near=place[:n_starts] >= 0,
        lowest=lowest,
        better=found[0] if is_better else None,
        apart=len(found) > 1,
        by_chains=False,
    )


def _optima(starts: list[Mixture], data: Data, model: Model, *, until: float, exactly: bool) -> list[Mixture]:
    """Where EM leads to, in few steps or exactly."""
    settings = EMSettings(None, reg_covar=0.0) if exactly else EMSettings(_TOLERANCE, _STEPS, reg_covar=0.0)

    def run(start: Mixture, stop: threading.Event) -> tuple[Mixture, bool]:
        def halted() -> bool:
            return stop.is_set() or time.monotonic() >= until

        try:
            end = run_em(data, start, prior=model.prior, settings=settings, halted=halted).mixture
        except HaltedError:
            end = start
        return end, stop.is_set()

    found = in_threads(run, starts, n_workers=joblib.cpu_count())
    if any(stopped for _, stopped in found):
        raise KeyboardInterrupt("interrupted before the first draw")
    if time.monotonic() >= until:
        raise SamplingError(TOO_SHORT)
    return [mixture for mixture, _ in found]


def _margins(found: list[Mixture], best: int, part: Data) -> Array:
    """What the difference of each mixture from the best may be off, as these rows are some of all."""
    height, deviations = row_densities(part, found[best]), _DEVIATIONS * part.weights
    return np.array([np.linalg.norm(deviations * (row_densities(part, mixture) - height)) for mixture in found])
