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
from scipy.special import gammaln

from bayesgmm._common import Array, Covariances, Factors, IntArray, Means, Weights
from bayesgmm.mixture import CovarianceFamily, Draws, Mixture, Parametrisation
from bayesgmm.priors.concentrations import (
    SMALLEST_WEIGHT,
    concentration_nodes,
    draw_concentrations,
    draw_log_gammas,
    log_marginal,
    mean_concentration,
)
from bayesgmm.priors.hyperpriors import Gamma, Separation, Wishart


@dataclass(frozen=True)
class ResolvedPrior:
    """A prior laid out for K components and one family: what EM and the log posterior compute with.

    Attributes
    ----------
    family : CovarianceFamily
    exchangeable : bool
        Whether all components share their hyperparameters, so that labels carry no meaning.
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

    family: CovarianceFamily
    exchangeable: bool
    concentration: Array
    mean: Array
    kappa: Array
    mean_precision: Array
    dof: Array
    scale: Array
    scale_prior: Wishart | None = None
    separation: Separation | None = None
    concentration_prior: Gamma | None = None

    @property
    def _one(self) -> Parametrisation:
        """The parametrisation of one covariance."""
        return self.family.parametrisation

    @property
    def inverse_wishart(self) -> Self:
        """The same with hyperparameters fixed at their means, and an inverse-Wishart in the place of a separation."""
        return replace(self, scale_prior=None, separation=None, concentration_prior=None)

    def with_pseudo_rows(self, factor: float) -> Self:
        """The same with so many times the pseudo-rows of covariances, which stay as large as they were."""
        scale_prior, separation = self.scale_prior, self.separation
        if scale_prior is not None:
            scale_prior = replace(scale_prior, scale=factor * scale_prior.scale)
        if separation is not None:
            shape, scale = factor * separation.variance_shape, factor * separation.variance_scale
            separation = replace(separation, variance_shape=shape, variance_scale=scale)
        return replace(
            self,
            dof=factor * self.dof,
            scale=factor * self.scale,
            scale_prior=scale_prior,
            separation=separation,
        )

    def of_components(self, which: IntArray) -> Self:
        """The prior of a mixture of some of the components, each as often as it is named."""
        blocks = which[:1] * 0 if self.family.shared else which
        return replace(
            self,
            concentration=self.concentration[which],
            mean=self.mean[which],
            kappa=self.kappa[which],
            mean_precision=self.mean_precision[which],
            dof=self.dof[blocks],
            scale=self.scale[blocks],
        )

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
    def share(self) -> float:
        """How often each covariance has the prior: less than once where all together have it."""
        return 1.0 / len(self.dof) if self._one.prior_once else 1.0

    @property
    def covariance_exponent(self) -> Array:
        """Twice the power of |Sigma|^-1 (or of 1/sigma2) in the covariance prior, per block."""
        if self.separation is not None:
            return np.full_like(self.dof, -2.0 * (self.separation.eta - 1.0))
        return self.share * (self.dof + self._one.prior_power(self.mean.shape[1]))

    @cached_property
    def scale_precision(self) -> Array:
        """V^-1 of a scale that has a prior, in its family's shape (1, rows, columns); no rows if it has none."""
        if self.scale_prior is None:
            return np.empty((0, *self.scale.shape[1:]))
        return self._one.inverse(self._scale_of_scale)

    @property
    def _scale_of_scale(self) -> Array:
        assert self.scale_prior is not None  # noqa: S101  asked for there only
        return self._one.blocks(self.scale_prior.scale[None])

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
        if self.separation is not None:
            return len(self.dof) * self.separation.log_constant
        d, tied = self.mean.shape[1], 0.0
        if not self._one.explorable:
            return 0.0  # not known in closed form: densities are compared within the family only
        if self.family.restriction(*self.mean.shape) is not None:
            tied = float(self._one.tied_log_constant(self.dof, d, self._one.numbers))
        if self.scale_prior is not None:
            return tied + self._one.marginal_log_normaliser(self.dof, self.scale_prior.dof, self._scale_of_scale[0])
        return tied + float(self._one.log_normaliser(self.dof, self.scale, d).sum())

    def log_prob(self, mixture: Mixture) -> float:
        """Log density in natural coordinates, hyperparameters that have a prior integrated out."""
        return float(self._log_density(mixture.weights, mixture.means, mixture.precision_factors))

    def log_density(self, weights: Weights, means: Means, covariances: Covariances) -> Array:
        """The same for many points (..., cluster), (..., cluster, feature) and full matrices, (...)."""
        return self._log_density(weights, means, self.precision_factors(covariances))

    def log_density_of(self, draws: Draws) -> Array:
        """The same for draws, (sample,)."""
        return self._log_density(draws.weights, draws.means, draws.precision_factors)

    def precision_factors(self, covariances: Covariances) -> Factors:
        """Inverse factors (..., block, rows, columns) of full matrices (..., cluster, feature, feature)."""
        return self._one.precision_factors(covariances[..., : len(self.dof), :, :])

    def log_volume(self, mixture: Mixture, counts: Weights) -> float:
        r"""Log of the mass of the posterior around a mode over its height there, in natural coordinates.

        .. math:: \log \int p(\theta \mid z)\, d\theta - \log p(\hat\theta \mid z)

        for complete data z with the expected ``counts`` (cluster,) of rows, whose posterior has that mode (Cheeseman &
        Stutz 1996). Heights alone mislead: they depend on the coordinates, and a component of one row is high and
        narrow. Hyperparameters that have a prior stand at their means, a separation prior at what resembles it.
        """
        (k, d), one, prec = mixture.means.shape, self._one, mixture.precision_factors
        total = self.concentration + counts
        of_weights = float(gammaln(total).sum()) - lgamma(total.sum())
        of_weights -= float((total - (not self.sparse)) @ _log_weights(mixture.weights))
        log_det = np.broadcast_to(self.family.log_precision_determinants(prec, d), k)
        if self.kappa.any():
            of_means = -0.5 * d * np.log(self.kappa + counts) - log_det
        else:
            square = one.square(np.broadcast_to(mixture.factors, (k, *mixture.factors.shape[1:])), d)
            within = np.swapaxes(square, -1, -2) @ self.mean_precision @ square  # in units of the component
            of_means = -0.5 * np.linalg.slogdet(within + counts[:, None, None] * np.eye(d))[1] - log_det
        rows = counts.sum(keepdims=True) if self.family.shared else counts
        dof = self.dof + one.width(d) * rows
        exponent = dof + one.prior_power(d)
        width = one.width(d) * (self.kappa > 0).sum() / len(self.dof)  # what conjugate means add to the exponent
        scale = (exponent + width)[:, None, None] * one.blocks(one.matrices(mixture.factors, d))
        of_covariances = 0.5 * (exponent + width) * (d // one.width(d)) - exponent * one.power(prec, d)
        of_covariances -= one.log_normaliser(dof, scale, d)
        return float(of_weights + 0.5 * k * d * log(2 * pi) + of_means.sum() + of_covariances.sum())

    def _log_density(self, weights: Weights, means: Means, prec: Factors) -> Array:
        log_det = self.family.log_precision_determinants(prec, means.shape[-1])  # log |L^-1| per block
        power = self._one.power(prec, means.shape[-1])
        total = (self.covariance_exponent * power).sum(axis=-1) + self._log_shape(prec)
        deviation = means - self.mean
        whitened = _times(self._one.square(prec, means.shape[-1]), deviation)
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
        """Roots of the scales that count (block, rows, columns), for the same reason."""
        return self._one.scale_roots(self.share * self.scale)

    def _log_shape(self, prec: Factors) -> Array:
        """What the density of the covariances has besides powers of their determinants, (...)."""
        if self.separation is not None:
            power, scale = self.variance_terms[0]
            variances = (np.linalg.inv(prec) ** 2).sum(axis=-1)
            return -(power * np.log(variances) + scale / variances).sum(axis=(-2, -1))
        if self.scale_prior is not None:
            return -0.5 * self.scale_count[0] * self._one.scale_log_determinants(self.sum_of_precisions(prec))
        return np.asarray(-0.5 * np.square(self._one.product(prec, self._scale_roots)).sum(axis=(-3, -2, -1)))

    def sum_of_precisions(self, prec: Factors) -> Array:
        """V^-1 + sum_g Sigma_g^-1 of a scale with a prior, in its family's shape (..., rows, columns)."""
        return self.scale_precision[0] + self._one.precisions(prec).sum(axis=-3)

    def hyperparameters_given(self, weights: Weights, prec: Factors, *, rng: np.random.Generator) -> dict[str, Array]:
        """Draws of the hyperparameters that have a prior, see `Prior.hyperparameters_given`; by inverse factors."""
        drawn = {}
        if self.scale_prior is not None:
            drawn["prior_scale"] = self._draw_scales(prec, rng)
        if self.concentration_prior is not None:
            drawn["prior_concentration"] = draw_concentrations(self.concentration_prior, weights, rng=rng)
        return drawn

    def model_variables_given(self, weights: Weights, prec: Factors, *, rng: np.random.Generator) -> dict[str, Array]:
        """Draws of what the PyMC model has besides the parameters, see `Prior.model_variables_given`."""
        drawn = self.hyperparameters_given(weights, prec, rng=rng)
        if self.sparse:
            total = weights.shape[-1] * drawn.get("prior_concentration", np.asarray(self.concentration.mean()))
            drawn["log_gammas"] = draw_log_gammas(total, weights, rng=rng)
        return drawn

    def _draw_scales(self, prec: Factors, rng: np.random.Generator) -> Array:
        """Draws of S given inverse factors of each point (..., block, rows, columns), (..., feature, feature)."""
        inner = self.sum_of_precisions(prec)
        counts = np.full(inner.shape[:-2], self.scale_count[0])
        drawn = self._one.draw_wisharts(counts, self._one.inverse(inner), rng)
        return self._one.square(drawn, self.mean.shape[1])


def _log_weights(weights: Weights) -> Array:
    return np.asarray(np.log(np.maximum(weights, SMALLEST_WEIGHT)))


def _times(matrices: Array, vectors: Array) -> Array:
    return np.asarray((matrices @ vectors[..., None])[..., 0])
