"""Marginal and conditional mixtures of fits and posteriors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm._common import Array
from bayesgmm.conditionals import ConditionalMixtures, Regressions, given_values, positions_of
from bayesgmm.data import Data
from bayesgmm.mixture import Draws, Mixture, covariance_family
from bayesgmm.noise import refuse_noise
from bayesgmm.posterior import (
    CLUSTER,
    FEATURE,
    FEATURE_BIS,
    NO_NAMES,
    OBS,
    PARAMETERS,
    SAMPLE_DIMS,
    Names,
    draws_of,
    mixture_posterior,
)
from bayesgmm.prediction.densities import each_draw
from bayesgmm.validation import default_names

type Features = Sequence[str | int] | str | int


def marginal(fit: Any, features: Features, *, names: Names = NO_NAMES) -> Mixture | xr.DataTree:
    r"""The mixture of some features, the others integrated out.

    .. math:: p(x_m) = \sum_k w_k N(x_m \mid \mu_{k,m}, \Sigma_{k,mm})

    Parameters
    ----------
    fit : BayesianGaussianMixture, GaussianMixture, Mixture, DataTree, Dataset or mapping
        A fit, or draws from elsewhere, see `bayesgmm.posterior.mixture_posterior`.
    features : one or several names or positions
        In the order wanted.
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    Mixture or DataTree
        Of a posterior the posterior of these features' mixture, with the rows of the fit, which every function of this
        package takes.

    Raises
    ------
    InputError
        For unknown features.

    Examples
    --------
    >>> from bayesgmm import GaussianMixture, marginal
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = GaussianMixture(2, random_state=0).fit(load_old_faithful())
    >>> marginal(fit, "waiting").means.round(1)
    array([[54.5],
           [80. ]])
    """
    mixture = mixture_of(fit)
    if mixture is not None:
        return mixture.marginal(positions_of(features, names_of(fit, mixture)))
    tree = mixture_posterior(fit, names=names)
    return _marginal_tree(tree, positions_of(features, tree_names(tree)))


def condition(
    fit: Any, given: Mapping[Any, Any], *, names: Names = NO_NAMES
) -> Mixture | ConditionalMixtures | xr.DataTree:
    r"""The mixture of the other features, given values of some; see `Mixture.condition` for the formula.

    Parameters
    ----------
    fit : BayesianGaussianMixture, GaussianMixture, Mixture, DataTree, Dataset or mapping
        A fit, or draws from elsewhere, see `bayesgmm.posterior.mixture_posterior`.
    given : mapping
        From names or positions of features to a number each or, for many rows, to arrays (obs,).
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    Mixture, ConditionalMixtures or DataTree
        Of EM what `Mixture.condition` returns. Of a posterior each draw's conditional mixture, given parameters: with
        numbers a posterior that every function of this package takes. Arrays add a dimension ``obs`` to ``weights`` and
        ``means``, of which ``isel(obs=...)`` takes one; for many rows `predict_features` takes less memory.
        ``log_density`` is that of the values given.

    Raises
    ------
    InputError
        For unknown features, values that are not finite, or none left without a value.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, condition
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> after_an_hour = condition(fit, {"waiting": 60.0})["posterior"]
    >>> dict(after_an_hour["means"].sizes)
    {'chain': 4, 'draw': 1000, 'cluster': 2, 'feature': 1}
    >>> after_an_hour["weights"].mean(("chain", "draw")).to_numpy().round(1)
    array([0.9, 0.1])
    """
    mixture = mixture_of(fit)
    if mixture is not None:
        observed = given_values(given, names_of(fit, mixture)).observed
        return mixture.condition(dict(zip(observed, given.values(), strict=True)))
    tree = mixture_posterior(fit, names=names)
    observed, rest, rows, one = given_values(given, tree_names(tree))
    draws = draws_of(tree)
    draws.component.check_gaussian("conditional mixtures")
    found = Regressions.of(draws.means, draws.compact, observed, rest)
    log_density, weights = given_observed(draws.marginal(observed), Data(rows))
    by_row = {"log_density": log_density, "weights": weights, "means": found.means(rows)}
    arrays = {name: values[0] if one else np.moveaxis(values, 0, 1) for name, values in by_row.items()}
    compact = "variances" if "covariances" not in tree["posterior"] else "covariances"
    arrays[compact] = found.compact if compact == "variances" else draws.family.matrices(found.compact)
    return _conditional_tree(tree, arrays, rest, [] if one else [OBS])


def mixture_of(fit: Any) -> Mixture | None:
    """The mixture of a fit by EM, or itself; None of a posterior."""
    refuse_noise(fit, "marginal and conditional mixtures")
    if isinstance(fit, Mixture):
        return fit
    found = None if hasattr(fit, "posterior_") else getattr(fit, "mixture_", None)
    return found if isinstance(found, Mixture) else None


def names_of(fit: Any, mixture: Mixture) -> list[str]:
    """Names of the features of a fit by EM; those of features without names."""
    return [str(name) for name in getattr(fit, "feature_names_in_", default_names(mixture.n_features))]


def tree_names(tree: xr.DataTree) -> list[str]:
    """Names of the features of a posterior."""
    return [str(name) for name in tree["posterior"][FEATURE].to_numpy()]


def given_observed(draws: Draws, data: Data) -> tuple[Array, Array]:
    """Log densities (obs, sample) of observed values, and memberships (obs, sample, cluster) given them."""
    log_density = np.empty((data.shape[0], len(draws)))
    memberships = np.empty((*log_density.shape, draws.weights.shape[1]))
    for s, (values, resp) in enumerate(each_draw(draws, data, with_memberships=True)):
        log_density[:, s], memberships[:, s] = values, resp.T
    return log_density, memberships


def _marginal_tree(tree: xr.DataTree, index: list[int]) -> xr.DataTree:
    """Sub-vectors of means and rows, sub-matrices of covariances, and what belongs to draws or rows."""
    kept = {name: tree[name].to_dataset() for name in ("posterior", "sample_stats", "observed_data") if name in tree}
    kept["posterior"] = kept["posterior"][[name for name in PARAMETERS if name in kept["posterior"]]]
    if "constant_data" in tree and "row_weights" in tree["constant_data"]:
        kept["constant_data"] = tree["constant_data"].to_dataset()[["row_weights"]]
    some: dict[str, Any] = {FEATURE: index, FEATURE_BIS: index}
    if "observed_data" in kept:  # rows of which none of these features was observed say nothing
        some[OBS] = np.flatnonzero(kept["observed_data"]["y"].isel({FEATURE: index}).notnull().any(FEATURE).to_numpy())
    return _with_attributes({name: group.isel(some, missing_dims="ignore") for name, group in kept.items()}, tree)


def _conditional_tree(
    tree: xr.DataTree, arrays: Mapping[str, Array], rest: list[int], row_dims: Sequence[str]
) -> xr.DataTree:
    """Arrays with samples along their first axis, and rows along the next if there are several."""
    draws, names = tree["posterior"], [tree_names(tree)[j] for j in rest]
    of_rows = {"log_density": (), "weights": PARAMETERS["weights"], "means": PARAMETERS["means"]}
    dims = {name: (*row_dims, *of_rows[name]) if name in of_rows else PARAMETERS[name] for name in arrays}
    shape = [draws.sizes[dim] for dim in SAMPLE_DIMS]
    variables = {
        name: ((*SAMPLE_DIMS, *dims[name]), values.reshape(*shape, *values.shape[1:]))
        for name, values in arrays.items()
    }
    kept = {dim: draws[dim].to_numpy() for dim in (*SAMPLE_DIMS, CLUSTER)}
    coords = {**kept, FEATURE: names} | ({FEATURE_BIS: names} if "covariances" in arrays else {})
    return _with_attributes({"posterior": xr.Dataset(variables, coords)}, tree)


def _with_attributes(groups: Mapping[str, xr.Dataset], tree: xr.DataTree) -> xr.DataTree:
    result = xr.DataTree.from_dict(dict(groups))
    result.attrs = {name: tree.attrs[name] for name in ("covariance_type", "component", "source") if name in tree.attrs}
    if "covariance_type" in result.attrs:
        result.attrs["covariance_type"] = covariance_family(str(result.attrs["covariance_type"])).of_part.name
    return result
