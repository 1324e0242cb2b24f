"""Plan of a multi-start EM fit: what its starts have in common, how each is made, and the record of their ends."""

import math
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMResult, EMSettings
from bayesgmm.em.initialization import (
    DECORRELATED,
    INIT_METHODS,
    SCALED,
    Initialisation,
    aligned_to_prior,
    distances_for,
    starting_mixture,
)
from bayesgmm.em.local_search import (
    EFFORTS,
    HEAD_START,
    Cost,
    Effort,
    SearchData,
    ShortEM,
    rows_for,
    search_from,
    small_em,
)
from bayesgmm.em.split_merge import split_and_merge
from bayesgmm.mixture import Mixture
from bayesgmm.priors import Model

MIXED, SMALL_EM, GIVEN = "mixed", "small_em", "given"
KINDS_IN_TURN = ("short_kmeans", "random_from_data", "short_hierarchical", SMALL_EM)  # of ``"mixed"``
KINDS = (*INIT_METHODS, SMALL_EM, MIXED)
SAME_OPTIMUM = 10.0  # objectives closer than this many EM tolerances count as one optimum
_COMPARED_ROWS = 40_000  # starts are compared on so many rows, or on twice as many as a search sees
_QUICK = 3e-4  # seconds of a pass over all rows: below, every start is run to its end
OF_RACE, _OF_NUMBER, _MORE_PATIENT = 0.25, 0.1, 2  # what a start may cost of a race, in one and else, and its patience
_COARSE = 1e-3  # gain per row of a step at which others stop
_LEFT = 0.25  # of that share is left for random moves, after those that were weighed
_JUDGED = 2  # steps after which starts are compared
_BY_MEANS = ("short_kmeans", "kmeans")  # kinds whose partitions depend on distances alone
_MANY = 6  # components from which on random moves seldom meet the right one
_SEVERAL = 5  # starts from which on it says something that the best was reached only once
_COMPARED_TO = 1e-5  # tolerance of runs on a part of the rows


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the starts of a fit have in common."""

    data: Data
    model: Model
    settings: EMSettings
    initialisation: Initialisation
    start: Mixture | None
    degeneracy: Degeneracy
    effort: Effort = EFFORTS["standard"]
    in_race: bool = False

    @classmethod
    def of(
        cls,
        data: Data,
        model: Model,
        settings: EMSettings | None,
        initialisation: Initialisation,
        *,
        start: Mixture | None = None,
        effort: Effort = EFFORTS["standard"],
        in_race: bool = False,
    ) -> Self:
        """The plan for data, with the criteria of degeneracy that follow from these and the settings."""
        criteria = Degeneracy.of(data, settings or EMSettings(), model)
        floored = criteria.with_floors(settings or EMSettings())
        return cls(data, model, floored, initialisation, start, criteria, effort, in_race)

    @property
    def tolerance(self) -> float:
        """Objectives no further apart count as one optimum."""
        return SAME_OPTIMUM * self.settings.smallest_gain(self.data.total)

    @property
    def smallest_floor(self) -> float:
        """The smallest variance that a component may have in any feature."""
        return float(self.degeneracy.floors.min())

    @property
    def given(self) -> bool:
        """Whether the user said where to start, so that every start is the same."""
        return self.start is not None or self.initialisation.fixed(self.model.n_components)

    @property
    def searched_in_part(self) -> bool:
        """Whether starts search on, on a part of the rows."""
        k, d = self.model.n_components, self.model.n_features
        return self.searched and not self.given and rows_for(k, d) < self.data.shape[0]

    @property
    def searched(self) -> bool:
        """Whether starts search on: not where the user said which component is which, or no end can be proper."""
        enough = self.degeneracy.fewest * self.model.n_components <= self.data.total
        alone = self.model.n_components == 1 or self.start is not None or self.initialisation.labelled
        return not alone and (enough or self.model.prior is not None)

    def part(self, rng: np.random.Generator) -> Data | None:
        """Rows on which starts are compared before the best go on; None if each runs to its end, because that is quick.

        All of them, or of many times as many a random part, the same for all starts.
        """
        size = self.n_compared
        if not self.searched or self.cost.of_pass < _QUICK:
            return None
        return self.data.subset(size, rng=rng) if self.data.shape[0] >= 2 * size else self.data.sample

    @property
    def settings_of_part(self) -> EMSettings:
        """Of runs there."""
        return replace(self.settings, tol=max(self.settings.tol or 0.0, _COMPARED_TO))

    def limit(self, history: Array) -> float:
        """Seconds that a race may cost, by the model of cost, whose first run has these objectives.

        A few times what EM by array operations, without compiled code, takes from its second step until one gains
        less than 1e-3 per row. Where there are more parameters than rows the highest likelihood means little, and
        less is spent on it.
        """
        small = np.flatnonzero(np.diff(history) <= _COARSE * self.data.total)
        n_steps = small[0] if len(small) else len(history) - 1
        (n_rows, d), k = self.data.shape, self.model.n_components
        of_entry = 6e-8 + (1.3e-10 * d * d if self.model.family.parametrisation.correlated else 0.0)
        seconds = self.effort.seconds * min(1.0, self.data.total / self.model.n_parameters)
        return max(seconds, self.effort.times * float(n_steps - 1) * (2e-4 + n_rows * k * of_entry))

    @property
    def n_compared(self) -> int:
        """How many rows starts are compared on, if there are many times as many."""
        return max(_COMPARED_ROWS, 2 * rows_for(self.model.n_components, self.data.shape[1]))

    @property
    def cost(self) -> Cost:
        """Of EM on all rows."""
        return Cost.of(self.model, self.data.shape[0])

    def kind(self, index: int) -> str:
        """What a start is made by."""
        if self.given:
            return GIVEN
        mixed = self.initialisation.method == MIXED
        kind = self.kinds_in_turn[index % len(self.kinds_in_turn)] if mixed else self.initialisation.method
        # Random short runs choose all parameters; where some are given, random rows stand in for them.
        return "random_from_data" if kind == SMALL_EM and self.initialisation.labelled else kind

    @property
    def kinds_in_turn(self) -> tuple[str, ...]:
        """Of ``"mixed"``; of a number of starts only what is worth its passes, see `weighs_moves`."""
        if self.in_race or not self.searched or self.model.prior is not None:
            return KINDS_IN_TURN
        if self.weighs_distances:
            return KINDS_IN_TURN[:1]
        n_rows = min(self.data.shape[0], rows_for(self.model.n_components, self.model.n_features))
        return KINDS_IN_TURN if Cost.of(self.model, n_rows).of_pass < _QUICK else KINDS_IN_TURN[:3]

    def starting_mixture(self, index: int, rng: np.random.Generator, short_em: ShortEM) -> Mixture:
        """A start of its kind, from which a search goes on unless the user gave parameters.

        Where a limit to its cost is not known yet, it is a share of what a race may cost after such a start. Outside a
        race a search is more patient, because no further starts may follow. With a prior every other start searches by
        the likelihood: a mode in many dimensions shrinks a component of few rows so much that it takes no others.
        """
        if self.start is not None:
            return self.start
        kind, d, k = self.kind(index), self.model.n_features, self.model.n_components
        if not self.searched and kind != SMALL_EM:
            return self.plain_start(kind, index, rng, self.data.sample)
        for criteria in self.criteria(index):
            short_em.degeneracy = criteria
            search_data = SearchData.of_rows(self.data, criteria, size=rows_for(k, d), rng=rng)
            if kind == SMALL_EM:
                start = self.aligned(small_em(search_data, short_em, rng=rng))
            elif self.weighs_distances and kind in _BY_MEANS:
                start = self.likely_start(kind, search_data, short_em, rng=rng)
            else:
                start = self.plain_start(kind, index, rng, search_data.data)
            if not self.searched:
                return start
            run, history = self.first_run(search_data, start, short_em)
            if short_em.limit == math.inf:
                share = (OF_RACE if self.in_race else _OF_NUMBER) * self.limit(history)
                short_em.limit = max(share, short_em.spent + _LEFT * share) if self.weighs_distances else share
            patience = self.effort.patience_for(k) * (1 if self.in_race else _MORE_PATIENT)
            best = search_from(run, search_data, short_em, patience=patience, rng=rng)
            if best is not None:
                short_em.end = best if search_data.data is self.data and self.model.prior is None else None
                return best.mixture
        return run.mixture if np.isfinite(run.objective) else start

    @property
    def weighs_moves(self) -> bool:
        """Whether moves are weighed, not random: of a number of starts with many components."""
        family = self.model.family
        regular = self.model.prior is None and self.smallest_floor > 0.0
        apart = not family.shared and not family.tied
        return not self.in_race and self.searched and self.model.n_components >= _MANY and regular and apart

    @property
    def weighs_distances(self) -> bool:
        """Whether starts are by k-means, with the distances that promise most: covariances may have any direction.

        Moves mend what k-means misses there, more than other kinds of starts find.
        """
        return self.weighs_moves and self.model.family.parametrisation.correlated

    def likely_start(
        self, kind: str, search_data: SearchData, short_em: ShortEM, *, rng: np.random.Generator
    ) -> Mixture:
        """Rows shared out by each of the distances that differ: what has the highest likelihood two steps later."""
        starts = (self.start_by(kind, each, rng, search_data.data) for each in distances_for(self.model.family))
        runs = [short_em.run(search_data.data, start, max_iter=_JUDGED) for start in starts]
        finite = [run for run in runs if np.isfinite(run.objective)] or runs
        return max(finite, key=lambda run: (short_em.degeneracy.is_proper(run), run.objective)).mixture

    def first_run(self, search_data: SearchData, start: Mixture, short_em: ShortEM) -> tuple[EMResult, Array]:
        """The run from which a search goes on, where moves are weighed with those that promise a gain.

        With it come the objectives since the start.
        """
        if not self.weighs_moves:
            run = short_em.run(search_data.data, start)
            return run, run.history
        begin = short_em.run(search_data.data, start, HEAD_START)
        first = split_and_merge(begin, search_data, short_em)
        run = short_em.run(search_data.data, first.mixture)
        is_proper = short_em.degeneracy.is_proper
        run = first if is_proper(first) and not is_proper(run) else run
        return run, np.concatenate([begin.history, run.history]) if self.weighs_distances else run.history

    def criteria(self, index: int) -> tuple[Degeneracy, ...]:
        """By what a start searches: one after the other, until a search ends properly."""
        if self.model.prior is None or not (self.searched and self.model.exchangeable and index % 2 == 0):
            return (self.degeneracy,)
        return replace(self.degeneracy, model=replace(self.model, prior=None)), self.degeneracy

    def plain_start(self, kind: str, index: int, rng: np.random.Generator, data: Data) -> Mixture:
        """Rows shared out; in turn, distances are measured in decorrelated coordinates."""
        turn = index + index // len(KINDS_IN_TURN) if self.initialisation.method == MIXED else index
        return self.start_by(kind, DECORRELATED if turn % 2 == 1 else SCALED, rng, data)

    def start_by(self, kind: str, distances: str, rng: np.random.Generator, data: Data) -> Mixture:
        """Rows shared out by a method and distances."""
        start = starting_mixture(
            data,
            self.model,
            rng=rng,
            initialisation=replace(self.initialisation, method=KINDS_IN_TURN[0] if kind == GIVEN else kind),
            reg_covar=self.settings.reg_covar,
            distances=distances,
            moments=self.degeneracy.moments,
        )
        return self.aligned(start)

    def aligned(self, start: Mixture) -> Mixture:
        """Components where a prior that tells them apart expects them."""
        if self.model.exchangeable or self.initialisation.labelled:
            return start
        return aligned_to_prior(start, self.model.required_prior)


@dataclass(frozen=True, slots=True)
class Starts:
    """Record of the starts of a fit, in order.

    Attributes
    ----------
    objectives : (start,)
        Final objective of each start; NaN if it broke down numerically.
    degenerate : (start,) bool
        Whether it ended with a collapsed or emptied component, see `best_of_starts`.
    converged : (start,) bool
    n_iter : (start,) int
    best : int
        The start that was kept: the highest objective that is not degenerate, with a prior that of the largest mass.
    tolerance : float
        Objectives closer than this are regarded as the same optimum: ten times EM's tolerance, because EM stops
        at that distance from its optimum.
    optima : tuple of Mixture
        The distinct optima that are not degenerate, best first.
    interrupted : bool
        Whether the fit was interrupted; starts that had not begun are not listed.
    optimum_objectives : (optimum,)
        The objective at each of the ``optima``; without a prior, the log-likelihood.
    kinds : tuple of str
        Initialization of each start: a name of `KINDS`, or ``"given"``.
    completed : (start,) bool
        Whether a start was run to its end on all rows, or had met one that was on a part of them; others were raced
        out, and their objective is that of the first that was not, less the difference on that part.
    """

    __module__ = "bayesgmm.em"

    objectives: Array
    degenerate: NDArray[np.bool_]
    converged: NDArray[np.bool_]
    n_iter: IntArray
    best: int
    tolerance: float
    optima: tuple[Mixture, ...] = ()
    interrupted: bool = False
    optimum_objectives: Array = field(default_factory=lambda: np.empty(0))
    kinds: tuple[str, ...] = ()
    completed: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))

    def __post_init__(self) -> None:
        if not len(self.completed):  # nobody said so of any
            object.__setattr__(self, "completed", np.ones(len(self.objectives), dtype=bool))

    @property
    def n_starts(self) -> int:
        """How many starts were made."""
        return len(self.objectives)

    @property
    def n_optima(self) -> int:
        """How many distinct optima were found, degenerate ones not counted."""
        return len(self.optima)

    @property
    def n_degenerate(self) -> int:
        """How many starts ended in a collapsed or emptied component, or broke down."""
        return int(self.degenerate.sum())

    @property
    def n_best_reached(self) -> int:
        """How many starts reached the optimum that was kept, itself included."""
        same_kind = self.completed & (self.degenerate == self.degenerate[self.best])
        close = np.abs(self.objectives - self.objectives[self.best]) <= self.tolerance
        return int((same_kind & close).sum())

    @property
    def share_met_once(self) -> float:
        """The share of completed starts whose optimum no other one met.

        By Good and Turing (Good 1953) it estimates the chance that one more start ends somewhere new.
        """
        ends = np.sort(self.objectives[self.completed & ~self.degenerate])
        if not len(ends):
            return 1.0
        _, met = np.unique(np.cumsum(np.diff(ends, prepend=ends[0]) > self.tolerance), return_counts=True)
        return int((met == 1).sum()) / len(ends)

    @property
    def best_is_doubtful(self) -> bool:
        """Whether one start only, of several that ran to the end, reached the best optimum."""
        several = self.n_starts >= _SEVERAL and self.n_optima > 1
        return several and bool(self.converged[self.best]) and self.n_best_reached == 1
