"""Posterior weights of modes: the evidence of each by bridge sampling, and resampling in proportion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import arviz_stats as azs
import numpy as np
from scipy.special import expit

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Data
from bayesgmm.evidence.bridge_sampling import Bridge, bridge
from bayesgmm.evidence.conditional_densities import MOST_COMPONENTS, Conditionals
from bayesgmm.evidence.modes import (
    LABELS_HELD,
    MIXED,
    THINNED,
    Modes,
    Sample,
    Selection,
    evaluate,
    find_modes,
    indicator_r_hat,
    mode_among,
    nearest,
    spread,
)
from bayesgmm.evidence.proposal import Proposal, best_mixture, in_labels_of
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws, Mixture, row_memberships
from bayesgmm.partitions import Labels, drawn_labels, monte_carlo_errors
from bayesgmm.priors import Model, ResolvedPrior

RELEVANT = 0.01  # modes of less weight hardly change results
_ALLOCATIONS, _PROPOSALS, _FEWEST_PROPOSALS = 200, 4_000, 500
_OF_A_POINT = 8  # allocations, for its mass
_FEWEST_DRAWS = 2  # of a mode to be weighted, for the proposal and for the estimate
_SHORTEST = 10  # draws of a chain needed to estimate its autocorrelation
_EVALUATIONS = 400_000_000  # rows times components of all proposals: about two seconds


@dataclass(frozen=True)
class Target:
    """The posterior density of mixture parameters in their own coordinates, every constant included.

    Attributes
    ----------
    data : Data
    model : Model
        With a prior.
    """

    data: Data
    model: Model

    def __post_init__(self) -> None:
        """Rows of a fit with labels have them."""
        if self.model.alike is not None and self.data.allowed is None:
            hint = "Leave X out: the posterior keeps rows and labels."
            raise InputError(expected="the rows of the fit with their labels", got="rows without labels", hint=hint)

    @property
    def prior(self) -> ResolvedPrior:
        """The prior of the model."""
        return self.model.required_prior

    @property
    def symmetric(self) -> bool:
        """Whether conditional densities are averaged over labellings, of which there must not be too many."""
        return self.model.exchangeable and self.conjugate and self.model.n_components <= MOST_COMPONENTS

    @property
    def conjugate(self) -> bool:
        """Whether covariances have conjugate densities given the allocations of the rows."""
        return self.model.family.restriction(self.model.n_components, self.model.n_features) is None

    @property
    def far(self) -> float:
        """Nats below another mode at which a mode has no weight, however much wider it is."""
        return 50.0 + 2.0 * self.model.n_parameters

    def log_prior(self, points: Draws) -> Array:
        """Log prior density, (point,)."""
        return self.prior.log_density_of(points)

    def log_joint(self, points: Draws, modes: Modes | None = None) -> Array:
        """Log of likelihood times prior, (point,); likelihoods as found with the modes of the points, if they were."""
        known = None if modes is None else modes.log_likelihood
        log_likelihood = evaluate(points, self.data, [])[0] if known is None else known
        return log_likelihood + self.log_prior(points)

    def conditionals(self, points: Draws, *, rng: np.random.Generator) -> Conditionals:
        """Densities given allocations of the rows and hyperparameters, one draw of them for each of some points."""
        points = points[spread(len(points), most_allocations(self.data))]
        allocations = np.stack(list(drawn_labels(points, self.data, rng=rng)))
        drawn = self.prior.hyperparameters_given(points.weights, points.precision_factors, rng=rng)
        prior = Conditionals.of_prior(self.prior.inverse_wishart, **drawn)
        return prior.given(self.data, allocations, points, rng=rng)


def weigh_modes(modes: Modes, points: Draws, target: Target, *, rng: np.random.Generator) -> Modes:
    """Estimate the evidence and the weight of each mode.

    A mode whose highest density, likelihood times prior, is far below the typical one of another mode gets weight zero
    without an estimate.
    """
    near, centres = near_modes(modes, points, target), [mode.centre for mode in modes.modes]
    found: list[tuple[Bridge | None, Sample | None]] = [(None, None)] * len(centres)
    if len(near) == 1 < len(centres):  # all the others are far below: its evidence does not matter
        found[near[0]] = (None, draws_as_they_are(points, np.flatnonzero(modes.labels == near[0])))
        weights, errors = np.eye(len(centres))[near[0]], np.zeros(len(centres))
    else:
        log_joint = target.log_joint(points, modes)
        for m in near:
            found[m] = mode_evidence(inside_of(modes, m), points, log_joint, target=target, rng=rng)
        weights, errors = _softmax_with_errors([estimate for estimate, _ in found])
    weighted = (
        replace(mode, bridge=estimate, sample=sample, weight=float(w), weight_se=float(e))
        for mode, (estimate, sample), w, e in zip(modes.modes, found, weights, errors, strict=True)
    )
    return replace(modes, modes=tuple(weighted))


def visited_modes(points: Draws, data: Data, *, rng: np.random.Generator) -> Modes:
    """Modes of chains that visit all of them, which weigh as much as their share of the draws."""
    modes, n_chains = find_modes(points, data, rng=rng, mixed=None), len(np.unique(points.chain))
    inside = modes.labels == np.arange(len(modes.modes))[:, None]
    errors = monte_carlo_errors(inside.reshape(len(inside), n_chains, -1).astype(np.float64))
    weighed = (
        replace(mode, weight=float(own.mean()), weight_se=float(error))
        for mode, own, error in zip(modes.modes, inside, errors, strict=True)
    )
    return replace(modes, modes=tuple(weighed))


def approximated_modes(
    points: Draws, labels: IntArray, data: Data, *, optima: Sequence[Mixture], evidences: Sequence[Bridge]
) -> Modes:
    """Modes that were approximated at their optima, with the evidence of each and the label (point,) of each draw.

    Of rows that are not in memory, partitions are those of a sample.
    """
    weights, errors = _softmax_with_errors(evidences)
    found, rows = [], data.sample
    for m, (optimum, evidence) in enumerate(zip(optima, evidences, strict=True)):
        centre, inside = row_memberships(rows, optimum).argmax(axis=1).astype(np.int32), labels == m
        own = np.flatnonzero(inside)
        sample = Sample(points[own], np.full(len(own), 1.0 / max(1, len(own))), own, evidence.effective_draws)
        mode = mode_among(centre, points, inside, rows)
        weight, error = float(weights[m]), float(errors[m])
        found.append(replace(mode, bridge=evidence, weight=weight, weight_se=error, sample=sample))
    return Modes(tuple(found), labels, 1.0)


def log_masses(points: Draws, log_joint: Array, target: Target, *, rng: np.random.Generator) -> Array:
    """Roughly the log mass of the mode that each point is in, by the identity of Chib (1995) with a few allocations.

    The log density less that of the parameters given allocations, and hyperparameters, drawn for them: exact where
    these are certain and the prior conjugate, and it does not depend on where in the mode the point is.
    """
    size = most_allocations(target.data)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    given = [
        np.concatenate([np.diagonal(target.conditionals(part, rng=rng).log_labelled_density(part)) for part in parts])
        for _ in range(_OF_A_POINT)
    ]
    return np.asarray(log_joint - np.logaddexp.reduce(given) + np.log(_OF_A_POINT))


def most_allocations(data: Data) -> int:
    """How many allocations of the rows are held at once."""
    return min(_ALLOCATIONS, max(20, LABELS_HELD // data.shape[0]))


def near_modes(modes: Modes, points: Draws, target: Target) -> list[int]:
    """The modes that may have weight: their highest density is not far below the typical one of another.

    Of at most 240 draws of each.
    """
    own = [np.flatnonzero(modes.labels == m) for m in range(len(modes.modes))]
    few = [target.log_joint(points[of_mode[spread(len(of_mode), THINNED)]]) for of_mode in own]
    ordinary = max(np.median(values) for values in few if len(values))
    enough = [min(map(len, halves(points.chain[of_mode]))) >= _FEWEST_DRAWS for of_mode in own]
    return [m for m, values in enumerate(few) if enough[m] and values.max() > ordinary - target.far]


def draws_as_they_are(points: Draws, own: IntArray) -> Sample:
    """Some of the draws as a sample with equal weights."""
    effective = effective_size(log_smallest_weights(points[own]), points.chain[own])
    return Sample(points[own], np.full(len(own), 1.0 / max(1, len(own))), own, effective)


@dataclass(frozen=True)
class Inside:
    """The draws of one mode, and its region: the points to which no other centre is nearer.

    By the labels of the rows compared.
    """

    own: IntArray
    mode: int
    centres: Sequence[Labels]
    compared: Selection = slice(None)

    def evaluate(self, points: Draws, data: Data) -> tuple[Array, Array]:
        """Log-likelihood of points, and whether they lie in the region."""
        log_likelihood, labels = nearest(points, data, self.centres, self.compared)
        if log_likelihood is None:
            log_likelihood, _ = evaluate(points, data, [])
        return log_likelihood, labels == self.mode


def inside_of(modes: Modes, mode: int) -> Inside:
    """One of the modes."""
    own, centres = np.flatnonzero(modes.labels == mode), [other.centre for other in modes.modes]
    return Inside(own, mode, centres, modes.compared)


def mode_evidence(
    inside: Inside, points: Draws, log_joint: Array, *, target: Target, rng: np.random.Generator
) -> tuple[Bridge, Sample]:
    """Bridge sampling of one mode: half of the draws define the proposal, the others give the estimate.

    Where components may change places, the integral is that over one labelling, times their number.
    """
    mine, joint = points[inside.own], log_joint[inside.own]
    alike = target.model.interchangeable
    labels = None if target.model.is_identified else best_mixture(mine, joint)
    mine = mine if labels is None else in_labels_of(labels, mine, alike)
    built, kept = halves(mine.chain)
    conditionals = target.conditionals(mine[built], rng=rng) if target.conjugate else None
    proposal = Proposal.of(conditionals, mine[built], labels, symmetric=target.symmetric, alike=alike, rng=rng)
    proposed = proposal.sample(n_evaluations(target, _PROPOSALS), rng=rng)
    log_likelihood, counted = inside.evaluate(proposed, target.data)
    ratio = log_likelihood + target.log_prior(proposed) - proposal.log_density(proposed)
    ratio = np.where(np.logical_and(counted, proposal.counts(proposed)), ratio, -np.inf)
    of_draws = joint[kept] - proposal.log_density(mine[kept])
    at_most = within_mode_size(mine, joint)
    estimate = bridge(
        of_draws, ratio, effective_size=lambda series: min(at_most, effective_size(series, mine.chain[kept]))
    )
    sample = _sample(estimate, (mine[kept], of_draws), (proposed, ratio), inside.own[kept])
    estimate = replace(estimate, log_z=estimate.log_z + target.model.log_labellings)
    return estimate, replace(sample, effective_size=min(at_most, sample.effective_size))


def halves(chain: IntArray) -> tuple[IntArray, IntArray]:
    """The first and the second half of the draws of each chain, whose draws are in their order.

    Neighbours depend on each other: with every other draw in either half, what is fitted to one would fit the other.
    """
    places = [np.flatnonzero(chain == c) for c in np.unique(chain)]
    first = np.concatenate([own[: (len(own) + 1) // 2] for own in places])
    second = np.concatenate([own[(len(own) + 1) // 2 :] for own in places])
    return np.sort(first), np.sort(second)


def n_evaluations(target: Target, most: int) -> int:
    """Number of proposals: fewer if there are very many rows."""
    size = target.data.shape[0] * target.model.n_components
    return int(np.clip(_EVALUATIONS // size, _FEWEST_PROPOSALS, most))


def within_mode_size(points: Draws, log_joint: Array) -> float:
    """Effective sample size of the draws of one mode: the least of that of its density and of its smallest weight.

    It limits all estimates from the draws: a part of the mode that chains seldom enter is known no better.
    """
    return min(effective_size(values, points.chain) for values in (log_joint, log_smallest_weights(points)))


def log_smallest_weights(points: Draws) -> Array:
    """Log weight of the smallest component, (point,)."""
    logs: Array = np.log(np.maximum(points.weights.min(axis=1), np.finfo(np.float64).tiny))
    return logs


def _sample(estimate: Bridge, draws: tuple[Draws, Array], proposals: tuple[Draws, Array], source: IntArray) -> Sample:
    """Draws and proposals with the weights f / (n f / Z + m q) that make both one sample (Shirts & Chodera 2008).

    It depends less than draws alone on how long the chains stayed in a part of the mode, and a proposal never has more
    weight than an effective draw.
    """
    n, m, effective = len(source), len(proposals[1]), estimate.effective_draws
    if estimate.log_z == -np.inf:  # no proposal lies inside the mode
        return Sample(draws[0], np.full(n, 1.0 / n), source, effective)
    offset = np.log(effective) - np.log(m) - estimate.log_z
    of_draws, of_proposals = expit(draws[1] + offset) / n, expit(proposals[1] + offset) / effective
    inside = np.flatnonzero(of_proposals > 0)
    weights = np.concatenate([of_draws, of_proposals[inside]])
    scatter = (of_draws**2).sum() * n / effective + (of_proposals**2).sum()
    return Sample(
        Draws.joined([draws[0], proposals[0][inside]]),
        weights / weights.sum(),
        np.concatenate([source, np.full(len(inside), -1)]),
        float(weights.sum() ** 2 / scatter),
    )


def effective_size(series: Array, chain: IntArray) -> float:
    """Effective sample size of the mean of draws from several chains, unequally many from each.

    The chains are split into pieces of equal length, so that disagreement between pieces lowers it.
    """
    sizes = np.bincount(chain)
    length = max(_SHORTEST, int(sizes[sizes >= _SHORTEST].min(initial=len(series))))
    parts = [series[chain == c] for c in np.flatnonzero(sizes)]
    pieces = [part[i : i + length] for part in parts for i in range(0, len(part) - length + 1, length)]
    if not pieces or np.ptp(pieces) == 0.0:
        return float(len(series))
    return float(np.clip(azs.ess(np.stack(pieces), method="mean"), 1.0, len(series)))


def _softmax_with_errors(bridges: Sequence[Bridge | None]) -> tuple[Array, Array]:
    """Weights proportional to evidences, and their standard errors by the delta method; zero if there are none."""
    if all(b is None or not np.isfinite(b.log_z) for b in bridges):
        return np.zeros(len(bridges)), np.zeros(len(bridges))
    log_z = np.array([-np.inf if b is None else b.log_z for b in bridges])
    se = np.array([0.0 if b is None else b.se for b in bridges])
    weights = np.exp(log_z - np.logaddexp.reduce(log_z))
    slopes = weights[:, None] * (np.eye(len(weights)) - weights)
    se = np.where(weights > 0, se, 0.0)
    return weights, np.sqrt(slopes**2 @ se**2)


def in_proportion(modes: Modes, chain: IntArray, n_chains: int) -> bool:
    """Whether the first ``n_chains`` chains have the relevant modes in proportion to their weights, and little else.

    Modes without weight may have been found by exploratory chains only; those with weight may be parts between which
    the chains move freely.
    """
    own = chain < n_chains
    relevant = [m for m, mode in enumerate(modes.modes) if mode.weight >= RELEVANT]
    shares = np.bincount(modes.labels[own], minlength=len(modes.modes)) / own.sum()
    missed = any(shares[m] < 0.5 * modes.modes[m].weight for m in relevant)
    if missed or shares[relevant].sum() < 1.0 - RELEVANT:
        return False
    r_hats = [indicator_r_hat(modes.labels[own] == m, chain[own]) for m in relevant] if len(relevant) > 1 else []
    return all(r_hat <= MIXED for r_hat in r_hats)


@dataclass(frozen=True)
class Pool:
    """Draws with the modes in proportion to their weights.

    Attributes
    ----------
    points : Draws
    mode : (point,)
        The mode of each.
    source : (point,)
        Which of all draws it is; -1 for a proposal.
    """

    points: Draws
    mode: IntArray
    source: IntArray


def pool(modes: Modes, n: int, *, rng: np.random.Generator) -> Pool:
    """Resample ``n`` points from the samples of all modes, systematically, in random order."""
    samples = [(m, mode.weight, mode.sample) for m, mode in enumerate(modes.modes) if mode.sample and mode.weight > 0]
    weights = np.concatenate([weight * sample.weights for _, weight, sample in samples])
    mode = np.concatenate([np.full(len(sample.weights), m) for m, _, sample in samples])
    source = np.concatenate([sample.source for _, _, sample in samples])
    points = Draws.joined([sample.points for _, _, sample in samples])
    places = (np.arange(n) + rng.random()) / n * weights.sum()
    which = rng.permutation(np.minimum(np.searchsorted(weights.cumsum(), places), len(weights) - 1))
    return Pool(points[which], mode[which], source[which])
