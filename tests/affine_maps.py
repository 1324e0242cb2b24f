"""Random maps x -> a + B x of each group of `bayesgmm.mixture.covariance.Equivariance`."""

from typing import NamedTuple

import numpy as np

from bayesgmm._common.arrays import Array
from bayesgmm.mixture import Equivariance


class AffineMap(NamedTuple):
    """x -> a + B x."""

    a: Array
    B: Array

    def __call__(self, X: Array) -> Array:
        """Rows (obs, feature), or means, in the other coordinates."""
        return self.a + X @ self.B.T

    def covariances(self, covariances: Array) -> Array:
        """Full covariances (..., feature, feature) in the other coordinates."""
        return self.B @ covariances @ self.B.T

    @property
    def log_det(self) -> float:
        """log |det B|: what the log density of a row falls by."""
        return float(np.linalg.slogdet(self.B)[1])


def random_map(
    group: Equivariance, rng: np.random.Generator, n_features: int, *, log10_scale: float = 3.0, offset: float = 10.0
) -> AffineMap:
    """A map of the group: scales log-uniform in 10**(-log10_scale, log10_scale), shifts of so many scales."""
    common = Equivariance.SCALES not in group
    scales = 10.0 ** rng.uniform(-log10_scale, log10_scale, 1 if common else n_features)
    scales = np.broadcast_to(scales, n_features)
    B = np.diag(scales)
    if Equivariance.ROTATIONS in group:
        B = B @ np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]
    return AffineMap(offset * scales * rng.standard_normal(n_features), B)
