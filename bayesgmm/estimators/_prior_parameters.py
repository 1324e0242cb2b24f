"""Priors of estimators: scikit-learn's five parameters as a `Prior`, priors in standardized units, floors for EM."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.preprocessing import StandardScaler

from bayesgmm._common import Array, PerRow
from bayesgmm.data import Data, IncompleteData
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import CovarianceFamily, Equivariance, covariance_family
from bayesgmm.priors import Prior, counted_rows, moments, observed_moments
from bayesgmm.validation import as_covariance, as_finite, as_positive

PRIOR_TYPES = ("dirichlet_distribution", "dirichlet_process")
PRIORS: dict[str, Callable[[ArrayLike | Data, int, str, PerRow | None], Prior]] = {
    "weakly_informative": lambda X, n_components, covariance_type, weights: Prior.weakly_informative(
        X, sample_weight=weights
    ),
    "fraley_raftery": lambda X, n_components, covariance_type, weights: Prior.fraley_raftery(
        X, n_components, covariance_type=covariance_type, sample_weight=weights
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorParameters:
    r"""A normal-inverse-Wishart prior under scikit-learn's names.

    .. math::

        w \sim Dirichlet(\alpha), \quad \Sigma_k^{-1} \sim Wishart(\nu, S^{-1}), \quad
        \mu_k \mid \Sigma_k \sim N(m, \Sigma_k / \kappa)

    A Wishart precision is an inverse-Wishart covariance, :math:`\Sigma_k \sim IW(\nu, S)`: the prior of
    `Prior.normal_inverse_wishart`.

    Attributes
    ----------
    weight_concentration_prior : float or None
        :math:`\alpha`, 1 / K by default.
    mean_precision_prior : float or None
        :math:`\kappa`, 1 by default.
    mean_prior : (feature,) or None
        m, by default the mean of the data.
    degrees_of_freedom_prior : float or None
        :math:`\nu`, above D - 1; D by default.
    covariance_prior : array-like, float or None
        S, not divided by :math:`\nu`: a matrix (feature, feature), variances (feature,) of diagonal families, one
        number for spherical ones. By default the sample covariance of the data, its diagonal, or the mean of that.

    References
    ----------
    Bishop 2006, Pattern Recognition and Machine Learning, section 10.2, which scikit-learn follows.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.estimators._prior_parameters import PriorParameters
    >>> X = np.array([[1.0], [2.0], [3.0]])
    >>> prior = PriorParameters(mean_precision_prior=0.1).prior(X, 2, covariance_type="full")
    >>> float(prior.kappa), float(prior.dof), float(prior.concentration), prior.scale
    (0.1, 1.0, 0.5, array([[1.]]))
    """

    weight_concentration_prior: float | None = None
    mean_precision_prior: float | None = None
    mean_prior: ArrayLike | None = None
    degrees_of_freedom_prior: float | None = None
    covariance_prior: ArrayLike | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The five among an estimator's parameters."""
        return cls(**{name: settings[name] for name in PRIOR_PARAMETERS})

    @property
    def given(self) -> tuple[str, ...]:
        """Names of those that are not None."""
        return tuple(name for name in PRIOR_PARAMETERS if getattr(self, name) is not None)

    def prior(
        self, X: ArrayLike | Data, n_components: int, *, covariance_type: str, sample_weight: PerRow | None = None
    ) -> Prior:
        """The prior, with scikit-learn's defaults for what was not given.

        Raises
        ------
        InputError
            For degrees of freedom of D - 1 or less, or arrays of another shape than the data ask for.
        """
        rows, v = counted_rows(X, sample_weight)
        d = rows.shape[1]
        family = covariance_family(covariance_type, d)
        _check_degrees_of_freedom(self.degrees_of_freedom_prior, d)
        mean = self.mean_prior
        if self.covariance_prior is None:
            scale = _projected(moments(rows, v, names=getattr(X, "columns", None))[1], family)
        else:
            scale = _scale_of(self.covariance_prior, family, d)
        prior = Prior.normal_inverse_wishart(
            concentration=_or(self.weight_concentration_prior, 1.0 / n_components),
            kappa=_or(self.mean_precision_prior, 1.0),
            mean=_mean_of(rows, v) if mean is None else _checked_mean(mean, d),
            dof=_or(self.degrees_of_freedom_prior, float(d)),
            scale=scale,
        )
        follows_rows = mean is None and self.covariance_prior is None
        return replace(prior, equivariance=family.equivariance) if follows_rows else prior


PRIOR_PARAMETERS = tuple(field.name for field in fields(PriorParameters))


def fitted_prior_parameters(prior: Prior, covariance_type: str) -> dict[str, Any]:
    """scikit-learn's fitted attributes: the numbers of the prior, each in scikit-learn's shape.

    Examples
    --------
    >>> from bayesgmm import Prior
    >>> prior = Prior.normal_inverse_wishart(mean=[0.0, 0.0], kappa=1, dof=2, scale=[[2.0, 0.0], [0.0, 4.0]])
    >>> fitted_prior_parameters(prior, "spherical")["covariance_prior_"]
    3.0
    """
    scale = covariance_family(covariance_type).parametrisation.compress(prior.scale)
    return {
        "weight_concentration_prior_": float(prior.concentration),
        "mean_precision_prior_": float(prior.kappa) if prior.kappa is not None else None,
        "mean_prior_": prior.mean,
        "degrees_of_freedom_prior_": float(prior.dof),
        "covariance_prior_": scale.copy() if scale.ndim else float(scale),
    }


def prior_given(data: Data, settings: Mapping[str, Any], *, names: list[str] | None) -> Prior:
    """The prior of an estimator's parameters: itself, scikit-learn's, or the default; rows have named features or not.

    Raises
    ------
    InputError
        If there is a prior, and scikit-learn's parameters too.
    """
    parameters, given, weights = PriorParameters.of(settings), settings["prior"], data.row_weights
    if given is not None and parameters.given:
        raise InputError(
            expected="either prior or scikit-learn's prior parameters", got=f"prior and {', '.join(parameters.given)}"
        )
    rows: Any = data if isinstance(data, IncompleteData) or names is None else pd.DataFrame(data.rows, columns=names)
    if parameters.given:
        k, covariance_type = settings["n_components"], settings["covariance_type"]
        return parameters.prior(rows, k, covariance_type=covariance_type, sample_weight=weights)
    return Prior.weakly_informative(rows, sample_weight=weights) if given is None else given


def in_units_of_rows[P: (Prior, Prior | None)](
    make: Callable[[Data], P], data: Data, *, standardize: bool, covariance_type: str
) -> P:
    """A prior of rows; with ``standardize`` it is that of standardized features, told in the units of the rows.

    The covariances of a family that is equivariant under scales of features are those of standardized rows in other
    units, so that nothing else of a fit depends on units.

    Raises
    ------
    InputError
        If the family is not equivariant.
    """
    if not standardize:
        return make(data)
    family = covariance_family(covariance_type, data.shape[1])
    if not family.equivariance & Equivariance.SCALES:
        raise InputError(
            expected="a covariance_type whose clusters keep their kind in other units with standardize=True",
            got=f"{family.name!r}",
            hint="Spheres of standardized features are none in units of the data, nor are right angles between axes. "
            "Of one shape for all clusters, which is estimated: covariance_type='VEI' or 'tied_diag'; or scale the "
            "rows yourself.",
        )
    if isinstance(data, IncompleteData):
        mean, covariance = observed_moments(data)
        sd = np.sqrt(np.where(np.diagonal(covariance) > 0.0, np.diagonal(covariance), 1.0))
        prior = make(IncompleteData((data.entries - mean) / sd, data.row_weights))
        return prior if prior is None else prior.rescaled(mean, sd)
    scaler = StandardScaler().fit(data.rows, sample_weight=data.row_weights)
    prior = make(Data(np.asfortranarray(scaler.transform(data.rows)), data.row_weights))
    return prior if prior is None else prior.rescaled(scaler.mean_, scaler.scale_)


def floor_refused(reg_covar: float) -> InputError:
    """The error for a floor in units of the data beside a prior that has none."""
    hint = "The default floor is a share of each feature's variance."
    return InputError(expected="reg_covar=None with standardize=True", got=f"{reg_covar}", hint=hint)


def idle_floor(prior: Prior, n_rows: float, reg_covar: float | None) -> Array:
    """Smallest variances (feature,) for EM that the prior keeps it from reaching, whatever the units of the data."""
    heaviest = float(prior.dof.max()) + prior.n_features + n_rows + 2.0
    variances = np.diagonal(prior.scale, axis1=-2, axis2=-1)
    sd = np.sqrt(variances)
    smallest = np.linalg.eigvalsh(prior.scale / (sd[..., :, None] * sd[..., None, :])).min()
    idle = 1e-3 / heaviest * max(float(smallest), 0.0) * variances.reshape(-1, prior.n_features).min(axis=0)
    return idle if reg_covar is None else np.minimum(reg_covar, idle)


def check_prior_type(prior_type: str) -> None:
    """Refuse the Dirichlet process, which is another model."""
    if prior_type != PRIOR_TYPES[0]:
        raise InputError(
            expected=f"weight_concentration_prior_type={PRIOR_TYPES[0]!r}",
            got=f"{prior_type!r}, a truncated stick-breaking prior that this package does not have",
            hint="A finite mixture with a small weight_concentration_prior, say 0.01, empties surplus components too.",
        )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_degrees_of_freedom(dof: float | None, d: int) -> None:
    if dof is not None and dof <= d - 1:
        raise InputError(
            expected=f"degrees_of_freedom_prior > {d - 1}",
            got=f"{dof}",
            sentence=f"The parameter 'degrees_of_freedom_prior' should be greater than {d - 1}, but got {dof:.3f}.",
        )


def _checked_mean(mean: ArrayLike, d: int) -> Array:
    m = as_finite(mean, name="mean_prior")
    if m.shape != (d,):
        raise InputError(expected=f"mean_prior with shape ({d},)", got=f"shape {m.shape}")
    return m


def _scale_of(covariance_prior: ArrayLike, family: CovarianceFamily, d: int) -> Array:
    """The scale matrix, from scikit-learn's shape for the family."""
    expected = family.parametrisation.natural_shape(d)
    full = len(expected) == 2
    if full:
        value = as_covariance(covariance_prior, n_features=d, name="covariance_prior")
    else:
        value = as_positive(covariance_prior, name="covariance_prior")
    if value.shape != expected:
        raise InputError(
            expected=f"covariance_prior with shape {expected} for covariance_type {family.name!r}",
            got=f"shape {value.shape}",
        )
    return value if full else value * np.eye(d)


def _mean_of(rows: Array, weights: PerRow) -> Array:
    if np.isnan(rows).any():
        return observed_moments(IncompleteData(rows, weights))[0]
    return np.asarray(np.average(rows, axis=0, weights=weights))


def _projected(cov: Array, family: CovarianceFamily) -> Array:
    """What the family keeps of a covariance, as a matrix."""
    return family.parametrisation.square(family.parametrisation.blocks(cov), len(cov))
