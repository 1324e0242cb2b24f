r"""Normal components conditioned on some of their features.

Given :math:`x_o`, the other features of a component have mean
:math:`\mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o)` and covariance
:math:`\Sigma_{mm} - \Sigma_{mo} \Sigma_{oo}^{-1} \Sigma_{om}`. Both are read from one Cholesky factor of the features
in the order (o, m), with blocks :math:`L_{oo}, L_{mo}, L_{mm}`: the slopes are :math:`L_{mo} L_{oo}^{-1}`, the
covariance is :math:`L_{mm} L_{mm}^\top`, positive definite however closely features are related.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from bayesgmm._common import Array, IntArray, Means, Rows


@dataclass(frozen=True, eq=False)
class Regressions:
    """Linear regressions of some features on others, one in each component; leading axes are those of the components.

    Attributes
    ----------
    centre : (observed,)
        The point that values are measured from.
    intercepts : (..., target)
        Means of the targets at the centre.
    slopes : (..., target, observed), optional
        None if features are uncorrelated.
    compact : (..., target, target) or (..., target)
        Covariances of the targets around their regressions, or variances if features are uncorrelated.
    """

    centre: Array
    intercepts: Array
    slopes: Array | None
    compact: Array

    @classmethod
    def of(cls, means: Means, compact: Array, observed: Sequence[int], target: Sequence[int]) -> Self:
        """From means (..., feature) and full covariances (..., feature, feature_bis) or variances (..., feature)."""
        order, n = [*observed, *target], len(observed)
        at, wanted = means[..., list(observed)], means[..., list(target)]
        centre = at.reshape(-1, n).mean(axis=0)
        if compact.ndim == means.ndim:
            return cls(centre, wanted, None, compact[..., list(target)])
        factors = np.linalg.cholesky(compact[..., order, :][..., order])
        above, across = (np.swapaxes(part, -1, -2) for part in (factors[..., :n, :n], factors[..., n:, :n]))
        slopes = np.ascontiguousarray(np.swapaxes(np.linalg.solve(above, across), -1, -2))
        rest = factors[..., n:, n:]
        intercepts = wanted - (slopes @ (at - centre)[..., None])[..., 0]
        return cls(centre, intercepts, slopes, rest @ np.swapaxes(rest, -1, -2))

    def means(self, X: Rows) -> Array:
        """Means of the targets given rows (obs, observed), (obs, ..., target)."""
        shape = len(X), *self.intercepts.shape
        if self.slopes is None:
            return np.broadcast_to(self.intercepts, shape)
        slopes = self.slopes.reshape(-1, X.shape[1])
        return self.intercepts + ((X - self.centre) @ slopes.T).reshape(shape)

    def draw(self, X: Rows, labels: IntArray, *, rng: np.random.Generator) -> Array:
        """Targets (obs, sample, target) given rows, of the components (obs, sample) of axes (sample, cluster)."""
        z = rng.standard_normal((*labels.shape, self.intercepts.shape[-1]))
        at = np.arange(labels.shape[1]), labels
        if self.slopes is None:
            noise = z * self.sds[at]
        else:
            noise = np.einsum("nsij,nsj->nsi", np.linalg.cholesky(self.compact)[at], z)
        return np.take_along_axis(self.means(X), labels[..., None, None], axis=2)[:, :, 0] + noise

    @property
    def sds(self) -> Array:
        """Standard deviations of the targets around their regressions, (..., target)."""
        variances = self.compact if self.slopes is None else np.diagonal(self.compact, axis1=-2, axis2=-1)
        return np.sqrt(variances)
