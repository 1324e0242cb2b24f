"""Predictive CDF of each feature and of the density at each row, leave-one-out by importance sampling."""

from dataclasses import dataclass
from math import ceil, log

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import log_softmax, logsumexp
from scipy.stats import chi2

from bayesgmm._common import Array, IntArray, PerRow, Progress, Rows
from bayesgmm.data import Data
from bayesgmm.mixture import Draws
from bayesgmm.model_checks.gaussianity import feature_cdf
from bayesgmm.prediction import log_densities

_SIMULATED = 5_000  # rows, at least four from each draw
_FEWEST_A_DRAW = 4
_SMALLEST = 1e-12  # the smallest tail probability of a component that is simulated
_BLOCK = 500  # rows
_RATIO_DRAWS = 25  # a fifth of them make the tail that is smoothed, and this needs five


@dataclass(frozen=True)
class Reference:
    """Rows simulated from the predictive distribution, more of them in its tails than in its middle.

    Attributes
    ----------
    draw : (row,) array of int
        The draw each comes from.
    weights : (row,)
        What each counts for, at most two.
    log_scale : (row,)
    densities : (draw, row)
        Density of each row under each draw, over exp of ``log_scale``.
    """

    draw: IntArray
    weights: PerRow
    log_scale: PerRow
    densities: Array

    def log_density(self, draw_weights: Array) -> Array:
        """Log predictive density of each row when draws have these weights (case, draw), (case, row)."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.log_scale + np.log(draw_weights @ self.densities))

    def tail(self, log_density: PerRow, draw_weights: Array) -> PerRow:
        """Probability of a lower density than these, each under weights of its own (case, draw), (case,)."""
        counts = self.weights * draw_weights[:, self.draw]
        below = self.log_density(draw_weights) <= log_density[:, None]
        return np.asarray((counts * below).sum(axis=1) / counts.sum(axis=1))

    def threshold(self, probability: float) -> float:
        """The log predictive density below which a new row falls with this probability."""
        values = self.log_density(np.full((1, len(self.densities)), 1.0 / len(self.densities)))[0]
        order = values.argsort()
        below = self.weights[order].cumsum() / self.weights.sum()
        return float(values[order][np.searchsorted(below, probability).clip(0, len(values) - 1)])


def reference(draws: Draws, *, rng: np.random.Generator) -> Reference:
    r"""Rows of the predictive distribution for tail probabilities as small as 1e-12.

    A row of component k is :math:`\mu_k + r L_k e` with a uniform direction e and
    :math:`r^2 = F^{-1}_{\chi^2_d}(1 - v)`. Half of the v are uniform, half log-uniform above 1e-12; a row counts for
    v's uniform density over that of this mixture, which is below two, whatever the dimension.
    """
    each = max(_FEWEST_A_DRAW, ceil(_SIMULATED / len(draws)))
    which = np.repeat(np.arange(len(draws)), each)
    v, weights = _radial(len(which), rng)
    rows = _rows(draws, which, v, rng)
    values = log_densities(draws, Data(rows))
    highest = values.max(axis=0)
    return Reference(which, weights, highest, np.exp(values - highest))


def _radial(n: int, rng: np.random.Generator) -> tuple[PerRow, PerRow]:
    """Probabilities of lying further out, and their importance weights."""
    depth = -log(_SMALLEST)
    v = np.where(rng.random(n) < 0.5, rng.random(n), np.exp(-depth * rng.random(n)))
    density = 0.5 + 0.5 / (v * depth) * (v > _SMALLEST)
    return v, 1.0 / density


def _rows(draws: Draws, which: IntArray, v: PerRow, rng: np.random.Generator) -> Rows:
    d = draws.means.shape[2]
    labels = draws.labels(which, rng=rng)
    direction = rng.standard_normal((len(which), d))
    z = direction * np.sqrt(chi2.isf(v, d) / (direction**2).sum(axis=1))[:, None]
    return np.asfortranarray(draws.rows(which, labels, z))


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
