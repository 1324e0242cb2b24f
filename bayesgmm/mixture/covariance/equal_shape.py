r"""Diagonal covariance matrices of one shape, each times a volume of its own: mclust's VEI.

:math:`\Sigma_k = \lambda_k A` with A diagonal (Celeux & Govaert 1995). The logarithms of standard deviations are sums
of a number for each component and one for each feature, of which the first component has none. The prior is that of
diagonal covariances, in the measure :math:`\prod_{k>1} d \log \lambda_k \prod_j d \log \sigma^2_{1j}`.
"""

import math
from typing import Any

import numpy as np

from bayesgmm._common import Array, Factors
from bayesgmm._compiled import allocation_free, compiled
from bayesgmm.mixture.covariance.diagonal import Diagonal
from bayesgmm.mixture.covariance.parametrisation import NEGLIGIBLE

_MOST_SWEEPS, _CHANGE = 200, 1e-13  # of the alternation, and of the logarithm of a volume in its last
_AT_FLOOR = 1.0 + 1e-12  # times the floor


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
            at_floor = at_floor or not variance > floors[j] * _AT_FLOOR
            new.factors[k, 0, j] = math.sqrt(variance)
        n_floored += at_floor
    for k in range(volumes.shape[0]):
        for j in range(d):
            new.precision_factors[k, 0, j] = 1.0 / new.factors[k, 0, j]
    return n_floored
