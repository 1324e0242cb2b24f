"""A prior resolved for K components and one family, hyperparameters integrated out.

Scales. With S ~ Wishart(n, V) common to all G covariances and Sigma_g | S ~ IW(nu_g, S), integrating over S leaves

    |V^-1 + sum_g Sigma_g^-1|^-(N/2) prod_g |Sigma_g|^-(nu_g+d+1)/2,   N = n + sum_g nu_g.

As log p(Sigma | S) is linear in S, its gradient is that with a fixed scale in the place of which stands the conditional
mean of S, N (V^-1 + sum_g Sigma_g^-1)^-1 (Fisher's identity). Diagonal families have the same for each feature with
s_j ~ V_jj chi2_n, spherical ones for the one s ~ (tr V / d) chi2_n.

Separation. Sigma_g = D R D with variances v_j ~ IG(a_j, b_j) and R ~ LKJ(eta): on the lower triangle of Sigma

    |Sigma|^(eta-1) prod_j v_j^-c_j exp(-b_j / v_j),   c_j = eta + a_j + (d-1)/2.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import lgamma, log, pi
from typing import Self

import numpy as np
from scipy.special import gammaln, multigammaln

from bayesgmm._common import Array, Covariances, Factors, Means, Weights
from bayesgmm.mixture import DIAGONAL, FULL, CovarianceFamily, Mixture, covariance_family
from bayesgmm.priors.concentrations import SMALLEST_WEIGHT, concentration_nodes, log_marginal, mean_concentration
from bayesgmm.priors.hyperpriors import Gamma, Separation, Wishart


@dataclass(frozen=True)
class ResolvedPrior:
    """A prior laid out for K components and one family: what EM and the log posterior compute with.

    Attributes
    ----------
    concentration : (cluster,)
    mean : (cluster, feature)
    kappa : (cluster,)
        Zeros when the means are independent of the covariances.
    mean_precision : (cluster, feature, feature)
        Inverse prior covariance of the means; zeros for the conjugate form.
    dof : (block,)
    scale : (block, rows, columns)
        S for full residuals, its diagonal for diagonal ones, tr(S)/D for spherical ones.
    scale_prior : Wishart, optional
        Where S is drawn from a distribution; ``scale`` is its mean.
    separation : Separation, optional
        Where covariances are no inverse-Wishart; ``dof`` and ``scale`` are those of one that resembles it.
    concentration_prior : Gamma, optional
        Where the concentration is drawn from a distribution; ``concentration`` is its mean.
    """

    covariance_type: str
    concentration: Array
    mean: Array
    kappa: Array
    mean_precision: Array
    dof: Array
    scale: Array
    scale_prior: Wishart | None = None
    separation: Separation | None = None
    concentration_prior: Gamma | None = None

    @cached_property
    def family(self) -> CovarianceFamily:
        """The row of the family table."""
        return covariance_family(self.covariance_type)

    @property
    def inverse_wishart(self) -> Self:
        """The same with hyperparameters fixed at their means, and an inverse-Wishart in the place of a separation."""
        return replace(self, scale_prior=None, separation=None, concentration_prior=None)

    @property
    def sparse(self) -> bool:
        """Whether weights may come close to zero, or have no mode on the simplex: then their logarithms are used."""
        below_one = self.concentration_prior is not None or bool(self.concentration.min() < 1.0)
        return below_one and len(self.concentration) > 1

    @cached_property
    def concentration_nodes(self) -> Array:
        """Values and log weights (2, node) of a concentration that has a prior; no nodes if it has none."""
        if self.concentration_prior is None:
            return np.empty((2, 0))
        return concentration_nodes(self.concentration_prior, len(self.concentration))

    def concentration_given(self, weights: Weights) -> Array:
        """The concentration (cluster,), or its mean given the weights (cluster,) if it has a prior."""
        if self.concentration_prior is None:
            return self.concentration
        total = _log_weights(weights).sum()
        return np.full(len(self.concentration), mean_concentration(self.concentration_nodes, total))

    @property
    def covariance_exponent(self) -> Array:
        """Twice the power of |Sigma|^-1 (or of 1/sigma2) in the covariance prior, per block."""
        if self.separation is not None:
            return np.full_like(self.dof, -2.0 * (self.separation.eta - 1.0))
        return self.dof + (self.mean.shape[1] + 1.0 if self.family.residual == FULL else 2.0)

    @cached_property
    def scale_precision(self) -> Array:
        """V^-1 of a scale that has a prior, in its family's shape (1, rows, columns); no rows if it has none."""
        if self.scale_prior is None:
            return np.empty((0, *self.scale.shape[1:]))
        scale = self._scale_of_scale
        return np.linalg.inv(scale) if self.family.residual == FULL else 1.0 / scale

    @property
    def _scale_of_scale(self) -> Array:
        assert self.scale_prior is not None  # noqa: S101  asked for there only
        return in_shape_of_family(self.scale_prior.scale[None], self.family)

    @property
    def scale_count(self) -> Array:
        """N, (1,); empty if the scale has no prior."""
        return np.empty(0) if self.scale_prior is None else np.array([self.scale_prior.dof + self.dof.sum()])

    @property
    def variance_terms(self) -> Array:
        """Powers c_j and scales b_j (1, 2, feature) of a separation prior's variances; no rows if it is none."""
        d = self.mean.shape[1]
        if self.separation is None:
            return np.empty((0, 2, d))
        shape, scale, eta = self.separation.variance_shape, self.separation.variance_scale, self.separation.eta
        return np.stack([shape + eta + 0.5 * (d - 1), scale])[None]

    @cached_property
    def log_constant(self) -> float:
        """Log density less the terms that change with the parameters."""
        k, d = self.mean.shape
        constant = -0.5 * k * d * log(2 * pi)
        if self.concentration_prior is None:
            constant += lgamma(self.concentration.sum()) - float(gammaln(self.concentration).sum())
        if self.kappa.any():
            constant += 0.5 * d * float(np.log(self.kappa).sum())
        else:
            constant += 0.5 * float(np.linalg.slogdet(self.mean_precision)[1].sum())
        return constant + self._covariance_constant

    @property
    def _covariance_constant(self) -> float:
        d, half = self.mean.shape[1], 0.5 * self.dof
        if self.separation is not None:
            return len(half) * self.separation.log_constant
        if self.scale_prior is not None:
            return _marginal_constant(self, self.scale_prior.dof)
        if self.family.residual == FULL:
            log_det = np.linalg.slogdet(self.scale)[1]
            return float((half * log_det - half * d * log(2.0) - multigammaln(half, d)).sum())
        per_variance = half[:, None] * np.log(0.5 * self.scale[:, 0, :]) - gammaln(half)[:, None]
        return float(per_variance.sum())

    def log_prob(self, mixture: Mixture) -> float:
        """Log density in natural coordinates, hyperparameters that have a prior integrated out."""
        return float(self._log_density(mixture.weights, mixture.means, mixture.precision_factors))

    def log_density(self, weights: Weights, means: Means, covariances: Covariances) -> Array:
        """The same for many points (..., cluster), (..., cluster, feature) and full matrices, (...)."""
        return self._log_density(weights, means, self.precision_factors(covariances))

    def precision_factors(self, covariances: Covariances) -> Factors:
        """Inverse factors (..., block, rows, columns) of full matrices (..., cluster, feature, feature)."""
        blocks = covariances[..., : len(self.dof), :, :]
        if self.family.residual == FULL:
            return np.linalg.inv(np.linalg.cholesky(blocks))
        variances = np.diagonal(blocks, axis1=-2, axis2=-1)[..., None, :]
        return 1.0 / np.sqrt(variances if self.family.residual == DIAGONAL else variances[..., :1])

    def _log_density(self, weights: Weights, means: Means, prec: Factors) -> Array:
        log_det = self.family.log_precision_determinants(prec, means.shape[-1])  # log |L^-1| per block
        power = log_det if self.family.residual == FULL else np.log(prec).sum(axis=(-2, -1))
        total = (self.covariance_exponent * power).sum(axis=-1) + self._log_shape(prec)
        deviation = means - self.mean
        whitened = _times(self._full(prec), deviation)
        conjugate = 0.5 * (self.kappa > 0)
        total += (conjugate * (2.0 * log_det - self.kappa * (whitened**2).sum(axis=-1))).sum(axis=-1)
        total -= 0.5 * np.square(_times(self._mean_precision_roots, deviation)).sum(axis=(-2, -1))
        return np.asarray(total + self._log_density_of_weights(_log_weights(weights)) + self.log_constant)

    def _log_density_of_weights(self, log_weights: Array) -> Array:
        if self.concentration_prior is not None:
            return log_marginal(self.concentration_nodes, log_weights.sum(axis=-1))
        return np.asarray(((self.concentration - 1.0) * log_weights).sum(axis=-1))

    @cached_property
    def _mean_precision_roots(self) -> Factors:
        """R with Rᵀ R = mean_precision (cluster, feature, feature): |R x|² keeps digits that xᵀ (P x) cancels."""
        if self.kappa.any():
            return np.zeros(self.mean_precision.shape)
        return np.swapaxes(np.linalg.cholesky(self.mean_precision), -1, -2)

    @cached_property
    def _scale_roots(self) -> Factors:
        """Cholesky factors of the scales (block, feature, feature) of full families, for the same reason."""
        return np.linalg.cholesky(self.scale)

    def _full(self, prec: Factors) -> Factors:
        return prec if self.family.residual == FULL else prec[..., 0, :, None] * np.eye(self.mean.shape[1])

    def _log_shape(self, prec: Factors) -> Array:
        """What the density of the covariances has besides powers of their determinants, (...)."""
        if self.separation is not None:
            power, scale = self.variance_terms[0]
            variances = (np.linalg.inv(prec) ** 2).sum(axis=-1)
            return -(power * np.log(variances) + scale / variances).sum(axis=(-2, -1))
        if self.scale_prior is not None:
            return -0.5 * self.scale_count[0] * _log_det(self.sum_of_precisions(prec), self.family)
        if self.family.residual == FULL:
            return np.asarray(-0.5 * np.square(prec @ self._scale_roots).sum(axis=(-3, -2, -1)))
        return np.asarray(-0.5 * (self.scale * prec**2).sum(axis=(-3, -2, -1)))

    def sum_of_precisions(self, prec: Factors) -> Array:
        """V^-1 + sum_g Sigma_g^-1 of a scale with a prior, in its family's shape (..., rows, columns)."""
        squares = np.swapaxes(prec, -1, -2) @ prec if self.family.residual == FULL else prec**2
        return self.scale_precision[0] + squares.sum(axis=-3)

    def draw_scales(self, covariances: Covariances, *, rng: np.random.Generator) -> Array:
        """Draws of S given the covariances of each point (..., cluster, feature, feature), (..., feature, feature)."""
        inner, count = self.sum_of_precisions(self.precision_factors(covariances)), self.scale_count[0]
        d = self.mean.shape[1]
        if self.family.residual != FULL:
            scales = rng.chisquare(count, inner.shape) / inner
            return scales[..., 0, :, None] * np.eye(d)
        lower = np.tril(rng.standard_normal(inner.shape), -1)  # Bartlett
        lower[..., np.arange(d), np.arange(d)] = np.sqrt(rng.chisquare(count - np.arange(d), inner.shape[:-1]))
        factor = np.swapaxes(np.linalg.inv(np.linalg.cholesky(inner)), -1, -2) @ lower
        return factor @ np.swapaxes(factor, -1, -2)


def _log_weights(weights: Weights) -> Array:
    return np.asarray(np.log(np.maximum(weights, SMALLEST_WEIGHT)))


def in_shape_of_family(scale: Array, family: CovarianceFamily) -> Array:
    """Scales (block, feature, feature) as `ResolvedPrior` has them."""
    if family.residual == FULL:
        return scale
    diagonal = np.diagonal(scale, axis1=1, axis2=2)[:, None, :].copy()
    return diagonal if family.residual == DIAGONAL else diagonal.mean(axis=2, keepdims=True)


def _marginal_constant(prior: ResolvedPrior, n: float) -> float:
    """That of covariances whose scale is integrated out."""
    half, half_count, v = 0.5 * prior.dof, 0.5 * float(prior.scale_count[0]), prior._scale_of_scale[0]
    log_det = float(_log_det(v, prior.family))
    if prior.family.residual == FULL:
        d = len(v)
        gammas = multigammaln(half_count, d) - multigammaln(0.5 * n, d) - float(multigammaln(half, d).sum())
        return gammas - 0.5 * n * log_det
    per_variance = lgamma(half_count) - lgamma(0.5 * n) - float(gammaln(half).sum())
    return v.size * per_variance - 0.5 * n * log_det


def _log_det(matrices: Array, family: CovarianceFamily) -> Array:
    """Log determinant of full matrices, or sum of logarithms of diagonals."""
    if family.residual == FULL:
        return np.asarray(np.linalg.slogdet(matrices)[1])
    return np.asarray(np.log(matrices).sum(axis=(-2, -1)))


def _times(matrices: Array, vectors: Array) -> Array:
    return np.asarray((matrices @ vectors[..., None])[..., 0])
