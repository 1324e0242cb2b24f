"""`load`: restore a saved estimator."""

import os

import numpy as np
import xarray as xr

from bayesgmm.estimators._prior_parameters import PriorParameters
from bayesgmm.estimators._saved import generator_of, prior_of, restore_em, settings_of, source_of
from bayesgmm.estimators.bayesian_gaussian_mixture import BayesianGaussianMixture
from bayesgmm.estimators.gaussian_mixture import GaussianMixture
from bayesgmm.io import load_tree, refused_with
from bayesgmm.posterior import check_posterior, prior_from_json


def load(path: str | os.PathLike[str]) -> BayesianGaussianMixture | GaussianMixture:
    """Load a fit written by `BayesianGaussianMixture.save` or `GaussianMixture.save`.

    The checksum and array sizes of a file are verified before it is used. Files of version 0.1, which had no
    checksum, and files rewritten by another program are read too.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    BayesianGaussianMixture or GaussianMixture
        Fitted, as it was saved.

    Raises
    ------
    InputError
        If the file is missing, damaged, of a later version, or not a saved fit; with the reason.

    Examples
    --------
    >>> import tempfile, bayesgmm
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = bayesgmm.BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fit.save(f"{folder}/geyser.nc")
    ...     again = bayesgmm.load(f"{folder}/geyser.nc")
    >>> bool((again.means_ == fit.means_).all())
    True
    """
    tree = load_tree(path)
    with refused_with(path):
        return _em_fit(tree) if tree.attrs.get("estimator") == GaussianMixture.__name__ else _posterior_fit(tree)


def _em_fit(tree: xr.DataTree) -> GaussianMixture:
    estimator = GaussianMixture()
    settings = settings_of(tree, estimator.get_params(deep=False))
    settings["random_state"] = generator_of(settings["random_state"])
    if isinstance(settings["prior"], dict):
        settings["prior"] = prior_of(settings["prior"])
    estimator.set_params(**settings)._validate_params()
    restore_em(estimator, tree)
    return estimator


def _posterior_fit(tree: xr.DataTree) -> BayesianGaussianMixture:
    estimator = BayesianGaussianMixture()
    estimator.set_params(**settings_of(tree, estimator.get_params(deep=False)))._validate_params()
    check_posterior(tree, estimator.n_components, estimator.covariance_type)
    names = [str(name) for name in tree["observed_data"]["feature"].to_numpy()]
    given = PriorParameters.of(estimator.get_params(deep=False)).given
    if not (given or tree.attrs.get("default_prior", 0)):  # which version 0.1 did not record
        estimator.prior = prior_from_json(str(tree.attrs["prior"]))
    estimator.n_features_in_ = len(names)
    if tree.attrs["named_features"]:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    estimator._set_posterior(tree)
    if "source" in tree.attrs:
        estimator.source_ = source_of(tree, tree["observed_data"]["y"].to_numpy())
    return estimator
