"""Predictive quantities over posterior draws: densities, memberships, intervals, simulated data."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.prediction.arviz_groups import to_arviz as to_arviz
    from bayesgmm.prediction.conditioning import condition as condition
    from bayesgmm.prediction.conditioning import marginal as marginal
    from bayesgmm.prediction.densities import blocks_of_densities as blocks_of_densities
    from bayesgmm.prediction.densities import each_draw as each_draw
    from bayesgmm.prediction.densities import group_memberships as group_memberships
    from bayesgmm.prediction.densities import interval_function as interval_function
    from bayesgmm.prediction.densities import interval_over_draws as interval_over_draws
    from bayesgmm.prediction.densities import interval_probability as interval_probability
    from bayesgmm.prediction.densities import log_densities as log_densities
    from bayesgmm.prediction.densities import log_predictive_density as log_predictive_density
    from bayesgmm.prediction.densities import mean_memberships as mean_memberships
    from bayesgmm.prediction.densities import mean_probabilities as mean_probabilities
    from bayesgmm.prediction.densities import membership_intervals as membership_intervals
    from bayesgmm.prediction.densities import most_probable as most_probable
    from bayesgmm.prediction.densities import pieces_in_memory as pieces_in_memory
    from bayesgmm.prediction.densities import predictive_sample as predictive_sample
    from bayesgmm.prediction.densities import sampled_groups as sampled_groups
    from bayesgmm.prediction.densities import sampled_memberships as sampled_memberships
    from bayesgmm.prediction.imputation import Imputation as Imputation
    from bayesgmm.prediction.imputation import impute as impute
    from bayesgmm.prediction.regression import predict_features as predict_features
    from bayesgmm.prediction.simulation import posterior_predictive as posterior_predictive
    from bayesgmm.prediction.simulation import prior_predictive as prior_predictive
    from bayesgmm.prediction.simulation import simulated_rows as simulated_rows
    from bayesgmm.prediction.tails import Reference as Reference
    from bayesgmm.prediction.tails import reference as reference

__getattr__, __dir__, __all__ = lazy(__name__)
