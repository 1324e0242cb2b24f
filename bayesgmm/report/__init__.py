"""HTML reports of fits."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.report.em_sections import Sample as Sample
    from bayesgmm.report.report import ReportSettings as ReportSettings
    from bayesgmm.report.report import write_em_report as write_em_report
    from bayesgmm.report.report import write_report as write_report
    from bayesgmm.report.reproduce import Source as Source

__getattr__, __dir__, __all__ = lazy(__name__)
