"""Bayesian Gaussian mixtures: clusters with honest error bars, in seconds.

Public names are loaded when they are first used (PEP 562), so that EM alone never imports PyMC.
"""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm import datasets as datasets
    from bayesgmm import exceptions as exceptions
    from bayesgmm import style as style
    from bayesgmm._common import __version__ as __version__
    from bayesgmm.calibration import calibrate as calibrate
    from bayesgmm.classification import MixtureClassifier as MixtureClassifier
    from bayesgmm.comparison import compare as compare
    from bayesgmm.cross_validation import compute_log_likelihood as compute_log_likelihood
    from bayesgmm.cross_validation import loo as loo
    from bayesgmm.data import Source as Source
    from bayesgmm.diagnostics import Diagnosis as Diagnosis
    from bayesgmm.diagnostics import diagnose as diagnose
    from bayesgmm.diagnostics import power_scaling_sensitivity as power_scaling_sensitivity
    from bayesgmm.estimators import BayesianGaussianMixture as BayesianGaussianMixture
    from bayesgmm.estimators import GaussianMixture as GaussianMixture
    from bayesgmm.estimators import load as load
    from bayesgmm.evidence import average_models as average_models
    from bayesgmm.evidence import combine_modes as combine_modes
    from bayesgmm.evidence import log_evidence as log_evidence
    from bayesgmm.evidence import mode_mean as mode_mean
    from bayesgmm.evidence import mode_mean_range as mode_mean_range
    from bayesgmm.io import open_source as open_source
    from bayesgmm.label_switching import compare_relabellings as compare_relabellings
    from bayesgmm.label_switching import component_summary as component_summary
    from bayesgmm.label_switching import relabel as relabel
    from bayesgmm.label_switching import restore_labels as restore_labels
    from bayesgmm.mixture import Mixture as Mixture
    from bayesgmm.model_checks import ModelCheck as ModelCheck
    from bayesgmm.model_checks import OutlierScores as OutlierScores
    from bayesgmm.model_checks import check_model as check_model
    from bayesgmm.model_checks import outlier_scores as outlier_scores
    from bayesgmm.partitions import credible_ball as credible_ball
    from bayesgmm.partitions import estimate_partition as estimate_partition
    from bayesgmm.partitions import membership_uncertainty as membership_uncertainty
    from bayesgmm.partitions import occupied_clusters as occupied_clusters
    from bayesgmm.partitions import partition_loss as partition_loss
    from bayesgmm.partitions import representative_partitions as representative_partitions
    from bayesgmm.partitions import sample_labels as sample_labels
    from bayesgmm.partitions import similarity_matrix as similarity_matrix
    from bayesgmm.plots import plot_clusters as plot_clusters
    from bayesgmm.plots import plot_components as plot_components
    from bayesgmm.plots import plot_density as plot_density
    from bayesgmm.plots import plot_membership_uncertainty as plot_membership_uncertainty
    from bayesgmm.plots import plot_mixing as plot_mixing
    from bayesgmm.plots import plot_pairs as plot_pairs
    from bayesgmm.plots import plot_similarity as plot_similarity
    from bayesgmm.prediction import condition as condition
    from bayesgmm.prediction import impute as impute
    from bayesgmm.prediction import marginal as marginal
    from bayesgmm.prediction import posterior_predictive as posterior_predictive
    from bayesgmm.prediction import predict_features as predict_features
    from bayesgmm.prediction import prior_predictive as prior_predictive
    from bayesgmm.prediction import to_arviz as to_arviz
    from bayesgmm.priors import Prior as Prior
    from bayesgmm.pymc_model import MvNormalMixture as MvNormalMixture
    from bayesgmm.pymc_model import build_model as build_model
    from bayesgmm.selection import bootstrap_lrt as bootstrap_lrt
    from bayesgmm.selection import merge_components as merge_components
    from bayesgmm.selection import select_components as select_components

__getattr__, __dir__, __all__ = lazy(__name__)
