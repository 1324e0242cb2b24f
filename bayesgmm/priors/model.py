"""The model that is fitted: a mixture of K components of a covariance family, with or without a prior."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Self

import numpy as np

from bayesgmm._common import Weights
from bayesgmm.mixture import GAUSSIAN, Component, CovarianceFamily, Mixture, covariance_family
from bayesgmm.priors.conjugate_counts import PseudoData, pseudo_data
from bayesgmm.priors.prior import Prior, resolve
from bayesgmm.priors.resolved import ResolvedPrior


@dataclass(frozen=True, slots=True)
class Model:
    """A Gaussian mixture model of D features.

    Attributes
    ----------
    family : CovarianceFamily
    n_components, n_features : int
        K and D.
    prior : ResolvedPrior, optional
        None is maximum likelihood.
    component : Component
        The distribution of a component.

    Examples
    --------
    >>> from bayesgmm.priors import Model
    >>> Model.of("tied", 3, 2).n_parameters
    11
    """

    family: CovarianceFamily
    n_components: int
    n_features: int
    prior: ResolvedPrior | None = None
    component: Component = GAUSSIAN

    @classmethod
    def of(cls, covariance_type: str, n_components: int, n_features: int, *, prior: Prior | None = None) -> Self:
        """The model that a user names, checked.

        Raises
        ------
        InputError
            If the family is not known, or the prior does not fit K, D and the family.
        """
        family = covariance_family(covariance_type, n_features)
        given = None if prior is None else prior.resolve(n_components, n_features, family.name)
        return cls(family, n_components, n_features, given)

    @classmethod
    def of_mixture(cls, mixture: Mixture, prior: Prior | None = None) -> Self:
        """The model of a fitted mixture."""
        k, d, family = mixture.n_components, mixture.n_features, mixture.family
        return cls(family, k, d, None if prior is None else resolve(prior, k, d, family))

    def describes(self, mixture: Mixture) -> bool:
        """Whether a mixture has the model's family, K and D."""
        return (mixture.family, *mixture.means.shape) == (self.family, self.n_components, self.n_features)

    @property
    def n_parameters(self) -> int:
        """Free parameters: weights, means and covariances."""
        return self.family.n_parameters(self.n_components, self.n_features)

    def with_components(self, n_components: int) -> Self:
        """The same with another number of components, all with the prior of the first."""
        prior = None if self.prior is None else self.prior.of_components(np.zeros(n_components, dtype=np.int64))
        return replace(self, n_components=n_components, prior=prior)

    @property
    def required_prior(self) -> ResolvedPrior:
        """The prior of a model that cannot do without."""
        assert self.prior is not None  # noqa: S101  whoever makes the model sees to it
        return self.prior

    def log_mass(self, objective: float, mixture: Mixture, counts: Weights) -> float:
        """What modes are compared by: the log-likelihood, with a prior the log of the posterior's mass around it."""
        if self.prior is None or not isfinite(objective):
            return objective
        return objective + self.prior.log_volume(mixture.components, counts)

    @property
    def exchangeable(self) -> bool:
        """Whether labels carry no meaning: no prior, or one under which components share their hyperparameters."""
        return self.prior is None or self.prior.exchangeable

    @property
    def pseudo_data(self) -> PseudoData:
        """What the prior adds to the expected statistics."""
        return pseudo_data(self.prior, self.n_components, self.n_features, self.family)
