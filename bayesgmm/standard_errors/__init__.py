"""Standard errors of maximum likelihood: observed information and bootstrap."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.standard_errors.bootstrap_replicates import Bootstrap as Bootstrap
    from bayesgmm.standard_errors.bootstrap_replicates import bootstrap as bootstrap
    from bayesgmm.standard_errors.information import LikelihoodExpansion as LikelihoodExpansion
    from bayesgmm.standard_errors.information import LocalCovariance as LocalCovariance
    from bayesgmm.standard_errors.information import PerParameter as PerParameter
    from bayesgmm.standard_errors.information import StandardErrors as StandardErrors
    from bayesgmm.standard_errors.information import standard_errors as standard_errors
    from bayesgmm.standard_errors.score_coordinates import LocalCoordinates as LocalCoordinates

__getattr__, __dir__, __all__ = lazy(__name__)
