r"""Covariance matrices of one shape, each times a volume of its own: mclust's VEI (diagonal) and VEE (full).

VEI: :math:`\Sigma_k = \lambda_k A` with A diagonal (Celeux & Govaert 1995). The logarithms of standard deviations are
sums of a number for each component and one for each feature, of which the first component has none. The prior is that
of diagonal covariances, in the measure :math:`\prod_{k>1} d \log \lambda_k \prod_j d \log \sigma^2_{1j}`.

VEE: :math:`\Sigma_k = \lambda_k C` (Flury 1988, chapter 5). Coordinates are such that they are linear in a number for
each component but the first, and one for each entry of a triangle: the inverse of a factor is M diag(exp(-c)), M lower
triangular with a unit diagonal and entries -m below it, so that a factor times a number has another c only. The prior
is that of full covariances, in the measure
:math:`\prod_{k>1} d \log \lambda_k \, d\Sigma_1 / |\Sigma_1|^{(D+1)/2}`.
"""

import math
from typing import Any

import numpy as np
from numba import types

from bayesgmm._common import Array, Factors
from bayesgmm._compiled import (
    IN_1,
    OUT_1,
    OUT_3,
    allocation_free,
    cholesky_lower,
    compiled,
    invert_lower,
    linked,
    multiply_lower,
)
from bayesgmm.mixture.covariance.diagonal import Diagonal
from bayesgmm.mixture.covariance.floors import write_eigen, write_factor
from bayesgmm.mixture.covariance.full import Full, log_entries, pivots
from bayesgmm.mixture.covariance.parametrisation import NEGLIGIBLE
from bayesgmm.mixture.covariance.wishart import draw_inverse_wishart

_MOST_SWEEPS, _CHANGE = 200, 1e-13  # of the alternation, and of the logarithm of a volume in its last
_VARIANCE_AT_FLOOR, _EIGENVALUE_AT_FLOOR = 1.0 + 1e-12, 1.0 + 1e-9  # times the floor
_LOG_2, _LOG_PI = math.log(2.0), math.log(math.pi)
_TINY = 1e-300  # a volume that is zero


class EqualShape(Diagonal):
    """A variance for each feature, the same for all components but for a factor."""

    def restriction(self, k: int, d: int) -> Array:
        """Columns: factors of the second to the last component, then features."""
        of_components, of_features = np.kron(np.eye(k), np.ones((d, 1)))[:, 1:], np.tile(np.eye(d), (k, 1))
        return np.hstack([of_components, of_features])

    def free(self, packed: Any, arrays: Any) -> Any:
        of_components = packed.mean(axis=-1) - packed[..., 0, :].mean(axis=-1)[..., None]
        of_features = packed.mean(axis=-2) - of_components.mean(axis=-1)[..., None]
        return arrays.concatenate([of_components[..., 1:], of_features], axis=-1)

    def tied_log_constant(self, dof: Any, d: Any, special: Any) -> Any:
        """With lambda_k integrated out, A has the density of one diagonal covariance with all degrees of freedom."""
        total = dof.sum(axis=-1)
        gammaln = special.gammaln
        of_each = d * gammaln(0.5 * dof) - gammaln(0.5 * d * dof)
        return of_each.sum(axis=-1) + gammaln(0.5 * d * total) - d * gammaln(0.5 * total)

    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Factors:
        """The shape from all degrees of freedom together, then the volumes given the shape."""
        dof, d = np.broadcast_to(dof, scale.shape[:-2]), scale.shape[-1]
        scale = scale[..., :1, :, :]
        shape = scale / rng.chisquare(np.broadcast_to(dof.sum(axis=-1)[..., None, None, None], scale.shape))
        volumes = (scale / shape).sum(axis=-1, keepdims=True) / rng.chisquare(d * dof)[..., None, None]
        return np.sqrt(volumes * shape)

    # ---- compiled

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        """Volumes given the shape and the shape given volumes, in turn: each is the maximum given the other."""
        n_blocks, _, d = scatter.shape
        shape, volumes = new.factors[0, 0], new.precision_factors[:, 0, 0]
        for j in range(d):
            shape[j] = now.factors[0, 0, j] ** 2
        for k in range(n_blocks):
            volumes[k] = (now.factors[k, 0, 0] / now.factors[0, 0, 0]) ** 2
            for j in range(d):
                scatter[k, 0, j] *= now.factors[k, 0, j] ** 2
        alternate(floors, totals, scatter, shape, volumes)
        return _write_members(floors, shape, volumes, new)

    @staticmethod
    @allocation_free
    def values_shape(n_given, k, d):  # type: ignore[no-untyped-def]
        return 1, k - 1 + d

    @staticmethod
    @compiled
    def expand_values(values, k, d):  # type: ignore[no-untyped-def]
        """Log variances (k, d) of what is free."""
        packed = np.empty((k, d))
        for g in range(k):
            for j in range(d):
                packed[g, j] = values[0, k - 1 + j] + (values[0, g - 1] if g > 0 else 0.0)
        return packed

    @staticmethod
    @compiled
    def gradient_of_values(gradient):  # type: ignore[no-untyped-def]
        """The sums of that by log variances over features, and over components."""
        k, d = gradient.shape
        result = np.zeros((1, k - 1 + d))
        for g in range(k):
            for j in range(d):
                result[0, k - 1 + j] += gradient[g, j]
                if g > 0:
                    result[0, g - 1] += gradient[g, j]
        return result

    @staticmethod
    @compiled
    def draw_covariances(rng, dof, scale, covariances):  # type: ignore[no-untyped-def]
        """As in NumPy."""
        d, inverse = scale.shape[1], 0.0
        for j in range(d):
            covariances[0, j, j] = scale[0, j, j] / rng.chisquare(dof.sum())
            inverse += scale[0, j, j] / covariances[0, j, j]
        for k in range(len(dof) - 1, -1, -1):
            volume = inverse / rng.chisquare(d * dof[k])
            for j in range(d):
                covariances[k, j, j] = volume * covariances[0, j, j]


@allocation_free
def alternate(floors, totals, scatter, shape, volumes):  # type: ignore[no-untyped-def]
    """Turns from the given shape and volumes on until they are the best for diagonal scatters (k, 1, d)."""
    for _ in range(_MOST_SWEEPS):
        if _sweep(floors, totals, scatter, shape, volumes) <= _CHANGE:
            break


@allocation_free
def _sweep(floors, totals, scatter, shape, volumes):  # type: ignore[no-untyped-def]
    """One turn, no variance below the floor: the objective rises. Returns the largest change of a log volume."""
    n_blocks, _, d = scatter.shape
    change = total = 0.0
    for k in range(n_blocks):
        total += totals[k]
        before, volume, least = volumes[k], 0.0, 0.0
        for j in range(d):
            volume += scatter[k, 0, j] / shape[j]
            least = max(least, floors[j] / shape[j])
        volumes[k] = max(volume / (d * totals[k]) if totals[k] > NEGLIGIBLE else before, least)
        change = max(change, abs(math.log(volumes[k] / before)))
    for j in range(d):
        variance = least = 0.0
        for k in range(n_blocks):
            variance += scatter[k, 0, j] / volumes[k]
            least = max(least, floors[j] / volumes[k])
        shape[j] = max(variance / total if total > NEGLIGIBLE else shape[j], least)
    return change


@allocation_free
def _write_members(floors, shape, volumes, new):  # type: ignore[no-untyped-def]
    """Factors of shape and volumes; returns how many are at the floor."""
    n_floored, d = 0, shape.shape[0]
    for k in range(volumes.shape[0] - 1, -1, -1):  # the first block holds the shape
        at_floor = False
        for j in range(d):
            variance = volumes[k] * shape[j]
            at_floor = at_floor or not variance > floors[j] * _VARIANCE_AT_FLOOR
            new.factors[k, 0, j] = math.sqrt(variance)
        n_floored += at_floor
    for k in range(volumes.shape[0]):
        for j in range(d):
            new.precision_factors[k, 0, j] = 1.0 / new.factors[k, 0, j]
    return n_floored


_move_factor = Full.move_factor


class Proportional(Full):
    """One matrix, times a volume for each component."""

    def pack(self, factors: Factors) -> Array:
        packed = super().pack(factors)
        rows, columns = self.entries(factors.shape[-1])
        logs = packed[..., rows == columns]
        return np.where(rows == columns, packed, packed * np.exp(logs)[..., columns])

    def unpack(self, packed: Array, d: int) -> Factors:
        rows, columns = self.entries(d)
        logs = packed[..., rows == columns]
        return super().unpack(np.where(rows == columns, packed, packed * np.exp(-logs)[..., columns]), d)

    def volume_powers(self, d: int) -> Array:
        rows, columns = self.entries(d)
        return np.where(rows == columns, d + 1.0, 0.0)

    def restriction(self, k: int, d: int) -> Array:
        """Columns: factors of the second to the last component, then packed entries."""
        size, logs = self.size(d), self.volume_powers(d) != 0.0
        return np.hstack([np.kron(np.eye(k), 1.0 * logs[:, None])[:, 1:], np.tile(np.eye(size), (k, 1))])

    def free(self, packed: Any, arrays: Any) -> Any:
        size = packed.shape[-1]
        logs = log_entries(size, arrays)
        volumes = (packed * logs).sum(axis=-1) / logs.sum()
        volumes = volumes - volumes[..., 0][..., None]
        shared = packed.mean(axis=-2) - volumes.mean(axis=-1)[..., None] * logs
        return arrays.concatenate([volumes[..., 1:], shared], axis=-1)

    def nearest(self, factors: Factors) -> Factors:
        """The mean of all matrices of determinant one, with the volume of each."""
        d = factors.shape[-1]
        sizes = np.exp(self.log_determinants(factors, d) / d)[..., None, None]
        mean = np.linalg.cholesky(self.matrices(factors / sizes, d).mean(axis=-3, keepdims=True))
        return np.asarray(sizes * mean / np.exp(self.log_determinants(mean, d) / d)[..., None, None])

    def tied_log_constant(self, dof: Any, d: Any, special: Any) -> Any:
        """With lambda_k integrated out, C has the density of one covariance with all degrees of freedom."""
        half, total, n_others = 0.5 * dof, 0.5 * dof.sum(axis=-1), dof.shape[-1] - 1
        places = 0.5 * special.arange(d)
        gammas = special.gammaln(half[..., None] - places).sum(axis=(-2, -1))
        gammas = gammas - special.gammaln(total[..., None] - places).sum(axis=-1)
        volumes = special.gammaln(d * half).sum(axis=-1) - special.gammaln(d * total)
        return gammas - volumes + n_others * (d - 1) * (0.25 * d * _LOG_PI - _LOG_2)

    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Factors:
        """The matrix from all degrees of freedom together, then the volumes given the matrix."""
        dof, d = np.broadcast_to(dof, scale.shape[:-2]), scale.shape[-1]
        scale = scale[..., :1, :, :]
        one = super().draw_factors(dof.sum(axis=-1, keepdims=True), scale, rng)
        trace = np.square(np.linalg.solve(one, np.linalg.cholesky(scale))).sum(axis=(-2, -1))
        return np.sqrt(trace / rng.chisquare(d * dof))[..., None, None] * one

    def cholesky_values(self, values: Any, arrays: Any) -> Any:
        """A row's entries below the diagonal are in units of the diagonal's."""
        logs = values[..., pivots(values.shape[-1], arrays)]
        return arrays.where(log_entries(values.shape[-1], arrays) > 0.0, values, values * arrays.exp(logs))

    def values_of_cholesky(self, packed: Any, arrays: Any) -> Any:
        logs = packed[..., pivots(packed.shape[-1], arrays)]
        return arrays.where(log_entries(packed.shape[-1], arrays) > 0.0, packed, packed * arrays.exp(-logs))

    def cholesky_powers(self, d: int) -> Array:
        return np.full(d, d + 1.0)

    def squares(self, slope: Array, lower: Array) -> Array:
        """Without what is below the diagonal times the diagonal."""
        of_logs = lower * np.eye(lower.shape[-1])
        below = np.einsum("ij,ajk,bki->ab", slope, lower - of_logs, of_logs, optimize=True)
        return np.asarray(super().squares(slope, lower) - below)

    def linear_changes(self, changes: Factors) -> Factors:
        """In units of the diagonal entry of their row."""
        diagonals = np.diagonal(changes, axis1=-2, axis2=-1)[..., None]
        return np.where(np.eye(changes.shape[-1], dtype=bool), changes, changes / diagonals)

    def changes_of_linear(self, linear: Factors) -> Factors:
        diagonals = np.diagonal(linear, axis1=-2, axis2=-1)[..., None]
        return np.where(np.eye(linear.shape[-1], dtype=bool), linear, linear * diagonals)

    # ---- compiled

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        """Volumes given the matrix and the matrix given volumes, in turn: each is the maximum given the other."""
        return _write_proportional(
            floors,
            totals,
            scatter,
            now.factors,
            now.precision_factors,
            new.factors,
            new.precision_factors,
            new.log_scale[: scatter.shape[0]],
        )

    @staticmethod
    @allocation_free
    def write_change(prec, factor, change):  # type: ignore[no-untyped-def]
        """Entries below the diagonal in units of the diagonal's of their row."""
        multiply_lower(prec, factor, change)
        for i in range(change.shape[0]):
            for j in range(i):
                change[i, j] /= change[i, i]
            change[i, i] = math.log(change[i, i])

    @staticmethod
    @allocation_free
    def move_factor(floors, old, change, factor, prec):  # type: ignore[no-untyped-def]
        for i in range(change.shape[0]):
            for j in range(i):
                change[i, j] *= math.exp(change[i, i])
        return _move_factor(floors, old, change, factor, prec)

    @staticmethod
    @allocation_free
    def place(centre, q, change, factor, prec):  # type: ignore[no-untyped-def]
        index, log_det, n = 0, 0.0, factor.shape[0]
        for i in range(n):
            for j in range(i + 1):
                factor[i, j] = -q[index] if i != j else 1.0
                index += 1
            log_det += q[index - 1]
        for j in range(n):
            for i in range(j, n):
                factor[i, j] *= math.exp(-q[j * (j + 3) // 2])
        invert_lower(factor, change)
        multiply_lower(centre, change, factor)
        invert_lower(factor, prec)
        return log_det

    @staticmethod
    @allocation_free
    def covariance_gradient(q, change, second, total, gradient):  # type: ignore[no-untyped-def]
        """That of `Full` by the inverse's entries times their slopes, and the Jacobian; returns the log Jacobian."""
        n, index, jacobian = change.shape[0], 0, 0.0
        for i in range(n):
            gradient[i * (i + 3) // 2] = n + 1.0
        for i in range(n):
            for j in range(i + 1):
                value = 0.0
                for h in range(j + 1):
                    value += second[i, h] * change[j, h]
                value = (value - (total * change[i, i] if i == j else 0.0)) / change[j, j]
                if i == j:
                    gradient[index] += value
                else:
                    gradient[index] = value
                    gradient[j * (j + 3) // 2] -= value * q[index]
                index += 1
            jacobian += (n + 1.0) * q[index - 1]
        return jacobian

    @staticmethod
    @allocation_free
    def values_shape(n_given, k, d):  # type: ignore[no-untyped-def]
        return 1, k - 1 + d * (d + 1) // 2

    @staticmethod
    @compiled
    def expand_values(values, k, d):  # type: ignore[no-untyped-def]
        """Packed factors (k, d (d + 1) / 2) of what is free."""
        packed = np.empty((k, d * (d + 1) // 2))
        for g in range(k):
            for j in range(packed.shape[1]):
                packed[g, j] = values[0, k - 1 + j]
            if g > 0:
                for i in range(d):
                    packed[g, i * (i + 3) // 2] += values[0, g - 1]
        return packed

    @staticmethod
    @compiled
    def gradient_of_values(gradient):  # type: ignore[no-untyped-def]
        """The sums over components, and those over logarithms of the diagonal."""
        k, size = gradient.shape
        result, log = np.zeros((1, k - 1 + size)), 0
        for j in range(size):
            for g in range(k):
                result[0, k - 1 + j] += gradient[g, j]
                if g > 0 and j == log * (log + 3) // 2:
                    result[0, g - 1] += gradient[g, j]
            log += j == log * (log + 3) // 2
        return result

    @staticmethod
    @compiled
    def unpack_matrix(values, covariance):  # type: ignore[no-untyped-def]
        n, log_jacobian = covariance.shape[0], 0.0
        lower = _unpacked(values, n)
        for i in range(n):
            log_jacobian += _LOG_2 + (n + 1.0) * math.log(lower[i, i])
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
            log = i * (i + 3) // 2
            for j in range(i + 1):
                slope = 0.0
                for m in range(j, n):
                    slope += (outer[i, m] + outer[m, i]) * lower[m, j]
                result[log] += slope * lower[i, j]
                if i != j:
                    result[position] += slope * lower[i, i]
                position += 1
            result[log] += d_log_jacobian * (n + 1.0)

    @staticmethod
    @compiled
    def draw_covariances(rng, dof, scale, covariances):  # type: ignore[no-untyped-def]
        """As in NumPy."""
        d = scale.shape[1]
        lower, inverse, chol, relative = np.zeros((4, d, d))
        draw_inverse_wishart(rng, dof.sum(), scale[0], covariances[0])
        if not (cholesky_lower(covariances[0], lower) and cholesky_lower(scale[0], chol)):
            covariances[:] = np.nan
            return
        invert_lower(lower, inverse)
        multiply_lower(inverse, chol, relative)
        trace = (relative**2).sum()
        for k in range(len(dof) - 1, -1, -1):
            volume = trace / rng.chisquare(d * dof[k])
            for i in range(d):
                for j in range(d):
                    covariances[k, i, j] = volume * covariances[0, i, j]


@compiled
def _unpacked(values, n):  # type: ignore[no-untyped-def]
    """The lower triangle (n, n) of packed values, each row times the exponential of its pivot."""
    lower, position = np.zeros((n, n)), 0
    for i in range(n):
        size = math.exp(values[i * (i + 3) // 2])
        for j in range(i + 1):
            lower[i, j] = size if i == j else size * values[position]
            position += 1
    return lower


@linked(types.int64(IN_1, OUT_1, OUT_3, OUT_3, OUT_3, OUT_3, OUT_3, OUT_1))
def _write_proportional(floors, totals, scatter, now, prec, new, new_prec, volumes):  # type: ignore[no-untyped-def]
    """Factors of all components, see `Proportional.write_covariances`; returns how many are at the floor.

    All scatters are whitened by the first factor, and volumes are relative to one matrix, which the first new factor
    holds until the end.
    """
    n_blocks, d = scatter.shape[:2]
    relative, inverse, limits, n_lifted = np.empty((d, d)), np.eye(d), np.empty(d), 0
    new_prec[0, :, :] = prec[0]
    for k in range(n_blocks):
        volumes[k] = (now[k, 0, 0] / now[0, 0, 0]) ** 2
        for i in range(d):
            for j in range(d):
                scatter[k, i, j] *= volumes[k]
    for _ in range(_MOST_SWEEPS):
        change = _move_volumes(floors, totals, scatter, inverse, new_prec[0], volumes)
        _mean_matrix(totals, scatter, volumes, relative)
        for j in range(d):
            limits[j] = floors[j] / volumes.min()
        n_lifted = write_factor(limits, relative, now[0], new[0], new_prec[0], inverse)
        multiply_lower(new_prec[0], now[0], relative)
        for i in range(d):
            for j in range(d):
                inverse[i, j] = 0.0
                for h in range(max(i, j), d):
                    inverse[i, j] += relative[h, i] * relative[h, j]
        if change <= _CHANGE:
            break
    n_floored, lowest = 0, volumes.min()
    for k in range(n_blocks - 1, -1, -1):
        root = math.sqrt(volumes[k])
        n_floored += n_lifted > 0 and volumes[k] <= lowest * _EIGENVALUE_AT_FLOOR
        for i in range(d):
            for j in range(d):
                new[k, i, j], new_prec[k, i, j] = new[0, i, j] * root, new_prec[0, i, j] / root
    return n_floored


@compiled
def _move_volumes(floors, totals, scatter, inverse, prec, volumes):  # type: ignore[no-untyped-def]
    """The best volumes, no eigenvalue below the floor; returns the largest change of a logarithm."""
    n_blocks, d = scatter.shape[:2]
    change, before, bound = 0.0, volumes.copy(), 0.0  # of the largest eigenvalue of the precision, its trace
    for k in range(n_blocks):
        if totals[k] > NEGLIGIBLE:
            trace = 0.0
            for i in range(d):
                for j in range(d):
                    trace += scatter[k, i, j] * inverse[i, j]
            volumes[k] = max(trace / (d * totals[k]), _TINY)
    for i in range(d):
        for j in range(i + 1):
            bound += floors[j] * prec[i, j] ** 2
    least = _largest_eigenvalue(floors, prec) if volumes.min() < bound else 0.0
    for k in range(n_blocks):
        volumes[k] = max(volumes[k], least)
        change = max(change, abs(math.log(volumes[k] / before[k])))
    return change


@compiled
def _largest_eigenvalue(floors, prec):  # type: ignore[no-untyped-def]
    """Of a precision in units of the floor, and so the smallest volume that may be put beside the matrix."""
    d = prec.shape[0]
    inner, values, vectors = np.zeros((d, d)), np.empty(d), np.empty((d, d))
    for i in range(d):
        for j in range(d):
            for h in range(max(i, j), d):
                inner[i, j] += prec[h, i] * prec[h, j] * math.sqrt(floors[i] * floors[j])
    write_eigen(inner, np.ones(d), values, vectors)
    return values[d - 1]


@compiled
def _mean_matrix(totals, scatter, volumes, mean):  # type: ignore[no-untyped-def]
    """The best matrix, whitened."""
    total = totals.sum()
    for i in range(mean.shape[0]):
        for j in range(mean.shape[0]):
            mean[i, j] = 0.0
            for k in range(volumes.shape[0]):
                mean[i, j] += scatter[k, i, j] / volumes[k] / max(total, NEGLIGIBLE)
