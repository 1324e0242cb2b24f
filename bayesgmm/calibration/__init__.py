"""Simulation-based calibration of a prior and a sampler: `calibrate`."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.calibration.calibration import Calibration as Calibration
    from bayesgmm.calibration.sbc import calibrate as calibrate

__getattr__, __dir__, __all__ = lazy(__name__)
