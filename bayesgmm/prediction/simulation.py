"""Prior and posterior predictive data sets, as groups for ArviZ's predictive plots."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws, covariance_family
from bayesgmm.posterior import (
    CLUSTER,
    FEATURE,
    FEATURE_BIS,
    NO_NAMES,
    OBS,
    SAMPLE_DIMS,
    Names,
    Posterior,
    data_of,
    draws_of,
    mixture_posterior,
)
from bayesgmm.prediction.densities import rows_of
from bayesgmm.priors import Prior, draw_mixtures
from bayesgmm.validation import check_type, check_whole, default_names, generator_of, read_table


def posterior_predictive(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    n_samples: int = 200,
    random_state: int | None = None,
    names: Names = NO_NAMES,
) -> xr.DataTree:
    r"""Add a group ``posterior_predictive`` to a posterior: data sets of the size of the observed one.

    .. math:: y^{rep,s}_i \sim \sum_k w_k^s N(\mu_k^s, \Sigma_k^s), \quad i = 1, \dots, n,

    all rows of a data set from one draw :math:`\theta^s`, with noise as often as it weighs. Use it with
    ``az.plot_ppc_dist`` and ArviZ's other predictive plots.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset or mapping
        See `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows of the fit; by default those stored with it. Weighted rows are not supported: pass them repeated.
    n_samples : int
        Number of data sets, from evenly spaced draws; all draws if there are fewer.
    random_state : int, optional
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    DataTree
        A copy with ``y`` (chain, draw, obs, feature) in ``posterior_predictive``, which shares the arrays of existing
        groups.

    References
    ----------
    Gelman, Meng & Stern 1996, Statistica Sinica 6.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, posterior_predictive
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> dict(posterior_predictive(fit, n_samples=100)["posterior_predictive"]["y"].sizes)
    {'chain': 4, 'draw': 25, 'obs': 272, 'feature': 2}
    """
    check_whole(n_samples=n_samples)
    rng = generator_of(random_state)
    tree = mixture_posterior(posterior, X, names=names).copy()
    data = without_row_weights(data_of(tree, all_for="replicated data", some_do=True))
    sizes, draws = tree["posterior"].sizes, draws_of(tree)
    chosen = evenly_spaced(sizes["draw"], max(1, n_samples // sizes["chain"]))
    which = (np.arange(sizes["chain"])[:, None] * sizes["draw"] + chosen).ravel()
    n = data.shape[0]
    y = simulated_rows(draws, which, n, rng=rng)
    coords = {
        "chain": tree["posterior"]["chain"].to_numpy(),
        "draw": tree["posterior"]["draw"].to_numpy()[chosen],
        OBS: np.arange(n),
        FEATURE: tree["posterior"][FEATURE].to_numpy(),
    }
    tree["posterior_predictive"] = xr.DataTree(_dataset(y.reshape(sizes["chain"], len(chosen), n, -1), coords))
    return tree


def prior_predictive(
    prior: Prior,
    n_components: int,
    *,
    covariance_type: str = "full",
    n_rows: int = 200,
    n_samples: int = 200,
    X: ArrayLike | None = None,
    random_state: int | None = None,
) -> xr.DataTree:
    r"""Mixtures drawn from the prior, and a data set from each: groups ``prior`` and ``prior_predictive``.

    .. math:: \theta^s \sim p(\theta), \quad y^{rep,s}_i \sim \sum_k w_k^s N(\mu_k^s, \Sigma_k^s).

    Parameters
    ----------
    prior : Prior
    n_components : int
    covariance_type : str
    n_rows : int
        Number of rows of a data set, unless ``X`` is given.
    n_samples : int
        Number of data sets.
    X : (obs, feature), optional
        Rows to compare with, stored as ``observed_data``; data sets then have the same size.
    random_state : int, optional

    Returns
    -------
    DataTree
        ``weights``, ``means`` and full ``covariances`` in ``prior``, ``y`` (chain, draw, obs, feature) in
        ``prior_predictive``, with one chain.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import Prior, prior_predictive
    >>> from bayesgmm.datasets import load_old_faithful
    >>> X = np.asarray(load_old_faithful())
    >>> drawn = prior_predictive(Prior.weakly_informative(X), 2, X=X, random_state=1)
    >>> sorted(drawn.children)
    ['observed_data', 'prior', 'prior_predictive']
    """
    check_whole(n_components=n_components, n_rows=n_rows, n_samples=n_samples)
    check_type(Prior, prior=prior)
    rng = generator_of(random_state)
    observed, features = (None, default_names(prior.n_features)) if X is None else read_table(X)
    if len(features) != prior.n_features:
        raise InputError(expected=f"X with the {prior.n_features} features of the prior", got=f"{len(features)}")
    resolved = prior.resolve(n_components, prior.n_features, covariance_type)
    weights, means, covariances = draw_mixtures(resolved, n_samples, rng=rng)
    n = n_rows if observed is None else len(observed)
    draws = Draws(weights, means, covariances, family=covariance_family("full"))
    y = simulated_rows(draws, np.arange(n_samples), n, rng=rng)
    sample: dict[str, Any] = {"chain": [0], "draw": np.arange(n_samples)}
    axes = {OBS: np.arange(n), FEATURE: features}
    variables = {
        "weights": ((*SAMPLE_DIMS, CLUSTER), weights[None]),
        "means": ((*SAMPLE_DIMS, CLUSTER, FEATURE), means[None]),
        "covariances": ((*SAMPLE_DIMS, CLUSTER, FEATURE, FEATURE_BIS), covariances[None]),
    }
    coords = {**sample, CLUSTER: np.arange(n_components), FEATURE: features, FEATURE_BIS: features}
    groups = {"prior": xr.Dataset(variables, coords), "prior_predictive": _dataset(y[None], {**sample, **axes})}
    if observed is not None:
        groups["observed_data"] = xr.Dataset({"y": ((OBS, FEATURE), observed)}, axes)
    return xr.DataTree.from_dict(groups)


def simulated_rows(draws: Draws, which: IntArray, n: int, *, rng: np.random.Generator) -> Array:
    """A data set of n rows from each of some draws, (data set, obs, feature)."""
    return np.stack([_rows_of(draws, int(s), n, rng) for s in which])


def _rows_of(draws: Draws, s: int, n: int, rng: np.random.Generator) -> Array:
    k, shares = draws.weights.shape[1], draws.weights[s]
    shares = shares if draws.noise_weight is None else np.append(shares, draws.noise_weight[s])
    labels = rng.choice(len(shares), n, p=shares / shares.sum())
    z = rng.standard_normal((n, draws.means.shape[2]))
    return rows_of(draws, s, np.where(labels == k, -1, labels), z, rng=rng)


def without_row_weights(data: Data) -> Data:
    """The rows, or an error if they have weights."""
    if data.row_weights is not None:
        raise InputError(expected="rows without weights", got="row weights", hint="Pass X, with rows repeated.")
    return data


def evenly_spaced(n: int, most: int) -> IntArray:
    """At most so many of n numbers."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _dataset(y: Array, coords: dict[str, Any]) -> xr.Dataset:
    return xr.Dataset({"y": ((*SAMPLE_DIMS, OBS, FEATURE), y)}, coords)
