"""The M-step of every Gaussian family, with or without a prior, from one set of whitened sums.

In the coordinates whitened by the current factor L the new mean is mu + L s and the new covariance is
L M Lᵀ, so the new factor is L chol(M): nothing is unwhitened. Means independent of the covariances make it
an ECM step (mean given the old covariance, then covariance given the new mean); the objective still rises.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from bayesgmm._common import Array, Factors, Means, Weights
from bayesgmm._compiled import (
    IN_1,
    OUT_1,
    OUT_2,
    OUT_3,
    allocation_free,
    cholesky_lower,
    compiled,
    invert_lower,
    linked,
    multiply_lower,
    record_type,
    solve_cholesky,
)
from bayesgmm.mixture import FULL, LOG_2PI, SPHERICAL, SUMS, Mixture, Statistics, Sums
from bayesgmm.priors import (
    PSEUDO_DATA,
    PseudoData,
    add_mean_scale,
    add_outer,
    add_scale,
    covariance_counts,
    to_factor,
)


class MixtureArrays(NamedTuple):
    """A mixture as compiled code reads and writes it.

    Attributes
    ----------
    weights : (cluster,)
    means : (cluster, feature)
    factors, precision_factors, blocks : (block, rows, columns)
        Factors of covariances, their inverses and their squares.
    log_scale : (cluster,)
        log w_k + log |L_k^-1| - D/2 log 2 pi.
    """

    weights: Weights
    means: Means
    factors: Factors
    precision_factors: Factors
    blocks: Factors
    log_scale: Weights

    @classmethod
    def of(cls, mixture: Mixture) -> "MixtureArrays":
        """The arrays of a mixture; its blocks stand for others, because nothing reads them."""
        factors = mixture.factors, mixture.precision_factors, mixture.factors
        return cls(mixture.weights, mixture.means, *factors, mixture.log_scale)

    @classmethod
    def empty(cls, mixture: Mixture) -> "MixtureArrays":
        """Room for the parameters of a mixture of the same family and shape."""
        weights, log_scale = np.empty((2, *mixture.weights.shape))
        factors, precision, blocks = np.empty((3, *mixture.factors.shape))
        return cls(weights, np.empty(mixture.means.shape), factors, precision, blocks, log_scale)


MIXTURE = record_type(MixtureArrays, OUT_1, OUT_2, OUT_3, OUT_3, OUT_3, OUT_1)

_EMPTY = 1e-200  # the weight an empty component keeps, so that its logarithm stays finite
_NEGLIGIBLE = 1e-12  # a count below this carries no information on a mean or covariance


def m_step(statistics: Statistics, mixture: Mixture, prior: PseudoData, *, floor: float | Array) -> tuple[Mixture, int]:
    """The next mixture, and how many covariances were lifted to the floor.

    Weights are N_k + a_k - 1 normalised (mode on the simplex) if every concentration a_k >= 1, otherwise
    N_k + a_k (mode in softmax coordinates, where it exists). Covariances keep Sigma - diag(floor) positive
    semidefinite, a smallest variance (feature,) or one for all, by the exact constrained maximiser: the objective
    stays monotone.
    """
    new = MixtureArrays.empty(mixture)
    now = MixtureArrays(*(np.require(array, requirements=["C", "W"]) for array in MixtureArrays.of(mixture)))
    sums = Sums(statistics.counts, statistics.first, statistics.second)
    floors = np.full(mixture.n_features, floor, dtype=np.float64)
    n_floored = compiled_m_step(mixture.family.residual, floors, sums, now, prior, new)
    return assembled(mixture, new), n_floored


def assembled(before: Mixture, arrays: MixtureArrays) -> Mixture:
    """A mixture of the same family and shape as the one before."""
    weights, means, factors, precision, blocks, log_scale = arrays
    family = before.family
    if family.in_scikit_learn:
        covariances = blocks.reshape(before.covariances.shape)
    else:
        covariances = family.expand(factors, *means.shape)
    return Mixture.from_checked(family, weights, means, covariances, factors, precision, log_scale)


@allocation_free
def _update_weights(counts: Weights, concentration: Weights, weights: Weights) -> None:
    n_components = counts.shape[0]
    shift, total = 1.0, 0.0
    for k in range(n_components):
        if concentration[k] < 1.0:
            shift = 0.0
    for k in range(n_components):
        weights[k] = max(counts[k] + concentration[k] - shift, 0.0)
        total += weights[k]
    for k in range(n_components):
        weights[k] = max(weights[k] / total, _EMPTY)


@allocation_free
def _update_mean(residual, k, sums, now, prior, new_means, scatter, work):  # type: ignore[no-untyped-def]
    """Move one mean by L s and add its second moment about the new mean to the scatter of its block."""
    n_features, g = now.means.shape[1], min(k, now.factors.shape[0] - 1)
    count = sums.counts[k] + prior.kappa[k]
    moment, offset, whitened, shift = work[0], work[1], work[2], work[3]
    for d in range(n_features):
        moment[d] = sums.first[k, d]
        offset[d] = prior.mean[k, d] - now.means[k, d]
    if prior.kappa[k] > 0.0:
        to_factor(residual, now.precision_factors, g, offset, whitened, False)
        for d in range(n_features):
            moment[d] += prior.kappa[k] * whitened[d]
        add_outer(residual, prior.kappa[k], whitened, whitened, scatter)
    for d in range(n_features):
        shift[d] = moment[d] / max(count, _NEGLIGIBLE)
    if prior.mean_precision.shape[0] > 0:
        _pulled_shift(residual, g, now.factors, prior.mean_precision[k], offset, sums.counts[k], moment, shift)
    to_factor(residual, now.factors, g, shift, whitened, False)
    for d in range(n_features):
        new_means[k, d] = now.means[k, d] + whitened[d]
    for i in range(scatter.shape[0]):
        for j in range(scatter.shape[1]):
            scatter[i, j] += sums.second[k, i, j]
    add_outer(residual, -2.0, moment, shift, scatter)
    add_outer(residual, count, shift, shift, scatter)


@linked(types.void(types.int64, types.int64, OUT_3, OUT_2, OUT_1, types.float64, OUT_1, OUT_1))
def _pulled_shift(residual, g, factors, mean_precision, offset, count, moment, shift):  # type: ignore[no-untyped-def]
    """Solve (N I + Lᵀ B^-1 L) s = first + Lᵀ B^-1 (m - mu), means independent of covariances."""
    n_features = offset.shape[0]
    system = np.empty((n_features, n_features))
    column, product = np.zeros(n_features), np.empty(n_features)
    for j in range(n_features):
        for d in range(n_features):
            column[d] = 1.0 if d == j else 0.0
        to_factor(residual, factors, g, column, product, False)
        to_factor(residual, factors, g, _symmetric_times(mean_precision, product), column, True)
        for d in range(n_features):
            system[d, j] = column[d]
        system[j, j] += count
    to_factor(residual, factors, g, _symmetric_times(mean_precision, offset), product, True)
    for d in range(n_features):
        shift[d] = moment[d] + product[d]
    lower = np.empty((n_features, n_features))
    if cholesky_lower(system, lower):
        solve_cholesky(lower, shift)
    else:
        for d in range(n_features):
            shift[d] = 0.0


@compiled
def _symmetric_times(matrix: Array, vector: Array) -> Array:
    product = np.zeros(vector.shape[0])
    for i in range(vector.shape[0]):
        for j in range(vector.shape[0]):
            product[i] += matrix[i, j] * vector[j]
    return product


@allocation_free
def _update_block(residual, floors, moment, factor, new_factor, new_prec, change):  # type: ignore[no-untyped-def]
    """New factor L chol(M) of one block, lifted to the floor; returns 1 if it was lifted."""
    if residual != FULL:
        lifted = 0
        for j in range(moment.shape[1]):
            variance = factor[0, j] ** 2 * moment[0, j]
            if not variance >= floors[j]:
                variance = floors[j]
                lifted = 1
            new_factor[0, j] = math.sqrt(variance)
            new_prec[0, j] = 1.0 / new_factor[0, j]
        return lifted
    n = factor.shape[0]
    if cholesky_lower(moment, change):
        multiply_lower(factor, change, new_factor)
        invert_lower(new_factor, new_prec)
        squares = 0.0
        for i in range(n):
            for j in range(i + 1):
                squares += floors[j] * new_prec[i, j] ** 2
        if squares <= 1.0:  # the trace bounds the largest eigenvalue of the precision in units of the floor
            return 0
    return _lift(factor, moment, floors, new_factor, new_prec)


@allocation_free
def _add_scales(residual, prec, prior, scatter):  # type: ignore[no-untyped-def]
    """Add the whitened scales, or their mean given the present covariances: EM with the scale as a missing value."""
    if prior.scale_count.shape[0] > 0:
        add_mean_scale(residual, prec, prior, scatter)
    else:
        for g in range(prec.shape[0]):
            add_scale(residual, prec, g, prior.scale, scatter[g])


@linked(types.void(OUT_2, OUT_2, types.float64, OUT_2))
def _separate(factor, terms, count, scatter):  # type: ignore[no-untyped-def]
    """Replace a scatter by the next covariance under a prior on variances and correlations, whitened both.

    To be maximised is -(e log|W| + tr(W^-1 M)) / 2 - sum_j c_j log v_j + b_j / v_j, with v the variances of L W Lᵀ. The
    last terms lie above others that touch them at W = 1: by Cauchy and Schwarz -b/v >= -b uᵀ W^-1 u with
    u = Lᵀe_j / v_j, and -log v is convex. What is then left is W P W + e W = M, P = 2 Lᵀ diag(c / v) L, which the
    eigenvalues of Fᵀ M F solve, P = F Fᵀ. Whatever e is, also below zero, the objective rises.
    """
    n = factor.shape[0]
    root, inverse = np.zeros((n, n)), np.empty((n, n))  # Fᵀ = diag(sqrt(2 c / v)) L
    for j in range(n):
        variance = 0.0
        for i in range(j + 1):
            variance += factor[j, i] ** 2
        pull, weight = 2.0 * terms[1, j] / variance**2, math.sqrt(2.0 * terms[0, j] / variance)
        for i in range(j + 1):
            root[j, i] = factor[j, i] * weight
            for h in range(j + 1):
                scatter[i, h] += pull * factor[j, i] * factor[j, h]
    values, vectors = np.linalg.eigh(_sandwich(root, scatter))
    middle = np.zeros((n, n))
    for i in range(n):
        value = max(values[i], 0.0)
        size = 0.5 * abs(count) + math.sqrt(0.25 * count**2 + value)
        middle[i, i] = value / size if count > 0.0 else size
    invert_lower(root, inverse)
    next_covariance = _sandwich(inverse, _sandwich(vectors, middle))
    for i in range(n):
        for j in range(n):
            scatter[i, j] = next_covariance[i, j]


@linked(types.int64(OUT_2, OUT_2, IN_1, OUT_2, OUT_2))
def _lift(factor, moment, floors, new_factor, new_prec):  # type: ignore[no-untyped-def]
    """Clip the eigenvalues of a covariance L M Lᵀ from below, in units of the floor; returns 1 if any was below.

    Without a floor, in units of its own variances, and by rounding errors only.
    """
    covariance, n = _sandwich(factor, moment), factor.shape[0]
    sizes, scaled, smallest = np.empty(n), np.empty((n, n)), 0.0
    for i in range(n):
        smallest = max(smallest, 1e-15 * covariance[i, i])
    for i in range(n):
        size = floors[i] if floors[i] > 0.0 else max(covariance[i, i], smallest)
        sizes[i] = math.sqrt(size) if size > 0.0 else 1.0  # nothing varies: the factor is zero, and the run ends
    for i in range(n):
        for j in range(n):
            scaled[i, j] = covariance[i, j] / sizes[i] / sizes[j]
    values, vectors = np.linalg.eigh(scaled)  # ascending
    least = 1.0 if floors[0] > 0.0 else 0.0
    for j in range(n):
        root = math.sqrt(max(values[j], least, 1e-15 * values[n - 1]))
        for i in range(n):
            vectors[i, j] *= sizes[i] * root
    _factor_of_product(vectors, new_factor)
    invert_lower(new_factor, new_prec)
    return 1 if values[0] < least else 0


@allocation_free
def _factor_of_product(a, lower):  # type: ignore[no-untyped-def]
    """The lower factor of a aᵀ, rows of ``a`` made orthogonal one after the other.

    The Cholesky factor of the product would lose the small eigenvalues: they are the squares of what is kept here.
    """
    n = a.shape[0]
    for i in range(n):
        for j in range(i):
            lower[i, j] = 0.0
            for h in range(n):
                lower[i, j] += a[i, h] * a[j, h]
            for h in range(n):
                a[i, h] -= lower[i, j] * a[j, h]
        length = 0.0
        for h in range(n):
            length += a[i, h] ** 2
        lower[i, i] = math.sqrt(length)
        for h in range(n):
            a[i, h] /= lower[i, i]
        for j in range(i + 1, n):
            lower[i, j] = 0.0


@compiled
def _sandwich(a, middle):  # type: ignore[no-untyped-def]
    """The symmetric product a m aᵀ; loops, because matrix products take seconds to compile."""
    n = middle.shape[0]
    half, product = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            for h in range(n):
                half[i, j] += a[i, h] * middle[h, j]
    for i in range(n):
        for j in range(i + 1):
            for h in range(n):
                product[i, j] += half[i, h] * a[j, h]
            product[j, i] = product[i, j]
    return product


@allocation_free
def square_block(residual: int, factor: Array, block: Array) -> None:
    """Write the covariance L Lᵀ of one factor (or squares of standard deviations) into ``block``."""
    n_rows, n_columns = factor.shape
    for i in range(n_rows):
        for j in range(n_columns):
            if residual != FULL:
                block[i, j] = factor[i, j] ** 2
            else:
                total = 0.0
                for h in range(min(i, j) + 1):
                    total += factor[i, h] * factor[j, h]
                block[i, j] = total


@allocation_free
def log_determinant(residual: int, factor: Array, n_features: int) -> float:
    """log of the determinant of one block's factor, a D x D matrix whatever its shape."""
    total = 0.0
    for j in range(factor.shape[1]):
        total += math.log(factor[j if residual == FULL else 0, j])
    return total * n_features if residual == SPHERICAL else total


@linked(types.int64(types.int64, IN_1, SUMS, MIXTURE, PSEUDO_DATA, MIXTURE))
def compiled_m_step(residual, floors, sums, now, prior, new):  # type: ignore[no-untyped-def]
    """`m_step` on arrays: it writes the new mixture and returns how many covariances were lifted."""
    scatter, totals = np.zeros(now.factors.shape), np.empty(now.factors.shape[0])
    work = np.empty((4 + now.factors.shape[1], now.means.shape[1]))
    return _m_step(residual, floors, sums, now, prior, new, (scatter, totals), work)


@allocation_free
def _m_step(residual, floors, sums, now, prior, new, moments, work):  # type: ignore[no-untyped-def]
    scatter, totals = moments
    n_components, n_features = now.means.shape
    n_blocks = now.factors.shape[0]
    for k in range(n_components):
        _update_mean(residual, k, sums, now, prior, new.means, scatter[min(k, n_blocks - 1)], work)
    covariance_counts(residual, sums.counts, prior, n_features, totals)
    _add_scales(residual, now.precision_factors, prior, scatter)
    n_floored = 0
    for g in range(n_blocks):
        if prior.variance_terms.shape[0] > 0:
            _separate(now.factors[g], prior.variance_terms[0], totals[g], scatter[g])
            totals[g] = 1.0
        n_floored += _next_block(residual, floors, totals[g], scatter[g], now, new, g, work[4:])
        square_block(residual, new.factors[g], new.blocks[g])
    _update_weights(sums.counts, prior.concentration, new.weights)
    for k in range(n_components):
        log_det = log_determinant(residual, new.precision_factors[min(k, n_blocks - 1)], n_features)
        new.log_scale[k] = math.log(new.weights[k]) + log_det - 0.5 * n_features * LOG_2PI
    return n_floored


@allocation_free
def _next_block(residual, floors, total, scatter, now, new, g, work):  # type: ignore[no-untyped-def]
    """The next factor of one block, the present one where nothing was counted; returns 1 if it was lifted."""
    if total > _NEGLIGIBLE:
        for i in range(scatter.shape[0]):
            for j in range(scatter.shape[1]):
                scatter[i, j] /= total
        return _update_block(residual, floors, scatter, now.factors[g], new.factors[g], new.precision_factors[g], work)
    for i in range(scatter.shape[0]):
        for j in range(scatter.shape[1]):
            new.factors[g, i, j] = now.factors[g, i, j]
            new.precision_factors[g, i, j] = now.precision_factors[g, i, j]
    return 0
