"""The command line: ``bayesgmm demo``, ``bayesgmm fit``, ``bayesgmm select``."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.cli.commands import main as main

__getattr__, __dir__, __all__ = lazy(__name__)
