"""Hyperparameters under the names and dims that the PyMC model and the posterior's ``constant_data`` share.

PyMC compares the two before it predicts: where they agree it knows that the draws belong to the model.
"""

import numpy as np

from bayesgmm._common import Array
from bayesgmm.priors.prior import Prior

_RANKS = {"concentration": 0, "mean": 1, "dof": 0, "scale": 2, "kappa": 0, "mean_covariance": 2}
_RANKS_OF_VARIANCES = {"variance_shape": 1, "variance_scale": 1}
_DIMS = ("cluster", "feature", "feature_bis")


def hyperparameters(
    prior: Prior, n_components: int, n_features: int, *, covariance_type: str = "full"
) -> dict[str, tuple[tuple[str, ...], Array]]:
    """``prior_*`` names to dims and values, broadcast over clusters where they are each component's own.

    A scale that has a prior is not among them, but ``prior_wishart_dof`` and ``prior_wishart_scale``; of a
    concentration that has one ``prior_gamma_shape`` and ``prior_gamma_rate``; in the place of
    the degrees of freedom and scale of separation priors are ``prior_eta``, ``prior_variance_shape`` and
    ``prior_variance_scale``.

    Raises
    ------
    InputError
        If the prior does not fit K, D and the family.

    Examples
    --------
    >>> from bayesgmm import Prior
    >>> from bayesgmm.priors import hyperparameters
    >>> prior = Prior.normal_inverse_wishart(mean=[0.0], kappa=0.1, dof=3, scale=[[1.0]])
    >>> hyperparameters(prior, 2, 1)["prior_kappa"]
    (('cluster',), array([0.1, 0.1]))
    """
    prior.resolve(n_components, n_features, covariance_type)
    values, ranks = {name: getattr(prior, name) for name in _RANKS}, _RANKS | _RANKS_OF_VARIANCES
    common: dict[str, tuple[tuple[str, ...], Array]] = {}
    if prior.scale_prior is not None:
        del values["scale"]
        common["prior_wishart_dof"] = ((), np.array(prior.scale_prior.dof))
        common["prior_wishart_scale"] = (_DIMS[1:], prior.scale_prior.scale)
    if prior.concentration_prior is not None:
        del values["concentration"]
        common["prior_gamma_shape"] = ((), np.array(prior.concentration_prior.shape))
        common["prior_gamma_rate"] = ((), np.array(prior.concentration_prior.rate))
    if prior.variances is not None:
        del values["dof"], values["scale"]
        common["prior_eta"] = ((), np.array(prior.variances.eta))
        values |= {name: getattr(prior.variances, name) for name in _RANKS_OF_VARIANCES}
    shape = (n_components, n_features, n_features)
    return common | {
        f"prior_{name}": (_DIMS[: ranks[name] + 1], np.broadcast_to(value, shape[: ranks[name] + 1]).copy())
        for name, value in values.items()
        if value is not None
    }
