"""Convert PyMC, NumPyro, Stan or other draws of a mixture to the schema of this package."""

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import Array, PerRow
from bayesgmm.data import Allowed, Data, IncompleteData
from bayesgmm.exceptions import InputError
from bayesgmm.posterior.axes import MATRICES, PACKED, SCALES, Axes, arranged, axes_of
from bayesgmm.posterior.draw_checks import (
    as_draws,
    check_definite,
    check_positive,
    check_unit_diagonal,
    check_weights,
    lower_triangles,
)
from bayesgmm.posterior.tree import CLUSTER, FEATURE, FEATURE_BIS, OBS, SAMPLE_DIMS, in_order

type Posterior = Any  # a DataTree, a Dataset, a mapping of arrays, or a fit that has `posterior_`
type Names = Mapping[str, Any]  # of variables; or arrays, which are the same in all draws

NO_NAMES: Names = {}
_FIT_SOME = "Fit the posterior of fewer rows: open_source(...).sample(10_000)."
_GIVE_SOME = "Pass some of the rows: X=fit.source_.sample[:10_000]."


def mixture_posterior(
    posterior: Posterior, X: ArrayLike | Data | None = None, *, names: Names = NO_NAMES
) -> xr.DataTree:
    r"""Weights, means and full covariances of a mixture posterior, with this package's names and dimensions.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, InferenceData, or mapping of arrays
        Draws. Arrays have axes (chain, draw, ...), or (draw, ...), read as one chain.
    X : (obs, feature), optional
        The rows; by default the group ``observed_data`` of a fit of this package.
    names : mapping, optional
        Names of the posterior's variables, for example ``{"weights": "w", "means": "mu", "sds": "sigma"}``.
        In place of a name an array gives values that are constant over draws: ``{"weights": [0.5, 0.5]}``. The keys:

        =============================  ===============================================================================
        ``weights``                    (cluster,)
        ``means``                      (cluster, feature), or (cluster,) of one feature
        ``covariances``, or            (cluster, feature, feature); without ``cluster`` if shared. Symmetric and
        ``precisions``                 positive definite
        or ``cholesky``                the same, a triangular factor of the covariances; or its lower triangle row by
                                       row, (cluster, D (D + 1) / 2), as ``pm.LKJCholeskyCov`` keeps it
        or ``correlations`` and a      R, so that the covariances are diag(s) R diag(s) with the scales s
        scale
        or ``cholesky`` and a scale    L such that L Lᵀ are the correlations, Stan's ``cholesky_factor_corr``
        or a scale                     ``sds`` or ``variances``, of (), (cluster,), (feature,) or (cluster, feature)
        =============================  ===============================================================================

        With one feature its axes may be omitted. A dimension with the name of the weights' dimension is the cluster
        dimension, one with the name of the means' other dimension the feature dimension, in any position; so are
        ``cluster``, ``feature`` and ``feature_bis``. Axes without names, those of arrays and ArviZ's ``mu_dim_0``, are
        read in the order above; a single one is the cluster axis if K = D.

    Returns
    -------
    DataTree
        Groups ``posterior`` (``weights``, ``means``, ``covariances``; a large fit of this package may have
        ``variances`` in their place), ``sample_stats`` if there is one, and
        ``observed_data`` (``y``) if the rows are known. A fit of this package is returned unchanged.

    Raises
    ------
    InputError
        A variable is missing, has a shape that does not match the others, or has ambiguous dimensions; or in some draws
        weights do not sum to one, scales are not positive, matrices not positive definite, or values
        missing: the message counts such draws by chain.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.posterior import mixture_posterior
    >>> draws = {"w": np.full((4, 100, 2), 0.5), "mu": np.zeros((4, 100, 2)), "sigma": np.ones((4, 100, 2))}
    >>> tree = mixture_posterior(draws, names={"weights": "w", "means": "mu", "sds": "sigma"})
    >>> dict(tree["posterior"]["covariances"].sizes)
    {'chain': 4, 'draw': 100, 'cluster': 2, 'feature': 1, 'feature_bis': 1}
    """
    posterior = root_of(posterior)
    if isinstance(posterior, xr.DataTree) and "covariance_type" in posterior.attrs and not names:
        own = in_order(posterior)  # `Data` were read from it before
        return own if X is None or isinstance(X, Data) else _with_rows(own.copy(), X)
    variables = variables_of(posterior, names)
    described = described_mixture(variables, names)
    if "dof" in variables and [name for name, _ in described.values() if name == "scales"]:
        raise InputError(
            expected="a fit with Student-t components, or its DataTree",
            got="its variables alone, or other names for them",
            hint="Pass the fit or fit.posterior_, whose attributes tell of the components.",
        )
    tree = xr.DataTree.from_dict({"posterior": _dataset(_draws(described, axes_of(described)))})
    if isinstance(posterior, xr.DataTree) and "sample_stats" in posterior.children:
        tree["sample_stats"] = xr.DataTree(posterior["sample_stats"].to_dataset())
    tree.attrs = {"covariance_type": "full"}
    return tree if X is None else _with_rows(tree, X)


def root_of(posterior: Posterior) -> Posterior:
    """The DataTree of a fit or an InferenceData, the Dataset of named arrays; anything else unchanged."""
    posterior = getattr(posterior, "posterior_", posterior)
    if callable(getattr(posterior, "groups", None)) and hasattr(posterior, "posterior"):  # InferenceData of old
        return xr.DataTree.from_dict({name.strip("/"): getattr(posterior, name) for name in posterior.groups()})
    if not isinstance(posterior, Mapping) or isinstance(posterior, xr.Dataset | xr.DataTree):
        return posterior
    if isinstance(posterior.get("posterior"), Mapping):  # groups, as for arviz.from_dict
        return root_of(posterior["posterior"])
    labelled = len(posterior) > 0 and all(isinstance(value, xr.DataArray) for value in posterior.values())
    return xr.Dataset(dict(posterior)) if labelled else posterior


def variables_of(posterior: Posterior, names: Names) -> dict[str, xr.DataArray]:
    """The variables of a posterior by name, from any container. Axes of arrays get ArviZ's default names."""
    posterior = root_of(posterior)
    if isinstance(posterior, xr.DataTree):
        posterior = (posterior["posterior"] if "posterior" in posterior.children else posterior).to_dataset()
    if isinstance(posterior, xr.Dataset):
        return {str(name): variable for name, variable in posterior.data_vars.items()}
    if not isinstance(posterior, Mapping):
        raise InputError(
            expected="a fitted BayesianGaussianMixture, a DataTree, a Dataset or a mapping of arrays",
            got=type(posterior).__name__,
            hint=next((hint for known, hint in _OTHERS if known(posterior)), ""),
        )
    used = {name for name in _called(names).values() if isinstance(name, str)}
    arrays = {str(name): value for name, value in posterior.items() if name in used or getattr(value, "ndim", 0) > 1}
    arrays = {name: _as_array(value, name) for name, value in arrays.items()}
    return {name: _unnamed(value, name, _sample_dims(arrays, names)) for name, value in arrays.items()}


def described_mixture(variables: Mapping[str, xr.DataArray], names: Names) -> dict[str, tuple[str, xr.DataArray]]:
    """Variables that describe the mixture, by kind: the name, and the variable or the constant given in its place."""
    called = _called(names, variables)
    if set(called) - {"weights", "means"} not in _DESCRIPTIONS:
        raise InputError(
            expected=f"names for weights, means and one of {_TOLD}", got=f"names for {tuple(names)}", hint=_NAMING
        )
    return {
        kind: (name, _variable(variables, name))
        if isinstance(name, str)
        else (f"names[{kind!r}]", _unnamed(name if isinstance(name, xr.DataArray) else np.asarray(name), kind, ()))
        for kind, name in called.items()
    }


def data_of(tree: xr.DataTree, X: ArrayLike | Data | None = None, *, all_for: str = "", some_do: bool = False) -> Data:
    """The given rows, or else those stored with a posterior and their weights.

    Raises
    ------
    InputError
        A posterior of rows on disk stores a sample of them, and something is ``all_for``, for which others may be given
        if ``some_do``.
    """
    if X is None and all_for and "source" in tree.attrs:
        _refuse_sample(tree, all_for, hint=_GIVE_SOME if some_do else _FIT_SOME)
    if X is None and "observed_data" not in tree.children:
        raise InputError(expected="the rows X", got="a posterior without observed_data", hint="Pass X.")
    names = [str(name) for name in tree["posterior"][FEATURE].to_numpy()]
    if X is not None:
        return Data.of(X, n_features=len(names), features=names)
    rows: Array = tree["observed_data"]["y"].transpose(OBS, FEATURE).to_numpy()
    if np.isnan(rows).any():
        return IncompleteData(rows, row_weights_of(tree))
    data = Data.of(rows, row_weights_of(tree), n_features=len(names), features=names)
    return replace(data, allowed=allowed) if (allowed := allowed_of(tree)) is not None else data


def _refuse_sample(tree: xr.DataTree, purpose: str, *, hint: str) -> None:
    """An error if a posterior stores a sample of the rows that it was fitted to."""
    n_rows, stored = json.loads(str(tree.attrs["source"]))["n_rows"], tree["observed_data"].sizes[OBS]
    if n_rows > stored:
        got = f"a posterior of {n_rows:,} rows on disk, which keeps a sample of {stored:,}"
        raise InputError(expected=f"all rows of the fit for {purpose}", got=got, hint=hint)


def row_weights_of(tree: xr.DataTree, X: ArrayLike | Data | None = None) -> PerRow | None:
    """The frequency weights stored with a posterior; None for given rows."""
    if X is not None or "constant_data" not in tree.children or "row_weights" not in tree["constant_data"]:
        return None
    return np.ascontiguousarray(tree["constant_data"]["row_weights"].to_numpy(), dtype=np.float64)


def allowed_of(tree: xr.DataTree) -> Allowed | None:
    """The components (obs, cluster) that each row stored with a posterior may come from; None without labels."""
    if "constant_data" not in tree.children or "allowed" not in tree["constant_data"]:
        return None
    return np.asarray(tree["constant_data"]["allowed"].transpose(OBS, CLUSTER).to_numpy(), dtype=np.bool_)


def _dataset(draws: Mapping[str, Array]) -> xr.Dataset:
    dims = (*SAMPLE_DIMS, CLUSTER, FEATURE, FEATURE_BIS)
    sizes = draws["covariances"].shape
    coords: dict[str, Any] = {dim: np.arange(size) for dim, size in zip(dims[:3], sizes[:3], strict=True)}
    coords |= {dim: [f"x{j}" for j in range(sizes[3])] for dim in dims[3:]}
    return xr.Dataset({name: (dims[: values.ndim], values) for name, values in draws.items()}, coords)


def _with_rows(tree: xr.DataTree, X: ArrayLike | Data) -> xr.DataTree:
    rows, features = data_of(tree, X).entries, tree["posterior"][FEATURE].to_numpy()
    data = xr.Dataset({"y": ((OBS, FEATURE), rows)}, {OBS: np.arange(len(rows)), FEATURE: features})
    tree["observed_data"] = xr.DataTree(data)
    tree.attrs = {name: value for name, value in tree.attrs.items() if name != "source"}
    if row_weights_of(tree) is not None or allowed_of(tree) is not None:  # they belong to the rows that were there
        constants = tree["constant_data"].to_dataset()
        tree["constant_data"] = xr.DataTree(constants.drop_vars(["row_weights", "allowed", OBS], errors="ignore"))
    return tree


def _called(names: Names, variables: Collection[str] = ()) -> dict[str, Any]:
    """Name of each kind; covariances, or variances or scales if only they are there, unless names tell of others."""
    told = {*names} & {*MATRICES, *SCALES}
    own = "variances" if "variances" in variables and "covariances" not in variables else "covariances"
    found = {"covariances": "scales"} if own not in variables and "scales" in variables else {own: own}
    return {"weights": "weights", "means": "means", **({} if told else found), **names}


def _as_array(value: Any, name: str) -> Any:
    """An array, with NaN for masked values."""
    if isinstance(value, xr.DataArray):
        return value
    try:
        array = np.asarray(value)
        masked = np.ma.getmask(value)
        return array if masked is np.ma.nomask else np.where(masked, np.nan, array)
    except ValueError as error:
        raise InputError(
            expected=f"{name} as one array (chain, draw, ...)",
            got=f"{type(value).__name__} that is none: {error}",
            hint="Cut chains of unequal length to the shortest.",
        ) from error


def _sample_dims(arrays: Mapping[str, Any], names: Names) -> tuple[str, ...]:
    """Whether arrays without dimensions have axes (chain, draw, ...) or (draw, ...), by their weights and means."""
    weights, means = (_called(names)[kind] for kind in ("weights", "means"))
    shape = np.shape(arrays.get(means, 0.0) if isinstance(means, str) else means)
    if not isinstance(weights, str):
        clusters = np.shape(weights)[-1:]
        alone = len(shape) == 2 or (len(shape) == 3 and shape[2:] != clusters == shape[1:2])
    else:
        values = np.asarray(arrays.get(weights, 0.0))
        alone = values.ndim < 2 or (values.ndim == 2 and (len(shape) == 2 or _sums(values, shape)))
    return SAMPLE_DIMS[1:] if alone else SAMPLE_DIMS


def _sums(weights: Array, shape: tuple[int, ...]) -> bool:
    """Whether an array can be weights (draw, cluster) of means (draw, cluster, feature), not a number (chain, draw)."""
    return len(shape) == 3 and shape[:2] == weights.shape and np.allclose(weights.sum(axis=1), 1.0, atol=1e-3)


def _unnamed(value: Any, name: str, sample_dims: tuple[str, ...]) -> xr.DataArray:
    """An array with ArviZ's default dimension names; one chain if it has only draws."""
    if isinstance(value, xr.DataArray):
        return value
    own = [f"{name}_dim_{i}" for i in range(value.ndim - len(sample_dims))]
    variable = xr.DataArray(value, dims=[*sample_dims[: value.ndim], *own])
    return variable.expand_dims("chain") if sample_dims == SAMPLE_DIMS[1:] else variable


def _variable(variables: Mapping[str, xr.DataArray], name: str) -> xr.DataArray:
    """A variable, with both chain and draw dimensions or neither."""
    if name not in variables:
        parts = [
            known for known in variables if known.startswith(f"{name}_") and known.removeprefix(f"{name}_").isdigit()
        ]
        raise InputError(
            expected=f"a variable {name!r} in the posterior",
            got=f"{list(variables)}",
            hint=f'Stack single components first: xr.concat([post[name] for name in {parts}], "cluster").'
            if parts
            else _NAMING,
        )
    variable = variables[name]
    if len({*SAMPLE_DIMS} & {*variable.dims}) == 1 or "sample" in variable.dims:
        raise InputError(
            expected=f"{name} with dimensions chain and draw",
            got=f"{variable.dims}",
            hint='Keep both, as in isel(chain=[0]) and arviz.extract(..., combined=False), or expand_dims("chain").',
        )
    return variable


def _draws(described: Mapping[str, tuple[str, xr.DataArray]], axes: Axes) -> dict[str, Array]:
    """Weights, means and full covariances (chain, draw, cluster, ...)."""
    values = {kind: _values(kind, *given, axes) for kind, given in described.items()}
    n_clusters, n_features = axes.sizes[CLUSTER], axes.sizes[FEATURE]
    sample = _sample_shape(described)
    arrays = {
        "weights": (values["weights"], (n_clusters,)),
        "means": (values["means"], (n_clusters, n_features)),
        "covariances": (_covariances(values, described), (n_clusters, n_features, n_features)),
    }
    return {name: np.ascontiguousarray(np.broadcast_to(array, sample + own)) for name, (array, own) in arrays.items()}


def _values(kind: str, name: str, variable: xr.DataArray, axes: Axes) -> Array:
    """One variable checked, (chain, draw, ...), with axes of length one where it has none."""
    roles = axes.roles[kind]
    wanted, check = _READ[kind]
    if PACKED in roles.values():
        packed = as_draws(arranged(variable, roles, (CLUSTER, PACKED)), name)
        return check(_unpacked(packed, axes.sizes[FEATURE]), name)
    return check(as_draws(arranged(variable, roles, wanted), name), name)


def _unpacked(packed: Array, n_features: int) -> Array:
    """Lower triangles (..., feature, feature) from their rows end to end."""
    factors = np.zeros((*packed.shape[:-1], n_features, n_features))
    factors[(..., *np.tril_indices(n_features))] = packed
    return factors


def _sample_shape(described: Mapping[str, tuple[str, xr.DataArray]]) -> tuple[int, ...]:
    """Numbers of chains and draws, the same in all variables that are not constant."""
    shapes = {
        name: tuple(variable.sizes[dim] for dim in SAMPLE_DIMS)
        for name, variable in described.values()
        if SAMPLE_DIMS[0] in variable.dims
    }
    if len({*shapes.values()}) != 1:
        raise InputError(
            expected="variables with axes (chain, draw, ...), the same chains and draws in all",
            got=", ".join(f"{name} with {shape}" for name, shape in shapes.items()) or "constants",
        )
    return next(iter(shapes.values()))


def _covariances(values: Mapping[str, Array], described: Mapping[str, tuple[str, xr.DataArray]]) -> Array:
    """Full covariances from any of their descriptions."""
    matrices = [(described[kind][0], _COVARIANCES[kind](values[kind])) for kind in MATRICES if kind in values]
    scales = [_SDS[kind](values[kind]) for kind in SCALES if kind in values]
    if not scales:
        return matrices[0][1]
    outer = scales[0][..., :, None] * scales[0][..., None, :]
    if not matrices:
        return outer * np.eye(values["means"].shape[-1])
    return outer * check_unit_diagonal(matrices[0][1], matrices[0][0])


_READ: dict[str, tuple[tuple[str, ...], Callable[[Array, str], Array]]] = {
    "weights": ((CLUSTER,), check_weights),
    "means": ((CLUSTER, FEATURE), lambda means, _: means),
    **dict.fromkeys(SCALES, ((CLUSTER, FEATURE), check_positive)),
    **dict.fromkeys(MATRICES, ((CLUSTER, FEATURE, FEATURE), check_definite)),
    "cholesky": ((CLUSTER, FEATURE, FEATURE), lower_triangles),
}
_SDS: dict[str, Callable[[Array], Array]] = {"sds": np.asarray, "variances": np.sqrt}
_COVARIANCES: dict[str, Callable[[Array], Array]] = {
    "covariances": np.asarray,
    "precisions": np.linalg.inv,
    "cholesky": lambda factors: factors @ np.swapaxes(factors, -1, -2),
    "correlations": np.asarray,
}
_ALONE = (*SCALES, "covariances", "precisions", "cholesky")
_SCALED = ("correlations", "cholesky")
_DESCRIPTIONS = [{kind} for kind in _ALONE] + [{kind, scale} for kind in _SCALED for scale in SCALES]
_TOLD = f"{_ALONE}, or {_SCALED} with one of {SCALES}"
_NAMING = 'Give its name, as in names={"weights": "w", "means": "mu", "sds": "sigma"}.'
_OTHERS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (
        lambda given: hasattr(given, "columns"),
        "Shape the columns into arrays (chain, draw, ...), one a variable: arviz.from_cmdstanpy(fit) does, or "
        '{"mu": np.stack([frame["mu[1]"], frame["mu[2]"]], axis=-1).reshape(n_chains, n_draws, 2), ...}.',
    ),
    (
        lambda given: isinstance(given, str | os.PathLike),
        "Read the file first: xarray.open_datatree(path), or BayesianGaussianMixture.load(path) of a fit.",
    ),
    (lambda given: hasattr(given, "draws_xr"), "Convert the fit: arviz.from_cmdstanpy(fit)."),
    (lambda given: hasattr(given, "get_samples"), "Convert the run: arviz.from_numpyro(mcmc)."),
)
