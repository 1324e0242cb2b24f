"""Local coordinates in which scores are whitened residuals, used for standard errors.

Components' weights are w_k proportional to w^_k exp(u_k) with u_K = 0, means mu_k = mu^_k + L^_k m_k, covariances
Sigma_k = L^_k (1 + S_k) L^_kᵀ, where S_k = sum_a c_a E_a over the lower triangle (E_a symmetric, ones at its two
places), the diagonal, or the identity alone. They come as u, all m_k, then the c of every block. Unlike the
sampler's coordinates they are linear in the covariances, and good at their centre only, which is all that first
and second derivatives need.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import block_diag

from bayesgmm._common import Array, Covariances, IntArray, Means, Rows, Weights
from bayesgmm.data import Data, IncompleteData
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import CovarianceFamily, Mixture, Parametrisation, Statistics, row_memberships
from bayesgmm.priors import Model, PseudoData, covariance_counts

_NUMBERS_PER_BLOCK = 4_000_000  # scores held at once: 32 MB


@dataclass(frozen=True)
class Sums:
    """Expected statistics of rows and pseudo-data together.

    Attributes
    ----------
    counts : (cluster,)
        Rows and what the prior adds to the weights.
    mean_counts : (cluster,)
        Rows and pseudo-rows of the means.
    first : (cluster, feature)
    pull : (cluster, feature)
        What independent prior means add to the gradient; it does not change with the covariance.
    pull_precision : (cluster, feature, feature)
        Their precision in whitened coordinates.
    second : (block, rows, columns)
    totals : (block,)
        Twice the power of the inverse variance.
    """

    counts: Weights
    mean_counts: Weights
    first: Means
    pull: Means
    pull_precision: Array
    second: Array
    totals: Weights


def whitened_sums(statistics: Statistics, mixture: Mixture, model: Model) -> Sums:
    """Add a prior's pseudo-data at a mixture to the expected statistics there.

    Raises
    ------
    InputError
        If the curvature of the log prior is not that of pseudo-data: hyperparameters that are sampled, or separation.
    """
    prior = model.prior
    if prior is not None and (prior.scale_prior or prior.concentration_prior or prior.separation):
        raise InputError(
            expected="a prior that is pseudo-data for standard errors by information",
            got="one with hyperparameters that are sampled, or with variances and correlations",
            hint="Take the bootstrap, or the posterior: BayesianGaussianMixture.",
        )
    k, d, family, pseudo = model.n_components, model.n_features, model.family, model.pseudo_data
    first, second = statistics.first.copy(), _by_block(statistics.second, family)
    pull, precision = np.zeros((k, d)), np.zeros((k, d, d))
    for j in range(k):
        _add_mean_prior(mixture, pseudo, j, first=first[j], second=second, pull=pull[j], precision=precision[j])
    for g in range(len(second)):
        family.parametrisation.add_scale(mixture.precision_factors[g], pseudo.scale[g], second[g])
    counts = statistics.counts.copy()
    if prior is not None:  # with sparse weights in the softmax coordinates, in which EM's mode exists
        counts += prior.concentration_given(mixture.weights) - (0.0 if prior.sparse else 1.0)
    totals = np.empty(len(second))
    covariance_counts(family.parametrisation, statistics.counts, pseudo, d, totals)
    return Sums(counts, statistics.counts + pseudo.kappa, first, pull, precision, second, totals)


def _by_block(second: Array, family: CovarianceFamily) -> Array:
    return second.sum(axis=0, keepdims=True) if family.shared else second.copy()


def _add_mean_prior(
    mixture: Mixture, pseudo: PseudoData, k: int, *, first: Array, second: Array, pull: Array, precision: Array
) -> None:
    one, block = mixture.family.parametrisation, min(k, len(mixture.factors) - 1)
    offset, product = pseudo.mean[k] - mixture.means[k], np.empty(mixture.n_features)
    if pseudo.kappa[k] > 0.0:
        one.multiply(mixture.precision_factors[block], offset, product)
        first += pseudo.kappa[k] * product
        one.add_outer(pseudo.kappa[k], product, product, second[block])
    elif len(pseudo.mean_precision):
        factor = LocalCoordinates(mixture).square_factor(block)
        pull += factor.T @ pseudo.mean_precision[k] @ offset
        precision += factor.T @ pseudo.mean_precision[k] @ factor


@dataclass(frozen=True)
class LocalCoordinates:
    """Coordinates around a mixture: scores, complete information, and the way back to its parameters."""

    __module__ = "bayesgmm.standard_errors"

    mixture: Mixture

    @property
    def k(self) -> int:
        """Number of components K."""
        return self.mixture.n_components

    @property
    def d(self) -> int:
        """Number of features D."""
        return self.mixture.n_features

    @property
    def n_dim(self) -> int:
        """Coordinates, which are free parameters of the mixture where the family restricts none of them."""
        return self.k - 1 + self.k * self.d + len(self.mixture.factors) * self.mixture.family.block_size(self.d)

    @cached_property
    def free(self) -> Array:
        """The changes of the coordinates with the free parameters, (n_dim, free)."""
        restriction = self._one.local_changes(self.mixture.factors)
        n_first = self.k - 1 + self.k * self.d
        return np.eye(self.n_dim) if restriction is None else block_diag(np.eye(n_first), restriction)

    def free_information(self, information: Array, sums: Sums) -> Array:
        """Information of the free parameters, of which covariances that are tied together are curved functions."""
        if self.free.shape[0] == self.free.shape[1]:
            return information
        n_first, found = self.k - 1 + self.k * self.d, self.free.T @ information @ self.free
        found[n_first:, n_first:] -= self._one.local_curvature(self.mixture.factors, sums.second, sums.totals)
        return np.asarray(found)

    @property
    def block_size(self) -> int:
        """Rows whose scores fit in a small piece of memory."""
        return max(1, _NUMBERS_PER_BLOCK // self.n_dim)

    def block(self, k: int) -> int:
        """The covariance block of component k."""
        return min(k, len(self.mixture.factors) - 1)

    def mean_index(self, k: int) -> slice:
        """Where m_k stands."""
        start = self.k - 1 + k * self.d
        return slice(start, start + self.d)

    def covariance_index(self, g: int) -> slice:
        """Where the c of block g stand."""
        size = self.mixture.family.block_size(self.d)
        start = self.k - 1 + self.k * self.d + g * size
        return slice(start, start + size)

    def own_index(self, k: int) -> IntArray:
        """Coordinates that a row from component k has scores in."""
        everything = np.arange(self.n_dim)
        pieces = (slice(0, self.k - 1), self.mean_index(k), self.covariance_index(self.block(k)))
        return np.concatenate([everything[piece] for piece in pieces])

    def square_factor(self, g: int) -> Array:
        """L^ of block g as a square matrix."""
        return self._one.square(self.mixture.factors[g], self.d)

    @property
    def _one(self) -> Parametrisation:
        """The parametrisation of one covariance."""
        return self.mixture.family.parametrisation

    @cached_property
    def basis(self) -> Array:
        """The matrices E_a, (size, D, D)."""
        return self._one.basis(self.d)

    def own_scores(self, rows: Rows, k: int) -> Array:
        """Scores of rows had they come from component k, in the coordinates `own_index`, (obs, own)."""
        mixture, g = self.mixture, self.block(k)
        z = self._one.times(mixture.precision_factors[g], rows - mixture.means[k])
        weights = np.broadcast_to((np.arange(self.k) == k) - mixture.weights, (len(rows), self.k))
        return np.hstack([weights[:, :-1], z, self._one.scores(z)])

    def component_scores(self, rows: Rows, k: int) -> Array:
        """`own_scores` in all coordinates, (obs, n_dim)."""
        scores = np.zeros((len(rows), self.n_dim))
        scores[:, self.own_index(k)] = self.own_scores(rows, k)
        return scores

    def marginal(self, features: IntArray) -> tuple["LocalCoordinates", Array]:
        """Those of the mixture of some features, and how they change with these, linearly, (marginal's, n_dim)."""
        part = LocalCoordinates(self.mixture.marginal(features.tolist()))
        change = np.zeros((part.n_dim, self.n_dim))
        change[: self.k - 1, : self.k - 1] = np.eye(self.k - 1)
        roots = [np.linalg.inv(part.square_factor(g)) for g in range(len(part.mixture.factors))]
        for k in range(self.k):
            factor = self.square_factor(self.block(k))[features]
            change[part.mean_index(k), self.mean_index(k)] = roots[part.block(k)] @ factor
        rows, columns = part._one.entries(part.d)
        for g, changes in enumerate(self._covariance_changes[:, :, features][..., features]):
            own = roots[g] @ changes @ roots[g].T
            change[part.covariance_index(g), self.covariance_index(g)] = own[:, rows, columns].T
        return part, change

    def scores(self, data: Data) -> Array:
        """Gradients of the log density of each row, (obs, n_dim)."""
        if isinstance(data, IncompleteData):
            found = np.empty((data.shape[0], self.n_dim))
            for own, observed, rows in data.parts():
                part, change = self.marginal(observed)
                found[own] = part.scores(rows) @ change
            return found
        resp = row_memberships(data, self.mixture)
        scores = np.zeros((len(resp), self.n_dim))
        for k in range(self.k):
            scores[:, self.own_index(k)] += resp[:, [k]] * self.own_scores(data.rows, k)
        return scores

    def gradient(self, sums: Sums) -> Array:
        """Gradient of the objective."""
        gradient = np.empty(self.n_dim)
        gradient[: self.k - 1] = (sums.counts - self.mixture.weights * sums.counts.sum())[:-1]
        for k in range(self.k):
            gradient[self.mean_index(k)] = sums.first[k] + sums.pull[k]
        for g, (second, total) in enumerate(zip(sums.second, sums.totals, strict=True)):
            gradient[self.covariance_index(g)] = 0.5 * self._one.slopes(second, total)
        return gradient

    def complete_information(self, sums: Sums) -> Array:
        """Expected complete information of the rows, and the information of the prior."""
        information = np.zeros((self.n_dim, self.n_dim))
        w = self.mixture.weights[:-1]
        information[: self.k - 1, : self.k - 1] = sums.counts.sum() * (np.diag(w) - np.outer(w, w))
        for k in range(self.k):
            mean, covariance = self.mean_index(k), self.covariance_index(self.block(k))
            information[mean, mean] = sums.mean_counts[k] * np.eye(self.d) + sums.pull_precision[k]
            cross = (self.basis @ sums.first[k]).T
            information[mean, covariance], information[covariance, mean] = cross, cross.T
        for g, (second, total) in enumerate(zip(sums.second, sums.totals, strict=True)):
            index = self.covariance_index(g)
            information[index, index] = self._one.information(second, total)
        return information

    @cached_property
    def _covariance_changes(self) -> Array:
        """d Sigma_g / dc as matrices (block, size, D, D)."""
        factors = np.stack([self.square_factor(g) for g in range(len(self.mixture.factors))])
        return factors[:, None] @ self.basis @ np.swapaxes(factors, -1, -2)[:, None]

    @cached_property
    def natural_change(self) -> Array:
        """Derivatives of the free parameters, in the order of `names`, by the coordinates."""
        change = np.zeros((self.n_dim, self.n_dim))
        w = self.mixture.weights[:-1]
        change[: self.k - 1, : self.k - 1] = np.diag(w) - np.outer(w, w)
        for k in range(self.k):
            change[self.mean_index(k), self.mean_index(k)] = self.square_factor(self.block(k))
        rows, columns = self._one.entries(self.d)
        for g, changes in enumerate(self._covariance_changes):
            change[self.covariance_index(g), self.covariance_index(g)] = changes[:, rows, columns].T
        return change

    def variances(self, covariance: Array) -> tuple[Weights, Means, Covariances]:
        """Variances of all parameters, in the shapes of the mixture, from a covariance of the coordinates."""
        w = self.mixture.weights
        change = (np.diag(w) - np.outer(w, w))[:, :-1]
        weights = _variances(change, covariance[: self.k - 1, : self.k - 1])
        of_means = [covariance[self.mean_index(k), self.mean_index(k)] for k in range(self.k)]
        means = np.stack([_variances(self.square_factor(self.block(k)), c) for k, c in enumerate(of_means)])
        blocks = []
        for g, changes in enumerate(self._covariance_changes):
            index = self.covariance_index(g)
            flat = changes.reshape(len(changes), -1).T
            blocks.append(_variances(flat, covariance[index, index]).reshape(self.d, self.d))
        return weights, means, self._shaped(np.stack(blocks))

    def _shaped(self, blocks: Array) -> Covariances:
        """Entries of full matrices (block, D, D) in the shape of the mixture's covariances."""
        family = self.mixture.family
        if not family.in_scikit_learn:
            return np.broadcast_to(blocks, (self.k, self.d, self.d)).copy()
        natural = self._one.compress(blocks)
        return natural[0] if family.shared else natural

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The free parameters as they are indexed in the mixture."""
        weights = [f"weights[{k}]" for k in range(self.k - 1)]
        means = [f"means[{k}, {j}]" for k in range(self.k) for j in range(self.d)]
        blocks = range(len(self.mixture.factors))
        entries = list(zip(*self._one.entries(self.d), strict=True))
        covariances = [self._covariance_name(g, int(i), int(j)) for g in blocks for i, j in entries]
        return tuple(weights + means + covariances)

    def _covariance_name(self, g: int, i: int, j: int) -> str:
        family = self.mixture.family
        index = [i, j] if family.as_matrices else [i, j][: len(self._one.natural_shape(self.d))]
        index = index if family.in_scikit_learn and family.shared else [g, *index]
        return f"covariances[{', '.join(map(str, index))}]"


def _variances(change: Array, covariance: Array) -> Array:
    """The diagonal of J C Jᵀ."""
    return np.maximum(((change @ covariance) * change).sum(axis=1), 0.0)
