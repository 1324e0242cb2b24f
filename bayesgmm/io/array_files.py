"""Arrays in files as blocks of rows: NumPy's .npy files, and Zarr arrays in whole chunks, or several of them.

A .npy file is read into one buffer a thread: mapped pages would count as memory in use.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, BinaryIO

import numpy as np

from bayesgmm._common import Array, Columns, IntArray, Rows
from bayesgmm.data import ReusedBuffer, rows_at_a_time
from bayesgmm.exceptions import InputError
from bayesgmm.io.stored_files import FileRows, StoredFile, fingerprint_of, read_fully
from bayesgmm.validation import chosen_names, default_names

_READS_PER_BLOCK = 4
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_ROWS_TRANSPOSED = 12_500
_columns, _part = ReusedBuffer(), ReusedBuffer()


# ---- .npy files


@dataclass(frozen=True, slots=True)
class NpyBlock:
    """Some rows of an array in a file, in C or Fortran order."""

    file: StoredFile
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype
    is_fortran: bool
    which: slice | list[int]
    first_row: int
    n_rows: int

    @property
    def _used(self) -> IntArray:
        return np.arange(self.shape[1])[self.which]

    @property
    def name(self) -> str:
        """The file."""
        return self.file.path

    def read(self) -> Iterator[Rows]:
        """The rows in double precision."""
        most, end, n_used = rows_at_a_time(self.shape[1]), self.first_row + self.n_rows, len(self._used)
        copy_into = self._from_columns if self.is_fortran else self._from_rows
        with self.file.open() as file:
            for first in range(self.first_row, end, most):
                columns = _columns.array((n_used, min(most, end - first)))
                copy_into(columns, file, first)
                yield columns.T

    def _from_rows(self, columns: Columns, file: BinaryIO, first: int) -> None:
        """In parts that stay in a processor's cache until they are transposed."""
        n_rows = columns.shape[1]
        most = min(_ROWS_TRANSPOSED, n_rows)
        part = _part.array((most, self.shape[1]), self.dtype)
        for start in range(0, n_rows, most):
            rows = part[: n_rows - start]
            self._fill(rows, file, (first + start) * self.shape[1])
            columns[:, start : start + len(rows)] = rows.T[self.which]

    def _from_columns(self, columns: Columns, file: BinaryIO, first: int) -> None:
        for column, j in zip(columns, self._used, strict=True):
            values = _part.array(column.shape, self.dtype)
            self._fill(values, file, j * self.shape[0] + first)
            column[:] = values

    def _fill(self, array: Array, file: BinaryIO, place: int) -> None:
        read_fully(file, self.offset + place * self.dtype.itemsize, memoryview(array).cast("B"), self.name)


def npy_rows(file: StoredFile, columns: Sequence[str] | None) -> FileRows:
    """The blocks of an array (obs, feature) of numbers in a file; objects are refused, and never unpickled."""
    try:
        with file.open() as opened:
            shape, is_fortran, dtype = _HEADERS[np.lib.format.read_magic(opened)](opened)
            offset = opened.tell()
    except (ValueError, KeyError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(expected="a .npy file", got=f"{file.path}, which cannot be read as one ({error})") from error
    if dtype.kind not in "iuf" or len(shape) != 2 or shape[1] == 0:
        raise InputError(
            expected=f"an array (obs, feature) of numbers in {file.path}",
            got=f"shape {shape} and type {dtype.name}",
            hint="Save X.reshape(-1, 1) if there is one feature." if len(shape) == 1 else "",
        )
    if file.size < offset + shape[0] * shape[1] * dtype.itemsize:
        raise InputError(expected=f"all {shape[0]:,} rows in {file.path}", got="fewer: the file was cut off")
    available, per_block = default_names(shape[1]), _READS_PER_BLOCK * rows_at_a_time(shape[1])
    which = slice(None) if columns is None else [available.index(name) for name in chosen_names(available, columns)]
    blocks = [
        NpyBlock(file, offset, shape, dtype, is_fortran, which, first, min(per_block, shape[0] - first))
        for first in range(0, shape[0], per_block)
    ]
    n_features = shape[1] if columns is None else len(columns)
    return FileRows(blocks, n_features, None if columns is None else list(columns))


# ---- Zarr arrays


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
