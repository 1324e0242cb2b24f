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

How it is laid out. All scratch space is one array, ``work``, and a *place* is an index into it. What belongs to
the rows of a block is stored feature by feature, `stride` apart, and worked through in vectors of TILE or
LANES rows (see `bayesgmm._compiled.simd`); the last block is padded with copies of its last row, at weight
zero. Sums are kept lane by lane until the pass ends: to add up the lanes of every sum in every block would
cost more than the products. They stand in the order log-likelihood; then for each component count, first
moment (D), second moment (FULL: lower triangle by rows; else D).
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types

from bayesgmm._common import Array, Columns, Factors, Means, PerRow, Weights
from bayesgmm._compiled import (
    IN_1,
    IN_2,
    IN_3,
    LANES,
    OUT_1,
    OUT_2,
    OUT_3,
    TILE,
    aligned_start,
    exp,
    fold,
    linked,
    load,
    log,
    maximum,
    record_type,
    store,
    zeros,
)

FULL, DIAGONAL, SPHERICAL = 0, 1, 2
LOG_2PI = math.log(2.0 * math.pi)

_BLOCK = 128  # rows: whole tiles, and few enough for the first-level cache
_CACHE_LINE = 8  # doubles
_CACHED = 2**17  # doubles of a component in a cache further out, 1 MB

_compiled = {"nogil": True, "error_model": "numpy"}
# Helpers allocate nothing. Without this option they count references to their arrays, an atomic operation per
# array and call, which took a quarter of the time.
_helper = njit(_nrt=False, **_compiled)


class _Layout(NamedTuple):
    """Places in ``work`` of what belongs to the rows of a block, and how far apart they are.

    Rows, their weights and log densities, (cluster, row) squared lengths and then responsibilities, residuals of a
    tile, whitened rows: from one component's to the next's it is `z_step`, zero where each overwrites the last.
    """

    stride: int
    columns: int
    row_weights: int
    log_density: int
    resp: int
    residuals: int
    z: int
    z_step: int


@_helper
def _stride(residual, n_rows, n_features):  # type: ignore[no-untyped-def]
    """How far features are apart: where they may be many thousands, no further than there are rows, or cache."""
    if residual == FULL:
        return _BLOCK
    return min(_BLOCK, (n_rows + TILE - 1) // TILE * TILE, max(1, _CACHED // (n_features * TILE)) * TILE)


@_helper
def _layout(begin, stride, shape, z_step):  # type: ignore[no-untyped-def]
    n_components, n_features = shape
    resp = begin + 2 * stride
    residuals = resp + n_components * stride
    columns = residuals + n_features * TILE
    return _Layout(stride, columns, begin, begin + stride, resp, residuals, columns + n_features * stride, z_step)


@_helper
def _load_block(layout, x, row_weights, start, size, work):  # type: ignore[no-untyped-def]
    """Copy a block of rows and weights, pad it to whole tiles, and return the padded size."""
    padded = (size + TILE - 1) // TILE * TILE
    whole = size // LANES * LANES
    n_rows, v = x.shape[1], layout.row_weights
    for d in range(x.shape[0]):
        place, source = layout.columns + d * layout.stride, d * n_rows + start
        for i in range(0, whole, LANES):
            store(work, place + i, load(LANES, x, source + i))
        for i in range(whole, padded):
            work[place + i] = x[d, start + min(i, size - 1)]
    for i in range(0, whole, LANES):
        store(work, v + i, load(LANES, row_weights, start + i) if row_weights.size > 0 else zeros(LANES) + 1.0)
    for i in range(whole, padded):
        work[v + i] = 0.0 if i >= size else row_weights[start + i] if row_weights.size > 0 else 1.0
    return padded


@_helper
def _whiten_full(layout, padded, mu, k, prec, work):  # type: ignore[no-untyped-def]
    """Whiten a block of rows by one component, and write their squared lengths."""
    n_features, g = mu.shape[1], min(k, prec.shape[0] - 1)
    columns, r = layout.columns, layout.residuals
    z, squares = layout.z + k * layout.z_step, layout.resp + k * _BLOCK
    for i in range(0, padded, TILE):
        square = zeros(TILE)
        for d in range(0, n_features - 1, 2):
            place = d * _BLOCK + i
            r0 = load(TILE, work, columns + place) - mu[k, d]
            r1 = load(TILE, work, columns + place + _BLOCK) - mu[k, d + 1]
            store(work, r + d * TILE, r0)
            store(work, r + (d + 1) * TILE, r1)
            z0 = r0 * prec[g, d, d]
            z1 = r0 * prec[g, d + 1, d] + r1 * prec[g, d + 1, d + 1]
            for e in range(d):
                other = load(TILE, work, r + e * TILE)
                z0 = z0 + other * prec[g, d, e]
                z1 = z1 + other * prec[g, d + 1, e]
            store(work, z + place, z0)
            store(work, z + place + _BLOCK, z1)
            square = square + z0 * z0
            square = square + z1 * z1
        if n_features % 2:
            d = n_features - 1
            place = d * _BLOCK + i
            z0 = (load(TILE, work, columns + place) - mu[k, d]) * prec[g, d, d]
            for e in range(d):
                z0 = z0 + load(TILE, work, r + e * TILE) * prec[g, d, e]
            store(work, z + place, z0)
            square = square + z0 * z0
        store(work, squares + i, square)


@_helper
def _whiten_scaled(layout, padded, mu, k, prec, work):  # type: ignore[no-untyped-def]
    last, g, stride, columns = prec.shape[2] - 1, min(k, prec.shape[0] - 1), layout.stride, layout.columns
    z, squares = layout.z + k * layout.z_step, layout.resp + k * stride
    for i in range(0, padded, TILE):
        square = zeros(TILE)
        for d in range(mu.shape[1]):
            z0 = (load(TILE, work, columns + d * stride + i) - mu[k, d]) * prec[g, 0, min(d, last)]
            store(work, z + d * stride + i, z0)
            square = square + z0 * z0
        store(work, squares + i, square)


@_helper
def _whiten(residual, layout, padded, mu, prec, work):  # type: ignore[no-untyped-def]
    """Whitened residuals of a block by every component, and their squared lengths (cluster, row)."""
    for k in range(mu.shape[0]):
        if residual == FULL:
            _whiten_full(layout, padded, mu, k, prec, work)
        else:
            _whiten_scaled(layout, padded, mu, k, prec, work)


@_helper
def _normalise(layout, log_scale, padded, work, total_place):  # type: ignore[no-untyped-def]
    """Turn squared lengths (cluster, row) into weighted responsibilities; write log p(row), and add it up."""
    n_components, stride, logp = log_scale.shape[0], layout.stride, layout.resp
    log_likelihood = zeros(TILE)
    for i in range(0, padded, TILE):
        highest = zeros(TILE) - np.inf
        for k in range(n_components):
            log_joint = log_scale[k] - load(TILE, work, logp + k * stride + i) * 0.5
            store(work, logp + k * stride + i, log_joint)
            highest = maximum(highest, log_joint)
        total = zeros(TILE)
        for k in range(n_components):
            term = exp(load(TILE, work, logp + k * stride + i) - highest)
            store(work, logp + k * stride + i, term)
            total = total + term
        row_weights = load(TILE, work, layout.row_weights + i)
        log_total = highest + log(total)
        store(work, layout.log_density + i, log_total)
        log_likelihood = log_likelihood + row_weights * log_total
        share = row_weights / total
        for k in range(n_components):
            store(work, logp + k * stride + i, load(TILE, work, logp + k * stride + i) * share)
    _add_to(work, total_place, fold(log_likelihood))


@_helper
def _add_block(residual, layout, shape, padded, work, weighted, sums):  # type: ignore[no-untyped-def]
    """Add the counts, first and second moments of one block; ``shape`` is (cluster, feature)."""
    n_components, n_features = shape
    stride = layout.stride
    for k in range(n_components):
        resp, zk = layout.resp + k * stride, layout.z + k * layout.z_step
        count = zeros(TILE)
        for i in range(0, padded, TILE):
            count = count + load(TILE, work, resp + i)
        _add_to(work, sums, fold(count))
        first = sums + LANES
        sums = first + n_features * LANES
        if residual == FULL:
            sums = _add_full(n_features, padded, work, resp, zk, weighted, first, sums)
        else:
            for d in range(n_features):
                _add_single(padded, work, resp, zk + d * stride, weighted, first + d * LANES, sums)
                sums += LANES


@_helper
def _add_full(n_features, padded, work, resp, z, weighted, first, row):  # type: ignore[no-untyped-def]
    """Add one component's moments, two features at a time; returns the place behind its sums."""
    for d in range(0, n_features - 1, 2):
        below = row + (d + 1) * LANES
        _add_double(padded, work, resp, z + d * _BLOCK, weighted, first + d * LANES, row + d * LANES, below + d * LANES)
        for e in range(0, d - 3, 4):
            _add_products(padded, work, weighted, z + e * _BLOCK, row + e * LANES, below + e * LANES)
        for e in range(d - d % 4, d):
            _add_pair(padded, work, z + e * _BLOCK, weighted, row + e * LANES, below + e * LANES)
        row = below + (d + 2) * LANES
    if n_features % 2:
        d = n_features - 1
        _add_single(padded, work, resp, z + d * _BLOCK, weighted, first + d * LANES, row + d * LANES)
        for e in range(0, d, 2):
            _add_pair(padded, work, weighted, z + e * _BLOCK, row + e * LANES, row + (e + 1) * LANES)
        row += n_features * LANES
    return row


@_helper
def _add_single(padded, work, resp, z, weighted, first, square):  # type: ignore[no-untyped-def]
    """Add one feature's first moment and square; leaves r z in ``weighted``."""
    f, aa = zeros(TILE), zeros(TILE)
    for i in range(0, padded, TILE):
        z0 = load(TILE, work, z + i)
        a = load(TILE, work, resp + i) * z0
        store(work, weighted + i, a)
        f = f + a
        aa = aa + a * z0
    _add_to(work, first, fold(f))
    _add_to(work, square, fold(aa))


@_helper
def _add_double(padded, work, resp, z, weighted, first, square, below):  # type: ignore[no-untyped-def]
    """Add two features' first moments, squares and product; leaves their r z in ``weighted``."""
    f0 = f1 = aa = ab = bb = zeros(LANES)
    for i in range(0, padded, LANES):
        r, z0, z1 = load(LANES, work, resp + i), load(LANES, work, z + i), load(LANES, work, z + _BLOCK + i)
        a, b = r * z0, r * z1
        store(work, weighted + i, a)
        store(work, weighted + _BLOCK + i, b)
        f0, f1 = f0 + a, f1 + b
        aa, ab, bb = aa + a * z0, ab + a * z1, bb + b * z1
    _add_to(work, first, f0)
    _add_to(work, first + LANES, f1)
    _add_to(work, square, aa)
    _add_to(work, below, ab)
    _add_to(work, below + LANES, bb)


@_helper
def _add_products(padded, work, two, four, row, below):  # type: ignore[no-untyped-def]
    """Add the products of two stored rows with four others, the bulk of the work."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zeros(LANES)
    for i in range(0, padded, LANES):
        a, b = load(LANES, work, two + i), load(LANES, work, two + _BLOCK + i)
        z0, z1 = load(LANES, work, four + i), load(LANES, work, four + _BLOCK + i)
        z2, z3 = load(LANES, work, four + 2 * _BLOCK + i), load(LANES, work, four + 3 * _BLOCK + i)
        a0, a1, a2, a3 = a0 + a * z0, a1 + a * z1, a2 + a * z2, a3 + a * z3
        b0, b1, b2, b3 = b0 + b * z0, b1 + b * z1, b2 + b * z2, b3 + b * z3
    _add_to(work, row, a0)
    _add_to(work, row + LANES, a1)
    _add_to(work, row + 2 * LANES, a2)
    _add_to(work, row + 3 * LANES, a3)
    _add_to(work, below, b0)
    _add_to(work, below + LANES, b1)
    _add_to(work, below + 2 * LANES, b2)
    _add_to(work, below + 3 * LANES, b3)


@_helper
def _add_pair(padded, work, one, two, place0, place1):  # type: ignore[no-untyped-def]
    """Add the products of one stored row with two others."""
    sum0, sum1 = zeros(TILE), zeros(TILE)
    for i in range(0, padded, TILE):
        a = load(TILE, work, one + i)
        sum0 = sum0 + a * load(TILE, work, two + i)
        sum1 = sum1 + a * load(TILE, work, two + _BLOCK + i)
    _add_to(work, place0, fold(sum0))
    _add_to(work, place1, fold(sum1))


@_helper
def _add_to(work, place, value):  # type: ignore[no-untyped-def]
    store(work, place, load(LANES, work, place) + value)


@_helper
def _lane_sum(work, place):  # type: ignore[no-untyped-def]
    total = 0.0
    for lane in range(LANES):
        total += work[place + lane]
    return total


@_helper
def _unload(residual, work, place, sums):  # type: ignore[no-untyped-def]
    """Add up the lanes, into the arrays of the caller."""
    counts, first, second = sums
    n_components, n_features = first.shape
    last = second.shape[2] - 1
    for k in range(n_components):
        counts[k] += _lane_sum(work, place)
        place += LANES
        for d in range(n_features):
            first[k, d] += _lane_sum(work, place)
            place += LANES
        for d in range(n_features):
            if residual == FULL:
                for e in range(d + 1):
                    second[k, d, e] += _lane_sum(work, place)
                    second[k, e, d] = second[k, d, e]
                    place += LANES
            else:
                second[k, 0, min(d, last)] += _lane_sum(work, place)
                place += LANES


class Sums(NamedTuple):
    """The sums of `Statistics` that compiled code adds to: (cluster,), (cluster, feature), (cluster, rows, columns)."""

    counts: Weights
    first: Means
    second: Array

    @classmethod
    def empty(cls, shape: tuple[int, ...], block_shape: tuple[int, ...]) -> "Sums":
        """Sums over no rows yet, for means (cluster, feature) and blocks (rows, columns)."""
        return cls(np.zeros(shape[0]), np.zeros(shape), np.zeros((shape[0], *block_shape)))


SUMS = record_type(Sums, OUT_1, OUT_2, OUT_3)


@linked(types.float64(types.int64, IN_2, IN_1, IN_1, IN_2, IN_3, SUMS))
def add_statistics(
    residual: int, x: Columns, row_weights: PerRow, log_scale: Weights, mu: Means, prec: Factors, sums: Sums
) -> float:
    """Add the expected statistics of all rows to the given sums and return the log-likelihood.

    ``log_scale`` is log w_k + log |L_k^-1| - D/2 log 2 pi; an empty ``row_weights`` means weight one.
    """
    n_features, n_rows = x.shape
    n_components, stride = mu.shape[0], _stride(residual, n_rows, n_features)
    n_second = n_features * (n_features + 1) // 2 if residual == FULL else n_features
    n_sums = (1 + n_components * (1 + n_features + n_second)) * LANES
    n_z = n_features * stride
    n_scratch = (n_components + 4) * stride + n_features * TILE + (n_components + 1) * n_z
    work = np.empty(_CACHE_LINE + n_sums + n_scratch)
    begin = aligned_start(work)
    weighted = begin + n_sums
    layout = _layout(weighted + 2 * stride, stride, mu.shape, n_z)
    for i in range(begin, weighted, LANES):
        store(work, i, zeros(LANES))
    for start in range(0, n_rows, stride):
        padded = _load_block(layout, x, row_weights, start, min(stride, n_rows - start), work)
        _whiten(residual, layout, padded, mu, prec, work)
        _normalise(layout, log_scale, padded, work, begin)
        _add_block(residual, layout, mu.shape, padded, work, weighted, begin + LANES)
    _unload(residual, work, begin + LANES, sums)
    return _lane_sum(work, begin)


@linked(types.void(types.int64, IN_2, IN_1, IN_2, IN_3, OUT_1, OUT_2))
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
    n_components, stride = mu.shape[0], _stride(residual, n_rows, n_features)
    work = np.empty(_CACHE_LINE + (n_components + 3 + 2 * n_features) * stride + n_features * TILE)
    unused = aligned_start(work)
    layout = _layout(unused + stride, stride, mu.shape, 0)
    store(work, unused, zeros(LANES))
    for start in range(0, n_rows, stride):
        size = min(stride, n_rows - start)
        padded = _load_block(layout, x, log_scale[:0], start, size, work)
        _whiten(residual, layout, padded, mu, prec, work)
        _normalise(layout, log_scale, padded, work, unused)
        for i in range(size):
            log_density[start + i] = work[layout.log_density + i]
        for k in range(resp.shape[0]):
            for i in range(size):
                resp[k, start + i] = work[layout.resp + k * stride + i]
