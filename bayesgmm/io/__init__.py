"""Files: tables to read, sources of rows, posteriors in NetCDF, atomic output, checkpoints."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.io.checkpoints import CheckpointPath as CheckpointPath
    from bayesgmm.io.checkpoints import Pieces as Pieces
    from bayesgmm.io.checkpoints import Series as Series
    from bayesgmm.io.checkpoints import check_same_work as check_same_work
    from bayesgmm.io.checkpoints import checkpoint_at as checkpoint_at
    from bayesgmm.io.checkpoints import fingerprint_of_arrays as fingerprint_of_arrays
    from bayesgmm.io.checkpoints import once as once
    from bayesgmm.io.files import EM_FILES as EM_FILES
    from bayesgmm.io.files import OUTPUT_FILES as OUTPUT_FILES
    from bayesgmm.io.files import REPORT_FILE as REPORT_FILE
    from bayesgmm.io.files import SELECTION_FILES as SELECTION_FILES
    from bayesgmm.io.files import SOURCE_FILES as SOURCE_FILES
    from bayesgmm.io.files import read_file as read_file
    from bayesgmm.io.files import staged_output as staged_output
    from bayesgmm.io.netcdf import load_tree as load_tree
    from bayesgmm.io.netcdf import refused_with as refused_with
    from bayesgmm.io.netcdf import save_tree as save_tree
    from bayesgmm.io.parquet_files import write_parquet as write_parquet
    from bayesgmm.io.posix import Terminated as Terminated
    from bayesgmm.io.posix import ended_by_sigterm as ended_by_sigterm
    from bayesgmm.io.sources import OpenSource as OpenSource
    from bayesgmm.io.sources import open_source as open_source
    from bayesgmm.io.sources import read_or_open as read_or_open
    from bayesgmm.io.whole_files import check_target as check_target
    from bayesgmm.io.whole_files import write_whole as write_whole

__getattr__, __dir__, __all__ = lazy(__name__)
