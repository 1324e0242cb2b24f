"""Full covariance matrices: any positive definite matrix, as its lower Cholesky factor."""

import math
from typing import Any

import numpy as np
from numba import types
from scipy.special import multigammaln

from bayesgmm._common import Array, Covariances, Factors, IntArray
from bayesgmm._compiled import (
    LANES,
    OUT_2,
    OUT_3,
    TILE,
    allocation_free,
    cholesky_lower,
    compiled,
    invert_lower,
    linked,
    load,
    multiply_lower,
    store,
    zeros,
)
from bayesgmm.mixture.covariance.floors import write_factor
from bayesgmm.mixture.covariance.parametrisation import NEGLIGIBLE, Parametrisation
from bayesgmm.mixture.covariance.rotations import rotate_away, rotate_back
from bayesgmm.mixture.covariance.wishart import (
    bartlett,
    draw_inverse_wishart,
    draw_inverse_wishart_factor,
    draw_wishart,
    log_inverse_wishart,
)
from bayesgmm.mixture.kernel_layout import BLOCK, add_pair, add_products, add_single, add_two, lane_sum

_LOG_2 = float(np.log(2.0))


class Full(Parametrisation):
    """Any positive definite matrix."""

    correlated = True
    follows_rank = True

    def block_shape(self, d: int) -> tuple[int, int]:
        return d, d

    def size(self, d: int) -> int:
        return d * (d + 1) // 2

    def natural_shape(self, d: int) -> tuple[int, ...]:
        return d, d

    def entries(self, d: int) -> tuple[IntArray, IntArray]:
        rows, columns = np.tril_indices(d)
        return rows, columns

    def factors(self, blocks: Array) -> Factors:
        return np.linalg.cholesky(blocks)

    def natural(self, factors: Factors) -> Covariances:
        return factors @ np.swapaxes(factors, -1, -2)

    def matrices(self, factors: Factors, d: int) -> Covariances:
        return factors @ np.swapaxes(factors, -1, -2)

    def compress(self, matrices: Covariances) -> Covariances:
        return matrices

    def blocks(self, matrices: Array) -> Array:
        return matrices

    def uncorrelated(self, values: Array) -> Array:
        return values[..., None] * np.eye(values.shape[-1])

    def inverse(self, values: Array) -> Array:
        return np.linalg.inv(values)

    def log_determinants(self, factors: Factors, d: int) -> Array:
        return np.asarray(np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1))

    def precision_factors(self, matrices: Covariances) -> Factors:
        return np.linalg.inv(np.linalg.cholesky(matrices))

    def square(self, factors: Factors, d: int) -> Array:
        return factors

    def product(self, one: Factors, other: Factors) -> Factors:
        return one @ other

    def times(self, factors: Factors, vectors: Array) -> Array:
        if factors.ndim == 2:
            return vectors @ factors.T
        return np.asarray((factors @ vectors[..., None])[..., 0])

    def pack(self, factors: Factors) -> Array:
        rows, columns = np.tril_indices(factors.shape[-1])
        packed: Array = -self.inverse(factors)[..., rows, columns]
        packed[..., rows == columns] = -np.log(-packed[..., rows == columns])
        return packed

    def unpack(self, packed: Array, d: int) -> Factors:
        rows, columns = np.tril_indices(d)
        inverse = np.zeros((*packed.shape[:-1], d, d))
        inverse[..., rows, columns] = -packed
        diagonal = np.arange(d)
        inverse[..., diagonal, diagonal] = np.exp(inverse[..., diagonal, diagonal])
        return np.tril(self.inverse(inverse))

    def volume_powers(self, d: int) -> Array:
        rows, columns = self.entries(d)
        return np.where(rows == columns, 2.0 * d - rows, 0.0)

    def width(self, d: int) -> int:
        return 1

    def prior_power(self, d: int) -> float:
        return d + 1.0

    def power(self, precision_factors: Factors, d: int) -> Array:
        return self.log_determinants(precision_factors, d)

    def scale_roots(self, scale: Array) -> Array:
        return np.linalg.cholesky(scale)

    def scale_log_determinants(self, scale: Array) -> Array:
        return np.asarray(np.linalg.slogdet(scale)[1])

    def precisions(self, precision_factors: Factors) -> Array:
        return np.swapaxes(precision_factors, -1, -2) @ precision_factors

    def log_normaliser(self, dof: Array, scale: Array, d: int) -> Array:
        half = 0.5 * dof
        return np.asarray(half * self.scale_log_determinants(scale) - half * d * _LOG_2 - multigammaln(half, d))

    def marginal_log_normaliser(self, dof: Array, n: float, scale: Array) -> float:
        half, half_count, d = 0.5 * dof, 0.5 * float(n + dof.sum()), len(scale)
        gammas = multigammaln(half_count, d) - multigammaln(0.5 * n, d) - float(multigammaln(half, d).sum())
        return float(gammas - 0.5 * n * self.scale_log_determinants(scale))

    def draw_wisharts(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        factor = np.linalg.cholesky(scale) @ bartlett(np.broadcast_to(dof, scale.shape[:-2]), scale.shape[-1], rng)
        return np.asarray(factor @ np.swapaxes(factor, -1, -2))

    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        """If A Aᵀ ~ W(nu, I) then L A⁻ᵀ A⁻¹ Lᵀ ~ IW(nu, L Lᵀ)."""
        inner = bartlett(np.broadcast_to(dof, scale.shape[:-2]), scale.shape[-1], rng)
        return np.asarray(np.linalg.cholesky(scale) @ np.swapaxes(np.linalg.inv(inner), -1, -2))

    def basis(self, d: int) -> Array:
        rows, columns = self.entries(d)
        basis = np.zeros((len(rows), d, d))
        index = np.arange(len(rows))
        basis[index, rows, columns] = basis[index, columns, rows] = 1.0
        return basis

    def scores(self, z: Array) -> Array:
        rows, columns = self.entries(z.shape[1])
        diagonal = rows == columns
        return z[:, rows] * z[:, columns] * np.where(diagonal, 0.5, 1.0) - 0.5 * diagonal

    def slopes(self, second: Array, total: float) -> Array:
        d = len(second)
        return np.asarray(np.einsum("aij,ij->a", self.basis(d), second - total * np.eye(d)))

    def information(self, second: Array, total: float) -> Array:
        d = len(second)
        basis = self.basis(d)
        flat = basis.reshape(len(basis), -1)
        product = (basis @ (second - 0.5 * total * np.eye(d))).reshape(flat.shape) @ flat.T
        return np.asarray(0.5 * (product + product.T))

    # ---- the kernel

    @staticmethod
    @allocation_free
    def row_stride(n_rows, d):  # type: ignore[no-untyped-def]
        """A constant, so that the compiler knows where features are."""
        return BLOCK

    @staticmethod
    @allocation_free
    def n_products(d, n_columns):  # type: ignore[no-untyped-def]
        return d * (d + 1) // 2

    @staticmethod
    @allocation_free
    def whiten(layout, padded, mu, k, prec, work):  # type: ignore[no-untyped-def]
        """Whiten a block of rows by one component, two features at a time, and write their squared lengths."""
        n_features, g = mu.shape[1], min(k, prec.shape[0] - 1)
        columns, r = layout.columns, layout.residuals
        z, squares = layout.z + k * layout.z_step, layout.resp + k * BLOCK
        for i in range(0, padded, TILE):
            square = zeros(TILE)
            for d in range(0, n_features - 1, 2):
                place = d * BLOCK + i
                r0 = load(TILE, work, columns + place) - mu[k, d]
                r1 = load(TILE, work, columns + place + BLOCK) - mu[k, d + 1]
                store(work, r + d * TILE, r0)
                store(work, r + (d + 1) * TILE, r1)
                z0 = r0 * prec[g, d, d]
                z1 = r0 * prec[g, d + 1, d] + r1 * prec[g, d + 1, d + 1]
                for e in range(d):
                    other = load(TILE, work, r + e * TILE)
                    z0 = z0 + other * prec[g, d, e]
                    z1 = z1 + other * prec[g, d + 1, e]
                store(work, z + place, z0)
                store(work, z + place + BLOCK, z1)
                square = square + z0 * z0
                square = square + z1 * z1
            if n_features % 2:
                d = n_features - 1
                place = d * BLOCK + i
                z0 = (load(TILE, work, columns + place) - mu[k, d]) * prec[g, d, d]
                for e in range(d):
                    z0 = z0 + load(TILE, work, r + e * TILE) * prec[g, d, e]
                store(work, z + place, z0)
                square = square + z0 * z0
            store(work, squares + i, square)

    @staticmethod
    @allocation_free
    def add_moments(layout, n_features, padded, work, resp, z, first):  # type: ignore[no-untyped-def]
        """Add one component's moments, two features at a time; returns the place behind its sums."""
        weighted, row = layout.weighted, first + n_features * LANES
        for d in range(0, n_features - 1, 2):
            below = row + (d + 1) * LANES
            add_two(padded, work, resp, z + d * BLOCK, weighted, first + d * LANES, row + d * LANES, below + d * LANES)
            for e in range(0, d - 3, 4):
                add_products(padded, work, weighted, z + e * BLOCK, row + e * LANES, below + e * LANES)
            for e in range(d - d % 4, d):
                add_pair(padded, work, z + e * BLOCK, weighted, row + e * LANES, below + e * LANES)
            row = below + (d + 2) * LANES
        if n_features % 2:
            d = n_features - 1
            add_single(padded, work, resp, z + d * BLOCK, weighted, first + d * LANES, row + d * LANES)
            for e in range(0, d, 2):
                add_pair(padded, work, weighted, z + e * BLOCK, row + e * LANES, row + (e + 1) * LANES)
            row += n_features * LANES
        return row

    @staticmethod
    @allocation_free
    def unload(work, place, second, n_features):  # type: ignore[no-untyped-def]
        """Add the lanes up, into both triangles; returns the place behind."""
        for d in range(n_features):
            for e in range(d + 1):
                second[d, e] += lane_sum(work, place)
                second[e, d] = second[d, e]
                place += LANES
        return place

    # ---- rows with missing values

    marginalise, add_expected = staticmethod(rotate_away), staticmethod(rotate_back)

    # ---- algebra

    @staticmethod
    @allocation_free
    def n_alike(d):  # type: ignore[no-untyped-def]
        return 1

    @staticmethod
    @allocation_free
    def multiply(factor, vector, product):  # type: ignore[no-untyped-def]
        for i in range(vector.shape[0]):
            total = 0.0
            for j in range(i + 1):
                total += factor[i, j] * vector[j]
            product[i] = total

    @staticmethod
    @allocation_free
    def multiply_transposed(factor, vector, product):  # type: ignore[no-untyped-def]
        for i in range(vector.shape[0]):
            total = 0.0
            for j in range(i, vector.shape[0]):
                total += factor[j, i] * vector[j]
            product[i] = total

    @staticmethod
    @allocation_free
    def add_outer(number, a, b, second):  # type: ignore[no-untyped-def]
        for i in range(a.shape[0]):
            for j in range(a.shape[0]):
                second[i, j] += 0.5 * number * (a[i] * b[j] + b[i] * a[j])

    @staticmethod
    @linked(types.void(OUT_2, OUT_2, OUT_2))
    def add_scale(prec, scale, second):  # type: ignore[no-untyped-def]
        half = np.empty(scale.shape[1])  # row i of L^-1 S, as far as it is needed
        for i in range(scale.shape[0]):
            for j in range(i + 1):
                half[j] = 0.0
            for h in range(i + 1):
                for j in range(i + 1):
                    half[j] += prec[i, h] * scale[h, j]
            for j in range(i + 1):
                total = 0.0
                for h in range(j + 1):
                    total += half[h] * prec[j, h]
                second[i, j] += total
                if i != j:
                    second[j, i] += total

    @staticmethod
    @linked(types.float64(OUT_3, OUT_2, types.float64, OUT_2))
    def write_mean_scale(prec, scale_precision, count, mean_scale):  # type: ignore[no-untyped-def]
        n = mean_scale.shape[0]
        inner, lower, inverse, log_det = scale_precision.copy(), np.empty((n, n)), np.empty((n, n)), 0.0
        for g in range(prec.shape[0]):
            for i in range(n):
                for j in range(n):
                    for h in range(max(i, j), n):
                        inner[i, j] += prec[g, h, i] * prec[g, h, j]
        if not cholesky_lower(inner, lower):
            mean_scale.fill(np.nan)
            return np.nan
        invert_lower(lower, inverse)
        for i in range(n):
            log_det += 2.0 * math.log(lower[i, i])
            for j in range(i + 1):
                total = 0.0
                for h in range(i, n):
                    total += inverse[h, i] * inverse[h, j]
                mean_scale[i, j] = mean_scale[j, i] = count * total
        return log_det

    @staticmethod
    @allocation_free
    def write_square(factor, block):  # type: ignore[no-untyped-def]
        for i in range(factor.shape[0]):
            for j in range(i + 1):
                total = 0.0
                for h in range(j + 1):
                    total += factor[i, h] * factor[j, h]
                block[i, j] = block[j, i] = total

    @staticmethod
    @allocation_free
    def log_determinant(factor, d):  # type: ignore[no-untyped-def]
        total = 0.0
        for j in range(d):
            total += math.log(factor[j, j])
        return total

    @staticmethod
    @allocation_free
    def trace(second):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in range(second.shape[0]):
            total += second[i, i]
        return total

    # ---- the M-step

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        """Each block L chol(M / e), lifted to the floor; returns how many were lifted."""
        n_floored, n = 0, scatter.shape[1]
        for g in range(scatter.shape[0]):
            if totals[g] > NEGLIGIBLE:
                for i in range(n):
                    for j in range(n):
                        scatter[g, i, j] /= totals[g]
                n_floored += write_factor(
                    floors, scatter[g], now.factors[g], new.factors[g], new.precision_factors[g], work
                )
            else:  # nothing was counted
                for i in range(n):
                    for j in range(n):
                        new.factors[g, i, j] = now.factors[g, i, j]
                        new.precision_factors[g, i, j] = now.precision_factors[g, i, j]
        return n_floored

    @staticmethod
    @allocation_free
    def write_change(prec, factor, change):  # type: ignore[no-untyped-def]
        multiply_lower(prec, factor, change)
        for i in range(change.shape[0]):
            change[i, i] = math.log(change[i, i])

    @staticmethod
    @allocation_free
    def change_information(d, i, j):  # type: ignore[no-untyped-def]
        return 2.0 if i == j else 1.0

    @staticmethod
    @allocation_free
    def move_factor(floors, old, change, factor, prec):  # type: ignore[no-untyped-def]
        bound = size = 0.0  # of the precision's largest eigenvalue, in units of the floor; and its trace
        for i in range(change.shape[0]):
            change[i, i] = math.exp(change[i, i])
        multiply_lower(old, change, factor)
        invert_lower(factor, prec)
        for i in range(factor.shape[0]):
            for j in range(i + 1):
                size += prec[i, j] ** 2
                bound += floors[j] * prec[i, j] ** 2
        return math.isfinite(size) and size > 0.0 and bound <= 1.0

    @staticmethod
    @allocation_free
    def make_members(weights, factors, prec):  # type: ignore[no-untyped-def]
        """All are: coordinates are linear."""

    # ---- the log posterior

    @staticmethod
    @allocation_free
    def place(centre, q, change, factor, prec):  # type: ignore[no-untyped-def]
        index, log_det = 0, 0.0
        for i in range(factor.shape[0]):
            for j in range(i):
                factor[i, j] = -q[index]
                index += 1
            factor[i, i] = math.exp(-q[index])
            log_det += q[index]
            index += 1
        invert_lower(factor, change)
        multiply_lower(centre, change, factor)
        invert_lower(factor, prec)
        return log_det

    @staticmethod
    @allocation_free
    def log_free_sds(prec):  # type: ignore[no-untyped-def]
        total = 0.0
        for j in range(prec.shape[0]):
            total -= math.log(prec[j, j])
        return total

    @staticmethod
    @allocation_free
    def mean_gradient(change, first, gradient):  # type: ignore[no-untyped-def]
        n = first.shape[0]
        for i in range(n - 1, -1, -1):
            total = first[i]
            for j in range(i + 1, n):
                total -= change[j, i] * gradient[j]
            gradient[i] = total / change[i, i]

    @staticmethod
    @allocation_free
    def covariance_gradient(q, change, second, total, gradient):  # type: ignore[no-untyped-def]
        """tril((second - total I) Cᵀ) and the Jacobian; returns the log Jacobian."""
        n, index, jacobian = change.shape[0], 0, 0.0
        for i in range(n):
            for j in range(i + 1):
                value = 0.0
                for h in range(j + 1):
                    value += second[i, h] * change[j, h]
                gradient[index + j] = value
            index += i
            power = 2.0 * n - i
            gradient[index] = (gradient[index] - total * change[i, i]) / change[i, i] + power
            jacobian += power * q[index]
            index += 1
        return jacobian

    # ---- PyMC's Ops

    @staticmethod
    @allocation_free
    def factor_shape(d):  # type: ignore[no-untyped-def]
        return d, d

    @staticmethod
    @allocation_free
    def values_shape(n_given, k, d):  # type: ignore[no-untyped-def]
        return 1 if n_given == 1 else k, d * (d + 1) // 2

    @staticmethod
    @compiled
    def expand_values(values, k, d):  # type: ignore[no-untyped-def]
        return values

    @staticmethod
    @compiled
    def gradient_of_values(gradient):  # type: ignore[no-untyped-def]
        return gradient

    @staticmethod
    @compiled
    def times_root(covariance, vector, product):  # type: ignore[no-untyped-def]
        lower = np.empty(covariance.shape)
        if not cholesky_lower(covariance, lower):
            lower[:, :] = np.nan
        for i in range(vector.shape[0]):
            product[i] = 0.0
            for j in range(i + 1):
                product[i] += lower[i, j] * vector[j]

    @staticmethod
    @compiled
    def whiten_matrix(covariance, prec):  # type: ignore[no-untyped-def]
        n = covariance.shape[0]
        lower, log_det = np.empty((n, n)), 0.0
        if not cholesky_lower(covariance, lower):
            return np.nan
        invert_lower(lower, prec)
        for d in range(n):
            log_det += math.log(prec[d, d])
        return log_det

    @staticmethod
    @compiled
    def matrix_gradient(prec, count, first, second, d_mean, d_covariance):  # type: ignore[no-untyped-def]
        n = prec.shape[0]
        half = np.zeros((n, n))  # (S - N I) L^-1
        for i in range(n):
            for j in range(i, n):
                d_mean[i] += prec[j, i] * first[j]
            for j in range(n):
                total = 0.0
                for m in range(j, n):
                    total += (second[i, m] - (count if i == m else 0.0)) * prec[m, j]
                half[i, j] = total
        for i in range(n):
            for j in range(i + 1):
                total = 0.0
                for m in range(i, n):
                    total += prec[m, i] * half[m, j]
                d_covariance[i, j] = d_covariance[j, i] = 0.5 * total

    @staticmethod
    @compiled
    def unpack_matrix(values, covariance):  # type: ignore[no-untyped-def]
        n, log_jacobian = covariance.shape[0], 0.0
        lower = _unpacked(values, n)
        for i in range(n):
            log_jacobian += _LOG_2 + (n - i + 1.0) * math.log(lower[i, i])
            for j in range(i + 1):
                total = 0.0
                for m in range(j + 1):
                    total += lower[i, m] * lower[j, m]
                covariance[i, j] = covariance[j, i] = total
        return log_jacobian

    @staticmethod
    @compiled
    def unpacked_gradient(values, outer, d_log_jacobian, result):  # type: ignore[no-untyped-def]
        n, position = outer.shape[0], 0
        lower = _unpacked(values, n)
        for i in range(n):
            for j in range(i + 1):
                for m in range(j, n):
                    result[position] += (outer[i, m] + outer[m, i]) * lower[m, j]
                position += 1
            result[position - 1] *= lower[i, i]
            result[position - 1] += d_log_jacobian * (n - i + 1.0)

    @staticmethod
    @compiled
    def log_prior(covariance, dof, scale, d_covariance, d_scale):  # type: ignore[no-untyped-def]
        return log_inverse_wishart(covariance, dof, scale, d_covariance, d_scale)

    @staticmethod
    @compiled
    def draw_covariances(rng, dof, scale, covariances):  # type: ignore[no-untyped-def]
        for g in range(len(dof)):
            draw_inverse_wishart(rng, dof[g], scale[g], covariances[g])

    @staticmethod
    @compiled
    def draw_scale(rng, dof, scale, drawn):  # type: ignore[no-untyped-def]
        draw_wishart(rng, dof, scale, drawn)

    draw_block = draw_scale

    @staticmethod
    @compiled
    def draw_factor(rng, dof, scale, factor, prec):  # type: ignore[no-untyped-def]
        draw_inverse_wishart_factor(rng, dof, scale, factor, prec)


def pivots(size: Any, arrays: Any) -> Any:
    """The place of the diagonal entry in the row of each packed entry, (size,); ``arrays`` is NumPy or the like."""
    rows = arrays.ceil(0.5 * (arrays.sqrt(8.0 * arrays.arange(1, size + 1) + 1.0) - 1.0)).astype("int64")
    return rows * (rows + 1) // 2 - 1


def log_entries(size: Any, arrays: Any) -> Any:
    """One for packed entries that are logarithms, zero for others, (size,)."""
    return 1.0 - 1.0 * arrays.sign(arrays.abs(pivots(size, arrays) - arrays.arange(size)))


@compiled
def _unpacked(values, n):  # type: ignore[no-untyped-def]
    """The lower triangle (n, n) of packed values with log pivots, row by row."""
    lower, position = np.zeros((n, n)), 0
    for i in range(n):
        for j in range(i + 1):
            lower[i, j] = math.exp(values[position]) if i == j else values[position]
            position += 1
    return lower
