"""The model that is fitted: a mixture of K components of a covariance family, with or without a prior."""

from dataclasses import dataclass, replace
from math import isfinite, lgamma
from typing import Self

import numpy as np

from bayesgmm._common import Array, IntArray, Weights
from bayesgmm.data import Allowed, alike_components
from bayesgmm.mixture import Component, CovarianceFamily, Draws, Mixture, component_of, covariance_family
from bayesgmm.priors.conjugate_counts import PseudoData, pseudo_data
from bayesgmm.priors.prior import Prior, resolve
from bayesgmm.priors.resolved import ResolvedPrior
from bayesgmm.priors.sample import draw_mixtures

_GAUSSIAN = component_of("gaussian")


@dataclass(frozen=True, slots=True)
class Model:
    """A mixture model of D features.

    Attributes
    ----------
    family : CovarianceFamily
    n_components, n_features : int
        K and D.
    prior : ResolvedPrior, optional
        None is maximum likelihood.
    component : Component
        The distribution of a component.
    alike : tuple of int, optional
        A number for each component, the same for those that labels of rows do not tell apart; None without labels.

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
    component: Component = _GAUSSIAN
    alike: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls,
        covariance_type: str,
        n_components: int,
        n_features: int,
        *,
        prior: Prior | None = None,
        component: Component = _GAUSSIAN,
    ) -> Self:
        """The model that a user names, checked.

        Raises
        ------
        InputError
            If the family or the component is not known, or the prior does not fit K, D and the family.
        """
        family = covariance_family(covariance_type, n_features)
        given = None if prior is None else prior.resolve(n_components, n_features, family.name)
        return cls(family, n_components, n_features, given, component if prior is None else component.with_prior)

    @classmethod
    def of_mixture(cls, mixture: Mixture, prior: Prior | None = None) -> Self:
        """The model of a fitted mixture."""
        k, d, family = mixture.n_components, mixture.n_features, mixture.family
        given = None if prior is None else resolve(prior, k, d, family)
        return cls(family, k, d, given, mixture.component if prior is None else mixture.component.with_prior)

    def describes(self, mixture: Mixture) -> bool:
        """Whether a mixture has the model's family, component, K and D."""
        own = self.family, self.component, self.n_components, self.n_features
        return (mixture.family, mixture.component, *mixture.means.shape) == own

    def with_component(self, mixture: Mixture) -> Mixture:
        """A Gaussian start with the model's component in the place of Gaussians."""
        if not self.component.has_others:
            return mixture
        k = mixture.n_components
        return mixture.with_component(self.component, self.component.dof(self.component.start(k), k))

    @property
    def n_parameters(self) -> int:
        """Free parameters: weights, means, covariances, and degrees of freedom that are estimated."""
        k = self.n_components
        return self.family.n_parameters(k, self.n_features) + self.component.n_parameters(k)

    def with_components(self, n_components: int) -> Self:
        """The same with another number of components, all with the prior of the first."""
        prior = None if self.prior is None else self.prior.of_components(np.zeros(n_components, dtype=np.int64))
        return replace(self, n_components=n_components, prior=prior)

    @property
    def required_prior(self) -> ResolvedPrior:
        """The prior of a model that cannot do without."""
        assert self.prior is not None  # noqa: S101  whoever makes the model sees to it
        return self.prior

    def log_prior(self, mixture: Mixture) -> float:
        """Log prior density in natural coordinates, degrees of freedom included."""
        return self.required_prior.log_prob(mixture) + float(self.component.log_prior(mixture.dof))

    def log_prior_of(self, draws: Draws) -> Array:
        """The same for draws, (sample,)."""
        return self.required_prior.log_density_of(draws) + self.component.log_prior(draws.dof)

    def prior_draws(self, n: int, *, rng: np.random.Generator) -> Draws:
        """Draws of mixtures from the prior."""
        draws = Draws(*draw_mixtures(self.required_prior, n, rng=rng), family=self.family)
        return draws.with_component(self.component, self.component.draw_dof(n, self.n_components, rng))

    def log_mass(self, objective: float, mixture: Mixture, counts: Weights) -> float:
        """What modes are compared by: the log-likelihood, with a prior the log of the posterior's mass around it."""
        if self.prior is None or not isfinite(objective):
            return objective
        return objective + self.prior.log_volume(mixture.components, counts)

    def labelled(self, allowed: Allowed | None) -> Self:
        """The same for rows that may come from some components (obs, cluster) only, or from all."""
        return self if allowed is None else replace(self, alike=tuple(alike_components(allowed).tolist()))

    @property
    def exchangeable(self) -> bool:
        """Whether components' numbers carry no meaning: no labels, and no prior or one that is the same for all."""
        return self.alike is None and (self.prior is None or self.prior.exchangeable)

    @property
    def interchangeable(self) -> IntArray:
        """A number for each component, (cluster,), the same for those that may change places."""
        if self.prior is not None and not self.prior.exchangeable:
            return np.arange(self.n_components)
        return np.zeros(self.n_components, dtype=np.int64) if self.alike is None else np.array(self.alike)

    @property
    def is_identified(self) -> bool:
        """Whether prior or labels tell all components apart, or there is one only: nothing can be relabelled."""
        return len(np.unique(self.interchangeable)) == self.n_components

    @property
    def log_labellings(self) -> float:
        """Log of the number of labellings, K! if all components may change places."""
        return sum(lgamma(size + 1.0) for size in np.bincount(self.interchangeable).tolist())

    @property
    def pseudo_data(self) -> PseudoData:
        """What the prior adds to the expected statistics."""
        return pseudo_data(self.prior, self.n_components, self.n_features, self.family)
