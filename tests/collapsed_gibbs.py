"""A sparse finite mixture by collapsed Gibbs sampling, and by summing over allocations: the reference for its K+.

Weights, means and covariances are integrated out under a normal-inverse-Wishart prior, labels are drawn one by one
(Neal 2000, algorithm 3, for a finite mixture), and a concentration with a Gamma(a, b) prior by a random walk.
Nothing of the package is used.
"""

from itertools import product
from math import lgamma

import numpy as np
from numba import njit
from scipy.special import gammaln, logsumexp, multigammaln


@njit(cache=True)
def _log_marginal(n, total, squares, m, kappa, dof, scale):
    """Log marginal likelihood of a cluster of n rows (sum, sum of outer products), less what all clusters share."""
    d = m.shape[0]
    k, nu = kappa + n, dof + n
    mean = (kappa * m + total) / k
    s = scale + squares + kappa * np.outer(m, m) - k * np.outer(mean, mean)
    if d == 1:
        log_det = np.log(s[0, 0])
    elif d == 2:
        log_det = np.log(s[0, 0] * s[1, 1] - s[0, 1] * s[1, 0])
    else:
        log_det = np.log(np.linalg.det(s))
    value = -0.5 * nu * log_det - 0.5 * d * np.log(k) - 0.5 * n * d * np.log(np.pi)
    for j in range(d):
        value += lgamma(0.5 * (nu - j))
    return value


@njit(cache=True)
def _sweeps(x, z, k_max, m, kappa, dof, scale, e, a, b, n_sweeps, rng):
    """Numbers of occupied clusters and concentrations after each sweep; e is fixed unless a > 0."""
    n, d = x.shape
    counts, sums, squares = np.zeros(k_max), np.zeros((k_max, d)), np.zeros((k_max, d, d))
    for i in range(n):
        counts[z[i]] += 1
        sums[z[i]] += x[i]
        squares[z[i]] += np.outer(x[i], x[i])
    without = np.empty(k_max)
    for k in range(k_max):
        without[k] = _log_marginal(counts[k], sums[k], squares[k], m, kappa, dof, scale)
    log_p = np.empty(k_max)
    with_row = np.empty(k_max)
    occupied, kept = np.empty(n_sweeps, np.int64), np.empty(n_sweeps)
    for sweep in range(n_sweeps):
        for i in range(n):
            outer = np.outer(x[i], x[i])
            old = z[i]
            counts[old] -= 1
            sums[old] -= x[i]
            squares[old] -= outer
            without[old] = _log_marginal(counts[old], sums[old], squares[old], m, kappa, dof, scale)
            for k in range(k_max):
                with_row[k] = _log_marginal(counts[k] + 1, sums[k] + x[i], squares[k] + outer, m, kappa, dof, scale)
                log_p[k] = np.log(counts[k] + e) + with_row[k] - without[k]
            u = rng.random() * np.exp(log_p - log_p.max()).sum()
            new, total = 0, np.exp(log_p[0] - log_p.max())
            while total < u and new < k_max - 1:
                new += 1
                total += np.exp(log_p[new] - log_p.max())
            z[i] = new
            counts[new] += 1
            sums[new] += x[i]
            squares[new] += outer
            without[new] = with_row[new]
        if a > 0.0:
            for _ in range(10):
                proposed = e * np.exp(0.8 * rng.standard_normal())
                ratio = _log_concentration(proposed, counts, n, a, b) - _log_concentration(e, counts, n, a, b)
                if np.log(rng.random()) < ratio:
                    e = proposed
        occupied[sweep] = (counts > 0).sum()
        kept[sweep] = e
    return occupied, kept


@njit(cache=True)
def _log_concentration(e, counts, n, a, b):
    """Log density of log e given the sizes of clusters."""
    k_max = len(counts)
    value = a * np.log(e) - b * e + lgamma(k_max * e) - lgamma(k_max * e + n)
    for k in range(k_max):
        if counts[k] > 0:
            value += lgamma(counts[k] + e) - lgamma(e)
    return value


def gibbs_occupied(X, n_components, *, mean, kappa, dof, scale, concentration, sweeps=20_000, seed=0):
    """Draws of K+ and of the concentration (a number, or the pair (a, b) of a Gamma prior); a tenth is burn-in."""
    X = np.ascontiguousarray(X, dtype=float)
    fixed = np.isscalar(concentration)
    e, a, b = (float(concentration), 0.0, 0.0) if fixed else (concentration[0] / concentration[1], *concentration)
    rng = np.random.default_rng(seed)
    start = rng.integers(n_components, size=len(X))
    prior = (np.asarray(mean, dtype=float), float(kappa), float(dof), np.asarray(scale, dtype=float))
    drawn = _sweeps(X, start, n_components, *prior, e, float(a), float(b), sweeps, rng)
    return tuple(values[sweeps // 10 :] for values in drawn)


def exact_occupied(X, n_components, *, mean, kappa, dof, scale, concentration):
    """p(K+ = 0..K | X) by the sum over all allocations, for a fixed concentration and few rows."""
    X = np.asarray(X, dtype=float)
    n, d = X.shape
    labels = np.array(list(product(range(n_components), repeat=n)))
    member = (labels[:, None, :] == np.arange(n_components)[:, None]).astype(float)
    counts, sums = member.sum(axis=2), member @ X
    squares = (member @ (X[:, :, None] * X[:, None, :]).reshape(n, d * d)).reshape(*counts.shape, d, d)
    k, nu = kappa + counts, dof + counts
    centre = (kappa * np.asarray(mean) + sums) / k[..., None]
    outer = kappa * np.outer(mean, mean) - k[..., None, None] * centre[..., :, None] * centre[..., None, :]
    log_det = np.linalg.slogdet(np.asarray(scale) + squares + outer)[1]
    own = multigammaln(0.5 * nu.ravel(), d).reshape(nu.shape) - 0.5 * nu * log_det - 0.5 * d * np.log(k)
    log_p = (own + gammaln(counts + concentration)).sum(axis=1)
    occupied = (counts > 0).sum(axis=1)
    log_p -= logsumexp(log_p)
    return np.array([np.exp(log_p[occupied == j]).sum() for j in range(n_components + 1)])


def total_variation(p, q) -> float:
    """Half the sum of absolute differences of two distributions on 0, 1, ..."""
    size = max(len(p), len(q))
    return 0.5 * float(np.abs(np.pad(p, (0, size - len(p))) - np.pad(q, (0, size - len(q)))).sum())
