r"""Concentrations with a prior: e ~ Gamma(a, b) common to all K components, w | e ~ Dirichlet(e, ..., e).

The density of weights with e integrated out depends on s = sum_k log w_k only,

    p(w) = int Gamma(e; a, b) Gamma(K e) / Gamma(e)^K exp((e - 1) s) de,

and its gradient in log w_k is E(e | s) - 1 (Fisher's identity). The integrand is log-concave in log e, analytic, and
falls off on both sides at least as fast as exp(a log e) and exp(-b e), so that the trapezoidal rule in log e is exact
to rounding for every s (Trefethen & Weideman 2014).
"""

from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, logsumexp

from bayesgmm._common import Array, IntArray, Weights
from bayesgmm._compiled import allocation_free
from bayesgmm.priors.hyperpriors import Gamma

SMALLEST_WEIGHT = float(np.finfo(np.float64).tiny)  # what a weight is that is smaller than any number
_SPACING = 0.5  # of nodes, in standard deviations of log e where they are smallest: an error of exp(-8 pi^2)
_LEAST_LOG_WEIGHT = -1e5
_TAIL = 40.0  # nats
_GRID, _WIDTH, _BLOCK = 400, 12.0, 1_000  # points and half width, in standard deviations, of a grid to draw from


def concentration_nodes(prior: Gamma, n_components: int) -> Array:
    """Nodes e_j and log weights c_j, (2, node), such that p(w) = sum_j exp(c_j + (e_j - 1) s)."""
    power = prior.shape + n_components - 1.0  # of e, for weights one of which is tiny
    step = min(0.2, _SPACING / sqrt(power))
    lower = log(power / (prior.rate - n_components * _LEAST_LOG_WEIGHT)) - _TAIL / power - sqrt(2.0 * _TAIL / power)
    typical = prior.shape + 0.5 * (n_components - 1)
    upper = log((typical + 10.0 * sqrt(typical) + 1.5 * _TAIL) / prior.rate)
    t = np.asarray(lower + step * np.arange(int((upper - lower) / step) + 2), dtype=np.float64)
    return np.stack([np.exp(t), _log_density(t, prior, n_components) + log(step)])


def _log_density(t: Array, prior: Gamma, n_components: int) -> Array:
    """Log density of log e and of weights given it, less (e - 1) s."""
    e = np.exp(t)
    of_e = prior.shape * (t + log(prior.rate)) - prior.rate * e - gammaln(prior.shape)
    return np.asarray(of_e + gammaln(n_components * e) - n_components * gammaln(e))


def log_marginal(nodes: Array, sums: ArrayLike) -> Array:
    """log p(w) for sums of log weights (...)."""
    terms = nodes[1] + (nodes[0] - 1.0) * np.asarray(sums)[..., None]
    return np.asarray(logsumexp(terms, axis=-1))


def mean_concentration(nodes: Array, sums: ArrayLike) -> Array:
    """E(e | w) for sums of log weights (...)."""
    terms = nodes[1] + nodes[0] * np.asarray(sums)[..., None]
    p = np.exp(terms - terms.max(axis=-1, keepdims=True))
    return np.asarray((p @ nodes[0]) / p.sum(axis=-1))


@allocation_free
def mixed_concentration(nodes: Array, total: float) -> tuple[float, float]:
    """log of sum_j exp(c_j + e_j s), and E(e | s)."""
    highest = -np.inf
    for j in range(nodes.shape[1]):
        highest = max(highest, nodes[1, j] + nodes[0, j] * total)
    mass, moment = 0.0, 0.0
    for j in range(nodes.shape[1]):
        p = np.exp(nodes[1, j] + nodes[0, j] * total - highest)
        mass += p
        moment += p * nodes[0, j]
    return highest + np.log(mass), moment / mass


def draw_concentrations(prior: Gamma, weights: Weights, *, rng: np.random.Generator) -> Array:
    r"""Draws of e given the weights of each point (..., cluster), (...).

    By inversion of the distribution function of log e on a fine grid, exact to about four digits. A weight at or below
    the smallest number counts as one that is no greater: :math:`P(w_k \le t \mid e) \propto t^e / e`.
    """
    lost = weights <= SMALLEST_WEIGHT
    sums = np.log(np.maximum(weights, SMALLEST_WEIGHT)).sum(axis=-1)
    flat, n_lost, k = sums.ravel(), lost.sum(axis=-1).ravel(), weights.shape[-1]
    parts = [slice(i, i + _BLOCK) for i in range(0, flat.size, _BLOCK)]
    drawn = [_draw(prior, flat[at, None], n_lost[at, None], n_components=k, rng=rng) for at in parts]
    return np.concatenate(drawn).reshape(sums.shape)


def _draw(prior: Gamma, sums: Array, n_lost: IntArray, *, n_components: int, rng: np.random.Generator) -> Array:
    """Draws of e (point,) given sums of log weights and numbers of lost ones (point, 1)."""
    e, log_c = concentration_nodes(prior, n_components)
    p, t = _normalised(log_c + e * sums - n_lost * np.log(e)), np.log(e)
    mean = p @ t
    sd = np.sqrt((p * (t - mean[:, None]) ** 2).sum(axis=1))
    grid = mean[:, None] + sd[:, None] * np.linspace(-_WIDTH, _WIDTH, _GRID)
    density = _normalised(_log_density(grid, prior, n_components) + np.exp(grid) * sums - n_lost * grid)
    cumulative = np.cumsum(0.5 * (density[:, 1:] + density[:, :-1]), axis=1)
    u = rng.random(len(grid)) * cumulative[:, -1]
    cell = (cumulative < u[:, None]).sum(axis=1)
    rows = np.arange(len(grid))
    low, high = density[rows, cell], density[rows, cell + 1]
    left = u - np.where(cell > 0, cumulative[rows, cell - 1], 0.0)  # of the cell's mass, whose density is linear
    within = 2.0 * left / (low + np.sqrt(np.maximum(low**2 + 2.0 * (high - low) * left, 0.0)))
    return np.asarray(np.exp(grid[rows, cell] + within * (grid[:, 1] - grid[:, 0])))


def _normalised(log_p: Array) -> Array:
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def draw_log_gammas(total: Array, weights: Weights, *, rng: np.random.Generator) -> Array:
    """Logarithms (..., cluster) of gamma variables, given their shares of the sum and the sum of their shapes (...)."""
    shape = np.broadcast_to(total, weights.shape[:-1])
    log_sum = np.log(rng.standard_gamma(shape + 1.0)) + np.log1p(-rng.random(shape.shape)) / shape
    return np.asarray(np.log(np.maximum(weights, SMALLEST_WEIGHT)) + log_sum[..., None])
