r"""Full covariance matrices with the same axes and eigenvalues of their own: mclust's VVE and EVE.

:math:`\Sigma_k = \lambda_k D A_k D^\top` with one rotation D and diagonal :math:`A_k` (Celeux & Govaert 1995); in EVE
the volumes :math:`\lambda_k` are the same. The best eigenvalues for D follow from the scatters' diagonals in its axes.
For given eigenvalues two axes at a time are turned to the best angle (in the manner of Flury & Gautschi 1986), so that
the objective never falls. Axes are those of the present covariances at first: afresh they could end in another optimum,
of which the objective has several.
"""

import math

import numpy as np
from numba import types

from bayesgmm._common import Array, Factors
from bayesgmm._compiled import IN_1, OUT_1, OUT_2, OUT_3, allocation_free, compiled, linked
from bayesgmm.mixture.covariance.floors import sandwich
from bayesgmm.mixture.covariance.own_orientation import (
    Oriented,
    as_scatters,
    axis_floors,
    diagonalise,
    moments_of,
    turn,
    write_along,
)

_ROUNDS, _MOST_ROUNDS = 5, 200  # of eigenvalues and a sweep over all pairs of axes: in an M-step, for nearest members
_CLOSE = 1e-9  # an angle that is none
_ALIKE = 1e-9  # shares of the trace that are the same
_SMALLEST = 1e-300
_MOST_STEPS, _CHANGE = 50, 1e-14  # of Newton's method, and of a logarithm in its last


class CommonAxes(Oriented):
    """The same axes for all components."""

    own_axes = False

    def log_changes(self, k: int, d: int) -> Array:
        return np.eye(k * d)

    def axes(self, factors: Factors) -> Array:
        return np.broadcast_to(_present_axes(np.ascontiguousarray(factors))[0], factors.shape)

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        return _write_free(floors, totals, scatter, now.factors, new.factors, new.precision_factors, _ROUNDS)

    @staticmethod
    @linked(types.void(OUT_1, OUT_3, OUT_3))
    def make_members(weights, factors, prec):  # type: ignore[no-untyped-def]
        scatter = as_scatters(weights, factors)
        _write_free(np.zeros(factors.shape[1]), weights.copy(), scatter, factors, factors, prec, _MOST_ROUNDS)


class CommonAxesEqualVolumes(CommonAxes):
    """The same axes and volume for all components."""

    keeps = 2
    prior_once = True

    def log_changes(self, k: int, d: int) -> Array:
        of_shape = np.vstack([np.eye(d - 1), -np.ones((1, d - 1))])
        return np.hstack([np.ones((k * d, 1)), np.kron(np.eye(k), of_shape)])

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        return _write_equal_volumes(floors, totals, scatter, now.factors, new.factors, new.precision_factors, _ROUNDS)

    @staticmethod
    @linked(types.void(OUT_1, OUT_3, OUT_3))
    def make_members(weights, factors, prec):  # type: ignore[no-untyped-def]
        scatter = as_scatters(weights, factors)
        _write_equal_volumes(np.zeros(factors.shape[1]), weights.copy(), scatter, factors, factors, prec, _MOST_ROUNDS)


_WRITES_MEMBERS = types.int64(IN_1, OUT_1, OUT_3, OUT_3, OUT_3, OUT_3, types.int64)


@linked(_WRITES_MEMBERS)
def _write_free(floors, totals, scatter, factors, new_factors, new_prec, n_rounds):  # type: ignore[no-untyped-def]
    return _write_members(floors, totals, scatter, factors, new_factors, new_prec, n_rounds, False)


@linked(_WRITES_MEMBERS)
def _write_equal_volumes(floors, totals, scatter, factors, new_factors, new_prec, n_rounds):  # type: ignore[no-untyped-def]
    return _write_members(floors, totals, scatter, factors, new_factors, new_prec, n_rounds, True)


@compiled
def _write_members(floors, totals, scatter, factors, new_factors, new_prec, n_rounds, equal_volumes):  # type: ignore[no-untyped-def]
    """The members that rotations of the present axes lead to; where these tell nothing, the best from three starts."""
    moments, best = moments_of(totals, scatter, factors), -math.inf
    present, alike = _present_axes(factors)
    axes, values, found = present, np.empty((len(factors), len(floors))), np.empty((len(factors), len(floors)))
    for start in range(3 if alike else 1):
        turned = _starting_axes(start, present, totals, moments)
        _turn_to_best(floors, totals, moments, turned, found, n_rounds, equal_volumes)
        value = _objective(totals, moments, turned, found)
        if value > best or start == 0:
            best, axes, values = value, turned, found.copy()
    everywhere = np.empty(factors.shape)
    everywhere[:] = axes
    return write_along(everywhere, values, axis_floors(floors, axes), new_factors, new_prec)


@compiled
def _starting_axes(start, present, totals, moments):  # type: ignore[no-untyped-def]
    """The present ones, or eigenvectors of all scatters together, or of that which counts most."""
    if start == 0:
        return present.copy()
    largest = np.argmax(totals)
    return _axes_of(moments if start == 1 else moments[largest : largest + 1])


@compiled
def _present_axes(factors):  # type: ignore[no-untyped-def]
    """The axes of members, and whether their covariances are alike but for their volumes."""
    shapes = np.empty(factors.shape)
    for k in range(len(factors)):
        shapes[k] = sandwich(factors[k], np.eye(factors.shape[1]))
        shapes[k] /= np.trace(shapes[k])
    axes = _axes_of(shapes)
    alike = True
    for k in range(1, len(factors)):
        alike = alike and np.abs(shapes[k] - shapes[0]).max() <= _ALIKE
    turned = _in_axes(shapes, axes)
    diagonalise(turned, axes)
    return axes, alike


@compiled
def _axes_of(matrices):  # type: ignore[no-untyped-def]
    """Eigenvectors of the sum of matrices."""
    axes, total = np.eye(matrices.shape[1]), np.zeros((1, *matrices.shape[1:]))
    for k in range(len(matrices)):
        total[0] += matrices[k]
    diagonalise(total, axes)
    return axes


@compiled
def _in_axes(matrices, axes):  # type: ignore[no-untyped-def]
    turned, transposed = np.empty(matrices.shape), axes.T.copy()
    for k in range(len(matrices)):
        turned[k] = sandwich(transposed, matrices[k])
    return turned


@linked(types.void(IN_1, OUT_1, OUT_3, OUT_2, OUT_2, types.int64, types.boolean))
def _turn_to_best(floors, totals, moments, axes, values, n_rounds, equal_volumes):  # type: ignore[no-untyped-def]
    """Turn axes towards the best ones, and write the best variances along them, (k, d)."""
    turned = _in_axes(moments, axes)
    for _ in range(n_rounds):
        _write_values(axis_floors(floors, axes), totals, turned, equal_volumes, values)
        if _sweep(turned, axes, values) <= _CLOSE:
            break
    _write_values(axis_floors(floors, axes), totals, turned, equal_volumes, values)


@allocation_free
def _sweep(moments, axes, values):  # type: ignore[no-untyped-def]
    """Turn each two axes to the best angle for these variances, by moments in their coordinates; the largest angle."""
    largest = 0.0
    for i in range(axes.shape[0]):
        for j in range(i):
            at_i = at_j = between = 0.0
            for k in range(moments.shape[0]):
                weight = 1.0 / values[k, i] - 1.0 / values[k, j]
                at_i += weight * moments[k, i, i]
                at_j += weight * moments[k, j, j]
                between += weight * moments[k, i, j]
            angle = 0.5 * math.atan2(-2.0 * between, at_j - at_i)  # to the smaller eigenvalue of the sums
            largest = max(largest, abs(angle))
            turn(moments, axes, i, j, angle)
    return largest


@compiled
def _write_values(least, totals, moments, equal_volumes, values):  # type: ignore[no-untyped-def]
    """The best variances (k, d) along axes, by moments in their coordinates."""
    for k in range(values.shape[0]):
        for j in range(values.shape[1]):
            variance = moments[k, j, j] if equal_volumes else moments[k, j, j] / totals[k]
            values[k, j] = max(variance, _SMALLEST if equal_volumes else least[j])
    if equal_volumes:
        _equalise(least, totals.sum(), values)


@compiled
def _equalise(least, total, values):  # type: ignore[no-untyped-def]
    """Sums of squares along axes (k, d) become the best variances of one product and not below the floor.

    Those above the floor are in proportion to the sums. As they are multiplied to give the product, others may come to
    lie below: these go to the floor, all but the largest of a component.
    """
    n_components, n = values.shape
    sums, floored = values.copy(), np.zeros(values.shape, dtype=np.bool_)
    for _ in range(n):
        _scale_to_product(least, total, sums, floored, values)
        more = False
        for k in range(n_components):
            largest = np.argmax(sums[k])
            for j in range(n):
                if j != largest and not floored[k, j] and values[k, j] < least[j]:
                    floored[k, j] = more = True
        if not more:
            break


@compiled
def _scale_to_product(least, total, sums, floored, values):  # type: ignore[no-untyped-def]
    """The best product for these at the floor: that where multipliers of all components add up to the total.

    With the logarithm x of the product and n free variances, the logarithm of a component's multiplier is (a - x) / n.
    """
    n_components, n = sums.shape
    logs, n_free = np.zeros(n_components), np.full(n_components, float(n))
    for k in range(n_components):
        for j in range(n):
            logs[k] += math.log(least[j] if floored[k, j] else sums[k, j])
            n_free[k] -= floored[k, j]
    x = -math.inf
    for k in range(n_components):  # where one component alone has the total: not beyond the solution
        x = max(x, logs[k] - n_free[k] * math.log(total))
    for _ in range(_MOST_STEPS):
        multiplier = slope = 0.0
        for k in range(n_components):
            of_component = math.exp((logs[k] - x) / n_free[k])
            multiplier += of_component
            slope += of_component / n_free[k]
        step = math.log(multiplier / total) * multiplier / slope
        x += step
        if not abs(step) > _CHANGE * (1.0 + abs(x)):
            break
    for k in range(n_components):
        multiplier = math.exp((logs[k] - x) / n_free[k])
        for j in range(n):
            values[k, j] = least[j] if floored[k, j] else sums[k, j] / multiplier


@compiled
def _objective(totals, moments, axes, values):  # type: ignore[no-untyped-def]
    """Twice the expected log density, but for a constant."""
    value, turned = 0.0, _in_axes(moments, axes)
    for k in range(values.shape[0]):
        for j in range(values.shape[1]):
            value -= totals[k] * math.log(values[k, j]) + turned[k, j, j] / values[k, j]
    return value
