"""A posterior of anybody's mixture, PyMC, NumPyro or Stan, laid out as this package lays out its own."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm.bayes.posterior import CLUSTER, FEATURE, FEATURE_BIS, OBS, SAMPLE_DIMS
from bayesgmm.words.arrays import Array, PerRow, Rows
from bayesgmm.words.checks import as_finite, as_rows
from bayesgmm.words.errors import InputError

type Posterior = Any  # a DataTree, a Dataset, a mapping of arrays, or a fit that has `posterior_`
type Names = Mapping[str, str]

NO_NAMES: Names = {}
_ROUNDING = 1e-5  # what single precision leaves of a sum to one, or of symmetry


def mixture_posterior(posterior: Posterior, X: ArrayLike | None = None, *, names: Names = NO_NAMES) -> xr.DataTree:
    r"""Weights, means and full covariances of a mixture's posterior, under this package's names and dimensions.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        Draws. Arrays have axes (chain, draw, ...), or (draw, ...), which is taken for one chain.
    X : (obs, feature), optional
        The rows; by default the group ``observed_data`` of a fit of this package.
    names : mapping, optional
        What the posterior calls its variables, for example ``{"weights": "w", "means": "mu", "sds": "sigma"}``.
        Keys are ``weights`` (cluster,), ``means`` (cluster,) or (cluster, feature), and one of
        ``covariances`` or ``precisions`` or ``cholesky`` (cluster, feature, feature; without ``cluster`` if shared)
        or ``sds`` or ``variances`` of (), (cluster,), (feature,) or (cluster, feature). With one feature all of them
        may leave its axes out. Where there are as many clusters as features, a single axis is the clusters'.
        Dimensions may have any names: axes are told apart by their order.

    Returns
    -------
    DataTree
        Groups ``posterior`` (``weights``, ``means``, ``covariances``), ``sample_stats`` if there is one, and
        ``observed_data`` (``y``) if the rows are known. A fit of this package comes back as it is.

    Raises
    ------
    InputError
        A variable is missing or has a shape that does not fit the others, or a covariance is not symmetric
        with a positive diagonal, or weights do not sum to one, or a draw is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.bayes.adapter import mixture_posterior
    >>> draws = {"w": np.full((4, 100, 2), 0.5), "mu": np.zeros((4, 100, 2)), "sigma": np.ones((4, 100, 2))}
    >>> tree = mixture_posterior(draws, names={"weights": "w", "means": "mu", "sds": "sigma"})
    >>> dict(tree["posterior"]["covariances"].sizes)
    {'chain': 4, 'draw': 100, 'cluster': 2, 'feature': 1, 'feature_bis': 1}
    """
    posterior = getattr(posterior, "posterior_", posterior)
    if isinstance(posterior, xr.DataTree) and "covariance_type" in posterior.attrs and not names:
        return posterior if X is None else _with_rows(posterior.copy(), X)
    variables = _with_chains(variables_of(posterior), names.get("weights", "weights"))
    draws = {"weights": sampled(variables, names.get("weights", "weights"))}
    shape = draws["weights"].shape
    if len(shape) != 3:
        raise InputError(expected="weights with axes (chain, draw, cluster)", got=f"shape {shape}")
    means = sampled(variables, names.get("means", "means"))
    draws["means"] = means[..., None] if means.ndim == 3 else means
    if draws["means"].shape[:-1] != shape:
        raise InputError(expected=f"means with axes {shape} and, if there are several, feature", got=f"{means.shape}")
    draws["covariances"] = _covariances(variables, names, draws["means"].shape)
    _check(draws["weights"], draws["covariances"])
    tree = xr.DataTree.from_dict({"posterior": _dataset(draws)})
    if isinstance(posterior, xr.DataTree) and "sample_stats" in posterior.children:
        tree["sample_stats"] = xr.DataTree(posterior["sample_stats"].to_dataset())
    tree.attrs = {"covariance_type": "full"}
    return tree if X is None else _with_rows(tree, X)


def variables_of(posterior: Posterior) -> Mapping[str, Any]:
    """The variables of a posterior by name, whatever holds them."""
    if isinstance(posterior, xr.DataTree):
        posterior = (posterior["posterior"] if "posterior" in posterior.children else posterior).to_dataset()
    if isinstance(posterior, Mapping | xr.Dataset):
        return {str(name): posterior[name] for name in posterior}
    raise InputError(
        expected="a fitted BayesianGaussianMixture, a DataTree, a Dataset or a mapping of arrays",
        got=type(posterior).__name__,
    )


def sampled(variables: Mapping[str, Any], name: str) -> Array:
    """One variable as a finite array (chain, draw, ...)."""
    if name not in variables:
        raise InputError(
            expected=f"a variable {name!r} in the posterior",
            got=f"{[str(known) for known in variables]}",
            hint='Say what it is called, as in names={"weights": "w", "means": "mu", "sds": "sigma"}.',
        )
    variable = variables[name]
    if not isinstance(variable, xr.DataArray):
        return as_finite(variable, name=name)
    if not set(SAMPLE_DIMS) <= set(variable.dims):
        raise InputError(expected=f"{name} with dimensions chain and draw", got=f"{variable.dims}")
    return as_finite(variable.transpose(*SAMPLE_DIMS, ...).to_numpy(), name=name)


def rows_of(tree: xr.DataTree, X: ArrayLike | None = None) -> Rows:
    """The rows given, or else those kept with a posterior; Fortran order, as the kernel reads them."""
    if X is None and "observed_data" not in tree.children:
        raise InputError(expected="the rows X", got="a posterior without observed_data", hint="Pass X.")
    return as_rows(
        tree["observed_data"]["y"].to_numpy() if X is None else X, n_features=tree["posterior"].sizes[FEATURE]
    )


def row_weights_of(tree: xr.DataTree, X: ArrayLike | None = None) -> PerRow | None:
    """The frequency weights kept with a posterior; none for rows given anew."""
    if X is not None or "constant_data" not in tree.children or "row_weights" not in tree["constant_data"]:
        return None
    return np.ascontiguousarray(tree["constant_data"]["row_weights"].to_numpy(), dtype=np.float64)


def _with_chains(variables: Mapping[str, Any], weights: str) -> Mapping[str, Any]:
    """Plain arrays whose weights are (draw, cluster) get a chain axis."""
    known = variables.get(weights, 0.0)
    if isinstance(known, xr.DataArray) or np.ndim(known) != 2:
        return variables
    return {name: np.asarray(values)[None] for name, values in variables.items()}


def _dataset(draws: Mapping[str, Array]) -> xr.Dataset:
    dims = (*SAMPLE_DIMS, CLUSTER, FEATURE, FEATURE_BIS)
    sizes = draws["covariances"].shape
    coords: dict[str, Any] = {dim: np.arange(size) for dim, size in zip(dims[:3], sizes[:3], strict=True)}
    coords |= {dim: [f"x{j}" for j in range(sizes[3])] for dim in dims[3:]}
    return xr.Dataset({name: (dims[: values.ndim], values) for name, values in draws.items()}, coords)


def _with_rows(tree: xr.DataTree, X: ArrayLike) -> xr.DataTree:
    rows, features = rows_of(tree, X), tree["posterior"][FEATURE].to_numpy()
    data = xr.Dataset({"y": ((OBS, FEATURE), rows)}, {OBS: np.arange(len(rows)), FEATURE: features})
    tree["observed_data"] = xr.DataTree(data)
    if row_weights_of(tree) is not None:  # they belong to the rows that were there
        tree["constant_data"] = xr.DataTree(tree["constant_data"].to_dataset().drop_vars(["row_weights", OBS]))
    return tree


def _covariances(variables: Mapping[str, Any], names: Names, shape: tuple[int, ...]) -> Array:
    """Full covariances (chain, draw, cluster, feature, feature_bis) from whatever describes them."""
    given = [kind for kind in (*_MATRICES, *_SCALES) if kind in names] or ["covariances"]
    unknown = set(names) - {"weights", "means", *given}
    if len(given) > 1 or unknown:
        raise InputError(
            expected=f"names for weights, means and one of {(*_MATRICES, *_SCALES)}", got=f"names for {tuple(names)}"
        )
    kind = given[0]
    values = sampled(variables, names.get(kind, kind))
    matrices = _as_matrices(values, shape) if kind in _MATRICES else _as_diagonals(values, shape)
    if matrices is None:
        raise InputError(expected=f"{kind} that fit means of shape {shape}", got=f"shape {values.shape}")
    return np.ascontiguousarray(np.broadcast_to((_MATRICES | _SCALES)[kind](matrices), (*shape, shape[-1])))


def _as_matrices(values: Array, shape: tuple[int, ...]) -> Array | None:
    """Matrices with a cluster axis, of length one if shared."""
    n_clusters, n_features = shape[2:]
    if n_features == 1 and values.ndim <= 3:
        return _as_diagonals(values, shape)
    own = values.shape[2:]
    if own == (n_features, n_features):
        return values[:, :, None]
    return values if own == (n_clusters, n_features, n_features) else None


def _as_diagonals(values: Array, shape: tuple[int, ...]) -> Array | None:
    n_clusters, n_features = shape[2:]
    own = values.shape[2:]
    axes = {(): (1, 1), (n_features,): (1, n_features), (n_clusters,): (n_clusters, 1), shape[2:]: shape[2:]}
    if own not in axes:
        return None
    scales = np.broadcast_to(values.reshape(*values.shape[:2], *axes[own]), shape)
    return scales[..., None] * np.eye(n_features)


def _check(weights: Array, covariances: Array) -> None:
    if weights.min() < 0 or np.abs(weights.sum(axis=-1) - 1.0).max() > _ROUNDING:
        raise InputError(expected="weights that are not negative and sum to one", got="draws that do not")
    diagonal = np.diagonal(covariances, axis1=-2, axis2=-1)
    sds = np.sqrt(np.maximum(diagonal, 0.0))
    largest = _ROUNDING * sds[..., :, None] * sds[..., None, :]
    if diagonal.min() <= 0 or (np.abs(covariances - np.swapaxes(covariances, -1, -2)) > largest).any():
        raise InputError(expected="symmetric covariances with a positive diagonal", got="draws that are not")


_MATRICES: dict[str, Callable[[Array], Array]] = {
    "covariances": np.asarray,
    "precisions": np.linalg.inv,
    "cholesky": lambda factor: factor @ np.swapaxes(factor, -1, -2),
}
_SCALES: dict[str, Callable[[Array], Array]] = {"variances": np.asarray, "sds": np.square}
