"""Priors on weights, means and covariances: frozen numbers, one table of forms, densities with every constant.

Conventions. IW(nu, S) has density proportional to |Sigma|^-(nu+d+1)/2 exp(-tr(S Sigma^-1)/2) and mean
S / (nu-d-1). Diagonal families take the matching sigma2_kj ~ IG(nu/2, S_jj/2), spherical ones
sigma2_k ~ IG(nu/2, tr(S)/2d); tied families have one covariance with one such prior. Each of these vanishes
exponentially at zero, so that ties in rounded data cannot pull posterior mass into spikes.
"""

import warnings
from dataclasses import dataclass
from math import lgamma, log, pi
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, multigammaln

from bayesgmm.ground.families import CovarianceFamily, covariance_family
from bayesgmm.ground.hyperpriors import Gamma, Wishart
from bayesgmm.ground.kernel import DIAGONAL, FULL
from bayesgmm.ground.mixture import Mixture
from bayesgmm.words.arrays import Array, PerRow
from bayesgmm.words.checks import as_covariance, as_finite, as_positive, as_row_weights, as_rows
from bayesgmm.words.errors import InputError

NORMAL_INVERSE_WISHART, INDEPENDENT = "normal_inverse_wishart", "independent"
_USABLE_CONDITION = 1e10


@dataclass(frozen=True)
class Prior:
    r"""A prior for Gaussian mixtures; build one with a class method.

    Every hyperparameter is a number or array, shared by all components or with a leading cluster axis.

    Parameters
    ----------
    form : str
        ``"normal_inverse_wishart"``: :math:`\mu_k \mid \Sigma_k \sim N(m, \Sigma_k / \kappa)`, or
        ``"independent"``: :math:`\mu_k \sim N(m, B)`.
    concentration : number or (cluster,)
        Dirichlet parameter of the weights. Below half the number of parameters of a component it empties
        surplus components as rows increase, above it makes them overlap (Rousseau & Mengersen 2011).
    mean : (feature,) or (cluster, feature)
        Prior mean of the component means.
    dof, scale : number or (cluster,); (feature, feature) or (cluster, feature, feature)
        Inverse-Wishart degrees of freedom, above D - 1, and scale matrix.
    kappa : number or (cluster,), only for ``"normal_inverse_wishart"``
        How many rows the prior mean is worth.
    mean_covariance : (feature, feature) or (cluster, feature, feature), only for ``"independent"``
        Prior covariance of the component means.
    scale_prior : Wishart, optional
        Where the scale S, the same for all components, is itself drawn from a distribution; ``scale`` is its mean.
    concentration_prior : Gamma, optional
        Where the concentration, the same for all components, is; ``concentration`` is its mean.

    Examples
    --------
    >>> from bayesgmm import Prior
    >>> Prior.independent(
    ...     concentration=1, mean=[0.0], mean_covariance=[[100.0]], dof=3, scale=[[1.0]]
    ... ).exchangeable
    True
    """

    form: str
    concentration: Array
    mean: Array
    dof: Array
    scale: Array
    kappa: Array | None = None
    mean_covariance: Array | None = None
    scale_prior: Wishart | None = None
    concentration_prior: Gamma | None = None

    @classmethod
    def normal_inverse_wishart(
        cls,
        *,
        mean: ArrayLike,
        kappa: ArrayLike,
        dof: ArrayLike,
        scale: ArrayLike,
        concentration: ArrayLike = 1.0,
    ) -> Self:
        r"""Conjugate: :math:`\Sigma_k \sim IW(\nu, S)`, :math:`\mu_k \mid \Sigma_k \sim N(m, \Sigma_k/\kappa)`."""
        m, common = _checked(concentration, mean, dof, scale)
        return cls(
            NORMAL_INVERSE_WISHART, mean=m, kappa=as_positive(kappa, name="kappa"), mean_covariance=None, **common
        )

    @classmethod
    def independent(
        cls,
        *,
        mean: ArrayLike,
        mean_covariance: ArrayLike,
        dof: ArrayLike,
        scale: ArrayLike,
        concentration: ArrayLike = 1.0,
    ) -> Self:
        r"""Means independent of covariances: :math:`\mu_k \sim N(m, B)`, :math:`\Sigma_k \sim IW(\nu, S)`."""
        m, common = _checked(concentration, mean, dof, scale)
        b = as_covariance(mean_covariance, n_features=m.shape[-1], name="mean_covariance")
        return cls(INDEPENDENT, mean=m, kappa=None, mean_covariance=b, **common)

    @classmethod
    def weakly_informative(
        cls, X: ArrayLike, *, concentration: ArrayLike = 1.0, sample_weight: ArrayLike | None = None
    ) -> Self:
        r"""The default, scaled by the data: affine equivariant, the same for every K.

        :math:`w \sim Dir(1)`, :math:`\mu_k \sim N(\bar x, 4\,cov(X))`, :math:`\Sigma_k \sim IW(d+2, cov(X)/10)`,
        so that :math:`E\,\Sigma_k = cov(X)/10` with the weight of about one observation. (A scale of cov(X)
        itself is not weak: the spread between clusters inflates it.) A singular cov(X) gets the smallest
        ridge that makes it usable, and a warning. ``sample_weight`` (obs,) are frequency weights.

        Examples
        --------
        >>> from bayesgmm import Prior
        >>> Prior.weakly_informative([[1.0], [2.0], [3.0]]).scale
        array([[0.1]])
        """
        X = as_rows(X)
        mean, cov = _moments(X, as_row_weights(sample_weight, len(X), name="sample_weight"))
        return cls.independent(
            concentration=concentration,
            mean=mean,
            mean_covariance=4.0 * cov,
            dof=X.shape[1] + 2.0,
            scale=cov / 10.0,
        )

    @classmethod
    def fraley_raftery(
        cls,
        X: ArrayLike,
        n_components: int,
        *,
        covariance_type: str = "full",
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        r"""mclust's ``priorControl()`` (Fraley & Raftery 2007); its scale changes with K.

        :math:`\kappa = 0.01`, m the column means, :math:`\nu = d + 2`, :math:`S = var(X)/K^{2/d}`, where
        diagonal and spherical families take the mean of the variances. ``sample_weight`` (obs,) are frequency
        weights.
        """
        X = as_rows(X)
        d = X.shape[1]
        mean, cov = _moments(X, as_row_weights(sample_weight, len(X), name="sample_weight"))
        if covariance_family(covariance_type, d).residual != FULL:
            cov = np.eye(d) * np.diagonal(cov).mean()
        return cls.normal_inverse_wishart(mean=mean, kappa=0.01, dof=d + 2.0, scale=cov / n_components ** (2.0 / d))

    @property
    def n_features(self) -> int:
        """D."""
        return self.mean.shape[-1]

    @property
    def exchangeable(self) -> bool:
        """Whether all components share their hyperparameters, so that labels carry no meaning."""
        pairs = ((self.concentration, 0), (self.mean, 1), (self.dof, 0), (self.scale, 2))
        pairs += ((self.kappa, 0), (self.mean_covariance, 2))  # type: ignore[assignment]
        return all(a is None or a.ndim == base or bool((a == a[:1]).all()) for a, base in pairs)

    def resolve(self, n_components: int, n_features: int, covariance_type: str = "full") -> "ResolvedPrior":
        """Broadcast the hyperparameters to K components and to the blocks of a family; check that they fit."""
        return _resolve(self, n_components, n_features, covariance_family(covariance_type, n_features))

    def log_prob(self, mixture: Mixture) -> float:
        """Log density of a mixture's parameters in their natural coordinates, every constant included."""
        shape = (mixture.n_components, mixture.n_features)
        return self.resolve(*shape, mixture.covariance_type).log_prob(mixture)


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
    log_constant : float
        Log density less the terms that change with the parameters.
    """

    covariance_type: str
    concentration: Array
    mean: Array
    kappa: Array
    mean_precision: Array
    dof: Array
    scale: Array
    log_constant: float

    @property
    def covariance_exponent(self) -> Array:
        """Twice the power of |Sigma|^-1 (or of 1/sigma2) in the covariance prior, per block."""
        d = self.mean.shape[1]
        return self.dof + (d + 1.0 if covariance_family(self.covariance_type).residual == FULL else 2.0)

    def log_prob(self, mixture: Mixture) -> float:
        """Log density in natural coordinates."""
        family = mixture.family
        d = mixture.n_features
        prec = mixture.precision_factors
        log_det = family.log_precision_determinants(prec, d)  # log |L^-1| per block
        if family.residual == FULL:
            trace = np.einsum("gij,gjk,gik->g", prec, self.scale, prec)
            power = log_det
        else:
            trace = (self.scale * prec**2).sum(axis=(1, 2))
            power = np.log(prec).sum(axis=(1, 2))
        total = (self.covariance_exponent * power - 0.5 * trace).sum()
        deviation = mixture.means - self.mean
        whitened = np.einsum("kij,kj->ki", _full_precision(mixture), deviation)
        total += (0.5 * self._conjugate * (2.0 * log_det - self.kappa * (whitened**2).sum(axis=1))).sum()
        total -= 0.5 * np.einsum("ki,kij,kj->", deviation, self.mean_precision, deviation)
        total += ((self.concentration - 1.0) * np.log(mixture.weights)).sum()
        return float(total + self.log_constant)

    @property
    def _conjugate(self) -> Array:
        return (self.kappa > 0).astype(np.float64)


def _full_precision(mixture: Mixture) -> Array:
    prec, k, d = mixture.precision_factors, mixture.n_components, mixture.n_features
    full = prec if mixture.family.residual == FULL else prec[..., 0, :, None] * np.eye(d)
    return np.broadcast_to(full, (k, d, d))


def _checked(concentration: ArrayLike, mean: ArrayLike, dof: ArrayLike, scale: ArrayLike) -> tuple[Array, dict]:
    m = as_finite(mean, name="mean")
    m = m.reshape(1) if m.ndim == 0 else m
    if m.ndim > 2:
        raise InputError(expected="mean with shape (feature,) or (cluster, feature)", got=f"shape {m.shape}")
    d = m.shape[-1]
    nu = as_positive(dof, name="dof")
    if nu.min() <= d - 1:
        raise InputError(expected=f"dof > {d - 1} (the number of features less one)", got=f"{dof}")
    return m, {
        "concentration": as_positive(concentration, name="concentration"),
        "dof": nu,
        "scale": as_covariance(scale, n_features=d, name="scale"),
    }


def _resolve(prior: Prior, k: int, d: int, family: CovarianceFamily) -> ResolvedPrior:
    if prior.n_features != d:
        raise InputError(expected=f"a prior for {d} features", got=f"one for {prior.n_features}")
    g = family.n_blocks(k)
    alpha = _broadcast(prior.concentration, (k,), "concentration")
    mean = _broadcast(prior.mean, (k, d), "mean")
    dof = _broadcast(prior.dof, (g,), "dof")
    scale = _broadcast(prior.scale, (g, d, d), "scale")
    if family.residual != FULL:
        scale = np.diagonal(scale, axis1=1, axis2=2)[:, None, :].copy()
        scale = scale if family.residual == DIAGONAL else scale.mean(axis=2, keepdims=True)
    kappa, mean_precision = np.zeros(k), np.zeros((k, d, d))
    constant = lgamma(alpha.sum()) - float(gammaln(alpha).sum()) - 0.5 * k * d * log(2 * pi)
    if prior.kappa is not None:
        kappa = _broadcast(prior.kappa, (k,), "kappa")
        constant += 0.5 * d * float(np.log(kappa).sum())
    else:
        assert prior.mean_covariance is not None  # noqa: S101  the constructors see to it
        mean_covariance = _broadcast(prior.mean_covariance, (k, d, d), "mean_covariance")
        mean_precision = np.linalg.inv(mean_covariance)
        constant -= 0.5 * float(np.linalg.slogdet(mean_covariance)[1].sum())
    constant += _covariance_constant(dof, scale, d, family)
    return ResolvedPrior(family.name, alpha, mean, kappa, mean_precision, dof, scale, constant)


def _covariance_constant(dof: Array, scale: Array, d: int, family: CovarianceFamily) -> float:
    half = 0.5 * dof
    if family.residual == FULL:
        log_det = np.linalg.slogdet(scale)[1]
        return float((half * log_det - half * d * log(2.0) - multigammaln(half, d)).sum())
    per_variance = half[:, None] * np.log(0.5 * scale[:, 0, :]) - gammaln(half)[:, None]
    return float(per_variance.sum())


def _broadcast(value: Array, shape: tuple[int, ...], name: str) -> Array:
    try:
        return np.ascontiguousarray(np.broadcast_to(value, shape))
    except ValueError:
        raise InputError(
            expected=f"{name} that fits shape {shape}",
            got=f"shape {value.shape}",
            hint="Tied covariances have one prior for all components." if shape[0] == 1 else "",
        ) from None


def _moments(X: Array, row_weights: PerRow | None) -> tuple[Array, Array]:
    """Mean and sample covariance, with the smallest ridge that makes it usable if it is singular."""
    v = np.ones(len(X)) if row_weights is None else row_weights
    n = v.sum()
    mean = np.average(X, axis=0, weights=v)
    deviation = X - mean
    cov = (deviation * v[:, None]).T @ deviation / (n - 1.0) if n > 1 else np.zeros((X.shape[1],) * 2)
    return mean, _usable(cov, f"{n:g} identical rows")


def _usable(cov: Array, rows: str) -> Array:
    """The covariance, with a ridge if it is singular."""
    variances = np.diagonal(cov)
    if variances.max() <= 0:
        raise InputError(expected="data that vary", got=rows, hint="Give a prior with numbers of your own.")
    scale = np.sqrt(np.where(variances > 1e-14 * variances.max(), variances, variances.max()))
    correlation = cov / np.outer(scale, scale)
    eigenvalues = np.linalg.eigvalsh(correlation)
    ridge = eigenvalues[-1] / _USABLE_CONDITION - eigenvalues[0]
    if ridge <= 0:
        return cov
    warnings.warn(
        f"The covariance of the data is singular; a ridge of {ridge:.1e} of each variance was added to the prior's "
        "scale. Constant or linearly dependent columns carry no information: consider dropping them.",
        stacklevel=4,
    )
    return cov + ridge * np.diag(scale**2)
