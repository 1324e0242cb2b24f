r"""The log-likelihood to second order in the sampler's coordinates, in one pass over the rows.

At the centre the coordinates q of the sampler are a smooth map from those of the standard errors (`LocalCoordinates`),
:math:`\xi`: log-ratios and means are the same, and the covariances of one have :math:`1 + S = C C^\top` with C as in
`bayesgmm.log_posterior`. With J the derivative of :math:`\xi` by q, g the gradient and I Louis' observed information
of the rows in :math:`\xi`,

.. math:: I_q = J^\top I J - \sum_a g_a \frac{\partial^2 \xi_a}{\partial q\, \partial q^\top}.

It is exact, also away from the maximum.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Block, Data, total
from bayesgmm.log_posterior import Coordinates
from bayesgmm.mixture import Parametrisation, Statistics, column_statistics
from bayesgmm.standard_errors import LikelihoodExpansion, LocalCoordinates


@dataclass(frozen=True)
class Expansion:
    """A function of the inner coordinates q to second order around q = 0.

    Attributes
    ----------
    value : float
    gradient : (n_dim,)
    information : (n_dim, n_dim)
        Its negative Hessian.
    """

    value: float
    gradient: Array
    information: Array

    def __call__(self, q: Array) -> Array:
        """The quadratic function at points (..., n_dim)."""
        return np.asarray(self.value + q @ self.gradient - 0.5 * ((q @ self.information) * q).sum(axis=-1))

    def __sub__(self, other: "Expansion") -> "Expansion":
        return Expansion(self.value - other.value, self.gradient - other.gradient, self.information - other.information)


def likelihood_expansion(data: Data, coordinates: Coordinates, pool: Executor | None = None) -> Expansion:
    """That of the log-likelihood of rows anywhere, in the coordinates around a centre, without their affine map."""
    local = LocalCoordinates(coordinates.centre)
    found = LikelihoodExpansion.of(data, local, pool)
    change, bends = _change(coordinates, local), _bends(coordinates, local, found.gradient)
    packed = change.T @ found.gradient, change.T @ found.information @ change - bends
    back = _own_order(coordinates, local)
    return Expansion(found.value, back.T @ packed[0], back.T @ packed[1] @ back)


def likelihood_gradient(data: Data, coordinates: Coordinates, pool: Executor | None = None) -> Array:
    """The gradient alone, (n_dim,), in a pass that costs as much as an E-step."""
    local = LocalCoordinates(coordinates.centre)

    def of_block(block: Block) -> Statistics:
        return column_statistics(block.columns, local.mixture, block.row_weights, block.patterns, block.allowed)

    statistics = total(of_block, data, pool)
    slope = LikelihoodExpansion(local, statistics, np.zeros((local.n_dim, local.n_dim))).gradient
    return np.asarray(_own_order(coordinates, local).T @ (_change(coordinates, local).T @ slope))


def _change(coordinates: Coordinates, local: LocalCoordinates) -> Array:
    """d xi / d q, q in the order of xi and with all entries of factors."""
    k, d, blocks = local.k, local.d, len(local.mixture.factors)
    of_factors = np.where(np.trace(local.basis, axis1=1, axis2=2) > 0.0, 2.0, 1.0)  # S_ii = 2 c_ii, S_ij = c_ij
    of_weights = np.eye(k - 1)
    if coordinates.sparse_weights is not None:
        slope = coordinates.sparse_weights.slope(coordinates.log_places)
        of_weights = np.column_stack([np.diag(slope[:-1]), np.full(k - 1, -slope[-1])])
    return np.asarray(block_diag(of_weights, np.eye(k * d), np.diag(np.tile(of_factors, blocks))))


def _bends(coordinates: Coordinates, local: LocalCoordinates, gradient: Array) -> Array:
    """The sum of the second derivatives of xi by q, each times the slope in xi."""
    k, d, blocks = local.k, local.d, range(len(local.mixture.factors))
    of_weights = np.zeros((k - 1, k - 1))
    if coordinates.sparse_weights is not None:
        bend = coordinates.sparse_weights.bend(coordinates.log_places)
        of_weights = np.diag(bend * np.append(gradient[: k - 1], -gradient[: k - 1].sum()))
    one = local.mixture.family.parametrisation
    of_factors = [_bend_of_factor(one, local.basis, gradient[local.covariance_index(g)]) for g in blocks]
    return np.asarray(block_diag(of_weights, np.zeros((k * d, k * d)), *of_factors))


def _bend_of_factor(one: Parametrisation, basis: Array, slopes: Array) -> Array:
    """Second derivatives of tr(G S), S + 1 = C Cᵀ, C = 1 + X - diag(X)² / 2 + X² + ..., X linear in c.

    In the place of X² may stand another product, see `Parametrisation.squares`.
    """
    weights = (slopes / np.square(basis).sum(axis=(1, 2)))[:, None, None] * basis
    slope, lower = weights.sum(axis=0), np.tril(basis)
    diagonal = np.diagonal(lower, axis1=1, axis2=2)
    squares = one.squares(slope, lower)
    outer = np.einsum("ij,ajk,bik->ab", slope, lower, lower, optimize=True)
    of_logs = (diagonal * np.diagonal(slope)) @ diagonal.T
    return np.asarray(2.0 * (squares + squares.T + outer - of_logs))


def _own_order(coordinates: Coordinates, local: LocalCoordinates) -> Array:
    """d (q in the order of xi, with all entries of factors) / d q."""
    n_logs, (k, d), family = coordinates.n_logs, coordinates.centre.means.shape, coordinates.centre.family
    n_first = n_logs + k * d
    if len(coordinates.restriction):
        return np.asarray(block_diag(np.eye(n_first), coordinates.restriction))
    n = n_first + len(local.mixture.factors) * family.block_size(d)
    return np.eye(n)[:, _places(n_logs, k, d, 0 if family.shared else family.block_size(d), n)]


def _places(n_logs: int, k: int, d: int, size: int, n: int) -> IntArray:
    """Where the coordinates of q stand in the order of xi: mean and factor of each component are neighbours."""
    everything, first = np.arange(n), n_logs + k * d
    means, factors = everything[n_logs:first].reshape(k, d), everything[first : first + k * size].reshape(k, size)
    return np.concatenate([everything[:n_logs], np.hstack([means, factors]).ravel(), everything[first + k * size :]])
