"""A prior as pseudo-data: what it adds to the expected statistics, for EM and for the gradient alike.

With whitened prior means z0 = L^-1 (m - mu) and the whitened prior scale L^-1 S L^-T, a conjugate prior adds
kappa z0, kappa z0 z0ᵀ and L^-1 S L^-T to the first and second moments, and its exponent to the counts of the
covariance. Means that are independent of the covariances add a pull Lᵀ B^-1 (m - mu) to the first moment only.
After that, with e the total count of a covariance,

    gradient in mu = L^-T first,   gradient in L = tril(L^-T (second - e I)),   M-step Sigma = L second Lᵀ / e.
"""

from typing import NamedTuple

import numpy as np

from bayesgmm.ground.families import CovarianceFamily
from bayesgmm.ground.kernel import FULL, SPHERICAL
from bayesgmm.ground.linalg import compiled
from bayesgmm.ground.resolved_prior import ResolvedPrior
from bayesgmm.words.arrays import Array, Factors, Means, Weights


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
    """

    concentration: Weights
    mean: Means
    kappa: Weights
    mean_precision: Array
    exponent: Weights
    scale: Factors


def pseudo_data(
    prior: ResolvedPrior | None, n_components: int, n_features: int, family: CovarianceFamily
) -> PseudoData:
    """Lay a prior, or its absence, out for compiled code."""
    k, d, g = n_components, n_features, family.n_blocks(n_components)
    nothing = np.empty((0, d, d))
    if prior is None:
        shape = (g, *family.block_shape(d))
        return PseudoData(np.ones(k), np.zeros((k, d)), np.zeros(k), nothing, np.zeros(g), np.zeros(shape))
    precision = nothing if prior.kappa.any() else prior.mean_precision
    return PseudoData(prior.concentration, prior.mean, prior.kappa, precision, prior.covariance_exponent, prior.scale)


@compiled
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


@compiled
def add_outer(residual: int, factor: float, a: Array, b: Array, second: Array) -> None:
    """Add factor * (a bᵀ + b aᵀ) / 2 to one second moment in its family's shape."""
    last = second.shape[1] - 1
    for i in range(a.shape[0]):
        if residual == FULL:
            for j in range(a.shape[0]):
                second[i, j] += 0.5 * factor * (a[i] * b[j] + b[i] * a[j])
        else:
            second[0, min(i, last)] += factor * a[i] * b[i]


@compiled
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
def covariance_counts(residual: int, counts: Weights, prior: PseudoData, n_features: int) -> Weights:
    """The total count e of each covariance block: rows, prior means and prior exponent."""
    n_blocks = prior.exponent.shape[0]
    totals = prior.exponent.copy()
    width = n_features if residual == SPHERICAL else 1
    for k in range(counts.shape[0]):
        conjugate = 1.0 if prior.kappa[k] > 0.0 else 0.0
        totals[min(k, n_blocks - 1)] += width * (counts[k] + conjugate)
    return totals
