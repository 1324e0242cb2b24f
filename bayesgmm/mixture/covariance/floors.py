"""Covariances whose smallest eigenvalues are lifted to a floor."""

import math
from functools import partial

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

# Sums of products may be taken in any order, without which the compiler does not vectorise them.
_sums_in_any_order = partial(compiled, fastmath={"reassoc", "contract"})

_NOTHING = 1e-12  # a whitened covariance that is rounding error
_AT_FLOOR = 1.0 + 1e-9  # times the floor


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
    factor_of_product(vectors, new_factor)
    invert_lower(new_factor, new_prec)
    return 1 if values[0] < least else 0


@_sums_in_any_order
def factor_of_product(a, lower):  # type: ignore[no-untyped-def]
    """The lower factor of a aᵀ, rows of ``a`` made orthogonal one after the other.

    The Cholesky factor of the product would lose the small eigenvalues: they are the squares of what is kept here.
    """
    n = a.shape[0]
    for i in range(n):
        for j in range(i):
            total = 0.0
            for h in range(n):
                total += a[i, h] * a[j, h]
            lower[i, j] = total
            for h in range(n):
                a[i, h] -= total * a[j, h]
        length = 0.0
        for h in range(n):
            length += a[i, h] ** 2
        lower[i, i] = math.sqrt(length)
        for h in range(n):
            a[i, h] /= lower[i, i]
        for j in range(i + 1, n):
            lower[i, j] = 0.0


@_sums_in_any_order
def sandwich(a, middle):  # type: ignore[no-untyped-def]
    """The symmetric product a m aᵀ; loops, because matrix products take seconds to compile."""
    n = middle.shape[0]
    half, product = np.zeros((n, n)), np.empty((n, n))
    for i in range(n):
        for h in range(n):
            for j in range(n):
                half[i, j] += a[i, h] * middle[h, j]
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for h in range(n):
                total += half[i, h] * a[j, h]
            product[i, j] = product[j, i] = total
    return product


@allocation_free
def write_factor(floors, moment, factor, new_factor, new_prec, change):  # type: ignore[no-untyped-def]
    """New factor L chol(M) of one block, lifted to the floor; returns 1 if it was lifted."""
    n, lifted = factor.shape[0], 0
    for j in range(n):
        least = floors[j] / factor[j, j] ** 2
        if moment[j, j] < least and _stands_alone(moment, factor, j):
            moment[j, j], lifted = least, 1
    if cholesky_lower(moment, change):
        multiply_lower(factor, change, new_factor)
        invert_lower(new_factor, new_prec)
        if _above(floors, moment, factor, new_prec):
            return lifted
    return lift(factor, moment, floors, new_factor, new_prec)


@allocation_free
def _stands_alone(moment, factor, j):  # type: ignore[no-untyped-def]
    """Whether a feature has no covariance with others, as a constant one: then it is lifted alone."""
    for h in range(factor.shape[0]):
        if h != j and (abs(moment[j, h]) > _NOTHING or factor[max(j, h), min(j, h)] != 0.0):
            return False
    return True


@allocation_free
def _above(floors, moment, factor, prec):  # type: ignore[no-untyped-def]
    """Whether no eigenvalue can be below the floor.

    The trace bounds the largest eigenvalue of the precision in units of the floor; features that stand alone at the
    floor do not add to it.
    """
    squares = 0.0
    for i in range(factor.shape[0]):
        if moment[i, i] * factor[i, i] ** 2 > floors[i] * _AT_FLOOR or not _stands_alone(moment, factor, i):
            for j in range(i + 1):
                squares += floors[j] * prec[i, j] ** 2
    return squares <= 1.0
