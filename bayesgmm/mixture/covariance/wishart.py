"""Wishart and inverse-Wishart matrices: draws in NumPy and in compiled code, and the log density with gradients."""

import math

import numpy as np

from bayesgmm._common import Array
from bayesgmm._compiled import cholesky_lower, compiled, invert_lower, multiply_lower

_LOG_2 = math.log(2.0)


def bartlett(dof: Array, d: int, rng: np.random.Generator) -> Array:
    """Lower triangular factors (..., d, d) of Wishart matrices with unit scale (Bartlett 1933)."""
    lower = np.tril(rng.standard_normal((*dof.shape, d, d)), -1)
    lower[..., np.arange(d), np.arange(d)] = np.sqrt(rng.chisquare(dof[..., None] - np.arange(d)))
    return np.asarray(lower)


@compiled
def log_inverse_wishart(covariance, dof, scale, d_covariance, d_scale):  # type: ignore[no-untyped-def]
    """The inverse-Wishart's log density and its gradients."""
    n = covariance.shape[0]
    precision, scale_inverse, product = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    log_det, log_det_scale = _precision(covariance, precision), _precision(scale, scale_inverse)
    total = 0.5 * dof * (log_det_scale - n * _LOG_2) - 0.5 * (dof + n + 1.0) * log_det
    total -= 0.25 * n * (n - 1.0) * math.log(math.pi)
    for i in range(n):
        total -= math.lgamma(0.5 * (dof - i))
        for j in range(n):
            total -= 0.5 * scale[i, j] * precision[i, j]
            d_scale[i, j] = 0.5 * (dof * scale_inverse[i, j] - precision[i, j])
            for m in range(n):
                product[i, j] += precision[i, m] * scale[m, j]
    for i in range(n):
        for j in range(n):
            d_covariance[i, j] = -0.5 * (dof + n + 1.0) * precision[i, j]
            for m in range(n):
                d_covariance[i, j] += 0.5 * product[i, m] * precision[m, j]
    return total


@compiled
def draw_inverse_wishart(rng, dof, scale, covariance):  # type: ignore[no-untyped-def]
    """Bartlett: Sigma = (C A^-T)(C A^-T)ᵀ with S = C Cᵀ and A Aᵀ ~ Wishart(nu, I), A lower triangular."""
    write_inverse_wishart(*_bartlett(rng, dof, scale), covariance)


@compiled
def write_inverse_wishart(wishart, chol, covariance):  # type: ignore[no-untyped-def]
    """(C A^-T)(C A^-T)ᵀ of A and C."""
    n = chol.shape[0]
    inverse, factor = np.empty((n, n)), np.zeros((n, n))
    invert_lower(wishart, inverse)
    for i in range(n):
        for j in range(n):
            for m in range(i + 1):
                factor[i, j] += chol[i, m] * inverse[j, m]
    _write_product(factor, covariance)


@compiled
def draw_inverse_wishart_factor(rng, dof, scale, factor, prec):  # type: ignore[no-untyped-def]
    """L = C B^-1 and L^-1 = B C^-1 with S = C Cᵀ and Bᵀ B ~ Wishart(nu, I), all lower triangular.

    B has the diagonal of Bartlett's factor in reverse. No product of matrices is factored: L is as exact as C.
    """
    n = scale.shape[0]
    b, chol, inverse = np.zeros((n, n)), np.empty((n, n)), np.empty((n, n))
    for i in range(n):
        b[i, i] = np.sqrt(rng.chisquare(dof - (n - 1 - i)))
        for j in range(i):
            b[i, j] = rng.standard_normal()
    if not cholesky_lower(scale, chol):
        chol[:, :] = np.nan
    invert_lower(b, inverse)
    multiply_lower(chol, inverse, factor)
    invert_lower(chol, inverse)
    multiply_lower(b, inverse, prec)


@compiled
def draw_wishart(rng, dof, scale, drawn):  # type: ignore[no-untyped-def]
    """Bartlett: S = (C A)(C A)ᵀ with V = C Cᵀ."""
    n = scale.shape[0]
    wishart, chol = _bartlett(rng, dof, scale)
    factor = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            for m in range(j, i + 1):
                factor[i, j] += chol[i, m] * wishart[m, j]
    _write_product(factor, drawn)


@compiled
def _precision(matrix, precision):  # type: ignore[no-untyped-def]
    """Write the inverse of a symmetric matrix and return its log determinant, NaN unless positive definite."""
    n = matrix.shape[0]
    lower, inverse = np.empty((n, n)), np.empty((n, n))
    if not cholesky_lower(matrix, lower):
        return np.nan
    invert_lower(lower, inverse)
    log_det = 0.0
    for i in range(n):
        log_det += 2.0 * math.log(lower[i, i])
        for j in range(i + 1):
            total = 0.0
            for m in range(i, n):
                total += inverse[m, i] * inverse[m, j]
            precision[i, j] = precision[j, i] = total
    return log_det


@compiled
def _bartlett(rng, dof, scale):  # type: ignore[no-untyped-def]
    """A with A Aᵀ ~ Wishart(dof, I), and the Cholesky factor of a scale, NaN if there is none."""
    n = scale.shape[0]
    wishart, chol = np.zeros((n, n)), np.empty((n, n))
    for i in range(n):
        wishart[i, i] = np.sqrt(rng.chisquare(dof - i))
        for j in range(i):
            wishart[i, j] = rng.standard_normal()
    if not cholesky_lower(scale, chol):
        chol[:, :] = np.nan
    return wishart, chol


@compiled
def _write_product(factor, product):  # type: ignore[no-untyped-def]
    """F Fᵀ."""
    n = factor.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for m in range(n):
                total += factor[i, m] * factor[j, m]
            product[i, j] = product[j, i] = total
