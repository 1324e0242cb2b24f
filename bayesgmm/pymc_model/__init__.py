"""The PyMC model: `build_model`, `MvNormalMixture` and the priors as PyMC distributions."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.pymc_model.model import build_model as build_model
    from bayesgmm.pymc_model.mv_normal_mixture import MvNormalMixture as MvNormalMixture

__getattr__, __dir__, __all__ = lazy(__name__)
