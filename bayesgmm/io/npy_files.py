"""NumPy's .npy files as blocks of rows, read into one buffer a thread: mapped pages would count as memory in use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from bayesgmm._common import Array, ReusedBuffer, Rows
from bayesgmm.data import rows_at_a_time
from bayesgmm.exceptions import InputError
from bayesgmm.io.stored_files import FileRows, StoredFile, read_fully
from bayesgmm.validation import chosen_names, default_names

_READS_PER_BLOCK = 4
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_buffer = ReusedBuffer()


@dataclass(frozen=True, slots=True)
class NpyBlock:
    """Some rows of an array in a file, in C or Fortran order."""

    file: StoredFile
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype
    is_fortran: bool
    which: Sequence[int] | None
    first_row: int
    n_rows: int

    @property
    def name(self) -> str:
        """The file."""
        return self.file.path

    def read(self) -> Iterator[Rows]:
        """The rows, in the type of the file."""
        most, end = rows_at_a_time(self.shape[1]), self.first_row + self.n_rows
        part = self._columns if self.is_fortran else self._rows
        with self.file.open() as file:
            for first in range(self.first_row, end, most):
                rows = part(file, first, min(most, end - first))
                yield rows if self.which is None else rows[:, self.which]

    def _rows(self, file: BinaryIO, first: int, n: int) -> Array:
        rows = _buffer.array((n, self.shape[1]), self.dtype)
        self._fill(file, first * self.shape[1], rows)
        return rows

    def _columns(self, file: BinaryIO, first: int, n: int) -> Array:
        columns = _buffer.array((self.shape[1], n), self.dtype)
        for j, column in enumerate(columns):
            self._fill(file, j * self.shape[0] + first, column)
        return columns.T

    def _fill(self, file: BinaryIO, place: int, array: Array) -> None:
        read_fully(
            file, self.offset + place * self.dtype.itemsize, memoryview(array.view(np.uint8)).cast("B"), self.name
        )


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
    which = None if columns is None else [available.index(name) for name in chosen_names(available, columns)]
    blocks = [
        NpyBlock(file, offset, shape, dtype, is_fortran, which, first, min(per_block, shape[0] - first))
        for first in range(0, shape[0], per_block)
    ]
    return FileRows(blocks, shape[1] if which is None else len(which), None if columns is None else list(columns))
