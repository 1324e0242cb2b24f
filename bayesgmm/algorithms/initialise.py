"""Starts for EM: rows are shared out among the components, then one M-step gives a mixture.

How rows are shared out is a table, `INIT_METHODS`, with scikit-learn's names. The methods that measure
distances work on scaled columns, see `scaled_for_distances`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import fcluster, ward
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans, kmeans_plusplus

from bayesgmm.algorithms.given import (
    Given,
    checked_labels,
    checked_parameters,
    every_label_known,
    labelled_shares,
    with_parameters,
)
from bayesgmm.algorithms.m_step import m_step
from bayesgmm.ground.families import CovarianceFamily, covariance_family
from bayesgmm.ground.kernel import DIAGONAL, FULL, SPHERICAL
from bayesgmm.ground.mixture import Mixture
from bayesgmm.ground.pseudo_data import PseudoData, pseudo_data
from bayesgmm.ground.resolved_prior import ResolvedPrior
from bayesgmm.words.arrays import Array, IntArray, PerRow, Responsibilities, Rows
from bayesgmm.words.checks import as_finite, as_row_weights, as_rows, check_components
from bayesgmm.words.errors import InputError
from bayesgmm.words.statistics import Statistics

type InitMethod = Callable[[Rows, int, PerRow, np.random.Generator], Responsibilities]

_MOST_MERGED = 1_000  # rows of a hierarchical clustering, which takes their number squared
_MOST_MEANT, _MOST_LLOYD = 5_000, 30  # rows and steps of a short k-means
_RELATIVE_RANK = 1e-10  # directions with less than this share of the largest variance are rounding errors


@dataclass(frozen=True, slots=True)
class Initialisation:
    """Where EM starts: a method of `INIT_METHODS`, and parameters that the user knows already.

    Attributes
    ----------
    method : str
        ``"k-means++"``, ``"kmeans"``, ``"random_from_data"``, ``"random"``, ``"hierarchical"`` or
        ``"short_kmeans"``.
    weights : (cluster,), optional
    means : (cluster, feature), optional
    precisions : array, optional
        Inverse covariances in scikit-learn's shape of the family.
    labels : (obs,) int, optional
        The component of each row, -1 where it is not known: the first M-step takes the known rows only.
        Components that no label names start from other rows, see `labelled_shares`.
    """

    method: str = "k-means++"
    weights: ArrayLike | None = None
    means: ArrayLike | None = None
    precisions: ArrayLike | None = None
    labels: ArrayLike | None = None

    def fixed(self, n_components: int) -> bool:
        """Whether every start would be the same one: rows are shared out by given means, or by labels."""
        if self.labels is not None:
            return every_label_known(self.labels, n_components)
        return self.means is not None

    @property
    def labelled(self) -> bool:
        """Whether the user said which component is which."""
        return any(value is not None for value in (self.weights, self.means, self.precisions, self.labels))


def starting_mixture(
    X: ArrayLike,
    n_components: int,
    *,
    rng: np.random.Generator,
    covariance_type: str = "full",
    initialisation: Initialisation | None = None,
    row_weights: ArrayLike | None = None,
    reg_covar: float = 1e-6,
    decorrelate: bool = False,
) -> Mixture:
    r"""One start: rows shared out by a method, one M-step, then whatever the user gave.

    The M-step is regularised, so that a component with one row or none starts as a usable one: covariances
    get :math:`D + 1` pseudo-rows of scatter :math:`cov(X) / K^{2/D}` (the scale of Fraley & Raftery 2007),
    weights one pseudo-row each. A component without rows starts at the mean of the data.

    Parameters
    ----------
    X : (obs, feature)
    n_components : int
    rng : numpy.random.Generator
    covariance_type : str
    initialisation : Initialisation, optional
        Given means share the rows out themselves: each row goes to the nearest. So do given labels.
    row_weights : (obs,), optional
    reg_covar : float
        Smallest eigenvalue of a covariance.
    decorrelate : bool
        Passed to `scaled_for_distances`.

    Raises
    ------
    InputError
        If there are more components than rows, the method is unknown, or given parameters have a wrong
        shape or are no weights, means or precisions.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.algorithms.initialise import starting_mixture
    >>> X = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> np.sort(starting_mixture(X, 2, rng=np.random.default_rng(0)).means, axis=0)
    array([[0.05],
           [5.05]])
    """
    X = as_rows(X)
    family = covariance_family(covariance_type, X.shape[1])
    init = initialisation or Initialisation()
    given = _checked(init, (n_components, X.shape[1]), family)
    v = _weights_or_ones(row_weights, len(X))
    check_components(n_components, round(v.sum()))
    scaled, scaling = scaled_for_distances(X, family, row_weights=v, decorrelate=decorrelate)
    if init.labels is not None:
        labels = checked_labels(init.labels, len(X), n_components)
        resp = labelled_shares(scaled, labels, n_components, row_weights=v, rng=rng)
    elif given.means is not None:
        resp = _nearest(scaled, given.means @ scaling, n_components)
    else:
        resp = INIT_METHODS[init.method](scaled, n_components, v, rng)
    unit = _unit_mixture(X, resp, v, family=family, reg_covar=reg_covar)
    pseudo = _mild_pseudo_data(X, v, n_components, family)
    return with_parameters(_one_step(X, resp * v[:, None], unit, pseudo=pseudo, reg_covar=reg_covar), given)


def mixture_from_responsibilities(
    X: ArrayLike,
    resp: ArrayLike,
    covariance_type: str = "full",
    *,
    prior: ResolvedPrior | None = None,
    reg_covar: float = 1e-6,
    row_weights: ArrayLike | None = None,
) -> Mixture:
    """The M-step for given responsibilities: the mixture that EM would reach from them in one step.

    Parameters
    ----------
    X : (obs, feature)
    resp : (obs, cluster)
        How much of each row each component takes; one-hot for labels.
    covariance_type : str
    prior : ResolvedPrior, optional
        Makes it a maximum a posteriori step (for means independent of the covariances the first of two
        conditional steps, from the diagonal covariance of the data), with hyperparameters that are sampled at their
        means.
    reg_covar : float
        Smallest eigenvalue of a covariance.
    row_weights : (obs,), optional

    Examples
    --------
    >>> from bayesgmm.algorithms.initialise import mixture_from_responsibilities
    >>> mixture_from_responsibilities([[0.0], [2.0], [7.0]], [[1, 0], [1, 0], [0, 1]]).means
    array([[1.],
           [7.]])
    """
    X = as_rows(X)
    resp = as_finite(resp, name="resp")
    if resp.ndim != 2 or len(resp) != len(X) or resp.shape[1] == 0 or resp.min() < 0:
        raise InputError(expected=f"resp with shape ({len(X)}, cluster), non-negative", got=f"shape {resp.shape}")
    family = covariance_family(covariance_type, X.shape[1])
    v = _weights_or_ones(row_weights, len(X))
    unit = _unit_mixture(X, resp, v, family=family, reg_covar=reg_covar)
    pseudo = pseudo_data(None if prior is None else prior.inverse_wishart, resp.shape[1], X.shape[1], family)
    return _one_step(X, resp * v[:, None], unit, pseudo=pseudo, reg_covar=reg_covar)


def scaled_for_distances(
    X: Rows, family: CovarianceFamily, *, row_weights: PerRow, decorrelate: bool = False
) -> tuple[Rows, Array]:
    """Rows in coordinates in which Euclidean distance means something to the family, and the map (D, D') there.

    A fit of the family does not change (but for its units) under the transformations that the coordinates
    undo: spherical components know Euclidean distance itself, so columns stay as they are; diagonal ones
    allow each column its own unit, so columns are divided by their standard deviations; full and tied ones
    allow any linear map, so ``decorrelate`` may whiten by the covariance of the data. That shows groups which
    differ across the main direction of the data, and hides groups that differ along it: use both.
    Constant directions are left out.
    """
    n_features = X.shape[1]
    if family.residual == SPHERICAL:
        return X, np.eye(n_features)
    cov = weighted_covariance(X, row_weights)
    sd = np.sqrt(np.diagonal(cov))
    unit = 1.0 / np.where(sd > 0, sd, np.inf)
    if family.residual == DIAGONAL or not decorrelate:
        return X * unit, np.diag(unit)
    values, vectors = np.linalg.eigh(cov * np.outer(unit, unit))
    kept = values > _RELATIVE_RANK * max(values[-1], 1e-300)
    scaling = unit[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    return (X @ scaling, scaling) if kept.any() else (X * unit, np.diag(unit))


def weighted_covariance(X: Rows, row_weights: PerRow) -> Array:
    """Covariance of the data, divided by the total weight (maximum likelihood)."""
    deviation = X - np.average(X, axis=0, weights=row_weights)
    cov: Array = (deviation * row_weights[:, None]).T @ deviation / row_weights.sum()
    return cov


def aligned_to_prior(mixture: Mixture, prior: ResolvedPrior) -> Mixture:
    """Order the components so that each sits where a prior that tells components apart expects it."""
    k = mixture.n_components
    cost = np.array([[-_component_log_prior(mixture, prior, j, slot) for j in range(k)] for slot in range(k)])
    return mixture.permute(linear_sum_assignment(cost)[1])


def _component_log_prior(mixture: Mixture, prior: ResolvedPrior, j: int, slot: int) -> float:
    """Log prior of component ``j`` in place ``slot``, up to a constant of the place."""
    block_j, block = min(j, len(mixture.factors) - 1), min(slot, len(prior.dof) - 1)
    one = Mixture.from_checked(
        mixture.family,
        mixture.weights[j : j + 1],
        mixture.means[j : j + 1],
        mixture.covariances,
        mixture.factors[block_j : block_j + 1],
        mixture.precision_factors[block_j : block_j + 1],
        mixture.log_scale[j : j + 1],
    )
    place = slice(slot, slot + 1)
    alone = replace(
        prior.inverse_wishart,
        concentration=prior.concentration[place],
        mean=prior.mean[place],
        kappa=prior.kappa[place],
        mean_precision=prior.mean_precision[place],
        dof=prior.dof[block : block + 1],
        scale=prior.scale[block : block + 1],
    )
    return alone.log_prob(one)


def _weights_or_ones(row_weights: ArrayLike | None, n_rows: int) -> PerRow:
    weights = as_row_weights(row_weights, n_rows)
    return np.ones(n_rows) if weights is None else weights


def _checked(init: Initialisation, shape: tuple[int, int], family: CovarianceFamily) -> Given:
    if init.method not in INIT_METHODS:
        known = ", ".join(repr(name) for name in INIT_METHODS)
        raise InputError(expected=f"init_params one of {known}", got=repr(init.method))
    return checked_parameters(init.weights, init.means, init.precisions, shape=shape, family=family)


def _unit_mixture(
    X: Rows, resp: Responsibilities, row_weights: PerRow, *, family: CovarianceFamily, reg_covar: float
) -> Mixture:
    """Means of the shares, variances of the data: coordinates for one M-step, kept by components without rows."""
    k, d = resp.shape[1], X.shape[1]
    shares = resp * row_weights[:, None]
    counts = shares.sum(axis=0)
    centre = np.average(X, axis=0, weights=row_weights)
    means = np.where(counts[:, None] > 0, shares.T @ (X - centre) / np.where(counts > 0, counts, 1.0)[:, None], 0.0)
    variances = np.average((X - centre) ** 2, axis=0, weights=row_weights)
    diagonal = np.diag(np.maximum(variances, max(reg_covar, 1e-300)))
    covariances = family.compress(np.broadcast_to(diagonal, (k, d, d)))
    return Mixture(np.full(k, 1.0 / k), means + centre, covariances, family.name)


def _mild_pseudo_data(X: Rows, row_weights: PerRow, n_components: int, family: CovarianceFamily) -> PseudoData:
    d = X.shape[1]
    nothing = pseudo_data(None, n_components, d, family)
    rows = d + 1.0
    cov = weighted_covariance(X, row_weights) / n_components ** (2.0 / d)
    per_block = {FULL: cov, DIAGONAL: np.diagonal(cov)[None, :], SPHERICAL: np.trace(cov).reshape(1, 1)}
    scale = np.broadcast_to(rows * per_block[family.residual], nothing.scale.shape).copy()
    exponent = np.full_like(nothing.exponent, rows * (d if family.residual == SPHERICAL else 1))
    return nothing._replace(concentration=np.full(n_components, 2.0), exponent=exponent, scale=scale)


def _one_step(X: Rows, shares: Responsibilities, unit: Mixture, *, pseudo: PseudoData, reg_covar: float) -> Mixture:
    """The M-step from rows already shared out, through the residuals whitened by a unit mixture."""
    family = unit.family
    first = np.empty_like(unit.means)
    second = np.empty((unit.n_components, *family.block_shape(unit.n_features)))
    for k in range(unit.n_components):
        factor = unit.precision_factors[min(k, len(unit.precision_factors) - 1)]
        z = (X - unit.means[k]) @ factor.T if family.residual == FULL else (X - unit.means[k]) * factor
        first[k] = shares[:, k] @ z
        second[k] = _second_moment(z, shares[:, k], family)
    statistics = Statistics(0.0, shares.sum(axis=0), first, second)
    return m_step(statistics, unit, pseudo, floor=reg_covar)[0]


def _second_moment(z: Array, share: PerRow, family: CovarianceFamily) -> Array:
    if family.residual == FULL:
        return (z * share[:, None]).T @ z
    squares = (share @ z**2)[None, :]
    return squares.sum(keepdims=True) if family.residual == SPHERICAL else squares


def _one_hot(labels: IntArray, n_components: int) -> Responsibilities:
    return np.eye(n_components)[labels]


def _nearest(X: Rows, centres: Array, n_components: int | None = None) -> Responsibilities:
    return _one_hot(_nearest_labels(X, centres), n_components or len(centres))


def _nearest_labels(X: Rows, centres: Array) -> IntArray:
    """The nearest centre of each row, by |c|^2 - 2 x.c about the first centre, which keeps its digits."""
    at = centres - centres[0]
    return np.argmax((X - centres[0]) @ at.T - 0.5 * (at**2).sum(axis=1), axis=1)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


def _k_means_plus_plus(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Rows to the nearest of K rows picked by k-means++; of fewer where there are fewer."""
    centres, _ = kmeans_plusplus(X, min(k, len(X)), sample_weight=v, random_state=_seed(rng))
    return _nearest(X, centres, k)


def _k_means(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Rows to their k-means cluster; fewer clusters than K when there are fewer distinct rows."""
    distinct = min(k, len(np.unique(X, axis=0)))
    return _one_hot(KMeans(distinct, n_init=1, random_state=_seed(rng)).fit(X, sample_weight=v).labels_, k)


def _short_k_means(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Rows to the nearest of K means: greedy k-means++ and a few steps of Lloyd's on a random subset."""
    rows, v = X, v / v.sum()
    if np.count_nonzero(v) > _MOST_MEANT:
        rows, v = X[rng.choice(len(X), _MOST_MEANT, replace=False, p=v)], np.full(_MOST_MEANT, 1.0 / _MOST_MEANT)
    centres = _greedy_centres(rows, k, v, rng)
    labels = _nearest_labels(rows, centres)
    for _ in range(_MOST_LLOYD):
        shares = _one_hot(labels, k) * v[:, None]
        held = shares.sum(axis=0)
        centres = np.where(held[:, None] > 0, shares.T @ rows / np.where(held > 0, held, 1.0)[:, None], centres)
        before, labels = labels, _nearest_labels(rows, centres)
        if np.array_equal(before, labels):
            break
    return _nearest(X, centres)


def _greedy_centres(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Array:
    """k-means++, the best of 2 + log K candidates each time; scikit-learn's checks cost more than this."""
    centres = X[rng.choice(len(X), size=1, p=v)]
    nearest = ((X - centres[0]) ** 2).sum(axis=1)
    for _ in range(1, k):
        mass = nearest * v
        chances = mass / mass.sum() if mass.sum() > 0 else v
        candidates = X[rng.choice(len(X), size=2 + int(np.log(k)), p=chances)]
        after = [np.minimum(nearest, ((X - candidate) ** 2).sum(axis=1)) for candidate in candidates]
        best = int(np.argmin([distances @ v for distances in after]))
        nearest, centres = after[best], np.vstack([centres, candidates[best]])
    return centres


def _random_from_data(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Rows to the nearest of K rows picked at random."""
    picked = rng.choice(len(X), size=k, replace=bool(np.count_nonzero(v) < k), p=v / v.sum())
    return _nearest(X, X[picked], k)


def _random(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Random shares of every row: all components start close to the mean of the data."""
    shares = rng.uniform(size=(len(X), k))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _hierarchical(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Rows to the nearest mean of K clusters of Ward's, the model of equal spheres; of a random subset if many."""
    counted = np.flatnonzero(v)
    if len(counted) > _MOST_MERGED:
        counted = np.sort(rng.choice(len(X), _MOST_MERGED, replace=False, p=v / v.sum()))
    rows = X[counted]
    # Where many rows are equal there may be fewer clusters than K; some centres are then in one place.
    labels = fcluster(ward(pdist(rows)), k, criterion="maxclust") if len(rows) > 1 else np.ones(1)
    centres = np.stack([rows[labels == one].mean(axis=0) for one in np.unique(labels)])
    return _nearest(X, np.resize(centres, (k, X.shape[1])))


INIT_METHODS: dict[str, InitMethod] = {
    "k-means++": _k_means_plus_plus,
    "kmeans": _k_means,
    "random_from_data": _random_from_data,
    "random": _random,
    "hierarchical": _hierarchical,
    "short_kmeans": _short_k_means,
}
