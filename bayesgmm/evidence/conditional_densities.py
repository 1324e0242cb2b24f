r"""Densities of mixture parameters given allocations, averaged over many allocations and over all labellings.

Given which component each row belongs to, the priors of this package are (semi-)conjugate: weights are Dirichlet,
means normal, covariances inverse Wishart (variances inverse gamma). The average of these densities over
allocations drawn from the posterior follows the posterior closely, tails and nearly empty components included,
and can be drawn from: the proposal of bridge sampling (Frühwirth-Schnatter 2004).

Every log density is linear in the features log w, 1, log|Σ|, Σ⁻¹ and either Σ⁻¹μ, μᵀΣ⁻¹μ (means scaled by their
covariance) or μ, μμᵀ (means independent of it), so that all of them at all points are one matrix product; of symmetric
matrices the lower triangle is a feature. Rows and means are taken relative to the prior's mean, because squares of
numbers far from zero lose what distinguishes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import lgamma, log, pi
from typing import Self

import numpy as np
from numba import njit
from scipy.special import gammaln

from bayesgmm._common import Array, Covariances, IntArray, Means, Rows, Weights
from bayesgmm.conditionals import Regressions
from bayesgmm.data import Data, IncompleteData, Patterns
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import CovarianceFamily, Draws
from bayesgmm.priors import ResolvedPrior

MOST_COMPONENTS = 8  # a permanent costs 2^K K steps: at 8 seconds in all, at 10 a minute
_BLOCK_VALUES = 4_000_000  # doubles held at once, 32 MB
_NEGLIGIBLE = 45.0  # nats: less than a rounding error, also of thousands
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

    def given(self, data: Data, labels: IntArray, draws: Draws, *, rng: np.random.Generator | None = None) -> Self:
        """Densities given the rows of each component: labels (allocation, obs), and the draws they came from.

        The draws are needed for means that are independent of covariances: then each block is conditioned on the
        draw's other block. A row with a weight counts as that many in the same component. Missing values are drawn
        from ``rng``, anew for each allocation, given its labels and draw.
        """
        means = draws.means - self.origin
        counts, sums, squares = self._sums(data, labels, draws, rng)
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

    def _sums(
        self, data: Data, labels: IntArray, draws: Draws, rng: np.random.Generator | None
    ) -> tuple[Weights, Means, Covariances]:
        """Counts, sums and products of the rows of each component, less the origin, (allocation, cluster, ...)."""
        n_allocations, (_, k, d) = len(labels), self.mean.shape
        totals, first = np.zeros((n_allocations * k, 1 + d + d * d)), 0
        is_complete = not isinstance(data, IncompleteData)
        held = max(n_allocations * k, d * d) if is_complete else n_allocations * max(k * d, d * d)
        for piece in data.pieces(max(1, _BLOCK_VALUES // held)):
            own = labels[:, None, first : first + piece.shape[0]]
            member = (own == np.arange(k)[:, None]).astype(np.float64)
            if piece.row_weights is not None:
                member *= piece.row_weights
            if is_complete:  # one product: threads wait for each other at many small ones
                totals += member.reshape(len(totals), -1) @ _moments(piece.rows - self.origin)
            else:
                completed = completed_rows(piece.entries, own[:, 0], draws, rng=rng)
                totals += (member @ _moments(completed - self.origin)).reshape(totals.shape)
            first += piece.shape[0]
        totals = totals.reshape(n_allocations, k, -1)
        return totals[..., 0], totals[..., 1 : 1 + d], totals[..., 1 + d :].reshape(n_allocations, k, d, d)

    def _covariances_given(self, added: Array, counts: Array) -> dict[str, Array]:
        """Degrees of freedom and scale with the scatter (allocation, cluster, feature, feature) of rows added."""
        one, d = self.family.parametrisation, self.mean.shape[2]
        if self.family.shared:
            added, counts = added.sum(axis=1, keepdims=True), counts.sum(axis=1, keepdims=True)
        return {"dof": self.dof + one.width(d) * counts, "scale": self.scale + one.square(one.blocks(added), d)}

    def log_density(self, points: Draws) -> Array:
        """Log of the average density over allocations and labellings, (point,)."""
        own, shared = self._coefficients
        if not self.family.shared:
            own, shared = own + shared, np.zeros_like(shared)
        held = own.shape[1] * max(own.shape[0] * own.shape[1], own.shape[2])
        parts = [_log_averages(features, own, shared[:, 0]) for features in self._features(points, held)]
        return np.concatenate(parts)

    def log_labelled_density(self, points: Draws) -> Array:
        """Log densities (point, allocation) with component k under label k."""
        own, shared = self._coefficients
        own = own.copy()
        own[:, : shared.shape[1]] += shared  # the density of a covariance common to all components counts once
        own = own.reshape(len(own), -1)
        parts = self._features(points, own.shape[1])
        return np.concatenate([features.reshape(len(features), -1) @ own.T for features in parts])

    def _features(self, points: Draws, held: int) -> Iterator[Array]:
        """The features of some points at a time, which need ``held`` numbers each."""
        size, conjugate = max(1, _BLOCK_VALUES // held), bool(self.kappa.any())
        for first in range(0, len(points), size):
            yield _features(points[first : first + size], self.origin, conjugate=conjugate)

    @cached_property
    def _coefficients(self) -> tuple[Array, Array]:
        """Coefficients of the features, of weights and means (allocation, cluster, feature) and of covariances."""
        d, conjugate = self.mean.shape[2], bool(self.kappa.any())
        size, (inverse, linear, square) = _places(d, conjugate=conjugate)
        own = np.zeros((*self.concentration.shape, size))
        own[..., 0] = self.concentration - 1.0
        total = gammaln(self.concentration.sum(axis=1)) - gammaln(self.concentration).sum(axis=1)
        own[..., 1] = total[:, None] / own.shape[1] - 0.5 * d * log(2.0 * pi)
        precision = self.mean_precision
        if conjugate:
            own[..., 1] += 0.5 * d * np.log(self.kappa)
            own[..., 2] = -0.5
            own[..., linear] = self.kappa[..., None] * self.mean
            own[..., inverse] = _on_triangle(-0.5 * self.kappa[..., None, None] * _outer(self.mean))
            own[..., square] = -0.5 * self.kappa[..., None]
        else:
            pulled = _times(precision, self.mean)
            own[..., 1] += 0.5 * (np.linalg.slogdet(precision)[1] - (pulled * self.mean).sum(axis=2))
            own[..., linear] = pulled
            own[..., square] = _on_triangle(-0.5 * precision)
        shared = np.zeros((*self.dof.shape, size))
        shared[..., 1], shared[..., 2] = self._covariance_constants()
        shared[..., inverse] = _on_triangle(-0.5 * self.scale)
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
            offsets = _times(self._mean_factors()[which], noise)
        products = factors @ np.swapaxes(factors, -1, -2)
        # Linearly dependent features: rounding must not leave a covariance indefinite.
        products *= 1.0 + _ROUNDING * mean.shape[2] * np.eye(mean.shape[2])
        covariances = np.broadcast_to(products, (*mean.shape, mean.shape[2])).copy()
        weights = gamma / gamma.sum(axis=1, keepdims=True)
        return Draws(weights, self.origin + mean + offsets, covariances, family=self.family)

    def _mean_factors(self) -> Array:
        """Factors F of the covariances F Fᵀ of the means (allocation, cluster, feature, feature)."""
        precision = self.mean_precision  # an inverse, not symmetric to the last bit if badly conditioned
        root = np.linalg.cholesky(0.5 * (precision + np.swapaxes(precision, -1, -2)))
        return np.linalg.solve(np.swapaxes(root, -1, -2), np.eye(root.shape[-1]))

    def _sample_factors(self, which: IntArray, rng: np.random.Generator) -> Array:
        """Factors F of covariances F Fᵀ (point, block, feature, feature)."""
        one, d = self.family.parametrisation, self.mean.shape[2]
        return one.square(one.draw_factors(self.dof[which], one.blocks(self.scale[which]) * one.width(d), rng), d)


def _places(d: int, *, conjugate: bool) -> tuple[int, tuple[slice, slice, slice]]:
    """Number of the features, and positions of Σ⁻¹, and of terms linear and quadratic in μ, among them."""
    triangle = d * (d + 1) // 2
    bounds = np.cumsum([3, triangle, d, 1 if conjugate else triangle]).tolist()
    return bounds[-1], (slice(*bounds[:2]), slice(*bounds[1:3]), slice(*bounds[2:]))


def _features(points: Draws, origin: Array, *, conjugate: bool) -> Array:
    """The features (point, cluster, feature) in which all log densities are linear."""
    weights, means, d = points.weights, points.means - origin, len(origin)
    size, (inverse, linear, square) = _places(d, conjugate=conjugate)
    roots = points.family.parametrisation.square(points.precision_factors, d)
    precision = np.swapaxes(roots, -1, -2) @ roots
    features = np.empty((*weights.shape, size))
    features[..., 0] = np.log(np.maximum(weights, np.finfo(np.float64).tiny))
    features[..., 1] = 1.0
    features[..., 2] = -2.0 * points.family.log_precision_determinants(points.precision_factors, d)
    features[..., inverse] = _triangle(precision)
    if conjugate:
        features[..., linear] = _times(precision, means)
        features[..., square] = (features[..., linear] * means).sum(axis=2, keepdims=True)
    else:
        features[..., linear] = means
        features[..., square] = _triangle(_outer(means))
    return features


def _triangle(matrices: Array) -> Array:
    """The lower triangle of symmetric matrices, (..., entry)."""
    return matrices[(..., *np.tril_indices(matrices.shape[-1]))]


def _on_triangle(coefficients: Array) -> Array:
    """Coefficients of the lower triangle of a symmetric matrix, given those of all its entries."""
    both = _triangle(coefficients) + _triangle(np.swapaxes(coefficients, -1, -2))
    rows, columns = np.tril_indices(coefficients.shape[-1])
    return np.where(rows == columns, 0.5, 1.0) * both


def _log_averages(features: Array, own: Array, shared: Array) -> Array:
    """Log of the average over allocations and labellings of the densities with some coefficients, (point,)."""
    (n, k), n_allocations = features.shape[:2], len(own)
    every = features.reshape(n * k, -1) @ own.reshape(n_allocations * k, -1).T
    tables = every.reshape(n, k, n_allocations, k).swapaxes(1, 2)  # components before labels: the permanent is the same
    return log_mean_densities(np.ascontiguousarray(tables), features[:, 0] @ shared.T)


def completed_rows(rows: Rows, labels: IntArray, draws: Draws, *, rng: np.random.Generator | None) -> Array:
    """Rows (allocation, obs, feature), missing values drawn given the labels (allocation, obs), each of its draw."""
    if rng is None:
        raise InputError(expected="a generator, for missing values", got="none")
    completed = np.repeat(rows[None], len(labels), axis=0)
    for members, observed, missing in Patterns.of(~np.isnan(rows)).lacking:
        given = Regressions.of(draws.means, draws.compact, observed.tolist(), missing.tolist())
        drawn = given.draw(rows[np.ix_(members, observed)], labels[:, members].T, rng=rng)
        completed[np.ix_(np.arange(len(labels)), members, missing)] = np.swapaxes(drawn, 0, 1)
    return completed


def _moments(X: Array) -> Array:
    """One, the values and their products (..., obs, number)."""
    return np.concatenate([np.ones((*X.shape[:-1], 1)), X, _outer(X).reshape(*X.shape[:-1], -1)], axis=-1)


def _outer(vectors: Array) -> Array:
    return vectors[..., :, None] * vectors[..., None, :]


def _times(matrices: Array, vectors: Array) -> Array:
    return (matrices @ vectors[..., None])[..., 0]


@njit(cache=True, nogil=True, error_model="numpy")
def log_mean_densities(tables: Array, offsets: Array) -> Array:
    """Log of the mean over allocations of exp(offset) times the mean over permutations of prod_k exp(table[k, p(k)]).

    For tables (point, allocation, K, K) and offsets (point, allocation). No such product is above that of the largest
    entries of its rows, by which allocations that do not count beside another are left out.
    """
    n, m, k = tables.shape[0], tables.shape[1], tables.shape[2]
    result, most = np.empty(n), np.empty(m)
    scaled, partial = np.empty((k, k)), np.empty(1 << k)
    sizes = np.zeros(1 << k, dtype=np.int64)
    for subset in range(1, 1 << k):
        sizes[subset] = sizes[subset >> 1] + (subset & 1)
    for i in range(n):
        for j in range(m):
            bound = offsets[i, j]
            for a in range(k):
                highest = -np.inf
                for b in range(k):
                    highest = max(highest, tables[i, j, a, b])
                bound += highest
            most[j] = bound
        first = most.argmax()
        highest = offsets[i, first] + log_mean_permanent(tables[i, first], scaled, partial, sizes)
        total = 1.0
        for j in range(m):
            if j != first and most[j] > highest - _NEGLIGIBLE:
                value = offsets[i, j] + log_mean_permanent(tables[i, j], scaled, partial, sizes)
                if value > highest:
                    total, highest = total * np.exp(highest - value) + 1.0, value
                elif value > -np.inf:
                    total += np.exp(value - highest)
        result[i] = highest + np.log(total / m)
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def log_mean_permanent(table: Array, scaled: Array, partial: Array, sizes: IntArray) -> float:
    """Log of the mean over permutations of prod_k exp(table[k, permutation[k]]), with room for what is computed.

    The permanent is summed over subsets of columns, of known sizes, 2^K K steps; rows, then columns are scaled by their
    maxima.
    """
    k = len(table)
    shift = -lgamma(k + 1.0)
    for a in range(k):
        highest = table[a].max()
        shift += highest
        scaled[a] = table[a] - highest
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
    return shift + np.log(partial[(1 << k) - 1])
