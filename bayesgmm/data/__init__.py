"""`Data`: validated rows in blocks, with their weights; sources of rows not in memory, and sums over blocks."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.data.blocks import COMPLETE as COMPLETE
    from bayesgmm.data.blocks import EVERY_COMPONENT as EVERY_COMPONENT
    from bayesgmm.data.blocks import MARGINALIZE as MARGINALIZE
    from bayesgmm.data.blocks import MISSING as MISSING
    from bayesgmm.data.blocks import Allowed as Allowed
    from bayesgmm.data.blocks import Block as Block
    from bayesgmm.data.blocks import Data as Data
    from bayesgmm.data.blocks import Handle as Handle
    from bayesgmm.data.blocks import IncompleteData as IncompleteData
    from bayesgmm.data.blocks import Patterns as Patterns
    from bayesgmm.data.buffers import ReusedBuffer as ReusedBuffer
    from bayesgmm.data.labels import N_LABELLED as N_LABELLED
    from bayesgmm.data.labels import alike_components as alike_components
    from bayesgmm.data.labels import allowed_components as allowed_components
    from bayesgmm.data.labels import refuse_labelled as refuse_labelled
    from bayesgmm.data.labels import warn_of_labels as warn_of_labels
    from bayesgmm.data.pattern_type import PATTERNS as PATTERNS
    from bayesgmm.data.sources import Source as Source
    from bayesgmm.data.sources import SourceBlock as SourceBlock
    from bayesgmm.data.sources import SourceData as SourceData
    from bayesgmm.data.sources import rows_at_a_time as rows_at_a_time
    from bayesgmm.data.totals import HaltedError as HaltedError
    from bayesgmm.data.totals import HandlesElsewhere as HandlesElsewhere
    from bayesgmm.data.totals import by_handle as by_handle
    from bayesgmm.data.totals import in_order as in_order
    from bayesgmm.data.totals import longest_run as longest_run
    from bayesgmm.data.totals import over_blocks as over_blocks
    from bayesgmm.data.totals import threads_for as threads_for
    from bayesgmm.data.totals import total as total
    from bayesgmm.data.unique_rows import distinct_rows as distinct_rows

__getattr__, __dir__, __all__ = lazy(__name__)
