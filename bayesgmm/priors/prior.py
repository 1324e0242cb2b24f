"""`Prior`: prior distributions of weights, means and covariances.

Conventions. IW(nu, S) has density proportional to |Sigma|^-(nu+d+1)/2 exp(-tr(S Sigma^-1)/2) and mean
S / (nu-d-1). Diagonal families take the matching sigma2_kj ~ IG(nu/2, S_jj/2), spherical ones
sigma2_k ~ IG(nu/2, tr(S)/2d); tied families have one covariance with one such prior. Each of these vanishes
exponentially at zero, so that ties in rounded data cannot pull posterior mass into spikes.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, Covariances, Weights, counted, listed, shown
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import FAMILIES, CovarianceFamily, Equivariance, Mixture, covariance_family
from bayesgmm.priors.data_scale import column_medians, column_ranges, counted_rows, moments
from bayesgmm.priors.hyperpriors import Gamma, Separation, Wishart
from bayesgmm.priors.resolved import ResolvedPrior
from bayesgmm.validation import as_covariance, as_finite, as_positive, check_whole

NORMAL_INVERSE_WISHART, INDEPENDENT, SEPARATION = "normal_inverse_wishart", "independent", "separation"
FORMS = (NORMAL_INVERSE_WISHART, INDEPENDENT, SEPARATION)


@dataclass(frozen=True, repr=False)
class Prior:
    r"""A prior for Gaussian mixtures; build one with a class method.

    Every hyperparameter is a number or array, shared by all components or with a leading cluster axis.

    Parameters
    ----------
    form : str
        ``"normal_inverse_wishart"``: :math:`\mu_k \mid \Sigma_k \sim N(m, \Sigma_k / \kappa)`, or
        ``"independent"``: :math:`\mu_k \sim N(m, B)`, or ``"separation"``: the same with separate priors on
        variances and correlations instead of inverse-Wishart covariances.
    concentration : number or (cluster,)
        Dirichlet parameter of the weights; class methods also take `Prior.gamma`. As rows increase, surplus components
        empty if it is below half the number of parameters of a component, and overlap with others if above (Rousseau
        & Mengersen 2011).
    mean : (feature,) or (cluster, feature)
        Prior mean of the component means.
    dof, scale : number or (cluster,); (feature, feature) or (cluster, feature, feature)
        Inverse-Wishart degrees of freedom, above D - 1, and scale matrix.
    kappa : number or (cluster,), only for ``"normal_inverse_wishart"``
        Prior sample size of the mean, in rows.
    mean_covariance : (feature, feature) or (cluster, feature, feature), not for ``"normal_inverse_wishart"``
        Prior covariance of the component means.
    scale_prior : Wishart, optional
        Hyperprior on the scale S shared by all components; ``scale`` is its mean.
    concentration_prior : Gamma, optional
        Hyperprior on the concentration shared by all components; ``concentration`` is its mean.
    variances : Separation, only for ``"separation"``
        Inverse gammas of the variances and LKJ of the correlations; ``dof`` and ``scale`` are then those of an
        approximating inverse-Wishart.
    equivariance : Equivariance, optional
        The maps of the rows under which the prior is equivariant: made from mapped rows, it is the same prior in their
        coordinates. None for user-specified hyperparameters, which do not depend on the rows.

    Examples
    --------
    >>> from bayesgmm import Prior
    >>> Prior.independent(
    ...     concentration=1, mean=[0.0], mean_covariance=[[100.0]], dof=3, scale=[[1.0]]
    ... ).exchangeable
    True
    """

    __module__ = "bayesgmm"

    form: str
    concentration: Array
    mean: Array
    dof: Array
    scale: Array
    kappa: Array | None = None
    mean_covariance: Array | None = None
    scale_prior: Wishart | None = None
    concentration_prior: Gamma | None = None
    variances: Separation | None = None
    equivariance: Equivariance | None = None

    def __repr__(self) -> str:
        """One line: arrays are attributes."""
        size = f"concentration {_range_of(self.concentration)}, {_range_of(self.dof)} degrees of freedom"
        hyper = {"scale": self.scale_prior, "concentration": self.concentration_prior}
        sampled = [name for name, prior in hyper.items() if prior is not None]
        told = f", sampled {listed(sampled)}" if sampled else ""
        return f"Prior({self.form!r} of {counted(self.n_features, 'feature')}: {size}{told})"

    @classmethod
    def normal_inverse_wishart(
        cls,
        *,
        mean: ArrayLike,
        kappa: ArrayLike,
        dof: ArrayLike,
        scale: ArrayLike | Wishart,
        concentration: ArrayLike | Gamma = 1.0,
    ) -> Self:
        r"""Conjugate: :math:`\Sigma_k \sim IW(\nu, S)`, :math:`\mu_k \mid \Sigma_k \sim N(m, \Sigma_k/\kappa)`.

        A ``scale`` that is sampled too is `Prior.wishart`.
        """
        m, common = _checked(concentration, mean, dof, scale)
        k = as_positive(kappa, name="kappa", most_axes=1)
        return cls(NORMAL_INVERSE_WISHART, mean=m, kappa=k, mean_covariance=None, **common)

    @classmethod
    def independent(
        cls,
        *,
        mean: ArrayLike,
        mean_covariance: ArrayLike,
        dof: ArrayLike,
        scale: ArrayLike | Wishart,
        concentration: ArrayLike | Gamma = 1.0,
    ) -> Self:
        r"""Means independent of covariances: :math:`\mu_k \sim N(m, B)`, :math:`\Sigma_k \sim IW(\nu, S)`.

        A ``scale`` that is sampled too is `Prior.wishart`.
        """
        m, common = _checked(concentration, mean, dof, scale)
        b = as_covariance(mean_covariance, n_features=m.shape[-1], name="mean_covariance")
        return cls(INDEPENDENT, mean=m, kappa=None, mean_covariance=b, **common)

    @classmethod
    def weakly_informative(
        cls, X: ArrayLike | Data, *, concentration: ArrayLike | Gamma = 1.0, sample_weight: ArrayLike | None = None
    ) -> Self:
        r"""The default, scaled by the data: affine equivariant, the same for every K.

        :math:`w \sim Dir(1)`, :math:`\mu_k \sim N(\bar x, 4\,cov(X))`, :math:`\Sigma_k \sim IW(d+2, cov(X)/10)`,
        so that :math:`E\,\Sigma_k = cov(X)/10` with the weight of about one observation. (A scale of cov(X)
        itself is not weak: it includes the spread between clusters.) A constant column, whose variance is taken as
        1e-12 of its squared value (1 for zeros), and correlations that are singular, which get the smallest ridge
        that makes them usable, are named in a warning; the ridge is equivariant under scales of columns only.
        ``sample_weight`` (obs,) are frequency weights. Matrices are features x features for every family: more than
        5,000 features raise an `InputError`, as for every prior made from rows.

        Examples
        --------
        >>> from bayesgmm import Prior
        >>> Prior.weakly_informative([[1.0], [2.0], [3.0]]).scale
        array([[0.1]])
        """
        mean, cov = moments(*counted_rows(X, sample_weight), names=getattr(X, "columns", None))
        prior = cls.independent(
            concentration=concentration, mean=mean, mean_covariance=4.0 * cov, dof=len(mean) + 2.0, scale=cov / 10.0
        )
        return replace(prior, equivariance=Equivariance.AFFINE)

    @classmethod
    def fraley_raftery(
        cls,
        X: ArrayLike | Data,
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
        check_whole(n_components=n_components)
        mean, cov = moments(*counted_rows(X, sample_weight), names=getattr(X, "columns", None))
        d, equivariance = len(mean), Equivariance.AFFINE
        if not covariance_family(covariance_type, d).parametrisation.correlated:
            cov, equivariance = np.eye(d) * np.diagonal(cov).mean(), Equivariance.ROTATIONS
        scale = cov / n_components ** (2.0 / d)
        prior = cls.normal_inverse_wishart(mean=mean, kappa=0.01, dof=d + 2.0, scale=scale)
        return replace(prior, equivariance=equivariance)

    @classmethod
    def malsiner_walli(
        cls, X: ArrayLike | Data, *, concentration: ArrayLike | Gamma = 0.01, sample_weight: ArrayLike | None = None
    ) -> Self:
        r"""The sparse finite mixture of Malsiner-Walli, Frühwirth-Schnatter & Grün 2016; its scale is sampled.

        With the range :math:`R_j` of each feature, :math:`c_0 = 2.5 + (d-1)/2` and :math:`g_0 = 0.5 + (d-1)/2`:
        :math:`\mu_k \sim N(median, diag(R_j^2))`, :math:`\Sigma_k \sim IW(2 c_0, S)`,
        :math:`S \sim Wishart(2 g_0, \frac{c_0}{100 g_0} diag(R_j^2))`, :math:`w \sim Dir(0.01)`. It decays only
        polynomially at zero: with ties in rounded data, spikes can have posterior mass. ``sample_weight`` (obs,) are
        frequency weights.

        Examples
        --------
        >>> from bayesgmm import Prior
        >>> Prior.malsiner_walli([[1.0], [2.0], [5.0]]).mean
        array([2.])
        """
        X, v = counted_rows(X, sample_weight)
        d, squares = X.shape[1], np.square(column_ranges(X))
        c0, g0 = 2.5 + 0.5 * (d - 1), 0.5 + 0.5 * (d - 1)
        scale = cls.wishart(2.0 * g0, np.diag(c0 / (100.0 * g0) * squares))
        own = {"mean": column_medians(X, v), "mean_covariance": np.diag(squares), "dof": 2.0 * c0}
        prior = cls.independent(concentration=concentration, scale=scale, **own)
        return replace(prior, equivariance=Equivariance.SCALES)

    @classmethod
    def richardson_green(
        cls, X: ArrayLike | Data, *, concentration: ArrayLike | Gamma = 1.0, sample_weight: ArrayLike | None = None
    ) -> Self:
        r"""Richardson & Green 1997, for one feature of range R; its scale is sampled.

        :math:`\mu_k \sim N(midrange, R^2)`, :math:`\sigma_k^{-2} \sim Gamma(2, \beta)`,
        :math:`\beta \sim Gamma(0.2, 10 / R^2)` (rates), :math:`w \sim Dir(1)`. In this package's terms
        :math:`\sigma_k^2 \sim IW(4, S)` with :math:`S = 2 \beta \sim Wishart(0.4, R^2 / 10)`. ``sample_weight``
        (obs,) are frequency weights: rows of weight zero are ignored.

        Raises
        ------
        InputError
            If there are several features: use `malsiner_walli`.

        Examples
        --------
        >>> from bayesgmm import Prior
        >>> Prior.richardson_green([[1.0], [2.0], [5.0]]).scale_prior
        Wishart(dof=0.4, scale=array([[1.6]]))
        """
        X, _ = counted_rows(X, sample_weight)
        if X.shape[1] != 1:
            raise InputError(
                expected="one feature for richardson_green",
                got=f"{X.shape[1]}",
                hint="Prior.malsiner_walli(X) samples the scale of several features.",
            )
        square = np.square(column_ranges(X))[:, None]
        middle = 0.5 * (X.min(axis=0) + X.max(axis=0))
        scale = cls.wishart(0.4, square / 10.0)
        prior = cls.independent(concentration=concentration, mean=middle, mean_covariance=square, dof=4.0, scale=scale)
        return replace(prior, equivariance=Equivariance.SCALES)

    @classmethod
    def separation(
        cls,
        *,
        mean: ArrayLike,
        mean_covariance: ArrayLike,
        variance_shape: ArrayLike,
        variance_scale: ArrayLike,
        eta: float,
        concentration: ArrayLike | Gamma = 1.0,
    ) -> Self:
        r"""Separate variances and correlations: :math:`\sigma^2_{kj} \sim IG(a_j, b_j)`, :math:`R_k \sim LKJ(\eta)`.

        :math:`\Sigma_k = D_k R_k D_k` with the standard deviations on the diagonal of :math:`D_k`, and
        :math:`\mu_k \sim N(m, B)`. For the families ``"full"`` and ``"tied"``: diagonal ones have inverse-gamma
        variances with any prior, see `independent`.

        Parameters
        ----------
        mean, mean_covariance : (feature,), (feature, feature)
            m and B, or one per component, with a leading cluster axis.
        variance_shape, variance_scale : number or (feature,)
            a and b, the same for all components.
        eta : float
            The LKJ density is proportional to :math:`|R|^{\eta-1}`: uniform at 1, larger values shrink correlations.
        concentration : number or (cluster,)

        Examples
        --------
        >>> from bayesgmm import Prior
        >>> Prior.separation(
        ...     mean=[0.0, 0.0], mean_covariance=[[9.0, 0.0], [0.0, 9.0]], variance_shape=2, variance_scale=1, eta=2
        ... ).variances.eta
        2.0
        """
        variances = Separation.checked(variance_shape, variance_scale, eta, n_features=_checked_mean(mean).shape[-1])
        dof, scale = variances.inverse_wishart
        similar = cls.independent(
            mean=mean, mean_covariance=mean_covariance, dof=dof, scale=scale, concentration=concentration
        )
        return replace(similar, form=SEPARATION, variances=variances)

    @staticmethod
    def wishart(dof: float, scale: ArrayLike) -> Wishart:
        r"""A sampled scale, Wishart with mean ``dof * scale`` (feature, feature), to be passed as ``scale``.

        Diagonal families take its diagonal, :math:`s_j \sim V_{jj} \chi^2_n`, spherical ones
        :math:`s \sim (tr V / d) \chi^2_n`.
        """
        array = as_finite(scale, name="scale")
        return Wishart.checked(dof, array, n_features=array.shape[-1] if array.ndim else 1)

    @staticmethod
    def gamma(shape: float, rate: float) -> Gamma:
        r"""A concentration with the prior :math:`e \sim \Gamma(a, b)` of mean a / b, to be passed as ``concentration``.

        :math:`w \mid e \sim Dir(e, ..., e)`: the sparsity of the weights is learned from the data. Malsiner-Walli,
        Frühwirth-Schnatter and Grün (2016) take Gamma(10, 10 K).

        Examples
        --------
        >>> from bayesgmm import Prior
        >>> prior = Prior.weakly_informative([[1.0], [2.0], [3.0]], concentration=Prior.gamma(1, 20))
        >>> float(prior.concentration)
        0.05
        """
        return Gamma.checked(shape, rate)

    @property
    def n_features(self) -> int:
        """D."""
        return self.mean.shape[-1]

    @property
    def exchangeable(self) -> bool:
        """Whether all components share their hyperparameters, so that labels are not identified."""
        pairs = ((self.concentration, 0), (self.mean, 1), (self.dof, 0), (self.scale, 2))
        pairs += ((self.kappa, 0), (self.mean_covariance, 2))  # type: ignore[assignment]
        return all(a is None or a.ndim == base or bool((a == a[:1]).all()) for a, base in pairs)

    def rescaled(self, center: ArrayLike, scale: ArrayLike) -> Self:
        r"""The same prior for rows in other units: of :math:`x_j = c_j + s_j z_j`, if this is one of z.

        :math:`m \to c + s m`, and :math:`S, B \to diag(s) S\, diag(s), diag(s) B\, diag(s)`, hyperpriors included. What
        is a pure number (concentration, kappa, degrees of freedom, eta) stays.

        Parameters
        ----------
        center, scale : number or (feature,)
            c and s, positive.

        Examples
        --------
        >>> from bayesgmm import Prior
        >>> prior = Prior.normal_inverse_wishart(mean=[0.0], kappa=0.1, dof=3, scale=[[0.5]])
        >>> miles = prior.rescaled(center=100.0, scale=20.0)
        >>> miles.mean, miles.scale
        (array([100.]), array([[200.]]))
        """
        shift, s = (np.broadcast_to(as_finite(v, name="center"), self.n_features) for v in (center, scale))
        as_positive(s, name="scale", most_axes=1)
        products = np.multiply.outer(s, s)
        hyper, v, b = self.scale_prior, self.variances, self.mean_covariance
        return replace(
            self,
            mean=shift + s * self.mean,
            scale=self.scale * products,
            mean_covariance=None if b is None else b * products,
            scale_prior=None if hyper is None else replace(hyper, scale=hyper.scale * products),
            variances=None if v is None else replace(v, variance_scale=v.variance_scale * np.square(s)),
        )

    def resolve(self, n_components: int, n_features: int, covariance_type: str = "full") -> "ResolvedPrior":
        """Broadcast the hyperparameters to K components and the blocks of a family, and check their shapes."""
        check_whole(n_components=n_components, n_features=n_features)
        return resolve(self, n_components, n_features, covariance_family(covariance_type, n_features))

    def log_prob(self, mixture: Mixture) -> float:
        """Log density of a mixture's parameters in their natural coordinates, including normalizing constants."""
        family = mixture.family.for_posterior()
        return resolve(self, mixture.n_components, mixture.n_features, family).log_prob(mixture)

    def hyperparameters_given(
        self,
        weights: Weights,
        covariances: Covariances,
        *,
        covariance_type: str = "full",
        rng: np.random.Generator,
    ) -> dict[str, Array]:
        r"""Draws of hyperparameters with a prior, given draws of the parameters.

        Parameters
        ----------
        weights : (..., cluster)
        covariances : (..., cluster, feature, feature)
            Full matrices.
        covariance_type : str
        rng : numpy.random.Generator

        Returns
        -------
        dict of str to array
            ``prior_scale`` (..., feature, feature), if the scale has a prior: S of each draw; for diagonal families a
            diagonal matrix, for spherical ones s times the identity, so that ``Prior.independent(scale=...)`` with it
            is the prior given that hyperparameter. ``prior_concentration`` (...), if the concentration has a prior.
            Empty if every hyperparameter is a number.
        """
        k, d = covariances.shape[-3:-1]
        own = self.resolve(k, d, covariance_type)
        return own.hyperparameters_given(weights, own.precision_factors(covariances), rng=rng)

    def model_variables_given(
        self,
        weights: Weights,
        covariances: Covariances,
        *,
        covariance_type: str = "full",
        rng: np.random.Generator,
    ) -> dict[str, Array]:
        r"""Draws of the PyMC model's other variables given the parameters: hyperparameters and log gammas.

        Sparse weights come with ``log_gammas`` (..., cluster), logarithms of gamma variables with shapes
        :math:`\alpha_k`; normalized to sum to one, the gamma variables are the weights.
        """
        k, d = covariances.shape[-3:-1]
        own = self.resolve(k, d, covariance_type)
        return own.model_variables_given(weights, own.precision_factors(covariances), rng=rng)


def _checked(
    concentration: ArrayLike | Gamma, mean: ArrayLike, dof: ArrayLike, scale: ArrayLike | Wishart
) -> tuple[Array, dict[str, Any]]:
    m, nu = _checked_mean(mean), as_positive(dof, name="dof", most_axes=1)
    d = m.shape[-1]
    if nu.min() <= d - 1:
        raise InputError(expected=f"dof > {d - 1} (the number of features less one)", got=f"{dof}")
    scale_prior, scale = (scale, scale.mean) if isinstance(scale, Wishart) else (None, scale)
    alpha = concentration.mean if isinstance(concentration, Gamma) else concentration
    return m, {
        "scale_prior": scale_prior,
        "concentration_prior": concentration if isinstance(concentration, Gamma) else None,
        "concentration": as_positive(alpha, name="concentration", most_axes=1),
        "dof": nu,
        "scale": as_covariance(scale, n_features=d, name="scale"),
    }


def _checked_mean(mean: ArrayLike) -> Array:
    m = np.atleast_1d(as_finite(mean, name="mean"))
    if m.ndim > 2 or m.size == 0:
        raise InputError(expected="mean with shape (feature,) or (cluster, feature)", got=f"shape {m.shape}")
    return m


def resolve(prior: Prior, k: int, d: int, family: CovarianceFamily) -> ResolvedPrior:
    """A prior laid out for K components of a family with D features; checks that it fits."""
    if prior.n_features != d:
        raise InputError(expected=f"a prior for {d} features", got=f"one for {prior.n_features}")
    _check_family(prior, family)
    g = family.n_blocks(k)
    kappa, mean_precision = np.zeros(k), np.zeros((k, d, d))
    if prior.kappa is not None:
        kappa = _broadcast(prior.kappa, (k,), "kappa")
    else:
        assert prior.mean_covariance is not None  # noqa: S101  the constructors see to it
        root = np.linalg.inv(np.linalg.cholesky(prior.mean_covariance))
        # Positive definite and symmetric by construction, which an inverse of a nearly singular matrix is not.
        mean_precision = _broadcast(np.swapaxes(root, -1, -2) @ root, (k, d, d), "mean_covariance")
    scale = _broadcast(prior.scale, (g, d, d), "scale")
    if family.tied and (scale != scale[0]).any():
        raise InputError(
            expected="one scale for all components", got="different ones", hint=f"{family.name} ties covariances."
        )
    return ResolvedPrior(
        family,
        prior.exchangeable,
        _broadcast(prior.concentration, (k,), "concentration"),
        _broadcast(prior.mean, (k, d), "mean"),
        kappa,
        mean_precision,
        _broadcast(prior.dof, (g,), "dof"),
        family.parametrisation.blocks(scale),
        scale_prior=prior.scale_prior,
        separation=prior.variances,
        concentration_prior=prior.concentration_prior,
    )


def _check_family(prior: Prior, family: CovarianceFamily) -> None:
    one = family.having("a prior").parametrisation
    if prior.form == SEPARATION and not _separable(family):
        legal = tuple(dict.fromkeys(each.name for each in FAMILIES.values() if _separable(each)))
        raise InputError(
            expected=f"covariance_type one of {legal} with Prior.{prior.form}",
            got=f"{family.name!r}",
            hint="Without correlations it has inverse-gamma variances with Prior.independent: dof 2a, scale diag(2b)."
            if not family.parametrisation.correlated
            else "Where shapes or volumes are tied together, take Prior.independent or Prior.normal_inverse_wishart.",
        )
    if prior.scale_prior is not None and not one.explorable:
        raise InputError(
            expected=f"a scale in numbers for covariance_type {family.name!r}",
            got="one that is sampled",
            hint="How its density depends on the scale is not known in closed form: give a matrix as scale.",
        )


def _separable(family: CovarianceFamily) -> bool:
    """Whether a prior may be on the variances and correlations of each covariance."""
    return family.parametrisation.correlated and not family.tied


def _broadcast(value: Array, shape: tuple[int, ...], name: str) -> Array:
    try:
        return np.ascontiguousarray(np.broadcast_to(value, shape))
    except ValueError:
        raise InputError(
            expected=f"{name} that fits shape {shape}",
            got=f"shape {value.shape}",
            hint="Tied covariances have one prior for all components." if shape[0] == 1 else "",
        ) from None


def _range_of(values: Array) -> str:
    """A number, or the smallest and the largest of several."""
    low, high = (shown(float(value)) for value in (np.min(values), np.max(values)))
    return low if low == high else f"{low} to {high}"
