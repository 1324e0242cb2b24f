"""Conversion between a mixture and scikit-learn's attributes and mixtures; matching; marginals and conditionals."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from bayesgmm._common import Array, Covariances
from bayesgmm.exceptions import InputError
from bayesgmm.label_switching import Matching, match_components
from bayesgmm.mixture import CovarianceFamily, Mixture, covariance_family
from bayesgmm.noise import NoisyMixture, Uniform, refuse_noise
from bayesgmm.validation import as_finite

if TYPE_CHECKING:
    import xarray as xr
    from sklearn.mixture import GaussianMixture as SklearnMixture

    from bayesgmm.prediction import Imputation

# Of the product of two standard deviations: single precision of a badly conditioned matrix passes, another does not.
_AGREE = 1e-3
BESIDE = ("dof_", "scales_")  # what only Student-t components have
BY_HAND = "Make a Mixture with dof."


class Attributes(NamedTuple):
    """What describes a mixture; covariances or precisions may be missing, and so may noise."""

    weights_: Any
    means_: Any
    covariances_: Any
    precisions_cholesky_: Any
    dof_: Any = None
    scales_: Any = None
    noise_weight_: Any = None

    @classmethod
    def of(cls, estimator: Any) -> "Attributes":
        """The attributes that an estimator has.

        Raises
        ------
        NotFittedError
            It has none.
        InputError
            It has too few.
        """
        found = cls(*(getattr(estimator, name, None) for name in cls._fields))
        if all(value is None for value in found):
            raise NotFittedError(
                f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments "
                "before using this estimator."
            )
        missing = [name for name in ("weights_", "means_") if getattr(found, name) is None]
        if found.covariances_ is None and found.precisions_cholesky_ is None:
            missing.append("covariances_ or precisions_cholesky_")
        if missing:
            raise InputError(
                expected="weights_, means_ and covariances_ or precisions_cholesky_",
                got=f"a mixture without {', '.join(missing)}",
                hint="Set them, or call fit.",
            )
        return found

    def same_as(self, other: "Attributes | None") -> bool:
        """Whether they are those of another mixture."""
        return other is not None and all(a is b or np.array_equal(a, b) for a, b in zip(self, other, strict=True))

    def mixture(self, covariance_type: str, noise: Uniform | None = None) -> Mixture:
        """The mixture they describe, with noise where there is some; precisions count where there are both.

        Raises
        ------
        InputError
            Shapes disagree, or precisions are not those of the covariances.
        """
        weights, means = (as_finite(getattr(self, name), name=name) for name in ("weights_", "means_"))
        if weights.ndim != 1 or means.ndim != 2 or len(means) != len(weights):
            raise InputError(
                expected="weights_ with shape (cluster,) and means_ with shape (cluster, feature)",
                got=f"shapes {weights.shape} and {means.shape}",
            )
        noise_weight = float(self.noise_weight_ or 0.0)
        if weights.min() < 0 or not np.isclose(weights.sum() + noise_weight, 1.0, atol=1e-3):
            raise InputError(expected="weights_ that are positive and sum to one", got=f"{weights}")
        family = covariance_family(covariance_type, means.shape[1])
        covariances = self._covariances(family, family.covariances_shape(*means.shape))
        mixture = Mixture(weights / weights.sum(), means, covariances, family.name)
        return mixture if noise is None else NoisyMixture.of(mixture, noise, noise_weight)

    def _covariances(self, family: CovarianceFamily, shape: tuple[int, ...]) -> Covariances:
        """From precisions, whose covariances they should be, or as they are."""
        given, upper = (
            None if value is None else _shaped(value, shape, name, family)
            for value, name in (
                (self.covariances_, "covariances_"),
                (self.precisions_cholesky_, "precisions_cholesky_"),
            )
        )
        if upper is None:
            assert given is not None  # noqa: S101  `of` sees to it
            return given
        found = _inverse(upper, family)
        if given is not None and not (np.abs(found - given) <= _AGREE * _sizes(found, family)).all():
            raise InputError(
                expected="precisions_cholesky_ that belong to covariances_",
                got="those of other covariances",
                hint="Set both, or only one: del model.precisions_cholesky_.",
            )
        return found


Attributes.__module__ = "bayesgmm.estimators"  # in the body, type checkers take it for a field


def _sizes(covariances: Covariances, family: CovarianceFamily) -> Array:
    """What entries are measured by: the products of two standard deviations, in the covariances' shape."""
    if family.as_matrices:
        sds = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
        return np.asarray(sds[..., :, None] * sds[..., None, :])
    return covariances


def _shaped(value: Any, shape: tuple[int, ...], name: str, family: CovarianceFamily) -> Array:
    array = as_finite(value, name=name)
    if array.shape != shape:
        raise InputError(
            expected=f"{name} with shape {shape} for covariance_type {family.name!r}", got=f"shape {array.shape}"
        )
    return array


def _inverse(upper: Array, family: CovarianceFamily) -> Covariances:
    """Covariances whose precisions have these Cholesky factors."""
    try:
        if family.as_matrices:
            return np.linalg.inv(upper @ np.swapaxes(upper, -1, -2))
        if (upper <= 0).any():
            raise np.linalg.LinAlgError("they must be positive")
    except np.linalg.LinAlgError as error:
        raise InputError(expected="precisions_cholesky_ of positive definite precisions", got=str(error)) from error
    return 1.0 / upper**2


def parameters_of(mixture: Mixture) -> dict[str, Array]:
    """What an estimator shows of a mixture, by the names of its attributes."""
    found = {"weights_": mixture.weights, "means_": mixture.means}
    covariances = ("covariances_", "precisions_", "precisions_cholesky_")
    if mixture.dof is None:
        return found | dict(zip(covariances, (mixture.covariances, *precisions_of(mixture)), strict=True))
    scales, share = mixture.full_covariances, np.maximum(1.0 - 2.0 / mixture.dof, 0.0)  # of a covariance
    upper: Array = np.swapaxes(np.linalg.inv(np.linalg.cholesky(scales)), 1, 2)
    upper = upper * np.sqrt(share)[:, None, None]
    exist, shown = share > 0.0, np.full(scales.shape, np.inf)
    shown[exist] = scales[exist] / share[exist][:, None, None]
    found |= dict(zip(covariances, (shown, upper @ np.swapaxes(upper, 1, 2), upper), strict=True))
    return found | dict(zip(BESIDE, (mixture.dof, mixture.covariances), strict=True))


def precisions_of(mixture: Mixture) -> tuple[Covariances, Covariances]:
    """Precisions and their Cholesky factors in scikit-learn's shapes; full factors are upper triangular."""
    factors, shape = mixture.precision_factors, mixture.covariances.shape
    factors = mixture.family.parametrisation.precision_roots(factors)
    if mixture.family.diagonal and not mixture.family.in_scikit_learn:
        diagonal = factors[..., 0, :, None] * np.eye(mixture.n_features)
        matrices = np.broadcast_to(diagonal, shape).copy()
        return matrices**2, matrices
    if not mixture.family.as_matrices:
        return (factors**2).reshape(shape), factors.reshape(shape)
    upper: Array = np.swapaxes(factors, -1, -2).copy()
    return (upper @ factors).reshape(shape), upper.reshape(shape)


class PartsMixin:
    """What covariances are made of, where they are sums of something."""

    @property
    def loadings_(self) -> Array:
        """Loadings (cluster, feature, factor) of mixtures of factor analysers."""
        return self._part("loadings")

    @property
    def noise_variances_(self) -> Array:
        """Noise variances (cluster, feature) of mixtures of factor analysers."""
        return self._part("noise_variances")

    def _part(self, name: str) -> Array:
        mixture: Mixture = self.mixture_  # type: ignore[attr-defined]
        if name not in mixture.parts:
            raise AttributeError(f"Covariances of {mixture.covariance_type!r} have no {name}: those of 'factor' have.")
        return mixture.parts[name]


# ---- elsewhere, and later


class MatchingMixin:
    """`match` of an estimator whose components have numbers."""

    def match(self, previous: Any) -> Matching:
        """Find the components of an earlier fit again, so that refits keep their numbers.

        Parameters
        ----------
        previous : GaussianMixture or BayesianGaussianMixture
            A fit of the same features; it may have another number of components.

        Returns
        -------
        bayesgmm.label_switching.Matching
            The number that each component takes, a score from 0 to 1, ``renumber(labels)``. A component without a
            partner takes a new number.

        Raises
        ------
        InputError
            If the earlier fit is none, or of other features.
        NotIdentifiedError
            If the components of a posterior are not identified: there is nothing to match.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> X = load_old_faithful()
        >>> january = GaussianMixture(2, random_state=0).fit(X[:136])
        >>> february = GaussianMixture(2, random_state=0).fit(X[136:])
        >>> february.match(january).numbers
        array([0, 1])
        """
        if not isinstance(previous, MatchingMixin):
            raise InputError(expected="an earlier fit of this package", got=type(previous).__name__)
        own, other = (getattr(fit, "feature_names_in_", None) for fit in (self, previous))
        if own is not None and other is not None and list(own) != list(other):
            raise InputError(expected=f"an earlier fit of the features {list(own)}", got=f"{list(other)}")
        return match_components(self._identified_mixture(), previous._identified_mixture())

    def _identified_mixture(self) -> Mixture:
        """The mixture whose components have numbers."""
        raise NotImplementedError


class FeaturesMixin:
    """Marginal and conditional mixtures of a fit, and features predicted from others."""

    def marginal(self, features: Any) -> Any:
        """The mixture of some features: `bayesgmm.marginal`. Of EM a `Mixture`, else a posterior.

        Parameters
        ----------
        features : one or several names or positions
        """
        from bayesgmm.prediction import marginal

        check_is_fitted(self)
        return marginal(self, features)

    def condition(self, given: Mapping[Any, Any]) -> Any:
        """The mixture of the other features given values of some: `bayesgmm.condition`.

        Of EM a `Mixture`, or one for each row; else a posterior.

        Parameters
        ----------
        given : mapping
            From names or positions of features to numbers, or to arrays (obs,).
        """
        from bayesgmm.prediction import condition

        check_is_fitted(self)
        return condition(self, given)

    def predict_features(
        self,
        X_observed: ArrayLike,
        *,
        target: Any = None,
        observed: Any = None,
        quantiles: ArrayLike | None = None,
        ci_prob: float | None = None,
    ) -> "xr.Dataset":
        """Predict some features of rows from others, with bands: `bayesgmm.predict_features`.

        Parameters
        ----------
        X_observed : (obs, observed feature)
            A dataframe with some columns of the fit, or an array, whose columns are ``observed``.
        target : one or several names or positions, optional
            By default all features that are not observed.
        observed : one or several names or positions, optional
            By default all features but the target, or the columns of the dataframe.
        quantiles, ci_prob : optional
            Further quantiles, and the probability of bands.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> X = load_old_faithful()
        >>> found = GaussianMixture(2, random_state=0).fit(X).predict_features(X[["waiting"]][:3])
        >>> found["mean"].to_numpy().round(1).ravel()
        array([4.3, 2. , 4.1])
        """
        from bayesgmm.prediction import predict_features

        check_is_fitted(self)
        return predict_features(
            self, X_observed, target=target, observed=observed, quantiles=quantiles, ci_prob=ci_prob
        )

    def impute(
        self, X: ArrayLike, *, n_draws: int = 20, ci_prob: float | None = None, random_state: int | None = None
    ) -> "Imputation":
        """Fill in missing values of rows given what was observed: `bayesgmm.impute`.

        Parameters
        ----------
        X : (obs, feature)
            Rows, NaN where values are missing.
        n_draws, ci_prob, random_state : optional
            Completed data sets, probability of intervals, and seed.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> fit = GaussianMixture(2, random_state=0).fit(load_old_faithful().to_numpy())
        >>> found = fit.impute([[float("nan"), 60.0]], random_state=1)
        >>> found.mean.round(2), found.lower.round(2), found.upper.round(2)
        (array([[ 2.13, 60.  ]]), array([[ 1.71, 60.  ]]), array([[ 2.54, 60.  ]]))
        """
        from bayesgmm.prediction import impute

        check_is_fitted(self)
        return impute(self, X, n_draws=n_draws, ci_prob=ci_prob, random_state=random_state)


def as_sklearn(estimator: Any) -> "SklearnMixture":
    """scikit-learn's mixture with the parameters of a fit by EM; a family that it does not have as full or diagonal."""
    from sklearn.mixture import GaussianMixture as SklearnMixture

    refuse_noise(estimator, "scikit-learn's mixture")
    mixture: Mixture = estimator.mixture_
    mixture.component.check_gaussian("scikit-learn's mixture", hint="Predict with this estimator, or save it.")
    known = mixture.family.in_scikit_learn
    shown = mixture if known else _unrestricted(mixture)
    model = SklearnMixture(shown.n_components, covariance_type=shown.covariance_type)
    model.weights_, model.means_, model.covariances_ = shown.weights, shown.means, shown.covariances
    model.precisions_, model.precisions_cholesky_ = precisions_of(shown)
    model.converged_, model.n_iter_ = getattr(estimator, "converged_", True), getattr(estimator, "n_iter_", 0)
    model.lower_bound_ = getattr(estimator, "lower_bound_", np.nan)
    model.n_features_in_ = shown.n_features
    if hasattr(estimator, "feature_names_in_"):
        model.feature_names_in_ = estimator.feature_names_in_
    return model


def _unrestricted(mixture: Mixture) -> Mixture:
    family = mixture.family.unrestricted
    return Mixture(mixture.weights, mixture.means, family.compress(mixture.full_covariances), family.name)
