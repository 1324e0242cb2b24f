"""The log posterior density with gradient in unconstrained coordinates: expected statistics, pseudo-data, algebra.

One pass over the rows gives the sums; the prior adds its pseudo-data to them; what is left are a few small
triangular products. The compiled function reads everything through one array of sizes and addresses, so that
neither new data nor a new shape or prior compiles anything again.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
from numba import carray, cfunc, njit, types

from bayesgmm._common import Array, Columns, Factors, IntArray, Means, PerRow, Weights
from bayesgmm._compiled import OUT_1, Signature, allocation_free, compiled, invert_lower, link, linked, multiply_lower
from bayesgmm.exceptions import InputError
from bayesgmm.log_posterior._cfunc import (
    FINITE,
    GRADIENT_NOT_FINITE,
    LOG_DENSITY_SIGNATURE,
    VALUE_NOT_FINITE,
    address_as_pointer,
    header_of,
)
from bayesgmm.log_posterior.log_prior import add_covariance_prior, add_mean_prior
from bayesgmm.log_posterior.log_weights import sparse_log_weight
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture import FULL, LOG_2PI, SPHERICAL, Sums, add_statistics
from bayesgmm.priors import PseudoData, ResolvedPrior, covariance_counts, mixed_concentration, pseudo_data, to_factor

_DATA = Signature("columns (d,n), means (k,d)")


@dataclass(frozen=True)
class LogPosterior:
    """Log posterior density of a mixture, Jacobian included, as a function of unconstrained points.

    Attributes
    ----------
    columns : (feature, obs)
        The data, C-contiguous.
    row_weights : (obs,) or (0,)
    prior : ResolvedPrior
    coordinates : Coordinates
    """

    columns: Columns
    row_weights: PerRow
    prior: ResolvedPrior
    coordinates: Coordinates

    def __post_init__(self) -> None:
        """Compiled code reads as far as the sizes of the centre say."""
        _DATA.check(self.columns.shape, self.coordinates.centre.means.shape)
        if self.row_weights.shape not in ((0,), self.columns.shape[1:]):
            raise InputError(
                expected=f"row_weights of shape {self.columns.shape[1:]} or (0,)", got=f"shape {self.row_weights.shape}"
            )

    def __call__(self, point: Array) -> tuple[float, Array]:
        """Value and gradient at one point (n_dim,)."""
        point = np.array(point, dtype=np.float64)  # a copy: compiled code would tell a read-only array apart
        if point.shape != (self.n_dim,):
            raise ValueError(f"a point has shape ({self.n_dim},), this one {point.shape}")
        gradient = np.empty_like(point)
        return _from_addresses(point, gradient, self.header), gradient

    @property
    def n_dim(self) -> int:
        """Number of coordinates."""
        return self.coordinates.n_dim

    @cached_property
    def _arrays(self) -> tuple[Array | IntArray, ...]:
        """Every array the compiled function reads, in the order in which it reads them."""
        centre = self.coordinates.centre
        shape = (centre.n_components, centre.n_features)
        prior = pseudo_data(self.prior, *shape, centre.family)
        data = (self.columns, self.row_weights)
        around = (self.coordinates.log_places, centre.means, centre.factors)
        affine = (self.coordinates.shift, self.coordinates.bounds, self.coordinates.matrices)
        log_det = -centre.family.log_precision_determinants(centre.precision_factors, centre.n_features)
        constants = np.array([self.prior.log_constant + self.coordinates.log_constant, *log_det])
        sparse_weights = (
            np.empty(0) if self.coordinates.sparse_weights is None else self.coordinates.sparse_weights.numbers
        )
        sparse = (sparse_weights, self.prior.concentration_nodes)
        return tuple(np.ascontiguousarray(a) for a in (*data, *around, *affine, *prior, constants, *sparse))

    @cached_property
    def header(self) -> IntArray:
        """Sizes and addresses for the compiled function; valid as long as this object lives."""
        centre = self.coordinates.centre
        return header_of(
            centre.family.residual,
            self.columns.shape[1],
            self.row_weights.size,
            centre.n_features,
            centre.n_components,
            centre.family.n_blocks(centre.n_components),
            len(self.coordinates.bounds) - 1,
            int(not self.prior.kappa.any()),
            *self._arrays,
            int(self.prior.scale_prior is not None),
            int(self.prior.separation is not None),
            0 if self.coordinates.sparse_weights is None else centre.n_components + 1,
            self.prior.concentration_nodes.shape[1],
        )


@cache
def c_log_posterior() -> Any:  # a numba CFunc
    """The compiled density with the signature that samplers call, loaded from the disk cache if it is there."""
    link(_c_log_posterior)
    return cfunc(LOG_DENSITY_SIGNATURE, cache=True, error_model="numpy")(_c_log_posterior)


# Sums may be taken in any order, without which the compiler does not vectorise them.
_vectorised = njit(cache=True, nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract"})


@_vectorised
def _inner(point: Array, shift: Array, bounds: IntArray, matrices: Array, inner: Array) -> None:
    """inner = shift + A y."""
    offset = 0
    for b in range(bounds.shape[0] - 1):
        start, size = bounds[b], bounds[b + 1] - bounds[b]
        block = matrices[offset : offset + size * size].reshape(size, size)
        y = point[start : start + size]
        for i in range(size):
            total = 0.0
            for j in range(i + 1):
                total += block[i, j] * y[j]
            inner[start + i] = shift[start + i] + total
        offset += size * size


@_vectorised
def _outer_gradient(inner: Array, bounds: IntArray, matrices: Array, gradient: Array) -> None:
    """gradient = Aᵀ (gradient in q)."""
    for i in range(gradient.shape[0]):
        gradient[i] = 0.0
    offset = 0
    for b in range(bounds.shape[0] - 1):
        start, size = bounds[b], bounds[b + 1] - bounds[b]
        block = matrices[offset : offset + size * size].reshape(size, size)
        own = gradient[start : start + size]
        for i in range(size):
            slope = inner[start + i]
            for j in range(i + 1):
                own[j] += block[i, j] * slope
        offset += size * size


@allocation_free
def _factor_change(residual: int, q: Array, start: int, change: Array) -> None:
    """C of one block from its packed coordinates."""
    index = start
    for i in range(change.shape[0]):
        for j in range(change.shape[1]):
            if residual == FULL and j > i:
                change[i, j] = 0.0
                continue
            change[i, j] = math.exp(q[index]) if residual != FULL or i == j else q[index]
            index += 1


@allocation_free
def _log_weights(q: Array, log_w0: Weights, log_w: Weights) -> None:
    n_components = log_w0.shape[0]
    highest = log_w0[n_components - 1]
    for k in range(n_components):
        log_w[k] = log_w0[k] + (q[k] if k < n_components - 1 else 0.0)
        highest = max(highest, log_w[k])
    total = 0.0
    for k in range(n_components):
        total += math.exp(log_w[k] - highest)
    for k in range(n_components):
        log_w[k] -= highest + math.log(total)


@allocation_free
def _sparse_log_weights(q: Array, log_places: Weights, sparse_weights: Array, log_w: Weights) -> tuple[float, float]:
    """Logarithms of weights, log density of their sum with the slopes' part of the Jacobian, and the sum's log."""
    n_components = log_places.shape[0]
    highest, value, total = -np.inf, 0.0, 0.0
    for k in range(n_components):
        log_w[k], slope, _ = sparse_log_weight(log_places[k] + q[k], sparse_weights[k], sparse_weights[n_components])
        value += math.log(slope)
        highest = max(highest, log_w[k])
    for k in range(n_components):
        total += math.exp(log_w[k] - highest)
    log_total = highest + math.log(total)
    for k in range(n_components):
        log_w[k] -= log_total
    return value - 0.5 * (log_total**2 + LOG_2PI), log_total


@allocation_free
def _add_concentration(log_w: Weights, concentration: Weights, nodes: Array, counts: Weights) -> float:
    """Add the concentration, or its mean given the weights, to the counts.

    Returns the log density of the weights less constants, with the Jacobian of log-ratios.
    """
    value = 0.0
    if nodes.shape[1] == 0:
        for k in range(log_w.shape[0]):
            value += concentration[k] * log_w[k]  # the Dirichlet's a - 1 and the Jacobian's 1
            counts[k] += concentration[k]
        return value
    for k in range(log_w.shape[0]):
        value += log_w[k]
    value, mean = mixed_concentration(nodes, value)
    for k in range(log_w.shape[0]):
        counts[k] += mean
    return value


@allocation_free
def _weight_gradient(model, log_total, at):  # type: ignore[no-untyped-def]
    """Gradient in u, from counts of rows and concentration."""
    n_components, mass, sparse_weights = at.counts.shape[0], 0.0, model.sparse_weights
    for k in range(n_components):
        mass += at.counts[k]
    if sparse_weights.shape[0] == 0:
        for k in range(n_components - 1):
            at.gradient[k] = at.counts[k] - math.exp(at.log_weights[k]) * mass
        return
    for k in range(n_components):
        _, slope, curvature = sparse_log_weight(
            model.log_places[k] + at.q[k], sparse_weights[k], sparse_weights[n_components]
        )
        share = math.exp(at.log_weights[k])
        at.gradient[k] = (at.counts[k] - share * (mass + log_total)) * slope + curvature / slope


@allocation_free
def _place(model, layout, at):  # type: ignore[no-untyped-def]
    """Means, factors, inverse factors and log |L| at q."""
    residual, factors0, q = model.residual, model.factors, at.q
    n_components, n_features = model.means.shape
    n_blocks = factors0.shape[0]
    for g in range(n_blocks):
        at.log_det[g] = model.constants[1 + g]
        start = layout.first_block + g * layout.stride
        _factor_change(residual, q, start, at.change[g])
        if residual == FULL:
            multiply_lower(factors0[g], at.change[g], at.factors[g])
            invert_lower(at.factors[g], at.precision_factors[g])
            for i in range(n_features):
                at.log_det[g] += q[start + i * (i + 3) // 2]
        else:
            width = n_features if residual == SPHERICAL else 1
            for j in range(factors0.shape[2]):
                at.factors[g, 0, j] = factors0[g, 0, j] * at.change[g, 0, j]
                at.precision_factors[g, 0, j] = 1.0 / at.factors[g, 0, j]
                at.log_det[g] += width * q[start + j]
    for k in range(n_components):
        start = layout.n_logs + k * layout.stride
        to_factor(residual, factors0, min(k, n_blocks - 1), q[start : start + n_features], at.offset, False)
        for d in range(n_features):
            at.means[k, d] = model.means[k, d] + at.offset[d]


@allocation_free
def _mean_gradient(residual, change, g, first, gradient):  # type: ignore[no-untyped-def]
    """Solve Cᵀ gradient = first: the gradient in m."""
    n_features = first.shape[0]
    last = change.shape[2] - 1
    for i in range(n_features - 1, -1, -1):
        total = first[i]
        if residual == FULL:
            for j in range(i + 1, n_features):
                total -= change[g, j, i] * gradient[j]
            gradient[i] = total / change[g, i, i]
        else:
            gradient[i] = total / change[g, 0, min(i, last)]


@allocation_free
def _covariance_gradient(residual, q, change, second, total, gradient, column):  # type: ignore[no-untyped-def]
    """Gradient in c of one block, tril(C^-T (second - total I)) and the Jacobian; returns the log-Jacobian in C."""
    jacobian = 0.0
    if residual != FULL:
        for j in range(change.shape[1]):
            gradient[j] = second[0, j] - total + 2.0
            jacobian += 2.0 * q[j]
        return jacobian
    n = change.shape[0]
    for j in range(n):
        for i in range(n - 1, j - 1, -1):
            value = second[i, j] - (total if i == j else 0.0)
            for h in range(i + 1, n):
                value -= change[h, i] * column[h]
            column[i] = value / change[i, i]
            gradient[i * (i + 1) // 2 + j] = column[i]
        diagonal = j * (j + 1) // 2 + j
        power = n - j + 1.0
        jacobian += power * q[diagonal]
        gradient[diagonal] = gradient[diagonal] * change[j, j] + power
    return jacobian


@compiled
def _array(address, shape):  # type: ignore[no-untyped-def]
    return carray(address_as_pointer(address), shape, np.float64)


@compiled
def _carve(address, shape):  # type: ignore[no-untyped-def]
    """An array of the shape at the address, and the address behind it."""
    array = _array(address, shape)
    return array, address + 8 * array.size


class _Model(NamedTuple):
    """What the density reads besides the rows, as `LogPosterior.header` lays it out."""

    residual: int
    log_places: Weights
    means: Means
    factors: Factors
    shift: Array
    bounds: IntArray
    matrices: Array
    prior: PseudoData
    constants: Array
    sparse_weights: Array
    concentration_nodes: Array


class _Layout(NamedTuple):
    """Where in q the first component's mean and the first block's factor begin, and how far apart the next ones are."""

    n_logs: int
    first_block: int
    stride: int


class _Point(NamedTuple):
    """A point, the mixture there, its sums over rows and the gradient, all in one piece of memory."""

    q: Array
    gradient: Array
    log_weights: Weights
    log_scale: Weights
    counts: Weights
    log_det: Array
    totals: Array
    offset: Array
    product: Array
    means: Means
    first: Means
    factors: Factors
    precision_factors: Factors
    change: Factors
    second: Factors
    second_of_components: Array


@compiled
def _carved(n_dim, shape, factors_shape, scratch):  # type: ignore[no-untyped-def]
    """The arrays of a point in memory that begins at an address; see `_from_addresses` for their total size."""
    n_components, n_features = shape
    n_blocks, rows, columns = factors_shape
    points, scratch = _carve(scratch, (2, n_dim))
    of_components, scratch = _carve(scratch, (5, n_components))
    of_features, scratch = _carve(scratch, (2, n_features))
    of_means, scratch = _carve(scratch, (2, n_components, n_features))
    of_blocks, scratch = _carve(scratch, (4, n_blocks, rows, columns))
    second_of_components, scratch = _carve(scratch, (n_components, rows, columns))
    return _Point(
        points[0],
        points[1],
        of_components[0],
        of_components[1],
        of_components[2],
        of_components[3],
        of_components[4],
        of_features[0],
        of_features[1],
        of_means[0],
        of_means[1],
        of_blocks[0],
        of_blocks[1],
        of_blocks[2],
        of_blocks[3],
        second_of_components,
    )


@allocation_free
def _log_posterior(x, row_weights, model, at, point, gradient):  # type: ignore[no-untyped-def]
    """Place the parameters, sum over the rows, then prior, gradient and Jacobian."""
    shape, n_blocks = model.means.shape, model.factors.shape[0]
    layout = _layout(model.residual, model.sparse_weights.shape[0] > 0, shape, n_blocks)
    _inner(point, model.shift, model.bounds, model.matrices, at.q)
    of_total, log_total = 0.0, 0.0
    if model.sparse_weights.shape[0] == 0:
        _log_weights(at.q, model.log_places, at.log_weights)
    else:
        of_total, log_total = _sparse_log_weights(at.q, model.log_places, model.sparse_weights, at.log_weights)
    _place(model, layout, at)
    value = _add_rows(x, row_weights, model.residual, at)
    value += add_mean_prior(model.residual, at, model.prior)
    value += add_covariance_prior(model.residual, at, model.prior)
    value += _add_coordinate_gradients(model, layout, at)
    value += of_total + _add_concentration(
        at.log_weights, model.prior.concentration, model.concentration_nodes, at.counts
    )
    _weight_gradient(model, log_total, at)
    _outer_gradient(at.gradient, model.bounds, model.matrices, gradient)
    return value + model.constants[0]


@allocation_free
def _add_rows(x, row_weights, residual, at):  # type: ignore[no-untyped-def]
    """Sum over the rows; components that share a covariance add their second moments."""
    n_components, n_features = at.means.shape
    n_blocks, rows, columns = at.factors.shape
    for k in range(n_components):
        at.log_scale[k] = at.log_weights[k] - at.log_det[min(k, n_blocks - 1)] - 0.5 * n_features * LOG_2PI
    sums = Sums(at.counts, at.first, at.second_of_components)
    value = add_statistics(residual, x, row_weights, at.log_scale, at.means, at.precision_factors, sums)
    for k in range(n_components):
        g = min(k, n_blocks - 1)
        for i in range(rows):
            for j in range(columns):
                at.second[g, i, j] += at.second_of_components[k, i, j]
    return value


@allocation_free
def _add_coordinate_gradients(model, layout, at):  # type: ignore[no-untyped-def]
    """Write the gradients in means and factors, Jacobian included; returns its logarithm."""
    value = 0.0
    n_blocks, n_features = model.factors.shape[0], model.means.shape[1]
    covariance_counts(model.residual, at.counts, model.prior, n_features, at.totals)
    for g in range(n_blocks):
        start = layout.first_block + g * layout.stride
        value += _covariance_gradient(
            model.residual, at.q[start:], at.change[g], at.second[g], at.totals[g], at.gradient[start:], at.offset
        )
    for k in range(model.means.shape[0]):
        start = layout.n_logs + k * layout.stride
        g, own = min(k, n_blocks - 1), at.gradient[start : start + n_features]
        _mean_gradient(model.residual, at.change, g, at.first[k], own)
    return value


@allocation_free
def _layout(residual, bent_weights, shape, n_blocks):  # type: ignore[no-untyped-def]
    n_components, n_features = shape
    n_logs = n_components if bent_weights else n_components - 1
    if n_blocks < n_components:
        return _Layout(n_logs, n_logs + n_components * n_features, n_features)
    size = n_features * (n_features + 1) // 2
    if residual != FULL:
        size = 1 if residual == SPHERICAL else n_features
    return _Layout(n_logs, n_logs + n_features, n_features + size)


@linked(types.float64(OUT_1, OUT_1, types.int64[::1]))
def _from_addresses(point: Array, gradient: Array, info: IntArray) -> float:
    """The density, reading sizes and addresses from ``info`` as `LogPosterior.header` lays them out."""
    residual, n_rows, n_weights, d, k, g, n_blocks = info[0], info[1], info[2], info[3], info[4], info[5], info[6]
    independent = k if info[7] else 0
    rows = d if residual == FULL else 1
    columns = 1 if residual == SPHERICAL else d
    bounds = carray(address_as_pointer(info[14]), (n_blocks + 1,), np.int64)
    n_entries = 0
    for b in range(n_blocks):
        n_entries += (bounds[b + 1] - bounds[b]) ** 2
    prior = PseudoData(
        _array(info[16], (k,)),
        _array(info[17], (k, d)),
        _array(info[18], (k,)),
        _array(info[19], (independent, d, d)),
        _array(info[20], (g,)),
        _array(info[21], (g, rows, columns)),
        _array(info[22], (info[28], rows, columns)),
        _array(info[23], (info[28],)),
        _array(info[24], (info[29], 2, d)),
    )
    # All the room that is needed, at once, and arrays that know it by its address only: allocating them one by
    # one and counting references to them takes a third of the time when there are few rows.
    scratch = np.zeros(2 * (point.shape[0] + d) + k * (5 + 2 * d + rows * columns) + 4 * g * rows * columns)
    model = _Model(
        residual,
        _array(info[10], (k,)),
        _array(info[11], (k, d)),
        _array(info[12], (g, rows, columns)),
        _array(info[13], (point.shape[0],)),
        bounds,
        _array(info[15], (n_entries,)),
        prior,
        _array(info[25], (1 + g,)),
        _array(info[26], (info[30],)),
        _array(info[27], (2, info[31])),
    )
    x, row_weights = _array(info[8], (d, n_rows)), _array(info[9], (n_weights,))
    at = _carved(point.shape[0], (k, d), (g, rows, columns), scratch.ctypes.data)
    value = _log_posterior(x, row_weights, model, at, point, gradient)
    scratch[0] = value  # whatever is used here is not freed before
    return scratch[0]


def _c_log_posterior(n_dim, point, gradient, value, user_data):  # type: ignore[no-untyped-def]
    slope = carray(gradient, (n_dim,))
    density = _from_addresses(carray(point, (n_dim,)), slope, carray(user_data, (32,), np.int64))
    carray(value, (1,))[0] = density
    if not np.isfinite(density):
        return VALUE_NOT_FINITE
    return FINITE if np.all(np.isfinite(slope)) else GRADIENT_NOT_FINITE
