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
    record_type,
    solve_cholesky,
)
from bayesgmm.mixture import (
    COMPONENT,
    COVARIANCE,
    SUMS,
    Component,
    CovarianceFamily,
    Mixture,
    Statistics,
    Sums,
    component_of,
    sandwich,
)
from bayesgmm.priors import PSEUDO_DATA, PseudoData, add_mean_scale, adds_to_moments, covariance_counts


class MixtureArrays(NamedTuple):
    """A mixture as compiled code reads and writes it.

    Attributes
    ----------
    weights : (cluster,)
    means : (cluster, feature)
    factors, precision_factors, blocks : (block, rows, columns)
        Factors of covariances, their inverses and their squares.
    log_scale : (cluster,), or more
        log w_k + log |L_k^-1| + log normalizer of the component, and behind it what else components read.
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
        weights, log_scale = np.empty(mixture.weights.shape), np.empty(mixture.log_scale.shape)
        factors, precision, blocks = np.empty((3, *mixture.factors.shape))
        return cls(weights, np.empty(mixture.means.shape), factors, precision, blocks, log_scale)


MIXTURE = record_type(MixtureArrays, OUT_1, OUT_2, OUT_3, OUT_3, OUT_3, OUT_1)

_GAUSSIAN = component_of("gaussian")
_NEGLIGIBLE = 1e-12  # a count below this carries no information on a mean
_EMPTY = 1e-200  # the weight an empty component keeps, so that its logarithm stays finite


def m_step(statistics: Statistics, mixture: Mixture, prior: PseudoData, *, floor: float | Array) -> tuple[Mixture, int]:
    """The next mixture, and how many covariances were lifted to the floor.

    Weights are N_k + a_k - 1 normalised (mode on the simplex) if every concentration a_k >= 1, otherwise
    N_k + a_k (mode in softmax coordinates, where it exists). Covariances keep Sigma - diag(floor) positive
    semidefinite, a smallest variance (feature,) or one for all, by the exact constrained maximiser: the objective
    stays monotone.
    """
    new = MixtureArrays.empty(mixture)
    now = MixtureArrays(*(np.require(array, requirements=["C", "W"]) for array in MixtureArrays.of(mixture)))
    sums = Sums(statistics.counts, statistics.first, statistics.second, statistics.others)
    floors = np.full(mixture.n_features, floor, dtype=np.float64)
    n_floored = compiled_m_step(*mixture.kernel, floors, sums, now, prior, new)
    return assembled(mixture, new), n_floored


def assembled(before: Mixture, arrays: MixtureArrays) -> Mixture:
    """A mixture of the same family and shape as the one before."""
    weights, means, factors, precision, blocks, log_scale = arrays
    family = before.family
    if family.in_scikit_learn:
        covariances = blocks.reshape(before.covariances.shape)
    else:
        covariances = family.expand(factors, *means.shape)
    return Mixture.from_checked(family, weights, means, covariances, factors, precision, log_scale, before.component)


def with_scale(
    family: CovarianceFamily,
    weights: Weights,
    means: Means,
    factors: Factors,
    precision_factors: Factors,
    *,
    component: Component = _GAUSSIAN,
    others: Array | None = None,
) -> Mixture:
    """A mixture from factors and their inverses, without checks; ``others`` stand behind its log scales."""
    log_det = family.log_precision_determinants(precision_factors, means.shape[1])
    others = component.start(len(weights)) if others is None else others
    log_scale = component.packed(np.log(weights) + log_det, others, means.shape[1])
    covariances = family.covariances(factors, *means.shape)
    return Mixture.from_checked(
        family, weights, np.ascontiguousarray(means), covariances, factors, precision_factors, log_scale, component
    )


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
def _update_mean(covariance, k, weight, sums, now, prior, new_means, scatter, work):  # type: ignore[no-untyped-def]
    """Move one mean by L s and add its second moment about the new mean to the scatter of its block."""
    n_features, g = now.means.shape[1], min(k, now.factors.shape[0] - 1)
    count = weight + prior.kappa[k]
    moment, offset, whitened, shift = work[0], work[1], work[2], work[3]
    for d in range(n_features):
        moment[d] = sums.first[k, d]
        offset[d] = prior.mean[k, d] - now.means[k, d]
    if prior.kappa[k] > 0.0:
        covariance.multiply(now.precision_factors[g], offset, whitened)
        for d in range(n_features):
            moment[d] += prior.kappa[k] * whitened[d]
        covariance.add_outer(prior.kappa[k], whitened, whitened, scatter)
    for d in range(n_features):
        shift[d] = moment[d] / max(count, _NEGLIGIBLE)
    if prior.mean_precision.shape[0] > 0:
        _pulled_shift(covariance, now.factors[g], prior.mean_precision[k], offset, weight, moment, shift)
    covariance.multiply(now.factors[g], shift, whitened)
    for d in range(n_features):
        new_means[k, d] = now.means[k, d] + whitened[d]
    for i in range(scatter.shape[0]):
        for j in range(scatter.shape[1]):
            scatter[i, j] += sums.second[k, i, j]
    covariance.add_outer(-2.0, moment, shift, scatter)
    covariance.add_outer(count, shift, shift, scatter)


@linked(types.void(COVARIANCE, OUT_2, OUT_2, OUT_1, types.float64, OUT_1, OUT_1))
def _pulled_shift(covariance, factor, mean_precision, offset, count, moment, shift):  # type: ignore[no-untyped-def]
    """Solve (N I + Lᵀ B^-1 L) s = first + Lᵀ B^-1 (m - mu), means independent of covariances."""
    n_features = offset.shape[0]
    system = np.empty((n_features, n_features))
    column, product = np.zeros(n_features), np.empty(n_features)
    for j in range(n_features):
        for d in range(n_features):
            column[d] = 1.0 if d == j else 0.0
        covariance.multiply(factor, column, product)
        covariance.multiply_transposed(factor, _symmetric_times(mean_precision, product), column)
        for d in range(n_features):
            system[d, j] = column[d]
        system[j, j] += count
    covariance.multiply_transposed(factor, _symmetric_times(mean_precision, offset), product)
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
def _add_scales(covariance, prec, prior, scatter):  # type: ignore[no-untyped-def]
    """Add the whitened scales, or their mean given the present covariances: EM with the scale as a missing value."""
    if prior.scale_count.shape[0] > 0:
        add_mean_scale(covariance, prec, prior, scatter)
    elif prior.scale[0, 0, 0] > 0.0:  # nothing to add without a prior
        for g in range(prec.shape[0]):
            covariance.add_scale(prec[g], prior.scale[g], scatter[g])


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
    values, vectors = np.linalg.eigh(sandwich(root, scatter))
    middle = np.zeros((n, n))
    for i in range(n):
        value = max(values[i], 0.0)
        size = 0.5 * abs(count) + math.sqrt(0.25 * count**2 + value)
        middle[i, i] = value / size if count > 0.0 else size
    invert_lower(root, inverse)
    next_covariance = sandwich(inverse, sandwich(vectors, middle))
    for i in range(n):
        for j in range(n):
            scatter[i, j] = next_covariance[i, j]


@linked(types.int64(COVARIANCE, COMPONENT, IN_1, SUMS, MIXTURE, PSEUDO_DATA, MIXTURE))
def compiled_m_step(covariance, component, floors, sums, now, prior, new):  # type: ignore[no-untyped-def]
    """`m_step` on arrays: it writes the new mixture and returns how many covariances were lifted."""
    expansion = 1.0 if adds_to_moments(prior) else component.expansion(sums, now.log_scale)
    n_floored = _write_covariances(covariance, component, floors, sums, now, prior, expansion, new)
    if n_floored > 0 and expansion != 1.0:  # the objective rises with either, not with both
        expansion = 1.0
        n_floored = _write_covariances(covariance, component, floors, sums, now, prior, expansion, new)
    _update_weights(sums.counts, prior.concentration, new.weights)
    component.update(sums, expansion, now.means.shape, now.log_scale, new.log_scale)
    for g in range(new.factors.shape[0]):
        covariance.write_square(new.factors[g], new.blocks[g])
    write_log_scales(covariance, component, new)
    return n_floored


@compiled
def _write_covariances(covariance, component, floors, sums, now, prior, expansion, new):  # type: ignore[no-untyped-def]
    """Means and covariances, counts of which are multiplied by the expansion; how many covariances were lifted."""
    scatter, totals = np.zeros(now.factors.shape), np.empty(now.factors.shape[0])
    work = np.empty((4 + now.factors.shape[1], now.means.shape[1]))
    for k in range(now.means.shape[0]):
        own = scatter[min(k, scatter.shape[0] - 1)]
        _update_mean(covariance, k, component.moment_count(sums, k), sums, now, prior, new.means, own, work)
    _add_scales(covariance, now.precision_factors, prior, scatter)
    covariance_counts(covariance, sums.counts, prior, now.means.shape[1], totals)
    for g in range(totals.shape[0]):
        totals[g] *= expansion
    if prior.variance_terms.shape[0] > 0:
        for g in range(scatter.shape[0]):
            _separate(now.factors[g], prior.variance_terms[0], totals[g], scatter[g])
            totals[g] = 1.0
    return covariance.write_covariances(floors, totals, scatter, now, new, work[4:])


@allocation_free
def write_log_scales(covariance, component, new):  # type: ignore[no-untyped-def]
    """Those of a mixture of which all else is written."""
    n_components, n_features = new.means.shape
    for k in range(n_components):
        prec = new.precision_factors[min(k, new.factors.shape[0] - 1)]
        log_det = covariance.log_determinant(prec, n_features)
        normaliser = component.log_normaliser(new.log_scale, new.means.shape, k)
        new.log_scale[k] = math.log(new.weights[k]) + log_det + normaliser
