"""The style of all figures: colours that mean the same everywhere, and matplotlib's settings."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.style.colours import CLUSTERS as CLUSTERS
    from bayesgmm.style.colours import DATA as DATA
    from bayesgmm.style.colours import EM as EM
    from bayesgmm.style.colours import GREY as GREY
    from bayesgmm.style.colours import INK as INK
    from bayesgmm.style.colours import MARKERS as MARKERS
    from bayesgmm.style.colours import POSTERIOR as POSTERIOR
    from bayesgmm.style.settings import context as context
    from bayesgmm.style.settings import use as use

__getattr__, __dir__, __all__ = lazy(__name__)
