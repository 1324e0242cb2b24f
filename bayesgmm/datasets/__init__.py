"""Example data sets with their sources; see LICENSES.md for their licences."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.datasets.loaders import load_acidity as load_acidity
    from bayesgmm.datasets.loaders import load_banknote as load_banknote
    from bayesgmm.datasets.loaders import load_credit_card as load_credit_card
    from bayesgmm.datasets.loaders import load_diabetes as load_diabetes
    from bayesgmm.datasets.loaders import load_galaxies as load_galaxies
    from bayesgmm.datasets.loaders import load_gvhd as load_gvhd
    from bayesgmm.datasets.loaders import load_old_faithful as load_old_faithful
    from bayesgmm.datasets.loaders import load_speech as load_speech
    from bayesgmm.datasets.loaders import load_thyroid as load_thyroid

__getattr__, __dir__, __all__ = lazy(__name__)
