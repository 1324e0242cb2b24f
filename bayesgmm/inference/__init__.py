"""Sampling the posterior: settings, NUTS, Gibbs sampling, engines, exploratory chains."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.inference.assemble import fitted_tree as fitted_tree
    from bayesgmm.inference.engines import ENGINES as ENGINES
    from bayesgmm.inference.engines import INFERENCES as INFERENCES
    from bayesgmm.inference.engines import Sampled as Sampled
    from bayesgmm.inference.engines import sample_native as sample_native
    from bayesgmm.inference.engines import sampler_name as sampler_name
    from bayesgmm.inference.engines import sampler_of as sampler_of
    from bayesgmm.inference.enough_draws import sample_enough as sample_enough
    from bayesgmm.inference.gibbs import check_gibbs as check_gibbs
    from bayesgmm.inference.gibbs import sample_gibbs as sample_gibbs
    from bayesgmm.inference.mode_search import Exploration as Exploration
    from bayesgmm.inference.mode_search import explore as explore
    from bayesgmm.inference.mode_search import explore_optima as explore_optima
    from bayesgmm.inference.mode_search import populated_first as populated_first
    from bayesgmm.inference.problem import Problem as Problem
    from bayesgmm.inference.problem import weights_refused as weights_refused
    from bayesgmm.inference.settings import TOO_SHORT as TOO_SHORT
    from bayesgmm.inference.settings import SamplerSettings as SamplerSettings
    from bayesgmm.inference.settings import Trace as Trace

__getattr__, __dir__, __all__ = lazy(__name__)
