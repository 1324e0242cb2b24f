"""Compiled functions for calls from C: signatures, and data passed without recompilation.

A sampler written in another language calls a log density through a plain C address and hands it one
``void *``. We point that at an int64 array, the *header*, which holds sizes and the addresses of arrays:
the compiled code reads shapes from it, so new rows, components or priors change numbers in memory and
never the code, and the machine code can be loaded from numba's disk cache.

Write the log density as a module-level Python function and compile it when first needed::

    def _log_density(n_dim, point_, gradient_, value_, header_):
        header = carray(header_, (3,), np.int64)  # n_rows, n_columns, address of the rows
        rows = matrix_at(header[2], header[0], header[1])
        point, gradient, value = carray(point_, (n_dim,)), carray(gradient_, (n_dim,)), carray(value_, (1,))
        ...
        return FINITE

    @functools.cache
    def compiled_log_density() -> CFunc:
        return cfunc(LOG_DENSITY_SIGNATURE, cache=True, error_model="numpy")(_log_density)
"""

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from bayesgmm._common import Array, IntArray

FINITE, GRADIENT_NOT_FINITE, VALUE_NOT_FINITE = 0, 3, 4  # a log density's status; above 0 is a divergence

_DOUBLES = types.CPointer(types.double)
# int64 log_density(uint64 n_dim, double *point, double *gradient_out, double *value_out, void *header)
LOG_DENSITY_SIGNATURE = types.int64(types.uint64, _DOUBLES, _DOUBLES, _DOUBLES, types.voidptr)
# int64 expand(uint64 n_dim, uint64 n_expanded, double *point, double *expanded_out, void *header)
EXPAND_SIGNATURE = types.int64(types.uint64, types.uint64, _DOUBLES, _DOUBLES, types.voidptr)


@intrinsic
def address_as_pointer(typing_context, address):  # type: ignore[no-untyped-def]
    """The integer address as a void pointer, inside compiled code; `numba.carray` reads arrays through it."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), codegen


@njit(cache=True, nogil=True)
def vector_at(address: int, size: int) -> Array:
    """The float64 vector (size,) that lies at the address; nothing is copied."""
    return carray(address_as_pointer(address), (size,), np.float64)


@njit(cache=True, nogil=True)
def matrix_at(address: int, n_rows: int, n_columns: int) -> Array:
    """The C-contiguous float64 matrix (n_rows, n_columns) that lies at the address; nothing is copied."""
    return carray(address_as_pointer(address), (n_rows, n_columns), np.float64)


def header_of(*entries: int | NDArray[np.generic]) -> IntArray:
    """The header of a compiled function: integers as they are, arrays as the addresses of their data.

    Parameters
    ----------
    *entries : int or ndarray
        Sizes, and C-contiguous arrays. The caller keeps the arrays alive as long as the header is in use.

    Returns
    -------
    ndarray of int64, shape (len(entries),)

    Raises
    ------
    ValueError
        An array is not C-contiguous or of eight-byte numbers, so that its address alone does not describe it.

    Examples
    --------
    >>> rows = np.ones((3, 2))
    >>> header = header_of(*rows.shape, rows)
    >>> header[:2].tolist(), int(header[2]) == rows.ctypes.data
    ([3, 2], True)
    """
    header = np.empty(len(entries), dtype=np.int64)
    for i, entry in enumerate(entries):
        if isinstance(entry, np.ndarray):
            if not entry.flags.c_contiguous:
                raise ValueError(f"entry {i} of the header is not a C-contiguous array")
            if entry.dtype not in (np.float64, np.int64):
                raise ValueError(f"entry {i} of the header is of {entry.dtype}, not of float64 or int64")
            header[i] = entry.ctypes.data
        else:
            header[i] = entry
    return header
