"""CSV files as blocks of rows: cut at ends of lines, which one look through the bytes finds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm._common import Rows
from bayesgmm.exceptions import InputError
from bayesgmm.io.files import layout_of_csv
from bayesgmm.io.stored_files import FileRows, StoredFile, read_fully
from bayesgmm.validation import chosen_names

_BYTES = 2**22  # of a block, or the longest line
_NEWLINE, _RETURN = 10, 13
_MISSING = ["", "NA", "NaN", "nan", "NULL", "null", "None", "N/A", "#N/A", "<NA>"]  # as pandas reads them


@dataclass(frozen=True, slots=True)
class CsvBlock:
    """Some lines of a file, and the columns to read from them."""

    file: StoredFile
    start: int
    n_bytes: int
    separator: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    first_row: int
    n_rows: int

    @property
    def name(self) -> str:
        """The file."""
        return self.file.path

    def read(self) -> Iterator[Rows]:
        """The rows, missing values as NaN."""
        import pyarrow as pa
        from pyarrow import csv

        lines = bytearray(self.n_bytes)
        with self.file.open() as file:
            read_fully(file, self.start, memoryview(lines), self.name)
        try:
            table = csv.read_csv(
                pa.BufferReader(lines),
                csv.ReadOptions(use_threads=False, column_names=list(self.names), block_size=self.n_bytes + 1),
                csv.ParseOptions(delimiter=self.separator),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(self.columns, pa.float64()),
                    include_columns=list(self.columns),
                    null_values=_MISSING,
                ),
            )
        except pa.ArrowInvalid as error:
            raise InputError(
                expected=f"numbers with a decimal point, {len(self.names)} fields in each row of {self.name}",
                got=f"another in {self.n_rows:,} rows from row {self.first_row:,} (counted from 0): "
                f"{' '.join(str(error).split())[:200]}",
            ) from error
        columns = np.empty((len(self.columns), table.num_rows))
        for j, column in enumerate(self.columns):
            columns[j] = table.column(column).to_numpy()
        yield columns.T


def csv_rows(file: StoredFile, columns: Sequence[str] | None) -> FileRows:
    """The blocks of an uncompressed file; the first line holds the names."""
    separator, names = layout_of_csv(file.path)
    used = chosen_names([name for name in names if name], columns)
    blocks, first_row = [], 0
    for start, n_bytes, n_rows in _cuts(file):
        if n_rows:
            blocks.append(CsvBlock(file, start, n_bytes, separator, tuple(names), tuple(used), first_row, n_rows))
        first_row += n_rows
    return FileRows(blocks, len(used), used)


def _cuts(file: StoredFile) -> Iterator[tuple[int, int, int]]:
    """Place, length and number of rows of pieces of a file that end with a line; the first line is left out."""
    buffer, start, size = bytearray(_BYTES), -1, file.size
    with file.open() as opened:
        while start < size:
            n = min(len(buffer), size - max(start, 0))
            read_fully(opened, max(start, 0), memoryview(buffer)[:n], file.path)
            text = np.frombuffer(buffer, dtype=np.uint8, count=n)
            ends = np.flatnonzero(text == _NEWLINE)
            if start < 0:
                start = int(ends[0]) + 1 if len(ends) else size
                continue
            if start + n == size and (not len(ends) or ends[-1] != n - 1):  # a last line without an end
                ends = np.append(ends, n)
            if not len(ends):
                raise InputError(expected=f"lines of less than {_BYTES:,} bytes in {file.path}", got="a longer one")
            length = min(int(ends[-1]) + 1, n)
            yield start, length, _n_rows(text, ends)
            start += length


def _n_rows(text: NDArray[np.uint8], ends: NDArray[np.intp]) -> int:
    """Lines that are not empty."""
    starts = np.append(0, ends[:-1] + 1)
    only_return = (ends == starts + 1) & (text[np.minimum(starts, len(text) - 1)] == _RETURN)
    return int(np.count_nonzero((ends > starts) & ~only_return))
