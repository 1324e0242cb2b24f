"""Plan of a multi-start EM fit: what its starts have in common, and how each is made."""

import math
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.data import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMResult, EMSettings
from bayesgmm.em.initialization import INIT_METHODS, Initialisation, aligned_to_prior, starting_mixture
from bayesgmm.em.local_search import EFFORTS, Cost, Effort, SearchData, ShortEM, rows_for, search_from, small_em, split_and_merge
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

    def limit(self, first: EMResult) -> float:
        """Seconds that a race may cost, by the model of cost, that begins with this run.

        A few times what EM by array operations, without compiled code, takes from its second step until one gains
        less than 1e-3 per row. Where there are more parameters than rows the highest likelihood means little, and
        less is spent on it.
        """
        small = np.flatnonzero(np.diff(first.history) <= _COARSE * self.data.total)
        n_steps = small[0] if len(small) else first.n_iter
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
        kind = KINDS_IN_TURN[index % len(KINDS_IN_TURN)] if mixed else self.initialisation.method
        # Random short runs choose all parameters; where some are given, random rows stand in for them.
        return "random_from_data" if kind == SMALL_EM and self.initialisation.labelled else kind

    def starting_mixture(self, index: int, rng: np.random.Generator, short_em: ShortEM, *, in_race: bool) -> Mixture:
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
            else:
                start = self.plain_start(kind, index, rng, search_data.data)
            if not self.searched:
                return start
            if not in_race and self.model.n_components > 2 and search_data.places.keeps == 0:
                first = split_and_merge(short_em.run(search_data.data, start, max_iter=10), search_data, short_em)
                run = short_em.run(search_data.data, first.mixture)
                if criteria.is_proper(first) and not criteria.is_proper(run):
                    run = first
            else:
                run = short_em.run(search_data.data, start)
            if short_em.limit == math.inf:
                short_em.limit = (OF_RACE if in_race else _OF_NUMBER) * self.limit(run)
            patience = self.effort.patience_for(k) * (1 if in_race else _MORE_PATIENT)
            best = search_from(run, search_data, short_em, patience=patience, rng=rng)
            if best is not None:
                return best.mixture
        return run.mixture if np.isfinite(run.objective) else start

    def criteria(self, index: int) -> tuple[Degeneracy, ...]:
        """By what a start searches: one after the other, until a search ends properly."""
        if self.model.prior is None or not (self.searched and self.model.exchangeable and index % 2 == 0):
            return (self.degeneracy,)
        return replace(self.degeneracy, model=replace(self.model, prior=None)), self.degeneracy

    def plain_start(self, kind: str, index: int, rng: np.random.Generator, data: Data) -> Mixture:
        """Rows shared out; in turn, distances are measured in decorrelated coordinates."""
        turn = index + index // len(KINDS_IN_TURN) if self.initialisation.method == MIXED else index
        start = starting_mixture(
            data,
            self.model,
            rng=rng,
            initialisation=replace(self.initialisation, method=KINDS_IN_TURN[0] if kind == GIVEN else kind),
            reg_covar=self.settings.reg_covar,
            decorrelate=turn % 2 == 1,
            moments=self.degeneracy.moments,
        )
        return self.aligned(start)

    def aligned(self, start: Mixture) -> Mixture:
        """Components where a prior that tells them apart expects them."""
        if self.model.exchangeable or self.initialisation.labelled:
            return start
        return aligned_to_prior(start, self.model.required_prior)
