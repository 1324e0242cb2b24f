"""The compiled log posterior: unconstrained transforms, log prior, value and gradient for NUTS."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.log_posterior._cfunc import EXPAND_SIGNATURE as EXPAND_SIGNATURE
    from bayesgmm.log_posterior._cfunc import FINITE as FINITE
    from bayesgmm.log_posterior._cfunc import VALUE_NOT_FINITE as VALUE_NOT_FINITE
    from bayesgmm.log_posterior.by_blocks import BlockLogPosterior as BlockLogPosterior
    from bayesgmm.log_posterior.by_blocks import Gathered as Gathered
    from bayesgmm.log_posterior.log_posterior import LogPosterior as LogPosterior
    from bayesgmm.log_posterior.log_posterior import c_log_posterior as c_log_posterior
    from bayesgmm.log_posterior.log_weights import SparseWeights as SparseWeights
    from bayesgmm.log_posterior.transforms import Coordinates as Coordinates
    from bayesgmm.log_posterior.whitening import DENSE_LIMIT as DENSE_LIMIT
    from bayesgmm.log_posterior.whitening import whitened_log_posterior as whitened_log_posterior
    from bayesgmm.log_posterior.with_noise import noisy_log_posterior as noisy_log_posterior

__getattr__, __dir__, __all__ = lazy(__name__)
