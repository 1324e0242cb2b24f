"""Hyperparameters under the names and dims that the PyMC model and the posterior's ``constant_data`` share.

PyMC compares the two before it predicts: where they agree it knows that the draws belong to the model.
"""

import numpy as np

from bayesgmm.ground.priors import Prior
from bayesgmm.words.arrays import Array

_RANKS = {"concentration": 0, "mean": 1, "dof": 0, "scale": 2, "kappa": 0, "mean_covariance": 2}
_DIMS = ("cluster", "feature", "feature_bis")


def hyperparameters(
    prior: Prior, n_components: int, n_features: int, *, covariance_type: str = "full"
) -> dict[str, tuple[tuple[str, ...], Array]]:
    """``prior_*`` names to dims and values, broadcast over clusters.

    Raises
    ------
    InputError
        If the prior does not fit K, D and the family.

    Examples
    --------
    >>> from bayesgmm import Prior
    >>> from bayesgmm.bayes.hyperparameters import hyperparameters
    >>> prior = Prior.normal_inverse_wishart(mean=[0.0], kappa=0.1, dof=3, scale=[[1.0]])
    >>> hyperparameters(prior, 2, 1)["prior_kappa"]
    (('cluster',), array([0.1, 0.1]))
    """
    prior.resolve(n_components, n_features, covariance_type)
    values = {name: getattr(prior, name) for name in _RANKS}
    shape = (n_components, n_features, n_features)
    return {
        f"prior_{name}": (_DIMS[: _RANKS[name] + 1], np.broadcast_to(value, shape[: _RANKS[name] + 1]).copy())
        for name, value in values.items()
        if value is not None
    }
