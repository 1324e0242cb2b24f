"""Model checks: goodness of fit, posterior predictive checks, outlier scores."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.model_checks.checks import Drawing as Drawing
    from bayesgmm.model_checks.checks import ModelCheck as ModelCheck
    from bayesgmm.model_checks.checks import check_model as check_model
    from bayesgmm.model_checks.checks import check_panels as check_panels
    from bayesgmm.model_checks.outliers import OutlierScores as OutlierScores
    from bayesgmm.model_checks.outliers import outlier_scores as outlier_scores

__getattr__, __dir__, __all__ = lazy(__name__)
