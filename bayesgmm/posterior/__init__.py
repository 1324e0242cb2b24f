"""Posteriors as DataTrees: the schema, and the adapter for draws from PyMC, NumPyro or Stan."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.posterior.adapter import NO_NAMES as NO_NAMES
    from bayesgmm.posterior.adapter import Names as Names
    from bayesgmm.posterior.adapter import Posterior as Posterior
    from bayesgmm.posterior.adapter import data_of as data_of
    from bayesgmm.posterior.adapter import described_mixture as described_mixture
    from bayesgmm.posterior.adapter import mixture_posterior as mixture_posterior
    from bayesgmm.posterior.adapter import root_of as root_of
    from bayesgmm.posterior.adapter import variables_of as variables_of
    from bayesgmm.posterior.axes import axes_of as axes_of
    from bayesgmm.posterior.axes import has_name as has_name
    from bayesgmm.posterior.axes import own_dims as own_dims
    from bayesgmm.posterior.tree import CLUSTER as CLUSTER
    from bayesgmm.posterior.tree import FEATURE as FEATURE
    from bayesgmm.posterior.tree import FEATURE_BIS as FEATURE_BIS
    from bayesgmm.posterior.tree import OBS as OBS
    from bayesgmm.posterior.tree import PARAMETERS as PARAMETERS
    from bayesgmm.posterior.tree import SAMPLE_DIMS as SAMPLE_DIMS
    from bayesgmm.posterior.tree import aligned as aligned
    from bayesgmm.posterior.tree import check_posterior as check_posterior
    from bayesgmm.posterior.tree import check_prior as check_prior
    from bayesgmm.posterior.tree import draws_of as draws_of
    from bayesgmm.posterior.tree import mean_mixture as mean_mixture
    from bayesgmm.posterior.tree import model_of as model_of
    from bayesgmm.posterior.tree import posterior_tree as posterior_tree
    from bayesgmm.posterior.tree import prior_from_json as prior_from_json
    from bayesgmm.posterior.tree import prior_to_json as prior_to_json
    from bayesgmm.posterior.tree import provenance as provenance
    from bayesgmm.posterior.tree import start_mixture as start_mixture
    from bayesgmm.posterior.tree import with_covariances as with_covariances
    from bayesgmm.posterior.tree import with_hyperparameters as with_hyperparameters

__getattr__, __dir__, __all__ = lazy(__name__)
