"""Label-invariant quantities of every draw, by which convergence is judged.

Draws pass through the pointwise kernel one by one and rows in blocks, so that memory stays bounded.
"""

import numpy as np
import xarray as xr
from numba import njit
from numpy.typing import ArrayLike
from sklearn.cluster import kmeans_plusplus

from bayesgmm._common import Array, IntArray, PerRow, Rows, Weights
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws
from bayesgmm.posterior import NO_NAMES, SAMPLE_DIMS, Names, Posterior, data_of, draws_of, mixture_posterior
from bayesgmm.prediction import each_draw
from bayesgmm.validation import as_row_weights

_BLOCK_ROWS = 65_536
_SEED = 0  # of anchors and pairs: the same rows for the same data


def invariants(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    names: Names = NO_NAMES,
    n_anchors: int = 4,
    n_pairs: int = 8,
    row_weights: ArrayLike | None = None,
) -> xr.Dataset:
    r"""Label-invariant quantities of every draw of a mixture's posterior.

    With :math:`p_{ik}` the membership of row i in component k under a draw,

    ==================  =====================  ==============================================================
    ``log_likelihood``  (chain, draw)          :math:`\sum_i \log p(x_i)`
    ``lp``              (chain, draw)          log posterior density, if ``sample_stats`` has it
    ``log_density``     (chain, draw, anchor)  :math:`\log p(x_i)` at a few rows spread over the data
    ``weight``          (chain, draw, rank)    weights, the largest first
    ``count``           (chain, draw, rank)    expected rows :math:`\sum_i p_{ik}`, the largest first
    ``entropy``         (chain, draw)          :math:`-\sum_{ik} p_{ik} \log p_{ik} / n`, in nats
    ``co_clustering``   (chain, draw, pair)    :math:`\sum_k p_{ik} p_{jk}` of a few pairs of rows
    ==================  =====================  ==============================================================

    Components are first sorted by weight, so that results are bitwise invariant under permutations.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        A fit, or draws from PyMC, NumPyro or Stan, see `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows; by default those stored with a fit of this package.
    names : mapping, optional
        Names of the posterior's variables, for example ``{"weights": "w", "means": "mu", "sds": "sigma"}``.
    n_anchors : int
        Anchor rows, chosen by k-means++ on standardised features (Arthur & Vassilvitskii 2007) with a fixed seed.
    n_pairs : int
        Pairs of rows, drawn with a fixed seed.
    row_weights : (obs,), optional
        Frequency weights, used in sums over rows. By default those stored with the rows of a fit.

    Returns
    -------
    xarray.Dataset
        The variables above. ``anchor`` and ``pair`` have the numbers of rows as coordinates.

    Raises
    ------
    InputError
        There are no rows, or the posterior is not that of a mixture.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.diagnostics import invariants
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, 50), rng.normal(3, 1, 50)])[:, None]
    >>> mu = np.array([-3.0, 3.0]) + rng.normal(0, 0.1, (4, 100, 2))
    >>> draws = {"weights": np.full((4, 100, 2), 0.5), "means": rng.permuted(mu, axis=2), "sd": np.ones((4, 100, 2))}
    >>> found = invariants(draws, X, names={"sds": "sd"})
    >>> found["log_likelihood"].sizes
    Frozen({'chain': 4, 'draw': 100})
    """
    if n_anchors < 0 or n_pairs < 0:
        raise InputError(expected="n_anchors and n_pairs of at least 0", got=f"{n_anchors} and {n_pairs}")
    tree = mixture_posterior(posterior, X, names=names)
    data = data_of(tree, X)
    if (weights := as_row_weights(row_weights, data.shape[0])) is not None:
        data = data.with_weights(weights)
    draws = by_weight(draws_of(tree))
    anchors, pairs = anchor_rows(data.filled, n_anchors), row_pairs(data.shape[0], n_pairs)
    log_likelihood, entropy, counts = _over_rows(draws, data)
    log_density, together = _at_rows(draws, data, anchors, pairs)
    values = {
        "log_likelihood": ((), log_likelihood),
        "log_density": (("anchor",), log_density),
        "weight": (("rank",), draws.weights),
        "count": (("rank",), -np.sort(-counts, axis=1)),
        "entropy": ((), entropy / data.total),
        "co_clustering": (("pair",), together),
    }
    if draws.noise_weight is not None:
        values["noise_weight"] = ((), draws.noise_weight)
    shape = tree["posterior"]["weights"].shape[:2]
    found = {
        name: ((*SAMPLE_DIMS, *dims), array.reshape(*shape, *array.shape[1:]))
        for name, (dims, array) in values.items()
        if 0 not in array.shape
    }
    coords = {"anchor": anchors, "pair": [f"{i}, {j}" for i, j in pairs], "rank": np.arange(counts.shape[1])}
    used = {dim for dims, _ in found.values() for dim in dims}
    dataset = xr.Dataset(found, {dim: values for dim, values in coords.items() if dim in used})
    return dataset if (lp := log_posterior(tree)) is None else dataset.assign(lp=(SAMPLE_DIMS, lp))


def log_posterior(tree: xr.DataTree) -> Array | None:
    """The log posterior density of every draw (chain, draw), if the sampler kept it."""
    if "sample_stats" not in tree.children or "lp" not in tree["sample_stats"]:
        return None
    lp: Array = tree["sample_stats"]["lp"].transpose(*SAMPLE_DIMS).to_numpy()
    return lp


def anchor_rows(X: Rows, n_anchors: int) -> IntArray:
    """Numbers of rows that lie apart, increasing; fewer where the data have fewer different rows."""
    spread = X.std(axis=0)
    scaled = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    _, different = np.unique(scaled, axis=0, return_index=True)
    size = min(n_anchors, len(different))
    if size == 0:
        return np.empty(0, dtype=np.int64)
    candidates = np.sort(different)
    _, chosen = kmeans_plusplus(scaled[candidates], size, random_state=_SEED)
    return np.sort(candidates[chosen])


def row_pairs(n_rows: int, n_pairs: int) -> IntArray:
    """Different pairs i < j of rows, (pair, 2)."""
    if n_rows < 2:
        return np.empty((0, 2), dtype=np.int64)
    drawn = np.random.default_rng(_SEED).integers([n_rows, n_rows - 1], size=(4 * n_pairs, 2))
    i, j = drawn[:, 0], drawn[:, 1] + (drawn[:, 1] >= drawn[:, 0])
    pairs = np.stack([np.minimum(i, j), np.maximum(i, j)], axis=1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    return pairs[np.sort(first)[:n_pairs]]


def by_weight(draws: Draws) -> Draws:
    """The components of every draw by falling weight; ties by their means, then by the size of their covariances."""
    keys = np.stack(
        [draws.log_scale[:, : draws.weights.shape[1]], *np.moveaxis(draws.means, 2, 0)[::-1], -draws.weights]
    )
    return draws.reordered(np.lexsort(keys, axis=-1))


def _over_rows(draws: Draws, data: Data) -> tuple[PerRow, PerRow, Weights]:
    """Log-likelihood (sample,), summed entropy (sample,) and expected counts (sample, cluster)."""
    sums, counts = np.zeros((len(draws), 2)), np.zeros_like(draws.weights)
    for piece in data.pieces(_BLOCK_ROWS):
        for s, (log_density, resp) in enumerate(each_draw(draws, piece, with_memberships=True)):
            _add(log_density, resp, piece.weights, sums[s], counts[s])
    return sums[:, 0], sums[:, 1], counts


@njit(cache=True, nogil=True)
def _add(log_density: PerRow, resp: Array, v: PerRow, sums: Array, counts: Array) -> None:
    for i in range(log_density.shape[0]):
        sums[0] += v[i] * log_density[i]
    for k in range(resp.shape[0]):
        for i in range(resp.shape[1]):
            p = resp[k, i]
            counts[k] += v[i] * p
            if p > 0.0:
                sums[1] -= v[i] * p * np.log(p)


def _at_rows(draws: Draws, data: Data, anchors: IntArray, pairs: IntArray) -> tuple[Array, Array]:
    """Log density (sample, anchor) and co-clustering probability (sample, pair)."""
    log_densities, together = np.empty((len(draws), len(anchors))), np.empty((len(draws), len(pairs)))
    chosen = data.take(np.concatenate([anchors, pairs[:, 0], pairs[:, 1]]))
    a, b = len(anchors), len(anchors) + len(pairs)
    for s, (log_density, resp) in enumerate(each_draw(draws, chosen, with_memberships=True)):
        log_densities[s] = log_density[:a]
        _multiply(resp[:, a:b], resp[:, b:], together[s])
    return log_densities, together


@njit(cache=True, nogil=True)
def _multiply(one: Array, other: Array, out: PerRow) -> None:
    for i in range(out.shape[0]):
        out[i] = 0.0
        for k in range(one.shape[0]):
            out[i] += one[k, i] * other[k, i]
