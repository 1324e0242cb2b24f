"""Initialization of EM: initial responsibilities by a method, then one M-step; user-supplied parameters and labels.

How rows are shared out is a table, `INIT_METHODS`, with scikit-learn's names. The methods that measure
distances work on scaled columns, see `scaled_for_distances`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import ward
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist

from bayesgmm._common import (
    Array,
    Covariances,
    Factors,
    IntArray,
    Means,
    PerRow,
    Responsibilities,
    Rows,
    Weights,
)
from bayesgmm._compiled import IN_1, IN_2, OUT_2, linked
from bayesgmm.data import Allowed, Data
from bayesgmm.em.kmeans import k_means_plus_plus, lloyd, nearest_labels
from bayesgmm.em.m_step import m_step, with_scale
from bayesgmm.em.moments import (
    Moments,
    RegCovar,
    covariance_factor,
    inverse_scales,
    moments_of,
    principal_directions,
    shared_moments,
    variance_floors,
)
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import COVARIANCE, SUMS, CovarianceFamily, Equivariance, Mixture, Statistics, Sums
from bayesgmm.priors import Model, PseudoData, ResolvedPrior
from bayesgmm.validation import as_finite, check_components

type InitMethod = Callable[[Rows, int, PerRow, np.random.Generator], Responsibilities]

_MOST_MERGED, _FEWER_MERGED = 1_000, 100  # rows of a hierarchical clustering, which takes their number squared
_MOST_STEPS = 300  # of k-means
_MOST_MEANT, _MOST_LLOYD = 5_000, 30  # rows and steps of a short k-means
_UNSETTLED = 1_000  # it ends when so few of its rows, one in a thousand, change their cluster
DISTANCES = PLAIN, SCALED, DECORRELATED = "plain", "scaled", "decorrelated"
UNKNOWN = -1  # the label of a row without one, as in sklearn.semi_supervised
_LABELS_SHOWN = 5
_FARTHEST = np.finfo(np.float64).max


@dataclass(frozen=True, slots=True)
class Initialisation:
    """Initialization of EM: a method of `INIT_METHODS`, and user-supplied parameters.

    Attributes
    ----------
    method : str
        ``"k-means++"``, ``"kmeans"``, ``"random_from_data"``, ``"random"``, ``"hierarchical"``,
        ``"short_kmeans"`` or ``"short_hierarchical"``.
    weights : (cluster,), optional
    means : (cluster, feature), optional
    precisions : array, optional
        Inverse covariances in scikit-learn's shape of the family.
    labels : (obs,) int, optional
        The component of each row, -1 if unknown: the first M-step uses the labelled rows only.
        Components without labels start from other rows, see `labelled_shares`.
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
    data: Data,
    model: Model,
    *,
    rng: np.random.Generator,
    initialisation: Initialisation | None = None,
    reg_covar: RegCovar = None,
    distances: str = SCALED,
    moments: Moments | None = None,
) -> Mixture:
    r"""One start: rows shared out by a method, one M-step, then whatever the user gave.

    The M-step is regularised, so that a component with one row or none starts as a usable one: covariances
    get :math:`D + 1` pseudo-rows of scatter :math:`cov(X) / K^{2/D}` (the scale of Fraley & Raftery 2007),
    weights one pseudo-row each. A component without rows starts at the mean of the data.

    Parameters
    ----------
    data : Data
    model : Model
        Its prior does not count.
    rng : numpy.random.Generator
    initialisation : Initialisation, optional
        Given means share the rows out themselves: each row goes to the nearest. So do given labels.
    reg_covar : float, (feature,), optional
        As in `EMSettings`.
    distances : str
        Of `DISTANCES`, passed to `scaled_for_distances`.
    moments : Moments, optional
        Mean and covariance of the data, where they are known already, or of more data than these rows.

    Raises
    ------
    InputError
        If there are more components than rows, the method is unknown, or given parameters have a wrong
        shape or are no weights, means or precisions.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.data import Allowed, Data
    >>> from bayesgmm.em import starting_mixture
    >>> from bayesgmm.priors import Model
    >>> data = Data.of([[0.0], [0.1], [5.0], [5.1]])
    >>> np.sort(starting_mixture(data, Model.of("full", 2, 1), rng=np.random.default_rng(0)).means, axis=0)
    array([[0.05],
           [5.05]])
    """
    X, v, family, n_components = data.filled, data.weights, model.family, model.n_components
    init = initialisation or Initialisation()
    if init.method not in INIT_METHODS:
        known = ", ".join(repr(name) for name in INIT_METHODS)
        raise InputError(expected=f"init_params one of {known}", got=repr(init.method))
    given = checked_parameters(init.weights, init.means, init.precisions, model=model)
    check_components(n_components, round(v.sum()))
    moments = moments_of(data, family) if moments is None else moments
    scaled, to_scaled = scaled_for_distances(X, family, moments=moments, distances=distances)
    if init.labels is not None:
        labels = init.labels if data.allowed is not None else checked_labels(init.labels, len(X), n_components)
        resp = labelled_shares(scaled, np.asarray(labels), n_components, row_weights=v, rng=rng, allowed=data.allowed)
    elif given.means is not None:
        resp = _nearest(scaled, to_scaled(given.means), n_components)
    else:
        resp = INIT_METHODS[init.method](scaled, n_components, v, rng)
    pseudo = mild_pseudo_data(moments, model)
    start = first_step(X, resp * v[:, None], pseudo, moments=moments, family=family, reg_covar=reg_covar)
    return model.with_component(with_parameters(start, given))


def scaled_for_distances(
    X: Rows, family: CovarianceFamily, *, moments: Moments, distances: str = SCALED
) -> tuple[Rows, Callable[[Array], Array]]:
    """Rows in coordinates in which Euclidean distance means something to the family, and the map there.

    A fit of the family does not change (but for its units) under the transformations that the coordinates
    undo: spherical components know Euclidean distance itself, so columns share one unit; diagonal ones allow each
    column its own, so columns are divided by their standard deviations; full and tied ones allow any linear map, so
    ``"decorrelated"`` may whiten by the covariance of the data, and oriented ellipsoids at least allow for it. That
    shows groups which differ across the main direction of the data, and hides groups that differ along it: use both.
    ``"plain"`` distances have one unit for all columns, which says something where they are measured in the same.
    Constant directions are left out.
    """
    unit = inverse_scales(moments)
    if distances == PLAIN or not family.equivariance & Equivariance.SCALES:
        mean_variance = moments.variances.mean()
        unit = np.full(len(unit), mean_variance**-0.5 if mean_variance > 0 else 0.0)
    scaling: Array | None = None
    if family.turns and distances == DECORRELATED:
        values, directions = principal_directions(moments)
        scaling = directions / np.sqrt(values) if len(values) else None

    def to_scaled(rows: Array) -> Array:
        centred = rows - moments.mean
        return centred * unit if scaling is None else centred @ scaling

    return to_scaled(X), to_scaled


def distances_for(family: CovarianceFamily) -> tuple[str, ...]:
    """Those of `DISTANCES` that differ for the family."""
    differ = (True, bool(family.equivariance & Equivariance.SCALES), family.turns)
    return tuple(kind for kind, differs in zip(DISTANCES, differ, strict=True) if differs)


def aligned_to_prior(mixture: Mixture, prior: ResolvedPrior) -> Mixture:
    """Order the components so that each sits where a prior that tells components apart expects it."""
    k = mixture.n_components
    cost = np.array([[-_component_log_prior(mixture, prior, j, slot) for j in range(k)] for slot in range(k)])
    return mixture.permute(linear_sum_assignment(cost)[1])


def _component_log_prior(mixture: Mixture, prior: ResolvedPrior, j: int, slot: int) -> float:
    """Log prior of component ``j`` in place ``slot``, up to a constant of the place."""
    block_j = min(j, len(mixture.factors) - 1)
    one = Mixture.from_checked(
        mixture.family,
        mixture.weights[j : j + 1],
        mixture.means[j : j + 1],
        mixture.covariances,
        mixture.factors[block_j : block_j + 1],
        mixture.precision_factors[block_j : block_j + 1],
        mixture.component.picked(mixture.log_scale, slice(j, j + 1), mixture.n_components),
        mixture.component,
    )
    return prior.inverse_wishart.of_components(np.array([slot])).log_prob(one)


def _one_hot(labels: IntArray, n_components: int) -> Responsibilities:
    return np.eye(n_components)[labels]


def _nearest(X: Rows, centres: Array, n_components: int) -> Responsibilities:
    return _one_hot(nearest_labels(X, centres), n_components)


def _k_means_plus_plus(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Rows to the nearest of K rows picked by k-means++."""
    return _nearest(X, k_means_plus_plus(X, k, v, rng=rng), k)


def _k_means(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Rows to their k-means cluster; fewer clusters than K when there are fewer distinct rows."""
    centres = k_means_plus_plus(X, k, v, rng=rng)
    return _one_hot(lloyd(X, centres, v, most_steps=_MOST_STEPS)[1], k)


def _short_k_means(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """Rows to the nearest of K means: a few steps on a random subset."""
    some = Data(X, v).subset(_MOST_MEANT, rng=rng)
    centres = k_means_plus_plus(some.rows, k, some.weights, rng=rng)
    few = len(some.rows) // _UNSETTLED
    centres, labels = lloyd(some.rows, centres, some.weights, most_steps=_MOST_LLOYD, few=few)
    return _one_hot(labels if some.rows is X else nearest_labels(X, centres), k)


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
    return _merged(X, k, Data(X, v).subset(_MOST_MERGED, rng=rng))


def _short_hierarchical(X: Rows, k: int, v: PerRow, rng: np.random.Generator) -> Responsibilities:
    """The same, of fewer rows."""
    size = min(max(_FEWER_MERGED, 10 * k, 5 * X.shape[1]), _MOST_MERGED)
    return _merged(X, k, Data(X, v).subset(size, rng=rng))


def _merged(X: Rows, k: int, some: Data) -> Responsibilities:
    rows = some.rows[some.weights > 0]
    # Where many rows are equal there may be fewer clusters than K; some centres are then in one place.
    labels = groups_of_tree(ward(pdist(rows)), k) if len(rows) > 1 else np.zeros(1)
    centres = np.stack([rows[labels == one].mean(axis=0) for one in range(int(labels.max()) + 1)])
    return _nearest(X, np.resize(centres, (k, X.shape[1])), k)


def groups_of_tree(merges: Array, most: int) -> IntArray:
    """Labels (obs,) of at most so many groups of a tree of merges, as `scipy.cluster.hierarchy.fcluster` cuts it.

    That one loads JAX, if it is installed and ArviZ loaded, and fails where threads do so at once.
    """
    n, heights, children = len(merges) + 1, merges[:, 2], merges[:, 1::-1].astype(np.int64).tolist()
    if n <= most:
        return np.arange(n)
    within = n + int(np.searchsorted(heights, heights[n - most - 1], side="right"))
    labels, waiting, n_groups = np.empty(2 * n - 1, dtype=np.int64), [2 * n - 2], 0
    while waiting:  # its order: rows that are groups alone come after the other child
        node = waiting.pop()
        if node >= within:
            waiting += sorted(children[node - n], key=lambda child: child >= n)
        else:
            labels[node], n_groups = n_groups, n_groups + 1
    for node in range(within - 1, n - 1, -1):
        labels[children[node - n]] = labels[node]
    return labels[:n]


INIT_METHODS: dict[str, InitMethod] = {
    "k-means++": _k_means_plus_plus,
    "kmeans": _k_means,
    "random_from_data": _random_from_data,
    "random": _random,
    "hierarchical": _hierarchical,
    "short_kmeans": _short_k_means,
    "short_hierarchical": _short_hierarchical,
}


def mild_pseudo_data(moments: Moments, model: Model) -> PseudoData:
    """What keeps a component with one row or none usable: D + 1 pseudo-rows of scatter, a pseudo-row of weight."""
    k, d, one = model.n_components, model.n_features, model.family.parametrisation
    rows, blocks = one.fewest_rows(d), model.family.n_blocks(k)
    cov = moments.covariance if one.correlated else one.uncorrelated(moments.variances) * one.width(d)
    scale = np.repeat((cov * (rows / k ** (2.0 / d)))[None], blocks, axis=0)
    exponent = np.full(blocks, rows * one.width(d))
    nothing = replace(model, prior=None).pseudo_data
    return nothing._replace(concentration=np.full(k, 2.0), exponent=exponent, scale=scale)


def first_step(
    X: Rows,
    shares: Responsibilities,
    pseudo: PseudoData,
    *,
    moments: Moments,
    family: CovarianceFamily,
    reg_covar: RegCovar = None,
) -> Mixture:
    """The M-step from rows already shared out.

    Sums are taken about the means of the shares, in units of the standard deviations of the data. A component
    without rows stays at the mean of the data.

    Parameters
    ----------
    X : (obs, feature)
    shares : (obs, cluster)
        How much of each row each component takes, row weights included.
    pseudo : PseudoData
    moments : Moments
        Of the data.
    family : CovarianceFamily
    reg_covar : float, (feature,), optional
        As in `EMSettings`.
    """
    d, k, floors = X.shape[1], shares.shape[1], variance_floors(reg_covar, moments, family)
    if family.parametrisation.starts_dense:
        weights, means, matrices = shared_moments(X, shares, pseudo, moments)
        factors = family.parametrisation.starting_factors(matrices + np.diag(floors))
        return with_scale(family, weights, means, factors, family.precision_factors(factors))
    sd = np.sqrt(np.maximum(moments.variances, floors if floors.all() else np.finfo(np.float64).tiny))
    if not family.equivariance & Equivariance.SCALES:
        sd = np.full(d, np.sqrt((sd**2).mean()))
    means, sums = np.zeros((k, d)), Sums.empty((k, d), family.block_shape(d))
    x, shares = np.ascontiguousarray(X.T), np.ascontiguousarray(shares)
    _share_sums(family.parametrisation, x, shares, moments.mean, sd, means, sums)
    counts, first, second, _ = sums
    factor = family.parametrisation.uncorrelated(sd)[None]
    if family.parametrisation.correlated and len(pseudo.mean_precision):
        # The covariance given which the means are taken; that of the data, for it follows every map of the rows.
        factor = covariance_factor(moments, family, floors)
        whiten = np.linalg.inv(factor[0]) * sd
        first, second = first @ whiten.T, whiten @ second @ whiten.T
    statistics = Statistics(0.0, counts, np.ascontiguousarray(first), np.ascontiguousarray(second))
    return m_step(statistics, _unit(means, factor, family), pseudo, floor=floors)[0]


def _unit(means: Means, factor: Factors, family: CovarianceFamily) -> Mixture:
    """Equal components with one factor (1, rows, columns): the coordinates of the sums."""
    k, d = means.shape
    factors, precisions = (np.empty((family.n_blocks(k), *family.block_shape(d))) for _ in range(2))
    factors[:], precisions[:] = factor, family.precision_factors(factor)
    # The M-step reads neither weights, covariances nor log scales, only their shapes.
    unread, covariances = np.ones(k), np.ones(family.covariances_shape(k, d))
    return Mixture.from_checked(family, unread, means, covariances, factors, precisions, unread)


@linked(types.void(COVARIANCE, IN_2, IN_2, IN_1, IN_1, OUT_2, SUMS))
def _share_sums(covariance, x, shares, centre, sd, means, sums):  # type: ignore[no-untyped-def]
    """Add counts and means of the shares, then first and second moments about them in units of ``sd``."""
    counts, first, second, _ = sums
    n_features, n_rows = x.shape
    n_components = shares.shape[1]
    z = np.empty(n_features)
    for i in range(n_rows):
        for k in range(n_components):
            share = shares[i, k]
            if share != 0.0:
                counts[k] += share
                for d in range(n_features):
                    means[k, d] += share * (x[d, i] - centre[d])
    for k in range(n_components):
        for d in range(n_features):
            means[k, d] = centre[d] + (means[k, d] / counts[k] if counts[k] > 0.0 else 0.0)
    for i in range(n_rows):
        for k in range(n_components):
            share = shares[i, k]
            if share == 0.0:
                continue
            for d in range(n_features):
                z[d] = (x[d, i] - means[k, d]) / sd[d]
                first[k, d] += share * z[d]
            covariance.add_outer(share, z, z, second[k])


class UserInit(NamedTuple):
    """Checked parameters that the user gave; None where none was given."""

    weights: Weights | None = None
    means: Means | None = None
    precisions: Covariances | None = None


def checked_parameters(
    weights: ArrayLike | None,
    means: ArrayLike | None,
    precisions: ArrayLike | None,
    *,
    model: Model,
) -> UserInit:
    """Parameters to start from, in scikit-learn's shapes for the model.

    Raises
    ------
    InputError
        In scikit-learn's words, if a shape is wrong or values are no weights or no precisions.
    """
    shape = (model.n_components, model.n_features)
    return UserInit(
        _checked_weights(weights, shape[0]),
        _of_shape(means, shape, parameter="means_init", name="means"),
        _checked_precisions(precisions, shape, model.family),
    )


def _of_shape(value: ArrayLike | None, shape: tuple[int, ...], *, parameter: str, name: str) -> Array | None:
    if value is None:
        return None
    array = as_finite(value, name=parameter)
    if array.shape != shape:
        raise InputError(
            expected=f"{parameter} with shape {shape}",
            got=f"shape {array.shape}",
            sentence=f"The parameter '{name}' should have the shape of {shape}, but got {array.shape} ({parameter}).",
        )
    return array


def _checked_weights(value: ArrayLike | None, n_components: int) -> Weights | None:
    weights = _of_shape(value, (n_components,), parameter="weights_init", name="weights")
    if weights is None:
        return None
    if weights.min() <= 0 or weights.max() > 1:
        raise InputError(
            expected="weights_init positive, at most one", got=f"values from {weights.min():.5f} to {weights.max():.5f}"
        )
    if abs(weights.sum() - 1.0) > 1e-6:
        total = f"sum(weights) = {weights.sum():.5f}"
        raise InputError(
            expected="weights_init with sum one",
            got=total,
            sentence=f"The parameter 'weights' should be normalized, but got {total} (weights_init).",
        )
    return weights


def _checked_precisions(
    value: ArrayLike | None, shape: tuple[int, int], family: CovarianceFamily
) -> Covariances | None:
    name = f"{family.name} precision"
    precisions = _of_shape(value, family.covariances_shape(*shape), parameter="precisions_init", name=name)
    if precisions is None:
        return None
    matrices = family.as_matrices
    try:
        family.factors(precisions if family.parametrisation.closed else np.linalg.inv(precisions), shape[1])
        symmetric = not matrices or _symmetric(precisions)
        trouble = "" if symmetric else "not symmetric"
    except np.linalg.LinAlgError as error:
        trouble = str(error)
    if trouble:
        kind = "symmetric, positive-definite" if matrices else "positive"
        raise InputError(
            expected=f"precisions_init {kind}",
            got=trouble,
            sentence=f"The parameter '{name}' should be {kind} (precisions_init): {trouble}.",
        )
    return precisions


def _symmetric(matrices: Array) -> bool:
    """Whether entries agree with their mirror images to a hundred-thousandth, where the diagonal is one."""
    roots = np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1))
    gaps = np.abs(matrices - np.swapaxes(matrices, -1, -2))
    return bool((gaps <= 1e-5 * roots[..., :, None] * roots[..., None, :]).all())


def with_parameters(start: Mixture, given: UserInit) -> Mixture:
    """The start with whatever parameters the user gave."""
    if all(value is None for value in given):
        return start
    covariances = start.covariances
    if given.precisions is not None:
        covariances = np.linalg.inv(given.precisions) if start.family.as_matrices else 1.0 / given.precisions
    weights = start.weights if given.weights is None else given.weights
    means = start.means if given.means is None else given.means
    return Mixture(weights, means, covariances, start.covariance_type)


def checked_labels(value: ArrayLike, n_rows: int, n_components: int) -> IntArray:
    """Labels (obs,) in 0 .. K-1, or -1 for rows without one.

    Raises
    ------
    InputError
        If the shape is wrong, values are other than those, no row has a label, or a component that no label
        names is left without a row.
    """
    labels = np.asarray(value)
    expected = f"labels_init with shape ({n_rows},), integers from 0 to {n_components - 1}, -1 for unknown"
    if labels.shape != (n_rows,):
        raise InputError(expected=expected, got=f"shape {labels.shape}")
    strange = sorted({str(label) for label in labels.tolist() if label not in range(UNKNOWN, n_components)})
    if strange:
        got = ", ".join(strange[:_LABELS_SHOWN])
        hint = "Code them, for instance with sklearn.preprocessing.LabelEncoder or pandas.factorize."
        raise InputError(expected=expected, got=got, hint=hint)
    known = np.unique(labels[labels != UNKNOWN])
    if len(known) == 0:
        raise InputError(expected="labels_init that knows at least one row", got="-1 only", hint="Leave it out.")
    n_unknown = int((labels == UNKNOWN).sum())
    if len(known) + n_unknown < n_components:
        raise InputError(
            expected=f"rows for each of {n_components} components",
            got=f"labels_init with {len(known)} labels and {n_unknown} unknown rows",
            hint="Ask for fewer components, or mark rows as unknown (-1).",
        )
    return labels.astype(np.int64)


def every_label_known(labels: ArrayLike, n_components: int) -> bool:
    """Whether each component has a row of its own, so that all starts are the same."""
    return bool(np.isin(np.arange(n_components), np.asarray(labels)).all())


def labelled_shares(
    X: Rows,
    labels: IntArray,
    n_components: int,
    *,
    row_weights: PerRow,
    rng: np.random.Generator,
    allowed: Allowed | None = None,
) -> Responsibilities:
    """Shares of rows for a first M-step: known rows in their component, the others in none.

    Components that no label names pick a row each among the others, as k-means++ does, far from every
    centre so far; the other rows then go to the nearest centre, old or new. No row goes where it is not ``allowed``
    (obs, cluster).
    """
    allowed = np.ones((len(X), n_components), dtype=bool) if allowed is None else allowed
    shares = np.equal.outer(labels, np.arange(n_components)).astype(np.float64)
    named = shares.sum(axis=0) > 0
    if named.all():
        return shares
    open_rows = np.flatnonzero(labels == UNKNOWN)
    centres = np.full((n_components, X.shape[1]), np.inf)
    centres[named] = (shares.T @ X)[named] / shares.sum(axis=0)[named, None]
    for k in np.flatnonzero(~named):
        candidates = open_rows[allowed[open_rows, k]]
        if len(candidates):
            centres[k] = X[_far_row(X, centres, candidates, row_weights=row_weights, rng=rng)]
    distances = _squared_distances(X[open_rows], centres)
    nearest = np.where(allowed[open_rows], np.minimum(distances, _FARTHEST), np.inf).argmin(axis=1)
    shares[open_rows, nearest] = 1.0
    return shares


def _far_row(
    X: Rows, centres: Means, open_rows: IntArray, *, row_weights: PerRow, rng: np.random.Generator
) -> np.int64:
    """One of the open rows, with a chance in proportion to its squared distance from the nearest centre."""
    chances = _squared_distances(X[open_rows], centres).min(axis=1) * row_weights[open_rows]
    total = chances.sum() if np.isfinite(chances).all() else 0.0  # there is no centre yet
    return rng.choice(open_rows, p=chances / total if total > 0 else None)


def _squared_distances(X: Rows, centres: Means) -> Array:
    """(obs, cluster); infinite to a centre that is not there yet."""
    there = np.isfinite(centres).all(axis=1)
    distances = np.full((len(X), len(centres)), np.inf)
    for k in np.flatnonzero(there):
        distances[:, k] = ((X - centres[k]) ** 2).sum(axis=1)
    return distances
