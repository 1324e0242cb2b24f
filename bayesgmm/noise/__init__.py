"""A uniform noise component: its box and volume, mixtures that have one, EM and its starts."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.noise.noisy_em import log_noise_prior as log_noise_prior
    from bayesgmm.noise.noisy_em import run_em_from as run_em_from
    from bayesgmm.noise.noisy_em import run_noisy_em as run_noisy_em
    from bayesgmm.noise.noisy_mixture import NOISE_PRIOR as NOISE_PRIOR
    from bayesgmm.noise.noisy_mixture import NOISE_WEIGHT as NOISE_WEIGHT
    from bayesgmm.noise.noisy_mixture import NoisyMixture as NoisyMixture
    from bayesgmm.noise.noisy_mixture import Uniform as Uniform
    from bayesgmm.noise.noisy_mixture import noise_of as noise_of
    from bayesgmm.noise.noisy_mixture import refuse_noise as refuse_noise
    from bayesgmm.noise.noisy_starts import best_of_noisy_starts as best_of_noisy_starts
    from bayesgmm.noise.noisy_starts import starts_with as starts_with

__getattr__, __dir__, __all__ = lazy(__name__)
