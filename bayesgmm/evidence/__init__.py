"""Marginal likelihood: bridge sampling, THAMES, modes and their weights, model averaging."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.evidence.bridge_sampling import Bridge as Bridge
    from bayesgmm.evidence.bridge_sampling import bridge as bridge
    from bayesgmm.evidence.conditional_densities import Conditionals as Conditionals
    from bayesgmm.evidence.marginal_likelihood import Estimate as Estimate
    from bayesgmm.evidence.marginal_likelihood import Evidence as Evidence
    from bayesgmm.evidence.marginal_likelihood import log_evidence as log_evidence
    from bayesgmm.evidence.mode_weights import RELEVANT as RELEVANT
    from bayesgmm.evidence.mode_weights import Target as Target
    from bayesgmm.evidence.mode_weights import approximated_modes as approximated_modes
    from bayesgmm.evidence.mode_weights import log_masses as log_masses
    from bayesgmm.evidence.mode_weights import visited_modes as visited_modes
    from bayesgmm.evidence.mode_weights import weigh_modes as weigh_modes
    from bayesgmm.evidence.model_average import ModelAverage as ModelAverage
    from bayesgmm.evidence.model_average import average_models as average_models
    from bayesgmm.evidence.modes import MIXED as MIXED
    from bayesgmm.evidence.modes import Modes as Modes
    from bayesgmm.evidence.modes import find_modes as find_modes
    from bayesgmm.evidence.modes import partitions_of as partitions_of
    from bayesgmm.evidence.pooled_modes import EVIDENCE as EVIDENCE
    from bayesgmm.evidence.pooled_modes import EXPLORATORY as EXPLORATORY
    from bayesgmm.evidence.pooled_modes import VISITS as VISITS
    from bayesgmm.evidence.pooled_modes import combine_modes as combine_modes
    from bayesgmm.evidence.pooled_modes import is_resampled as is_resampled
    from bayesgmm.evidence.pooled_modes import mode_mean as mode_mean
    from bayesgmm.evidence.pooled_modes import mode_mean_range as mode_mean_range
    from bayesgmm.evidence.pooled_modes import modes_record as modes_record
    from bayesgmm.evidence.pooled_modes import unpooled as unpooled
    from bayesgmm.evidence.thames_estimator import thames as thames

__getattr__, __dir__, __all__ = lazy(__name__)
