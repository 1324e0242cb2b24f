"""Unconstrained coordinates of a mixture, relative to a centre (the EM solution) and whitened by blocks.

With the centre (w^, mu^, L^) the inner coordinates q are

- u, K - 1 log-ratios: log w_k = log w^_k + u_k - normaliser, with u_K = 0; under a sparse prior K reparameterized
  logarithms of unnormalised weights instead (see `bayesgmm.log_posterior.log_weights`);
- t, logarithms of degrees of freedom relative to the centre's, where components have some that are estimated;
- m_k, D: mu_k = mu^_k + L^_k m_k;
- c_k: L_k = L^_k C_k, where the inverse of C_k is lower triangular with diagonal exp(-c) and entries -c below it, row
  by row; diagonal and spherical families have sd = sd^ exp(c). Residuals, C^-1 L^^-1 (x - mu), are linear in these
  entries, which are normal where the covariance is inverse-Wishart (Bartlett), also if that has few degrees of
  freedom.

They come as u and t, then m_k and c_k component by component; a covariance that all share comes last, as does what is
free where a family restricts the c of all components linearly. The sampler moves in y, with q = shift + A y and A block
diagonal, lower triangular in each block. Coordinates are not equivariant under permutations of labels: compare modes in
parameters or in common coordinates.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from bayesgmm._common import Array, Factors, IntArray, Means, Weights
from bayesgmm.log_posterior.log_weights import SparseWeights
from bayesgmm.mixture import LOG_2PI, Draws, Mixture
from bayesgmm.priors import SMALLEST_WEIGHT


@dataclass(frozen=True)
class Coordinates:
    """A map between mixtures and unconstrained points (n_dim,).

    Attributes
    ----------
    centre : Mixture
    shift : (n_dim,)
        The point q at y = 0.
    bounds : (block + 1,) integers
        Where each block of A begins and ends.
    matrices : (sum of squared block sizes,)
        The blocks of A one after the other, each row by row.
    sparse_weights : SparseWeights, optional
        The sparse-weight reparameterization, under a sparse prior.
    """

    centre: Mixture
    shift: Array
    bounds: IntArray
    matrices: Array
    sparse_weights: SparseWeights | None = None

    @classmethod
    def around(cls, centre: Mixture, sparse_weights: SparseWeights | None = None) -> Self:
        """Coordinates with A the identity (each number a block of its own)."""
        n = centre.family.for_posterior().n_parameters(*centre.means.shape) + (sparse_weights is not None)
        n += centre.component.n_parameters(centre.n_components)
        return cls(centre, np.zeros(n), np.arange(n + 1), np.ones(n), sparse_weights)

    def whitened(self, shift: Array, blocks: list[Array]) -> Self:
        """The same coordinates with another affine map."""
        bounds = np.concatenate([[0], np.cumsum([len(block) for block in blocks])]).astype(np.int64)
        return replace(self, shift=shift, bounds=bounds, matrices=np.concatenate([b.ravel() for b in blocks]))

    @property
    def n_dim(self) -> int:
        """Number of coordinates: the free parameters of the mixture, and one more under a sparse prior."""
        return len(self.shift)

    @property
    def n_logs(self) -> int:
        """Coordinates of the weights."""
        return self.centre.n_components - (self.sparse_weights is None)

    @property
    def n_beside(self) -> int:
        """Coordinates of what components have beside means and covariances, behind those of the weights."""
        return self.centre.component.n_parameters(self.centre.n_components)

    @cached_property
    def log_places(self) -> Array:
        """Where the centre's weights (cluster,) are, as u = 0 has them."""
        log_w = np.log(self.centre.weights)
        return log_w if self.sparse_weights is None else self.sparse_weights.places(log_w)

    @cached_property
    def blocks(self) -> list[Array]:
        """The diagonal blocks of A."""
        sizes = np.diff(self.bounds)
        pieces = np.split(self.matrices, np.cumsum(sizes**2)[:-1])
        return [piece.reshape(size, size) for piece, size in zip(pieces, sizes, strict=True)]

    def component_bounds(self) -> IntArray:
        """Bounds of the natural blocks: log-ratios and t, then one block a component; what all share last."""
        (k, d), family = self.centre.means.shape, self.centre.family
        n_shared = family.n_free(k, d) if self._shared else 0
        own = d if self._shared else d + family.block_size(d)
        first = self.n_logs + self.n_beside
        sizes = [first] * (first > 0) + [own] * k + [n_shared] * (n_shared > 0)
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @cached_property
    def restriction(self) -> Array:
        """R of c = R (what is free), (packed entries of all blocks, free); no rows if all is free."""
        found = self.centre.family.restriction(*self.centre.means.shape)
        return np.empty((0, 0)) if found is None else found

    @property
    def _shared(self) -> bool:
        """Whether coordinates of covariances come last."""
        return self.centre.family.shared or len(self.restriction) > 0

    def inner(self, points: Array) -> Array:
        """q = shift + A y for points (..., n_dim)."""
        inner = np.empty(points.shape)
        for start, stop, block in zip(self.bounds[:-1], self.bounds[1:], self.blocks, strict=True):
            inner[..., start:stop] = points[..., start:stop] @ block.T
        return inner + self.shift

    def parameters(self, points: Array) -> Draws:
        """Mixtures at points (..., n_dim), with the same leading axes and all weights normal numbers."""
        centre, one = self.centre, self.centre.family.parametrisation
        u, t, m, c = self._split(self.inner(points))
        weights = np.maximum(np.exp(self._log_weights(u)[0]), SMALLEST_WEIGHT)
        factors = one.product(centre.factors, one.unpack(c, centre.n_features))
        draws = Draws.of_factors(weights, centre.means + one.times(centre.factors, m), factors, family=centre.family)
        return draws.with_component(centre.component, centre.component.placed(t, centre.dof))

    def log_jacobian(self, points: Array) -> Array:
        """log |d(w_1..w_K-1, nu, mu, Sigma) / dy| at points (..., n_dim), Sigma in the free entries of the family.

        Under a sparse prior with the log density of the sum of unnormalised weights, which is one coordinate more.
        """
        u, t, _, c = self._split(self.inner(points))
        beside = t.sum(axis=-1) + self._log_beside
        powers = self.centre.family.parametrisation.volume_powers(self.centre.n_features)
        return self._log_weights(u)[1] + self.log_constant + beside + (c @ powers).sum(axis=-1)

    @property
    def _log_beside(self) -> float:
        """Sum of the logarithms of what is free of the centre's degrees of freedom."""
        return 0.0 if self.centre.dof is None else float(np.log(self.centre.dof[: self.n_beside]).sum())

    def _log_weights(self, u: Array) -> tuple[Array, Array]:
        """Logarithms of weights (..., cluster) and their part of the log-Jacobian (...)."""
        if self.sparse_weights is None:
            log_g = self.log_places + np.concatenate([u, np.zeros((*u.shape[:-1], 1))], axis=-1)
            log_w = log_g - np.logaddexp.reduce(log_g, axis=-1, keepdims=True)
            return log_w, log_w.sum(axis=-1)
        v = self.log_places + u
        log_g = self.sparse_weights.log_weights(v)
        log_total = np.logaddexp.reduce(log_g, axis=-1, keepdims=True)
        log_w = log_g - log_total
        of_total = -0.5 * (log_total[..., 0] ** 2 + LOG_2PI)
        return log_w, log_w.sum(axis=-1) + of_total + np.log(self.sparse_weights.slope(v)).sum(axis=-1)

    def point(self, mixture: Mixture) -> Array:
        """The point (n_dim,) of a mixture of the same family and size."""
        return self._points(mixture.weights, mixture.dof, mixture.means, mixture.factors)

    def points(self, draws: Draws) -> Array:
        """The points (sample, n_dim) of draws of the same family and size."""
        return self._points(draws.weights, draws.dof, draws.means, draws.factors)

    def _points(self, weights: Weights, dof: Weights | None, means: Means, factors: Factors) -> Array:
        centre, one = self.centre, self.centre.family.parametrisation
        log_w = np.log(weights)
        places = log_w if self.sparse_weights is None else self.sparse_weights.places(log_w)
        u = places - self.log_places
        u = u[..., :-1] - u[..., -1:] if self.sparse_weights is None else u
        m = one.times(centre.precision_factors, means - centre.means)
        change = one.pack(one.product(centre.precision_factors, factors))
        t = centre.component.coordinates(dof, centre.dof)
        q = self._join(np.concatenate([u, t], axis=-1) if t.size else u, m, change) - self.shift
        pieces = zip(self.bounds[:-1], self.bounds[1:], self.blocks, strict=True)
        flat = q.reshape(-1, q.shape[-1]).T
        return np.concatenate([np.linalg.solve(a, flat[i:j]) for i, j, a in pieces]).T.reshape(q.shape)

    @property
    def log_constant(self) -> float:
        """The part of the log-Jacobian that does not depend on the point: log |A| and the centre's factors."""
        log_a = sum(np.log(np.diagonal(block)).sum() for block in self.blocks)
        family, d, k = self.centre.family, self.centre.n_features, self.centre.n_components
        log_det = -family.log_precision_determinants(self.centre.precision_factors, d)
        log_means = np.broadcast_to(log_det, k).sum()
        one = family.parametrisation
        of_factors = one.prior_power(d) * one.power(self.centre.precision_factors, d)
        n_logs = np.count_nonzero(one.volume_powers(d)) * len(of_factors)
        if len(self.restriction) and not one.correlated:  # the density is that by the logarithms of free variances
            n_logs = self.restriction.shape[1]
        return float(log_a + log_means + n_logs * np.log(2.0) - of_factors.sum())

    def _split(self, q: Array) -> tuple[Array, Array, Array, Array]:
        """u (..., K-1 or K), t (..., free), m (..., K, D) and c (..., G, size)."""
        (k, d), (u, t, rest) = self.centre.means.shape, np.split(q, np.cumsum([self.n_logs, self.n_beside]), axis=-1)
        size, lead = self.centre.family.block_size(d), q.shape[:-1]
        if self._shared:
            free = rest[..., k * d :]
            packed = free @ self.restriction.T if len(self.restriction) else free
            return u, t, rest[..., : k * d].reshape(*lead, k, d), packed.reshape(*lead, -1, size)
        own = rest.reshape(*lead, k, d + size)
        return u, t, own[..., :d], own[..., d:]

    def _join(self, first: Array, m: Array, c: Array) -> Array:
        lead = first.shape[:-1]
        if len(self.restriction):
            c = c.reshape(*lead, -1) @ np.linalg.pinv(self.restriction).T
        if self._shared:
            return np.concatenate([first, m.reshape(*lead, -1), c.reshape(*lead, -1)], axis=-1)
        return np.concatenate([first, np.concatenate([m, c], axis=-1).reshape(*lead, -1)], axis=-1)
