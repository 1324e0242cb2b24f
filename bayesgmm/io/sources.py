"""`open_source`: files, arrays on disk and other sources as one source of rows."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm._common import quoted
from bayesgmm.data import Handle, Source, SourceBlock, SourceData
from bayesgmm.exceptions import InputError
from bayesgmm.io.array_files import npy_rows, opened_zarr, zarr_excerpts, zarr_rows
from bayesgmm.io.csv_blocks import csv_rows
from bayesgmm.io.dask_collections import active_client, dask_rows
from bayesgmm.io.files import read_file
from bayesgmm.io.parquet_files import parquet_rows
from bayesgmm.io.stored_files import FileRows, StoredFile, fingerprint_of
from bayesgmm.validation import check_whole, default_names, generator_of, is_dask, is_zarr, texts

type _Reader = Callable[[StoredFile, Sequence[str] | None], FileRows]

_READERS: dict[str, _Reader] = {
    ".npy": npy_rows,
    ".parquet": parquet_rows,
    ".pq": parquet_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
    ".txt": csv_rows,
}
_FEW_BYTES, _FEW_ROWS = 2**28, 1_000_000  # that the command line reads into memory
_KINDS = "files that end in .npy, .parquet, .pq, .csv, .tsv or .txt, or folders that end in .zarr"


@dataclass(frozen=True)
class OpenSource:
    """Rows of files, of an array on disk or of another source, in blocks; see `Source`.

    Attributes
    ----------
    blocks : sequence of SourceBlock
    n_features : int
    feature_names : list of str or None
    fingerprint : str
        Of files a checksum of their sizes, of bytes spread over them and of the names of the columns.
    paths : tuple of str
        The files, in order; empty for other sources.
    client : dask.distributed.Client or None
        Of the cluster whose workers hold the rows in memory while this object lives, from their first use.
    """

    __module__ = "bayesgmm.io"

    blocks: Sequence[SourceBlock]
    n_features: int
    feature_names: list[str] | None
    fingerprint: str
    paths: tuple[str, ...] = ()
    client: Any = field(default=None, repr=False, compare=False)

    @cached_property
    def n_rows(self) -> int:
        """How many rows there are."""
        return sum(block.n_rows for block in self.blocks)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and features, as of an array."""
        return self.n_rows, self.n_features

    @property
    def columns(self) -> list[str]:
        """Names of the features, as of a dataframe; ``x0``, ``x1``, ... where they have none."""
        return self.feature_names or default_names(self.n_features)

    def placed(self, handles: Sequence[Any]) -> Sequence[Handle]:
        """Handles of the rows where they are: on a cluster in the memory of its workers, loaded once."""
        if self.client is None:
            return handles
        held = self.__dict__.get("_held")
        if held is None or (held.lost is not None and self.client.status == "running"):  # a scheduler that came back
            from bayesgmm.io.dask_cluster import OnWorkers

            held = self.__dict__["_held"] = OnWorkers(self.client, handles)
        return held

    def sample(self, n: int, *, random_state: int | None = None) -> pd.DataFrame:
        """Random rows in memory, in their order, for all that needs an array; all of them if there are no more.

        Parameters
        ----------
        n : int
        random_state : int, optional
            The same seed gives the same rows.
        """
        check_whole(least=1, n=n)
        rng = generator_of(random_state)
        chosen = np.sort(rng.choice(self.n_rows, min(n, self.n_rows), replace=False, shuffle=False))
        return pd.DataFrame(SourceData(self).picked(chosen), columns=pd.Index(self.columns))


def open_source(X: Any, *, columns: Sequence[str] | None = None, client: Any = None) -> OpenSource:
    """Rows on disk, or anywhere else, as a source that estimators read block by block.

    Estimators that take sources call it themselves; it is for columns of your choice, and for samples.

    Parameters
    ----------
    X : path, glob, sequence of them, Zarr array, Dask array or dataframe, or Source
        ``"rows.npy"``, ``"part-*.parquet"``, ``["a.csv", "b.csv"]``: .npy arrays (obs, feature), Parquet files,
        uncompressed CSV files with names in the first line, and folders of Zarr arrays. The files of a glob are in
        alphabetical order. Several files have the same columns, by name where they have names. Chunks and
        partitions of Dask collections are blocks.
    columns : sequence of str, optional
        Columns to use, in this order; those of arrays are ``x0``, ``x1``, ... By default all, without those in which
        pandas keeps row names.
    client : dask.distributed.Client, optional
        Of a Dask cluster: its workers read the rows and keep them in memory. Files must have the same paths there. By
        default Dask collections are on the cluster of the active client, if there is one, and everything else is
        read here.

    Returns
    -------
    OpenSource
        A `Source` with ``n_rows``, ``shape``, ``columns`` and ``sample(n)``.

    Raises
    ------
    InputError
        If there is no such file, one is of another kind or damaged, or columns are missing or not numeric. Values are
        checked when they are read: errors name the file and the row.

    Examples
    --------
    >>> import tempfile
    >>> from bayesgmm import GaussianMixture, open_source
    >>> from bayesgmm.datasets import load_old_faithful
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_old_faithful().to_parquet(f"{folder}/geyser.parquet")
    ...     source = open_source(f"{folder}/*.parquet", columns=["waiting"])
    ...     GaussianMixture(2, random_state=0).fit(source).means_.round(1)
    ...     source.n_rows, source.sample(3, random_state=0).shape
    array([[54.6],
           [80.1]])
    (272, (3, 1))
    """
    if client is not None:
        return replace(_opened_here(X, columns, client := _checked(client)), client=client)
    return _opened_here(X, columns, None)


def _checked(client: Any) -> Any:
    try:
        from bayesgmm.io.dask_cluster import checked
    except ModuleNotFoundError as error:
        got, hint = f"no package {error.name}", "Install it: pip install 'bayesgmm[dask]'."
        raise InputError(expected="dask and distributed where client is given", got=got, hint=hint) from error
    return checked(client)


def _opened_here(X: Any, columns: Sequence[str] | None, client: Any) -> OpenSource:
    if columns is not None and not (columns := list(texts(columns, "columns"))):
        raise InputError(expected="at least one of columns", got="none")
    if isinstance(X, str | os.PathLike):
        return _of_paths([X], columns)
    if isinstance(X, list | tuple) and X and all(isinstance(each, str | os.PathLike) for each in X):
        return _of_paths(X, columns)
    if is_zarr(X):
        return _of_files({str(X.store_path): X}, columns)
    if is_dask(X):
        return _of_dask(X, columns, client)
    if isinstance(X, Source) and columns is None:
        return X if isinstance(X, OpenSource) else _of_source(X)
    raise InputError(
        expected="a path or glob, several of them, a Zarr array, a Dask array or dataframe, or an object with the "
        "attributes of bayesgmm.Source",
        got=type(X).__name__ if columns is None else f"columns of {type(X).__name__}",
        hint="Arrays and dataframes go to estimators as they are.",
    )


def read_or_open(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    header: bool | None = None,
    gaps: bool = False,
) -> pd.DataFrame | OpenSource:
    """Columns in memory where there are few rows, else a source; for the command line.

    A CSV or Parquet file below 256 MB, or compressed, is read by `read_file`, anything else is opened; at most
    1,000,000 rows of that are read too. With ``gaps`` values may be missing in what `read_file` reads. Entries of
    ``columns`` may be several names with commas between them.
    """
    if _is_for_pandas(path):
        return read_file(path, columns=columns, header=header, gaps=gaps)
    if header is False:
        raise InputError(expected="names in the first line of large or several files", got="--no-header")
    names = None if columns is None else [part.strip() for entry in columns for part in entry.split(",")]
    source = open_source(path, columns=names)
    return source.sample(source.n_rows) if source.n_rows <= _FEW_ROWS else source


def _is_for_pandas(path: str | os.PathLike[str]) -> bool:
    if not os.path.isfile(path):  # noqa: PTH113  which takes names that no file can have
        return False
    ending = Path(path).suffix.lower()
    return ending not in _READERS or (ending != ".npy" and Path(path).stat().st_size < _FEW_BYTES)


def _of_dask(X: Any, columns: Sequence[str] | None, client: Any) -> OpenSource:
    from dask.base import tokenize

    if client is None and (client := active_client()) is not None:
        client = _checked(client)
    blocks, n_features, names = dask_rows(X, columns, client)
    if not any(block.n_rows for block in blocks):
        raise InputError(expected="at least one row of a Dask collection", got="none")
    return OpenSource(blocks, n_features, names, tokenize(X, columns), client=client)


def _of_source(X: Source) -> OpenSource:
    names = None if X.feature_names is None else list(map(str, X.feature_names))
    if names is not None and len(names) != X.n_features:
        raise InputError(expected=f"{X.n_features} feature_names of a source", got=f"{len(names)}")
    if not any(block.n_rows for block in X.blocks):
        raise InputError(expected="at least one row of a source", got="blocks without rows")
    return OpenSource(X.blocks, X.n_features, names, str(X.fingerprint))


def _of_paths(given: Sequence[str | os.PathLike[str]], columns: Sequence[str] | None) -> OpenSource:
    paths = [path for each in given for path in _expanded(os.fspath(each))]
    if len(set(paths)) < len(paths):
        raise InputError(expected="each file once", got=f"{quoted(paths)}")
    found = _of_files({path: _opened(path) for path in paths}, columns)
    return replace(found, paths=tuple(paths))


def _expanded(path: str) -> list[str]:
    """The files that a glob stands for, in alphabetical order; a file of that very name comes first."""
    if not has_magic(path) or os.path.exists(path):  # noqa: PTH110  which takes names that no file can have
        return [path]
    if not (paths := sorted(glob(path, recursive=True))):  # noqa: PTH207  sorted text, not parts of paths
        raise InputError(expected=_KINDS, got=f"no file at {path}")
    return paths


def _opened(path: str) -> Any:
    """A file as it is now, or a Zarr array."""
    return opened_zarr(path) if Path(path).suffix == ".zarr" else StoredFile.of(path)


def _of_files(files: Mapping[str, Any], columns: Sequence[str] | None) -> OpenSource:
    """The rows of files and Zarr arrays, one after the other, with the columns of the first."""
    wanted, found = columns, []
    for path, file in files.items():
        found.append(_rows_of(path, file, wanted))
        wanted = found[0].names
        if (found[-1].n_features, found[-1].names) != (found[0].n_features, wanted):
            raise InputError(
                expected=f"{_columns(found[0])} in {path}, as in {next(iter(files))}", got=_columns(found[-1])
            )
    blocks = [block for rows in found for block in rows.blocks]
    if not blocks:
        raise InputError(expected="at least one row", got=f"none in {quoted(list(files))}")
    seen = [zarr_excerpts(file) if is_zarr(file) else file.excerpts() for file in files.values()]
    fingerprint = fingerprint_of([*seen, repr(found[0].names).encode()])
    return OpenSource(blocks, found[0].n_features, found[0].names, fingerprint)


def _rows_of(path: str, file: Any, columns: Sequence[str] | None) -> FileRows:
    if is_zarr(file):
        return zarr_rows(file, columns)
    if (reader := _READERS.get(Path(path).suffix.lower())) is None:
        raise InputError(
            expected=_KINDS, got=path, hint="Write the rows to Parquet: it is compressed, and quick to read."
        )
    try:
        return reader(file, columns)
    except InputError as error:
        if path in str(error):
            raise
        expected = f"{error.expected} in {path}"
        raise InputError(expected=expected, got=error.got, hint=error.hint, alternatives=error.alternatives) from error


def _columns(rows: FileRows) -> str:
    return f"{rows.n_features} columns without names" if rows.names is None else f"the columns {quoted(rows.names)}"
