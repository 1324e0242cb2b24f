"""What the starts of a fit have in common, and how each of them is made."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.data import Data
from bayesgmm.em.degeneracy import Soundness
from bayesgmm.em.em import EMResult, EMSettings
from bayesgmm.em.initialization import INIT_METHODS, Initialisation, aligned_to_prior, starting_mixture
from bayesgmm.em.local_search import (
    HASTY_RUNS,
    RANDOM_RUNS,
    Climb,
    Field,
    approached,
    hasty_rows_for,
    rows_for,
    search_from,
    small_em,
)
from bayesgmm.mixture import CovarianceFamily, Mixture
from bayesgmm.priors import ResolvedPrior

MIXED, SMALL_EM, GIVEN = "mixed", "small_em", "given"
IN_TURN = ("short_kmeans", "hierarchical", SMALL_EM)  # what ``"mixed"`` makes starts by
IN_HASTE = ("short_kmeans", SMALL_EM, "short_kmeans", "short_hierarchical")  # and where it does not search
KINDS = (*INIT_METHODS, SMALL_EM, MIXED)
SEARCHED_TO = 1e-6  # largest tolerance at which a search is worth its time: looser fits are asked to be quick


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the starts of a fit have in common."""

    data: Data
    n_components: int
    family: CovarianceFamily
    prior: ResolvedPrior | None
    settings: EMSettings
    initialisation: Initialisation
    start: Mixture | None
    align: bool
    soundness: Soundness

    @property
    def smallest_floor(self) -> float:
        """The smallest variance that a component may have in any feature."""
        return float(self.soundness.floors.min())

    @property
    def several_kinds(self) -> bool:
        """Whether starts are made by several kinds in turn."""
        return self.initialisation.method == MIXED

    @property
    def searched(self) -> bool:
        """Whether starts search on, see `SEARCHED_TO`."""
        return self.several_kinds and not self.hasty

    @property
    def hasty(self) -> bool:
        """Whether the user asked for a loose fit, which is to be quick."""
        return self.settings.tol > SEARCHED_TO

    @property
    def step_size(self) -> int:
        """Numbers times components that most steps of a start read."""
        (n_rows, n_features), k = self.data.shape, self.n_components
        return (min(n_rows, rows_for(k, n_features)) if self.searched else n_rows) * n_features * k

    def kind(self, index: int) -> str:
        """What a start is made by."""
        if self.start is not None or self.initialisation.fixed(self.n_components):
            return GIVEN
        turns = IN_TURN if self.searched else IN_HASTE
        kind = turns[index % len(turns)] if self.several_kinds else self.initialisation.method
        # Random short runs choose all parameters; where some are given, random rows stand in for them.
        return "random_from_data" if kind == SMALL_EM and self.initialisation.labelled else kind

    def starting_mixture(self, index: int, rng: np.random.Generator, stopped: Callable[[], bool]) -> Mixture:
        """A start of its kind; by default it searches on, see `SEARCHED_TO`, unless the user gave parameters."""
        if self.start is not None:
            return self.start
        kind, labelled = self.kind(index), self.initialisation.labelled
        if kind != SMALL_EM and (not self.several_kinds or labelled):
            return self.plain_start(kind, index, rng, self.data)
        climb = Climb(self.prior, self.settings, self.sound, stopped)
        if self.searched:
            field = self.field(rng, in_haste=index == 0)
            start = self.start_in(field, kind, index, rng, climb)
            return search_from(start, field, climb, rng=rng) if self.may_be_sound else start
        some = self.data.subset(hasty_rows_for(*self.data.shape, self.n_components), rng=rng)
        if kind == SMALL_EM:
            start = self.start_in(self.field(rng, in_haste=True), kind, index, rng, climb)
        else:
            start = self.plain_start(kind, index, rng, some)
        return approached(start, some, climb, n_rows=self.data.shape[0])

    def start_in(self, field: Field, kind: str, index: int, rng: np.random.Generator, climb: Climb) -> Mixture:
        """A start of its kind from the rows of a field."""
        if kind == SMALL_EM:
            n_runs = HASTY_RUNS if self.hasty else RANDOM_RUNS
            return self.aligned(small_em(self.n_components, field, climb, rng=rng, n_runs=n_runs))
        return self.plain_start(kind, index, rng, field.data)

    def plain_start(self, kind: str, index: int, rng: np.random.Generator, data: Data) -> Mixture:
        """Rows shared out; in turn, distances are measured in decorrelated coordinates."""
        turn = index // len(IN_TURN) if self.several_kinds else index
        start = starting_mixture(
            data,
            self.n_components,
            rng=rng,
            covariance_type=self.family.name,
            initialisation=replace(self.initialisation, method=IN_TURN[0] if kind == GIVEN else kind),
            reg_covar=self.settings.reg_covar,
            decorrelate=turn % 2 == 1,
            moments=self.soundness.moments,
        )
        return self.aligned(start)

    def aligned(self, start: Mixture) -> Mixture:
        """Components where a prior that tells them apart expects them."""
        return aligned_to_prior(start, self.prior) if self.align and self.prior is not None else start

    def field(self, rng: np.random.Generator, *, in_haste: bool) -> Field:
        """Where a start may search: the first one in haste, because many users make no other."""
        return Field.of_rows(
            self.data,
            self.n_components,
            family=self.family,
            rng=rng,
            moments=self.soundness.moments,
            reg_covar=self.settings.reg_covar,
            in_haste=in_haste,
        )

    @property
    def may_be_sound(self) -> bool:
        """Whether there are rows enough for any run to be sound: without, a search finds nothing."""
        return self.prior is not None or self.soundness.fewest(self.n_components) * self.n_components <= self.data.total

    def sound(self, run: EMResult) -> bool:
        """Whether a run did not end in a spike, see `best_of_starts`."""
        if self.prior is not None:
            return run.n_floored == 0
        return not self.soundness.collapsed_or_emptied(run)
