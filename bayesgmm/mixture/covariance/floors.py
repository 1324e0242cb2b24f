"""Covariances whose smallest eigenvalues are lifted to a floor."""

import math

import numpy as np
from numba import types

from bayesgmm._compiled import (
    IN_1,
    OUT_2,
    allocation_free,
    cholesky_lower,
    compiled,
    invert_lower,
    linked,
    multiply_lower,
)


@linked(types.int64(OUT_2, OUT_2, IN_1, OUT_2, OUT_2))
def lift(factor, moment, floors, new_factor, new_prec):  # type: ignore[no-untyped-def]
    """Clip the eigenvalues of a covariance L M Lᵀ from below, in units of the floor; returns 1 if any was below.

    Without a floor, in units of its own variances, and by rounding errors only.
    """
    covariance, n = sandwich(factor, moment), factor.shape[0]
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
def sandwich(a, middle):  # type: ignore[no-untyped-def]
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
def write_factor(floors, moment, factor, new_factor, new_prec, change):  # type: ignore[no-untyped-def]
    """New factor L chol(M) of one block, lifted to the floor; returns 1 if it was lifted."""
    if cholesky_lower(moment, change):
        multiply_lower(factor, change, new_factor)
        invert_lower(new_factor, new_prec)
        squares = 0.0
        for i in range(factor.shape[0]):
            for j in range(i + 1):
                squares += floors[j] * new_prec[i, j] ** 2
        if squares <= 1.0:  # the trace bounds the largest eigenvalue of the precision in units of the floor
            return 0
    return lift(factor, moment, floors, new_factor, new_prec)
