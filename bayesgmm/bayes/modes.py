r"""Modes of a posterior: which there are among draws, the evidence of each, and the draws in their right proportions.

A *mode* is a set of partitions: the draws whose partition (every row to its most probable component) is nearer,
by variation of information, to the centre of this mode than to the centre of any other. That is a rule for every
point of the parameter space, blind to labels, so the evidence of a mode, the integral of likelihood times prior
over its set with all its label copies, can be had by bridge sampling from its draws and from a proposal cut off
at the border. Evidences give the modes their weights, however long chains stayed in each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import arviz_stats as azs
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.special import expit
from sklearn.metrics import silhouette_score

from bayesgmm.algorithms.bridge import Bridge, bridge
from bayesgmm.algorithms.conditionals import MOST_COMPONENTS, Conditionals
from bayesgmm.bayes.allocations import drawn_labels
from bayesgmm.bayes.predict import DrawSet, draw_set_of, each_draw
from bayesgmm.ground.families import covariance_family
from bayesgmm.ground.partitions import Labels, losses
from bayesgmm.ground.priors import Prior
from bayesgmm.words.arrays import Array, Covariances, IntArray, Means, PerRow, Rows, Weights
from bayesgmm.words.statistics import total_over_rows

THINNED = 240  # draws whose partitions are compared with one another
MOST_MODES = 6
SEPARATED = 0.5  # silhouette above which groups of partitions are taken for apart (Kaufman & Rousseeuw 1990)
SMALLEST_SHARE = 0.02  # of the thinned draws: fewer are outliers, not a mode
MIXED = 1.05  # R-hat of the indicator of a mode, below which chains move freely in and out of it
RELEVANT = 0.01  # a mode of less weight hardly changes what is reported
_ALLOCATIONS, _PROPOSALS, _FEWEST_PROPOSALS = 200, 4_000, 500
_FEWEST_DRAWS = 20
_SHORTEST = 10  # draws of a chain that tell something about its autocorrelation
_EVALUATIONS = 400_000_000  # rows times components of all proposals: about two seconds
_LABELS_HELD = 20_000_000


@dataclass(frozen=True)
class Points:
    """Mixture parameters of many draws, whatever chains they come from, with full covariances.

    Attributes
    ----------
    weights : (point, cluster)
    means : (point, cluster, feature)
    covariances : (point, cluster, feature, feature_bis)
    chain : (point,)
        The chain each was drawn in; the points of a chain stand in the order in which they were drawn.
    """

    weights: Weights
    means: Means
    covariances: Covariances
    chain: IntArray

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, which: Array | IntArray) -> "Points":
        return Points(self.weights[which], self.means[which], self.covariances[which], self.chain[which])

    @property
    def arrays(self) -> tuple[Weights, Means, Covariances, IntArray]:
        """Weights, means, covariances, chain."""
        return self.weights, self.means, self.covariances, self.chain

    def draws(self, covariance_type: str) -> DrawSet:
        """The same as the kernel reads them."""
        return draw_set_of(covariance_type, self.weights, self.means, self.covariances)


@dataclass(frozen=True)
class Sample:
    """Weighted points of one mode: its draws, and what was proposed and fell into it.

    Attributes
    ----------
    points : Points
    weights : (point,)
        They sum to one.
    source : (point,)
        Which of all draws each is; -1 for a proposal.
    effective_size : float
        How many independent draws the sample is worth (Kish), a correlated draw counting for less.
    """

    points: Points
    weights: Array
    source: IntArray
    effective_size: float


@dataclass(frozen=True)
class Mode:
    """One mode.

    Attributes
    ----------
    centre : (obs,) integers
        Its partition.
    n_clusters : int
        Clusters in it.
    n_draws : int
        Draws that lie in the mode.
    chains : list of int
        Chains that spent at least a hundredth of their draws in it.
    mean_log_likelihood : float
    bridge : Bridge or None
        Its evidence, with all label copies; None where it was not estimated: a single mode, or one that lies so
        much lower than another that it carries no weight.
    weight, weight_se : float
        Posterior probability of the mode, given that no other exists, and its standard error.
    sample : Sample or None
        Points that represent the mode, if it has a weight.
    """

    centre: Labels
    n_clusters: int
    n_draws: int
    chains: list[int]
    mean_log_likelihood: float
    bridge: Bridge | None = None
    weight: float = np.nan
    weight_se: float = np.nan
    sample: Sample | None = None


@dataclass(frozen=True)
class Modes:
    """The modes found among draws.

    Attributes
    ----------
    modes : tuple of Mode
    labels : (point,)
        The mode of each draw.
    r_hat : float
        The worst R-hat of an indicator of a mode over the chains; 1 with a single mode.
    """

    modes: tuple[Mode, ...]
    labels: IntArray
    r_hat: float

    @property
    def separate(self) -> bool:
        """Whether there are several modes, between which chains do not move freely."""
        return len(self.modes) > 1


@dataclass(frozen=True)
class Target:
    """The posterior density of mixture parameters in their own coordinates, every constant included.

    Attributes
    ----------
    X : (obs, feature)
    prior : Prior
    n_components : int
    covariance_type : str
    row_weights : (obs,), optional
        Frequency weights.
    """

    X: Rows
    prior: Prior
    n_components: int
    covariance_type: str
    row_weights: PerRow | None = None

    @property
    def of_prior(self) -> Conditionals:
        """The prior, as a density given no rows."""
        resolved = self.prior.resolve(self.n_components, self.X.shape[1], self.covariance_type)
        return Conditionals.of_prior(resolved)

    @property
    def symmetric(self) -> bool:
        """Whether densities are averaged over labellings: not if labels mean something, nor with very many."""
        return self.prior.exchangeable and self.n_components <= MOST_COMPONENTS

    @property
    def far(self) -> float:
        """So many nats lower, a mode carries no weight however much wider it is."""
        n_dim = covariance_family(self.covariance_type).n_parameters(self.n_components, self.X.shape[1])
        return 50.0 + 2.0 * n_dim

    def log_density(self, density: Conditionals, points: Points) -> Array:
        """Log of a density of parameters, (point,)."""
        arguments = (points.weights, points.means, points.covariances)
        if self.symmetric:
            return density.log_density(*arguments)
        labelled = density.log_labelled_density(*arguments)
        return np.logaddexp.reduce(labelled, axis=1) - np.log(labelled.shape[1])


def find_modes(
    points: Points, X: Rows, covariance_type: str, *, mixed: float = MIXED, row_weights: PerRow | None = None
) -> Modes:
    """Group draws into modes by their partitions; groups between which chains move freely are one mode.

    That is where no indicator of a group has an R-hat above ``mixed``. Partitions are of rows, whatever their weights.
    """
    draws, thinned = points.draws(covariance_type), _thinned(points.chain)
    partitions = _partitions(_subset(draws, thinned), X)
    centres = _centres(partitions)
    if len(centres) == 1:
        return _single_mode(partitions, points, float(_evaluate(_subset(draws, thinned), X, [], row_weights)[0].mean()))
    log_likelihood, labels = _evaluate(draws, X, centres, row_weights)
    enough = np.bincount(labels, minlength=len(centres)) >= _FEWEST_DRAWS
    if not enough.all() and enough.any():  # too few to weigh: their draws go to the nearest of the others
        centres = [centre for centre, kept in zip(centres, enough, strict=True) if kept]
        log_likelihood, labels = _evaluate(draws, X, centres, row_weights)
    r_hats = [_indicator_r_hat(labels == m, points.chain) for m in range(len(centres))]
    if len(centres) == 1 or not np.max(r_hats) > mixed:  # a single chain (NaN) cannot tell
        return _single_mode(partitions, points, float(log_likelihood.mean()))
    modes = tuple(_mode(centre, labels == m, log_likelihood, points.chain) for m, centre in enumerate(centres))
    return Modes(modes, labels, float(np.max(r_hats)))


def _single_mode(partitions: Labels, points: Points, log_likelihood: float) -> Modes:
    centre = partitions[_medoid(_distances(partitions))]
    mode = Mode(centre, len(np.unique(centre)), len(points), np.unique(points.chain).tolist(), log_likelihood)
    return Modes((mode,), np.zeros(len(points), dtype=np.int64), 1.0)


def _mode(centre: Labels, inside: Array, log_likelihood: Array, chain: IntArray) -> Mode:
    visitors = [int(c) for c in np.unique(chain) if inside[chain == c].mean() >= 0.01]
    mean = float(log_likelihood[inside].mean()) if inside.any() else np.nan
    return Mode(centre, len(np.unique(centre)), int(inside.sum()), visitors, mean)


def weigh_modes(modes: Modes, points: Points, target: Target, *, rng: np.random.Generator) -> Modes:
    """Give each mode its evidence and its weight.

    A mode whose highest density, likelihood times prior, stays far below the ordinary one of another mode gets
    weight zero without more ado.
    """
    draws = points.draws(target.covariance_type)
    log_likelihood, _ = _evaluate(draws, target.X, [], target.row_weights)
    log_joint = log_likelihood + target.log_density(target.of_prior, points)
    centres = [mode.centre for mode in modes.modes]
    ordinary = max(np.median(log_joint[modes.labels == m]) for m in range(len(centres)) if modes.modes[m].n_draws)
    own = [np.flatnonzero(modes.labels == m) for m in range(len(centres))]
    near = [m for m in range(len(centres)) if len(own[m]) > 1 and log_joint[own[m]].max() > ordinary - target.far]
    found: list[tuple[Bridge | None, Sample | None]] = [(None, None)] * len(centres)
    if len(near) == 1 < len(centres):  # all the others are far below: what its evidence is does not matter
        found[near[0]] = (None, draws_as_they_are(points, own[near[0]]))
        weights, errors = np.eye(len(centres))[near[0]], np.zeros(len(centres))
    else:
        for m in near:
            found[m] = _evidence(_Inside(own[m], m, centres), points, log_joint, target=target, rng=rng)
        weights, errors = _softmax_with_errors([estimate for estimate, _ in found])
    weighed = (
        replace(mode, bridge=estimate, sample=sample, weight=float(w), weight_se=float(e))
        for mode, (estimate, sample), w, e in zip(modes.modes, found, weights, errors, strict=True)
    )
    return replace(modes, modes=tuple(weighed))


def draws_as_they_are(points: Points, own: IntArray) -> Sample:
    """Some of the draws as a sample in which all weigh the same."""
    return Sample(points[own], np.full(len(own), 1.0 / max(1, len(own))), own, float(len(own)))


@dataclass(frozen=True)
class _Inside:
    """The draws of one mode, and the rule by which a point lies in it."""

    own: IntArray
    mode: int
    centres: Sequence[Labels]


def _evidence(
    inside: _Inside, points: Points, log_joint: Array, *, target: Target, rng: np.random.Generator
) -> tuple[Bridge, Sample]:
    """Bridge sampling of one mode: every other draw serves the proposal, the rest the estimate."""
    own = inside.own
    size = target.X.shape[0] * target.n_components
    built = own[::2][_spread(len(own[::2]), min(_ALLOCATIONS, max(20, _LABELS_HELD // len(target.X))))]
    kept = own[1::2]
    allocations = np.stack(list(drawn_labels(points[built].draws(target.covariance_type), target.X, rng=rng)))
    chosen = points[built]
    proposal = target.of_prior.given(
        target.X, allocations, chosen.means, chosen.covariances, row_weights=target.row_weights
    )
    n = int(np.clip(_EVALUATIONS // size, _FEWEST_PROPOSALS, _PROPOSALS))
    proposed = Points(*proposal.sample(n, rng=rng), np.full(n, -1))
    draws = proposed.draws(target.covariance_type)
    log_likelihood, labels = _evaluate(draws, target.X, inside.centres, target.row_weights)
    ratio = log_likelihood + target.log_density(target.of_prior, proposed) - target.log_density(proposal, proposed)
    ratio = np.where(labels == inside.mode, ratio, -np.inf)
    of_draws = log_joint[kept] - target.log_density(proposal, points[kept])
    estimate = bridge(of_draws, ratio, effective_size=lambda series: effective_size(series, points.chain[kept]))
    return estimate, _sample(estimate, (points[kept], of_draws), (proposed, ratio), kept)


def _sample(estimate: Bridge, draws: tuple[Points, Array], proposals: tuple[Points, Array], source: IntArray) -> Sample:
    """Draws and proposals with the weights f / (n f / Z + m q) that make both one sample (Shirts & Chodera 2008).

    It does not depend on how long the chains stayed in any part of the mode as draws alone would, and a proposal
    never weighs more than a draw.
    """
    n, m, worth = len(source), len(proposals[1]), estimate.effective_draws
    offset = np.log(worth) - np.log(m) - estimate.log_z
    of_draws, of_proposals = expit(draws[1] + offset) / n, expit(proposals[1] + offset) / worth
    inside = np.flatnonzero(of_proposals > 0)
    weights = np.concatenate([of_draws, of_proposals[inside]])
    scatter = (of_draws**2).sum() * n / worth + (of_proposals**2).sum()
    both = (np.concatenate(pair) for pair in zip(draws[0].arrays, proposals[0][inside].arrays, strict=True))
    return Sample(
        Points(*both),
        weights / weights.sum(),
        np.concatenate([source, np.full(len(inside), -1)]),
        float(weights.sum() ** 2 / scatter),
    )


def effective_size(series: Array, chain: IntArray) -> float:
    """Effective sample size of the mean of draws from several chains, unequally many from each.

    The chains are cut into pieces of equal length, so that pieces that disagree count for little.
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
    """Whether the first ``n_chains`` chains have the relevant modes in their shares as they stand, and little else.

    Modes that carry no weight may have been found by scouts only; those that do may be parts between which the
    chains move freely.
    """
    own = chain < n_chains
    relevant = [m for m, mode in enumerate(modes.modes) if mode.weight >= RELEVANT]
    shares = np.bincount(modes.labels[own], minlength=len(modes.modes)) / own.sum()
    missed = any(shares[m] < 0.5 * modes.modes[m].weight for m in relevant)
    if missed or shares[relevant].sum() < 1.0 - RELEVANT:
        return False
    r_hats = [_indicator_r_hat(modes.labels[own] == m, chain[own]) for m in relevant] if len(relevant) > 1 else []
    return all(r_hat <= MIXED for r_hat in r_hats)


@dataclass(frozen=True)
class Pool:
    """Draws in which every mode has its weight.

    Attributes
    ----------
    points : Points
    mode : (point,)
        The mode of each.
    source : (point,)
        Which of all draws it is; -1 for a proposal.
    """

    points: Points
    mode: IntArray
    source: IntArray


def pool(modes: Modes, n: int, *, rng: np.random.Generator) -> Pool:
    """Resample ``n`` points from the samples of all modes, systematically, in random order."""
    samples = [(m, mode.weight, mode.sample) for m, mode in enumerate(modes.modes) if mode.sample and mode.weight > 0]
    weights = np.concatenate([weight * sample.weights for _, weight, sample in samples])
    mode = np.concatenate([np.full(len(sample.weights), m) for m, _, sample in samples])
    source = np.concatenate([sample.source for _, _, sample in samples])
    points = Points(*(np.concatenate(part) for part in zip(*(s.points.arrays for _, _, s in samples), strict=True)))
    places = (np.arange(n) + rng.random()) / n * weights.sum()
    which = rng.permutation(np.minimum(np.searchsorted(weights.cumsum(), places), len(weights) - 1))
    return Pool(points[which], mode[which], source[which])


def _spread(n: int, most: int) -> IntArray:
    """At most so many of n indices, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _thinned(chain: IntArray) -> IntArray:
    """Indices of draws evenly spread over each chain, as many from each."""
    chains = [np.flatnonzero(chain == c) for c in np.unique(chain)]
    return np.concatenate([own[_spread(len(own), max(2, THINNED // len(chains)))] for own in chains])


def _subset(draws: DrawSet, which: IntArray) -> DrawSet:
    names = ("weights", "means", "factors", "precision_factors", "log_scale")
    return replace(draws, **{name: getattr(draws, name)[which] for name in names})


def _partitions(draws: DrawSet, X: Rows) -> Labels:
    """Every row to its most probable component, (draw, obs) of int32."""
    return np.stack([resp.argmax(axis=0) for _, resp in each_draw(draws, X, with_memberships=True)]).astype(np.int32)


def _centres(partitions: Labels) -> list[Labels]:
    """Medoids of the groups that partitions fall into; a single one unless groups stand clearly apart."""
    distances = _distances(partitions)
    best, groups = SEPARATED, np.zeros(len(partitions), dtype=np.int64)
    tree = linkage(squareform(distances), "average") if len(partitions) > 2 else np.empty((0, 4))
    for n_groups in range(2, MOST_MODES + 1 if len(tree) else 2):
        found = _without_outliers(fcluster(tree, n_groups, "maxclust").astype(np.int64))
        inside = found > 0
        if not 2 <= len(np.unique(found[inside])) < inside.sum():
            continue
        score = silhouette_score(distances[np.ix_(inside, inside)], found[inside], metric="precomputed")
        if score > best:
            best, groups = score, found
    names = np.unique(groups[groups > 0]) if groups.any() else np.array([0])
    members = [np.flatnonzero(groups == name) for name in names]
    return [partitions[own[_medoid(distances[np.ix_(own, own)])]] for own in members]


def _distances(partitions: Labels) -> Array:
    """Variation of information between all pairs, (draw, draw)."""
    distances = np.stack([losses(partitions, own, loss="vi") for own in partitions])
    distances = 0.5 * (distances + distances.T)  # symmetric to the last bit
    np.fill_diagonal(distances, 0.0)
    return distances


def _without_outliers(groups: IntArray) -> IntArray:
    """Groups that hold too few draws become zero."""
    sizes = np.bincount(groups)
    return np.where(sizes[groups] >= SMALLEST_SHARE * len(groups), groups, 0)


def _medoid(distances: Array) -> int:
    return int(distances.sum(axis=1).argmin())


def _evaluate(draws: DrawSet, X: Rows, centres: Sequence[Labels], row_weights: PerRow | None) -> tuple[Array, IntArray]:
    """Log-likelihood of each draw, and the nearest of the centres."""
    log_likelihood, labels = np.empty(len(draws)), np.zeros(len(draws), dtype=np.int64)
    size = max(1, _LABELS_HELD // len(X))
    held = np.empty((min(size, len(draws)), len(X)), dtype=np.int32)
    first = 0
    for s, (log_density, resp) in enumerate(each_draw(draws, X, with_memberships=len(centres) > 1)):
        log_likelihood[s] = total_over_rows(log_density, row_weights)
        if len(centres) > 1:
            held[s - first] = resp.argmax(axis=0)
            if s - first + 1 == len(held) or s + 1 == len(draws):
                labels[first : s + 1] = _nearest(held[: s - first + 1], centres)
                first = s + 1
    return log_likelihood, labels


def _nearest(partitions: Labels, centres: Sequence[Labels]) -> IntArray:
    return np.stack([losses(partitions, centre, loss="vi") for centre in centres]).argmin(axis=0)


def _indicator_r_hat(inside: Array, chain: IntArray) -> float:
    """R-hat of being in a mode; infinite if every chain stays on one side and they differ."""
    series = [inside[chain == c].astype(np.float64) for c in np.unique(chain)]
    shortest = min(len(part) for part in series)
    if len(series) < 2 or shortest < 4:
        return np.nan
    values = np.stack([part[-shortest:] for part in series])
    if np.ptp(values) == 0.0:
        return 1.0
    return np.inf if np.ptp(values, axis=1).max() == 0.0 else float(azs.rhat(values))
