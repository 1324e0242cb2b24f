"""Dask arrays and dataframes as blocks of rows, one a chunk; without a cluster each is computed where it is read."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm._common import quoted
from bayesgmm.exceptions import InputError
from bayesgmm.io.stored_files import FileRows
from bayesgmm.validation import chosen_names, default_names


@dataclass(frozen=True, slots=True)
class DaskChunk:
    """Some rows of a Dask collection: a delayed array (obs, feature), or once it is computed the array itself."""

    chunk: Any
    first_row: int
    n_rows: int
    name: str = "the Dask collection"

    def read(self) -> Iterator[NDArray[Any]]:
        """The rows, computed in this thread."""
        yield self.chunk.compute(scheduler="synchronous") if hasattr(self.chunk, "compute") else self.chunk


def dask_rows(X: Any, columns: Sequence[str] | None, client: Any) -> FileRows:
    """The blocks of an array (obs, feature) or dataframe of numbers; unknown numbers of rows are computed."""
    import dask

    with dask.config.set(**({} if client is None else {"scheduler": client})):
        if type(X).__name__ == "DataFrame":
            return _of_frame(X, columns)
        return _of_array(X, columns)


def _of_frame(X: Any, columns: Sequence[str] | None) -> FileRows:
    names = chosen_names(list(X.columns), columns)
    kinds = {name: getattr(dtype, "kind", "O") for name, dtype in X.dtypes.items()}
    if other := [name for name in names if kinds[name] not in "iuf"]:
        numeric = [name for name in names if name not in other]
        raise InputError(
            expected="numeric columns of a Dask dataframe",
            got=f"{quoted(other)}, not numeric",
            hint=f"Choose among the numeric ones: {quoted(numeric)}." if numeric else "",
            alternatives=numeric,
        )
    return _chunks(X[names].astype(np.float64).to_dask_array(lengths=True), [str(name) for name in names])


def _of_array(X: Any, columns: Sequence[str] | None) -> FileRows:
    from dask.array import Array

    if not isinstance(X, Array) or X.ndim != 2 or X.dtype.kind not in "iuf" or X.shape[1] == 0:
        raise InputError(
            expected="a Dask array (obs, feature) or dataframe of numbers",
            got=f"shape {X.shape} and type {X.dtype}" if isinstance(X, Array) else type(X).__name__,
            hint="Use X.to_frame() for a series, X[:, None] for an array of one feature.",
        )
    if np.isnan(X.shape[0]):
        X = X.copy().compute_chunk_sizes()
    if columns is None:
        return _chunks(X, None)
    available = default_names(X.shape[1])
    return _chunks(X[:, [available.index(name) for name in chosen_names(available, columns)]], list(columns))


def _chunks(array: Any, names: list[str] | None) -> FileRows:
    array = array.rechunk({1: -1})
    sizes = array.chunks[0]
    delayed = array.to_delayed()[:, 0]
    starts = accumulate(sizes[:-1], initial=0)
    blocks = [DaskChunk(*each) for each in zip(delayed, starts, sizes, strict=True)]
    return FileRows(blocks, array.shape[1], names)


def active_client() -> Any:
    """The client of a Dask cluster that the user has started, if any; nothing is imported for that."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.Client.current()
    except ValueError:
        return None
