"""What a parametrisation of covariance matrices does: one class, in a file of its own, for each.

A *factor* (rows, columns) is what compiled code holds of a covariance: its lower Cholesky factor L (D, D), standard
deviations (1, D), or one standard deviation (1, 1). A *block* is a covariance, or the scale of its prior, in the same
shape: a matrix, its diagonal, one variance. Leading axes are free.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
from scipy.linalg import block_diag
from scipy.special import gammaln

from bayesgmm._common import Array, Covariances, Factors, IntArray
from bayesgmm._compiled import Behaviour, BehaviourType, allocation_free


class Parametrisation(Behaviour, ABC):
    """A parametrisation of covariance matrices of D features.

    Compiled code receives it as an argument without data and calls its compiled static methods.
    """

    correlated = False  # whether features may be correlated
    ties = False  # whether covariances of several components are tied together, not linearly in coordinates
    keeps = 1  # where covariances are tied together: what one that a search moves keeps: shape (1), all (2), volume (3)
    prior_once = False  # whether a prior counts once for all components together, not for each
    explorable = True  # whether there are coordinates in which a posterior can be sampled
    unexplorable = ""  # why there are none
    lacks: Mapping[str, str] = MappingProxyType({})  # what fits of it do not have, and what to take instead
    follows_rank = False  # whether linearly dependent columns make covariances singular
    closed = True  # whether inverses of members are members
    multiplies = True  # whether products of factors are factors
    starts_dense = False  # whether starts are those of full matrices, then decomposed
    smallest_share = 1e-11  # of a feature's variance: where rounding of unit-variance rows still leaves five digits

    # ---- compiled: the kernel. Places are those of `Layout`
    row_stride: Any  # (n_rows, d): how far features are apart in a block of rows
    n_products: Any  # (d, columns of factors): second moments of a component
    whiten: Any  # (layout, padded, mu, k, precision factors, work): residuals and their squared lengths
    add_moments: Any  # (layout, d, padded, work, weights, z, place): returns the place behind the sums
    unload: Any  # (work, place, second, d): adds up the lanes of second moments; returns the place behind

    @staticmethod
    @allocation_free
    def n_kept(d, n_columns):  # type: ignore[no-untyped-def]
        """Places that what the kernel keeps of a row and a component takes."""
        return d

    # ---- compiled: rows with missing values, see `bayesgmm.mixture.incomplete`. Features: observed ones, then others
    marginalise: Any  # (precision factor, features, n observed, work, marginal's factor, rotations): log |ratio|
    add_expected: Any  # (features, rotations, sums of the marginal, work, first and second moments to add to)

    # ---- compiled: algebra on one block, written into the last argument
    n_alike: Any  # (d): features that one free variance stands for
    multiply: Any  # (factor, vector, product): L x
    multiply_transposed: Any  # (factor, vector, product): Lᵀ x
    add_outer: Any  # (number, a, b, second): number (a bᵀ + b aᵀ) / 2
    add_scale: Any  # (precision factor, scale, second): L^-1 S L^-T
    write_mean_scale: Any  # (precision factors, V^-1, n, scale): n (V^-1 + sum of precisions)^-1; log |inverse|
    write_square: Any  # (factor, block): L Lᵀ
    log_determinant: Any  # (factor, d): log |L|
    trace: Any  # (second)

    # ---- compiled: the M-step and its extrapolation
    write_covariances: Any  # (floors, totals, scatter, now, new, work): all factors from all scatters; how many floored
    write_change: Any  # (precision factor, factor, change): packed coordinates of a factor relative to another
    change_information: Any  # (d, i, j): of one of these coordinates, a row of complete data
    move_factor: Any  # (floors, old, change, factor, precision factor): False where it may be at the floor
    make_members: Any  # (weights, factors, precision factors): in place, the nearest that are tied together

    # ---- compiled: the log posterior
    place: Any  # (centre, packed, C, factor, precision factor): L = L0 C; returns the sum of C's log diagonal
    log_free_sds: Any  # (precision factor): log |L|, or the sum of the free log standard deviations
    mean_gradient: Any  # (C, first, gradient)
    covariance_gradient: Any  # (packed, C, second, total, gradient): with the Jacobian; returns its logarithm

    # ---- compiled: Gibbs sampling
    draw_factor: Any  # (rng, dof, scale, factor, precision factor): of an inverse Wishart, or inverse gammas
    draw_block: Any  # (rng, dof, scale, block): Wishart, or gammas

    # ---- compiled: PyMC's Ops, on full matrices
    factor_shape: Any  # (d): rows and columns
    values_shape: Any  # (blocks given, k, d): blocks and size of unconstrained values
    expand_values: Any  # (values, k, d): packed coordinates of each block
    gradient_of_values: Any  # (gradient by packed coordinates)
    whiten_matrix: Any  # (covariance, precision factor): returns log |L^-1|, NaN if there is none
    matrix_gradient: Any  # (precision factor, count, first, second, by the mean, by the covariance)
    times_root: Any  # (covariance, vector, product): L x
    unpack_matrix: Any  # (values, covariance): returns the log Jacobian
    unpacked_gradient: Any  # (values, by the covariance, by the log Jacobian, gradient)
    log_prior: Any  # (covariance, dof, scale, by the covariance, by the scale)
    draw_covariances: Any  # (rng, dofs, scales, covariances): inverse Wishart, or inverse gamma
    draw_scale: Any  # (rng, dof, scale, drawn): Wishart, or gamma
    log_coincidence: Any  # (shapes): of families of one volume, see `equal_volume`

    # ---- sizes

    @abstractmethod
    def block_shape(self, d: int) -> tuple[int, int]:
        """Rows and columns of a factor."""

    @abstractmethod
    def size(self, d: int) -> int:
        """Free parameters."""

    def n_free(self, k: int, d: int) -> int:
        """Free parameters of k covariances."""
        restriction = self.restriction(k, d) if k > 1 else None
        return k * self.size(d) if restriction is None else restriction.shape[1]

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
        """Blocks with these variances (..., D), or factors with these standard deviations, and no correlations."""

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

    def roots(self, factors: Factors) -> Array:
        """Lower triangular factors of covariances, in the shape of blocks."""
        return factors

    def precision_roots(self, precision_factors: Factors) -> Array:
        """Their inverses."""
        return precision_factors

    def precision_diagonals(self, precision_factors: Factors) -> Array:
        """Diagonals of precisions of full matrices, (..., D)."""
        return np.asarray((precision_factors**2).sum(axis=-2))

    def starting_factors(self, matrices: Covariances) -> Factors:
        """Factors of matrices (..., D, D) near which EM starts."""
        return self.factors(self.blocks(matrices))

    def parts(self, factors: Factors) -> dict[str, Array]:
        """What covariances are made of, by the name that users know it by."""
        return {}

    def fewest_rows(self, d: int) -> float:
        """Rows' worth of weight below which a covariance is not determined."""
        return d + 1.0

    def pass_seconds(self, k: int, d: int, n_rows: int) -> float:
        """Seconds of one core, roughly, of a pass over rows in memory and an M-step: a model of cost, not a clock."""
        return 5e-6 + k * (n_rows * (4e-9 + 4e-10 * d + 5e-11 * d * d) + 2.5e-10 * d**3)

    # ---- members of a family that ties covariances together

    def nearest(self, factors: Factors) -> Factors:
        """Factors (..., k, rows, columns) of members of the family, what is tied together averaged in coordinates."""
        free, d = self.free(self.pack(factors), np), factors.shape[-1]
        restriction = self.restriction(factors.shape[-3], d)
        assert restriction is not None  # noqa: S101  others have a method of their own
        return self.unpack((free @ restriction.T).reshape(*factors.shape[:-2], -1), d)

    def members(self, factors: Factors, weights: Array) -> Factors:
        """The nearest members, by weights (k,), of factors moved in coordinates: they are some if these are linear."""
        return factors

    # ---- coordinates

    @abstractmethod
    def pack(self, factors: Factors) -> Array:
        """Unconstrained coordinates (..., size) of factors: logs of the diagonal; below it the inverse's, negated."""

    @abstractmethod
    def unpack(self, packed: Array, d: int) -> Factors:
        """The inverse of `pack`."""

    @abstractmethod
    def volume_powers(self, d: int) -> Array:
        """p (size,) such that the volume of covariances changes with packed coordinates c as exp(p c)."""

    def restriction(self, k: int, d: int) -> Array | None:
        """R (k * size, free) of the packed coordinates of k factors, linear in what is free; None if all of them are.

        Where there is one, `free` and `nearest` make members of the family of others. The densities of all covariances
        together have another normalizer than those of each: `tied_log_constant` is added to the sum of their
        logarithms.
        """
        return None

    def free(self, packed: Any, arrays: Any) -> Any:
        """What is free in packed coordinates (..., k, size); ``arrays`` is NumPy, or what makes tensors."""
        raise NotImplementedError

    def squares(self, slope: Array, lower: Array) -> Array:
        """tr(G X_a X_b) (size, size) of X (size, D, D), what is not linear in packed coordinates of a factor."""
        return np.asarray(np.einsum("ij,ajk,bki->ab", slope, lower, lower, optimize=True))

    def linear_changes(self, changes: Factors) -> Factors:
        """Relative factors with entries in which, and in logs of the diagonal, the restriction is linear."""
        return changes

    def changes_of_linear(self, linear: Factors) -> Factors:
        """The inverse of `linear_changes`."""
        return linear

    def tied_log_constant(self, dof: Any, d: Any, special: Any) -> Any:
        """By degrees of freedom (..., k), for the same scale of all components, (...).

        ``special`` has the functions of `numbers`, or the same of tensors.
        """
        raise NotImplementedError

    @property
    def numbers(self) -> SimpleNamespace:
        """The special functions that `tied_log_constant` takes, of arrays."""
        return SimpleNamespace(gammaln=gammaln, arange=np.arange)

    def cholesky_values(self, values: Any, arrays: Any) -> Any:
        """Packed Cholesky factors, with logs on the diagonal, of a PyMC model's values (k, size) of each matrix."""
        return values

    def values_of_cholesky(self, packed: Any, arrays: Any) -> Any:
        """The inverse of `cholesky_values`."""
        return packed

    def cholesky_powers(self, d: int) -> Array:
        """Powers (d,) of a Cholesky factor's diagonal in the Jacobian of a matrix by these values."""
        return np.asarray(d + 1.0 - np.arange(d))

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

    def local_changes(self, factors: Factors) -> Array | None:
        """Derivatives (k * size, free) of the coordinates in `basis` by what is free; None if all of them are."""
        return self.restriction(len(factors), factors.shape[-1]) if len(factors) > 1 else None

    def local_curvature(self, factors: Factors, second: Array, totals: Array) -> Array:
        """Second derivatives (free, free) of the objective that come from the bend of what is tied together.

        By default covariances are exponentials of matrices, linear in what is free. ``second`` (k, rows, columns) and
        ``totals`` (k,) are the whitened second moments and numbers of rows.
        """
        changes = self.local_changes(factors)
        assert changes is not None  # noqa: S101  whoever asks has seen that something is tied together
        bent = [self.information(m, n) - self.information(0.5 * m, 0.0) for m, n in zip(second, totals, strict=True)]
        return np.asarray(changes.T @ block_diag(*bent) @ changes)

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


NEGLIGIBLE = 1e-12  # a count below this carries no information on a covariance
COVARIANCE = BehaviourType(Parametrisation)  # in declared signatures: any of them
