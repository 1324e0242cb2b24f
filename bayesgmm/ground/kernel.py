"""The kernel: one fused pass over rows that serves EM, NUTS and every sum over data.

Rows are read feature-major, (feature, obs), in blocks small enough for the first-level cache. For each
block the kernel whitens the rows by every component, takes the log-sum-exp, and accumulates
responsibilities, whitened first moments and whitened second moments. Whitened residuals keep full
precision where expanded quadratic features lose eight digits.

What a component contributes per row is its *residual*, one of three kinds, each at its own cost:

=========  =======================  ====================================  ==========
residual   factor (rows, columns)   second moment                         cost a row
=========  =======================  ====================================  ==========
FULL       (D, D) lower triangle    (D, D) sum of r z zᵀ                  O(D²)
DIAGONAL   (1, D) 1 / sd            (1, D) its diagonal                   O(D)
SPHERICAL  (1, 1) 1 / sd            (1, 1) its trace                      O(D)
=========  =======================  ====================================  ==========

A leading axis of length 1 of the factors means that all components share one.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from bayesgmm.words.arrays import Array, Columns, Factors, Means, PerRow, Weights

FULL, DIAGONAL, SPHERICAL = 0, 1, 2
LOG_2PI = math.log(2.0 * math.pi)

_BLOCK = 128
_LOWEST = -200.0  # responsibilities below exp(-200) are flushed to zero: denormals cost ten times as much
_REASSOCIATE = {"reassoc", "contract", "arcp", "nsz"}  # NaN and infinity keep their meaning

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_TWO_52_BITS = 0x4330000000000000
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to the nearest integer, kept in the low bits


@intrinsic
def _bits_of(_typing, _value):  # type: ignore[no-untyped-def]
    def codegen(_context, builder, _signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _float_of(_typing, _bits):  # type: ignore[no-untyped-def]
    def codegen(_context, builder, _signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _exp(x: float) -> float:
    """exp(x) for x <= 0, zero below _LOWEST; free of branches and calls, so that loops over it vectorise."""
    clipped = max(x, _LOWEST)
    shifted = clipped * _LOG2_E + _ROUND
    n = shifted - _ROUND
    r = clipped - n * _LN2_HIGH - n * _LN2_LOW
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    power = _float_of((_bits_of(shifted) + 1023) << 52)
    return p * power if x >= _LOWEST else 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _log(x: float) -> float:
    """log(x) for finite x >= 1; free of branches and calls, so that loops over it vectorise."""
    bits = _bits_of(x)
    offset = bits - _SQRT_HALF_BITS
    exponent = _float_of((offset >> 52) | _TWO_52_BITS) - 4503599627370496.0
    mantissa = _float_of((offset & 0x000FFFFFFFFFFFFF) + _SQRT_HALF_BITS)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    t = s * s
    p = 1.0 / 21.0
    p = p * t + 1.0 / 19.0
    p = p * t + 1.0 / 17.0
    p = p * t + 1.0 / 15.0
    p = p * t + 1.0 / 13.0
    p = p * t + 1.0 / 11.0
    p = p * t + 1.0 / 9.0
    p = p * t + 1.0 / 7.0
    p = p * t + 1.0 / 5.0
    p = p * t + 1.0 / 3.0
    return exponent * _LN2_HIGH + (2.0 * s + (2.0 * s * t * p + exponent * _LN2_LOW))


# Loops over the rows of a block are innermost and two features are treated at a time, so that a loaded
# vector serves several products. The helpers are inlined into the pass that owns the scratch arrays: there
# the block length is a constant stride, without which the compiler gives up on vectorising.
_inlined = njit(nogil=True, error_model="numpy", fastmath=_REASSOCIATE, inline="always")


@_inlined
def _whiten_full(r, prec, g, z, h, quad, k, size):  # type: ignore[no-untyped-def]
    n_features = r.shape[0]
    odd = n_features % 2
    for d in range(0, n_features - odd, 2):
        p, q, s = prec[g, d, d], prec[g, d + 1, d], prec[g, d + 1, d + 1]
        for i in range(size):
            z[h, d, i] = p * r[d, i]
            z[h, d + 1, i] = q * r[d, i] + s * r[d + 1, i]
        for e in range(0, d - 3, 4):
            p0, p1, p2, p3 = prec[g, d, e], prec[g, d, e + 1], prec[g, d, e + 2], prec[g, d, e + 3]
            q0, q1 = prec[g, d + 1, e], prec[g, d + 1, e + 1]
            q2, q3 = prec[g, d + 1, e + 2], prec[g, d + 1, e + 3]
            for i in range(size):
                z[h, d, i] += p0 * r[e, i] + p1 * r[e + 1, i] + p2 * r[e + 2, i] + p3 * r[e + 3, i]
                z[h, d + 1, i] += q0 * r[e, i] + q1 * r[e + 1, i] + q2 * r[e + 2, i] + q3 * r[e + 3, i]
        for e in range(d - d % 4, d, 2):
            p0, p1, q0, q1 = prec[g, d, e], prec[g, d, e + 1], prec[g, d + 1, e], prec[g, d + 1, e + 1]
            for i in range(size):
                z[h, d, i] += p0 * r[e, i] + p1 * r[e + 1, i]
                z[h, d + 1, i] += q0 * r[e, i] + q1 * r[e + 1, i]
        for i in range(size):
            quad[k, i] += z[h, d, i] * z[h, d, i] + z[h, d + 1, i] * z[h, d + 1, i]
    if odd:
        d = n_features - 1
        p = prec[g, d, d]
        for i in range(size):
            z[h, d, i] = p * r[d, i]
        for e in range(0, d, 2):
            p0, p1 = prec[g, d, e], prec[g, d, e + 1]
            for i in range(size):
                z[h, d, i] += p0 * r[e, i] + p1 * r[e + 1, i]
        for i in range(size):
            quad[k, i] += z[h, d, i] * z[h, d, i]


@_inlined
def _whiten_scaled(r, prec, g, z, h, quad, k, size):  # type: ignore[no-untyped-def]
    last = prec.shape[2] - 1
    for d in range(r.shape[0]):
        p = prec[g, 0, min(d, last)]
        for i in range(size):
            z[h, d, i] = p * r[d, i]
            quad[k, i] += z[h, d, i] * z[h, d, i]


@_inlined
def _log_densities(residual, x, start, size, log_scale, mu, prec, r, z, logp):  # type: ignore[no-untyped-def]
    """Weighted component log densities (cluster, row) of one block, and the whitened residuals behind them."""
    origin = np.uintp(start)  # unsigned: a signed sum as an index is tested for wrapping and stops vectorising
    for k in range(mu.shape[0]):
        for d in range(mu.shape[1]):
            m = mu[k, d]
            for i in range(size):
                r[d, i] = x[d, origin + np.uintp(i)] - m
        for i in range(size):
            logp[k, i] = 0.0
        g = min(k, prec.shape[0] - 1)
        if residual == FULL:
            _whiten_full(r, prec, g, z, k % z.shape[0], logp, k, size)
        else:
            _whiten_scaled(r, prec, g, z, k % z.shape[0], logp, k, size)
        c = log_scale[k]
        for i in range(size):
            logp[k, i] = c - 0.5 * logp[k, i]


@_inlined
def _normalise(logp, highest, total, size):  # type: ignore[no-untyped-def]
    """Turn log densities (cluster, row) into responsibilities; log p(row) is left in ``highest``."""
    n_components = logp.shape[0]
    for i in range(size):
        highest[i] = logp[0, i]
        total[i] = 0.0
    for k in range(1, n_components):
        for i in range(size):
            highest[i] = max(highest[i], logp[k, i])
    for k in range(n_components):
        for i in range(size):
            logp[k, i] = _exp(logp[k, i] - highest[i])
            total[i] += logp[k, i]
    for i in range(size):
        highest[i] += _log(total[i])
        total[i] = 1.0 / total[i]
    for k in range(n_components):
        for i in range(size):
            logp[k, i] *= total[i]


@_inlined
def _add_full_second(z, k, resp, weighted, second, size):  # type: ignore[no-untyped-def]
    """Add the lower triangle of one component's second moment of a block."""
    n_features = z.shape[1]
    odd = n_features % 2
    for d in range(0, n_features - odd, 2):
        aa = ab = bb = 0.0
        for i in range(size):
            a = resp[k, i] * z[k, d, i]
            b = resp[k, i] * z[k, d + 1, i]
            weighted[0, i] = a
            weighted[1, i] = b
            aa += a * z[k, d, i]
            ab += a * z[k, d + 1, i]
            bb += b * z[k, d + 1, i]
        second[k, d, d] += aa
        second[k, d + 1, d] += ab
        second[k, d + 1, d + 1] += bb
        for e in range(0, d - 3, 4):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
            for i in range(size):
                a = weighted[0, i]
                b = weighted[1, i]
                a0 += a * z[k, e, i]
                a1 += a * z[k, e + 1, i]
                a2 += a * z[k, e + 2, i]
                a3 += a * z[k, e + 3, i]
                b0 += b * z[k, e, i]
                b1 += b * z[k, e + 1, i]
                b2 += b * z[k, e + 2, i]
                b3 += b * z[k, e + 3, i]
            second[k, d, e] += a0
            second[k, d, e + 1] += a1
            second[k, d, e + 2] += a2
            second[k, d, e + 3] += a3
            second[k, d + 1, e] += b0
            second[k, d + 1, e + 1] += b1
            second[k, d + 1, e + 2] += b2
            second[k, d + 1, e + 3] += b3
        for e in range(d - d % 4, d, 2):
            a0 = a1 = b0 = b1 = 0.0
            for i in range(size):
                a = weighted[0, i]
                b = weighted[1, i]
                a0 += a * z[k, e, i]
                a1 += a * z[k, e + 1, i]
                b0 += b * z[k, e, i]
                b1 += b * z[k, e + 1, i]
            second[k, d, e] += a0
            second[k, d, e + 1] += a1
            second[k, d + 1, e] += b0
            second[k, d + 1, e + 1] += b1
    if odd:
        d = n_features - 1
        aa = 0.0
        for i in range(size):
            weighted[0, i] = resp[k, i] * z[k, d, i]
            aa += weighted[0, i] * z[k, d, i]
        second[k, d, d] += aa
        for e in range(0, d, 2):
            a0 = a1 = 0.0
            for i in range(size):
                a0 += weighted[0, i] * z[k, e, i]
                a1 += weighted[0, i] * z[k, e + 1, i]
            second[k, d, e] += a0
            second[k, d, e + 1] += a1


@_inlined
def _add_scaled_second(z, k, resp, second, size):  # type: ignore[no-untyped-def]
    last = second.shape[2] - 1
    for d in range(z.shape[1]):
        total = 0.0
        for i in range(size):
            total += resp[k, i] * z[k, d, i] * z[k, d, i]
        second[k, 0, min(d, last)] += total


# Signatures are declared, so that read-only input can never trigger another compilation.
_kernel = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": _REASSOCIATE}
_IN_1, _IN_2, _IN_3 = (types.Array(types.float64, n_axes, "C", readonly=True) for n_axes in (1, 2, 3))
_OUT_1, _OUT_2, _OUT_3 = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]


@njit(types.float64(types.int64, _IN_2, _IN_1, _IN_1, _IN_2, _IN_3, _OUT_1, _OUT_2, _OUT_3), **_kernel)
def add_statistics(
    residual: int,
    x: Columns,
    row_weights: PerRow,
    log_scale: Weights,
    mu: Means,
    prec: Factors,
    counts: Weights,
    first: Means,
    second: Array,
) -> float:
    """Add the expected statistics of all rows to the given sums and return the log-likelihood.

    ``log_scale`` is log w_k + log |L_k^-1| - D/2 log 2 pi; an empty ``row_weights`` means weight one.
    """
    n_features, n_rows = x.shape
    n_components = mu.shape[0]
    r = np.empty((n_features, _BLOCK))
    z = np.empty((n_components, n_features, _BLOCK))
    logp = np.empty((n_components, _BLOCK))
    weighted = np.empty((2, _BLOCK))
    highest = np.empty(_BLOCK)
    total = np.empty(_BLOCK)
    log_likelihood = 0.0
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        _log_densities(residual, x, start, size, log_scale, mu, prec, r, z, logp)
        _normalise(logp, highest, total, size)
        if row_weights.size > 0:
            v = row_weights[start : start + size]
            for k in range(n_components):
                for i in range(size):
                    logp[k, i] *= v[i]
            for i in range(size):
                log_likelihood += v[i] * highest[i]
        else:
            for i in range(size):
                log_likelihood += highest[i]
        for k in range(n_components):
            count = 0.0
            for i in range(size):
                count += logp[k, i]
            counts[k] += count
            for d in range(n_features):
                shift = 0.0
                for i in range(size):
                    shift += logp[k, i] * z[k, d, i]
                first[k, d] += shift
            if residual == FULL:
                _add_full_second(z, k, logp, weighted, second, size)
            else:
                _add_scaled_second(z, k, logp, second, size)
    if residual == FULL:
        for k in range(n_components):
            for d in range(n_features):
                for e in range(d):
                    second[k, e, d] = second[k, d, e]
    return log_likelihood


@njit(types.void(types.int64, _IN_2, _IN_1, _IN_2, _IN_3, _OUT_1, _OUT_2), **_kernel)
def pointwise(
    residual: int,
    x: Columns,
    log_scale: Weights,
    mu: Means,
    prec: Factors,
    log_density: PerRow,
    resp: Array,
) -> None:
    """Write log p(row) into ``log_density`` (obs,) and, unless it has no rows, responsibilities (cluster, obs)."""
    n_features, n_rows = x.shape
    n_components = mu.shape[0]
    r = np.empty((n_features, _BLOCK))
    z = np.empty((1, n_features, _BLOCK))
    logp = np.empty((n_components, _BLOCK))
    highest = np.empty(_BLOCK)
    total = np.empty(_BLOCK)
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        _log_densities(residual, x, start, size, log_scale, mu, prec, r, z, logp)
        _normalise(logp, highest, total, size)
        log_density[start : start + size] = highest[:size]
        if resp.shape[0] > 0:
            resp[:, start : start + size] = logp[:, :size]
