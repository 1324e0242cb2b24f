r"""Log posterior densities at many points, from all rows or from two disjoint subsamples.

With weights v that make some rows stand for all, T the second-order expansion of the log-likelihood of all rows, and
:math:`\hat\ell` and :math:`\hat T` the weighted log-likelihood of the subsample and its own expansion,

.. math:: \ell(q) \approx T(q) + \hat\ell(q) - \hat T(q),

the difference estimator with second-order control variates. What a row contributes to the last difference is of third
order, in posterior standard deviations of the order :math:`N^{-3/2}`, so that a number of rows suffices that does not
grow with N. Rows are drawn with probabilities in proportion to the size of that contribution at a few pilot points;
it is large where the component of a row is uncertain. The prior is exact.

Rows are first divided at random into two halves, with a subsample from each. What the two say about a point has to
agree, or larger subsamples are drawn; the estimate is their mean, whose error is half their difference.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import joblib
import numpy as np

from bayesgmm._common import Array, PerRow, in_threads
from bayesgmm.data import Data
from bayesgmm.exceptions import SamplingError
from bayesgmm.laplace.expansion import Expansion, likelihood_expansion
from bayesgmm.laplace.mode import NormalApproximation
from bayesgmm.laplace.smoothing import Smoothed
from bayesgmm.log_posterior import Coordinates, LogPosterior
from bayesgmm.mixture import LOG_2PI, row_densities

FEW_ROWS = 10_000  # up to so many the ratios are those of all rows
_FIRST, _TIMES = 1_000, 4  # rows of a subsample, and how many times as many the next one has
_CANDIDATES = 100_000  # rows of which subsamples are drawn
_TRIAL = 400  # points at which sizes of subsamples are tried
_PILOTS, _PILOT_STEP = 8, 0.05
_LEAST = 0.5  # of the mean chance of a row: contributions at a few pilot points are no bound
AGREED = 0.1  # standard deviation over points of the difference of two subsamples, in log ratio
_SMALL_K, _SAME_K = 0.5, 0.2  # their k-hats: below the first, or as much apart as the second at most
_CHUNK = 50  # points between looks at the clock
_TIME = "max_seconds ended before the ratios of the Laplace approximation were computed: allow more seconds"

type Progress = Callable[[int, int], object] | None


@dataclass(frozen=True)
class LogRatios:
    """Log ratios of the posterior density to that of the normal approximation at points.

    Attributes
    ----------
    values : (point,)
    halves : (2, point), or (0, point)
        What each subsample says; none if all rows were summed.
    n_rows : int
        Rows that were summed.
    """

    values: Array
    halves: Array
    n_rows: int

    @property
    def error(self) -> float:
        """Standard deviation over points of the error of the values; zero if all rows were summed."""
        return 0.5 * float(np.std(self.halves[0] - self.halves[1])) if len(self.halves) else 0.0

    @property
    def log_mean_error(self) -> float:
        """Error of the log of their mean ratio that comes from taking some of the rows."""
        if not len(self.halves):
            return 0.0
        one, other = (Smoothed.of(half).log_mean for half in self.halves)
        return 0.5 * abs(one - other)

    @property
    def agree(self) -> bool:
        """Whether the subsamples do, in log ratio and k-hat."""
        if not len(self.halves):
            return True
        k_hats = [Smoothed.of(half).k_hat for half in self.halves]
        return self.agree_in_value and (max(k_hats) <= _SMALL_K or abs(k_hats[0] - k_hats[1]) <= _SAME_K)

    @property
    def agree_in_value(self) -> bool:
        """Whether the subsamples agree in log ratio."""
        return 2.0 * self.error <= AGREED


def log_ratios(
    at: NormalApproximation,
    data: Data,
    points: Array,
    *,
    rng: np.random.Generator,
    n_workers: int | None = None,
    until: float = math.inf,
    progress: Progress = None,
) -> LogRatios:
    """Log ratios at points (point, n_dim), standard normal ones of the approximation.

    Raises
    ------
    SamplingError
        The rows at hand are too few for subsamples that agree, or time has ended.
    KeyboardInterrupt
        After Ctrl-C.
    """
    run = _Run(at, n_workers or joblib.cpu_count(), until, progress)
    in_memory, size = data.sample is data, _FIRST
    if in_memory and data.shape[0] <= FEW_ROWS:
        return run.of_all(data, points)
    candidates = data.subset(_CANDIDATES, rng=rng)
    halves = _halves(at, candidates, rng)
    while 4 * size <= candidates.shape[0]:
        drawn = [half.drawn(size, rng) for half in halves]
        if run.of_subsamples(drawn, points[:_TRIAL]).agree_in_value:
            found = run.of_subsamples(drawn, points)
            if found.agree:
                return found
        size *= _TIMES
    if in_memory:
        return run.of_all(data, points)
    raise SamplingError(
        f"The Laplace approximation could not be checked: of {candidates.shape[0]:,} sampled rows two subsamples "
        f"disagree in log ratio by more than {AGREED}, because few rows decide, those of a small component. Use "
        'inference="nuts", or fewer components.'
    )


@dataclass(frozen=True)
class _Run:
    """Evaluation of densities at many points."""

    at: NormalApproximation
    n_workers: int
    until: float
    progress: Progress

    def of_all(self, data: Data, points: Array) -> LogRatios:
        """From all rows."""
        values = self._densities(LogPosterior(data, self.at.prior, self.at.coordinates), points)
        return LogRatios(values + _minus_log_normal(points), np.empty((0, len(points))), data.shape[0])

    def of_subsamples(self, drawn: list[Data], points: Array) -> LogRatios:
        """From disjoint subsamples."""
        halves = np.stack([self._of_some(some, points) for some in drawn]) + _minus_log_normal(points)
        return LogRatios(halves.mean(axis=0), halves, sum(some.shape[0] for some in drawn))

    def _of_some(self, some: Data, points: Array) -> Array:
        coordinates = self.at.coordinates
        rest: Expansion = self.at.likelihood - likelihood_expansion(some, _unwhitened(coordinates))
        densities = self._densities(LogPosterior(some, self.at.prior, coordinates), points)
        return densities + rest(coordinates.inner(points))

    def _densities(self, density: LogPosterior, points: Array) -> Array:
        density(points[0])  # compiled before threads begin

        def of_chunk(chunk: Array, stop: threading.Event) -> Array | None:
            if stop.is_set() or time.monotonic() >= self.until:
                return None
            return np.array([density(point)[0] for point in chunk])

        chunks = [points[i : i + _CHUNK] for i in range(0, len(points), _CHUNK)]
        found = in_threads(of_chunk, chunks, n_workers=self.n_workers, callback=self.progress)
        done = [values for values in found if values is not None]
        if len(done) < len(found):
            raise SamplingError(_TIME) if time.monotonic() >= self.until else KeyboardInterrupt("interrupted")
        return np.concatenate(done)


def _minus_log_normal(points: Array) -> Array:
    """Minus the log density of standard normal points (point, n_dim)."""
    return np.asarray(0.5 * (np.square(points).sum(axis=1) + points.shape[1] * LOG_2PI))


def _unwhitened(coordinates: Coordinates) -> Coordinates:
    return Coordinates.around(coordinates.centre, coordinates.sparse_weights)


@dataclass(frozen=True)
class _Half:
    """Half of the rows, with the chance of each to be drawn up to a factor, and what each counts in all."""

    data: Data
    chances: PerRow

    def drawn(self, size: int, rng: np.random.Generator) -> Data:
        """Systematically, in proportion to the chances; a row that is expected m times counts 1 / m as much a time."""
        order, expected = rng.permutation(len(self.chances)), self.chances * (size / self.chances.sum())
        ends = expected[order].cumsum()
        which = order[np.minimum(np.searchsorted(ends, np.arange(size) + rng.random(), side="right"), len(order) - 1)]
        chosen, times = np.unique(which, return_counts=True)
        weights = 2.0 * self.data.weights[chosen] * times / expected[chosen]
        return self.data.take(chosen).with_weights(weights)


def _halves(at: NormalApproximation, data: Data, rng: np.random.Generator) -> list[_Half]:
    """The rows, divided at random, with chances in proportion to what is left of them after the second order."""
    pilots = rng.standard_normal((_PILOTS, at.coordinates.n_dim))
    sizes = data.weights * _remainders(at, data, pilots)
    chances = sizes + _LEAST * data.weights * (sizes.sum() / data.weights.sum())
    order, middle = rng.permutation(len(chances)), len(chances) // 2
    return [_Half(data.take(np.sort(which)), chances[np.sort(which)]) for which in (order[:middle], order[middle:])]


def _remainders(at: NormalApproximation, data: Data, pilots: Array) -> PerRow:
    """Root mean square over points of what the log density of each row is beyond second order, (obs,)."""
    h, coordinates = _PILOT_STEP, at.coordinates
    steps = coordinates.inner(pilots) - coordinates.inner(np.zeros(pilots.shape))
    around = _unwhitened(coordinates)

    def log_densities(q: Array) -> PerRow:
        return row_densities(data, around.parameters(q[None]).mixture(0))

    centre, squares = log_densities(np.zeros(steps.shape[1])), np.zeros(data.shape[0])
    for step in steps:
        there, above, below = (log_densities(t * step) for t in (1.0, h, -h))
        quadratic = centre + (above - below) / (2.0 * h) + (above + below - 2.0 * centre) / (2.0 * h**2)
        squares += np.square(there - quadratic)
    return np.sqrt(squares / len(steps))
