"""Prior distributions: `Prior`, its resolution for given data, hyperpriors, pseudo-data, prior draws."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.priors.concentrations import SMALLEST_WEIGHT as SMALLEST_WEIGHT
    from bayesgmm.priors.concentrations import mixed_concentration as mixed_concentration
    from bayesgmm.priors.conjugate_counts import PSEUDO_DATA as PSEUDO_DATA
    from bayesgmm.priors.conjugate_counts import PseudoData as PseudoData
    from bayesgmm.priors.conjugate_counts import add_mean_scale as add_mean_scale
    from bayesgmm.priors.conjugate_counts import add_variance_terms as add_variance_terms
    from bayesgmm.priors.conjugate_counts import adds_to_moments as adds_to_moments
    from bayesgmm.priors.conjugate_counts import covariance_counts as covariance_counts
    from bayesgmm.priors.conjugate_counts import pseudo_data as pseudo_data
    from bayesgmm.priors.data_scale import OF_CONSTANT as OF_CONSTANT
    from bayesgmm.priors.data_scale import constant_features as constant_features
    from bayesgmm.priors.data_scale import counted_rows as counted_rows
    from bayesgmm.priors.data_scale import moments as moments
    from bayesgmm.priors.data_scale import warn_of_constant_features as warn_of_constant_features
    from bayesgmm.priors.hyperparameter_values import hyperparameters as hyperparameters
    from bayesgmm.priors.hyperpriors import Gamma as Gamma
    from bayesgmm.priors.hyperpriors import Separation as Separation
    from bayesgmm.priors.hyperpriors import Wishart as Wishart
    from bayesgmm.priors.incomplete_moments import observed_moments as observed_moments
    from bayesgmm.priors.incomplete_moments import separate_moments as separate_moments
    from bayesgmm.priors.model import Model as Model
    from bayesgmm.priors.prior import FORMS as FORMS
    from bayesgmm.priors.prior import Prior as Prior
    from bayesgmm.priors.resolved import ResolvedPrior as ResolvedPrior
    from bayesgmm.priors.sample import draw_mixtures as draw_mixtures

__getattr__, __dir__, __all__ = lazy(__name__)
