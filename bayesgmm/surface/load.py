"""`load`: a saved fit becomes the estimator again."""

import json
import os

import numpy as np

import bayesgmm.bayes.posterior as tree_of
from bayesgmm.surface.bayesian_gaussian_mixture import BayesianGaussianMixture
from bayesgmm.surface.prior_parameters import PriorParameters
from bayesgmm.words.errors import InputError


def load(path: str | os.PathLike[str]) -> BayesianGaussianMixture:
    """Read a fit that `BayesianGaussianMixture.save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    BayesianGaussianMixture
        Fitted, as it was saved.

    Raises
    ------
    InputError
        If the file is missing or holds no saved fit.

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
    tree = tree_of.load_tree(path)
    if "settings" not in tree.attrs:
        raise InputError(expected="a file that save() wrote", got=f"a posterior without the record of a fit: {path}")
    names = [str(name) for name in tree["observed_data"]["feature"].to_numpy()]
    estimator = BayesianGaussianMixture(**json.loads(str(tree.attrs["settings"])))
    if not PriorParameters.of(estimator.get_params(deep=False)).given:
        estimator.prior = tree_of.prior_from_json(str(tree.attrs["prior"]))
    estimator.n_features_in_ = len(names)
    if tree.attrs["named_features"]:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    estimator._set_posterior(tree)
    return estimator
