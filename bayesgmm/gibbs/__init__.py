"""Blocked Gibbs sampling in compiled code: sweeps, and the evidence by tempering them."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.gibbs.by_blocks import BlockSweeps as BlockSweeps
    from bayesgmm.gibbs.short_chains import random_starts as random_starts
    from bayesgmm.gibbs.short_chains import run_chains as run_chains
    from bayesgmm.gibbs.sweep import SWEEPS as SWEEPS
    from bayesgmm.gibbs.sweep import Chain as Chain
    from bayesgmm.gibbs.sweep import Kept as Kept
    from bayesgmm.gibbs.sweep import Point as Point
    from bayesgmm.gibbs.sweep import Sweeps as Sweeps
    from bayesgmm.gibbs.sweep import refusal as refusal
    from bayesgmm.gibbs.tempering import Tempered as Tempered
    from bayesgmm.gibbs.tempering import tempered_evidence as tempered_evidence

__getattr__, __dir__, __all__ = lazy(__name__)
