"""The log posterior density with gradient in unconstrained coordinates: expected statistics, pseudo-data, algebra.

One pass over the rows gives the sums; the prior adds its pseudo-data to them; what is left are a few small
triangular products. The compiled function reads everything through one array of sizes and addresses, so that
neither new data nor a new shape or prior compiles anything again.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from bayesgmm._common import Array, Columns, Factors, IntArray, Means, PerRow, Weights
from bayesgmm._compiled import OUT_1, Signature, compiled, invert_lower, link, linked, multiply_lower
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
from bayesgmm.log_posterior.log_weights import bent
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
        bend = np.empty(0) if self.coordinates.bend is None else self.coordinates.bend.numbers
        sparse = (bend, self.prior.concentration_nodes)
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
            0 if self.coordinates.bend is None else centre.n_components + 1,
            self.prior.concentration_nodes.shape[1],
        )


@cache
def c_log_posterior() -> Any:  # a numba CFunc
    """The compiled density with the signature that samplers call, loaded from the disk cache if it is there."""
    link(_c_log_posterior)
    return cfunc(LOG_DENSITY_SIGNATURE, cache=True, error_model="numpy")(_c_log_posterior)


# Sums may be taken in any order, without which the compiler does not vectorise them.
_vectorised = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


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


@compiled
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


@compiled
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


@compiled
def _bent_log_weights(q: Array, log_places: Weights, bend: Array, log_w: Weights) -> tuple[float, float]:
    """Logarithms of weights, log density of their sum with the slopes' part of the Jacobian, and the sum's log."""
    n_components = log_places.shape[0]
    highest, value, total = -np.inf, 0.0, 0.0
    for k in range(n_components):
        log_w[k], slope, _ = bent(log_places[k] + q[k], bend[k], bend[n_components])
        value += math.log(slope)
        highest = max(highest, log_w[k])
    for k in range(n_components):
        total += math.exp(log_w[k] - highest)
    log_total = highest + math.log(total)
    for k in range(n_components):
        log_w[k] -= log_total
    return value - 0.5 * (log_total**2 + LOG_2PI), log_total


@compiled
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


@compiled
def _weight_gradient(q, log_places, bend, log_total, log_w, counts, gradient):  # type: ignore[no-untyped-def]
    """Gradient in u, from counts of rows and concentration."""
    n_components, mass = log_w.shape[0], 0.0
    for k in range(n_components):
        mass += counts[k]
    if bend.shape[0] == 0:
        for k in range(n_components - 1):
            gradient[k] = counts[k] - math.exp(log_w[k]) * mass
        return
    for k in range(n_components):
        _, slope, curvature = bent(log_places[k] + q[k], bend[k], bend[n_components])
        gradient[k] = (counts[k] - math.exp(log_w[k]) * (mass + log_total)) * slope + curvature / slope


@compiled
def _place(residual, q, mu0, factors0, n_logs, first_block, stride, mu, factors, prec, change, log_det, step):  # type: ignore[no-untyped-def]
    """Means, factors, inverse factors and log |L|, which comes in as that of the centre, at q."""
    n_components, n_features = mu0.shape
    n_blocks = factors0.shape[0]
    for g in range(n_blocks):
        _factor_change(residual, q, first_block + g * stride, change[g])
        if residual == FULL:
            multiply_lower(factors0[g], change[g], factors[g])
            invert_lower(factors[g], prec[g])
            for i in range(n_features):
                log_det[g] += q[first_block + g * stride + i * (i + 3) // 2]
        else:
            width = n_features if residual == SPHERICAL else 1
            for j in range(factors.shape[2]):
                factors[g, 0, j] = factors0[g, 0, j] * change[g, 0, j]
                prec[g, 0, j] = 1.0 / factors[g, 0, j]
                log_det[g] += width * q[first_block + g * stride + j]
    for k in range(n_components):
        start = n_logs + k * stride
        to_factor(residual, factors0, min(k, n_blocks - 1), q[start : start + n_features], step, False)
        for d in range(n_features):
            mu[k, d] = mu0[k, d] + step[d]


@compiled
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


@compiled
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


@compiled
def _log_posterior(  # type: ignore[no-untyped-def]
    residual: int,
    point: Array,
    gradient: Array,
    x: Columns,
    row_weights: PerRow,
    log_w0: Weights,
    mu0: Means,
    factors0: Factors,
    shift: Array,
    bounds: IntArray,
    matrices: Array,
    prior: PseudoData,
    constants: Array,
    bend: Array,
    nodes: Array,
    scratch: int,
):
    n_components, n_features = mu0.shape
    n_blocks, rows, columns = factors0.shape
    points, scratch = _carve(scratch, (2, point.shape[0]))
    of_components, scratch = _carve(scratch, (4, n_components))
    of_features, scratch = _carve(scratch, (2, n_features))
    of_means, scratch = _carve(scratch, (2, n_components, n_features))
    of_blocks, scratch = _carve(scratch, (4, n_blocks, rows, columns))
    sums, scratch = _carve(scratch, (n_components, rows, columns))
    q, q_gradient = points[0], points[1]
    log_w, log_scale, counts, log_det = of_components[0], of_components[1], of_components[2], of_components[3]
    mu, first = of_means[0], of_means[1]
    factors, prec, change, second = of_blocks[0], of_blocks[1], of_blocks[2], of_blocks[3]
    _inner(point, shift, bounds, matrices, q)
    n_logs = n_components - 1 if bend.shape[0] == 0 else n_components
    first_block, stride = _layout(residual, n_logs, n_components, n_features, n_blocks)
    of_total, log_total = 0.0, 0.0
    if bend.shape[0] == 0:
        _log_weights(q, log_w0, log_w)
    else:
        of_total, log_total = _bent_log_weights(q, log_w0, bend, log_w)
    for g in range(n_blocks):
        log_det[g] = constants[1 + g]
    _place(residual, q, mu0, factors0, n_logs, first_block, stride, mu, factors, prec, change, log_det, of_features[0])
    for k in range(n_components):
        log_scale[k] = log_w[k] - log_det[min(k, n_blocks - 1)] - 0.5 * n_features * LOG_2PI
    value = add_statistics(residual, x, row_weights, log_scale, mu, prec, Sums(counts, first, sums))
    for k in range(n_components):
        g = min(k, n_blocks - 1)
        for i in range(rows):
            for j in range(columns):
                second[g, i, j] += sums[k, i, j]
    value += add_mean_prior(residual, mu, factors, prec, log_det, prior, first, second, of_features[0], of_features[1])
    value += add_covariance_prior(residual, factors, prec, log_det, prior, second)
    totals = covariance_counts(residual, counts, prior, n_features)
    for g in range(n_blocks):
        start = first_block + g * stride
        value += _covariance_gradient(
            residual, q[start:], change[g], second[g], totals[g], q_gradient[start:], of_features[0]
        )
    for k in range(n_components):
        start = n_logs + k * stride
        _mean_gradient(residual, change, min(k, n_blocks - 1), first[k], q_gradient[start : start + n_features])
    value += of_total + _add_concentration(log_w, prior.concentration, nodes, counts)
    _weight_gradient(q, log_w0, bend, log_total, log_w, counts, q_gradient)
    _outer_gradient(q_gradient, bounds, matrices, gradient)
    return value + constants[0]


@compiled
def _layout(residual: int, n_logs: int, n_components: int, n_features: int, n_blocks: int) -> tuple[int, int]:
    """Where the first block's factor begins in q, and the distance from one component to the next."""
    if n_blocks < n_components:
        return n_logs + n_components * n_features, n_features
    size = n_features * (n_features + 1) // 2
    if residual != FULL:
        size = 1 if residual == SPHERICAL else n_features
    return n_logs + n_features, n_features + size


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
    scratch = np.zeros(2 * (point.shape[0] + d) + k * (4 + 2 * d + rows * columns) + 4 * g * rows * columns)
    value = _log_posterior(
        residual,
        point,
        gradient,
        _array(info[8], (d, n_rows)),
        _array(info[9], (n_weights,)),
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
        scratch.ctypes.data,
    )
    scratch[0] = value  # whatever is used here is not freed before
    return scratch[0]


def _c_log_posterior(n_dim, point, gradient, value, user_data):  # type: ignore[no-untyped-def]
    slope = carray(gradient, (n_dim,))
    density = _from_addresses(carray(point, (n_dim,)), slope, carray(user_data, (32,), np.int64))
    carray(value, (1,))[0] = density
    if not np.isfinite(density):
        return VALUE_NOT_FINITE
    return FINITE if np.all(np.isfinite(slope)) else GRADIENT_NOT_FINITE
