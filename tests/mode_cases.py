"""Posteriors with several modes whose evidences are known exactly."""

from itertools import product

import numpy as np
from exact_posterior import draws_given_labels
from scipy.stats import multivariate_normal

from bayesgmm.data.blocks import Data
from bayesgmm.evidence.conditional_densities import Conditionals
from bayesgmm.inference.engines import sample_native
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.draws import Draws
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior

LEFT, RIGHT = [0] * 4 + [1] * 6, [0] * 6 + [1] * 4  # which rows lie together


THREE_GROUPS = np.array([0.0, 0.3, -0.4, 0.1, 5.0, 5.3, 10.0, 10.4, 9.7, 10.2])[:, None]


CONJUGATE = Prior.normal_inverse_wishart(concentration=5.0, mean=[5.0], kappa=0.05, dof=10.0, scale=[[1.0]])


OTHERWISE = 0.0006  # probability that rows lie together otherwise (by enumeration .0005), which no chain has met


def exact_log_evidences(X, prior, k):
    """Log evidence of every allocation of rows to K components, with a conjugate prior: (allocations, values)."""
    resolved = prior.resolve(k, X.shape[1], "full")
    allocations = np.array(list(product(range(k), repeat=len(X))))
    weights = np.full(k, 1.0 / k)
    means, covariances = X[:k], np.broadcast_to(np.eye(X.shape[1]), (k, X.shape[1], X.shape[1]))
    mixture = Mixture(weights, means, covariances)
    draw = Draws(weights[None], means[None], covariances[None], family=mixture.family)
    log_rows = np.stack([multivariate_normal(m, c).logpdf(X) for m, c in zip(means, covariances, strict=True)], axis=1)
    joint = resolved.log_prob(mixture) + np.log(weights[allocations]).sum(axis=1)
    joint += log_rows[np.arange(len(X)), allocations].sum(axis=1)
    given = Conditionals.of_prior(resolved).given(Data(X), allocations, draw[np.zeros(len(allocations), int)])
    return allocations, joint - given.log_labelled_density(draw)[0]


def sampled(X, prior, starts, *, draws=600, seed=1):
    """Chains by the native engine, one from each of the given mixtures."""
    problem = Problem(Data.of(X), prior, starts[0], tuple(starts))
    settings = SamplerSettings(seed=seed, draws=draws, tune=300, chains=len(starts), progress=False)
    return sample_native(problem, settings, np.random.default_rng(seed))[0]


def stuck_chains(draws=600, seed=1):
    """Chains that never leave their mode, one in LEFT and two in RIGHT: exact draws given which rows lie together."""
    labels = np.repeat([LEFT, RIGHT, RIGHT], draws, axis=0)
    drawn = draws_given_labels(THREE_GROUPS, CONJUGATE, labels, 2, rng=np.random.default_rng(seed))
    return Draws(**drawn, family=covariance_family("full"), chain=np.repeat(np.arange(3), draws))
