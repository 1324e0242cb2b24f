"""Marginal and conditional distributions of Gaussian mixtures: features by name, conditional normals, quantiles."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.conditionals.conditional_mixtures import ConditionalMixtures as ConditionalMixtures
    from bayesgmm.conditionals.conditional_mixtures import as_probabilities as as_probabilities
    from bayesgmm.conditionals.features import given_values as given_values
    from bayesgmm.conditionals.features import others as others
    from bayesgmm.conditionals.features import positions_of as positions_of
    from bayesgmm.conditionals.normals import Regressions as Regressions
    from bayesgmm.conditionals.quantiles import mixture_quantiles as mixture_quantiles

__getattr__, __dir__, __all__ = lazy(__name__)
