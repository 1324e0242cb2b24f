"""Local search around a start: short EM runs, each with one component moved; improvements are kept.

EM stays near its start: a component in the wrong place hardly ever crosses over to the group of rows that lacks
one. Taking a random component away and putting it down at a random row crosses at once (random swaps, Zhao et
al. 2012; the moves of Ueda et al. 2000 without their criteria). Runs are short, and on many rows they see a
random subset only, so that a search costs less than the run to convergence that follows it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm._common import Array, Factors, Means, Weights
from bayesgmm.data import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMResult, EMSettings, run_em
from bayesgmm.em.moments import covariance_factor
from bayesgmm.mixture import LOG_2PI, CovarianceFamily, Mixture
from bayesgmm.priors import Model

MOST_ROWS = 2_000  # a search sees at most so many rows, and 50 for each free mean
MOVES_PER_COMPONENT, MOST_MOVES = 10, 50
APPROACH_SHARE = 10  # times as many rows as a subset: steps on the subset cost little
COARSE_ROWS, COARSE_MOVES, COARSE_SHARE = 1_000, 20, 20
_TOLERANCE, _MOST_STEPS = 1e-4, 100  # of a short run
_FEWEST = 2.0  # times D + 1 rows, of which the smallest new component has the size
_HOPELESS = 5  # moves after which a search ends that has met no proper mixture
_HEAD_START, _HOPE = 10, 20.0  # steps of a run before it is judged, and gains like the last that it may hope for
RANDOM_RUNS, COARSE_RUNS, _RANDOM_STEPS = 10, 4, 5  # of `small_em`


@dataclass(frozen=True, slots=True)
class SearchData:
    """Data of a search: rows, at which components may be put, and the size of a new component.

    Attributes
    ----------
    model : Model
    data : Data
    factor : (1, rows, columns)
        Factor of the covariance of the data, which new components have in small.
    precision_factor : (1, rows, columns)
        Its inverse.
    smallest_share : float
        How little of the volume of the data a new component may fill.
    n_moves : int
        How many moves a search makes.
    """

    model: Model
    data: Data
    factor: Factors
    precision_factor: Factors
    smallest_share: float
    n_moves: int

    @classmethod
    def of_rows(
        cls,
        data: Data,
        degeneracy: Degeneracy,
        *,
        rng: np.random.Generator,
        coarse: bool = False,
    ) -> "SearchData":
        """All rows, or a random subset that stands for them: rows are drawn in proportion to their weights.

        A coarse search has a small subset, and makes moves only where that is a small part of the rows.
        """
        (n_rows, d), model = data.shape, degeneracy.model
        size = COARSE_ROWS if coarse else rows_for(model.n_components, d)
        n_moves = moves_for(model.n_components)
        if coarse:
            n_moves = min(n_moves, COARSE_MOVES) if n_rows >= COARSE_SHARE * size else 0
        factor = covariance_factor(degeneracy.moments, model.family, degeneracy.floors)
        some = data.subset(size, rng=rng)
        precision = model.family.precision_factors(factor)
        share = min(_FEWEST * (d + 1.0) / some.total, 1.0)
        return cls(model, some, factor, precision, share, n_moves)

    def picked(self, n: int, rng: np.random.Generator) -> Array:
        """Random rows, different ones where there are enough, with chances in proportion to their weights.

        The first arrivals of clocks that ring at those rates (Efraimidis & Spirakis 2006).
        """
        rows, weights = self.data.rows, self.data.weights
        if n > np.count_nonzero(weights):
            return rows[rng.choice(len(rows), n, p=weights / weights.sum())]
        with np.errstate(divide="ignore"):
            arrivals = rng.standard_exponential(len(rows)) / weights
        return rows[np.argpartition(arrivals, n - 1)[:n]]

    def scattered(self, rng: np.random.Generator) -> Mixture:
        """Equal components at random rows."""
        n_components, family = self.model.n_components, self.model.family
        size, n_blocks = self.new_size(rng), family.n_blocks(n_components)
        factors = np.repeat(self.factor * size, n_blocks, axis=0)
        precision = np.repeat(self.precision_factor / size, n_blocks, axis=0)
        weights = np.full(n_components, 1.0 / n_components)
        return _assembled(family, weights, self.picked(n_components, rng), factors, precision)

    def new_size(self, rng: np.random.Generator) -> float:
        """By how much to shrink a factor, to a share of volume log-uniform between a few rows' and all of it."""
        return math.exp(rng.uniform(math.log(self.smallest_share), 0.0) / self.data.shape[1])

    def moved(self, mixture: Mixture, rng: np.random.Generator) -> Mixture:
        """The mixture with a random component put down at a random row, with a fair share of the weight."""
        k = mixture.n_components
        one = rng.integers(k)
        weights, means = mixture.weights.copy(), mixture.means.copy()
        factors, precision = mixture.factors.copy(), mixture.precision_factors.copy()
        weights[one] = 0.0
        weights *= (1.0 - 1.0 / k) / max(weights.sum(), 1e-300)
        weights[one] = 1.0 / k
        means[one] = self.picked(1, rng)[0]
        if not mixture.family.shared:
            size = self.new_size(rng)
            factors[one], precision[one] = self.factor[0] * size, self.precision_factor[0] / size
        if mixture.family.restriction(*means.shape) is not None:  # what is tied together stays so
            matrices = mixture.family.expand(factors, *means.shape)
            factors = mixture.family.factors(mixture.family.compress(matrices), means.shape[1])
            precision = mixture.family.precision_factors(factors)
        return _assembled(mixture.family, np.maximum(weights, 1e-200), means, factors, precision)


@dataclass(frozen=True, slots=True)
class ShortEM:
    """Short EM runs of a search: which ends are degenerate, the settings, and when to stop."""

    degeneracy: Degeneracy
    settings: EMSettings
    stopped: Callable[[], bool]

    def run(self, data: Data, start: Mixture, max_iter: int = _MOST_STEPS) -> EMResult:
        """One short run."""
        tol, steps = max(self.settings.tol, _TOLERANCE), min(max_iter, self.settings.max_iter)
        settings = replace(self.settings, tol=tol, max_iter=steps)
        prior = self.degeneracy.model.prior
        return run_em(data, start, prior=prior, settings=settings, callback=lambda state: self.stopped())


def moves_for(n_components: int) -> int:
    """How many moves a search makes: the more components, the more ways to place them."""
    return min(MOVES_PER_COMPONENT * n_components, MOST_MOVES) if n_components > 1 else 0


def rows_for(n_components: int, n_features: int) -> int:
    """How many rows stand for all in a search."""
    return max(MOST_ROWS, 50 * n_components * n_features)


def coarse_rows_for(n_rows: int, n_features: int, n_components: int) -> int:
    """How many rows a start is made from if nothing is searched: more where EM goes on with them, see `approached`."""
    size = rows_for(n_components, n_features)
    return size if n_rows >= APPROACH_SHARE * size else max(COARSE_ROWS, 20 * n_components * n_features)


def approached(start: Mixture, some: Data, short_em: ShortEM, *, n_rows: int) -> Mixture:
    """Where a short run on a subset of rows ends, if all the rows are many times as many."""
    if n_rows < APPROACH_SHARE * some.shape[0]:
        return start
    run = short_em.run(some, start)
    return run.mixture if np.isfinite(run.objective) and short_em.degeneracy.is_proper(run) else start


def search_from(start: Mixture, search_data: SearchData, short_em: ShortEM, *, rng: np.random.Generator) -> Mixture:
    """The best non-degenerate mixture of a chain of moves; the start where there is none, or no move is made."""
    if search_data.n_moves == 0:
        return start
    best = _if_better(short_em.run(search_data.data, start), None, short_em)
    for move in range(search_data.n_moves):
        if short_em.stopped() or (best is None and move >= _HOPELESS):
            break
        proposal = search_data.scattered(rng) if best is None else search_data.moved(best.mixture, rng)
        best = _if_better(_raced(search_data, proposal, best, short_em), best, short_em)
    return start if best is None else best.mixture


def _raced(search_data: SearchData, proposal: Mixture, best: EMResult | None, short_em: ShortEM) -> EMResult:
    """A run that is given up early where twenty more gains like its last would not bring it to the best one."""
    run = short_em.run(search_data.data, proposal, max_iter=_HEAD_START)
    if run.converged or run.n_iter < _HEAD_START or len(run.history) < 2:
        return run
    hoped = run.objective + _HOPE * (run.history[-1] - run.history[-2])
    return run if best is not None and hoped < best.objective else short_em.run(search_data.data, run.mixture)


def small_em(
    search_data: SearchData, short_em: ShortEM, *, rng: np.random.Generator, n_runs: int = RANDOM_RUNS
) -> Mixture:
    """The best of several very short runs from random rows (Biernacki, Celeux & Govaert 2003)."""
    runs = [short_em.run(search_data.data, search_data.scattered(rng), max_iter=_RANDOM_STEPS) for _ in range(n_runs)]
    runs.sort(key=lambda run: run.objective if math.isfinite(run.objective) else -math.inf, reverse=True)
    return next((run for run in runs if short_em.degeneracy.is_proper(run)), runs[0]).mixture


def _if_better(run: EMResult, best: EMResult | None, short_em: ShortEM) -> EMResult | None:
    """The run if it is better than the best one and not degenerate."""
    better = np.isfinite(run.objective) and (best is None or run.objective > best.objective)
    return run if better and short_em.degeneracy.is_proper(run) else best


def _assembled(
    family: CovarianceFamily, weights: Weights, means: Means, factors: Factors, precision_factors: Factors
) -> Mixture:
    log_det = family.log_precision_determinants(precision_factors, means.shape[1])
    log_scale = np.log(weights) + log_det - 0.5 * means.shape[1] * LOG_2PI
    covariances = family.covariances(factors, *means.shape)
    return Mixture.from_checked(
        family, weights, np.ascontiguousarray(means), covariances, factors, precision_factors, log_scale
    )
