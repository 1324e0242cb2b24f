"""Multiples of the identity: one variance for all features."""

import numpy as np

from bayesgmm._common import Array, Covariances, Factors
from bayesgmm._compiled import allocation_free, compiled
from bayesgmm.mixture.covariance.diagonal import Diagonal, diagonal, inverse_gammas


class Spherical(Diagonal):
    """One variance for all features, no correlations."""

    def block_shape(self, d: int) -> tuple[int, int]:
        return 1, 1

    def size(self, d: int) -> int:
        return 1

    def natural_shape(self, d: int) -> tuple[int, ...]:
        return ()

    def natural(self, factors: Factors) -> Covariances:
        return np.square(factors[..., 0, 0])

    def compress(self, matrices: Covariances) -> Covariances:
        return diagonal(matrices).mean(axis=-1)

    def blocks(self, matrices: Array) -> Array:
        return np.asarray(diagonal(matrices).mean(axis=-1)[..., None, None])

    def uncorrelated(self, values: Array) -> Array:
        return np.asarray(values.mean(axis=-1)[..., None, None])

    def log_determinants(self, factors: Factors, d: int) -> Array:
        return super().log_determinants(factors, d) * d

    def width(self, d: int) -> int:
        return d

    def basis(self, d: int) -> Array:
        return np.eye(d)[None]

    def scores(self, z: Array) -> Array:
        return 0.5 * ((z**2).sum(axis=1, keepdims=True) - z.shape[1])

    # ---- in compiled code

    @staticmethod
    @allocation_free
    def n_alike(d):  # type: ignore[no-untyped-def]
        return d

    @staticmethod
    @allocation_free
    def factor_shape(d):  # type: ignore[no-untyped-def]
        return 1, 1

    @staticmethod
    @allocation_free
    def values_shape(n_given, k, d):  # type: ignore[no-untyped-def]
        return 1 if n_given == 1 else k, 1

    @staticmethod
    @compiled
    def times_root(covariance, vector, product):  # type: ignore[no-untyped-def]
        sd = np.sqrt(np.trace(covariance) / covariance.shape[0])
        for d in range(vector.shape[0]):
            product[d] = sd * vector[d]

    @staticmethod
    @allocation_free
    def change_information(d, i, j):  # type: ignore[no-untyped-def]
        return 2.0 * d

    @staticmethod
    @compiled
    def log_prior(covariance, dof, scale, d_covariance, d_scale):  # type: ignore[no-untyped-def]
        return inverse_gammas(covariance, dof, scale, d_covariance, d_scale, 1)

    @staticmethod
    @compiled
    def draw_covariances(rng, dof, scale, covariances):  # type: ignore[no-untyped-def]
        for g in range(len(dof)):
            variance = np.trace(scale[g]) / scale.shape[1] / rng.chisquare(dof[g])
            for d in range(scale.shape[1]):
                covariances[g, d, d] = variance

    @staticmethod
    @compiled
    def draw_scale(rng, dof, scale, drawn):  # type: ignore[no-untyped-def]
        shared = rng.chisquare(dof) * np.trace(scale) / scale.shape[0]
        for d in range(scale.shape[0]):
            drawn[d, d] = shared
