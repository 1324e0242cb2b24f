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
from bayesgmm._compiled import (
    OUT_1,
    OUT_2,
    OUT_3,
    Signature,
    allocation_free,
    cholesky_lower,
    compiled,
    invert_lower,
    linked,
    record_type,
)
from bayesgmm.mixture import FULL, SPHERICAL, CovarianceFamily
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
        prior.scale if prior.separation is None else np.zeros_like(prior.scale),
        prior.scale_precision,
        prior.scale_count,
        prior.variance_terms,
    )
    return PseudoData(*(np.require(array, requirements=["C", "W"]) for array in given))


@allocation_free
def to_factor(residual: int, factors: Factors, g: int, vector: Array, product: Array, transposed: bool) -> None:
    """Write L x (or Lᵀ x) into ``product`` for one block of factors."""
    n_features = vector.shape[0]
    last = factors.shape[2] - 1
    for i in range(n_features):
        if residual != FULL:
            product[i] = factors[g, 0, min(i, last)] * vector[i]
        elif transposed:
            total = 0.0
            for j in range(i, n_features):
                total += factors[g, j, i] * vector[j]
            product[i] = total
        else:
            total = 0.0
            for j in range(i + 1):
                total += factors[g, i, j] * vector[j]
            product[i] = total


@allocation_free
def add_outer(residual: int, factor: float, a: Array, b: Array, second: Array) -> None:
    """Add factor * (a bᵀ + b aᵀ) / 2 to one second moment in its family's shape."""
    last = second.shape[1] - 1
    for i in range(a.shape[0]):
        if residual == FULL:
            for j in range(a.shape[0]):
                second[i, j] += 0.5 * factor * (a[i] * b[j] + b[i] * a[j])
        else:
            second[0, min(i, last)] += factor * a[i] * b[i]


@linked(types.void(types.int64, OUT_3, types.int64, OUT_3, OUT_2))
def add_scale(residual: int, prec: Factors, g: int, scale: Factors, second: Array) -> None:
    """Add the whitened prior scale L^-1 S L^-T to one second moment."""
    n = scale.shape[2]
    if residual != FULL:
        for j in range(n):
            second[0, j] += scale[g, 0, j] * prec[g, 0, j] ** 2
        return
    half = np.empty(n)  # row i of L^-1 S, as far as it is needed
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for h in range(i + 1):
                total += prec[g, i, h] * scale[g, h, j]
            half[j] = total
        for j in range(i + 1):
            total = 0.0
            for h in range(j + 1):
                total += half[h] * prec[g, j, h]
            second[i, j] += total
            if i != j:
                second[j, i] += total


@compiled
def _write_mean_scale(residual: int, prec: Factors, prior: PseudoData, mean_scale: Factors) -> float:
    """Write E[S | covariances] of a scale with a prior into each block; returns log |V^-1 + sum of precisions|."""
    n_rows, n = mean_scale.shape[1], mean_scale.shape[2]
    inner, log_det = prior.scale_precision[0].copy(), 0.0
    for g in range(prec.shape[0]):
        for i in range(n_rows):
            for j in range(n):
                for h in range(max(i, j) if residual == FULL else 0, n_rows):
                    inner[i, j] += prec[g, h, i if residual == FULL else j] * prec[g, h, j]
    if residual != FULL:
        for j in range(n):
            log_det += math.log(inner[0, j])
            for g in range(mean_scale.shape[0]):
                mean_scale[g, 0, j] = prior.scale_count[0] / inner[0, j]
        return log_det
    lower, inverse = np.empty((n, n)), np.empty((n, n))
    if not cholesky_lower(inner, lower):
        mean_scale.fill(np.nan)
        return np.nan
    invert_lower(lower, inverse)
    for i in range(n):
        log_det += 2.0 * math.log(lower[i, i])
        for j in range(i + 1):
            total = 0.0
            for h in range(i, n):
                total += inverse[h, i] * inverse[h, j]
            for g in range(mean_scale.shape[0]):
                mean_scale[g, i, j] = mean_scale[g, j, i] = prior.scale_count[0] * total
    return log_det


@linked(types.float64(types.int64, OUT_3, PSEUDO_DATA, OUT_3))
def add_mean_scale(residual: int, prec: Factors, prior: PseudoData, second: Factors) -> float:
    """Add the whitened E[S | covariances] of a scale with a prior to each block's second moment.

    Returns log |V^-1 + sum of precisions|.
    """
    mean_scale = np.empty(prec.shape)
    log_det = _write_mean_scale(residual, prec, prior, mean_scale)
    for g in range(prec.shape[0]):
        add_scale(residual, prec, g, mean_scale, second[g])
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
def covariance_counts(residual: int, counts: Weights, prior: PseudoData, n_features: int, totals: Weights) -> None:
    """Write the total count e of each covariance block: rows, prior means and prior exponent."""
    n_blocks = prior.exponent.shape[0]
    for g in range(n_blocks):
        totals[g] = prior.exponent[g]
    width = n_features if residual == SPHERICAL else 1
    for k in range(counts.shape[0]):
        conjugate = 1.0 if prior.kappa[k] > 0.0 else 0.0
        totals[min(k, n_blocks - 1)] += width * (counts[k] + conjugate)
