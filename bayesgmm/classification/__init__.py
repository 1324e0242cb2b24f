"""Classification by mixtures whose components belong to known classes."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.classification.mixture_classifier import MixtureClassifier as MixtureClassifier

__getattr__, __dir__, __all__ = lazy(__name__)
