"""Parquet files: blocks of rows, one a row group, and columns written block by block."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from bayesgmm._common import Array, Rows, quoted
from bayesgmm.data import ReusedBuffer, rows_at_a_time
from bayesgmm.exceptions import InputError
from bayesgmm.io.stored_files import FileRows, StoredFile
from bayesgmm.io.whole_files import whole_file
from bayesgmm.validation import chosen_names

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_READS = 4  # of so many blocks for the kernel at once; measured by benchmarks/sources.py
_BYTES_AT_A_TIME = 2**18  # of a column
_buffer = ReusedBuffer()


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a file, and the columns to read from it."""

    file: StoredFile
    metadata: "pq.FileMetaData"
    group: int
    columns: tuple[str, ...]
    first_row: int
    n_rows: int

    @property
    def name(self) -> str:
        """The file."""
        return self.file.path

    def read(self) -> Iterator[Rows]:
        """The rows in double precision, missing values as NaN."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        size, names = rows_at_a_time(len(self.columns)), list(self.columns)
        self.file.check()
        with _refused(self.name), pa.OSFile(self.name) as file:
            parquet = pq.ParquetFile(file, metadata=self.metadata, buffer_size=_BYTES_AT_A_TIME, pre_buffer=False)
            for batch in parquet.iter_batches(_READS * size, [self.group], columns=names, use_threads=False):
                decoded = [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
                for start in range(0, batch.num_rows, size):
                    columns = _buffer.array((len(names), min(size, batch.num_rows - start)))
                    for column, values in zip(columns, decoded, strict=True):
                        column[:] = values[start : start + size]
                    yield columns.T


def parquet_rows(file: StoredFile, columns: Sequence[str] | None) -> FileRows:
    """The blocks of a file; its columns, by default all but pandas's index, must be numbers."""
    import pyarrow.parquet as pq

    with _refused(file.path), file.open() as opened:
        parquet = pq.ParquetFile(opened)
        metadata, schema = parquet.metadata, parquet.schema_arrow
    names = chosen_names([name for name in schema.names if name not in _index_columns(schema)], columns)
    _check_types(schema, names, file.path)
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *sizes]).tolist()
    blocks = [
        RowGroup(file, metadata, group, tuple(names), start, size)
        for group, (start, size) in enumerate(zip(starts, sizes, strict=False))
        if size
    ]
    return FileRows(blocks, len(names), names)


@contextmanager
def _refused(path: str) -> Iterator[None]:
    """Turn pyarrow's errors into an `InputError` that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(expected="a Parquet file", got=f"{path}, which cannot be read as one ({reason})") from error


def _index_columns(schema: "pa.Schema") -> list[str]:
    """The columns in which pandas keeps its row names."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in index if isinstance(name, str)]


def _check_types(schema: "pa.Schema", names: Sequence[str], path: str) -> None:
    import pyarrow.types as kinds

    def is_number(kind: "pa.DataType") -> bool:
        return kinds.is_integer(kind) or kinds.is_floating(kind)

    other = [name for name in names if schema.names.count(name) > 1 or not is_number(schema.field(name).type)]
    if other or not names:
        numeric = [name for name in names if name not in other]
        raise InputError(
            expected=f"distinct numeric columns in {path}",
            got=f"{quoted(other)}, not numeric or there twice" if other else "no column",
            hint=f"Choose among the numeric ones: {quoted(numeric)}." if numeric else "",
            alternatives=numeric,
        )


def write_parquet(
    path: str | os.PathLike[str], parts: Iterable[Mapping[str, Array]], *, overwrite: bool = False
) -> None:
    """Write columns part by part, a row group each; after an error the old file is unchanged.

    Raises
    ------
    InputError
        If the file exists and ``overwrite`` is false, or its folder does not exist.
    OSError
        If the system cannot write it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = (pa.table(dict(part)) for part in parts)
    with whole_file(path, overwrite=overwrite) as file:
        first = next(tables)
        with pq.ParquetWriter(file, first.schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table)
