"""Split-merge moves: redistribute the rows of two components at once, beside the sweeps of Gibbs sampling."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.split_merge.moves import Moves as Moves
    from bayesgmm.split_merge.moves import can_move as can_move

__getattr__, __dir__, __all__ = lazy(__name__)
