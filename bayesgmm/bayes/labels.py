"""Labels of a posterior, whatever its variables are called: which axes carry them, how to permute them, and back."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from bayesgmm.algorithms.label_search import SampledMixture, Which
from bayesgmm.bayes.adapter import NO_NAMES, Names, Posterior
from bayesgmm.bayes.posterior import CLUSTER, SAMPLE_DIMS
from bayesgmm.bayes.predict import DrawSet, draw_set, each_draw
from bayesgmm.words.arrays import Array, IntArray, PerRow, Rows
from bayesgmm.words.errors import InputError
from bayesgmm.words.progress import Move

PERMUTATION, GIVEN, MARGIN = "permutation", "permutation_given", "label_margin"
STATS = "sample_stats"
_DRAWN = ("weights", "means", "factors", "precision_factors", "log_scale")
_DRAWS_A_MOVE = 50
_MATRICES = ("covariances", "precisions", "cholesky")


def sampled_mixture(tree: xr.DataTree, X: Rows, *, move: Move | None = None) -> SampledMixture:
    """Draws in the canonical layout, and memberships computed anew whenever they are asked for; a bar may follow."""
    draws = draw_set(tree)

    def memberships(samples: Which, rows: Which) -> Iterator[tuple[PerRow, Array]]:
        part = DrawSet(draws.covariance_type, *(getattr(draws, name)[samples] for name in _DRAWN))
        for done, one in enumerate(each_draw(part, np.asfortranarray(X[rows]), with_memberships=True), start=1):
            yield one
            if move is not None and done % _DRAWS_A_MOVE == 0:
                move(done, len(part.weights))

    covariances = tree["posterior"]["covariances"].to_numpy()
    return SampledMixture(draws.weights, draws.means, covariances.reshape(-1, *covariances.shape[2:]), memberships)


def root_of(posterior: Posterior) -> Posterior:
    """The DataTree of a fit; anything else as it is."""
    return getattr(posterior, "posterior_", posterior)


def own_tree(posterior: Posterior, canonical: xr.DataTree, names: Names) -> tuple[xr.DataTree, Names]:
    """What the user gave as a tree, and the names in it; arrays come in the canonical layout."""
    root = root_of(posterior)
    if isinstance(root, xr.DataTree) and "posterior" in root.children:
        return root.copy(), names
    if isinstance(root, xr.DataTree | xr.Dataset):
        dataset = root.to_dataset() if isinstance(root, xr.DataTree) else root
        return xr.DataTree.from_dict({"posterior": dataset.copy()}), names
    return canonical.copy(), NO_NAMES


def cluster_dims(draws: xr.Dataset, names: Names) -> dict[str, str]:
    """The cluster dimension of every variable that has one: the weights' own, or else by the order of axes."""
    weights = draws[names.get("weights", "weights")]
    (cluster,) = _own_dims(weights)
    found = {str(name): cluster for name, v in draws.items() if {*SAMPLE_DIMS, cluster} <= set(v.dims)}
    for kind, name in ({"means": "means"} | dict(names)).items():
        own = _own_dims(draws[name])
        if name not in found and _labelled(kind, tuple(draws.sizes[dim] for dim in own), weights.sizes[cluster]):
            found[name] = own[0]
    return found


def _own_dims(variable: xr.DataArray) -> list[str]:
    return [str(dim) for dim in variable.dims if dim not in SAMPLE_DIMS]


def _labelled(kind: str, shape: tuple[int, ...], n_clusters: int) -> bool:
    """Whether the first axis is the clusters', as `mixture_posterior` reads shapes: (feature, feature) is shared."""
    shared = kind in _MATRICES and len(shape) == 2
    return shape[:1] == (n_clusters,) and not shared


def permuted(draws: xr.Dataset, permutation: IntArray, dims: Mapping[str, str]) -> xr.Dataset:
    """Variables in other labels, (chain, draw, cluster); their dimensions stay in the order they have."""
    return draws.assign({name: _permuted(draws[name], permutation, dim) for name, dim in dims.items()})


def _permuted(variable: xr.DataArray, permutation: IntArray, dim: str) -> xr.DataArray:
    first = variable.transpose(*SAMPLE_DIMS, dim, ...)
    index = permutation.reshape(*permutation.shape, *(1,) * (first.ndim - 3))
    moved = first.copy(data=np.take_along_axis(first.to_numpy(), index, axis=2)).transpose(*variable.dims)
    return moved.copy(data=np.ascontiguousarray(moved.to_numpy()))


def relabelled_tree(tree: xr.DataTree, permutation: IntArray, dims: Mapping[str, str], margin: Array) -> xr.DataTree:
    """A tree in other labels. Permutations that it brought along are kept as ``permutation_given``, once."""
    stats = _stats(tree)
    before = _permutation(stats, PERMUTATION, permutation.shape)
    if MARGIN not in stats and PERMUTATION in stats:
        stats[GIVEN] = stats[PERMUTATION]
    stats[PERMUTATION] = ((*SAMPLE_DIMS, CLUSTER), np.take_along_axis(before, permutation, axis=2))
    stats[MARGIN] = (SAMPLE_DIMS, margin)
    draws = permuted(tree["posterior"].to_dataset(), permutation, dims)
    return _with(tree, draws, stats)


def restored_tree(tree: xr.DataTree, dims: Mapping[str, str]) -> xr.DataTree:
    """The tree before it was relabelled first."""
    stats = _stats(tree)
    total = stats[PERMUTATION].transpose(*SAMPLE_DIMS, ...).to_numpy()
    given = _permutation(stats, GIVEN, total.shape)
    back = np.take_along_axis(given.argsort(axis=2), total, axis=2).argsort(axis=2)
    draws = permuted(tree["posterior"].to_dataset(), back, dims)
    stats = stats.drop_vars(MARGIN)
    if GIVEN in stats:
        stats = stats.assign({PERMUTATION: stats[GIVEN]}).drop_vars(GIVEN)
    else:
        stats = stats.drop_vars([PERMUTATION, CLUSTER], errors="ignore")
    return _with(tree, draws, stats)


def _stats(tree: xr.DataTree) -> xr.Dataset:
    """Sample statistics; with nothing in them but coordinates if there are none."""
    if STATS in tree.children:
        return tree[STATS].to_dataset()
    coords = tree["posterior"].to_dataset().coords
    return xr.Dataset(coords={dim: coords[dim] for dim in SAMPLE_DIMS if dim in coords})


def _permutation(stats: xr.Dataset, name: str, shape: tuple[int, ...]) -> IntArray:
    """Permutations in the statistics, or else those that change nothing."""
    if name not in stats:
        return np.broadcast_to(np.arange(shape[2]), shape)
    values = stats[name].transpose(*SAMPLE_DIMS, ...).to_numpy()
    if values.shape != shape or not np.array_equal(
        np.sort(values, axis=-1), _permutation(stats.drop_vars(name), name, shape)
    ):
        raise InputError(expected=f"sample_stats[{name!r}] with permutations {shape}", got=f"shape {values.shape}")
    return values


def _with(tree: xr.DataTree, draws: xr.Dataset, stats: xr.Dataset) -> xr.DataTree:
    result = tree.copy()
    result["posterior"] = xr.DataTree(draws)
    if stats.data_vars:
        result[STATS] = xr.DataTree(stats)
    elif STATS in result.children:
        del result[STATS]
    return result
