"""Shared helpers: array aliases, progress bars, threads, text and HTML."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm._common.arrays import Array as Array
    from bayesgmm._common.arrays import Columns as Columns
    from bayesgmm._common.arrays import Covariances as Covariances
    from bayesgmm._common.arrays import Factors as Factors
    from bayesgmm._common.arrays import IntArray as IntArray
    from bayesgmm._common.arrays import Means as Means
    from bayesgmm._common.arrays import PerRow as PerRow
    from bayesgmm._common.arrays import Responsibilities as Responsibilities
    from bayesgmm._common.arrays import Rows as Rows
    from bayesgmm._common.arrays import Weights as Weights
    from bayesgmm._common.html import folded as folded
    from bayesgmm._common.html import listing as listing
    from bayesgmm._common.html import paragraph as paragraph
    from bayesgmm._common.html import table as table
    from bayesgmm._common.progress import PATIENCE as PATIENCE
    from bayesgmm._common.progress import Move as Move
    from bayesgmm._common.progress import is_watched as is_watched
    from bayesgmm._common.progress import progress_bar as progress_bar
    from bayesgmm._common.text import counted as counted
    from bayesgmm._common.text import decimals_of as decimals_of
    from bayesgmm._common.text import frame_table as frame_table
    from bayesgmm._common.text import listed as listed
    from bayesgmm._common.text import numbered as numbered
    from bayesgmm._common.text import quoted as quoted
    from bayesgmm._common.text import sentence as sentence
    from bayesgmm._common.text import shown as shown
    from bayesgmm._common.text import with_error as with_error
    from bayesgmm._common.threads import Progress as Progress
    from bayesgmm._common.threads import in_threads as in_threads
    from bayesgmm._common.threads import one_blas_thread as one_blas_thread
    from bayesgmm._common.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy(__name__)
