"""Local search around a start: short EM runs, each with one component moved; improvements are kept.

EM stays near its start: a component in the wrong place hardly ever crosses over to the group of rows that lacks
one. Taking a random component away and putting it down at a random row crosses at once (random swaps, Zhao et
al. 2012; the moves of Ueda et al. 2000 without their criteria). Runs are short, and on many rows they see a
random subset only, so that a search costs less than the run to convergence that follows it.

How long searches last depends on what they cost by a model of cost, never on a clock: the same seed gives the same
fit on every machine. On one block of rows and without a prior, moves are made in compiled code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import types

from bayesgmm._common import Array, Factors
from bayesgmm._compiled import IN_1, IN_2, OUT_1, OUT_3, allocation_free, linked, record_type
from bayesgmm.data import PATTERNS, Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMResult, EMSettings, compiled_steps, run_em
from bayesgmm.em.m_step import MIXTURE, MixtureArrays, assembled, with_scale, write_log_scales
from bayesgmm.em.moments import covariance_factor
from bayesgmm.em.squarem import (
    AT_NOW,
    CONVERGED,
    FLOORED,
    ITERATES,
    NOW,
    RULES,
    Iterates,
    Rules,
    begin_again,
    check_convergence,
    point_at,
)
from bayesgmm.mixture import COMPONENT, COVARIANCE, SUMS, Mixture, Sums, add_rows
from bayesgmm.priors import PSEUDO_DATA, Model

MOST_ROWS = 5_000  # a search sees at most so many rows, and 50 for each free mean
TOLERANCE, _MOST_STEPS = 1e-4, 100  # of a short run
FEWEST = 2.0  # times D + 1 rows, of which the smallest new component has the size
_HOPELESS = 5  # moves that mend, or one a component, and then as many anew, of a search that meets no proper mixture
HEAD_START, _HOPE = 10, 20.0  # steps of a run before it is judged, and gains like the last that it may hope for
_RANDOM_RUNS, _RANDOM_STEPS = 5, 5  # of `small_em`
_UNINTERRUPTED = 0.005  # seconds of a short run that compiled code may make many of


class Effort(NamedTuple):
    """How long starts search, and when a race of starts is over.

    Attributes
    ----------
    patience : int
        Moves in a row without an improvement that end a search, for each component.
    seconds, times : float
        What a race may cost in any case, and how many times what `Plan.limit` says.
    met : int
        How often the best optimum must be met to end a race.
    most_starts : int
    enough : float
        Gain per row of the last step at which a start of a number may end before EM's tolerance is met.
    """

    patience: int
    seconds: float
    times: float
    met: int
    most_starts: int
    enough: float = 0.0

    def patience_for(self, n_components: int) -> int:
        """Moves without an improvement that end a search."""
        return self.patience * n_components + 2


EFFORTS = {"standard": Effort(5, 0.1, 10.0, 5, 30), "thorough": Effort(10, 2.0, 50.0, 10, 40)}


class Places(NamedTuple):
    """Where moves may put components, and how large.

    Attributes
    ----------
    running : (row,)
        Running total of the weights of the rows.
    factor : (1, rows, columns)
        Factor of the covariance of the data, which new components have in small.
    precision_factor : (1, rows, columns)
        Its inverse.
    log_determinant : float
        Of that inverse.
    log_smallest : float
        Logarithm of the smallest share of the volume of the data that a new component may fill.
    keeps : int
        What a new component keeps of the old one: nothing (0), where shapes are tied together its shape (1), where
        volumes and shapes are its covariance (2), where volumes alone are its volume (3).
    """

    running: Array
    factor: Factors
    precision_factor: Factors
    log_determinant: float
    log_smallest: float
    keeps: int


class Cost(NamedTuple):
    """Seconds of one core, roughly: for a pass over the rows with its M-step, and for what a run takes besides."""

    of_pass: float
    of_run: float

    @classmethod
    def of(cls, model: Model, n_rows: int) -> "Cost":
        """Of rows in memory."""
        of_pass = model.family.parametrisation.pass_seconds(model.n_components, model.n_features, n_rows)
        return cls(of_pass, 1e-5 if model.prior is None else 1e-4)


PLACES = record_type(Places, OUT_1, OUT_3, OUT_3, types.float64, types.float64, types.int64)
COST = record_type(Cost, types.float64, types.float64)


@dataclass(slots=True)
class ShortEM:
    """Short EM runs of a search: which ends are degenerate, the settings, when to stop, and what was spent.

    Attributes
    ----------
    degeneracy : Degeneracy
    settings : EMSettings
    stopped : callable
        Whether the user wants an end.
    limit : float
        Seconds that may be spent, by the model of cost.
    spent : float
    end : EMResult, optional
        Where a search of all rows ended.
    """

    degeneracy: Degeneracy
    settings: EMSettings
    stopped: Callable[[], bool]
    limit: float = math.inf
    spent: float = 0.0
    end: EMResult | None = None

    def run(self, data: Data, start: Mixture, max_iter: int = _MOST_STEPS) -> EMResult:
        """One short run."""
        settings = replace(self.settings, tol=self.tolerance, max_iter=max_iter)
        prior = self.degeneracy.model.prior
        run = run_em(data, start, prior=prior, settings=settings, callback=lambda state: self.stopped())
        self.charge(data, run)
        return run

    def charge(self, data: Data, run: EMResult) -> None:
        """Add the cost of a run."""
        cost = Cost.of(self.degeneracy.model, data.shape[0])
        self.spent += cost.of_run + (run.n_iter + 1) * cost.of_pass

    @property
    def tolerance(self) -> float:
        """Of short runs, per row."""
        return max(self.settings.tol or 0.0, TOLERANCE)

    @property
    def over(self) -> bool:
        """Whether to search no further."""
        return self.spent >= self.limit or self.stopped()


@dataclass(frozen=True, slots=True)
class SearchData:
    """Data of a search: rows, and where among them components may be put."""

    model: Model
    data: Data
    places: Places

    @classmethod
    def of_rows(cls, data: Data, degeneracy: Degeneracy, *, size: int, rng: np.random.Generator) -> "SearchData":
        """All rows, or a random subset that stands for them: rows are drawn in proportion to their weights."""
        model, some = degeneracy.model, data.subset(size, rng=rng)
        d, family = model.n_features, model.family
        factor = covariance_factor(degeneracy.moments, family, degeneracy.floors)
        precision = family.precision_factors(factor)
        log_determinant = float(family.log_precision_determinants(precision, d)[0])
        log_smallest = math.log(min(FEWEST * family.parametrisation.fewest_rows(d) / some.total, 1.0))
        keeps = 2 if family.shared else family.parametrisation.keeps if family.tied else 0
        return cls(model, some, Places(some.weights.cumsum(), factor, precision, log_determinant, log_smallest, keeps))

    def picked(self, n: int, rng: np.random.Generator) -> Array:
        """Random rows, different ones where there are enough, with chances in proportion to their weights.

        The first arrivals of clocks that ring at those rates (Efraimidis & Spirakis 2006).
        """
        rows, weights = self.data.filled, self.data.weights
        if n > np.count_nonzero(weights):
            return rows[rng.choice(len(rows), n, p=weights / weights.sum())]
        with np.errstate(divide="ignore"):
            arrivals = rng.standard_exponential(len(rows)) / weights
        return rows[np.argpartition(arrivals, n - 1)[:n]]

    def scattered(self, rng: np.random.Generator) -> Mixture:
        """Equal components at random rows."""
        n_components, family = self.model.n_components, self.model.family
        size, n_blocks = self.new_size(rng.random()), family.n_blocks(n_components)
        factors = np.repeat(self.places.factor * size, n_blocks, axis=0)
        precision = np.repeat(self.places.precision_factor / size, n_blocks, axis=0)
        weights = np.full(n_components, 1.0 / n_components)
        means, component = self.picked(n_components, rng), self.model.component
        return with_scale(family, weights, means, factors, precision, component=component)

    def new_size(self, chance: float) -> float:
        """By how much to shrink a factor, to a share of volume log-uniform between a few rows' and all of it."""
        return math.exp(self.places.log_smallest * chance / self.model.n_features)

    def moved(self, mixture: Mixture, chances: Array) -> Mixture:
        """The mixture with a random component put down at a random row, with a fair share of the weight.

        ``chances`` (3,), uniform on the unit interval, say which component, which row, and its size.
        """
        (k, d), places = mixture.means.shape, self.places
        one = int(chances[0] * k)
        row = int(np.searchsorted(places.running[:-1], chances[1] * places.running[-1], side="right"))
        weights, means = mixture.weights.copy(), mixture.means.copy()
        factors, precision = mixture.factors.copy(), mixture.precision_factors.copy()
        weights[one] = 0.0
        weights *= (1.0 - 1.0 / k) / max(weights.sum(), 1e-300)
        weights[one] = 1.0 / k
        means[one] = self.data.filled[row]
        size = self.new_size(chances[2])
        log_det = mixture.family.log_precision_determinants(precision, d)[min(one, len(precision) - 1)]
        beside_data = math.exp((log_det - places.log_determinant) / d)
        if places.keeps == 1:
            size *= beside_data
            factors[one], precision[one] = factors[one] * size, precision[one] / size
        elif places.keeps != 2:
            size = size if places.keeps == 0 else 1.0 / beside_data
            factors[one], precision[one] = places.factor[0] * size, places.precision_factor[0] / size
        weights, component, others = np.maximum(weights, 1e-200), mixture.component, mixture.log_scale[k:]
        return with_scale(mixture.family, weights, means, factors, precision, component=component, others=others)

    def mended(self, run: EMResult, rng: np.random.Generator) -> Mixture:
        """A degenerate end with its narrowest component put down at a random row.

        Of a broken one, and where all have one volume, which has collapsed, all components.
        """
        family, (k, d) = run.mixture.family, run.mixture.means.shape
        if self.places.keeps == 2 or not np.isfinite(run.objective):
            return self.scattered(rng)
        log_det = family.log_precision_determinants(run.mixture.precision_factors, d)
        fewest = family.parametrisation.fewest_rows(d)
        worst = int(np.argmin(run.counts) if run.counts.min() < fewest else np.argmax(log_det))
        chances = rng.random(3)
        chances[0] = (worst + 0.5) / k
        return self.moved(run.mixture, chances)


def rows_for(n_components: int, n_features: int) -> int:
    """How many rows stand for all in a search."""
    return max(MOST_ROWS, 50 * n_components * n_features)


def search_from(
    run: EMResult, search_data: SearchData, short_em: ShortEM, *, patience: int, rng: np.random.Generator
) -> EMResult | None:
    """The best non-degenerate end of a chain of moves, if there is any, from where a run ended."""
    best, idle = _if_better(run, None, short_em), 0
    while idle < patience and not short_em.over:
        if best is None:  # with many components only mending succeeds, with few new ones do more often
            n_mended = max(_HOPELESS, search_data.model.n_components)
            if idle == n_mended + _HOPELESS:
                break
            anew = idle >= n_mended
            proposal = search_data.scattered(rng) if anew else search_data.mended(run, rng)
            n_made, run = 1, _raced(search_data, proposal, None, short_em)
        else:
            n_made, run = _first_gain(search_data, best, rng.random((patience - idle, 3)), short_em)
        found = _if_better(run, best, short_em)
        best, idle = found, idle + n_made if found is best else 0
    return best


def _first_gain(search_data: SearchData, best: EMResult, chances: Array, short_em: ShortEM) -> tuple[int, EMResult]:
    """Move components until a run ends clearly higher than the best one: the moves made, and that run or the best."""
    cost = Cost.of(search_data.model, search_data.data.shape[0])
    alone = len(search_data.data.blocks) == 1 and search_data.model.prior is None
    if alone and cost.of_pass * _MOST_STEPS <= _UNINTERRUPTED:
        return compiled_moves(search_data, best, chances, short_em)
    return plain_moves(search_data, best, chances, short_em)


def plain_moves(search_data: SearchData, best: EMResult, chances: Array, short_em: ShortEM) -> tuple[int, EMResult]:
    """`_first_gain` as it reads."""
    enough = short_em.degeneracy.log_mass(best) + TOLERANCE * search_data.data.total
    for n_made, each in enumerate(chances, start=1):
        run = _raced(search_data, search_data.moved(best.mixture, each), enough, short_em)
        gained = bool(np.isfinite(run.objective)) and short_em.degeneracy.log_mass(run) > enough
        if gained or short_em.over:
            return n_made, run if gained else best
    return len(chances), best


def _raced(search_data: SearchData, proposal: Mixture, enough: float | None, short_em: ShortEM) -> EMResult:
    """A run that is given up early where twenty more gains like its last would not be enough.

    Where there is no best one to beat yet, it is if it is degenerate by then.
    """
    run = short_em.run(search_data.data, proposal, max_iter=HEAD_START)
    if run.converged or run.n_iter < HEAD_START or len(run.history) < 2:
        return run
    hoped = short_em.degeneracy.log_mass(run) + _HOPE * (run.history[-1] - run.history[-2])
    hopeless = not short_em.degeneracy.is_proper(run) if enough is None else hoped < enough
    return run if hopeless else short_em.run(search_data.data, run.mixture)


def small_em(search_data: SearchData, short_em: ShortEM, *, rng: np.random.Generator) -> Mixture:
    """The best of several very short runs from random rows (Biernacki, Celeux & Govaert 2003)."""
    starts = (search_data.scattered(rng) for _ in range(_RANDOM_RUNS))
    runs = [short_em.run(search_data.data, start, max_iter=_RANDOM_STEPS) for start in starts]
    runs.sort(
        key=lambda run: short_em.degeneracy.log_mass(run) if math.isfinite(run.objective) else -math.inf, reverse=True
    )
    return next((run for run in runs if short_em.degeneracy.is_proper(run)), runs[0]).mixture


def _if_better(run: EMResult, best: EMResult | None, short_em: ShortEM) -> EMResult | None:
    """The run if it is better than the best one and not degenerate."""
    better = np.isfinite(run.objective) and (
        best is None or short_em.degeneracy.log_mass(run) > short_em.degeneracy.log_mass(best)
    )
    return run if better and short_em.degeneracy.is_proper(run) else best


def compiled_moves(search_data: SearchData, best: EMResult, chances: Array, short_em: ShortEM) -> tuple[int, EMResult]:
    """`_first_gain` in compiled code."""
    model, settings, before = search_data.model, short_em.settings, best.mixture
    shapes = before.means.shape, before.precision_factors.shape[1:]
    sums = Sums.empty(*shapes, n_others=before.component.n_sums)
    iterates = Iterates.begin(before, accelerate=settings.accelerate, n_alone=_MOST_STEPS + 3)
    n_made, spent, gained, n_steps, converged, log_likelihood = _compiled_moves(
        *before.kernel,
        Rules(short_em.degeneracy.floors, short_em.tolerance * search_data.data.total, _MOST_STEPS),
        *search_data.data.blocks[0][:3],
        sums,
        model.pseudo_data,
        iterates,
        MixtureArrays(*(np.require(array, requirements=["C", "W"]) for array in MixtureArrays.of(before))),
        best.objective + TOLERANCE * search_data.data.total,
        np.ascontiguousarray(search_data.data.filled.T),
        search_data.places,
        chances,
        Cost.of(model, search_data.data.shape[0]),
        short_em.spent,
        short_em.limit,
    )
    short_em.spent = spent
    if not gained:
        return n_made, best
    objective, n_floored = float(iterates.state[NOW]), int(iterates.state[FLOORED])
    history, mixture = np.array([objective]), assembled(before, iterates.now)
    return n_made, EMResult(mixture, objective, log_likelihood, n_steps, converged, history, sums.counts, n_floored)


@allocation_free
def _put_down(covariance, component, filled, best, places, chances, iterates):  # type: ignore[no-untyped-def]
    """`SearchData.moved` into the present point."""
    k, d = best.means.shape
    now, n_blocks = iterates.buffers[AT_NOW], best.factors.shape[0]
    one, first, last = int(chances[0] * k), 0, places.running.shape[0] - 1
    target = chances[1] * places.running[last]
    while first < last:
        middle = (first + last) // 2
        if places.running[middle] <= target:
            first = middle + 1
        else:
            last = middle
    means, factors, precision = iterates.means[now], iterates.factors[now], iterates.precision_factors[now]
    size = math.exp(places.log_smallest * chances[2] / d)
    if places.keeps == 1 or places.keeps == 3:
        log_det = covariance.log_determinant(best.precision_factors[one], d)
        beside_data = math.exp((log_det - places.log_determinant) / d)
        size = size * beside_data if places.keeps == 1 else 1.0 / beside_data
    for j in range(k):
        for i in range(d):
            means[j, i] = filled[i, first] if j == one else best.means[j, i]
    for g in range(n_blocks):
        factor, inverse = best.factors[g], best.precision_factors[g]
        if g == one and places.keeps != 1 and places.keeps != 2:
            factor, inverse = places.factor[0], places.precision_factor[0]
        times = size if g == one and places.keeps != 2 else 1.0
        for i in range(factor.shape[0]):
            for j in range(factor.shape[1]):
                factors[g, i, j], precision[g, i, j] = factor[i, j] * times, inverse[i, j] / times
    others = 0.0
    for j in range(k):
        others += best.weights[j] if j != one else 0.0
    share = (1.0 - 1.0 / k) / max(others, 1e-300)
    for j in range(k):
        iterates.weights[now, j] = max(1.0 / k if j == one else best.weights[j] * share, 1e-200)
    for i in range(k, best.log_scale.shape[0]):
        iterates.log_scale[now, i] = best.log_scale[i]
    write_log_scales(covariance, component, point_at(iterates, now))


@allocation_free
def _short_run(covariance, component, rules, x, row_weights, patterns, sums, prior, iterates):  # type: ignore[no-untyped-def]
    """A run from the present point: steps, whether it converged, log-likelihood, and the gain of its last step."""
    now = begin_again(iterates)
    sums.counts.fill(0.0)
    sums.first.fill(0.0)
    sums.second.fill(0.0)
    sums.others.fill(0.0)
    point = iterates.log_scale[now], iterates.means[now], iterates.precision_factors[now]
    value = add_rows(covariance, component, x, row_weights, patterns, *point, sums)
    verdict = check_convergence(iterates.state, value, rules.smallest_gain)
    if not math.isfinite(value):
        return 0, False, value, math.nan
    before = iterates.state[NOW]
    n_steps, verdict, value = compiled_steps(
        covariance, component, rules, x, row_weights, patterns, sums, prior, iterates
    )
    before = iterates.objectives[n_steps - 2] if n_steps > 1 else before
    return n_steps, verdict == CONVERGED, value, iterates.state[NOW] - before


@linked(
    types.Tuple((types.int64, types.float64, types.boolean, types.int64, types.boolean, types.float64))(
        *(COVARIANCE, COMPONENT, RULES, IN_2, IN_1, PATTERNS, SUMS, PSEUDO_DATA, ITERATES, MIXTURE, types.float64),
        *(IN_2, PLACES, IN_2, COST, types.float64, types.float64),
    ),
    allocates=False,
)
def _compiled_moves(  # type: ignore[no-untyped-def]
    covariance,
    component,
    rules,
    x,
    row_weights,
    patterns,
    sums,
    prior,
    iterates,
    best,
    enough,
    filled,
    places,
    chances,
    cost,
    spent,
    limit,
):
    """`plain_moves`; the last run is in the iterates and the sums."""
    head = Rules(rules.floors, rules.smallest_gain, HEAD_START)
    n_steps, converged, value = 0, False, 0.0
    for move in range(chances.shape[0]):
        _put_down(covariance, component, filled, best, places, chances[move], iterates)
        n_steps, converged, value, gain = _short_run(
            covariance, component, head, x, row_weights, patterns, sums, prior, iterates
        )
        spent += cost.of_run + (n_steps + 1) * cost.of_pass
        hoped = iterates.state[NOW] + _HOPE * gain
        if not (converged or n_steps < HEAD_START or hoped < enough):
            n_steps, converged, value, gain = _short_run(
                covariance, component, rules, x, row_weights, patterns, sums, prior, iterates
            )
            spent += cost.of_run + (n_steps + 1) * cost.of_pass
        gained = math.isfinite(iterates.state[NOW]) and iterates.state[NOW] > enough
        if gained or spent >= limit:
            return move + 1, spent, gained, n_steps, converged, value
    return chances.shape[0], spent, False, n_steps, converged, value
