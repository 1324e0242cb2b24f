"""Leave-one-out cross-validation: PSIS, moment matching, refits."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.cross_validation.leave_one_out import FEWEST_DRAWS as FEWEST_DRAWS
    from bayesgmm.cross_validation.leave_one_out import compute_log_likelihood as compute_log_likelihood
    from bayesgmm.cross_validation.leave_one_out import loo as loo
    from bayesgmm.cross_validation.psis import good_k as good_k
    from bayesgmm.cross_validation.psis import relative_efficiency as relative_efficiency

__getattr__, __dir__, __all__ = lazy(__name__)
