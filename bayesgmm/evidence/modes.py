r"""Modes of a posterior, as sets of partitions, found among draws.

A *mode* is a set of partitions: the draws whose partition (every row to its most probable component) is nearer,
by variation of information, to the centre of this mode than to the centre of any other. This divides the parameter
space into label-invariant regions, so the evidence of a mode, the integral of likelihood times prior over its region,
follows by bridge sampling from its draws and from a proposal truncated to the region. The evidences determine the
weights of the modes, however long chains stayed in each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Data
from bayesgmm.evidence.bridge_sampling import Bridge
from bayesgmm.mixture import Draws
from bayesgmm.partitions import Labels, discrete_r_hat, losses
from bayesgmm.prediction import each_draw

THINNED = 240  # draws whose partitions are compared pairwise
MOST_MODES = 6
SEPARATED = 0.5  # silhouette above which groups of partitions are considered separate (Kaufman & Rousseeuw 1990)
SMALLEST_SHARE = 0.02  # of the thinned draws: fewer are outliers, not a mode
MIXED = 1.05  # R-hat of the indicator of a mode, below which chains move freely in and out of it
_FEWEST_DRAWS = 20
LABELS_HELD = 20_000_000


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
    """

    modes: tuple[Mode, ...]
    labels: IntArray
    r_hat: float

    @property
    def separate(self) -> bool:
        """Whether there are several modes between which chains do not move freely."""
        return len(self.modes) > 1


def find_modes(points: Draws, data: Data, *, mixed: float = MIXED) -> Modes:
    """Group draws into modes by their partitions; groups between which chains move freely are one mode.

    Chains move freely if no indicator of a group has an R-hat above ``mixed``. Row weights do not enter partitions.
    """
    thinned = points[_thinned(points.chain)]
    partitions = _partitions(thinned, data)
    centres = _centres(partitions)
    if len(centres) == 1:
        return _single_mode(partitions, points, float(evaluate(thinned, data, [])[0].mean()))
    log_likelihood, labels = evaluate(points, data, centres)
    enough = np.bincount(labels, minlength=len(centres)) >= _FEWEST_DRAWS
    if not enough.all() and enough.any():  # too few for a weight: their draws go to the nearest of the others
        centres = [centre for centre, kept in zip(centres, enough, strict=True) if kept]
        log_likelihood, labels = evaluate(points, data, centres)
    r_hats = [indicator_r_hat(labels == m, points.chain) for m in range(len(centres))]
    if len(centres) == 1 or not np.max(r_hats) > mixed:  # NaN: a single chain
        return _single_mode(partitions, points, float(log_likelihood.mean()))
    modes = tuple(_mode(centre, labels == m, log_likelihood, points.chain) for m, centre in enumerate(centres))
    return Modes(modes, labels, float(np.max(r_hats)))


def _single_mode(partitions: Labels, points: Draws, log_likelihood: float) -> Modes:
    centre = partitions[_medoid(_distances(partitions))]
    mode = Mode(centre, len(np.unique(centre)), len(points), np.unique(points.chain).tolist(), log_likelihood)
    return Modes((mode,), np.zeros(len(points), dtype=np.int64), 1.0)


def _mode(centre: Labels, inside: Array, log_likelihood: Array, chain: IntArray) -> Mode:
    visitors = [int(c) for c in np.unique(chain) if inside[chain == c].mean() >= 0.01]
    mean = float(log_likelihood[inside].mean()) if inside.any() else np.nan
    return Mode(centre, len(np.unique(centre)), int(inside.sum()), visitors, mean)


def spread(n: int, most: int) -> IntArray:
    """At most ``most`` of n indices, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _thinned(chain: IntArray) -> IntArray:
    """Indices of draws evenly spaced in each chain, the same number from each."""
    chains = [np.flatnonzero(chain == c) for c in np.unique(chain)]
    return np.concatenate([own[spread(len(own), max(2, THINNED // len(chains)))] for own in chains])


def _partitions(draws: Draws, data: Data) -> Labels:
    """Every row to its most probable component, (draw, obs) of int32."""
    return np.stack([resp.argmax(axis=0) for _, resp in each_draw(draws, data, with_memberships=True)]).astype(np.int32)


def _centres(partitions: Labels) -> list[Labels]:
    """Medoids of groups of partitions; a single one unless groups are clearly separate."""
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
    """Groups with too few draws become zero."""
    sizes = np.bincount(groups)
    return np.where(sizes[groups] >= SMALLEST_SHARE * len(groups), groups, 0)


def _medoid(distances: Array) -> int:
    return int(distances.sum(axis=1).argmin())


def evaluate(draws: Draws, data: Data, centres: Sequence[Labels]) -> tuple[Array, IntArray]:
    """Log-likelihood of each draw, and the nearest of the centres."""
    log_likelihood, labels = np.empty(len(draws)), np.zeros(len(draws), dtype=np.int64)
    n_rows = data.shape[0]
    held = np.empty((min(max(1, LABELS_HELD // n_rows), len(draws)), n_rows), dtype=np.int32)
    first = 0
    for s, (log_density, resp) in enumerate(each_draw(draws, data, with_memberships=len(centres) > 1)):
        log_likelihood[s] = log_density @ data.weights
        if len(centres) > 1:
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
