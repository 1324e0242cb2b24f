"""Laplace approximation at a mode, corrected by Pareto-smoothed importance sampling on subsamples of the rows."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.laplace.approximation import Approximation as Approximation
    from bayesgmm.laplace.approximation import approximate as approximate
    from bayesgmm.laplace.approximation import effective_draws as effective_draws
    from bayesgmm.laplace.approximation import resampled as resampled
    from bayesgmm.laplace.smoothing import MAX_K_HAT as MAX_K_HAT
    from bayesgmm.laplace.smoothing import MIN_EFFECTIVE_SHARE as MIN_EFFECTIVE_SHARE
    from bayesgmm.laplace.smoothing import resampled_in_order as resampled_in_order

__getattr__, __dir__, __all__ = lazy(__name__)
