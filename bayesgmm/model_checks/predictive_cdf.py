"""Predictive CDF of each feature and of the density at each row, leave-one-out by importance sampling."""

from dataclasses import dataclass
from math import log

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import log_softmax, logsumexp

from bayesgmm._common import Array, PerRow, Progress
from bayesgmm.data import Data
from bayesgmm.mixture import Draws
from bayesgmm.model_checks.gaussianity import feature_cdf
from bayesgmm.prediction import Reference, log_densities

_BLOCK = 500  # rows
_RATIO_DRAWS = 25  # a fifth of them make the tail that is smoothed, and this needs five


@dataclass(frozen=True)
class PredictiveCDF:
    """Predictive CDF at the rows, (obs,) each.

    Attributes
    ----------
    log_density
        Log predictive density.
    tail
        Probability that a row simulated from the same distribution has a lower density.
    features : (obs, feature)
        Predictive distribution function of each feature.
    pareto_k
        Of the weights that leave the row out; zero if it was not in.
    """

    log_density: PerRow
    tail: PerRow
    features: Array
    pareto_k: PerRow


def predictive_cdf(
    draws: Draws,
    data: Data,
    simulated: Reference,
    *,
    left_out: bool,
    r_eff: float = 1.0,
    callback: Progress | None = None,
) -> PredictiveCDF:
    r"""Posterior predictive CDF at each row, given all rows or all but the row itself.

    Draws have equal weights, or those of Pareto smoothed importance sampling,
    :math:`w_i^s \propto 1 / p(x_i \mid \theta^s)`: see `bayesgmm.loo`. With them

    .. math:: F_{-i,j}(x_{ij}) = \sum_s w_i^s F_j(x_{ij} \mid \theta^s), \qquad
        P(p_{-i}(x) \le p_{-i}(x_i)), \quad x \sim p_{-i} = \sum_s w_i^s p(\cdot \mid \theta^s).

    A feature's distribution function is exact, where LOO-PIT usually counts simulated rows.
    """
    parts, n_done = [], 0
    sds = _standard_deviations(draws)
    for piece in data.pieces(_BLOCK):
        parts.append(_block(draws, sds, piece, simulated, r_eff if left_out else None))
        n_done += piece.shape[0]
        if callback is not None:
            callback(n_done, data.shape[0])
    return PredictiveCDF(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _block(
    draws: Draws, sds: Array, data: Data, simulated: Reference, r_eff: float | None
) -> tuple[PerRow, PerRow, Array, PerRow]:
    values = log_densities(draws, data).T
    log_weights, k = _log_weights(values, r_eff)
    weights = np.exp(log_weights)
    log_density = logsumexp(log_weights + values, axis=1)
    features = np.zeros(data.shape)
    if draws.noise is not None and draws.noise_weight is not None:
        features += (weights @ draws.noise_weight)[:, None] * draws.noise.cdf(data.rows)
    for s in range(len(draws)):
        features += weights[:, s, None] * feature_cdf(data.rows, draws.weights[s], draws.means[s], sds[s])
    return log_density, simulated.tail(log_density, weights), features, k


def _log_weights(values: Array, r_eff: float | None) -> tuple[Array, PerRow]:
    """Log weights of draws that sum to one (obs, draw), and Pareto k, for log densities (obs, draw)."""
    n, n_draws = values.shape
    if r_eff is None or n_draws == 1:
        return np.full(values.shape, -log(n_draws)), np.zeros(n)
    if n_draws < _RATIO_DRAWS:
        return log_softmax(-values, axis=1), np.full(n, np.inf)
    try:
        smoothed, k = array_stats.psislw(values, r_eff=r_eff, axis=1)  # of 1 / density
    except ValueError:  # somewhere the largest ratios are all the same
        return log_softmax(-values, axis=1), np.full(n, np.inf)
    return log_softmax(smoothed, axis=1), k


def _standard_deviations(draws: Draws) -> Array:
    """Of each feature in each component, (draw, cluster, feature)."""
    return np.sqrt(draws.variances)
