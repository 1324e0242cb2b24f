r"""The density from which split-merge moves draw two components.

It is a mean over allocations of some rows to the two, with weights, and over both labellings, of

.. math:: Dir(w \mid \alpha + n) \prod_k IW(\Sigma_k \mid \nu + n_k', S + W_k)\, N(\mu_k \mid \Sigma_k, n_k, \bar x_k)

with the counts, means and scatters of the rows of each. The normal density is that of the mean given the covariance;
:math:`n_k' = \max(n_k - 1, 0)` where means are independent of covariances a priori, whose density, the mean integrated
out, the first factor resembles closely. Where the prior is conjugate, :math:`n_k' = n_k`, :math:`W_k` has the prior's
own mean, and this is the posterior given the allocation.
"""

from dataclasses import dataclass
from functools import cached_property
from math import log, pi
from typing import Self

import numpy as np
from numba import njit
from scipy.special import gammaln

from bayesgmm._common import Array
from bayesgmm.mixture import Draws
from bayesgmm.priors import ResolvedPrior

_AT_ONCE = 8  # factors of a product of precisions


@dataclass(frozen=True)
class PairDensity:
    """Densities of two components given allocations of rows, see this module.

    Attributes
    ----------
    prior : ResolvedPrior
        Of two components, hyperparameters fixed.
    log_weights : (allocation,)
        The weights sum to one.
    counts : (allocation, 2)
    sums : (allocation, 2, feature)
        Of the rows of each component, less the prior mean.
    dof : (allocation, 2)
    scale : (allocation, 2, feature, feature)
        Of the inverse-Wisharts, as full matrices.
    """

    prior: ResolvedPrior
    log_weights: Array
    counts: Array
    sums: Array
    dof: Array
    scale: Array

    @classmethod
    def of_moments(cls, prior: ResolvedPrior, log_weights: Array, moments: Array) -> Self:
        """From sums over rows x, less the prior mean, of (1, x, x xᵀ), (allocation, 2, 1 + d + d²)."""
        d, one = prior.mean.shape[1], prior.family.parametrisation
        width, kappa = one.width(d), prior.kappa
        counts, sums = moments[..., 0], moments[..., 1 : 1 + d]
        squares = moments[..., 1 + d :].reshape(*counts.shape, d, d)
        scatter = squares - sums[..., :, None] * sums[..., None, :] / np.maximum(kappa + counts, 1.0)[..., None, None]
        known = np.where(kappa > 0.0, counts, np.maximum(counts - 1.0, 0.0))
        scale = one.square(prior.scale / width, d) + one.square(one.blocks(scatter), d)
        return cls(prior, log_weights, counts, sums, prior.dof + width * known, scale)

    def log_density(self, points: Draws) -> Array:
        """Log density, (point,)."""
        both = np.moveaxis(self._tables(points), 1, -1)  # (point, component, label, allocation)
        either = np.logaddexp(both[:, 0, 0] + both[:, 1, 1], both[:, 0, 1] + both[:, 1, 0]) + self.log_weights
        return np.asarray(np.logaddexp.reduce(either, axis=1) - log(2.0))

    def _tables(self, points: Draws) -> Array:
        """Log density of each component under each label given each allocation, (point, allocation, component, label).

        Means are written in coordinates in which their precision given the covariance is diagonal.
        """
        (n, k, d), n_allocations = points.means.shape, len(self.counts)
        one = points.family.parametrisation
        root = one.square(points.precision_factors, d)
        log_det = -2.0 * points.family.log_precision_determinants(points.precision_factors, d)
        own, turned = self._axes(root)
        away = _times(turned, points.means - self.prior.mean)
        sums = turned.reshape(n * k * d, d) @ self.sums.reshape(n_allocations * k, d).T
        counts = (self.prior.kappa + self.counts).ravel()
        of_means = np.empty((n, k, n_allocations, k))
        _write_log_normals(
            own.reshape(-1, d), away.reshape(-1, d), sums.reshape(n * k, d, -1), counts, of_means.reshape(n * k, -1)
        )
        inverse = np.swapaxes(root, -1, -2) @ root
        traces = inverse.reshape(n * k, d * d) @ self.scale.reshape(n_allocations * k, d * d).T
        log_weights = np.log(np.maximum(points.weights, np.finfo(np.float64).tiny))
        tables = of_means - 0.5 * traces.reshape(of_means.shape)
        tables += (self.prior.concentration + self.counts - 1.0) * log_weights[..., None, None]
        tables += self._constants + (self._power - 0.5) * log_det[..., None, None]
        return np.asarray(tables.swapaxes(1, 2))

    def _axes(self, root: Array) -> tuple[Array, Array]:
        """Precisions of means without rows, and the coordinates in which they are so, in units of each component."""
        factors = np.linalg.inv(root)
        within = np.swapaxes(factors, -1, -2) @ self.prior.mean_precision @ factors
        own, vectors = np.linalg.eigh(within)
        return np.maximum(own, 0.0), np.swapaxes(vectors, -1, -2) @ root

    @cached_property
    def _power(self) -> Array:
        """The power of the determinant of a covariance, (allocation, 2)."""
        d, one = self.prior.mean.shape[1], self.prior.family.parametrisation
        return np.asarray(-0.5 * (self.dof + one.prior_power(d)) / one.width(d))

    @cached_property
    def _constants(self) -> Array:
        """What does not depend on the point, (allocation, 2); that of the weights is divided between both."""
        d, one = self.prior.mean.shape[1], self.prior.family.parametrisation
        total = self.prior.concentration + self.counts
        of_weights = 0.5 * gammaln(total.sum(axis=1))[:, None] - gammaln(total)
        of_covariances = one.log_normaliser(self.dof, one.blocks(self.scale) * one.width(d), d)
        return np.asarray(of_weights + of_covariances - 0.5 * d * log(2.0 * pi))

    def sample(self, n: int, *, rng: np.random.Generator) -> Draws:
        """Draw ``n`` points, in either labelling."""
        d, one = self.prior.mean.shape[1], self.prior.family.parametrisation
        which = rng.choice(len(self.counts), size=n, p=np.exp(self.log_weights))
        gamma = rng.standard_gamma(self.prior.concentration + self.counts[which])
        drawn = one.draw_factors(self.dof[which], one.blocks(self.scale[which]) * one.width(d), rng)
        factors = np.linalg.cholesky(_symmetric(one.square(drawn, d)))
        own, turned = self._axes(np.linalg.inv(factors))
        precision = own + (self.prior.kappa + self.counts[which])[..., None]
        noise = rng.standard_normal(precision.shape)
        coordinates = _times(turned, self.sums[which]) / precision + noise / np.sqrt(precision)
        means = self.prior.mean + np.linalg.solve(turned, coordinates[..., None])[..., 0]
        weights = np.maximum(gamma, np.finfo(np.float64).tiny)
        order = np.where(rng.random(n)[:, None] < 0.5, [0, 1], [1, 0])
        points = Draws(
            weights / weights.sum(axis=1, keepdims=True),
            means,
            factors @ np.swapaxes(factors, -1, -2),
            family=self.prior.family,
        )
        return points.reordered(order)


@njit(cache=True, nogil=True, error_model="numpy")
def _write_log_normals(own: Array, away: Array, sums: Array, counts: Array, values: Array) -> None:
    """Log normal densities, less constants, of means (point,) given sums and counts of rows (allocation,).

    In coordinates with precisions own + count (point, feature), sums are (point, feature, allocation).
    """
    product = np.empty(len(counts))
    for i in range(len(own)):
        values[i], product[:] = 0.0, 1.0
        for j in range(own.shape[1]):
            for m in range(len(counts)):
                precision = own[i, j] + counts[m]
                deviation = away[i, j] - sums[i, j, m] / precision
                values[i, m] -= 0.5 * precision * deviation * deviation
                product[m] *= precision
            if j % _AT_ONCE == _AT_ONCE - 1 or j == own.shape[1] - 1:  # before it leaves the range of numbers
                for m in range(len(counts)):
                    values[i, m] += 0.5 * np.log(product[m])
                product[:] = 1.0


def _times(matrices: Array, vectors: Array) -> Array:
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _symmetric(factors: Array) -> Array:
    """F Fᵀ."""
    return np.asarray(factors @ np.swapaxes(factors, -1, -2))
