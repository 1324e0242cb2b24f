"""Starts of EM with noise: rows that begin as noise, components among the others, and moves of these."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from warnings import catch_warnings, simplefilter

import numpy as np
from scipy.spatial import KDTree

from bayesgmm._common import IntArray, Means, PerRow, Rows
from bayesgmm.data import Data, threads_for
from bayesgmm.em import (
    EFFORTS,
    Effort,
    EMResult,
    EMSettings,
    EMState,
    Initialisation,
    Plan,
    StartCallback,
    Starts,
    best_of_starts,
    conclude,
    starting_mixture,
)
from bayesgmm.exceptions import DegenerateComponentError, InputError
from bayesgmm.io import Pieces, once
from bayesgmm.mixture import Equivariance, Mixture, row_memberships
from bayesgmm.noise.noisy_em import run_noisy_em
from bayesgmm.noise.noisy_mixture import NoisyMixture, Uniform
from bayesgmm.priors import Model
from bayesgmm.validation import check_components

SHARES = (0.2, 0.4, 0.05, 0.7, 0.1, 0.3, 0.5, 0.85)  # of the rows that begin as noise, those in the sparsest places
_BY_DEFAULT, _THOROUGH = 4, len(SHARES)  # of these
_RANDOM_SHARE, _GIVEN_SHARE = 0.25, 0.1  # of random rows, after all those; and of rows where components are given
_OPTIMA = 3  # without noise, from which a start goes on
_NEIGHBOURS, _OTHERS = 5, 2_000  # the distance to which neighbour, among how many rows, says how sparse a place is
_SEARCHED, _FINALISTS = 10_000, 3  # rows that starts see at most, and how many ends go on with all rows
_TRIED, _SHORT, _MOVES = 60, 10, 5  # moves that are tried at a time, steps of each, and how often one is made
_PROMISING = 2  # moves that go on to their ends


def starts_with(noise: bool | float, data: Data) -> Callable[..., tuple[EMResult, Starts]]:
    """What fits data: `best_of_starts`, or `best_of_noisy_starts` if there is noise, true or the volume of its box."""
    if isinstance(noise, bool | np.bool_):
        return partial(best_of_noisy_starts, noise=Uniform.around(data)) if noise else best_of_starts
    return partial(best_of_noisy_starts, noise=Uniform.around(data, noise))


def best_of_noisy_starts(
    data: Data,
    model: Model,
    *,
    noise: Uniform,
    rng: np.random.Generator,
    settings: EMSettings,
    n_init: int | None = None,
    effort: Effort = EFFORTS["standard"],
    initialisation: Initialisation | None = None,
    start: Mixture | None = None,
    n_jobs: int | None = None,
    max_seconds: float | None = None,
    callback: StartCallback | None = None,
    feature_names: list[str] | None = None,
    kept: Pieces | None = None,
) -> tuple[EMResult, Starts]:
    """EM with noise from several starts; see `bayesgmm.em.best_of_starts`, whose parameters these are.

    A start takes the rows in the sparsest places for noise, by the distance to their fifth neighbour, fits the others
    without noise, and goes on from the best optima there with all rows. Starts differ in the share of such rows; from
    the best of all ends, components are moved into the noise and halves of others while that leads higher. Starts see
    at most 10,000 rows; the best three go on with all. Given components (``start``, means or labels) are one start.

    Parameters
    ----------
    noise : Uniform
        The density of noise.
    """
    check_components(model.n_components, round(data.total))
    if model.prior is not None and model.prior.concentration_prior is not None:
        raise InputError(
            expected="a concentration in numbers with a noise component",
            got="a prior of the concentration",
            hint="Pass a prior with a fixed concentration.",
        )
    plan = Plan.of(data.distinct(), model, settings, initialisation or Initialisation(), start=start, effort=effort)
    search = _Search(plan, noise, rng, n_init, n_jobs, callback, max_seconds, kept)
    runs, kinds = search.run()
    best, starts = conclude(plan, runs, [True] * len(runs), interrupted=search.interrupted, feature_names=feature_names)
    return best, replace(starts, kinds=tuple(kinds))


@dataclass
class _Search:
    """Starts in progress."""

    plan: Plan
    noise: Uniform
    rng: np.random.Generator
    n_init: int | None
    n_jobs: int | None
    callback: StartCallback | None
    max_seconds: float | None
    kept: Pieces | None
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.until = math.inf if self.max_seconds is None else time.monotonic() + self.max_seconds
        self.part = self.plan.data.subset(_SEARCHED, rng=self.rng)

    def run(self) -> tuple[list[EMResult], list[str]]:
        """The ends of all starts on all rows, and how each began."""
        found = list[tuple[EMResult, str]]()
        try:
            for ends in self.starts():
                found += ends
            if not self.plan.given and self.plan.model.n_components > 1:
                found += self.moved(max((end for end, _ in found), key=self.rank))
            if self.part is not self.plan.data:
                found = self.on_all_rows(found)
        except KeyboardInterrupt:
            if not found:
                raise
            self.interrupted = True
        return [end for end, _ in found], [kind for _, kind in found]

    @property
    def stopped(self) -> bool:
        """Whether the user or the clock wants an end."""
        self.interrupted = self.interrupted or time.monotonic() >= self.until
        return self.interrupted

    def starts(self) -> Iterator[list[tuple[EMResult, str]]]:
        """The ends of each start, and its kind."""
        if self.plan.given:
            yield [(self.em(0, self.given(), self.plan.data), "given")]
            return
        shares = self.shares
        for index, (share, rng) in enumerate(zip(shares, self.rng.spawn(len(shares)), strict=True)):
            make = partial(self.ends, index, share, rng)
            yield once(self.kept, f"noisy start {index}", make, unless=lambda: self.stopped)
            if self.stopped:
                return

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the rows that begin as noise, one for each start; those that leave rows enough."""
        thorough = self.plan.effort.most_starts > EFFORTS["standard"].most_starts
        n = self.n_init or (_THOROUGH if thorough else _BY_DEFAULT)
        asked = (*SHARES, *[_RANDOM_SHARE] * (n - len(SHARES)))[:n]
        fewest = self.plan.model.n_components * (self.plan.model.n_features + 1.0)
        return tuple(share for share in asked if (1.0 - share) * self.part.shape[0] >= fewest) or (0.0,)

    def given(self) -> Mixture:
        """Parameters or labels that the user gave, with some noise; the last solution as it is."""
        if self.plan.start is not None:
            return self.plan.start
        plan = self.plan
        init = replace(plan.initialisation, method="kmeans")  # which does not matter
        return starting_mixture(
            plan.data, plan.model, rng=self.rng, initialisation=init, reg_covar=plan.settings.reg_covar
        )

    def ends(self, index: int, share: float, rng: np.random.Generator) -> list[tuple[EMResult, str]]:
        """From the best optima without noise among the rows that are left."""
        of_random = index >= len(SHARES)
        order = rng.permutation(self.part.shape[0]) if of_random else self.sparsest_first
        weights = self.part.weights.copy()
        weights[order[: int(share * len(order))]] = 0.0
        kind = f"{'random' if of_random else 'sparsest'} {share:g}"
        return [(self.em(index, each, self.part, share), kind) for each in self.without_noise(weights, rng)]

    def without_noise(self, weights: PerRow, rng: np.random.Generator) -> tuple[Mixture, ...]:
        """The best optima without noise of rows with other weights."""
        left = None if self.until == math.inf else max(self.until - time.monotonic(), 1e-3)
        plan = self.plan
        with catch_warnings():
            simplefilter("ignore")  # of fits to some of the rows
            try:
                result, starts = best_of_starts(
                    self.part.with_weights(weights),
                    plan.model,
                    rng=rng,
                    settings=plan.settings,
                    n_init=None,
                    effort=plan.effort,
                    initialisation=plan.initialisation,
                    n_jobs=self.n_jobs,
                    max_seconds=left,
                )
            except DegenerateComponentError:
                return ()
        self.interrupted = self.interrupted or starts.interrupted
        return starts.optima[:_OPTIMA] or (result.mixture,)

    def em(
        self, index: int, start: Mixture, data: Data, share: float = _GIVEN_SHARE, max_iter: int | None = None
    ) -> EMResult:
        """EM with noise; of a start without it, that has a share."""
        noisy = start if isinstance(start, NoisyMixture) else NoisyMixture.of(start, self.noise, max(share, 1e-3))

        def after_step(state: EMState) -> bool:
            told = self.callback is not None and bool(self.callback(index, state))
            self.interrupted = self.interrupted or told
            return self.stopped

        settings = self.plan.settings
        with threads_for(data, self.n_jobs) as pool:
            return run_noisy_em(
                data,
                noisy,
                settings=settings if max_iter is None else replace(settings, max_iter=min(max_iter, settings.max_iter)),
                floors=self.plan.degeneracy.floors,
                prior=self.plan.model.prior,
                callback=after_step,
                pool=pool,
            )

    def rank(self, end: EMResult) -> tuple[bool, bool, float]:
        """What ends are compared by."""
        finite = math.isfinite(end.objective)
        return finite, finite and self.plan.degeneracy.is_proper(end), self.plan.degeneracy.log_mass(end)

    def moved(self, end: EMResult) -> list[tuple[EMResult, str]]:
        """Ends after moves of a component from the best one, each higher than the one before."""
        found = list[tuple[EMResult, str]]()
        for _ in range(0 if self.stopped or not all(self.rank(end)[:2]) else _MOVES):
            tried = [self.em(0, start, self.part, max_iter=_SHORT) for start in self.moves(end)]
            promising = sorted(tried, key=self.rank)[-_PROMISING:]
            further = max((self.em(0, each.mixture, self.part) for each in promising), key=self.rank)
            if self.stopped or not self.rank(further) > (True, True, end.objective + self.plan.tolerance):
                break
            end = further
            found.append((end, "moved"))
        return found

    def moves(self, end: EMResult) -> list[Mixture]:
        """The mixture with each component at a dense place in the noise, or at one half of another."""
        mixture, k = end.mixture.components, end.mixture.n_components
        values, vectors = np.linalg.eigh(mixture.full_covariances)
        halves = vectors[:, :, [0, -1]] * np.sqrt(values[:, None, [0, -1]])
        placed = [(j, mixture.means, row) for j in range(k) for row in self.dense_in_noise(end.mixture)]
        for j, other in np.ndindex(k, k):
            for half in halves[other].T if j != other else ():
                means = mixture.means.copy()
                means[other] -= half
                placed.append((j, means, mixture.means[other] + half))
        chosen = self.rng.permutation(len(placed))[:_TRIED]
        return [self._with(end.mixture, *placed[i]) for i in chosen]

    def _with(self, mixture: Mixture, j: int, means: Means, place: PerRow) -> NoisyMixture:
        components, means = mixture.components, means.copy()
        means[j] = place
        moved = Mixture(components.weights, means, components.covariances, components.covariance_type)
        weight = 1.0 - float(mixture.weights.sum())
        return NoisyMixture.of(moved, self.noise, weight)

    def dense_in_noise(self, mixture: Mixture) -> Rows:
        """Two rows of noise with many others near, if there are enough."""
        resp = row_memberships(self.part, mixture)
        noisy = np.flatnonzero(mixture.most_probable(resp) < 0)
        if len(noisy) <= _NEIGHBOURS:
            return self.part.rows[:0]
        order = np.argsort(_distances(self.scaled[noisy], self.rng))
        return self.part.rows[noisy[order[[0, len(order) // 4]]]]

    @cached_property
    def scaled(self) -> Rows:
        """Rows in units in which distances mean something to the family."""
        rows, moments = self.part.rows, self.plan.degeneracy.moments
        same = self.plan.model.family.equivariance == Equivariance.ROTATIONS
        return np.ascontiguousarray(rows if same else rows / np.sqrt(moments.variances))

    @cached_property
    def sparsest_first(self) -> IntArray:
        """Rows by the distance to a neighbour, the farthest first."""
        return np.argsort(-_distances(self.scaled, self.rng), kind="stable")

    def on_all_rows(self, found: list[tuple[EMResult, str]]) -> list[tuple[EMResult, str]]:
        """The best ends on a part of the rows, run on with all."""
        best_first = sorted(found, key=lambda each: self.rank(each[0]), reverse=True)
        distinct: list[tuple[EMResult, str]] = []
        for end, kind in best_first:
            if all(abs(end.objective - other.objective) > self.plan.tolerance for other, _ in distinct):
                distinct.append((end, kind))
        return [(self.em(i, end.mixture, self.plan.data), kind) for i, (end, kind) in enumerate(distinct[:_FINALISTS])]


def _distances(rows: Rows, rng: np.random.Generator) -> PerRow:
    """From each row to its fifth neighbour among at most 2,000 random ones."""
    others = rows if len(rows) <= _OTHERS else rows[rng.choice(len(rows), _OTHERS, replace=False)]
    n_neighbours = min(_NEIGHBOURS + 1, len(others))
    return np.atleast_2d(KDTree(others).query(rows, k=[n_neighbours])[0])[:, -1]
