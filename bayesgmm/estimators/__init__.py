"""Estimators with scikit-learn's interface: `GaussianMixture`, `BayesianGaussianMixture`, `load`."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.estimators._attributes import Attributes as Attributes
    from bayesgmm.estimators._posterior_display import in_labels_of as in_labels_of
    from bayesgmm.estimators._prior_parameters import PRIORS as PRIORS
    from bayesgmm.estimators._sources import FittedSource as FittedSource
    from bayesgmm.estimators._validation import SEEDS as SEEDS
    from bayesgmm.estimators._validation import InvalidParameterError as InvalidParameterError
    from bayesgmm.estimators._validation import ValidatedMixin as ValidatedMixin
    from bayesgmm.estimators._validation import check_component as check_component
    from bayesgmm.estimators._validation import validated as validated
    from bayesgmm.estimators._validation import whole as whole
    from bayesgmm.estimators.bayesian_gaussian_mixture import BayesianGaussianMixture as BayesianGaussianMixture
    from bayesgmm.estimators.gaussian_mixture import GaussianMixture as GaussianMixture
    from bayesgmm.estimators.persistence import load as load

__getattr__, __dir__, __all__ = lazy(__name__)
