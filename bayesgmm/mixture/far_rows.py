r"""Memberships of extremely distant rows, for which rounding errors hide the nearest component.

At a distance of t standard deviations squared lengths are known to :math:`\epsilon t^2`, so that beyond a million
standard deviations differences between components drown. There the difference itself is computed,

.. math:: |z_k|^2 - |z_j|^2 = (z_k - z_j)^\top (z_k + z_j), \qquad
    z_k - z_j = (P_k - P_j) x - (P_k \mu_k - P_j \mu_j),

with :math:`P_k = L_k^{-1}` and in units of the row's largest value, in which nothing overflows.
"""

import numpy as np

from bayesgmm._common import Array, Columns, Factors, IntArray, Means, PerRow, Weights
from bayesgmm.data import COMPLETE, Patterns
from bayesgmm.mixture.components.component import Component
from bayesgmm.mixture.covariance.parametrisation import Parametrisation
from bayesgmm.mixture.incomplete import marginal_of, pointwise_incomplete
from bayesgmm.mixture.kernel import pointwise

_FAR = -1e12  # log density below which a rounding error of it changes memberships
_ROWS_AT_A_TIME = 1_000


def densities(
    covariance: Parametrisation,
    component: Component,
    x: Columns,
    log_scale: Weights,
    mu: Means,
    prec: Factors,
    log_density: PerRow,
    resp: Array,
    *,
    patterns: Patterns = COMPLETE,
) -> bool:
    """`pointwise`, with memberships of far rows as exact as those of others; returns whether there were any."""
    if len(patterns.members):
        pointwise_incomplete(covariance, component, x, patterns, log_scale, mu, prec, log_density, resp)
    else:
        pointwise(covariance, component, x, log_scale, mu, prec, log_density, resp)
    if log_density.min() >= _FAR:
        return False
    far = np.flatnonzero(~(log_density >= _FAR))
    if not len(patterns.members):
        _correct(covariance, x, far, log_scale, mu, prec, log_density, resp)
        return True
    for pattern, members in zip(patterns.table, np.split(patterns.members, patterns.table[:-1, 0]), strict=True):
        if len(some := np.intersect1d(members, far)):
            own, features = marginal_of((covariance, component), pattern, log_scale, mu, prec)
            _correct(covariance, x[features], some, own.log_scale, own.mu, own.prec, log_density, resp)
    return True


def _correct(
    covariance: Parametrisation,
    x: Columns,
    far: IntArray,
    log_scale: Weights,
    mu: Means,
    prec: Factors,
    log_density: PerRow,
    resp: Array,
) -> None:
    """Write what is known of far rows."""
    for start in range(0, len(far), _ROWS_AT_A_TIME):
        rows = far[start : start + _ROWS_AT_A_TIME]
        value, shares = _far(covariance, x[:, rows].T, log_scale, mu, prec)
        log_density[rows] = np.where(np.isfinite(log_density[rows]), log_density[rows], value)
        if len(resp):
            resp[:, rows] = shares.T


def _far(covariance: Parametrisation, X: Array, log_scale: Weights, mu: Means, prec: Factors) -> tuple[PerRow, Array]:
    """Log density (obs,) and memberships (obs, cluster) of far rows."""
    every, stretch = np.arange(len(X)), np.abs(prec).max()
    sizes = np.maximum(np.abs(X).max(axis=1), np.abs(mu).max())[:, None, None]
    own = np.broadcast_to(prec / stretch, (len(mu), *prec.shape[1:]))
    rows, centres = (covariance.times(own, each / sizes) for each in (X[:, None, :], mu))
    z = rows - centres
    lengths = np.square(z).sum(axis=2)
    nearest = lengths.argmin(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):  # a density below the smallest number is zero
        scale = 0.5 * np.square(stretch * sizes[..., 0])
        for _ in range(len(mu) + 1):
            rows_j, centres_j, z_j = (each[every, nearest][:, None] for each in (rows, centres, z))
            farther = (((rows - rows_j) - (centres - centres_j)) * (z + z_j)).sum(axis=2)
            behind = np.where(farther == 0.0, 0.0, scale * farther)
            log_odds = log_scale - log_scale[nearest][:, None] - behind
            best = log_odds.argmax(axis=1)
            if (best == nearest).all():
                break
            nearest = best
        log_density = log_scale[nearest] - scale[:, 0] * lengths[every, nearest]
    shares = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    return log_density, shares / shares.sum(axis=1, keepdims=True)
