"""Quantiles of mixtures of normal distributions of one feature."""

import math

import numpy as np
from scipy.special import ndtr, ndtri

from bayesgmm._common import Array

_MOST_STEPS = 200  # bisection alone needs about 60
_AGREE = 4 * np.finfo(np.float64).eps


def mixture_quantiles(probs: Array, weights: Array, means: Array, sds: Array) -> Array:
    r"""Quantiles of mixtures :math:`\sum_c w_c N(\mu_c, \sigma_c^2)`, each in an axis of its own.

    They solve :math:`\sum_c w_c \Phi((x - \mu_c) / \sigma_c) = p`: Newton's steps within a bracket, the smallest and
    the largest of the components' own quantiles, and bisection where a step leaves it or is not half of the one before
    (Press et al. 2007, Numerical Recipes, 9.4).

    Parameters
    ----------
    probs : (prob,)
        Between 0 and 1.
    weights, means, sds : (..., component)
        They broadcast together; weights sum to one.

    Returns
    -------
    (..., prob)

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.conditionals import mixture_quantiles
    >>> weights, means = np.array([0.5, 0.5]), np.array([-1.0, 1.0])
    >>> mixture_quantiles(np.array([0.025, 0.975]), weights, means, np.array([1.0, 1.0])).round(3)
    array([-2.646,  2.646])
    """
    shape = np.broadcast_shapes(weights.shape, means.shape, sds.shape)
    w, mu, sd = (np.broadcast_to(values, shape).reshape(-1, shape[-1]) for values in (weights, means, sds))
    found = np.empty((len(w), len(probs)))
    for j, prob in enumerate(probs):
        found[:, j] = _roots(float(prob), w, mu, sd)
    return found.reshape(*shape[:-1], len(probs))


def _roots(prob: float, w: Array, mu: Array, sd: Array) -> Array:
    """The quantile (mixture,) of each mixture (mixture, component)."""
    own = mu + ndtri(prob) * sd
    low, high = own.min(axis=1), own.max(axis=1)
    x = np.clip((w * own).sum(axis=1), low, high)
    found, open_, last = x.copy(), np.arange(len(x)), high - low
    for _ in range(_MOST_STEPS):
        z = (x[:, None] - mu) / sd
        above = (w * ndtr(z)).sum(axis=1) - prob
        slope = (w * np.exp(-0.5 * z * z) / sd).sum(axis=1) / math.sqrt(2.0 * math.pi)
        low, high = np.where(above < 0.0, x, low), np.where(above < 0.0, high, x)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = x - above / slope
        good = (newton >= low) & (newton <= high) & (np.abs(newton - x) <= 0.5 * last)
        following = np.where(good, newton, 0.5 * (low + high))
        last = np.abs(following - x)
        found[open_] = following
        on = last > _AGREE * np.maximum(np.abs(low), np.abs(high))
        if not on.any():
            break
        open_, x, low, high, last = open_[on], following[on], low[on], high[on], last[on]
        w, mu, sd = w[on], mu[on], sd[on]
    return found
