"""Plan of a multi-start EM fit: what its starts have in common, and how each is made."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayesgmm.data import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMSettings
from bayesgmm.em.initialization import INIT_METHODS, Initialisation, aligned_to_prior, starting_mixture
from bayesgmm.em.local_search import (
    COARSE_RUNS,
    RANDOM_RUNS,
    SearchData,
    ShortEM,
    approached,
    coarse_rows_for,
    rows_for,
    search_from,
    small_em,
)
from bayesgmm.mixture import Mixture
from bayesgmm.priors import Model

MIXED, SMALL_EM, GIVEN = "mixed", "small_em", "given"
KINDS_IN_TURN = ("short_kmeans", "hierarchical", SMALL_EM)  # what ``"mixed"`` makes starts by
COARSE_KINDS = ("short_kmeans", SMALL_EM, "short_kmeans", "short_hierarchical")  # and with a loose tolerance
KINDS = (*INIT_METHODS, SMALL_EM, MIXED)
_SAME_OPTIMUM = 10.0  # objectives closer than this many EM tolerances count as one optimum
SEARCHED_TO = 1e-6  # largest tolerance at which a search is worth its time: looser fits are asked to be quick


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the starts of a fit have in common."""

    data: Data
    model: Model
    settings: EMSettings
    initialisation: Initialisation
    start: Mixture | None
    degeneracy: Degeneracy

    @property
    def tolerance(self) -> float:
        """Objectives no further apart count as one optimum."""
        return _SAME_OPTIMUM * self.settings.tol * self.data.total

    @property
    def smallest_floor(self) -> float:
        """The smallest variance that a component may have in any feature."""
        return float(self.degeneracy.floors.min())

    @property
    def several_kinds(self) -> bool:
        """Whether starts are made by several kinds in turn."""
        return self.initialisation.method == MIXED

    @property
    def searched(self) -> bool:
        """Whether starts search on, see `SEARCHED_TO`."""
        return self.several_kinds and not self.coarse

    @property
    def coarse(self) -> bool:
        """Whether the tolerance asked for is loose: starts then cost little."""
        return self.settings.tol > SEARCHED_TO

    @property
    def step_size(self) -> int:
        """Numbers times components that most steps of a start read."""
        (n_rows, n_features), k = self.data.shape, self.model.n_components
        return (min(n_rows, rows_for(k, n_features)) if self.searched else n_rows) * n_features * k

    def kind(self, index: int) -> str:
        """What a start is made by."""
        if self.start is not None or self.initialisation.fixed(self.model.n_components):
            return GIVEN
        turns = KINDS_IN_TURN if self.searched else COARSE_KINDS
        kind = turns[index % len(turns)] if self.several_kinds else self.initialisation.method
        # Random short runs choose all parameters; where some are given, random rows stand in for them.
        return "random_from_data" if kind == SMALL_EM and self.initialisation.labelled else kind

    def starting_mixture(
        self, index: int, rng: np.random.Generator, stopped: Callable[[], bool], *, search: bool = True
    ) -> Mixture:
        """A start of its kind; by default it searches on, see `SEARCHED_TO`, unless the user gave parameters."""
        if self.start is not None:
            return self.start
        kind, labelled = self.kind(index), self.initialisation.labelled
        if kind != SMALL_EM and (not self.several_kinds or labelled):
            return self.plain_start(kind, index, rng, self.data)
        short_em = ShortEM(self.degeneracy, self.settings, stopped)
        if self.searched:
            # Coarse for the first start, because many users make no other.
            search_data = SearchData.of_rows(self.data, self.degeneracy, rng=rng, coarse=index == 0)
            start = self.start_in(search_data, kind, index, rng, short_em)
            return search_from(start, search_data, short_em, rng=rng) if search and self.may_be_proper else start
        some = self.data.subset(coarse_rows_for(*self.data.shape, self.model.n_components), rng=rng)
        if kind == SMALL_EM:
            search_data = SearchData.of_rows(self.data, self.degeneracy, rng=rng, coarse=True)
            start = self.start_in(search_data, kind, index, rng, short_em)
        else:
            start = self.plain_start(kind, index, rng, some)
        return approached(start, some, short_em, n_rows=self.data.shape[0])

    def start_in(
        self, search_data: SearchData, kind: str, index: int, rng: np.random.Generator, short_em: ShortEM
    ) -> Mixture:
        """A start of its kind from the rows of a search."""
        if kind == SMALL_EM:
            n_runs = COARSE_RUNS if self.coarse else RANDOM_RUNS
            return self.aligned(small_em(search_data, short_em, rng=rng, n_runs=n_runs))
        return self.plain_start(kind, index, rng, search_data.data)

    def plain_start(self, kind: str, index: int, rng: np.random.Generator, data: Data) -> Mixture:
        """Rows shared out; in turn, distances are measured in decorrelated coordinates."""
        turn = index // len(KINDS_IN_TURN) if self.several_kinds else index
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

    @property
    def may_be_proper(self) -> bool:
        """Whether there are rows enough for a run that is not degenerate: otherwise a search finds nothing."""
        return self.model.prior is not None or self.degeneracy.fewest * self.model.n_components <= self.data.total
