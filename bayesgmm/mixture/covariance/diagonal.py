"""Diagonal covariance matrices: a variance for each feature."""

import math

import numpy as np
from numba import types
from scipy.special import gammaln

from bayesgmm._common import Array, Covariances, Factors, IntArray
from bayesgmm._compiled import LANES, OUT_2, OUT_3, TILE, allocation_free, compiled, linked, load, store, zeros
from bayesgmm.mixture.covariance.parametrisation import NEGLIGIBLE, Parametrisation
from bayesgmm.mixture.kernel_layout import BLOCK, add_single, lane_sum

_CACHED = 2**17  # doubles of a component in a cache further out, 1 MB


class Diagonal(Parametrisation):
    """A variance for each feature, no correlations."""

    def block_shape(self, d: int) -> tuple[int, int]:
        return 1, d

    def size(self, d: int) -> int:
        return d

    def natural_shape(self, d: int) -> tuple[int, ...]:
        return (d,)

    def entries(self, d: int) -> tuple[IntArray, IntArray]:
        index = np.arange(self.size(d))
        return index, index

    def factors(self, blocks: Array) -> Factors:
        if blocks.min() <= 0:
            raise np.linalg.LinAlgError("variances must be positive")
        return np.sqrt(blocks)

    def natural(self, factors: Factors) -> Covariances:
        return np.square(factors[..., 0, :])

    def matrices(self, factors: Factors, d: int) -> Covariances:
        return np.square(factors[..., 0, :])[..., :, None] * np.eye(d)

    def compress(self, matrices: Covariances) -> Covariances:
        return diagonal(matrices)

    def blocks(self, matrices: Array) -> Array:
        return diagonal(matrices)[..., None, :].copy()

    def uncorrelated(self, values: Array) -> Array:
        return values[..., None, :]

    def inverse(self, values: Array) -> Array:
        return 1.0 / values

    def log_determinants(self, factors: Factors, d: int) -> Array:
        return np.asarray(np.log(factors).sum(axis=(-2, -1)))

    def precision_factors(self, matrices: Covariances) -> Factors:
        return 1.0 / np.sqrt(diagonal(matrices)[..., None, : self.size(matrices.shape[-1])])

    def square(self, factors: Factors, d: int) -> Array:
        return factors[..., 0, :, None] * np.eye(d)

    def product(self, one: Factors, other: Factors) -> Factors:
        return one * other

    def times(self, factors: Factors, vectors: Array) -> Array:
        return factors[..., 0, :] * vectors

    def pack(self, factors: Factors) -> Array:
        return np.asarray(np.log(factors[..., 0, :]))

    def unpack(self, packed: Array, d: int) -> Factors:
        return np.exp(packed)[..., None, :]

    def volume_powers(self, d: int) -> Array:
        return np.full(self.size(d), 2.0)

    def width(self, d: int) -> int:
        return 1

    def prior_power(self, d: int) -> float:
        return 2.0

    def power(self, precision_factors: Factors, d: int) -> Array:
        return np.asarray(np.log(precision_factors).sum(axis=(-2, -1)))

    def scale_roots(self, scale: Array) -> Array:
        return np.sqrt(scale)

    def scale_log_determinants(self, scale: Array) -> Array:
        return np.asarray(np.log(scale).sum(axis=(-2, -1)))

    def precisions(self, precision_factors: Factors) -> Array:
        return precision_factors**2

    def log_normaliser(self, dof: Array, scale: Array, d: int) -> Array:
        half = 0.5 * dof
        return np.asarray(half * np.log(0.5 * scale).sum(axis=(-2, -1)) - self.size(d) * gammaln(half))

    def marginal_log_normaliser(self, dof: Array, n: float, scale: Array) -> float:
        half, half_count = 0.5 * dof, 0.5 * float(n + dof.sum())
        per_variance = math.lgamma(half_count) - math.lgamma(0.5 * n) - float(gammaln(half).sum())
        return float(scale.size * per_variance - 0.5 * n * self.scale_log_determinants(scale))

    def draw_wisharts(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        dof = np.broadcast_to(np.asarray(dof)[..., None, None], scale.shape)
        return np.asarray(scale * rng.chisquare(dof))

    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        dof = np.broadcast_to(np.asarray(dof)[..., None, None], scale.shape)
        return np.sqrt(scale / rng.chisquare(dof))

    def basis(self, d: int) -> Array:
        return np.asarray(np.eye(d)[:, :, None] * np.eye(d))

    def scores(self, z: Array) -> Array:
        return 0.5 * (z**2 - 1.0)

    def slopes(self, second: Array, total: float) -> Array:
        return np.asarray(second[0] - total)

    def information(self, second: Array, total: float) -> Array:
        return np.diag(second[0] - 0.5 * total)

    def pass_seconds(self, k: int, d: int, n_rows: int) -> float:
        return 5e-6 + k * n_rows * (4e-9 + 1e-9 * d)

    # ---- the kernel

    @staticmethod
    @allocation_free
    def row_stride(n_rows, d):  # type: ignore[no-untyped-def]
        """Features may be many thousands: no further apart than there are rows, or cache."""
        return min(BLOCK, (n_rows + TILE - 1) // TILE * TILE, max(1, _CACHED // (d * TILE)) * TILE)

    @staticmethod
    @allocation_free
    def n_products(d, n_columns):  # type: ignore[no-untyped-def]
        return d

    @staticmethod
    @allocation_free
    def whiten(layout, padded, mu, k, prec, work):  # type: ignore[no-untyped-def]
        last, g, stride, columns = prec.shape[2] - 1, min(k, prec.shape[0] - 1), layout.stride, layout.columns
        z, squares = layout.z + k * layout.z_step, layout.resp + k * stride
        for i in range(0, padded, TILE):
            square = zeros(TILE)
            for d in range(mu.shape[1]):
                z0 = (load(TILE, work, columns + d * stride + i) - mu[k, d]) * prec[g, 0, min(d, last)]
                store(work, z + d * stride + i, z0)
                square = square + z0 * z0
            store(work, squares + i, square)

    @staticmethod
    @allocation_free
    def add_moments(layout, n_features, padded, work, resp, z, first):  # type: ignore[no-untyped-def]
        square = first + n_features * LANES
        for d in range(n_features):
            add_single(padded, work, resp, z + d * layout.stride, layout.weighted, first + d * LANES, square)
            square += LANES
        return square

    @staticmethod
    @allocation_free
    def unload(work, place, second, n_features):  # type: ignore[no-untyped-def]
        last = second.shape[1] - 1
        for d in range(n_features):
            second[0, min(d, last)] += lane_sum(work, place)
            place += LANES
        return place

    # ---- rows with missing values

    @staticmethod
    @allocation_free
    def marginalise(prec, features, n_observed, work, marginal, rotations):  # type: ignore[no-untyped-def]
        last, change = prec.shape[1] - 1, 0.0
        for i in range(marginal.shape[1]):
            marginal[0, i] = prec[0, min(features[i], last)]
        for at in range(n_observed, features.shape[0]):
            change -= math.log(prec[0, min(features[at], last)])
        return change

    @staticmethod
    @allocation_free
    def add_expected(features, rotations, found, work, whole):  # type: ignore[no-untyped-def]
        count, first, second = found
        last = whole[1].shape[1] - 1
        for i in range(first.shape[0]):
            whole[0][features[i]] += first[i]
        for i in range(second.shape[1]):
            whole[1][0, min(features[i], last)] += second[0, i]
        for at in range(first.shape[0], features.shape[0]):
            whole[1][0, min(features[at], last)] += count

    # ---- algebra

    @staticmethod
    @allocation_free
    def n_alike(d):  # type: ignore[no-untyped-def]
        return 1

    @staticmethod
    @allocation_free
    def multiply(factor, vector, product):  # type: ignore[no-untyped-def]
        last = factor.shape[1] - 1
        for i in range(vector.shape[0]):
            product[i] = factor[0, min(i, last)] * vector[i]

    multiply_transposed = multiply

    @staticmethod
    @allocation_free
    def add_outer(number, a, b, second):  # type: ignore[no-untyped-def]
        last = second.shape[1] - 1
        for i in range(a.shape[0]):
            second[0, min(i, last)] += number * a[i] * b[i]

    @staticmethod
    @allocation_free
    def add_scale(prec, scale, second):  # type: ignore[no-untyped-def]
        for j in range(scale.shape[1]):
            second[0, j] += scale[0, j] * prec[0, j] ** 2

    @staticmethod
    @linked(types.float64(OUT_3, OUT_2, types.float64, OUT_2))
    def write_mean_scale(prec, scale_precision, count, mean_scale):  # type: ignore[no-untyped-def]
        log_det = 0.0
        for j in range(mean_scale.shape[1]):
            inner = scale_precision[0, j]
            for g in range(prec.shape[0]):
                inner += prec[g, 0, j] * prec[g, 0, j]
            log_det += math.log(inner)
            mean_scale[0, j] = count / inner
        return log_det

    @staticmethod
    @allocation_free
    def write_square(factor, block):  # type: ignore[no-untyped-def]
        for j in range(factor.shape[1]):
            block[0, j] = factor[0, j] ** 2

    @staticmethod
    @allocation_free
    def log_determinant(factor, d):  # type: ignore[no-untyped-def]
        total = 0.0
        for j in range(factor.shape[1]):
            total += math.log(factor[0, j])
        return total * (d // factor.shape[1])

    @staticmethod
    @allocation_free
    def trace(second):  # type: ignore[no-untyped-def]
        total = 0.0
        for j in range(second.shape[1]):
            total += second[0, j]
        return total

    # ---- the M-step

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        """Each variance, lifted to the floor; returns in how many blocks one was lifted."""
        n_floored = 0
        for g in range(scatter.shape[0]):
            lifted = False
            for j in range(scatter.shape[2]):
                factor = now.factors[g, 0, j]
                if totals[g] > NEGLIGIBLE:
                    variance = factor**2 * (scatter[g, 0, j] / totals[g])
                    lifted = lifted or not variance >= floors[j]
                    factor = math.sqrt(variance if variance >= floors[j] else floors[j])
                new.factors[g, 0, j], new.precision_factors[g, 0, j] = factor, 1.0 / factor
            n_floored += lifted
        return n_floored

    @staticmethod
    @allocation_free
    def write_change(prec, factor, change):  # type: ignore[no-untyped-def]
        for j in range(change.shape[1]):
            change[0, j] = math.log(prec[0, j] * factor[0, j])

    @staticmethod
    @allocation_free
    def change_information(d, i, j):  # type: ignore[no-untyped-def]
        return 2.0

    @staticmethod
    @allocation_free
    def move_factor(floors, old, change, factor, prec):  # type: ignore[no-untyped-def]
        bound = size = 0.0
        for j in range(change.shape[1]):
            factor[0, j] = old[0, j] * math.exp(change[0, j])
            prec[0, j] = 1.0 / factor[0, j]
            size += prec[0, j] ** 2
            bound = max(bound, floors[j] * prec[0, j] ** 2)
        return math.isfinite(size) and size > 0.0 and bound <= 1.0

    @staticmethod
    @allocation_free
    def make_members(weights, factors, prec):  # type: ignore[no-untyped-def]
        """All are: coordinates are linear."""

    # ---- the log posterior

    @staticmethod
    @allocation_free
    def place(centre, q, change, factor, prec):  # type: ignore[no-untyped-def]
        log_det = 0.0
        for j in range(change.shape[1]):
            change[0, j] = math.exp(q[j])
            factor[0, j] = centre[0, j] * change[0, j]
            prec[0, j] = 1.0 / factor[0, j]
            log_det += q[j]
        return log_det

    @staticmethod
    @allocation_free
    def log_free_sds(prec):  # type: ignore[no-untyped-def]
        total = 0.0
        for j in range(prec.shape[1]):
            total -= math.log(prec[0, j])
        return total

    @staticmethod
    @allocation_free
    def mean_gradient(change, first, gradient):  # type: ignore[no-untyped-def]
        last = change.shape[1] - 1
        for i in range(first.shape[0]):
            gradient[i] = first[i] / change[0, min(i, last)]

    @staticmethod
    @allocation_free
    def covariance_gradient(q, change, second, total, gradient):  # type: ignore[no-untyped-def]
        jacobian = 0.0
        for j in range(change.shape[1]):
            gradient[j] = second[0, j] - total + 2.0
            jacobian += 2.0 * q[j]
        return jacobian

    # ---- PyMC's Ops; a spherical variance is the mean of the diagonal

    @staticmethod
    @allocation_free
    def factor_shape(d):  # type: ignore[no-untyped-def]
        return 1, d

    @staticmethod
    @allocation_free
    def values_shape(n_given, k, d):  # type: ignore[no-untyped-def]
        return 1 if n_given == 1 else k, d

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
        for d in range(vector.shape[0]):
            product[d] = math.sqrt(covariance[d, d]) * vector[d]

    @staticmethod
    @compiled
    def whiten_matrix(covariance, prec):  # type: ignore[no-untyped-def]
        log_det, n_free = 0.0, prec.shape[1]
        share = covariance.shape[0] // n_free
        for j in range(n_free):
            variance = _mean_of_diagonal(covariance, j, share)
            if not variance > 0.0:
                return np.nan
            prec[0, j] = 1.0 / math.sqrt(variance)
            log_det += share * math.log(prec[0, j])
        return log_det

    @staticmethod
    @compiled
    def matrix_gradient(prec, count, first, second, d_mean, d_covariance):  # type: ignore[no-untyped-def]
        n, last = first.shape[0], prec.shape[1] - 1
        share = n // prec.shape[1]
        for d in range(n):
            p = prec[0, min(d, last)]
            d_mean[d] = p * first[d]
            d_covariance[d, d] = 0.5 * p * p * (second[0, min(d, last)] / share - count)

    @staticmethod
    @compiled
    def unpack_matrix(values, covariance):  # type: ignore[no-untyped-def]
        last = values.shape[0] - 1
        for d in range(covariance.shape[0]):
            covariance[d, d] = math.exp(values[min(d, last)])
        return values.sum()

    @staticmethod
    @compiled
    def unpacked_gradient(values, outer, d_log_jacobian, result):  # type: ignore[no-untyped-def]
        last = values.shape[0] - 1
        for d in range(outer.shape[0]):
            result[min(d, last)] += outer[d, d] * math.exp(values[min(d, last)])
        for j in range(values.shape[0]):
            result[j] += d_log_jacobian

    @staticmethod
    @compiled
    def log_prior(covariance, dof, scale, d_covariance, d_scale):  # type: ignore[no-untyped-def]
        return inverse_gammas(covariance, dof, scale, d_covariance, d_scale, covariance.shape[0])

    @staticmethod
    @compiled
    def draw_covariances(rng, dof, scale, covariances):  # type: ignore[no-untyped-def]
        for g in range(len(dof)):
            for d in range(scale.shape[1]):
                covariances[g, d, d] = scale[g, d, d] / rng.chisquare(dof[g])

    @staticmethod
    @compiled
    def draw_scale(rng, dof, scale, drawn):  # type: ignore[no-untyped-def]
        for d in range(scale.shape[0]):
            drawn[d, d] = rng.chisquare(dof) * scale[d, d]

    @staticmethod
    @compiled
    def draw_factor(rng, dof, scale, factor, prec):  # type: ignore[no-untyped-def]
        for j in range(scale.shape[1]):
            factor[0, j] = math.sqrt(scale[0, j] / rng.chisquare(dof))
            prec[0, j] = 1.0 / factor[0, j]

    @staticmethod
    @compiled
    def draw_block(rng, dof, scale, block):  # type: ignore[no-untyped-def]
        for j in range(scale.shape[1]):
            block[0, j] = rng.chisquare(dof) * scale[0, j]


def diagonal(matrices: Array) -> Array:
    """Diagonals (..., D) of matrices (..., D, D)."""
    return np.diagonal(matrices, axis1=-2, axis2=-1)


@compiled
def _mean_of_diagonal(matrix, first, count):  # type: ignore[no-untyped-def]
    total = 0.0
    for d in range(first, first + count):
        total += matrix[d, d] / count
    return total


@compiled
def inverse_gammas(covariance, dof, scale, d_covariance, d_scale, n_free):  # type: ignore[no-untyped-def]
    """Log density IG(nu/2, s/2) of each free variance, with gradients; the mean of the diagonal if there is one."""
    share, total = covariance.shape[0] // n_free, 0.0
    for j in range(n_free):
        variance, s = _mean_of_diagonal(covariance, j, share), _mean_of_diagonal(scale, j, share)
        if not (variance > 0.0 and s > 0.0):
            return np.nan
        total += 0.5 * dof * math.log(0.5 * s) - math.lgamma(0.5 * dof)
        total -= (0.5 * dof + 1.0) * math.log(variance) + 0.5 * s / variance
        for d in range(j, j + share):
            d_covariance[d, d] = (0.5 * s / variance - 0.5 * dof - 1.0) / variance / share
            d_scale[d, d] = 0.5 * (dof / s - 1.0 / variance) / share
    return total
