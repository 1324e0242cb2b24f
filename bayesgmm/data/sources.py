"""Rows anywhere: the protocol of a source, and `SourceData`, whose blocks are loaded where they are used."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from operator import add
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, Columns, IntArray, Rows, one_blas_thread
from bayesgmm.data.blocks import ONE_EACH, ROWS_PER_BLOCK, Block, Data, Handle
from bayesgmm.data.buffers import ReusedBuffer
from bayesgmm.data.totals import HandlesElsewhere, by_handle, threads_for
from bayesgmm.exceptions import ClusterError, InputError
from bayesgmm.validation import LARGEST, are_moderate, as_numbers, default_names

ROWS_IN_MEMORY = 100_000  # of a source: so many are read into memory, and of more a sample of that size
_NUMBERS_PER_BLOCK = 2**20  # at most, of rows with many features


class SourceBlock(Protocol):
    """Some rows of a source: cheap to hold, and read in any thread.

    Attributes
    ----------
    n_rows : int
    name : str
        What an error calls the place of the rows: a file.
    first_row : int
        The number of the first of them there, counted from zero.
    """

    @property
    def n_rows(self) -> int: ...  # noqa: D102  above
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def first_row(self) -> int: ...  # noqa: D102

    def read(self) -> Iterator[ArrayLike]:
        """The rows (obs, feature) in order, some ten thousand at a time; each may overwrite the one before."""


@runtime_checkable
class Source(Protocol):
    """Rows that are too many for memory: what an object needs so that `GaussianMixture` reads it block by block.

    `open_source` makes one of .npy, Parquet and CSV files and of Zarr and Dask arrays; any object with these four
    attributes is another one. The cut into blocks and their order are fixed, so that sums over rows do not depend on
    who adds them. Rows are checked when they are first read.

    Attributes
    ----------
    blocks : sequence of SourceBlock
        Each has ``n_rows``, ``name`` and ``first_row`` (for error messages: the file, and the number of its first row
        there), and ``read()``, which yields arrays (obs, feature), best of 25,000 to 100,000 rows. Several are read at
        once, in threads.
    n_features : int
    feature_names : sequence of str or None
    fingerprint : str
        Another one for other rows; a saved fit keeps it in their place.

    Examples
    --------
    A source that simulates its rows:

    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from bayesgmm import GaussianMixture, Source
    >>> @dataclass
    ... class SimulatedBlock:
    ...     seed: int
    ...     n_rows: int = 30_000
    ...     name: str = "simulated"
    ...     first_row: int = 0
    ...
    ...     def read(self):
    ...         rng = np.random.default_rng(self.seed)
    ...         yield rng.normal(rng.choice([-3.0, 3.0], (self.n_rows, 1)), 1.0)
    >>> class Simulated:
    ...     blocks = [SimulatedBlock(seed) for seed in range(5)]
    ...     n_features, feature_names, fingerprint = 1, None, "seeds 0 to 4"
    >>> isinstance(Simulated(), Source)
    True
    >>> GaussianMixture(2, random_state=0).fit(Simulated()).means_.round(1)
    array([[-3.],
           [ 3.]])
    """

    @property
    def blocks(self) -> Sequence[SourceBlock]: ...  # noqa: D102
    @property
    def n_features(self) -> int: ...  # noqa: D102
    @property
    def feature_names(self) -> Sequence[str] | None: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102


Source.__module__ = "bayesgmm"  # in the body, it would be a member of the protocol


# ---- one block


_columns = ReusedBuffer()


def rows_at_a_time(n_features: int) -> int:
    """As many as suit the kernel: their numbers fit into a processor's cache."""
    return max(1, min(ROWS_PER_BLOCK, _NUMBERS_PER_BLOCK // n_features))


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block of a source as `Data` holds it: cut for the kernel, and checked unless that was done before."""

    block: SourceBlock
    names: tuple[str, ...]
    is_checked: bool = False

    @property
    def n_rows(self) -> int:
        """How many rows it says that it has."""
        return self.block.n_rows

    def read(self) -> Iterator[Block]:
        """Its rows, as many at a time as suit the kernel; each part overwrites the one before."""
        most, n_read = rows_at_a_time(len(self.names)), 0
        for given in self.block.read():
            rows = self._numbers(given)
            for start in range(0, len(rows), most):
                columns = _as_columns(rows[start : start + most])
                if not (self.is_checked or are_moderate(columns)):
                    self._refuse(columns, n_read + start)
                yield Block(columns, ONE_EACH)
            n_read += len(rows)
        if n_read != self.n_rows:
            got, hint = f"{n_read:,}", "Rows must stay as they are while they are read."
            raise InputError(expected=f"to read {self.n_rows:,} rows of {self.block.name}", got=got, hint=hint)

    def _numbers(self, given: ArrayLike) -> Array:
        plain = type(given) is np.ndarray and given.dtype.kind in "iuf"
        rows = np.asarray(given) if plain else as_numbers(given, name=self.block.name)
        if rows.ndim != 2 or rows.shape[1] != len(self.names):
            expected = f"rows of shape (obs, {len(self.names)}) from {self.block.name}"
            raise InputError(expected=expected, got=f"an array of shape {rows.shape}")
        return rows

    def _refuse(self, columns: Columns, n_before: int) -> None:
        """An error that names the first row that cannot be used."""
        feature, row = min(np.argwhere(~(np.abs(columns) <= LARGEST)), key=lambda place: place[1])
        raise InputError(
            expected=f"finite values up to {LARGEST:.0e} in absolute value",
            got=f"{columns[feature, row]:g} in '{self.names[feature]}' in row "
            f"{self.block.first_row + n_before + row:,} of {self.block.name} (counted from 0)",
            hint="Leave out such rows or columns. Of rows in memory missing values can be marginalized.",
        )


def _as_columns(rows: Array) -> Columns:
    """Rows as the kernel reads them: themselves if they lie so, else in the buffer of this thread."""
    if rows.dtype == np.float64 and rows.T.flags.c_contiguous:
        return rows.T
    columns: Columns = _columns.array((rows.shape[1], len(rows)))
    with np.errstate(over="ignore"):  # beyond double precision: infinite
        np.copyto(columns, rows.T, casting="same_kind")
    return columns


# ---- all rows


@dataclass(frozen=True, slots=True)
class Summary:
    """Number, means and ranges of rows, and their scatter about the means; summaries of different rows add.

    The scatter, sums of squares and products of deviations, is (feature, feature), or (1, feature) without products.
    """

    n_rows: int
    mean: Array
    scatter: Array
    lowest: Array
    highest: Array

    @classmethod
    def of(cls, columns: Columns, *, products: bool) -> "Summary":
        """Of some rows."""
        mean = columns.mean(axis=1)
        centred = columns - mean[:, None]
        scatter = centred @ centred.T if products else np.square(centred).sum(axis=1)[None]
        return cls(columns.shape[1], mean, scatter, columns.min(axis=1), columns.max(axis=1))

    def __add__(self, other: "Summary") -> "Summary":
        """Of both (Chan, Golub & LeVeque 1983)."""
        n_rows, shift = self.n_rows + other.n_rows, other.mean - self.mean
        between = np.outer(shift, shift) if len(self.scatter) == len(shift) else np.square(shift)[None]
        return Summary(
            n_rows,
            self.mean + shift * (other.n_rows / n_rows),
            self.scatter + other.scatter + between * (self.n_rows * other.n_rows / n_rows),
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.highest, other.highest),
        )


class FirstLook(NamedTuple):
    """What the first pass over the rows of a source finds."""

    summary: Summary
    sample: Rows


class SourceData(Data):
    """Rows of a source: sums over them are taken block by block, and there is no array of all.

    Attributes
    ----------
    source : Source
    first_look : FirstLook, optional
        Of rows that were read before, and are checked.
    """

    __module__ = "bayesgmm.data"

    source: Source
    first_look: FirstLook | None

    def __init__(self, source: Source, first_look: FirstLook | None = None) -> None:
        self.__dict__.update(source=source, first_look=first_look, row_weights=None, allowed=None)

    @classmethod
    def read_once(
        cls,
        source: Source,
        *,
        rng: np.random.Generator,
        n_jobs: int | None = None,
        products: bool = True,
        progress: Callable[[int, int], object] | None = None,
    ) -> Data:
        """Check all rows, summarise them and draw a sample, in one pass; few rows come back in memory.

        Parameters
        ----------
        source : Source
        rng : numpy.random.Generator
            Of the sample.
        n_jobs : int, optional
            Threads.
        products : bool
            Whether the summary has products of features.
        progress : callable, optional
            Called with blocks done and in all.
        """
        data = cls(source)
        n_rows = data.shape[0]
        if n_rows <= ROWS_IN_MEMORY:
            return Data(np.asfortranarray(data.picked(np.arange(n_rows))))
        chosen = np.sort(rng.choice(n_rows, ROWS_IN_MEMORY, replace=False, shuffle=False))
        with one_blas_thread(), threads_for(data, n_jobs) as pool:
            looks, found = by_handle(partial(_look, products=products), data, pool, data._by_handle(chosen)), []
            for n_done, look in enumerate(looks, start=1):
                found.append(look)
                if progress is not None:
                    progress(n_done, len(data.handles))
        summary = reduce(add, (look.summary for look in found))
        return cls(source, FirstLook(summary, np.asfortranarray(np.concatenate([look.sample for look in found]))))

    @cached_property
    def handles(self) -> Sequence[Handle]:
        """The blocks of the source that have rows; of one on a cluster where they are."""
        names = tuple(map(str, self.source.feature_names or default_names(self.source.n_features)))
        is_checked = self.first_look is not None
        handles = tuple(StoredBlock(block, names, is_checked) for block in self.source.blocks if block.n_rows)
        placed: Callable[[Sequence[StoredBlock]], Sequence[Handle]] | None = getattr(self.source, "placed", None)
        return handles if placed is None else placed(handles)

    @property
    def lost(self) -> ClusterError | None:
        """Why the rows cannot be reached any more."""
        return self.handles.lost if isinstance(self.handles, HandlesElsewhere) else None

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and features."""
        return int(self.total), self.source.n_features

    @cached_property
    def total(self) -> float:
        """Rows."""
        return float(sum(handle.n_rows for handle in self.handles))

    @property
    def rows(self) -> Rows:
        """An error: they are not in memory."""
        got, hint = f"a source of {self.shape[0]:,} rows", "Take a sample: open_source(X).sample(100_000)."
        raise InputError(expected="rows in memory", got=got, hint=hint)

    @property
    def summary(self) -> Summary:
        """Of all rows."""
        return self._looked.summary

    @cached_property
    def sample(self) -> Data:
        """Random rows of the first look, with the weights with which they stand for all."""
        rows = self._looked.sample
        return Data(rows, np.full(len(rows), self.total / len(rows)))

    @property
    def _looked(self) -> FirstLook:
        assert self.first_look is not None  # noqa: S101  `read_once` sees to it
        return self.first_look

    def distinct(self) -> Data:
        """Itself: equal rows are not looked for."""
        return self

    def subset(self, size: int, *, rng: np.random.Generator) -> Data:
        """At most ``size`` random rows of the sample, with new weights."""
        return self.sample.subset(size, rng=rng)

    def picked(self, chosen: IntArray) -> Rows:
        """The rows of these numbers, ascending."""
        parts = by_handle(_picked_rows, self, None, self._by_handle(chosen))
        return np.concatenate([rows for rows in parts if len(rows)])

    def _by_handle(self, chosen: IntArray) -> list[IntArray]:
        """For each handle the chosen among its rows, numbered within it."""
        ends = np.cumsum([handle.n_rows for handle in self.handles])
        parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
        return [part - start for part, start in zip(parts, np.append(0, ends[:-1]), strict=True)]


def _picked(blocks: Iterator[Block], which: IntArray) -> Iterator[tuple[Columns, Rows]]:
    """Blocks, each with those of its rows that are chosen."""
    n_read = 0
    for columns, *_ in blocks:
        first, last = np.searchsorted(which, (n_read, n_read + columns.shape[1]))
        yield columns, columns[:, which[first:last] - n_read].T
        n_read += columns.shape[1]


def _picked_rows(blocks: Iterator[Block], which: IntArray) -> Rows:
    """The chosen rows of blocks, which are not read if there are none."""
    return np.concatenate([rows for _, rows in _picked(blocks, which)]) if len(which) else np.empty((0, 0))


def _look(blocks: Iterator[Block], which: IntArray, *, products: bool) -> FirstLook:
    looks = [(Summary.of(columns, products=products), rows) for columns, rows in _picked(blocks, which)]
    return FirstLook(reduce(add, (summary for summary, _ in looks)), np.concatenate([rows for _, rows in looks]))
