"""Zarr arrays as blocks of rows: whole chunks, or several of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from bayesgmm._common import Rows
from bayesgmm.data import rows_at_a_time
from bayesgmm.exceptions import InputError
from bayesgmm.io.stored_files import FileRows, fingerprint_of
from bayesgmm.validation import chosen_names, default_names

_READS_PER_BLOCK = 4


@dataclass(frozen=True, slots=True)
class ChunkRows:
    """Some rows of an array."""

    array: Any
    which: Sequence[int] | None
    first_row: int
    n_rows: int

    @property
    def name(self) -> str:
        """Where the array is."""
        return str(self.array.store_path)

    def read(self) -> Iterator[Rows]:
        """The rows, in the type of the array."""
        rows = self.array[self.first_row : self.first_row + self.n_rows]
        yield rows if self.which is None else rows[:, self.which]


def opened_zarr(path: str) -> Any:
    """The array in a folder."""
    import zarr

    try:
        return zarr.open_array(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(expected="a Zarr array", got=f"{path}, which cannot be read as one ({reason})") from error


def zarr_rows(array: Any, columns: Sequence[str] | None) -> FileRows:
    """The blocks of an array (obs, feature) of numbers."""
    if array.ndim != 2 or array.dtype.kind not in "iuf" or array.shape[1] == 0:
        expected = f"a Zarr array (obs, feature) of numbers at {array.store_path}"
        raise InputError(expected=expected, got=f"shape {array.shape} and type {array.dtype}")
    (n_rows, n_features), chunk = array.shape, array.chunks[0]
    per_block = chunk * ceil(_READS_PER_BLOCK * rows_at_a_time(n_features) / chunk)
    available = default_names(n_features)
    which = None if columns is None else [available.index(name) for name in chosen_names(available, columns)]
    starts = range(0, n_rows, per_block)
    blocks = [ChunkRows(array, which, start, min(per_block, n_rows - start)) for start in starts]
    return FileRows(blocks, n_features if which is None else len(which), None if columns is None else list(columns))


def zarr_excerpts(array: Any) -> bytes:
    """What its fingerprint is made of: its description, and its first and last chunks."""
    described = json.dumps(array.metadata.to_dict(), default=str, sort_keys=True).encode()
    n_rows, chunk = array.shape[0], array.chunks[0]
    ends = (array[:chunk], array[max(0, n_rows - chunk) :])
    return fingerprint_of([described, *(rows.tobytes() for rows in ends)]).encode()
