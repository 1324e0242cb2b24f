"""Number of components: criteria, evidence, LOO, bootstrap tests; clusters of merged components."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.selection.criteria import CRITERIA as CRITERIA
    from bayesgmm.selection.criteria import Score as Score
    from bayesgmm.selection.entropy import Merge as Merge
    from bayesgmm.selection.likelihood_ratio import BootstrapLRT as BootstrapLRT
    from bayesgmm.selection.likelihood_ratio import LikelihoodRatioTest as LikelihoodRatioTest
    from bayesgmm.selection.likelihood_ratio import bootstrap_lrt as bootstrap_lrt
    from bayesgmm.selection.merging import Merging as Merging
    from bayesgmm.selection.merging import merge_components as merge_components
    from bayesgmm.selection.report import SelectionSettings as SelectionSettings
    from bayesgmm.selection.report import compare_models as compare_models
    from bayesgmm.selection.report import selection_renderable as selection_renderable
    from bayesgmm.selection.report import write_selection as write_selection
    from bayesgmm.selection.select import select_components as select_components
    from bayesgmm.selection.selection import Candidate as Candidate
    from bayesgmm.selection.selection import Comparand as Comparand
    from bayesgmm.selection.selection import ComponentCandidate as ComponentCandidate
    from bayesgmm.selection.selection import Selection as Selection

__getattr__, __dir__, __all__ = lazy(__name__)
