"""A prior as pseudo-data: what it adds to the expected statistics, for EM and for the gradient alike.

With whitened prior means z0 = L^-1 (m - mu) and the whitened prior scale L^-1 S L^-T, a conjugate prior adds
kappa z0, kappa z0 z0ᵀ and L^-1 S L^-T to the first and second moments, and its exponent to the counts of the
covariance. Means that are independent of the covariances add a pull Lᵀ B^-1 (m - mu) to the first moment only.
In the place of a scale that has a prior stands its mean given the covariances (see `bayesgmm.priors.resolved`).
After that, with e the total count of a covariance,

    gradient in mu = L^-T first,   gradient in L = tril(L^-T (second - e I)),   M-step Sigma = L second Lᵀ / e.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from bayesgmm._common import Array, Factors, Means, Weights
from bayesgmm._compiled import OUT_1, OUT_2, OUT_3, Signature, allocation_free, linked, record_type
from bayesgmm.mixture import COVARIANCE, CovarianceFamily, Parametrisation
from bayesgmm.priors.resolved import ResolvedPrior

_OF_MIXTURE = Signature(
    "mixture (k,d), factors (g,r,c), concentration (k), prior means (k,d), kappa (k), exponents (g), scales (g,r,c)"
)


class PseudoData(NamedTuple):
    """A resolved prior as the compiled code reads it; all zeros (concentration one) is no prior at all.

    Attributes
    ----------
    concentration : (cluster,)
    mean : (cluster, feature)
    kappa : (cluster,)
    mean_precision : (cluster, feature, feature), no rows unless the means are independent
    exponent : (block,)
    scale : (block, rows, columns)
    scale_precision : (1, rows, columns), no rows unless the scale has a prior
    scale_count : (1,), or empty
    variance_terms : (1, 2, feature), no rows unless the prior is on variances and correlations
    """

    concentration: Weights
    mean: Means
    kappa: Weights
    mean_precision: Array
    exponent: Weights
    scale: Factors
    scale_precision: Factors
    scale_count: Array
    variance_terms: Array


PSEUDO_DATA = record_type(PseudoData, OUT_1, OUT_2, OUT_1, OUT_3, OUT_1, OUT_3, OUT_3, OUT_1, OUT_3)


def pseudo_data(
    prior: ResolvedPrior | None, n_components: int, n_features: int, family: CovarianceFamily
) -> PseudoData:
    """Lay a prior, or its absence, out for compiled code, which reads as far as the mixture's sizes say."""
    k, d, g = n_components, n_features, family.n_blocks(n_components)
    nothing = np.empty((0, d, d))
    if prior is None:
        shape = family.block_shape(d)
        return PseudoData(
            np.ones(k),
            np.zeros((k, d)),
            np.zeros(k),
            nothing,
            np.zeros(g),
            np.zeros((g, *shape)),
            np.empty((0, *shape)),
            np.empty(0),
            np.empty((0, 2, d)),
        )
    arrays = (prior.concentration, prior.mean, prior.kappa, prior.covariance_exponent, prior.scale)
    _OF_MIXTURE.check((k, d), (g, *family.block_shape(d)), *(array.shape for array in arrays))
    given = (
        prior.concentration,
        prior.mean,
        prior.kappa,
        nothing if prior.kappa.any() else prior.mean_precision,
        prior.covariance_exponent,
        prior.share * prior.scale if prior.separation is None else np.zeros_like(prior.scale),
        prior.scale_precision,
        prior.scale_count,
        prior.variance_terms,
    )
    return PseudoData(*(np.require(array, requirements=["C", "W"]) for array in given))


@linked(types.float64(COVARIANCE, OUT_3, PSEUDO_DATA, OUT_3))
def add_mean_scale(covariance: Parametrisation, prec: Factors, prior: PseudoData, second: Factors) -> float:
    """Add the whitened E[S | covariances] of a scale with a prior to each block's second moment.

    Returns log |V^-1 + sum of precisions|.
    """
    mean_scale = np.empty(prec.shape[1:])
    log_det = covariance.write_mean_scale(prec, prior.scale_precision[0], prior.scale_count[0], mean_scale)
    for g in range(prec.shape[0]):
        covariance.add_scale(prec[g], mean_scale, second[g])
    return log_det


@allocation_free
def add_variance_terms(factor: Array, terms: Array, second: Array) -> float:
    """Add a separation prior's variances to a second moment, 2 Lᵀ diag(g) L with g = d log p / d v.

    Returns their log density less constants, - sum_j c_j log v_j + b_j / v_j.
    """
    n, value = factor.shape[0], 0.0
    for j in range(n):
        variance = 0.0
        for i in range(j + 1):
            variance += factor[j, i] ** 2
        power, pull = terms[0, j], terms[1, j] / variance
        value -= power * math.log(variance) + pull
        slope = 2.0 * (pull - power) / variance
        for i in range(j + 1):
            for h in range(j + 1):
                second[i, h] += slope * factor[j, i] * factor[j, h]
    return value


@allocation_free
def covariance_counts(
    covariance: Parametrisation, counts: Weights, prior: PseudoData, n_features: int, totals: Weights
) -> None:
    """Write the total count e of each covariance block: rows, prior means and prior exponent."""
    n_blocks = prior.exponent.shape[0]
    for g in range(n_blocks):
        totals[g] = prior.exponent[g]
    for k in range(counts.shape[0]):
        conjugate = 1.0 if prior.kappa[k] > 0.0 else 0.0
        totals[min(k, n_blocks - 1)] += covariance.n_alike(n_features) * (counts[k] + conjugate)


@allocation_free
def adds_to_moments(prior: PseudoData) -> bool:
    """Whether it is a prior on means or covariances."""
    adds = prior.mean_precision.shape[0] > 0 or prior.scale_count.shape[0] > 0 or prior.variance_terms.shape[0] > 0
    for g in range(prior.exponent.shape[0]):
        adds = adds or prior.exponent[g] != 0.0 or prior.scale[g, 0, 0] != 0.0
    for k in range(prior.kappa.shape[0]):
        adds = adds or prior.kappa[k] > 0.0
    return adds
