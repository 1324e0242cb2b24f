"""`Data`: validated rows in blocks, with their weights."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.data.blocks import Block as Block
    from bayesgmm.data.blocks import Data as Data
    from bayesgmm.data.unique_rows import distinct_rows as distinct_rows

__getattr__, __dir__, __all__ = lazy(__name__)
