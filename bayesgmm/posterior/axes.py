"""Roles of the axes of a posterior's variables: chain, draw, cluster, feature.

Named dimensions may be in any order; axes without names have a fixed one. ArviZ's default names, such as ``mu_dim_0``,
do not count as names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import xarray as xr

from bayesgmm._common import Array
from bayesgmm.exceptions import InputError
from bayesgmm.posterior.tree import CLUSTER, FEATURE, FEATURE_BIS, SAMPLE_DIMS

PACKED = "packed"  # the lower triangle of a matrix, row by row
MATRICES = ("covariances", "precisions", "cholesky", "correlations")
SCALES = ("sds", "variances")

type Roles = tuple[str, ...]

_USUAL = {CLUSTER: CLUSTER, "component": CLUSTER, FEATURE: FEATURE, FEATURE_BIS: FEATURE}
_RANK = (CLUSTER, FEATURE, PACKED)
_OF_SCALES: tuple[Roles, ...] = ((CLUSTER, FEATURE), (CLUSTER,), (FEATURE,), ())
_OF_MATRICES: tuple[Roles, ...] = ((CLUSTER, FEATURE, FEATURE), (FEATURE, FEATURE))
_OF_TRIANGLES: tuple[Roles, ...] = ((CLUSTER, PACKED), (PACKED,))


@dataclass
class Axes:
    """Roles of the axes of a posterior's variables, weights and means read first.

    Attributes
    ----------
    roles : mapping
        By kind of variable, ``weights``, ``means``, ``sds`` ..., the role of each of its dimensions: ``cluster``,
        ``feature`` or ``packed``.
    sizes : mapping
        Clusters, features, and numbers of a packed triangle.
    """

    roles: dict[str, dict[str, str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    _cluster: str = ""  # in the weights

    def clusters(self, kind: str) -> str | None:
        """The cluster dimension of a variable, if it has one."""
        return next((dim for dim, role in self.roles[kind].items() if role == CLUSTER), None)

    def read(self, kind: str, name: str, variable: xr.DataArray) -> None:
        """Determine the roles of the axes of one more variable."""
        own = own_dims(variable)
        found = self._readings(kind, variable)
        if not found:
            expected, hint = self._expected(kind)
            advice = hint if own or kind != "weights" else _ONE_WEIGHT
            raise InputError(expected=expected, got=f"{name} with axes {_described(variable)}", hint=advice)
        if len(found) > 1 and self.sizes[CLUSTER] > 1:
            raise InputError(
                expected=f"dimensions of {name} that say which one is the clusters'",
                got=f"{_described(variable)}",
                hint="Give the clusters' dimension the name that it has in the weights, with the rename method.",
            )
        roles = self.roles[kind] = dict(zip(own, found[0], strict=True))
        if kind == "weights":  # whose dimension is the clusters', whatever its name
            self._cluster = own[0]
            usual = {dim: role for dim, role in _USUAL.items() if role == FEATURE or not has_name(own[0])}
            self._known = usual | roles
        self._known = roles | self._known
        self.sizes = {role: variable.sizes[dim] for dim, role in roles.items()} | self.sizes
        if kind == "means":
            n = self.sizes.setdefault(FEATURE, 1)
            self.sizes[PACKED] = n * (n + 1) // 2

    def _readings(self, kind: str, variable: xr.DataArray) -> list[Roles]:
        """Possible roles of the axes, in the order of the dimensions; at most one possibility if they have no names."""
        own = own_dims(variable)
        layouts = [layout for layout in self._layouts(kind) if len(layout) == len(own)]
        if not any(dim in self._known or has_name(dim) for dim in own):
            return [roles for roles in layouts if self._fit(variable, roles)][:1]
        orders = dict.fromkeys(order for layout in layouts for order in permutations(layout))
        fitting = [roles for roles in orders if self._fit(variable, roles)]
        return [roles for roles in fitting if not self._renames(own, roles)] or fitting

    def _layouts(self, kind: str) -> tuple[Roles, ...]:
        if kind == "weights":
            return ((CLUSTER,),)
        if kind == "means":
            return ((CLUSTER, FEATURE), (CLUSTER,))
        if kind in SCALES:
            return _OF_SCALES
        matrices = _OF_MATRICES + (_OF_TRIANGLES if kind == "cholesky" else ())
        return matrices + _OF_SCALES if self.sizes[FEATURE] == 1 else matrices

    def _fit(self, variable: xr.DataArray, roles: Roles) -> bool:
        return all(
            self._known.get(dim, role) == role and self.sizes.get(role, variable.sizes[dim]) == variable.sizes[dim]
            for dim, role in zip(own_dims(variable), roles, strict=True)
        )

    def _renames(self, own: Iterable[str], roles: Roles) -> bool:
        """Whether the cluster dimension, which has a name in the weights, would have another one here."""
        clusters = [dim for dim, role in zip(own, roles, strict=True) if role == CLUSTER]
        return has_name(self._cluster) and any(dim not in self._known and has_name(dim) for dim in clusters)

    def _expected(self, kind: str) -> tuple[str, str]:
        """Expected axes of a variable that does not fit, and a hint."""
        if kind == "weights":
            return "weights with axes (chain, draw, cluster), or (draw, cluster) that sum to one", ""
        n_clusters = self.sizes[CLUSTER]
        if kind == "means":
            return f"means with axes cluster ({n_clusters}) and, if there are several, feature", _IN_ORDER
        return f"{kind} that fit means of {n_clusters} clusters and {self.sizes[FEATURE]} features", _IN_ORDER


_ONE_WEIGHT = (
    "One number a draw is no set of weights: of two components with weight p, stack p and 1 - p along a new last axis, "
    'np.stack([p, 1 - p], axis=-1), or xr.concat([p, 1 - p], "cluster") in a Dataset. Weights that are fixed are given '
    'in their place: names={"weights": [0.5, 0.5]}.'
)
_IN_ORDER = "Axes without names are read in the order (chain, draw, cluster, feature); names free them of it."


def axes_of(variables: Mapping[str, tuple[str, xr.DataArray]]) -> Axes:
    """Read weights, means and all other variables, given by kind with their names.

    Raises
    ------
    InputError
        An array does not fit the others, or two of its axes could be the cluster axis.
    """
    axes = Axes()
    for kind in sorted(variables, key=lambda kind: (kind != "weights", kind != "means")):
        axes.read(kind, *variables[kind])
    return axes


def _described(variable: xr.DataArray) -> str:
    return "(" + ", ".join(f"{dim}: {size}" for dim, size in variable.sizes.items()) + ")"


def own_dims(variable: xr.DataArray) -> list[str]:
    """Dimensions other than chain and draw."""
    return [str(dim) for dim in variable.dims if dim not in SAMPLE_DIMS]


def has_name(dim: str) -> bool:
    """Whether a dimension has a name other than ArviZ's default, ``mu_dim_0``."""
    return re.search(r"_dim_\d+$", dim) is None


def arranged(variable: xr.DataArray, roles: Mapping[str, str], wanted: Roles) -> Array:
    """An array (chain, draw, ...) with the given axes, of length one where the variable has none."""
    dims = sorted(roles, key=lambda dim: _RANK.index(roles[dim]))  # stable: features stay in their order
    sample = [dim for dim in SAMPLE_DIMS if dim in variable.dims]
    there = list(roles.values())
    absent = [axis for axis, role in enumerate(wanted) if wanted[: axis + 1].count(role) > there.count(role)]
    values = np.expand_dims(variable.transpose(*sample, *dims).to_numpy(), tuple(axis + len(sample) for axis in absent))
    return values if sample else values[None, None]
