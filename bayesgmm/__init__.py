"""Bayesian Gaussian mixtures: clusters with honest error bars, in seconds.

Public names are loaded when they are first used (PEP 562), so that EM alone never imports PyMC.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bayesgmm import datasets as datasets
    from bayesgmm.bayes.distribution import MvNormalMixture as MvNormalMixture
    from bayesgmm.bayes.model import build_model as build_model
    from bayesgmm.bayes.relabel import compare_relabellings as compare_relabellings
    from bayesgmm.bayes.relabel import component_summary as component_summary
    from bayesgmm.bayes.relabel import relabel as relabel
    from bayesgmm.bayes.relabel import restore_labels as restore_labels
    from bayesgmm.ground.mixture import Mixture as Mixture
    from bayesgmm.ground.priors import Prior as Prior
    from bayesgmm.surface.bayesian_gaussian_mixture import BayesianGaussianMixture as BayesianGaussianMixture
    from bayesgmm.surface.bayesian_gaussian_mixture import load as load
    from bayesgmm.surface.gaussian_mixture import GaussianMixture as GaussianMixture
    from bayesgmm.surface.plots import plot_clusters as plot_clusters

    __version__: str

_HOMES = {
    "BayesianGaussianMixture": "bayesgmm.surface.bayesian_gaussian_mixture",
    "GaussianMixture": "bayesgmm.surface.gaussian_mixture",
    "Mixture": "bayesgmm.ground.mixture",
    "MvNormalMixture": "bayesgmm.bayes.distribution",
    "Prior": "bayesgmm.ground.priors",
    "build_model": "bayesgmm.bayes.model",
    "compare_relabellings": "bayesgmm.bayes.relabel",
    "component_summary": "bayesgmm.bayes.relabel",
    "load": "bayesgmm.surface.bayesian_gaussian_mixture",
    "plot_clusters": "bayesgmm.surface.plots",
    "relabel": "bayesgmm.bayes.relabel",
    "restore_labels": "bayesgmm.bayes.relabel",
}

__all__ = [
    "BayesianGaussianMixture",
    "GaussianMixture",
    "Mixture",
    "MvNormalMixture",
    "Prior",
    "build_model",
    "compare_relabellings",
    "component_summary",
    "datasets",
    "load",
    "plot_clusters",
    "relabel",
    "restore_labels",
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
