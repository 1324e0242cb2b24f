"""Component labels in a DataTree of any naming: find the axes that carry them, permute and restore them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayesgmm._common import Array, IntArray
from bayesgmm.exceptions import InputError, LabelWarning, warn_user
from bayesgmm.posterior import (
    CLUSTER,
    NO_NAMES,
    SAMPLE_DIMS,
    Names,
    Posterior,
    axes_of,
    described_mixture,
    has_name,
    own_dims,
    root_of,
    variables_of,
)

type Variables = str | Sequence[str] | Mapping[str, int | str | None]

PERMUTATION, GIVEN, MARGIN = "permutation", "permutation_given", "label_margin"
STATS = "sample_stats"
_LEFT = (
    "Left in the labels that the sampler gave them, though they may belong to the components: {left}. Say so by "
    'relabel(..., variables=["{first}"]), or variables=[] if they do not.'
)


def own_tree(posterior: Posterior, canonical: xr.DataTree, names: Names) -> tuple[xr.DataTree, Names]:
    """The user's posterior as a tree, and the names in it; arrays of the mixture get the canonical layout."""
    root = root_of(posterior)
    if isinstance(root, xr.DataTree) and "posterior" in root.children:
        return root.copy(), names
    if isinstance(root, xr.DataTree | xr.Dataset):
        dataset = root.to_dataset() if isinstance(root, xr.DataTree) else root
        return xr.DataTree.from_dict({"posterior": dataset.copy()}), names
    tree, sizes = canonical.copy(), canonical["posterior"].sizes
    used = [name for name in names.values() if isinstance(name, str)]
    others = {
        name: variable
        for name, variable in variables_of(root, names).items()
        if name not in (*used, *tree["posterior"].data_vars)
        and all(variable.sizes.get(dim) == sizes[dim] for dim in SAMPLE_DIMS)
    }
    tree["posterior"] = xr.DataTree(tree["posterior"].to_dataset().assign(others))
    return tree, NO_NAMES


@dataclass(frozen=True)
class Labelled:
    """Variables that carry labels.

    Attributes
    ----------
    dims : mapping
        The cluster dimension of those that have one value, or several, for each component.
    first : mapping
        The first label, 0 or 1, of those whose values are labels.
    """

    dims: dict[str, str]
    first: dict[str, int]

    def __or__(self, other: "Labelled") -> "Labelled":
        return Labelled(self.dims | other.dims, self.first | other.first)


NOTHING = Labelled({}, {})


def check_constants(posterior: Posterior, names: Names) -> None:
    """Refuse variables that are constant over draws but differ between components: they identify the labels."""
    described = described_mixture(variables_of(posterior, names), names)
    axes = axes_of(described)
    for kind, (name, variable) in described.items():
        dim = axes.clusters(kind)
        if dim is not None and SAMPLE_DIMS[0] not in variable.dims and (variable != variable.isel({dim: 0})).any():
            raise InputError(
                expected=f"{name} that are drawn, or the same for all clusters",
                got=f"{variable.to_numpy().tolist()}",
                hint="Where they differ, they identify the labels: there is nothing to relabel.",
            )


def labelled_variables(
    draws: xr.Dataset, names: Names, variables: Variables | None, *, before: Labelled | None = None
) -> Labelled:
    """All variables with the cluster dimension of the mixture's own, and those that the user names.

    Parameters
    ----------
    draws : Dataset
    names : mapping
        Names of the mixture's own variables.
    variables : sequence or mapping, optional
        As for `bayesgmm.relabel`. Without it, a warning names those that may carry labels and are left alone.
    before : Labelled, optional
        The result of an earlier call of `relabel`.

    Raises
    ------
    InputError
        A named variable does not exist, or has no axis for the clusters, or several.
    """
    described = described_mixture({str(name): variable for name, variable in draws.items()}, names)
    axes = axes_of(described)
    own = {kind: dim for kind in described if (dim := axes.clusters(kind)) is not None}
    found = {str(name): dim for dim in own.values() for name, v in draws.items() if {*SAMPLE_DIMS, dim} <= {*v.dims}}
    found |= {described[kind][0]: dim for kind, dim in own.items() if described[kind][0] in draws}
    labelled = (before or NOTHING) | Labelled(found, {})
    if variables is not None:
        return labelled | _named(draws, _by_name(variables), labelled, axes.sizes[CLUSTER], again=before is not None)
    others = draws.drop_vars(
        [name for name, _ in described.values() if name in draws] + [*labelled.dims, *labelled.first]
    )
    left = _left(others, axes.sizes[CLUSTER], named=any(has_name(dim) for dim in own.values()))
    if left:
        warn_user(LabelWarning(_LEFT.format(left=", ".join(left), first=left[0])))
    return labelled


def _by_name(variables: Variables) -> Mapping[str, int | str | None]:
    if isinstance(variables, Mapping):
        return variables
    if not isinstance(variables, Iterable):
        raise InputError(expected="variables a name, a sequence of names or a mapping to axes", got=repr(variables))
    return dict.fromkeys([variables] if isinstance(variables, str) else variables)


def _named(
    draws: xr.Dataset, asked: Mapping[str, int | str | None], known: Labelled, n_clusters: int, *, again: bool
) -> Labelled:
    """The axis of each variable that the user names, or the first of its labels."""
    dims, first = {}, {}
    for name, axis in asked.items():
        if name in (*known.dims, *known.first) and axis is None:
            continue
        if name not in draws or not {*SAMPLE_DIMS} <= {*draws[name].dims}:
            raise InputError(expected=f"variables among the draws, {list(draws)}", got=f"{name!r}")
        if again and name not in known.dims:
            raise InputError(
                expected="variables that were relabelled from the first",
                got=f"{name!r} in the labels of the sampler",
                hint="Call restore_labels first, and relabel all at once.",
            )
        fitting = [dim for dim in own_dims(draws[name]) if draws[name].sizes[dim] == n_clusters]
        label = _first_label(draws[name], n_clusters) if axis is None and not fitting else None
        if label is None:
            dims[name] = _axis(draws[name], axis, fitting, n_clusters)
        else:
            first[name] = label
    return Labelled(dims, first)


def _axis(variable: xr.DataArray, axis: int | str | None, fitting: list[str], n_clusters: int) -> str:
    """The cluster dimension, of length ``n_clusters``."""
    own = own_dims(variable)
    within = isinstance(axis, int) and -len(own) <= axis < len(own)
    chosen = fitting if axis is None else [own[axis]] if within and isinstance(axis, int) else [str(axis)]
    if len(chosen) != 1 or chosen[0] not in fitting:
        raise InputError(
            expected=f"an axis of {variable.name} for {n_clusters} clusters, or labels from 0 or from 1",
            got=f"{dict(variable.sizes)}" + ("" if axis is None else f" and {axis!r}"),
            hint=f'Say which, counted after chain and draw or by its name: variables={{"{variable.name}": 0}}.',
        )
    return chosen[0]


def _first_label(variable: xr.DataArray, n_clusters: int) -> int | None:
    """The first label of allocations, 0 or 1; None if the values are not allocations, or ambiguous."""
    values = variable.to_numpy()
    if variable.ndim == len(SAMPLE_DIMS) or not np.isfinite(values).all() or (values != np.round(values)).any():
        return None
    least, most = values.min(), values.max()
    starts = [first for first in (0, 1) if first == least or most == n_clusters - 1 + first]
    fit = [first for first in starts if first <= least and most <= n_clusters - 1 + first]
    return fit[0] if len(fit) == 1 else None


def _left(others: xr.Dataset, n_clusters: int, *, named: bool) -> list[str]:
    """Variables with an unnamed axis of length K, or with integers that may be allocations."""
    left = []
    for name, variable in others.items():
        if {*SAMPLE_DIMS} <= {*variable.dims} and n_clusters > 1:
            lengths = [variable.sizes[dim] for dim in own_dims(variable) if not (named and has_name(dim))]
            if n_clusters in lengths or (
                variable.dtype.kind in "iu" and _first_label(variable, n_clusters) is not None
            ):
                left.append(str(name))
    return left


def permuted(draws: xr.Dataset, permutation: IntArray, labelled: Labelled) -> xr.Dataset:
    """Variables in other labels, (chain, draw, cluster); their dimensions stay in the order they have."""
    moved = {name: _permuted(draws[name], permutation, dim) for name, dim in labelled.dims.items()}
    renamed = {name: _renumbered(draws[name], permutation, first) for name, first in labelled.first.items()}
    return draws.assign(moved | renamed)


def _permuted(variable: xr.DataArray, permutation: IntArray, dim: str) -> xr.DataArray:
    first = variable.transpose(*SAMPLE_DIMS, dim, ...)
    index = permutation.reshape(*permutation.shape, *(1,) * (first.ndim - 3))
    moved = first.copy(data=np.take_along_axis(first.to_numpy(), index, axis=2)).transpose(*variable.dims)
    return moved.copy(data=np.ascontiguousarray(moved.to_numpy()))


def _renumbered(variable: xr.DataArray, permutation: IntArray, first: int) -> xr.DataArray:
    """Allocations with the new labels of the components."""
    ahead = variable.transpose(*SAMPLE_DIMS, ...)
    labels = ahead.to_numpy().reshape(*permutation.shape[:2], -1).astype(np.int64) - first
    moved = np.take_along_axis(permutation.argsort(axis=2), labels, axis=2) + first
    found = ahead.copy(data=moved.reshape(ahead.shape).astype(variable.dtype)).transpose(*variable.dims)
    return found.copy(data=np.ascontiguousarray(found.to_numpy()))


def relabelled_tree(tree: xr.DataTree, permutation: IntArray, labelled: Labelled, margin: Array) -> xr.DataTree:
    """A relabelled tree. Permutations that it had before are kept as ``permutation_given``, once."""
    stats = _stats(tree)
    before = _permutation(stats, PERMUTATION, permutation.shape)
    if MARGIN not in stats and PERMUTATION in stats:
        stats[GIVEN] = stats[PERMUTATION]
    stats[PERMUTATION] = ((*SAMPLE_DIMS, CLUSTER), np.take_along_axis(before, permutation, axis=2))
    stats[MARGIN] = (SAMPLE_DIMS, margin)
    draws = permuted(tree["posterior"].to_dataset(), permutation, labelled)
    return _with(tree, draws, stats)


def restored_tree(tree: xr.DataTree, labelled: Labelled) -> xr.DataTree:
    """The tree before the first relabelling."""
    stats = _stats(tree)
    total = stats[PERMUTATION].transpose(*SAMPLE_DIMS, ...).to_numpy()
    given = _permutation(stats, GIVEN, total.shape)
    back = np.take_along_axis(given.argsort(axis=2), total, axis=2).argsort(axis=2)
    draws = permuted(tree["posterior"].to_dataset(), back, labelled)
    stats = stats.drop_vars(MARGIN)
    if GIVEN in stats:
        stats = stats.assign({PERMUTATION: stats[GIVEN]}).drop_vars(GIVEN)
    else:
        stats = stats.drop_vars([PERMUTATION, CLUSTER], errors="ignore")
    return _with(tree, draws, stats)


def _stats(tree: xr.DataTree) -> xr.Dataset:
    """Sample statistics; only coordinates if there are none."""
    if STATS in tree.children:
        return tree[STATS].to_dataset()
    coords = tree["posterior"].to_dataset().coords
    return xr.Dataset(coords={dim: coords[dim] for dim in SAMPLE_DIMS if dim in coords})


def _permutation(stats: xr.Dataset, name: str, shape: tuple[int, ...]) -> IntArray:
    """Permutations in the statistics, or else identities."""
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
