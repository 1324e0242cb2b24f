"""Independent draws from the exact posterior of a mixture of a few rows, by summing over every allocation.

Given an allocation of rows to components a normal-inverse-Wishart prior is conjugate, so the posterior is a
mixture of K^n closed forms. Only for full covariances, and for n up to a dozen.
"""

from itertools import product

import numpy as np
from scipy.special import gammaln, multigammaln
from scipy.stats import invwishart

from bayesgmm._common.arrays import Array
from bayesgmm.priors.prior import Prior


def updated(prior: Prior, counts, sums, squares) -> tuple[Array, Array, Array, Array]:
    """kappa_n, mean_n, dof_n and scale_n from counts (...), sums (..., D) and sums of x xᵀ (..., D, D)."""
    kappa, dof = prior.kappa + counts, prior.dof + counts
    mean = (prior.kappa * prior.mean + sums) / kappa[..., None]
    outer = prior.kappa * np.outer(prior.mean, prior.mean)
    scale = prior.scale + squares + outer - kappa[..., None, None] * mean[..., :, None] * mean[..., None, :]
    return kappa, mean, dof, scale


def exact_draws(
    X: Array, prior: Prior, n_components: int, *, size: int, seed: int = 0, allowed=None
) -> dict[str, Array]:
    """Draws (size, cluster, ...) of weights, means and covariances; the prior's alpha is the same for all.

    Rows come from the components that are ``allowed`` (obs, cluster), by default from any.
    """
    rng = np.random.default_rng(seed)
    n, d = X.shape
    mask = np.ones((n, n_components), dtype=bool) if allowed is None else allowed
    labels = np.array(list(product(*map(np.flatnonzero, mask))))
    counts, *moments = _totals(X, labels, n_components)
    kappa, _, dof, scale = updated(prior, counts, *moments)
    log_marginal = (
        multigammaln(0.5 * dof.ravel(), d).reshape(dof.shape)
        - 0.5 * dof * np.linalg.slogdet(scale)[1]
        - 0.5 * d * np.log(kappa)
        + gammaln(prior.concentration + counts)
    ).sum(axis=1)
    probability = np.exp(log_marginal - log_marginal.max())
    chosen = rng.choice(len(labels), size=size, p=probability / probability.sum())
    return draws_given_labels(X, prior, labels[chosen], n_components, rng=rng)


def draws_given_labels(X: Array, prior: Prior, labels: Array, n_components: int, *, rng) -> dict[str, Array]:
    """A draw of the parameters (size, cluster, ...) for each allocation (size, obs)."""
    d = X.shape[1]
    counts, *moments = _totals(X, labels, n_components)
    kappa, mean, dof, scale = updated(prior, counts, *moments)
    gammas = rng.gamma(prior.concentration + counts)
    covariances = np.empty((*counts.shape, d, d))
    for place in np.ndindex(counts.shape):
        covariances[place] = invwishart.rvs(dof[place], scale[place], random_state=rng)
    noise = np.einsum("skij,skj->ski", np.linalg.cholesky(covariances), rng.standard_normal((*counts.shape, d)))
    means = mean + noise / np.sqrt(kappa)[..., None]
    return {"weights": gammas / gammas.sum(axis=1, keepdims=True), "means": means, "covariances": covariances}


def _totals(X: Array, labels: Array, n_components: int) -> tuple[Array, Array, Array]:
    """Counts, sums and sums of x xᵀ of every component, one row an allocation."""
    d = X.shape[1]
    member = (labels[:, None, :] == np.arange(n_components)[:, None]).astype(float)  # (allocation, cluster, obs)
    counts = member.sum(axis=2)
    squares = (member @ (X[:, :, None] * X[:, None, :]).reshape(len(X), d * d)).reshape(*counts.shape, d, d)
    return counts, member @ X, squares
