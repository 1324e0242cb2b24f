r"""Densities of mixture parameters given allocations, averaged over many allocations and over all labellings.

Given which component each row belongs to, the priors of this package are (semi-)conjugate: weights are Dirichlet,
means normal, covariances inverse Wishart (variances inverse gamma). The average of these densities over
allocations drawn from the posterior follows the posterior closely, tails and nearly empty components included,
and can be drawn from: the proposal of bridge sampling (Frühwirth-Schnatter 2004).

Every log density is linear in the features log w, 1, log|Σ|, Σ⁻¹ and either Σ⁻¹μ, μᵀΣ⁻¹μ (means scaled by their
covariance) or μ, μμᵀ (means independent of it), so that all of them at all points are one matrix product. Rows and
means are taken relative to the prior's mean, because squares of numbers far from zero lose what distinguishes them.
"""

from dataclasses import dataclass, replace
from math import lgamma, log, pi
from typing import Self

import numpy as np
from numba import njit
from scipy.special import gammaln

from bayesgmm._common import Array, Covariances, IntArray, Means, Weights
from bayesgmm.data import Data
from bayesgmm.mixture import CovarianceFamily, Draws
from bayesgmm.priors import ResolvedPrior

MOST_COMPONENTS = 8  # a permanent costs 2^K K steps: at 8 seconds in all, at 10 a minute
_BLOCK_VALUES = 4_000_000  # doubles held at once, 32 MB
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Conditionals:
    """Conjugate densities of the parameters, one for each of L allocations.

    Attributes
    ----------
    family : CovarianceFamily
    origin : (feature,)
        Origin of the means.
    concentration : (allocation, cluster)
    mean : (allocation, cluster, feature)
    kappa : (allocation, cluster)
        Zeros when means are independent of covariances.
    mean_precision : (allocation, cluster, feature, feature)
        Used where kappa is zero.
    dof : (allocation, block)
    scale : (allocation, block, feature, feature)
        Full matrices for every family, such that the log density holds -tr(scale Σ⁻¹) / 2.
    """

    family: CovarianceFamily
    origin: Array
    concentration: Array
    mean: Array
    kappa: Array
    mean_precision: Array
    dof: Array
    scale: Array

    @classmethod
    def of_prior(
        cls, prior: ResolvedPrior, *, prior_scale: Array | None = None, prior_concentration: Array | None = None
    ) -> Self:
        """The prior itself, as the density given no rows.

        Hyperparameters drawn for each of L allocations, scales (allocation, feature, feature) and concentrations
        (allocation,), take the place of the prior's own.
        """
        d, one = prior.mean.shape[1], prior.family.parametrisation
        concentration, scale, width = prior.concentration[None], prior.scale[None], one.width(d)
        scale = one.square(scale / width, d)
        if prior_scale is not None:
            scale = prior_scale[:, None] / width
        if prior_concentration is not None:
            concentration = prior_concentration[:, None]
        n = max(len(scale), len(concentration))
        origin = prior.mean.mean(axis=0)
        mean = (prior.mean - origin)[None]
        own = (concentration, mean, prior.kappa[None], prior.mean_precision[None], prior.dof[None], scale)
        shapes = (prior.concentration, prior.mean, prior.kappa, prior.mean_precision, prior.dof)
        sizes = [(n, *array.shape) for array in shapes] + [(n, len(prior.dof), d, d)]
        return cls(prior.family, origin, *map(np.broadcast_to, own, sizes))

    def given(self, data: Data, labels: IntArray, draws: Draws) -> Self:
        """Densities given the rows of each component: labels (allocation, obs), and the draws they came from.

        The draws are needed for means that are independent of covariances: then each block is conditioned on the
        draw's other block. A row with a weight counts as that many in the same component.
        """
        means = draws.means - self.origin
        counts, sums, squares = self._sums(data, labels)
        kappa = self.kappa + counts * (self.kappa > 0)
        if self.kappa.any():
            mean = (self.kappa[..., None] * self.mean + sums) / kappa[..., None]
            precision = np.broadcast_to(self.mean_precision, squares.shape)
            added = squares + self.kappa[..., None, None] * _outer(self.mean) - kappa[..., None, None] * _outer(mean)
        else:
            inverse = np.linalg.inv(draws.covariances)
            precision = self.mean_precision + counts[..., None, None] * inverse
            pulled = _times(np.broadcast_to(self.mean_precision, squares.shape), self.mean) + _times(inverse, sums)
            mean = np.linalg.solve(precision, pulled[..., None])[..., 0]
            cross = sums[..., :, None] * means[..., None, :]
            added = squares - cross - np.swapaxes(cross, -1, -2) + counts[..., None, None] * _outer(means)
        return replace(
            self,
            concentration=self.concentration + counts,
            mean=mean,
            kappa=kappa,
            mean_precision=precision,
            **self._covariances_given(added, counts),  # type: ignore[arg-type]
        )

    def _sums(self, data: Data, labels: IntArray) -> tuple[Weights, Means, Covariances]:
        """Counts, sums and products of the rows of each component, less the origin, (allocation, cluster, ...)."""
        totals: list[Array] = []
        for columns, row_weights in data:
            own, labels = np.split(labels, [columns.shape[1]], axis=1)
            member = (own[:, None, :] == np.arange(self.concentration.shape[1])[:, None]).astype(np.float64)
            if len(row_weights):
                member *= row_weights
            X = columns.T - self.origin
            squares = (member @ _outer(X).reshape(len(X), -1)).reshape(*member.shape[:2], *2 * X.shape[1:])
            found = [member.sum(axis=2), member @ X, squares]
            totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
        return totals[0], totals[1], totals[2]

    def _covariances_given(self, added: Array, counts: Array) -> dict[str, Array]:
        """Degrees of freedom and scale with the scatter (allocation, cluster, feature, feature) of rows added."""
        one, d = self.family.parametrisation, self.mean.shape[2]
        if self.family.shared:
            added, counts = added.sum(axis=1, keepdims=True), counts.sum(axis=1, keepdims=True)
        return {"dof": self.dof + one.width(d) * counts, "scale": self.scale + one.square(one.blocks(added), d)}

    def log_density(self, points: Draws) -> Array:
        """Log of the average density over allocations and labellings, (point,)."""
        size = max(1, _BLOCK_VALUES // (len(self.mean) * points.weights.shape[1] ** 2))
        return np.concatenate([self._block(points[i : i + size]) for i in range(0, len(points), size)])

    def log_labelled_density(self, points: Draws) -> Array:
        """Log densities (point, allocation) with component k under label k."""
        table, shared = self._table(points)
        return np.trace(table, axis1=2, axis2=3) + shared

    def _block(self, points: Draws) -> Array:
        table, shared = self._table(points)
        terms = log_mean_permanents(np.ascontiguousarray(table)) + shared
        return np.logaddexp.reduce(terms, axis=1) - log(len(self.mean))

    def _table(self, points: Draws) -> tuple[Array, Array]:
        """Log density of each component under each label, (point, allocation, label, component), and shared terms."""
        coefficients, of_covariance = self._coefficients()
        features = _features(points, self.origin, conjugate=bool(self.kappa.any()))
        if not self.family.shared:
            table = np.einsum("lkf,njf->nlkj", coefficients + of_covariance, features, optimize=True)
            return table, np.zeros(table.shape[:2])
        table = np.einsum("lkf,njf->nlkj", coefficients, features, optimize=True)
        return table, features[:, 0] @ of_covariance[:, 0].T

    def _coefficients(self) -> tuple[Array, Array]:
        """Coefficients of the features, of weights and means (allocation, cluster, feature) and of covariances."""
        d, conjugate = self.mean.shape[2], self.kappa.any()
        own = np.zeros((*self.concentration.shape, 3 + 2 * d * d + d))
        own[..., 0] = self.concentration - 1.0
        total = gammaln(self.concentration.sum(axis=1)) - gammaln(self.concentration).sum(axis=1)
        own[..., 1] = total[:, None] / own.shape[1] - 0.5 * d * log(2.0 * pi)
        precision, inverse, linear, square = self.mean_precision, *_places(d)
        if conjugate:
            own[..., 1] += 0.5 * d * np.log(self.kappa)
            own[..., 2] = -0.5
            own[..., linear] = self.kappa[..., None] * self.mean
            own[..., inverse] = -0.5 * (self.kappa[..., None, None] * _outer(self.mean)).reshape(*own.shape[:2], -1)
            own[..., square.start] = -0.5 * self.kappa
        else:
            pulled = _times(precision, self.mean)
            own[..., 1] += 0.5 * (np.linalg.slogdet(precision)[1] - (pulled * self.mean).sum(axis=2))
            own[..., linear] = pulled
            own[..., square] = -0.5 * precision.reshape(*own.shape[:2], -1)
        shared = np.zeros((*self.dof.shape, own.shape[2]))
        shared[..., 1], shared[..., 2] = self._covariance_constants()
        shared[..., inverse] = -0.5 * self.scale.reshape(*self.dof.shape, -1)
        return own, shared

    def _covariance_constants(self) -> tuple[Array, Array]:
        """Log normaliser of each covariance's density, and the power of |Σ|."""
        d, one = self.mean.shape[2], self.family.parametrisation
        scale = one.blocks(self.scale) * one.width(d)
        return one.log_normaliser(self.dof, scale, d), -0.5 * (self.dof + one.prior_power(d)) / one.width(d)

    def sample(self, n: int, *, rng: np.random.Generator) -> Draws:
        """Draw ``n`` points, each given an allocation drawn at random."""
        which = rng.integers(len(self.mean), size=n)
        gamma = np.maximum(rng.standard_gamma(self.concentration[which]), np.finfo(np.float64).tiny)
        factors = self._sample_factors(which, rng)
        mean, noise = self.mean[which], rng.standard_normal(self.mean[which].shape)
        if self.kappa.any():
            offsets = _times(factors, noise) / np.sqrt(self.kappa[which])[..., None]
        else:
            precision = self.mean_precision[which]  # an inverse, not symmetric to the last bit if badly conditioned
            root = np.linalg.cholesky(0.5 * (precision + np.swapaxes(precision, -1, -2)))
            offsets = np.linalg.solve(np.swapaxes(root, -1, -2), noise[..., None])[..., 0]
        products = factors @ np.swapaxes(factors, -1, -2)
        # Linearly dependent features: rounding must not leave a covariance indefinite.
        products *= 1.0 + _ROUNDING * mean.shape[2] * np.eye(mean.shape[2])
        covariances = np.broadcast_to(products, (*mean.shape, mean.shape[2])).copy()
        weights = gamma / gamma.sum(axis=1, keepdims=True)
        return Draws(weights, self.origin + mean + offsets, covariances, family=self.family)

    def _sample_factors(self, which: IntArray, rng: np.random.Generator) -> Array:
        """Factors F of covariances F Fᵀ (point, block, feature, feature)."""
        one, d = self.family.parametrisation, self.mean.shape[2]
        return one.square(one.draw_factors(self.dof[which], one.blocks(self.scale[which]) * one.width(d), rng), d)


def _places(d: int) -> tuple[slice, slice, slice]:
    """Positions of Σ⁻¹, and of terms linear and quadratic in μ, among the features."""
    return slice(3, 3 + d * d), slice(3 + d * d, 3 + d * d + d), slice(3 + d * d + d, 3 + 2 * d * d + d)


def _features(points: Draws, origin: Array, *, conjugate: bool) -> Array:
    """The features (point, cluster, feature) in which all log densities are linear."""
    weights, means, d = points.weights, points.means - origin, len(origin)
    precision = np.linalg.inv(points.covariances)
    features = np.zeros((*weights.shape, 3 + 2 * d * d + d))
    features[..., 0] = np.log(np.maximum(weights, np.finfo(np.float64).tiny))
    features[..., 1] = 1.0
    features[..., 2] = np.linalg.slogdet(points.covariances)[1]
    inverse, linear, square = _places(d)
    features[..., inverse] = precision.reshape(*weights.shape, -1)
    if conjugate:
        features[..., linear] = _times(precision, means)
        features[..., square.start] = (features[..., linear] * means).sum(axis=2)
    else:
        features[..., linear] = means
        features[..., square] = _outer(means).reshape(*weights.shape, -1)
    return features


def _outer(vectors: Array) -> Array:
    return vectors[..., :, None] * vectors[..., None, :]


def _times(matrices: Array, vectors: Array) -> Array:
    return (matrices @ vectors[..., None])[..., 0]


@njit(cache=True, nogil=True, error_model="numpy")
def log_mean_permanents(tables: Array) -> Array:
    """Log of the mean over permutations of prod_k exp(table[k, permutation[k]]), for tables (.., .., K, K).

    The permanent is summed over subsets of columns, 2^K K steps; rows, then columns are scaled by their maxima.
    """
    n, m, k = tables.shape[0], tables.shape[1], tables.shape[2]
    result, scaled, partial = np.empty((n, m)), np.empty((k, k)), np.empty(1 << k)
    sizes = np.zeros(1 << k, dtype=np.int64)
    for subset in range(1, 1 << k):
        sizes[subset] = sizes[subset >> 1] + (subset & 1)
    for i in range(n):
        for j in range(m):
            shift = -lgamma(k + 1.0)
            for a in range(k):
                highest = tables[i, j, a].max()
                shift += highest
                scaled[a] = tables[i, j, a] - highest
            for b in range(k):
                highest = scaled[:, b].max()
                shift += highest
                scaled[:, b] = np.exp(scaled[:, b] - highest)
            partial[0] = 1.0
            for subset in range(1, 1 << k):
                total, row = 0.0, sizes[subset] - 1
                for b in range(k):
                    if subset >> b & 1:
                        total += partial[subset ^ (1 << b)] * scaled[row, b]
                partial[subset] = total
            result[i, j] = shift + np.log(partial[(1 << k) - 1])
    return result
