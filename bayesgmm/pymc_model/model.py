"""`build_model`: the mixture with its prior as an ordinary PyMC model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import ArrayLike
from pytensor.tensor.variable import TensorVariable

from bayesgmm._common import IntArray, Rows
from bayesgmm.data import MARGINALIZE, MISSING, Allowed, IncompleteData, allowed_components
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import CovarianceFamily, covariance_family
from bayesgmm.priors import Prior, hyperparameters
from bayesgmm.pymc_model.covariance_ops import StackCholesky
from bayesgmm.pymc_model.inverse_wishart import InverseWishartCovariances
from bayesgmm.pymc_model.lkj_separation import SeparationCovariances
from bayesgmm.pymc_model.mv_normal_mixture import MvNormalMixture
from bayesgmm.pymc_model.sparse_weights import sparse_weights
from bayesgmm.pymc_model.wishart_scale import WishartScale
from bayesgmm.validation import as_rows, check_components, check_option, check_type, read_table, texts


def build_model(
    X: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    prior: Prior | None = None,
    feature_names: Sequence[str] | None = None,
    hyperpriors: Mapping[str, Callable[[], TensorVariable]] | None = None,
    missing: str = MISSING[0],
    labels: ArrayLike | None = None,
) -> pm.Model:
    r"""Build a PyMC model of a Gaussian mixture with its prior.

    .. math::

       w &\sim Dirichlet(\alpha), \quad \Sigma_k \sim IW(\nu, S)
           \text{ (or the family's inverse gammas, or a separation prior)}, \\
       \mu_k &\sim N(m, B) \text{ or } N(m, \Sigma_k / \kappa), \quad
       y_i \sim \sum_k w_k N(\mu_k, \Sigma_k)

    The free variables are ``weights`` (cluster), ``means`` (cluster, feature) and ``covariances``
    (cluster, feature, feature_bis), full matrices for every family, and ``prior_scale`` (feature, feature_bis) if the
    scale has a prior; the likelihood is ``y`` (obs, feature). Under a sparse prior (a concentration below one, or one
    that has a prior and is the variable ``prior_concentration``) ``log_gammas`` (cluster) is free and ``weights`` its
    softmax.
    Densities have first derivatives only, so that ``model.compile_d2logp()`` raises NotImplementedError: see
    `bayesgmm.GaussianMixture.standard_errors`, or ``inference="laplace"`` for a normal approximation.
    Data and hyperparameters are ``pm.Data`` (``X`` and ``prior_*``), so that ``pm.set_data`` replaces the rows
    without recompilation. Inside ``with model:`` it can be extended like any PyMC model.

    Parameters
    ----------
    X : array_like or DataFrame, (obs, feature)
        Rows.
    n_components : int
        Number of mixture components K.
    covariance_type : str
        ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, ``"tied_diag"``, ``"tied_spherical"``, ``"VEI"``,
        ``"EVI"``, ``"VEE"``, ``"EVV"`` or mclust's code.
    prior : Prior, optional
        By default ``Prior.weakly_informative(X)``.
    feature_names : sequence of str, optional
        By default the columns of a DataFrame, else x0, x1, ...

    hyperpriors : mapping of str to callable, optional
        Hyperparameters to be sampled: for ``"concentration"`` (cluster,), ``"mean"`` (cluster, feature),
        ``"dof"`` (cluster,), ``"scale"`` (cluster, feature, feature_bis), ``"kappa"`` or ``"mean_covariance"`` a
        function that is called inside the model and returns the random variable to be used. The others have the
        values in ``prior``.
    missing : {"error", "marginalize"}
        Whether rows with missing values are refused, or count with what was observed of them.
    labels : array-like, optional
        What is known of the component of each row, (obs,) or (obs, cluster), as in `GaussianMixture.fit`. With labels
        or missing values the likelihood is in several variables, ``y_0``, ``y_1``, ... with data ``X_0``, ``X_1``, ...,
        one for the rows that were observed in the same features and may come from the same components. Coordinates
        ``obs_0`` and ``feature_0`` name these; nothing is imputed.

    Returns
    -------
    pm.Model

    Raises
    ------
    InputError
        If data, prior, number of components and family are incompatible.

    Examples
    --------
    >>> from bayesgmm import build_model
    >>> model = build_model([[0.0], [0.1], [5.0], [5.2]], 2)
    >>> [variable.name for variable in model.free_RVs]
    ['weights', 'covariances', 'means']

    A concentration that is sampled too:

    >>> import pymc as pm
    >>> sparse = {"concentration": lambda: pm.Gamma("concentration", 1, 20) * np.ones(2)}
    >>> model = build_model([[0.0], [0.1], [5.0], [5.2]], 2, hyperpriors=sparse)
    >>> [variable.name for variable in model.free_RVs]
    ['concentration', 'weights', 'covariances', 'means']
    """
    check_option(MISSING, missing=missing)
    gaps = missing == MARGINALIZE
    X, names = read_table(X, gaps=gaps)
    X = as_rows(X, gaps=gaps)
    check_components(n_components, len(X))
    check_type(Prior, optional=True, prior=prior)
    check_type(Mapping, optional=True, hyperpriors=hyperpriors)
    names = names if feature_names is None else texts(feature_names, "feature_names")
    if len(names) != X.shape[1] or len(set(names)) != len(names):
        raise InputError(expected=f"{X.shape[1]} different feature names", got=f"{names}")
    family = covariance_family(covariance_type, X.shape[1]).for_posterior()
    if prior is None:
        prior = Prior.weakly_informative(IncompleteData(X) if np.isnan(X).any() else X)
    allowed = np.ones((len(X), n_components), dtype=bool)
    allowed = allowed if labels is None else allowed_components(labels, *allowed.shape)
    shape = (n_components, X.shape[1])
    hyper = hyperparameters(prior, *shape, covariance_type=family.name)
    sampled = {f"prior_{name}": make for name, make in (hyperpriors or {}).items()}
    if unknown := sampled.keys() - hyper.keys():
        known, wrong = ([name.removeprefix("prior_") for name in sorted(names)] for names in (hyper, unknown))
        raise InputError(expected=f"hyperpriors for some of {known}", got=f"{wrong}")
    for name, make in sampled.items():
        if not callable(make):
            raise InputError(expected=f"hyperpriors[{name.removeprefix('prior_')!r}] a function", got=repr(make))
    coords = {"cluster": range(n_components), "feature": names, "feature_bis": names}
    with pm.Model(coords=coords) as model:
        given = {
            name: sampled[name]() if name in sampled else pm.Data(name, value, dims=dims)
            for name, (dims, value) in hyper.items()
        }
        weights = _weights(given, n_components, sparse=prior.resolve(*shape, family.name).sparse and not sampled)
        covariances = _covariances(given, family.name)
        if "prior_kappa" in given:
            chol = StackCholesky()(covariances) / pm.math.sqrt(given["prior_kappa"])[:, None, None]
        else:
            chol = StackCholesky()(given["prior_mean_covariance"])
        means = pm.MvNormal("means", mu=given["prior_mean"], chol=chol, dims=("cluster", "feature"))
        if allowed.all() and not np.isnan(X).any():
            _likelihood("", X, family, weights, means, covariances)
        else:
            for name, (rows, features, components) in _groups(X, allowed).items():
                coords = {f"obs{name}": rows.tolist(), f"feature{name}": [names[j] for j in features]}
                model.add_coords(coords)
                parts = weights[components], means[components][:, features]
                full = covariances[components][:, features][:, :, features]
                _likelihood(name, X[np.ix_(rows, features)], family.of_part, *parts, full)
    return model


def _likelihood(name: str, X: Rows, family: CovarianceFamily, weights: Any, means: Any, covariances: Any) -> None:
    """The variable ``y`` of some rows, and their data."""
    dims = (f"obs{name}", f"feature{name}")
    MvNormalMixture(
        f"y{name}",
        weights=weights,
        means=means,
        covariances=covariances,
        covariance_type=family.name,
        observed=pm.Data(f"X{name}", np.ascontiguousarray(X), dims=dims),
        dims=dims,
    )


def _groups(X: Rows, allowed: Allowed) -> dict[str, tuple[IntArray, IntArray, IntArray]]:
    """Rows observed in the same features that may come from the same components, and these."""
    alike, group = np.unique(np.column_stack([~np.isnan(X), allowed]), axis=0, return_inverse=True)
    split = [np.split(np.flatnonzero(each), [each[: X.shape[1]].sum()]) for each in alike]
    return {
        f"_{i}": (np.flatnonzero(group.ravel() == i), features, components - X.shape[1])
        for i, (features, components) in enumerate(split)
    }


def _weights(given: Mapping[str, Any], n_components: int, *, sparse: bool) -> TensorVariable:
    """The variable ``weights``, with ``log_gammas`` if they are sparse and ``prior_concentration`` if it is sampled."""
    if "prior_concentration" in given:
        concentration = given["prior_concentration"]
    else:
        one = pm.Gamma("prior_concentration", alpha=given["prior_gamma_shape"], beta=given["prior_gamma_rate"])
        concentration = one * pt.ones(n_components)
    if sparse:
        return sparse_weights(concentration, dims="cluster")
    return pm.Dirichlet("weights", a=concentration, dims="cluster")


def _covariances(given: Mapping[str, Any], covariance_type: str) -> TensorVariable:
    """The variable ``covariances``, and ``prior_scale`` if that is sampled."""
    dims: dict[str, Any] = {"covariance_type": covariance_type, "dims": ("cluster", "feature", "feature_bis")}
    if "prior_eta" in given:
        eta, shape, scale = (given[f"prior_{name}"] for name in ("eta", "variance_shape", "variance_scale"))
        return SeparationCovariances("covariances", eta, shape, scale, **dims)
    dof = given["prior_dof"]
    if "prior_scale" in given:
        scale = given["prior_scale"]
    else:
        numbers = given["prior_wishart_dof"], given["prior_wishart_scale"]
        one = WishartScale("prior_scale", *numbers, covariance_type=covariance_type, dims=("feature", "feature_bis"))
        scale = one * pt.ones_like(dof)[:, None, None]
    return InverseWishartCovariances("covariances", dof=dof, scale=scale, **dims)
