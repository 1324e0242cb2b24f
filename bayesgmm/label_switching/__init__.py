"""Label switching: relabelling methods, identifiability of components, `relabel`."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.label_switching.identifiability import Relabelling as Relabelling
    from bayesgmm.label_switching.matching import Matching as Matching
    from bayesgmm.label_switching.matching import match_components as match_components
    from bayesgmm.label_switching.relabel_draws import INSTEAD as INSTEAD
    from bayesgmm.label_switching.relabel_draws import RECORD as RECORD
    from bayesgmm.label_switching.relabel_draws import bare_draws as bare_draws
    from bayesgmm.label_switching.relabel_draws import compare_relabellings as compare_relabellings
    from bayesgmm.label_switching.relabel_draws import component_record as component_record
    from bayesgmm.label_switching.relabel_draws import component_summary as component_summary
    from bayesgmm.label_switching.relabel_draws import relabel as relabel
    from bayesgmm.label_switching.relabel_draws import relabelled_sample as relabelled_sample
    from bayesgmm.label_switching.relabel_draws import relabelling as relabelling
    from bayesgmm.label_switching.relabel_draws import restore_labels as restore_labels

__getattr__, __dir__, __all__ = lazy(__name__)
