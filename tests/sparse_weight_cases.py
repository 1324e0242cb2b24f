"""Concentrations below one, and the density of their weights."""

from dataclasses import replace

import numpy as np
from posterior_cases import Case, affine_coordinates, case

from bayesgmm.data import Data
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.log_weights import SparseWeights
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.hyperpriors import Gamma

CONCENTRATIONS = {"fixed": 0.01, "by cluster": [0.3, 0.01, 1.7], "gamma": Gamma(1.0, 20.0)}


def sparse_case(covariance_type, concentration, form="independent") -> Case:
    at = case(covariance_type, form, (3, 2), by_cluster=False)
    drawn = isinstance(concentration, Gamma)
    prior = replace(
        at.prior,
        concentration=np.asarray(concentration.mean if drawn else concentration),
        concentration_prior=concentration if drawn else None,
    )
    nearly_empty = np.array([0.6, 0.4 - 1e-60, 1e-60])
    elsewhere = Mixture(nearly_empty, at.elsewhere.means, at.elsewhere.covariances, covariance_type)
    return Case(at.X, prior, at.centre, elsewhere)


def density(at: Case, affine="identity") -> LogPosterior:
    resolved = at.prior.resolve(3, 2, at.centre.covariance_type)
    sparse_weights = SparseWeights.of(resolved, len(at.X))
    return LogPosterior(Data.of(at.X), resolved, affine_coordinates(at.centre, affine, sparse_weights))
