"""Rows with missing values, and sums over them with explicit inverses, which several tests share."""

import numpy as np

from bayesgmm.data import IncompleteData
from bayesgmm.mixture import Mixture, covariance_family


def problem(covariance_type, *, n_rows=150, d=5, k=3, share=0.35, seed=0):
    """A mixture and weighted rows, of which a share of the values is missing."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, d, d))
    matrices = roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(d)
    family = covariance_family(covariance_type)
    means = 2.0 * rng.normal(size=(k, d))
    mixture = Mixture(rng.dirichlet(np.full(k, 3.0)), means, family.compress(matrices), covariance_type)
    X = without_some(2.0 * rng.normal(size=(n_rows, d)), share, seed=seed)
    return mixture, IncompleteData(X, rng.random(n_rows) * 2.0)


def without_some(X, share, *, seed=0):
    """Rows of which a share of the values is missing, at least one left in each."""
    rng = np.random.default_rng(seed)
    missing = rng.random(X.shape) < share
    missing[np.arange(len(X)), rng.integers(X.shape[1], size=len(X))] = False
    return np.where(missing, np.nan, X)


def log_joint(mixture, x):
    """log w_k N(x_o | mu_o, Sigma_oo), (cluster,)."""
    o = ~np.isnan(x)
    found = []
    for w, mu, sigma in zip(mixture.weights, mixture.means, mixture.full_covariances, strict=True):
        e, own = x[o] - mu[o], sigma[np.ix_(o, o)]
        found.append(np.log(w) - 0.5 * e @ np.linalg.inv(own) @ e - 0.5 * np.linalg.slogdet(2.0 * np.pi * own)[1])
    return np.array(found)


def expected_sums(mixture, data):
    """Counts, first and second moments of whitened residuals, expected given what was observed."""
    k, d = mixture.means.shape
    counts, first, second = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    factors = np.linalg.cholesky(mixture.full_covariances)
    for x, v in zip(data.entries, data.weights, strict=True):
        o, joint = ~np.isnan(x), log_joint(mixture, x)
        resp = v * np.exp(joint - np.logaddexp.reduce(joint))
        for j, (mu, sigma) in enumerate(zip(mixture.means, mixture.full_covariances, strict=True)):
            slopes = sigma[:, o] @ np.linalg.inv(sigma[np.ix_(o, o)])
            z = np.linalg.solve(factors[j], slopes @ (x[o] - mu[o]))
            rest = np.linalg.solve(factors[j], np.linalg.solve(factors[j], sigma - slopes @ sigma[o]).T)
            counts[j] += resp[j]
            first[j] += resp[j] * z
            second[j] += resp[j] * (np.outer(z, z) + rest)
    return counts, first, second
