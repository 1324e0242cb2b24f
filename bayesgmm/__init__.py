"""Bayesian Gaussian mixtures: clusters with honest error bars, in seconds.

Public names are loaded when they are first used (PEP 562), so that EM alone never imports PyMC.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bayesgmm import datasets as datasets
    from bayesgmm.bayes.allocations import occupied_clusters as occupied_clusters
    from bayesgmm.bayes.allocations import sample_labels as sample_labels
    from bayesgmm.bayes.diagnosis import Diagnosis as Diagnosis
    from bayesgmm.bayes.diagnosis import diagnose as diagnose
    from bayesgmm.bayes.distribution import MvNormalMixture as MvNormalMixture
    from bayesgmm.bayes.evidence import log_evidence as log_evidence
    from bayesgmm.bayes.loo import compute_log_likelihood as compute_log_likelihood
    from bayesgmm.bayes.loo import loo as loo
    from bayesgmm.bayes.model import build_model as build_model
    from bayesgmm.bayes.model_average import average_models as average_models
    from bayesgmm.bayes.partition import credible_ball as credible_ball
    from bayesgmm.bayes.partition import estimate_partition as estimate_partition
    from bayesgmm.bayes.partition import partition_loss as partition_loss
    from bayesgmm.bayes.pooling import combine_modes as combine_modes
    from bayesgmm.bayes.pooling import mode_mean as mode_mean
    from bayesgmm.bayes.predictive import posterior_predictive as posterior_predictive
    from bayesgmm.bayes.predictive import prior_predictive as prior_predictive
    from bayesgmm.bayes.relabel import compare_relabellings as compare_relabellings
    from bayesgmm.bayes.relabel import component_summary as component_summary
    from bayesgmm.bayes.relabel import relabel as relabel
    from bayesgmm.bayes.relabel import restore_labels as restore_labels
    from bayesgmm.bayes.representatives import representative_partitions as representative_partitions
    from bayesgmm.bayes.similarity import similarity_matrix as similarity_matrix
    from bayesgmm.bayes.uncertainty import membership_uncertainty as membership_uncertainty
    from bayesgmm.ground.mixture import Mixture as Mixture
    from bayesgmm.ground.priors import Prior as Prior
    from bayesgmm.surface.bayesian_gaussian_mixture import BayesianGaussianMixture as BayesianGaussianMixture
    from bayesgmm.surface.checks import ModelCheck as ModelCheck
    from bayesgmm.surface.checks import check_model as check_model
    from bayesgmm.surface.compare import compare as compare
    from bayesgmm.surface.gaussian_mixture import GaussianMixture as GaussianMixture
    from bayesgmm.surface.load import load as load
    from bayesgmm.surface.outliers import OutlierScores as OutlierScores
    from bayesgmm.surface.outliers import outlier_scores as outlier_scores
    from bayesgmm.surface.plots import plot_clusters as plot_clusters
    from bayesgmm.surface.plots_components import plot_components as plot_components
    from bayesgmm.surface.plots_density import plot_density as plot_density
    from bayesgmm.surface.plots_mixing import plot_mixing as plot_mixing
    from bayesgmm.surface.plots_pairs import plot_pairs as plot_pairs
    from bayesgmm.surface.plots_partition import plot_membership_uncertainty as plot_membership_uncertainty
    from bayesgmm.surface.plots_partition import plot_similarity as plot_similarity
    from bayesgmm.surface.select import select_components as select_components

    __version__: str

_HOMES = {
    "BayesianGaussianMixture": "bayesgmm.surface.bayesian_gaussian_mixture",
    "Diagnosis": "bayesgmm.bayes.diagnosis",
    "GaussianMixture": "bayesgmm.surface.gaussian_mixture",
    "Mixture": "bayesgmm.ground.mixture",
    "ModelCheck": "bayesgmm.surface.checks",
    "MvNormalMixture": "bayesgmm.bayes.distribution",
    "OutlierScores": "bayesgmm.surface.outliers",
    "Prior": "bayesgmm.ground.priors",
    "average_models": "bayesgmm.bayes.model_average",
    "build_model": "bayesgmm.bayes.model",
    "check_model": "bayesgmm.surface.checks",
    "combine_modes": "bayesgmm.bayes.pooling",
    "compare": "bayesgmm.surface.compare",
    "compare_relabellings": "bayesgmm.bayes.relabel",
    "component_summary": "bayesgmm.bayes.relabel",
    "compute_log_likelihood": "bayesgmm.bayes.loo",
    "credible_ball": "bayesgmm.bayes.partition",
    "diagnose": "bayesgmm.bayes.diagnosis",
    "estimate_partition": "bayesgmm.bayes.partition",
    "load": "bayesgmm.surface.load",
    "log_evidence": "bayesgmm.bayes.evidence",
    "loo": "bayesgmm.bayes.loo",
    "membership_uncertainty": "bayesgmm.bayes.uncertainty",
    "mode_mean": "bayesgmm.bayes.pooling",
    "occupied_clusters": "bayesgmm.bayes.allocations",
    "outlier_scores": "bayesgmm.surface.outliers",
    "partition_loss": "bayesgmm.bayes.partition",
    "plot_clusters": "bayesgmm.surface.plots",
    "plot_components": "bayesgmm.surface.plots_components",
    "plot_density": "bayesgmm.surface.plots_density",
    "plot_membership_uncertainty": "bayesgmm.surface.plots_partition",
    "plot_mixing": "bayesgmm.surface.plots_mixing",
    "plot_similarity": "bayesgmm.surface.plots_partition",
    "plot_pairs": "bayesgmm.surface.plots_pairs",
    "posterior_predictive": "bayesgmm.bayes.predictive",
    "prior_predictive": "bayesgmm.bayes.predictive",
    "relabel": "bayesgmm.bayes.relabel",
    "representative_partitions": "bayesgmm.bayes.representatives",
    "restore_labels": "bayesgmm.bayes.relabel",
    "select_components": "bayesgmm.surface.select",
    "sample_labels": "bayesgmm.bayes.allocations",
    "similarity_matrix": "bayesgmm.bayes.similarity",
}

__all__ = [
    "BayesianGaussianMixture",
    "Diagnosis",
    "GaussianMixture",
    "Mixture",
    "ModelCheck",
    "MvNormalMixture",
    "OutlierScores",
    "Prior",
    "average_models",
    "build_model",
    "check_model",
    "combine_modes",
    "compare",
    "compare_relabellings",
    "component_summary",
    "compute_log_likelihood",
    "credible_ball",
    "datasets",
    "diagnose",
    "estimate_partition",
    "load",
    "log_evidence",
    "loo",
    "membership_uncertainty",
    "mode_mean",
    "occupied_clusters",
    "outlier_scores",
    "partition_loss",
    "plot_clusters",
    "plot_components",
    "plot_density",
    "plot_membership_uncertainty",
    "plot_mixing",
    "plot_pairs",
    "plot_similarity",
    "posterior_predictive",
    "prior_predictive",
    "relabel",
    "representative_partitions",
    "restore_labels",
    "sample_labels",
    "select_components",
    "similarity_matrix",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("bayesgmm")
    if name == "datasets":
        return import_module("bayesgmm.datasets")
    if name not in _HOMES:
        raise AttributeError(f"module 'bayesgmm' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
