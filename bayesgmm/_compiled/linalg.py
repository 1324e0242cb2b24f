"""Small dense linear algebra inside compiled code: factors of a few features, without calls to LAPACK.

Matrices are lower triangular where the name says `lower`. Nothing here raises: failure is returned.
"""

import math
from functools import partial

from numba import njit

from bayesgmm._common import Array

# Nothing calls them as C functions: the wrapper for that takes a tenth of compiling.
compiled = partial(njit, cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
# For functions that allocate nothing: otherwise references to arrays are counted, an atomic operation each. They are
# contained in what calls them: a call with a dozen arrays costs as much as what many of them do.
allocation_free = partial(compiled, _nrt=False, forceinline=True)


# Sums of products may be taken in any order, without which the compiler does not vectorise them.
_sums_in_any_order = partial(allocation_free, fastmath={"reassoc", "contract"})


@_sums_in_any_order
def cholesky_lower(matrix: Array, lower: Array) -> bool:
    """Write the Cholesky factor of a symmetric matrix into ``lower``; False if a pivot is not positive."""
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                lower[i, i] = math.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
        for j in range(i + 1, n):
            lower[i, j] = 0.0
    return True


@allocation_free
def invert_lower(lower: Array, inverse: Array) -> None:
    """Write the inverse of a lower triangular matrix into ``inverse``."""
    n = lower.shape[0]
    for i in range(n):
        for j in range(n):
            inverse[i, j] = 0.0
        for k in range(i):
            for j in range(k + 1):
                inverse[i, j] += lower[i, k] * inverse[k, j]
        for j in range(i):
            inverse[i, j] /= -lower[i, i]
        inverse[i, i] = 1.0 / lower[i, i]


@allocation_free
def multiply_lower(a: Array, b: Array, product: Array) -> None:
    """Write the product of two lower triangular matrices into ``product``."""
    n = a.shape[0]
    for i in range(n):
        for j in range(n):
            product[i, j] = 0.0
        for k in range(i + 1):
            for j in range(k + 1):
                product[i, j] += a[i, k] * b[k, j]


@allocation_free
def solve_cholesky(lower: Array, vector: Array) -> None:
    """Solve L Lᵀ x = vector in place."""
    n = lower.shape[0]
    for i in range(n):
        total = vector[i]
        for k in range(i):
            total -= lower[i, k] * vector[k]
        vector[i] = total / lower[i, i]
    for i in range(n - 1, -1, -1):
        total = vector[i]
        for k in range(i + 1, n):
            total -= lower[k, i] * vector[k]
        vector[i] = total / lower[i, i]
