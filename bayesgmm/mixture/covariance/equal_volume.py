r"""Covariance matrices of one volume, each of a shape of its own: mclust's EVI (diagonal) and EVV (full).

:math:`|\Sigma_k|` is the same for all components (Celeux & Govaert 1995). The sums of the logarithms of the factors'
diagonals are equal, which is linear in packed coordinates: all of the first component's are free, and all of the
others' but the last. The prior is that of the unrestricted covariances in the measure of what is free; its normalizer
is the density with which independent covariances have the same determinant.
"""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import types

from bayesgmm._common import Array, Factors
from bayesgmm._compiled import (
    IN_1,
    OUT_1,
    OUT_2,
    OUT_3,
    allocation_free,
    cholesky_lower,
    compiled,
    invert_lower,
    linked,
    multiply_lower,
)
from bayesgmm.mixture.covariance.diagonal import Diagonal
from bayesgmm.mixture.covariance.floors import factor_of_product, sandwich, write_eigen
from bayesgmm.mixture.covariance.full import Full, log_entries
from bayesgmm.mixture.covariance.parametrisation import NEGLIGIBLE, Parametrisation
from bayesgmm.mixture.covariance.wishart import write_inverse_wishart

_AT_FLOOR = 1.0 + 1e-9  # times the floor
_HALVINGS = 200  # of the interval of a logarithm of a volume
_LOG_2 = math.log(2.0)
_TINY = 1e-300  # a variance that is zero
_STEP, _STEPS_A_SD, _NEGLIGIBLE_LOG = 0.2, 0.7, 40.0  # of points at which densities are evaluated


class EqualVolume(Parametrisation):
    """What diagonal and full covariances of one volume have in common."""

    keeps = 3

    def restriction(self, k: int, d: int) -> Array:
        """Columns: all of the first component, then all but the last of each other one."""
        size, logs = self.size(d), self.volume_powers(d) != 0.0
        result = np.zeros((k, size, size + (k - 1) * (size - 1)))
        result[0, :, :size] = np.eye(size)
        for g in range(1, k):
            own = slice(size + (g - 1) * (size - 1), size + g * (size - 1))
            result[g, :-1, own] = np.eye(size - 1)
            result[g, -1, :size] = logs
            result[g, -1, own] = -1.0 * logs[:-1]
        return result.reshape(k * size, -1)

    def free(self, packed: Any, arrays: Any) -> Any:
        logs = self._logs(packed.shape[-1], arrays)
        sums = (packed * logs).sum(axis=-1)
        mean = sums.mean(axis=-1)
        packed = packed + ((mean[..., None] - sums) / logs.sum())[..., None] * logs
        others = packed[..., 1:, :-1]
        others = others.reshape((*packed.shape[:-2], (packed.shape[-2] - 1) * (packed.shape[-1] - 1)))
        return arrays.concatenate([packed[..., 0, :], others], axis=-1)

    def tied_log_constant(self, dof: Any, d: Any, special: Any) -> Any:
        """Determinants are the scale's over products of chi-squares: the density that they are the same."""
        return -special.log_coincidence(0.5 * (dof[..., None] - self._lost(d, special)))

    @property
    def numbers(self) -> SimpleNamespace:
        return SimpleNamespace(arange=np.arange, log_coincidence=log_coincidence)

    @staticmethod
    @compiled
    def log_coincidence(shapes):  # type: ignore[no-untyped-def]
        """See the function."""
        return log_coincidence(shapes)

    def _logs(self, size: Any, arrays: Any) -> Any:
        """One for packed coordinates that are logarithms, zero for others."""
        raise NotImplementedError

    def _lost(self, d: Any, arrays: Any) -> Any:
        """By how much the chi-squares of the features (d,) have fewer degrees of freedom than the covariance."""
        raise NotImplementedError

    def _log_gammas(self, dof: Array, d: int, rng: np.random.Generator) -> Array:
        """Draws (..., k, d) of the logarithms of halves of these chi-squares, given that their sums are the same."""
        shapes = 0.5 * (dof[..., None] - self._lost(d, np))
        result = np.empty((math.prod(dof.shape[:-1]), *shapes.shape[-2:]))
        for of_draw, drawn in zip(shapes.reshape(result.shape), result, strict=True):
            draw_with_equal_sums(rng, of_draw, drawn)
        return result.reshape(shapes.shape)


class EqualVolumeDiagonal(EqualVolume, Diagonal):
    """A variance for each feature, their product the same for all components."""

    def _logs(self, size: Any, arrays: Any) -> Any:
        return arrays.ones(size)

    def _lost(self, d: Any, arrays: Any) -> Any:
        return 0.0 * arrays.arange(d)

    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Factors:
        log_gammas = self._log_gammas(np.broadcast_to(dof, scale.shape[:-2]), scale.shape[-1], rng)
        return np.sqrt(0.5 * scale * np.exp(-log_gammas)[..., None, :])

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        """The maximum, no variance below the floor."""
        n_blocks, _, d = scatter.shape
        for k in range(n_blocks):
            for j in range(d):
                unit = floors[j] if floors[j] > 0.0 else 1.0
                new.factors[k, 0, j] = scatter[k, 0, j] * now.factors[k, 0, j] ** 2 / unit
        least = 1.0 if floors[0] > 0.0 else 0.0
        n_floored = _equal_products(new.factors.reshape(n_blocks, d), totals, least)
        for k in range(n_blocks):
            for j in range(d):
                unit = floors[j] if floors[j] > 0.0 else 1.0
                new.factors[k, 0, j] = math.sqrt(new.factors[k, 0, j] * unit)
                new.precision_factors[k, 0, j] = 1.0 / new.factors[k, 0, j]
        return n_floored

    @staticmethod
    @allocation_free
    def values_shape(n_given, k, d):  # type: ignore[no-untyped-def]
        return 1, d + (k - 1) * (d - 1)

    @staticmethod
    @compiled
    def expand_values(values, k, d):  # type: ignore[no-untyped-def]
        """Log variances (k, d) of what is free."""
        return _expanded(values, k, d, 1)

    @staticmethod
    @compiled
    def gradient_of_values(gradient):  # type: ignore[no-untyped-def]
        return _free_gradient(gradient, 1)

    @staticmethod
    @compiled
    def draw_covariances(rng, dof, scale, covariances):  # type: ignore[no-untyped-def]
        """As in NumPy."""
        d = scale.shape[1]
        shapes, log_gammas = np.empty((len(dof), d)), np.empty((len(dof), d))
        for k in range(len(dof)):
            shapes[k] = 0.5 * dof[k]
        draw_with_equal_sums(rng, shapes, log_gammas)
        for k in range(len(dof)):
            for j in range(d):
                covariances[k, j, j] = 0.5 * scale[k, j, j] * math.exp(-log_gammas[k, j])


class EqualVolumeFull(EqualVolume, Full):
    """Full matrices of one determinant."""

    def _logs(self, size: Any, arrays: Any) -> Any:
        return log_entries(size, arrays)

    def _lost(self, d: Any, arrays: Any) -> Any:
        return 1.0 * arrays.arange(d)

    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Factors:
        """As `Full.draw_factors`."""
        d, dof = scale.shape[-1], np.broadcast_to(dof, scale.shape[:-2])
        inner = np.tril(rng.standard_normal((*dof.shape, d, d)), -1)
        inner[..., np.arange(d), np.arange(d)] = np.sqrt(2.0 * np.exp(self._log_gammas(dof, d, rng)))
        return np.asarray(np.linalg.cholesky(scale) @ np.swapaxes(np.linalg.inv(inner), -1, -2))

    def tied_log_constant(self, dof: Any, d: Any, special: Any) -> Any:
        """The measure has the logarithm of |L|, half that of the determinant."""
        return super().tied_log_constant(dof, d, special) - _LOG_2 * (dof.shape[-1] - 1)

    def nearest(self, factors: Factors) -> Factors:
        """Each times a number."""
        log_dets = self.log_determinants(factors, factors.shape[-1])
        change = (log_dets.mean(axis=-1, keepdims=True) - log_dets) / factors.shape[-1]
        return np.asarray(factors * np.exp(change)[..., None, None])

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        """The maximum, no eigenvalue below the floor."""
        if _write_unfloored(floors, totals, scatter, now.factors, new.factors, new.precision_factors):
            return 0
        return _write_floored(floors, totals, scatter, now.factors, new.factors, new.precision_factors)

    @staticmethod
    @allocation_free
    def values_shape(n_given, k, d):  # type: ignore[no-untyped-def]
        size = d * (d + 1) // 2
        return 1, size + (k - 1) * (size - 1)

    @staticmethod
    @compiled
    def expand_values(values, k, d):  # type: ignore[no-untyped-def]
        """Packed factors (k, d (d + 1) / 2) of what is free."""
        return _expanded(values, k, d * (d + 1) // 2, 2)

    @staticmethod
    @compiled
    def gradient_of_values(gradient):  # type: ignore[no-untyped-def]
        return _free_gradient(gradient, 2)

    @staticmethod
    @compiled
    def draw_covariances(rng, dof, scale, covariances):  # type: ignore[no-untyped-def]
        """As in NumPy."""
        d = scale.shape[1]
        shapes, log_gammas = np.empty((len(dof), d)), np.empty((len(dof), d))
        wishart, chol = np.zeros((d, d)), np.empty((d, d))
        for k in range(len(dof)):
            for j in range(d):
                shapes[k, j] = 0.5 * (dof[k] - j)
        draw_with_equal_sums(rng, shapes, log_gammas)
        for k in range(len(dof)):
            if not cholesky_lower(scale[k], chol):
                chol[:, :] = np.nan
            for i in range(d):
                wishart[i, i] = math.sqrt(2.0 * math.exp(log_gammas[k, i]))
                for j in range(i):
                    wishart[i, j] = rng.standard_normal()
            write_inverse_wishart(wishart, chol, covariances[k])


@compiled
def _expanded(values, k, size, spread):  # type: ignore[no-untyped-def]
    """Packed coordinates (k, size) of what is free; logarithms come after one another, or one more entry each row."""
    packed, place = np.empty((k, size)), size
    for j in range(size):
        packed[0, j] = values[0, j]
    for g in range(1, k):
        j, step, last = 0, spread, 0.0
        for i in range(size - 1):
            packed[g, i] = values[0, place + i]
            if i == j:
                last += packed[0, i] - packed[g, i]
                j, step = j + step, step + spread - 1
        packed[g, size - 1] = last + packed[0, size - 1]
        place += size - 1
    return packed


@compiled
def _free_gradient(gradient, spread):  # type: ignore[no-untyped-def]
    """The gradient by what is free, of that by packed coordinates."""
    k, size = gradient.shape
    result, place = np.zeros((1, size + (k - 1) * (size - 1))), size
    for j in range(size):
        result[0, j] = gradient[0, j]
    for g in range(1, k):
        j, step, last = 0, spread, gradient[g, size - 1]
        for i in range(size):
            is_log = i == j
            if is_log:
                result[0, i] += last
                j, step = j + step, step + spread - 1
            if i < size - 1:
                result[0, place + i] = gradient[g, i] - (last if is_log else 0.0)
        place += size - 1
    return result


@linked(types.boolean(IN_1, OUT_1, OUT_3, OUT_3, OUT_3, OUT_3))
def _write_unfloored(floors, totals, scatter, now, new, new_prec):  # type: ignore[no-untyped-def]
    """Factors where no eigenvalue can be below the floor; else False."""
    n_blocks, d = scatter.shape[:2]
    logs, change = np.empty(n_blocks), np.empty((d, d))
    total = volume = 0.0
    for k in range(n_blocks):
        if not cholesky_lower(scatter[k], change):
            return False
        multiply_lower(now[k], change, new[k])
        logs[k] = 0.0
        for j in range(d):
            logs[k] += math.log(new[k, j, j]) / d
        volume += math.exp(2.0 * logs[k])
        total += totals[k]
    if not (total > NEGLIGIBLE and math.isfinite(volume) and volume > 0.0):
        return False
    for k in range(n_blocks):
        scale, squares = math.exp(0.5 * math.log(volume / total) - logs[k]), 0.0
        for i in range(d):
            for j in range(i + 1):
                new[k, i, j] *= scale
        invert_lower(new[k], new_prec[k])
        for i in range(d):
            for j in range(i + 1):
                squares += floors[j] * new_prec[k, i, j] ** 2
        if not squares <= 1.0:
            return False
    return True


@linked(types.int64(IN_1, OUT_1, OUT_3, OUT_3, OUT_3, OUT_3))
def _write_floored(floors, totals, scatter, now, new, new_prec):  # type: ignore[no-untyped-def]
    """Factors by eigenvalues in units of the floor; returns how many are at it."""
    n_blocks, d = scatter.shape[:2]
    values, vectors, sizes = np.empty((n_blocks, d)), np.empty((n_blocks, d, d)), np.empty(d)
    for j in range(d):
        sizes[j] = math.sqrt(floors[j]) if floors[j] > 0.0 else 1.0
    for k in range(n_blocks):
        write_eigen(sandwich(now[k], scatter[k]), sizes, values[k], vectors[k])
        for j in range(d):
            values[k, j] = max(values[k, j], 1e-15 * values[k, d - 1])
    n_floored = _equal_products(values, totals, 1.0 if floors[0] > 0.0 else 0.0)
    for k in range(n_blocks):
        for j in range(d):
            for i in range(d):
                vectors[k, i, j] *= sizes[i] * math.sqrt(values[k, j])
        factor_of_product(vectors[k], new[k])
        invert_lower(new[k], new_prec[k])
    return n_floored


@linked(types.int64(OUT_2, OUT_1, types.float64))
def _equal_products(values, totals, least):  # type: ignore[no-untyped-def]
    """Replace sums of squares W by variances v of one product, none below the least; returns how many rows are at it.

    To be maximised is - sum_k (totals_k sum_j log v_kj + sum_j W_kj / v_kj) / 2, given sum_j log v_kj = T for all k.
    With a multiplier m_k for each component v_kj = max(W_kj / m_k, least), and sum_k m_k = sum_k totals_k at the best
    T, in which the multipliers fall.
    """
    n, d = values.shape
    total, low, high, sums = totals.sum(), -np.inf, -np.inf, np.empty(n)
    for k in range(n):
        sums[k] = 0.0
        for j in range(d):
            values[k, j] = max(values[k, j], _TINY)
            sums[k] += math.log(values[k, j])
        high = max(high, sums[k] / d)
    mean = 0.0
    for k in range(n):
        mean += math.exp(sums[k] / d - high)
    log_volume = d * (high + math.log(mean / max(total, NEGLIGIBLE)))
    free = True  # at which all variances are above the least, if they are
    for k in range(n):
        for j in range(d):
            free = free and math.log(values[k, j]) + (log_volume - sums[k]) / d >= (
                math.log(least) if least > 0.0 else -np.inf
            )
    if not free:
        low = d * math.log(least)
        high = max(low, log_volume) + 1.0
        while _multipliers(values, high, least) > total:
            high += high - low + 1.0
        for _ in range(_HALVINGS):
            log_volume = 0.5 * (low + high)
            if _multipliers(values, log_volume, least) > total:
                low = log_volume
            else:
                high = log_volume
            if high - low <= 1e-15 * (1.0 + abs(high)):
                break
    n_floored = 0
    for k in range(n):
        multiplier, at_floor = _multiplier(values[k], log_volume, least), False
        for j in range(d):
            values[k, j] = max(values[k, j] / multiplier, least)
            at_floor = at_floor or values[k, j] <= least * _AT_FLOOR
        n_floored += at_floor
    return n_floored


@compiled
def _multipliers(values, log_volume, least):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(values.shape[0]):
        total += _multiplier(values[k], log_volume, least)
    return total


@compiled
def _multiplier(values, log_volume, least):  # type: ignore[no-untyped-def]
    """m with sum_j log max(W_j / m, least) = T: variances that fall below the least are put there, and m again found.

    Infinite where all variances are at the least.
    """
    multiplier = 0.0
    for _ in range(values.shape[0] + 1):
        rest, n, before = log_volume, 0, multiplier
        for j in range(values.shape[0]):
            if values[j] < least * before:
                rest -= math.log(least)
            else:
                rest -= math.log(values[j])
                n += 1
        if n == 0:
            return max(before, values.max() / least)
        multiplier = math.exp(-rest / n)
        if multiplier <= before:
            break
    return multiplier


# ---- sums of logarithms of gamma variables


@compiled
def log_coincidence(shapes):  # type: ignore[no-untyped-def]
    """Log density that K independent sums of the logarithms of D gamma variables are equal; shapes (k, d).

    The logarithm of the integral of the product of the densities of the sums, by the trapezoidal rule, which converges
    exponentially for them.
    """
    densities, step = _densities_of_sums(shapes, 0.0)
    product = np.zeros(densities.shape[1])
    for k in range(shapes.shape[0]):
        product += np.log(densities[k])
    highest = product.max()
    return highest + math.log(np.exp(product - highest).sum() * step)


@compiled
def draw_with_equal_sums(rng, shapes, log_gammas):  # type: ignore[no-untyped-def]
    """Draw logarithms (k, d) of gamma variables given that their sums over d are equal.

    First the sum, one of points at random places, then those of each k given it: deviations from the mean are proposed
    without that condition, and rejected so that the sum of the variables is as it makes them.
    """
    d, shift = shapes.shape[1], rng.random()
    densities, step = _densities_of_sums(shapes, shift)
    product = np.zeros(densities.shape[1])
    for k in range(shapes.shape[0]):
        product += np.log(densities[k])
    running = np.cumsum(np.exp(product - product.max()))
    place = np.searchsorted(running, rng.random() * running[-1])
    mean = (_lowest_sum(shapes) + (place + shift) * step) / d
    for k in range(shapes.shape[0]):
        total = shapes[k].sum()
        while True:
            own, sum_of_gammas = 0.0, 0.0
            for j in range(d):
                log_gammas[k, j] = math.log(rng.standard_gamma(shapes[k, j]))
                own += log_gammas[k, j] / d
            for j in range(d):
                log_gammas[k, j] += mean - own
                sum_of_gammas += math.exp(log_gammas[k, j])
            if math.log(rng.random()) < total * math.log(sum_of_gammas / total) + total - sum_of_gammas:
                break


@compiled
def _densities_of_sums(shapes, shift):  # type: ignore[no-untyped-def]
    """Densities (k, point) of the sums at equidistant points, and their distance.

    The points begin at the lowest sum, moved by ``shift`` distances.
    """
    n, d = shapes.shape
    step = min(_STEP, _STEPS_A_SD / math.sqrt(shapes.max())) * min(1.0, math.sqrt(d / n))
    size = 1
    for j in range(d):
        low, high = _window(shapes[:, j])
        size += int((high - low) / step) + 1
    densities, one, before = np.zeros((n, size)), np.empty(size), np.empty(size)
    for k in range(n):
        length = 1
        densities[k, 0] = 1.0 / step
        for j in range(d):
            low, high = _window(shapes[:, j])
            n_points, shape = int((high - low) / step) + 2, shapes[k, j]
            for i in range(n_points):
                y = low + (i + (shift if j == 0 else 0.0)) * step
                one[i] = math.exp(shape * y - math.exp(y) - math.lgamma(shape)) * step
            before[:length] = densities[k, :length]
            densities[k] = 0.0
            for i in range(length):
                for h in range(n_points):
                    densities[k, i + h] += before[i] * one[h]
            length += n_points - 1
    return densities, step


@compiled
def _lowest_sum(shapes):  # type: ignore[no-untyped-def]
    total = 0.0
    for j in range(shapes.shape[1]):
        total += _window(shapes[:, j])[0]
    return total


@compiled
def _window(shapes):  # type: ignore[no-untyped-def]
    """Bounds outside of which log gamma variables have densities below exp(-40) of their modes' heights."""
    low, high = np.inf, -np.inf
    for shape in shapes:
        x = _NEGLIGIBLE_LOG / shape
        width = x + math.sqrt(2.0 * x)
        low = min(low, math.log(shape) - width)
        high = max(high, math.log(shape) + math.log1p(2.0 * width))
    return low, high
