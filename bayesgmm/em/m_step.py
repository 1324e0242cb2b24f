"""The M-step of every Gaussian family, with or without a prior, from one set of whitened sums.

In the coordinates whitened by the current factor L the new mean is mu + L s and the new covariance is
L M Lᵀ, so the new factor is L chol(M): nothing is unwhitened. Means independent of the covariances make it
an ECM step (mean given the old covariance, then covariance given the new mean); the objective still rises.
"""

import math

import numpy as np
from numba import njit, types

from bayesgmm._common import Array, Factors, Means, Weights
from bayesgmm._compiled import cholesky_lower, compiled, invert_lower, multiply_lower, solve_cholesky
from bayesgmm.mixture import FULL, LOG_2PI, SPHERICAL, Mixture, Statistics
from bayesgmm.priors import PseudoData, add_outer, add_scale, covariance_counts, to_factor, write_mean_scale

type Parts = tuple[Weights, Means, Factors, Factors, Factors, Weights]
"""Weights, means, factors, inverse factors, covariance blocks and log scales, as the compiled step writes them."""

_EMPTY = 1e-200  # the weight an empty component keeps, so that its logarithm stays finite
_NEGLIGIBLE = 1e-12  # a count below this carries no information on a mean or covariance


def m_step(statistics: Statistics, mixture: Mixture, prior: PseudoData, *, floor: float | Array) -> tuple[Mixture, int]:
    """The next mixture, and how many covariances were lifted to the floor.

    Weights are N_k + a_k - 1 normalised (mode on the simplex) if every concentration a_k >= 1, otherwise
    N_k + a_k (mode in softmax coordinates, where it exists). Covariances keep Sigma - diag(floor) positive
    semidefinite, a smallest variance (feature,) or one for all, by the exact constrained maximiser: the objective
    stays monotone.
    """
    parts = empty_parts(mixture)
    n_floored = compiled_m_step(
        mixture.family.residual,
        np.full(mixture.n_features, floor, dtype=np.float64),
        statistics.counts,
        statistics.first,
        statistics.second,
        mixture.means,
        mixture.factors,
        mixture.precision_factors,
        *prior,
        *parts,
    )
    return assembled(mixture, parts), n_floored


def empty_parts(mixture: Mixture) -> Parts:
    """Room for the parameters of the next mixture."""
    weights, log_scale = np.empty((2, *mixture.weights.shape))
    factors, precision, blocks = np.empty((3, *mixture.factors.shape))
    return weights, np.empty(mixture.means.shape), factors, precision, blocks, log_scale


def assembled(before: Mixture, parts: Parts) -> Mixture:
    """A mixture of the same family and shape as the one before."""
    weights, means, factors, precision, blocks, log_scale = parts
    family = before.family
    if family.in_scikit_learn:
        covariances = blocks.reshape(before.covariances.shape)
    else:
        covariances = family.expand(factors, *means.shape)
    return Mixture.from_checked(family, weights, means, covariances, factors, precision, log_scale)


@compiled
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


@compiled
def _update_mean(residual, k, g, counts, first, second, mu, factors, prec, prior, new_mu, scatter):  # type: ignore[no-untyped-def]
    """Move one mean by L s and add its second moment about the new mean to the scatter of its block."""
    n_features = mu.shape[1]
    count = counts[k] + prior.kappa[k]
    moment, offset, whitened = np.empty(n_features), np.empty(n_features), np.empty(n_features)
    for d in range(n_features):
        moment[d] = first[k, d]
        offset[d] = prior.mean[k, d] - mu[k, d]
    if prior.kappa[k] > 0.0:
        _times_inverse(residual, prec, g, offset, whitened)
        for d in range(n_features):
            moment[d] += prior.kappa[k] * whitened[d]
        add_outer(residual, prior.kappa[k], whitened, whitened, scatter)
    shift = np.empty(n_features)
    for d in range(n_features):
        shift[d] = moment[d] / max(count, _NEGLIGIBLE)
    if prior.mean_precision.shape[0] > 0:
        _pulled_shift(residual, g, factors, prior.mean_precision[k], offset, counts[k], moment, shift)
    to_factor(residual, factors, g, shift, whitened, False)
    for d in range(n_features):
        new_mu[k, d] = mu[k, d] + whitened[d]
    for i in range(scatter.shape[0]):
        for j in range(scatter.shape[1]):
            scatter[i, j] += second[k, i, j]
    add_outer(residual, -2.0, moment, shift, scatter)
    add_outer(residual, count, shift, shift, scatter)


@compiled
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


@compiled
def _times_inverse(residual, prec, g, vector, product):  # type: ignore[no-untyped-def]
    to_factor(residual, prec, g, vector, product, False)


@compiled
def _update_block(residual, floors, moment, factor, new_factor, new_prec):  # type: ignore[no-untyped-def]
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
    change = np.empty((n, n))
    if cholesky_lower(moment, change):
        multiply_lower(factor, change, new_factor)
        invert_lower(new_factor, new_prec)
        squares = 0.0
        for i in range(n):
            for j in range(i + 1):
                squares += floors[j] * new_prec[i, j] ** 2
        if squares <= 1.0:  # the trace bounds the largest eigenvalue of the precision in units of the floor
            return 0
    return _lift(_sandwich(factor, moment), floors, new_factor, new_prec)


@compiled
def _add_scales(residual, prec, prior, scatter):  # type: ignore[no-untyped-def]
    """Add the whitened scales, or their mean given the present covariances: EM with the scale as a missing value."""
    if prior.scale_count.shape[0] > 0:
        mean_scale = np.empty(prec.shape)
        write_mean_scale(residual, prec, prior, mean_scale)
        for g in range(prec.shape[0]):
            add_scale(residual, prec, g, mean_scale, scatter[g])
    else:
        for g in range(prec.shape[0]):
            add_scale(residual, prec, g, prior.scale, scatter[g])


@compiled
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
    scatter[:, :] = _sandwich(inverse, _sandwich(vectors, middle))


@compiled
def _lift(covariance, floors, new_factor, new_prec):  # type: ignore[no-untyped-def]
    """Clip the eigenvalues of a covariance from below, in units of the floor; returns 1 if any was below.

    Without a floor, in units of its own variances, and by rounding errors only.
    """
    n = covariance.shape[0]
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


@compiled
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
        lower[i, i + 1 :] = 0.0


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


@compiled
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


@compiled
def log_determinant(residual: int, factor: Array, n_features: int) -> float:
    """log of the determinant of one block's factor, a D x D matrix whatever its shape."""
    total = 0.0
    for j in range(factor.shape[1]):
        total += math.log(factor[j if residual == FULL else 0, j])
    return total * n_features if residual == SPHERICAL else total


# Signatures are declared, so that read-only input can never trigger another compilation.
IN_1, IN_2, IN_3 = (types.Array(types.float64, n_axes, "C", readonly=True) for n_axes in (1, 2, 3))
OUT_1, OUT_2, OUT_3 = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
SUMS_AND_MIXTURE = (IN_1, IN_2, IN_3, IN_2, IN_3, IN_3)
PRIOR = (IN_1, IN_2, IN_1, IN_3, IN_1, IN_3, IN_3, IN_1, IN_3)
PARTS = (OUT_1, OUT_2, OUT_3, OUT_3, OUT_3, OUT_1)


@njit(
    types.int64(types.int64, IN_1, *SUMS_AND_MIXTURE, *PRIOR, *PARTS),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def compiled_m_step(  # type: ignore[no-untyped-def]
    residual: int,
    floors: Array,
    counts: Weights,
    first: Means,
    second: Array,
    mu: Means,
    factors: Factors,
    prec: Factors,
    concentration: Weights,
    prior_mean: Means,
    kappa: Weights,
    mean_precision: Array,
    exponent: Weights,
    scale: Factors,
    scale_precision: Factors,
    scale_count: Array,
    variance_terms: Array,
    new_weights: Weights,
    new_mu: Means,
    new_factors: Factors,
    new_prec: Factors,
    new_blocks: Factors,
    log_scale: Weights,
):
    """`m_step` on arrays; it writes into the last six and returns how many covariances were lifted."""
    # A named tuple of arrays costs more to hand over than its arrays do.
    prior = PseudoData(
        concentration, prior_mean, kappa, mean_precision, exponent, scale, scale_precision, scale_count, variance_terms
    )
    n_components, n_features = mu.shape
    n_blocks = factors.shape[0]
    scatter = np.zeros(factors.shape)
    for k in range(n_components):
        g = min(k, n_blocks - 1)
        _update_mean(residual, k, g, counts, first, second, mu, factors, prec, prior, new_mu, scatter[g])
    totals = covariance_counts(residual, counts, prior, n_features)
    _add_scales(residual, prec, prior, scatter)
    n_floored = 0
    for g in range(n_blocks):
        if variance_terms.shape[0] > 0:
            _separate(factors[g], variance_terms[0], totals[g], scatter[g])
            totals[g] = 1.0
        if totals[g] > _NEGLIGIBLE:
            for i in range(scatter.shape[1]):
                for j in range(scatter.shape[2]):
                    scatter[g, i, j] /= totals[g]
            n_floored += _update_block(residual, floors, scatter[g], factors[g], new_factors[g], new_prec[g])
        else:
            for i in range(scatter.shape[1]):
                for j in range(scatter.shape[2]):
                    new_factors[g, i, j] = factors[g, i, j]
                    new_prec[g, i, j] = prec[g, i, j]
        square_block(residual, new_factors[g], new_blocks[g])
    _update_weights(counts, concentration, new_weights)
    for k in range(n_components):
        log_det = log_determinant(residual, new_prec[min(k, n_blocks - 1)], n_features)
        log_scale[k] = math.log(new_weights[k]) + log_det - 0.5 * n_features * LOG_2PI
    return n_floored
