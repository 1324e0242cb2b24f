r"""Full covariance matrices with axes of their own and eigenvalues that are tied together: mclust's EEV and VEV.

:math:`\Sigma_k = \lambda_k D_k A D_k^\top` with the same diagonal A, its entries in ascending order, and rotations
:math:`D_k` (Celeux & Govaert 1995); in EEV the volumes :math:`\lambda_k` are the same too. Whatever A is, the best axes
are the eigenvectors of the scatters, which are paired with its entries by rank.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
from numba import types

from bayesgmm._common import Array, Factors
from bayesgmm._compiled import IN_1, OUT_1, OUT_2, OUT_3, allocation_free, compiled, invert_lower, linked
from bayesgmm.mixture.covariance.equal_shape import EqualShape, alternate
from bayesgmm.mixture.covariance.floors import factor_of_product, sandwich
from bayesgmm.mixture.covariance.full import Full
from bayesgmm.mixture.covariance.parametrisation import NEGLIGIBLE

_MOST_SWEEPS, _CLOSE, _ROUNDING = 15, 1e-8, 1e-30  # of rotations; an angle, and a squared share that is rounding error
_AT_FLOOR, _SMALLEST_SHARE = 1.0 + 1e-12, 1e-15  # times the floor; of the largest variance: below are rounding errors


class Oriented(Full, ABC):
    """Full matrices whose eigenvalues or axes are tied together, and so no linear function of what is free.

    Free are numbers in which the logarithms of eigenvalues are linear, then angles between each two axes.
    """

    ties = True
    explorable = False
    unexplorable = "NUTS hardly moves between orientations of ellipsoids that are tied together."
    own_axes = True  # of each component, or the same for all

    @abstractmethod
    def log_changes(self, k: int, d: int) -> Array:
        """Changes of the logarithms of eigenvalues with what is free in them, (k * d, free)."""

    @abstractmethod
    def axes(self, factors: Factors) -> Array:
        """Eigenvectors (k, d, d) of members, in columns."""

    def n_free(self, k: int, d: int) -> int:
        return self.log_changes(k, d).shape[1] + (k if self.own_axes else 1) * (d * (d - 1) // 2)

    def members(self, factors: Factors, weights: Array) -> Factors:
        found, weights = np.array(factors), np.array(weights, dtype=np.float64)
        precision = np.empty(found.shape[-3:])
        for place in np.ndindex(found.shape[:-3]):
            self.make_members(weights, found[place], precision)
        return found

    def nearest(self, factors: Factors) -> Factors:
        return self.members(factors, np.ones(factors.shape[-3]))

    def local_changes(self, factors: Factors) -> Array | None:
        if len(factors) == 1:
            return None
        axes = self.axes(factors)
        whitened = np.linalg.solve(factors, axes)
        changes = whitened @ self._changes(factors, axes)[0] @ np.swapaxes(whitened, -1, -2)
        rows, columns = self.entries(factors.shape[-1])
        return changes[..., rows, columns].reshape(len(changes), -1).T

    def local_curvature(self, factors: Factors, second: Array, totals: Array) -> Array:
        r"""Of :math:`tr(G \Sigma)`, axes turned: :math:`\Lambda + [X, \Lambda] + [X, [X, \Lambda]] / 2`, X skew."""
        d, axes = factors.shape[-1], self.axes(factors)
        slopes = 0.5 * np.stack([self.slopes(m, n) for m, n in zip(second, totals, strict=True)])
        rows, columns = self.entries(d)
        by_entry = np.zeros(factors.shape)
        by_entry[:, rows, columns] = slopes * np.where(rows == columns, 1.0, 0.5)
        by_entry[:, columns, rows] = by_entry[:, rows, columns]
        whitened = np.linalg.solve(factors, axes)
        gradient = np.swapaxes(whitened, -1, -2) @ by_entry @ whitened
        changes, turns = self._changes(factors, axes)
        n_logs = len(changes) - len(turns)
        logs = np.diagonal(changes[:n_logs], axis1=-2, axis2=-1)
        values = np.diagonal(np.swapaxes(axes, -1, -2) @ self.matrices(factors, d) @ axes, axis1=-2, axis2=-1)
        curvature = np.zeros((len(changes), len(changes)))
        weights = np.diagonal(gradient, axis1=-2, axis2=-1) / values
        curvature[:n_logs, :n_logs] = np.einsum("akj,kj,bkj->ab", logs, weights, logs)
        turned = np.einsum("akij,bkji->ab", turns, changes @ gradient - gradient @ changes)
        curvature[n_logs:, :n_logs], curvature[:n_logs, n_logs:] = turned[:, :n_logs], turned[:, :n_logs].T
        curvature[n_logs:, n_logs:] = 0.5 * (turned[:, n_logs:] + turned[:, n_logs:].T)
        return curvature

    def _changes(self, factors: Factors, axes: Array) -> tuple[Array, Array]:
        """Derivatives (free, k, d, d) of the covariances in their axes, and the skew matrices X of the angles."""
        k, d = factors.shape[:2]
        covariances = np.swapaxes(axes, -1, -2) @ self.matrices(factors, d) @ axes
        values = covariances * np.eye(d)
        logs = self.log_changes(k, d).T.reshape(-1, k, d, 1) * values
        rows, columns = np.tril_indices(d, -1)
        plane = np.zeros((len(rows), d, d))
        plane[np.arange(len(rows)), rows, columns], plane[np.arange(len(rows)), columns, rows] = 1.0, -1.0
        whose = np.eye(k) if self.own_axes else np.ones((1, k))
        turns = (whose[:, None, :, None, None] * plane[:, None]).reshape(-1, k, d, d)
        return np.concatenate([logs, turns @ values - values @ turns]), turns


class EqualEigenvalues(Oriented):
    """The same eigenvalues for all components, each with axes of its own."""

    keeps = 2
    prior_once = True

    def log_changes(self, k: int, d: int) -> Array:
        return np.tile(np.eye(d), (k, 1))

    def axes(self, factors: Factors) -> Array:
        return np.linalg.eigh(self.natural(factors))[1]

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        return _write_equal(floors, totals, scatter, now.factors, new.factors, new.precision_factors)

    @staticmethod
    @linked(types.void(OUT_1, OUT_3, OUT_3))
    def make_members(weights, factors, prec):  # type: ignore[no-untyped-def]
        scatter = as_scatters(weights, factors)
        _write_equal(np.zeros(factors.shape[1]), weights.copy(), scatter, factors, factors, prec)


class OwnVolumes(EqualEigenvalues):
    """Eigenvalues of the same ratios for all components, each with a volume and axes of its own."""

    keeps = 1
    prior_once = False

    def log_changes(self, k: int, d: int) -> Array:
        return EqualShape().restriction(k, d)

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        return _write_proportional(floors, totals, scatter, now.factors, new.factors, new.precision_factors)

    @staticmethod
    @linked(types.void(OUT_1, OUT_3, OUT_3))
    def make_members(weights, factors, prec):  # type: ignore[no-untyped-def]
        scatter = as_scatters(weights, factors)
        _write_proportional(np.zeros(factors.shape[1]), weights.copy(), scatter, factors, factors, prec)


_WRITES_MEMBERS = types.int64(IN_1, OUT_1, OUT_3, OUT_3, OUT_3, OUT_3)


@linked(_WRITES_MEMBERS)
def _write_equal(floors, totals, scatter, factors, new_factors, new_prec):  # type: ignore[no-untyped-def]
    """The best members: with axes that are eigenvectors, the eigenvalues of each rank are averaged."""
    moments, axes = _by_rank(totals, scatter, factors)
    values, least, total = np.empty((len(moments), len(floors))), _rank_floors(floors, axes), totals.sum()
    for j in range(len(floors)):
        sum_of_rank = 0.0
        for k in range(len(moments)):
            sum_of_rank += moments[k, 0, j]
        values[:, j] = max(sum_of_rank / total, least[j])
    return write_along(axes, values, least, new_factors, new_prec)


@linked(_WRITES_MEMBERS)
def _write_proportional(floors, totals, scatter, factors, new_factors, new_prec):  # type: ignore[no-untyped-def]
    """The best members: with axes that are eigenvectors, volumes and a shape in turn, as of diagonal matrices."""
    moments, axes = _by_rank(totals, scatter, factors)
    values, least = np.empty((len(moments), len(floors))), _rank_floors(floors, axes)
    shape, volumes, total = np.zeros(len(floors)), np.ones(len(moments)), totals.sum()
    for j in range(len(floors)):
        for k in range(len(moments)):
            shape[j] += moments[k, 0, j] / total
        shape[j] = max(shape[j], least[j])
    alternate(least, totals, moments, shape, volumes)
    for k in range(len(moments)):
        for j in range(len(floors)):
            values[k, j] = volumes[k] * shape[j]
    return write_along(axes, values, least, new_factors, new_prec)


@compiled
def as_scatters(weights, factors):  # type: ignore[no-untyped-def]
    """Whitened scatters of rows with the covariances L Lᵀ and these weights."""
    scatter = np.zeros(factors.shape)
    for k in range(scatter.shape[0]):
        for j in range(scatter.shape[1]):
            scatter[k, j, j] = weights[k]
    return scatter


@compiled
def moments_of(totals, scatter, factors):  # type: ignore[no-untyped-def]
    """Scatters L S Lᵀ; where nothing was counted, next to nothing with the present covariance."""
    moments = np.empty(scatter.shape)
    for k in range(scatter.shape[0]):
        if not totals[k] > NEGLIGIBLE:
            totals[k] = NEGLIGIBLE
            scatter[k] = NEGLIGIBLE * np.eye(scatter.shape[1])
        moments[k] = sandwich(factors[k], scatter[k])
    return moments


@compiled
def _by_rank(totals, scatter, factors):  # type: ignore[no-untyped-def]
    """Eigenvalues (k, 1, d) of the scatters, ascending, and axes (k, d, d), in columns."""
    moments = moments_of(totals, scatter, factors)
    n_components, n, _ = moments.shape
    values, axes = np.empty((n_components, 1, n)), np.empty(moments.shape)
    for k in range(n_components):
        turned = np.eye(n)
        diagonalise(moments[k : k + 1], turned)
        spectrum = np.diag(moments[k])
        order = np.argsort(spectrum)
        for j in range(n):
            values[k, 0, j] = max(spectrum[order[j]], 0.0)
            axes[k, :, j] = turned[:, order[j]]
    return values, axes


@linked(types.void(OUT_3, OUT_2))
def diagonalise(matrices, axes):  # type: ignore[no-untyped-def]
    """Turn symmetric matrices (k, d, d) and the columns of axes (d, d) until all are as diagonal as they can be.

    Plane rotations by Jacobi's angle, for several matrices that of Cardoso & Souloumiac (1996).
    """
    n_components, n, _ = matrices.shape
    for _ in range(_MOST_SWEEPS):
        largest = 0.0
        for i in range(n):
            for j in range(i):
                across = beside = apart = size = 0.0
                for k in range(n_components):
                    difference, product = matrices[k, i, i] - matrices[k, j, j], 2.0 * matrices[k, i, j]
                    across += product * product
                    beside += difference * product
                    apart += difference * difference
                    size += abs(matrices[k, i, i] * matrices[k, j, j])
                if across > _ROUNDING * size:
                    angle = 0.25 * math.atan2(2.0 * beside, apart - across)
                    largest = max(largest, abs(angle))
                    turn(matrices, axes, i, j, angle)
        if largest <= _CLOSE:
            break


@allocation_free
def turn(matrices, axes, i, j, angle):  # type: ignore[no-untyped-def]
    """Turn axis i by an angle towards axis j, and matrices in their coordinates with them."""
    c, s = math.cos(angle), math.sin(angle)
    for h in range(axes.shape[0]):
        axes[h, i], axes[h, j] = c * axes[h, i] + s * axes[h, j], c * axes[h, j] - s * axes[h, i]
        for k in range(matrices.shape[0]):
            a = matrices[k]
            a[h, i], a[h, j] = c * a[h, i] + s * a[h, j], c * a[h, j] - s * a[h, i]
    for k in range(matrices.shape[0]):
        a = matrices[k]
        for h in range(axes.shape[0]):
            a[i, h], a[j, h] = c * a[i, h] + s * a[j, h], c * a[j, h] - s * a[i, h]


@compiled
def axis_floors(floors, axes):  # type: ignore[no-untyped-def]
    """Smallest variances along axes (d, d)."""
    least = np.zeros(len(floors))
    for j in range(len(floors)):
        for i in range(len(floors)):
            least[j] += axes[i, j] ** 2 * floors[i]
    return least


@compiled
def _rank_floors(floors, axes):  # type: ignore[no-untyped-def]
    """The largest of these of all components (k, d, d)."""
    least = np.zeros(len(floors))
    for k in range(len(axes)):
        least = np.maximum(least, axis_floors(floors, axes[k]))
    return least


@linked(types.int64(OUT_3, OUT_2, OUT_1, OUT_3, OUT_3))
def write_along(axes, values, least, factors, prec):  # type: ignore[no-untyped-def]
    """Factors of covariances with variances (k, d) along axes (k, d, d); returns how many are at the floor."""
    n_floored, n_components, n = 0, values.shape[0], values.shape[1]
    for k in range(n_components):
        root, at_floor, smallest = np.empty((n, n)), False, _SMALLEST_SHARE * values[k].max()
        for j in range(n):
            at_floor = at_floor or not values[k, j] > least[j] * _AT_FLOOR
            for i in range(n):
                root[i, j] = axes[k, i, j] * math.sqrt(max(values[k, j], smallest))
        factor_of_product(root, factors[k])
        invert_lower(factors[k], prec[k])
        n_floored += at_floor
    return n_floored
