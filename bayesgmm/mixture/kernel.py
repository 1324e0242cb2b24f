"""The kernel: one fused pass over rows that serves EM, NUTS and every sum over data.

Rows are read feature-major, (feature, obs), in blocks small enough for the first-level cache. For each
block the kernel whitens the rows by every component, takes the log-sum-exp, and accumulates
responsibilities, whitened first moments and whitened second moments. Whitened residuals keep full
precision where expanded quadratic features lose eight digits.

What a component contributes per row depends on its parametrisation, each at its own cost:

===============  =======================  ====================================  ==========
parametrisation  factor (rows, columns)   second moment                         cost a row
===============  =======================  ====================================  ==========
full             (D, D) lower triangle    (D, D) sum of r z zᵀ                  O(D²)
diagonal         (1, D) 1 / sd            (1, D) its diagonal                   O(D)
spherical        (1, 1) 1 / sd            (1, 1) its trace                      O(D)
factor analytic  (D, q + 1), see there    (D, q + 1)                            O(D q)
===============  =======================  ====================================  ==========

A leading axis of length 1 of the factors means that all components share one. The component, Gaussian or another,
turns squared lengths into log densities, and responsibilities into the weights of moments.

How it is laid out. All scratch space is one array, ``work``, and a *place* is an index into it. What belongs to
the rows of a block is stored feature by feature, `stride` apart, and worked through in vectors of TILE or
LANES rows (see `bayesgmm._compiled.simd`); the last block is padded with copies of its last row, at weight
zero. Sums are kept lane by lane until the pass ends: to add up the lanes of every sum in every block would
cost more than the products. They stand in the order log-likelihood; then for each component count, other sums that it
asks for, first moment (D), second moment (FULL: lower triangle by rows; else D).
"""

from typing import NamedTuple

import numpy as np
from numba import types

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
    allocation_free,
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
from bayesgmm.mixture.components.component import COMPONENT, Component
from bayesgmm.mixture.covariance.parametrisation import COVARIANCE, Parametrisation
from bayesgmm.mixture.kernel_layout import Layout, add_to, lane_sum

_CACHE_LINE = 8  # doubles


@allocation_free
def _layout(component, begin, stride, shape, n_columns, z_step):  # type: ignore[no-untyped-def]
    n_components, n_features = shape
    row_weights = begin + 2 * stride
    log_density, resp = row_weights + stride, row_weights + 2 * stride
    kept = resp + n_components * stride
    residuals = kept + component.n_kept() * n_components * stride
    columns = residuals + n_features * TILE
    z = columns + n_features * stride
    return Layout(stride, begin, row_weights, log_density, resp, kept, residuals, columns, z, z_step, n_columns)


@allocation_free
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


@allocation_free
def _whiten(covariance, layout, padded, mu, prec, work):  # type: ignore[no-untyped-def]
    """Whitened residuals of a block by every component, and their squared lengths (cluster, row)."""
    for k in range(mu.shape[0]):
        covariance.whiten(layout, padded, mu, k, prec, work)


@allocation_free
def _normalise(component, layout, log_scale, shape, padded, work, total_place):  # type: ignore[no-untyped-def]
    """Turn squared lengths (cluster, row) into weighted responsibilities; write log p(row), and add it up."""
    n_components, stride, logp = shape[0], layout.stride, layout.resp
    log_likelihood = zeros(TILE)
    for i in range(0, padded, TILE):
        highest = zeros(TILE) - np.inf
        for k in range(n_components):
            square = load(TILE, work, logp + k * stride + i)
            log_joint = component.log_density(layout, log_scale, shape, k, i, square, work)
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
    add_to(work, total_place, fold(log_likelihood))


@allocation_free
def _add_block(covariance, component, layout, log_scale, shape, padded, work, sums):  # type: ignore[no-untyped-def]
    """Add the counts, first and second moments of one block; ``shape`` is (cluster, feature)."""
    n_components, n_features = shape
    for k in range(n_components):
        resp, count = layout.resp + k * layout.stride, zeros(TILE)
        for i in range(0, padded, TILE):
            count = count + load(TILE, work, resp + i)
        add_to(work, sums, fold(count))
        sums = component.add_sums(layout, log_scale, shape, k, padded, work, sums + LANES)
        weights, z = component.moment_weights(layout, k), layout.z + k * layout.z_step
        sums = covariance.add_moments(layout, n_features, padded, work, weights, z, sums)


@allocation_free
def _unload(covariance, work, place, sums):  # type: ignore[no-untyped-def]
    """Add up the lanes, into the arrays of the caller."""
    counts, first, second, others = sums
    n_components, n_features = first.shape
    for k in range(n_components):
        counts[k] += lane_sum(work, place)
        place += LANES
        for s in range(others.shape[0]):
            others[s, k] += lane_sum(work, place)
            place += LANES
        for d in range(n_features):
            first[k, d] += lane_sum(work, place)
            place += LANES
        place = covariance.unload(work, place, second[k], n_features)


class Sums(NamedTuple):
    """The sums of `Statistics` that compiled code adds to: (cluster,), (cluster, feature), (cluster, rows, columns).

    What a component sums beside, (sum, cluster), comes last: no rows for Gaussians.
    """

    counts: Weights
    first: Means
    second: Array
    others: Array

    @classmethod
    def empty(cls, shape: tuple[int, ...], block_shape: tuple[int, ...], *, n_others: int = 0) -> "Sums":
        """Sums over no rows yet, for means (cluster, feature) and blocks (rows, columns)."""
        others = np.zeros((n_others, shape[0]))
        return cls(np.zeros(shape[0]), np.zeros(shape), np.zeros((shape[0], *block_shape)), others)


SUMS = record_type(Sums, OUT_1, OUT_2, OUT_3, OUT_2)


@linked(types.float64(COVARIANCE, COMPONENT, IN_2, IN_1, IN_1, IN_2, IN_3, SUMS))
def add_statistics(
    covariance: Parametrisation,
    component: Component,
    x: Columns,
    row_weights: PerRow,
    log_scale: Weights,
    mu: Means,
    prec: Factors,
    sums: Sums,
) -> float:
    """Add the expected statistics of all rows to the given sums and return the log-likelihood.

    ``log_scale`` is log w_k + log |L_k^-1| - D/2 log 2 pi, of other components than Gaussians with their normalizer
    and, behind it, what else they read; an empty ``row_weights`` means weight one.
    """
    n_features, n_rows = x.shape
    n_components, stride = mu.shape[0], covariance.row_stride(n_rows, n_features)
    n_columns = prec.shape[2]
    n_of_component = 1 + sums.others.shape[0] + n_features + covariance.n_products(n_features, n_columns)
    n_sums = (1 + n_components * n_of_component) * LANES
    n_z = covariance.n_kept(n_features, n_columns) * stride
    n_by_row = (1 + component.n_kept()) * n_components + 4 + n_features
    n_scratch = n_by_row * stride + n_features * TILE + n_components * n_z
    work = np.empty(_CACHE_LINE + n_sums + n_scratch)
    begin = aligned_start(work)
    for i in range(begin, begin + n_sums, LANES):
        store(work, i, zeros(LANES))
    layout = _layout(component, begin + n_sums, stride, mu.shape, n_columns, n_z)
    for start in range(0, n_rows, stride):
        padded = _load_block(layout, x, row_weights, start, min(stride, n_rows - start), work)
        _whiten(covariance, layout, padded, mu, prec, work)
        _normalise(component, layout, log_scale, mu.shape, padded, work, begin)
        _add_block(covariance, component, layout, log_scale, mu.shape, padded, work, begin + LANES)
    _unload(covariance, work, begin + LANES, sums)
    return lane_sum(work, begin)


@linked(types.void(COVARIANCE, COMPONENT, IN_2, IN_1, IN_2, IN_3, OUT_1, OUT_2))
def pointwise(
    covariance: Parametrisation,
    component: Component,
    x: Columns,
    log_scale: Weights,
    mu: Means,
    prec: Factors,
    log_density: PerRow,
    resp: Array,
) -> None:
    """Write log p(row) into ``log_density`` (obs,) and, unless it has no rows, responsibilities (cluster, obs)."""
    n_features, n_rows = x.shape
    n_components, stride = mu.shape[0], covariance.row_stride(n_rows, n_features)
    n_kept = covariance.n_kept(n_features, prec.shape[2])
    n_by_row = (1 + component.n_kept()) * n_components + 4 + n_features + n_kept
    work = np.empty(_CACHE_LINE + n_by_row * stride + n_features * TILE)
    begin = aligned_start(work)
    layout = _layout(component, begin, stride, mu.shape, prec.shape[2], 0)
    store(work, begin, zeros(LANES))
    for start in range(0, n_rows, stride):
        size = min(stride, n_rows - start)
        padded = _load_block(layout, x, log_scale[:0], start, size, work)
        _whiten(covariance, layout, padded, mu, prec, work)
        _normalise(component, layout, log_scale, mu.shape, padded, work, begin)
        for i in range(size):
            log_density[start + i] = work[layout.log_density + i]
        for k in range(resp.shape[0]):
            for i in range(size):
                resp[k, start + i] = work[layout.resp + k * stride + i]
