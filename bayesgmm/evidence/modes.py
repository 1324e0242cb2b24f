r"""Modes of a posterior, as sets of partitions, found among draws.

A *mode* is a set of partitions: the draws whose partition (every row to its most probable component) is nearer,
by variation of information, to the centre of this mode than to the centre of any other. This divides the parameter
space into label-invariant regions, so the evidence of a mode, the integral of likelihood times prior over its region,
follows by bridge sampling from its draws and from a proposal truncated to the region. The evidences determine the
weights of the modes, however long chains stayed in each.

Above 4,000 rows, partitions of 4,000 random ones are compared. A mode that moves m of n rows moves 4,000 m / n of these
in expectation: a few if m is at least n / 1,000, and modes that differ by less may be taken for one. Likelihoods always
count all rows: there, they are computed when they are needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Data
from bayesgmm.em import groups_of_tree
from bayesgmm.evidence.bridge_sampling import Bridge
from bayesgmm.mixture import Draws
from bayesgmm.partitions import Labels, discrete_r_hat, losses
from bayesgmm.prediction import each_draw

THINNED = 240  # draws whose partitions are compared pairwise
MOST_MODES = 12
SEPARATED = 0.5  # silhouette above which groups of partitions are considered separate (Kaufman & Rousseeuw 1990)
SMALLEST_SHARE = 0.02  # of the thinned draws: fewer are outliers, not a mode
MIXED = 1.05  # R-hat of the indicator of a mode, below which chains move freely in and out of it
_FEWEST_DRAWS = 20
COMPARED = 4_000  # rows whose labels are compared
LABELS_HELD = 20_000_000
_LABELS_COMPARED = 1_000_000  # held at once, 4 MB

type Selection = IntArray | slice  # numbers of rows


@dataclass(frozen=True)
class Sample:
    """Weighted points of one mode: its draws, and proposals in its region.

    Attributes
    ----------
    points : Draws
    weights : (point,)
        They sum to one.
    source : (point,)
        Which of all draws each is; -1 for a proposal.
    effective_size : float
        Effective sample size (Kish), allowing for autocorrelation, and at most that of the chains' own draws of the
        mode.
    """

    points: Draws
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
        Chains with at least one percent of their draws in it.
    mean_log_likelihood : float
        Of some of the draws: 240, fewer above 4,000 rows, at least 20.
    bridge : Bridge or None
        Its evidence, over all labellings; None if not estimated: a single mode, or one so far below another that it
        has no weight.
    weight, weight_se : float
        Posterior probability of the mode, given that there are no further modes, and its standard error.
    sample : Sample or None
        Weighted points of the mode, if it has a weight.
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
    compared : IntArray or slice
        The rows by whose labels modes are told apart.
    log_likelihood : (point,), optional
        Of each draw, if it was computed.
    """

    modes: tuple[Mode, ...]
    labels: IntArray
    r_hat: float
    compared: Selection = slice(None)
    log_likelihood: Array | None = None

    @property
    def separate(self) -> bool:
        """Whether there are several modes between which chains do not move freely."""
        return len(self.modes) > 1


def find_modes(
    points: Draws, data: Data, *, rng: np.random.Generator, mixed: float | None = MIXED, by_chain: bool = False
) -> Modes:
    """Group draws into modes by their partitions; groups between which chains move freely are one mode.

    Where no groups are clearly separate, as where each of many chains is in a place of its own and partitions of
    overlapping clusters vary in each, with ``by_chain`` chains that lie apart are groups.

    Chains move freely if no indicator of a group has an R-hat above ``mixed``; if that is None, all groups are modes,
    as where chains jump between them. Row weights do not enter partitions. Above 4,000 rows, partitions of 4,000 rows
    drawn by ``rng`` are compared, see this module.
    """
    thinned, compared = points[_thinned(points.chain)], _compared_rows(data.shape[0], rng=rng)
    distances = _distances(partitions_of(thinned, data.take(compared)))
    medoids = _medoids(distances)
    if len(medoids) == 1 and by_chain and mixed is not None:
        medoids = _medoids_of_chains(distances, thinned.chain, mixed)
    typical, *centres = partitions_of(thinned[np.array([_medoid(distances), *medoids])], data)
    if len(centres) == 1:
        return _single_mode(typical, points, data)
    log_likelihood, labels = nearest(points, data, centres, compared)
    enough = np.bincount(labels, minlength=len(centres)) >= _FEWEST_DRAWS
    if not enough.all() and enough.any():  # too few for a weight: their draws go to the nearest of the others
        centres = [centre for centre, kept in zip(centres, enough, strict=True) if kept]
        log_likelihood, labels = nearest(points, data, centres, compared)
    r_hats = [indicator_r_hat(labels == m, points.chain) for m in range(len(centres))]
    if len(centres) == 1 or (mixed is not None and not np.max(r_hats) > mixed):  # NaN: a single chain
        return _single_mode(typical, points, data)
    modes = tuple(mode_among(centre, points, labels == m, data) for m, centre in enumerate(centres))
    return Modes(modes, labels, float(np.max(r_hats)), compared, log_likelihood)


def _compared_rows(n_rows: int, *, rng: np.random.Generator) -> Selection:
    """All rows, or so many random ones."""
    return slice(None) if n_rows <= COMPARED else np.sort(rng.choice(n_rows, COMPARED, replace=False))


def nearest(points: Draws, data: Data, centres: Sequence[Labels], compared: Selection) -> tuple[Array | None, IntArray]:
    """The nearest centre of each draw by the labels of the rows compared, after its log-likelihood if these are all."""
    if isinstance(compared, slice):
        return evaluate(points, data, centres)
    parts = [np.ascontiguousarray(centre[compared]) for centre in centres]
    return None, evaluate(points, data.take(compared), parts)[1]


def _single_mode(centre: Labels, points: Draws, data: Data) -> Modes:
    every = np.ones(len(points), dtype=np.bool_)
    return Modes((mode_among(centre, points, every, data),), np.zeros(len(points), dtype=np.int64), 1.0)


def mode_among(centre: Labels, points: Draws, inside: NDArray[np.bool_], data: Data) -> Mode:
    """The mode with this centre and these of the draws."""
    visitors = [int(c) for c in np.unique(points.chain) if inside[points.chain == c].mean() >= 0.01]
    own = np.flatnonzero(inside)
    few = own[spread(len(own), min(THINNED, max(_FEWEST_DRAWS, THINNED * COMPARED // data.shape[0])))]
    mean = float(evaluate(points[few], data, [])[0].mean()) if len(few) else np.nan
    return Mode(centre, len(np.unique(centre)), len(own), visitors, mean)


def spread(n: int, most: int) -> IntArray:
    """At most ``most`` of n indices, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _thinned(chain: IntArray) -> IntArray:
    """Indices of draws evenly spaced in each chain, the same number from each."""
    chains = [np.flatnonzero(chain == c) for c in np.unique(chain)]
    return np.concatenate([own[spread(len(own), max(2, THINNED // len(chains)))] for own in chains])


def partitions_of(draws: Draws, data: Data) -> Labels:
    """Every row to its most probable component, (draw, obs) of int32."""
    return np.stack([resp.argmax(axis=0) for _, resp in each_draw(draws, data, with_memberships=True)]).astype(np.int32)


def _medoids(distances: Array) -> list[int]:
    """Medoids of groups of partitions; a single one unless groups are clearly separate."""
    best, groups = SEPARATED, np.zeros(len(distances), dtype=np.int64)
    tree = linkage(squareform(distances), "average") if len(distances) > 2 else np.empty((0, 4))
    for n_groups in range(2, MOST_MODES + 1 if len(tree) else 2):
        found = _without_outliers(1 + groups_of_tree(tree, n_groups))
        inside = found > 0
        if not 2 <= len(np.unique(found[inside])) < inside.sum():
            continue
        score = silhouette_score(distances[np.ix_(inside, inside)], found[inside], metric="precomputed")
        if score > best:
            best, groups = score, found
    names = np.unique(groups[groups > 0]) if groups.any() else np.array([0])
    members = [np.flatnonzero(groups == name) for name in names]
    return [int(own[_medoid(distances[np.ix_(own, own)])]) for own in members]


def _medoids_of_chains(distances: Array, chain: IntArray, mixed: float) -> list[int]:
    """Medoids of groups of chains: two with an R-hat of distances from their medoids of at most ``mixed`` are one."""
    chains = [np.flatnonzero(chain == c) for c in np.unique(chain)]
    apart = np.zeros((len(chains), len(chains)), dtype=np.bool_)
    for (a, one), (b, other) in combinations(enumerate(chains), 2):
        own = [each[_medoid(distances[np.ix_(each, each)])] for each in (one, other)]
        series = np.stack([[distances[m, one], distances[m, other]] for m in own])
        with np.errstate(invalid="ignore", divide="ignore"):  # a chain that does not move
            r_hats = array_stats.rhat(series, chain_axis=1, draw_axis=2)
        apart[a, b] = apart[b, a] = bool(np.nan_to_num(r_hats, nan=1.0).max() > mixed)
    n_groups, group = connected_components(~apart, directed=False)
    members = [np.concatenate([chains[c] for c in np.flatnonzero(group == g)]) for g in range(n_groups)]
    return [int(own[_medoid(distances[np.ix_(own, own)])]) for own in members]


def _distances(partitions: Labels) -> Array:
    """Variation of information between all pairs, (draw, draw)."""
    distances = np.zeros((len(partitions), len(partitions)))
    for i, own in enumerate(partitions[:-1]):
        distances[i, i + 1 :] = losses(partitions[i + 1 :], own, loss="vi")
    return distances + distances.T


def _without_outliers(groups: IntArray) -> IntArray:
    """Groups with too few draws become zero."""
    sizes = np.bincount(groups)
    return np.where(sizes[groups] >= SMALLEST_SHARE * len(groups), groups, 0)


def _medoid(distances: Array) -> int:
    return int(distances.sum(axis=1).argmin())


def evaluate(draws: Draws, data: Data, centres: Sequence[Labels]) -> tuple[Array, IntArray]:
    """Log-likelihood of each draw, and the nearest of the centres, by the labels of all rows."""
    log_likelihood, labels = np.empty(len(draws)), np.zeros(len(draws), dtype=np.int64)
    held = np.empty((min(max(1, _LABELS_COMPARED // data.shape[0]), len(draws)), data.shape[0]), dtype=np.int32)
    first, several = 0, len(centres) > 1
    for s, (log_density, resp) in enumerate(each_draw(draws, data, with_memberships=several)):
        log_likelihood[s] = log_density @ data.weights
        if several:
            held[s - first] = resp.argmax(axis=0)
            if s - first + 1 == len(held) or s + 1 == len(draws):
                labels[first : s + 1] = _nearest(held[: s - first + 1], centres)
                first = s + 1
    return log_likelihood, labels


def _nearest(partitions: Labels, centres: Sequence[Labels]) -> IntArray:
    return np.stack([losses(partitions, centre, loss="vi") for centre in centres]).argmin(axis=0)


def indicator_r_hat(inside: Array, chain: IntArray) -> float:
    """R-hat of the indicator of a mode; infinite if it is constant in every chain but differs between chains."""
    series = [inside[chain == c].astype(np.float64) for c in np.unique(chain)]
    shortest = min(len(part) for part in series)
    if len(series) < 2 or shortest < 4:
        return np.nan
    return discrete_r_hat(np.stack([part[-shortest:] for part in series]))
