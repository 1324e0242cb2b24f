"""The log posterior density with gradient in unconstrained coordinates: expected statistics, pseudo-data, algebra.

One pass over the rows gives the sums; the prior adds its pseudo-data to them; what is left are a few small
triangular products. The compiled function reads everything through one array of sizes and addresses, so that
neither new data nor a new shape or prior compiles anything again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numba import carray, cfunc, types

from bayesgmm._common import Array, Factors, IntArray, Means, Weights
from bayesgmm._compiled import OUT_1, Signature, allocation_free, compiled, link, linked
from bayesgmm.data import Block, Data, Patterns
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
from bayesgmm.mixture import (
    COMPONENT,
    COVARIANCE,
    LOG_2PI,
    Component,
    Parametrisation,
    Sums,
    add_rows,
)
from bayesgmm.priors import PseudoData, ResolvedPrior, covariance_counts, mixed_concentration, pseudo_data

_DATA = Signature("columns (d,n), means (k,d)")
_HEADER_SIZE, _ELSEWHERE, _BLOCK_SIZE = 41, 35, 8


@dataclass(frozen=True)
class LogPosterior:
    """Log posterior density of a mixture, Jacobian included, as a function of unconstrained points.

    Attributes
    ----------
    data : Data
    prior : ResolvedPrior
    coordinates : Coordinates
    """

    data: Data
    prior: ResolvedPrior
    coordinates: Coordinates

    def __post_init__(self) -> None:
        """Compiled code reads as far as the sizes of the centre say."""
        _DATA.check(self.data.shape[::-1], self.coordinates.centre.means.shape)

    def __call__(self, point: Array) -> tuple[float, Array]:
        """Value and gradient at one point (n_dim,)."""
        point = np.array(point, dtype=np.float64)  # a copy: compiled code would tell a read-only array apart
        if point.shape != (self.n_dim,):
            raise ValueError(f"a point has shape ({self.n_dim},), this one {point.shape}")
        gradient = np.empty_like(point)
        return self._density(point, gradient, self.header), gradient

    @property
    def n_dim(self) -> int:
        """Number of coordinates."""
        return self.coordinates.n_dim

    @cached_property
    def _density(self) -> Callable[..., float]:
        return _from_addresses.bound(*self.coordinates.centre.kernel)

    @cached_property
    def _arrays(self) -> tuple[Array | IntArray, ...]:
        """Every array the compiled function reads, in the order in which it reads them."""
        centre, at = self.coordinates.centre, self.coordinates
        blocks = [block for block in self.data if block.columns.size]
        prior = pseudo_data(self.prior, centre.n_components, centre.n_features, centre.family)
        log_det = -centre.family.log_precision_determinants(centre.precision_factors, centre.n_features)
        constants = np.array([self.prior.log_constant + at.log_constant, *log_det])
        sparse_weights = np.empty(0) if at.sparse_weights is None else at.sparse_weights.numbers
        around = (at.log_places, centre.means, centre.factors, at.shift, at.bounds, at.matrices, at.restriction)
        behind = centre.component.with_prior.behind(centre.dof)
        arrays = (_rows(blocks), *around, *prior, constants, sparse_weights, self.prior.concentration_nodes, behind)
        return tuple(np.ascontiguousarray(array) for array in arrays)

    @cached_property
    def header(self) -> IntArray:
        """Sizes and addresses for the compiled function; valid as long as this object lives."""
        centre, at = self.coordinates.centre, self.coordinates
        return header_of(
            sum(block.columns.size > 0 for block in self.data),
            centre.n_features,
            centre.n_components,
            *centre.factors.shape,
            centre.family.block_size(centre.n_features),
            len(at.bounds) - 1,
            *at.restriction.shape,
            0 if self.prior.kappa.any() else centre.n_components,
            int(self.prior.scale_prior is not None),
            int(self.prior.separation is not None),
            0 if at.sparse_weights is None else centre.n_components + 1,
            self.prior.concentration_nodes.shape[1],
            *self._arrays[:-1],
            0,  # address of sums over rows that are elsewhere
            len(self._arrays[0]),
            at.n_beside,
            centre.component.n_sums,
            len(self._arrays[-1]),
            self._arrays[-1],
        )

    def given(self, point: Array, elsewhere: Array) -> tuple[float, Array]:
        """Value and gradient at one point, given sums over further rows there.

        They are log-likelihood, counts, first and second moments of `Statistics`, and others, end to end.
        """
        header, gradient = self.header.copy(), np.empty(self.n_dim)
        header[_ELSEWHERE] = elsewhere.ctypes.data
        return self._density(np.array(point, dtype=np.float64), gradient, header), gradient


def _rows(blocks: Sequence[Block]) -> IntArray:
    """Sizes and addresses of blocks of rows and where more of them stands here, and then this, all end to end."""
    more = [np.concatenate([b.patterns.members, b.patterns.table.ravel(), b.allowed]) for b in blocks]
    places = len(blocks) * _BLOCK_SIZE + np.cumsum([0, *map(len, more)])
    of_blocks = [
        (
            block.n_rows,
            block.row_weights.size,
            block.columns.ctypes.data,
            block.row_weights.ctypes.data,
            block.patterns.members.size,
            len(block.patterns.table),
            block.allowed.size,
            place,
        )
        for block, place in zip(blocks, places, strict=False)
    ]
    return np.concatenate([np.array(of_blocks, dtype=np.int64).ravel(), *more])


@cache
def c_log_posterior(covariance: Parametrisation, component: Component) -> Any:  # a numba CFunc
    """The compiled density with the signature that samplers call, loaded from the disk cache if it is there."""

    def log_posterior(n_dim, point, gradient, value, header):  # type: ignore[no-untyped-def]
        slope = carray(gradient, (n_dim,))
        arrays = carray(point, (n_dim,)), slope, carray(header, (_HEADER_SIZE,), np.int64)
        density = _from_addresses(covariance, component, *arrays)
        carray(value, (1,))[0] = density
        if not np.isfinite(density):
            return VALUE_NOT_FINITE
        return FINITE if np.all(np.isfinite(slope)) else GRADIENT_NOT_FINITE

    link(log_posterior, type(covariance), type(component))
    return cfunc(LOG_DENSITY_SIGNATURE, cache=True, error_model="numpy")(log_posterior)


# Sums may be taken in any order, without which the compiler does not vectorise them.
_vectorised = partial(compiled, _nrt=False, fastmath={"reassoc", "contract"})


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
def _expand(restriction, start, q, free):  # type: ignore[no-untyped-def]
    """Put the packed factors of all blocks, R c, in the place of their free coordinates c."""
    for j in range(restriction.shape[1]):
        free[j] = q[start + j]
    for i in range(restriction.shape[0]):
        total = 0.0
        for j in range(restriction.shape[1]):
            total += restriction[i, j] * free[j]
        q[start + i] = total


@allocation_free
def _restrict(restriction, start, gradient, free):  # type: ignore[no-untyped-def]
    """The gradient by free coordinates, Rᵀ times that by packed factors."""
    for j in range(restriction.shape[1]):
        free[j] = 0.0
        for i in range(restriction.shape[0]):
            free[j] += restriction[i, j] * gradient[start + i]
    for j in range(restriction.shape[1]):
        gradient[start + j] = free[j]


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
def _place(covariance, model, layout, at):  # type: ignore[no-untyped-def]
    """Means, factors, inverse factors and log |L| at q."""
    n_components, n_features = model.means.shape
    n_blocks = model.factors.shape[0]
    for g in range(n_blocks):
        start = layout.first_block + g * layout.block_stride
        log_change = covariance.place(
            model.factors[g], at.q[start:], at.change[g], at.factors[g], at.precision_factors[g]
        )
        at.log_det[g] = model.constants[1 + g] + covariance.n_alike(n_features) * log_change
    for k in range(n_components):
        start = layout.first_mean + k * layout.mean_stride
        covariance.multiply(model.factors[min(k, n_blocks - 1)], at.q[start : start + n_features], at.offset)
        for d in range(n_features):
            at.means[k, d] = model.means[k, d] + at.offset[d]


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

    block_size: int
    log_places: Weights
    means: Means
    factors: Factors
    shift: Array
    bounds: IntArray
    matrices: Array
    restriction: Array
    prior: PseudoData
    constants: Array
    sparse_weights: Array
    concentration_nodes: Array
    n_beside: int
    behind: Array


class _Layout(NamedTuple):
    """Where in q what components have beside, the first mean and the first block's factor begin, and the next ones."""

    beside: int
    first_mean: int
    mean_stride: int
    first_block: int
    block_stride: int


class _Point(NamedTuple):
    """A point, the mixture there, its sums over rows and the gradient, all in one piece of memory."""

    q: Array
    gradient: Array
    free: Array
    log_scale: Weights
    log_weights: Weights
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
    others: Array


@compiled
def _carved(n_places, shape, factors_shape, n_behind, n_sums, scratch):  # type: ignore[no-untyped-def]
    """The arrays of a point in memory that begins at an address; see `_from_addresses` for their total size."""
    n_components, n_features = shape
    n_blocks, rows, columns = factors_shape
    points, scratch = _carve(scratch, (3, n_places))
    log_scale, scratch = _carve(scratch, (n_components + n_behind,))
    of_components, scratch = _carve(scratch, (4, n_components))
    of_features, scratch = _carve(scratch, (2, n_features))
    of_means, scratch = _carve(scratch, (2, n_components, n_features))
    of_blocks, scratch = _carve(scratch, (4, n_blocks, rows, columns))
    second_of_components, scratch = _carve(scratch, (n_components, rows, columns))
    others, scratch = _carve(scratch, (n_sums, n_components))
    return _Point(
        points[0],
        points[1],
        points[2],
        log_scale,
        of_components[0],
        of_components[1],
        of_components[2],
        of_components[3],
        of_features[0],
        of_features[1],
        of_means[0],
        of_means[1],
        of_blocks[0],
        of_blocks[1],
        of_blocks[2],
        of_blocks[3],
        second_of_components,
        others,
    )


@allocation_free
def _log_posterior(covariance, component, n_row_blocks, rows, elsewhere, model, at, point, gradient):  # type: ignore[no-untyped-def]
    """Place the parameters, sum over the rows, then prior, gradient and Jacobian."""
    sparse, restricted = model.sparse_weights.shape[0] > 0, model.restriction.shape[0] > 0
    shape, n_beside = model.means.shape, model.n_beside
    layout = _layout(model.block_size, sparse, restricted, n_beside, shape, model.factors.shape[0])
    _inner(point, model.shift, model.bounds, model.matrices, at.q)
    if restricted:
        _expand(model.restriction, layout.first_block, at.q, at.free)
    of_total, log_total = 0.0, 0.0
    if not sparse:
        _log_weights(at.q, model.log_places, at.log_weights)
    else:
        of_total, log_total = _sparse_log_weights(at.q, model.log_places, model.sparse_weights, at.log_weights)
    _place(covariance, model, layout, at)
    value = component.place(model.behind, at.q[layout.beside :], n_beside, shape[0], at.log_scale)
    value += _add_sums(elsewhere, at) + _add_blocks(covariance, component, n_row_blocks, rows, at)
    sums = Sums(at.counts, at.first, at.second_of_components, at.others)
    component.place_gradient(sums, at.log_scale, shape, n_beside, at.gradient[layout.beside :])
    value += add_mean_prior(covariance, at, model.prior)
    value += add_covariance_prior(covariance, at, model.prior)
    value += _add_coordinate_gradients(covariance, model, layout, at)
    value += of_total + _add_concentration(
        at.log_weights, model.prior.concentration, model.concentration_nodes, at.counts
    )
    _weight_gradient(model, log_total, at)
    if restricted:
        _restrict(model.restriction, layout.first_block, at.gradient, at.free)
    _outer_gradient(at.gradient, model.bounds, model.matrices, gradient)
    return value + model.constants[0]


@allocation_free
def _add_sums(elsewhere, at):  # type: ignore[no-untyped-def]
    """Sums over rows that are elsewhere: log-likelihood, counts, moments and others end to end, or none."""
    value, place = 0.0, 1
    if elsewhere.shape[0] == 0:
        return value
    value = elsewhere[0]
    for k in range(at.counts.shape[0]):
        at.counts[k] = elsewhere[place]
        place += 1
    for index in np.ndindex(at.first.shape):
        at.first[index] = elsewhere[place]
        place += 1
    for index in np.ndindex(at.second_of_components.shape):
        at.second_of_components[index] = elsewhere[place]
        place += 1
    for index in np.ndindex(at.others.shape):
        at.others[index] = elsewhere[place]
        place += 1
    return value


@allocation_free
def _add_blocks(covariance, component, n_row_blocks, rows, at):  # type: ignore[no-untyped-def]
    """Sum over the blocks of rows; components that share a covariance add their second moments."""
    n_components, n_features = at.means.shape
    n_blocks, n_rows, n_columns = at.factors.shape
    sums, value = Sums(at.counts, at.first, at.second_of_components, at.others), 0.0
    for b in range(n_row_blocks):
        of_block = rows[b * _BLOCK_SIZE : (b + 1) * _BLOCK_SIZE]
        x, row_weights = _array(of_block[2], (n_features, of_block[0])), _array(of_block[3], (of_block[1],))
        n_members, n_patterns, n_allowed, place = of_block[4], of_block[5], of_block[6], of_block[7]
        table = rows[place + n_members : place + n_members + n_patterns * (2 + n_features)]
        patterns = Patterns(rows[place : place + n_members], table.reshape(n_patterns, 2 + n_features))
        end = place + n_members + table.shape[0]
        for k in range(n_components):
            at.log_scale[k] = at.log_weights[k] - at.log_det[min(k, n_blocks - 1)]
            at.log_scale[k] += component.log_normaliser(at.log_scale, at.means.shape, k)
            if n_allowed > 0 and rows[end + k] == 0:
                at.log_scale[k] = -np.inf
        value += add_rows(
            covariance, component, x, row_weights, patterns, at.log_scale, at.means, at.precision_factors, sums
        )
    for k in range(n_components):
        g = min(k, n_blocks - 1)
        for i in range(n_rows):
            for j in range(n_columns):
                at.second[g, i, j] += at.second_of_components[k, i, j]
    return value


@allocation_free
def _add_coordinate_gradients(covariance, model, layout, at):  # type: ignore[no-untyped-def]
    """Write the gradients in means and factors, Jacobian included; returns its logarithm."""
    value = 0.0
    n_blocks, n_features = model.factors.shape[0], model.means.shape[1]
    covariance_counts(covariance, at.counts, model.prior, n_features, at.totals)
    for g in range(n_blocks):
        start = layout.first_block + g * layout.block_stride
        value += covariance.covariance_gradient(
            at.q[start:], at.change[g], at.second[g], at.totals[g], at.gradient[start:]
        )
    for k in range(model.means.shape[0]):
        start = layout.first_mean + k * layout.mean_stride
        own = at.gradient[start : start + n_features]
        covariance.mean_gradient(at.change[min(k, n_blocks - 1)], at.first[k], own)
    return value


@allocation_free
def _layout(block_size, sparse, restricted, n_beside, shape, n_blocks):  # type: ignore[no-untyped-def]
    n_components, n_features = shape
    n_logs = n_components if sparse else n_components - 1
    first = n_logs + n_beside
    if restricted or n_blocks < n_components:
        return _Layout(n_logs, first, n_features, first + n_components * n_features, block_size)
    return _Layout(n_logs, first, n_features + block_size, first + n_features, n_features + block_size)


@linked(types.float64(COVARIANCE, COMPONENT, OUT_1, OUT_1, types.int64[::1]))
def _from_addresses(
    covariance: Parametrisation, component: Component, point: Array, gradient: Array, info: IntArray
) -> float:
    """The density, reading sizes and addresses from ``info`` as `LogPosterior.header` lays them out."""
    n_row_blocks, d, k, g, rows, columns = info[0], info[1], info[2], info[3], info[4], info[5]
    size, n_affine = info[6], info[7]
    n_packed, n_free, n_independent, n_scales = info[8], info[9], info[10], info[11]
    n_separations, n_sparse, n_nodes = info[12], info[13], info[14]
    bounds = carray(address_as_pointer(info[20]), (n_affine + 1,), np.int64)
    n_entries = 0
    for b in range(n_affine):
        n_entries += (bounds[b + 1] - bounds[b]) ** 2
    prior = PseudoData(
        _array(info[23], (k,)),
        _array(info[24], (k, d)),
        _array(info[25], (k,)),
        _array(info[26], (n_independent, d, d)),
        _array(info[27], (g,)),
        _array(info[28], (g, rows, columns)),
        _array(info[29], (n_scales, rows, columns)),
        _array(info[30], (n_scales,)),
        _array(info[31], (n_separations, 2, d)),
    )
    n_places = point.shape[0] + n_packed - n_free  # packed factors take the place of their free coordinates
    # All the room that is needed, at once, and arrays that know it by its address only: allocating them one by
    # one and counting references to them takes a third of the time when there are few rows.
    n_beside, n_sums, n_behind = info[37], info[38], info[39]
    n_of_components = k * (5 + 2 * d + rows * columns + n_sums) + n_behind
    scratch = np.zeros(3 * n_places + 2 * d + n_of_components + 4 * g * rows * columns)
    model = _Model(
        size,
        _array(info[16], (k,)),
        _array(info[17], (k, d)),
        _array(info[18], (g, rows, columns)),
        _array(info[19], (point.shape[0],)),
        bounds,
        _array(info[21], (n_entries,)),
        _array(info[22], (n_packed, n_free)),
        prior,
        _array(info[32], (1 + g,)),
        _array(info[33], (n_sparse,)),
        _array(info[34], (2, n_nodes)),
        n_beside,
        _array(info[40], (n_behind,)),
    )
    at = _carved(n_places, (k, d), (g, rows, columns), n_behind, n_sums, scratch.ctypes.data)
    blocks = carray(address_as_pointer(info[15]), (info[36],), np.int64)
    elsewhere = _array(info[35], (1 + k * (1 + d + rows * columns + n_sums) if info[35] != 0 else 0,))
    value = _log_posterior(covariance, component, n_row_blocks, blocks, elsewhere, model, at, point, gradient)
    scratch[0] = value  # whatever is used here is not freed before
    return scratch[0]
