"""Parametrisations of one covariance matrix: full, diagonal and spherical, each with all that differs between them.

A *factor* (rows, columns) is what compiled code holds of a covariance: its lower Cholesky factor L (D, D), standard
deviations (1, D), or one standard deviation (1, 1). A *block* is a covariance, or the scale of its prior, in the same
shape: a matrix, its diagonal, one variance. Leading axes are free. ``residual`` tells compiled code which
parametrisation it is, see `bayesgmm.mixture.kernel`.
"""

from abc import ABC, abstractmethod
from math import lgamma

import numpy as np
from scipy.special import gammaln, multigammaln

from bayesgmm._common import Array, Covariances, Factors, IntArray
from bayesgmm.mixture.kernel import DIAGONAL, FULL, SPHERICAL

_LOG_2 = float(np.log(2.0))


class Parametrisation(ABC):
    """A parametrisation of one covariance matrix of D features."""

    residual: int
    correlated = False  # whether features may be correlated

    # ---- sizes

    @abstractmethod
    def block_shape(self, d: int) -> tuple[int, int]:
        """Rows and columns of a factor."""

    @abstractmethod
    def size(self, d: int) -> int:
        """Free parameters."""

    @abstractmethod
    def natural_shape(self, d: int) -> tuple[int, ...]:
        """scikit-learn's shape of one covariance."""

    @abstractmethod
    def entries(self, d: int) -> tuple[IntArray, IntArray]:
        """Row and column of the entry of the matrix that each free parameter stands for."""

    # ---- factors, blocks and matrices

    @abstractmethod
    def factors(self, blocks: Array) -> Factors:
        """Factors of blocks; LinAlgError unless they are positive definite."""

    @abstractmethod
    def natural(self, factors: Factors) -> Covariances:
        """Covariances of factors, in scikit-learn's shape."""

    @abstractmethod
    def matrices(self, factors: Factors, d: int) -> Covariances:
        """Covariances of factors, (..., D, D)."""

    @abstractmethod
    def compress(self, matrices: Covariances) -> Covariances:
        """Matrices (..., D, D) in scikit-learn's shape, averaging what is tied together."""

    @abstractmethod
    def blocks(self, matrices: Array) -> Array:
        """Matrices (..., D, D) as blocks, averaging what is tied together."""

    @abstractmethod
    def uncorrelated(self, values: Array) -> Array:
        """The block with these variances (D,), or the factor with these standard deviations, and no correlations."""

    @abstractmethod
    def inverse(self, values: Array) -> Array:
        """Inverses of factors, or of blocks."""

    @abstractmethod
    def log_determinants(self, factors: Factors, d: int) -> Array:
        """log |L| (...) of factors."""

    @abstractmethod
    def precision_factors(self, matrices: Covariances) -> Factors:
        """Inverse factors of matrices (..., D, D) of this parametrisation."""

    @abstractmethod
    def square(self, factors: Factors, d: int) -> Array:
        """Factors as matrices (..., D, D)."""

    @abstractmethod
    def product(self, one: Factors, other: Factors) -> Factors:
        """Products of factors."""

    @abstractmethod
    def times(self, factors: Factors, vectors: Array) -> Array:
        """L x for vectors (..., D)."""

    # ---- coordinates

    @abstractmethod
    def pack(self, factors: Factors) -> Array:
        """Unconstrained coordinates (..., size) of factors: logarithms on the diagonal, what is below as it is."""

    @abstractmethod
    def unpack(self, packed: Array, d: int) -> Factors:
        """The inverse of `pack`."""

    @abstractmethod
    def volume_powers(self, d: int) -> Array:
        """p (size,) such that the volume of covariances changes with packed coordinates c as exp(p c)."""

    # ---- priors: inverse-Wishart, or inverse gammas of variances; ``dof`` and ``scale`` as in `ResolvedPrior`

    @abstractmethod
    def width(self, d: int) -> int:
        """Features whose rows each free variance counts."""

    @abstractmethod
    def prior_power(self, d: int) -> float:
        """What the measure adds to the degrees of freedom in twice the power of |Sigma|^-1, or of 1/variance."""

    @abstractmethod
    def power(self, precision_factors: Factors, d: int) -> Array:
        """log of what is raised to that power: |L^-1|, or the product of the free 1/sd, (...)."""

    @abstractmethod
    def scale_roots(self, scale: Array) -> Array:
        """R with R Rᵀ = S."""

    @abstractmethod
    def scale_log_determinants(self, scale: Array) -> Array:
        """log |S| of blocks (...); the product of the free entries."""

    @abstractmethod
    def precisions(self, precision_factors: Factors) -> Array:
        """Sigma^-1 as blocks."""

    @abstractmethod
    def log_normaliser(self, dof: Array, scale: Array, d: int) -> Array:
        """Log normaliser of each covariance's prior density, for dof (...) and blocks S (...)."""

    @abstractmethod
    def marginal_log_normaliser(self, dof: Array, n: float, scale: Array) -> float:
        """That of covariances (block,) whose scale S ~ Wishart(n, ``scale``) is integrated out."""

    @abstractmethod
    def draw_wisharts(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        """Blocks S ~ Wishart, or products of chi-squares with its marginals, for dof (...) and blocks (...)."""

    @abstractmethod
    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        """F (..., D, D) or (..., 1, columns) with F Fᵀ ~ the prior of a covariance."""

    # ---- scores

    @abstractmethod
    def basis(self, d: int) -> Array:
        """The symmetric matrices E_a (size, D, D) of the local coordinates Sigma = L exp(sum_a c_a E_a) Lᵀ."""

    @abstractmethod
    def scores(self, z: Array) -> Array:
        """(zᵀ E_a z - tr E_a) / 2 (obs, size) of whitened residuals (obs, D)."""

    @abstractmethod
    def slopes(self, second: Array, total: float) -> Array:
        """tr E_a (M - e I) of a second moment M in the block's shape, (size,)."""

    @abstractmethod
    def information(self, second: Array, total: float) -> Array:
        """tr(E_a E_b M) made symmetric, less tr(E_a E_b) / 2 for each row that was counted, (size, size)."""


def _diagonal(matrices: Array) -> Array:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def bartlett(dof: Array, d: int, rng: np.random.Generator) -> Array:
    """Lower triangular factors (..., d, d) of Wishart matrices with unit scale (Bartlett 1933)."""
    lower = np.tril(rng.standard_normal((*dof.shape, d, d)), -1)
    lower[..., np.arange(d), np.arange(d)] = np.sqrt(rng.chisquare(dof[..., None] - np.arange(d)))
    return np.asarray(lower)


class Full(Parametrisation):
    """Any positive definite matrix."""

    residual = FULL
    correlated = True

    def block_shape(self, d: int) -> tuple[int, int]:
        return d, d

    def size(self, d: int) -> int:
        return d * (d + 1) // 2

    def natural_shape(self, d: int) -> tuple[int, ...]:
        return d, d

    def entries(self, d: int) -> tuple[IntArray, IntArray]:
        rows, columns = np.tril_indices(d)
        return rows, columns

    def factors(self, blocks: Array) -> Factors:
        return np.linalg.cholesky(blocks)

    def natural(self, factors: Factors) -> Covariances:
        return factors @ np.swapaxes(factors, -1, -2)

    def matrices(self, factors: Factors, d: int) -> Covariances:
        return factors @ np.swapaxes(factors, -1, -2)

    def compress(self, matrices: Covariances) -> Covariances:
        return matrices

    def blocks(self, matrices: Array) -> Array:
        return matrices

    def uncorrelated(self, values: Array) -> Array:
        return np.diag(values)

    def inverse(self, values: Array) -> Array:
        return np.linalg.inv(values)

    def log_determinants(self, factors: Factors, d: int) -> Array:
        return np.asarray(np.log(_diagonal(factors)).sum(axis=-1))

    def precision_factors(self, matrices: Covariances) -> Factors:
        return np.linalg.inv(np.linalg.cholesky(matrices))

    def square(self, factors: Factors, d: int) -> Array:
        return factors

    def product(self, one: Factors, other: Factors) -> Factors:
        return one @ other

    def times(self, factors: Factors, vectors: Array) -> Array:
        if factors.ndim == 2:
            return vectors @ factors.T
        return np.asarray((factors @ vectors[..., None])[..., 0])

    def pack(self, factors: Factors) -> Array:
        rows, columns = np.tril_indices(factors.shape[-1])
        packed: Array = factors[..., rows, columns]
        packed[..., rows == columns] = np.log(packed[..., rows == columns])
        return packed

    def unpack(self, packed: Array, d: int) -> Factors:
        rows, columns = np.tril_indices(d)
        factors = np.zeros((*packed.shape[:-1], d, d))
        factors[..., rows, columns] = packed
        diagonal = np.arange(d)
        factors[..., diagonal, diagonal] = np.exp(factors[..., diagonal, diagonal])
        return factors

    def volume_powers(self, d: int) -> Array:
        rows, columns = self.entries(d)
        return np.where(rows == columns, d + 1.0 - rows, 0.0)

    def width(self, d: int) -> int:
        return 1

    def prior_power(self, d: int) -> float:
        return d + 1.0

    def power(self, precision_factors: Factors, d: int) -> Array:
        return self.log_determinants(precision_factors, d)

    def scale_roots(self, scale: Array) -> Array:
        return np.linalg.cholesky(scale)

    def scale_log_determinants(self, scale: Array) -> Array:
        return np.asarray(np.linalg.slogdet(scale)[1])

    def precisions(self, precision_factors: Factors) -> Array:
        return np.swapaxes(precision_factors, -1, -2) @ precision_factors

    def log_normaliser(self, dof: Array, scale: Array, d: int) -> Array:
        half = 0.5 * dof
        return np.asarray(half * self.scale_log_determinants(scale) - half * d * _LOG_2 - multigammaln(half, d))

    def marginal_log_normaliser(self, dof: Array, n: float, scale: Array) -> float:
        half, half_count, d = 0.5 * dof, 0.5 * float(n + dof.sum()), len(scale)
        gammas = multigammaln(half_count, d) - multigammaln(0.5 * n, d) - float(multigammaln(half, d).sum())
        return float(gammas - 0.5 * n * self.scale_log_determinants(scale))

    def draw_wisharts(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        factor = np.linalg.cholesky(scale) @ bartlett(np.broadcast_to(dof, scale.shape[:-2]), scale.shape[-1], rng)
        return np.asarray(factor @ np.swapaxes(factor, -1, -2))

    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        """If A Aᵀ ~ W(nu, I) then L A⁻ᵀ A⁻¹ Lᵀ ~ IW(nu, L Lᵀ)."""
        inner = bartlett(np.broadcast_to(dof, scale.shape[:-2]), scale.shape[-1], rng)
        return np.asarray(np.linalg.cholesky(scale) @ np.swapaxes(np.linalg.inv(inner), -1, -2))

    def basis(self, d: int) -> Array:
        rows, columns = self.entries(d)
        basis = np.zeros((len(rows), d, d))
        index = np.arange(len(rows))
        basis[index, rows, columns] = basis[index, columns, rows] = 1.0
        return basis

    def scores(self, z: Array) -> Array:
        rows, columns = self.entries(z.shape[1])
        diagonal = rows == columns
        return z[:, rows] * z[:, columns] * np.where(diagonal, 0.5, 1.0) - 0.5 * diagonal

    def slopes(self, second: Array, total: float) -> Array:
        d = len(second)
        return np.asarray(np.einsum("aij,ij->a", self.basis(d), second - total * np.eye(d)))

    def information(self, second: Array, total: float) -> Array:
        d = len(second)
        basis = self.basis(d)
        flat = basis.reshape(len(basis), -1)
        product = (basis @ (second - 0.5 * total * np.eye(d))).reshape(flat.shape) @ flat.T
        return np.asarray(0.5 * (product + product.T))


class Diagonal(Parametrisation):
    """A variance for each feature, no correlations."""

    residual = DIAGONAL

    def block_shape(self, d: int) -> tuple[int, int]:
        return 1, d

    def size(self, d: int) -> int:
        return d

    def natural_shape(self, d: int) -> tuple[int, ...]:
        return (d,)

    def entries(self, d: int) -> tuple[IntArray, IntArray]:
        index = np.arange(self.size(d))
        return index, index

    def factors(self, blocks: Array) -> Factors:
        if blocks.min() <= 0:
            raise np.linalg.LinAlgError("variances must be positive")
        return np.sqrt(blocks)

    def natural(self, factors: Factors) -> Covariances:
        return np.square(factors[..., 0, :])

    def matrices(self, factors: Factors, d: int) -> Covariances:
        return np.square(factors[..., 0, :])[..., :, None] * np.eye(d)

    def compress(self, matrices: Covariances) -> Covariances:
        return _diagonal(matrices)

    def blocks(self, matrices: Array) -> Array:
        return _diagonal(matrices)[..., None, :].copy()

    def uncorrelated(self, values: Array) -> Array:
        return values[None]

    def inverse(self, values: Array) -> Array:
        return 1.0 / values

    def log_determinants(self, factors: Factors, d: int) -> Array:
        return np.asarray(np.log(factors).sum(axis=(-2, -1)))

    def precision_factors(self, matrices: Covariances) -> Factors:
        return 1.0 / np.sqrt(_diagonal(matrices)[..., None, : self.size(matrices.shape[-1])])

    def square(self, factors: Factors, d: int) -> Array:
        return factors[..., 0, :, None] * np.eye(d)

    def product(self, one: Factors, other: Factors) -> Factors:
        return one * other

    def times(self, factors: Factors, vectors: Array) -> Array:
        return factors[..., 0, :] * vectors

    def pack(self, factors: Factors) -> Array:
        return np.asarray(np.log(factors[..., 0, :]))

    def unpack(self, packed: Array, d: int) -> Factors:
        return np.exp(packed)[..., None, :]

    def volume_powers(self, d: int) -> Array:
        return np.full(self.size(d), 2.0)

    def width(self, d: int) -> int:
        return 1

    def prior_power(self, d: int) -> float:
        return 2.0

    def power(self, precision_factors: Factors, d: int) -> Array:
        return np.asarray(np.log(precision_factors).sum(axis=(-2, -1)))

    def scale_roots(self, scale: Array) -> Array:
        return np.sqrt(scale)

    def scale_log_determinants(self, scale: Array) -> Array:
        return np.asarray(np.log(scale).sum(axis=(-2, -1)))

    def precisions(self, precision_factors: Factors) -> Array:
        return precision_factors**2

    def log_normaliser(self, dof: Array, scale: Array, d: int) -> Array:
        half = 0.5 * dof
        return np.asarray(half * np.log(0.5 * scale).sum(axis=(-2, -1)) - self.size(d) * gammaln(half))

    def marginal_log_normaliser(self, dof: Array, n: float, scale: Array) -> float:
        half, half_count = 0.5 * dof, 0.5 * float(n + dof.sum())
        per_variance = lgamma(half_count) - lgamma(0.5 * n) - float(gammaln(half).sum())
        return float(scale.size * per_variance - 0.5 * n * self.scale_log_determinants(scale))

    def draw_wisharts(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        dof = np.broadcast_to(np.asarray(dof)[..., None, None], scale.shape)
        return np.asarray(scale * rng.chisquare(dof))

    def draw_factors(self, dof: Array, scale: Array, rng: np.random.Generator) -> Array:
        dof = np.broadcast_to(np.asarray(dof)[..., None, None], scale.shape)
        return np.sqrt(scale / rng.chisquare(dof))

    def basis(self, d: int) -> Array:
        return np.asarray(np.eye(d)[:, :, None] * np.eye(d))

    def scores(self, z: Array) -> Array:
        return 0.5 * (z**2 - 1.0)

    def slopes(self, second: Array, total: float) -> Array:
        return np.asarray(second[0] - total)

    def information(self, second: Array, total: float) -> Array:
        return np.diag(second[0] - 0.5 * total)


class Spherical(Diagonal):
    """One variance for all features, no correlations."""

    residual = SPHERICAL

    def block_shape(self, d: int) -> tuple[int, int]:
        return 1, 1

    def size(self, d: int) -> int:
        return 1

    def natural_shape(self, d: int) -> tuple[int, ...]:
        return ()

    def natural(self, factors: Factors) -> Covariances:
        return np.square(factors[..., 0, 0])

    def compress(self, matrices: Covariances) -> Covariances:
        return _diagonal(matrices).mean(axis=-1)

    def blocks(self, matrices: Array) -> Array:
        return np.asarray(_diagonal(matrices).mean(axis=-1)[..., None, None])

    def uncorrelated(self, values: Array) -> Array:
        return values.mean(keepdims=True)[None]

    def log_determinants(self, factors: Factors, d: int) -> Array:
        return super().log_determinants(factors, d) * d

    def width(self, d: int) -> int:
        return d

    def basis(self, d: int) -> Array:
        return np.eye(d)[None]

    def scores(self, z: Array) -> Array:
        return 0.5 * ((z**2).sum(axis=1, keepdims=True) - z.shape[1])
