"""`Data`: validated rows in blocks, with their weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm._common import Columns, IntArray, PerRow, Rows
from bayesgmm.data.unique_rows import distinct_rows
from bayesgmm.exceptions import ClusterError, InputError
from bayesgmm.validation import as_row_weights, as_rows

ROWS_PER_BLOCK = 25_000  # what a thread takes at a time; fixed, so that sums do not depend on the number of threads
ONE_EACH = np.empty(0)
type Allowed = NDArray[np.bool_]  # (cluster,) or (obs, cluster)
EVERY_COMPONENT: Allowed = np.empty(0, dtype=bool)


class Patterns(NamedTuple):
    """Which features rows were observed in, rows grouped by pattern; no members if every row is complete.

    Attributes
    ----------
    members : (obs,) integers
        Rows, one pattern after the other.
    table : (pattern, 2 + feature) integers
        Where the members of a pattern end, how many features it has, these in ascending order, then the others.
    """

    members: IntArray
    table: IntArray

    @classmethod
    def of(cls, observed: NDArray[np.bool_]) -> "Patterns":
        """Of rows observed in some features (obs, feature)."""
        if observed.all():
            return COMPLETE
        packed = np.packbits(observed, axis=1)
        _, first, labels, counts = np.unique(packed, axis=0, return_index=True, return_inverse=True, return_counts=True)
        patterns = observed[first]
        order = np.argsort(~patterns, axis=1, kind="stable")
        table = np.column_stack([counts.cumsum(), patterns.sum(axis=1), order])
        return cls(np.argsort(labels.ravel(), kind="stable"), np.ascontiguousarray(table, dtype=np.int64))

    @property
    def groups(self) -> list[tuple[IntArray, IntArray, IntArray]]:
        """Members, observed and missing features of each pattern; none if every row is complete."""
        stops = np.split(self.members, self.table[:-1, 0]) if len(self.table) else []
        return [(own, *np.split(row[2:], [row[1]])) for own, row in zip(stops, self.table, strict=True)]

    @property
    def lacking(self) -> list[tuple[IntArray, IntArray, IntArray]]:
        """Those of patterns that lack features."""
        return [each for each in self.groups if len(each[2])]


COMPLETE = Patterns(np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.int64))


class Block(NamedTuple):
    """Some rows as the kernel reads them, and what belongs to them.

    Attributes
    ----------
    columns : (feature, obs), C-contiguous
        NaN where a value is missing.
    row_weights : (obs,), or (0,) if every row counts once
    patterns : Patterns
    allowed : (cluster,) bool, or (0,) if all are
        The components that these rows may come from.
    """

    columns: Columns
    row_weights: PerRow
    patterns: Patterns = COMPLETE
    allowed: Allowed = EVERY_COMPONENT

    @classmethod
    def of(cls, columns: Columns, row_weights: PerRow) -> "Block":
        """A block of rows that may have missing values."""
        return cls(columns, row_weights, Patterns.of(~np.isnan(columns.T)))

    @property
    def n_rows(self) -> int:
        """How many there are."""
        return self.columns.shape[1]

    def read(self) -> Iterator["Block"]:
        """Itself: it is in memory."""
        yield self

    def pieces(self, size: int) -> Iterator["Data"]:
        """The rows in order, at most ``size`` at a time."""
        for start in range(0, self.n_rows, size):
            part = slice(start, start + size)
            rows = np.ascontiguousarray(self.columns[:, part]).T
            weights = self.row_weights[part] if len(self.row_weights) else None
            if len(self.patterns.members):
                yield IncompleteData(rows, weights)
            else:
                yield Data(rows, weights, np.tile(self.allowed, (len(rows), 1)) if len(self.allowed) else None)


class Handle(Protocol):
    """Rows that may be elsewhere, and are read where they are used."""

    @property
    def n_rows(self) -> int:
        """How many there are."""

    def read(self) -> Iterator[Block]:
        """The rows in blocks, of which each may overwrite the one before."""


@dataclass(frozen=True)
class Data:
    """Rows in memory. They are checked once, by `Data.of`, and trusted from there on.

    Attributes
    ----------
    rows : (obs, feature), stored feature-major
    row_weights : (obs,), optional
        Frequency weights.
    allowed : (obs, cluster) bool, optional
        The components that each row may come from.

    Examples
    --------
    >>> from bayesgmm.data import Data
    >>> data = Data.of([[1.0], [2.0], [4.0]], row_weights=[1, 1, 2])
    >>> data.total, [block.columns.shape for block in data]
    (4.0, [(1, 3)])
    """

    __module__ = "bayesgmm.data"

    rows: Rows
    row_weights: PerRow | None = None
    allowed: Allowed | None = None

    @property
    def lost(self) -> ClusterError | None:
        """Why the rows cannot be reached any more; in memory they can."""
        return None

    @classmethod
    def of(
        cls,
        X: "ArrayLike | Data",
        row_weights: ArrayLike | None = None,
        *,
        n_features: int | None = None,
        features: Sequence[str] | None = None,
        name: str = "X",
    ) -> "Data":
        """Check rows (obs, feature) and weights (obs,); a `Data` was checked before, and is returned as it is.

        Raises
        ------
        InputError
            See `bayesgmm.validation.as_rows` and `bayesgmm.validation.as_row_weights`.
        """
        if isinstance(X, Data):
            return X
        rows = as_rows(X, n_features=n_features, features=features, name=name)
        return cls(rows, as_row_weights(row_weights, len(rows)))

    def labelled(self, allowed: Allowed) -> "Data":
        """The rows with the components (obs, cluster) that they may come from, those with the same ones together."""
        return Data(self.rows, self.row_weights, allowed).together[0]

    @cached_property
    def together(self) -> tuple["Data", IntArray]:
        """The rows, those that may come from the same components together, so that blocks are few; and their order.

        Without labels the rows as they are, and no order.
        """
        if self.allowed is None:
            return self, np.empty(0, dtype=np.int64)
        order = np.lexsort(self.allowed.T)
        return self.take(order), order

    @property
    def labels(self) -> IntArray:
        """The component of each row that may come from one only, (obs,), -1 for the others."""
        if self.allowed is None:
            return np.full(len(self.rows), -1)
        return np.where(self.allowed.sum(axis=1) == 1, self.allowed.argmax(axis=1), -1)

    @property
    def entries(self) -> Rows:
        """The rows, NaN where values are missing."""
        return self.rows

    @property
    def filled(self) -> Rows:
        """The rows for distances between them, with means of features in the place of missing values."""
        return self.rows

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and features."""
        return self.entries.shape

    @cached_property
    def weights(self) -> PerRow:
        """The weight of each row, (obs,)."""
        return np.ones(len(self.entries)) if self.row_weights is None else self.row_weights

    @cached_property
    def total(self) -> float:
        """Rows, each as often as it counts."""
        return float(len(self.entries) if self.row_weights is None else self.row_weights.sum())

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """One block up to `ROWS_PER_BLOCK` rows, if only an empty one, else copies of so many rows.

        Rows of a block may come from the same components.
        """
        weights = ONE_EACH if self.row_weights is None else self.row_weights
        return tuple(
            self._block(np.ascontiguousarray(self.entries.T[:, part]), weights[part])._replace(
                allowed=self._allowed(part)
            )
            for part in self._parts()
        )

    @staticmethod
    def _block(columns: Columns, row_weights: PerRow) -> Block:
        return Block(columns, row_weights)

    def _parts(self) -> Iterator[slice]:
        """The rows of each block."""
        n, allowed = len(self.entries), self.allowed
        changes = [] if allowed is None else (np.flatnonzero((allowed[1:] != allowed[:-1]).any(axis=1)) + 1).tolist()
        for begin, end in pairwise([0, *changes, max(1, n)]):
            yield from (slice(at, min(at + ROWS_PER_BLOCK, end)) for at in range(begin, end, ROWS_PER_BLOCK))

    def _allowed(self, part: slice) -> Allowed:
        """The components of a block."""
        return EVERY_COMPONENT if self.allowed is None or self.allowed[part].all() else self.allowed[part.start]

    @cached_property
    def handles(self) -> Sequence[Handle]:
        """Blocks to read, here those in memory; what works on handles works on rows anywhere."""
        return self.blocks

    @property
    def sample(self) -> "Data":
        """Rows in memory that stand for all: all of them."""
        return self

    def __iter__(self) -> Iterator[Block]:
        """Blocks in order; of rows not in memory each may overwrite the one before."""
        return chain.from_iterable(handle.read() for handle in self.handles)

    def pieces(self, size: int) -> Iterator["Data"]:
        """The rows in order, at most ``size`` at a time."""
        if self.allowed is not None:  # blocks may be many
            return (self.take(slice(at, at + size)) for at in range(0, len(self.allowed), size))
        return chain.from_iterable(block.pieces(size) for block in self)

    def take(self, which: IntArray | slice) -> "Data":
        """Some of the rows, by their numbers, with their weights."""
        row_weights = None if self.row_weights is None else np.ascontiguousarray(self.row_weights[which])
        return self._of(np.asfortranarray(self.entries[which]), row_weights, which)

    def _of(self, entries: Rows, row_weights: PerRow | None, which: IntArray | slice = slice(None)) -> "Data":
        """Some of the rows with other weights, and what else is known of them."""
        return Data(entries, row_weights, None if self.allowed is None else self.allowed[which])

    def with_weights(self, row_weights: PerRow) -> "Data":
        """The same rows with other weights, (obs,) and not negative; no row is copied."""
        other = self._of(self.entries, row_weights)
        pieces = np.split(row_weights, np.cumsum([block.columns.shape[1] for block in self])[:-1])
        blocks = (block._replace(row_weights=piece) for block, piece in zip(self, pieces, strict=True))
        other.__dict__["blocks"] = tuple(blocks)
        return other

    def unweighted(self) -> "Data":
        """The same rows, each once."""
        return self._of(self.entries, None)

    def distinct(self) -> "Data":
        """The different rows, each with the sum of its weights, see `distinct_rows`; labelled rows as they are."""
        return self if self.allowed is not None else self._distinct

    @cached_property
    def _distinct(self) -> "Data":
        rows, row_weights = self._distinct_values()
        if rows is self.entries and row_weights is self.row_weights:
            return self
        found = self._of(rows, row_weights)
        found.__dict__["_distinct"] = found
        return found

    def _distinct_values(self) -> tuple[Rows, PerRow | None]:
        return distinct_rows(self.rows, self.row_weights)

    def subset(self, size: int, *, rng: np.random.Generator) -> "Data":
        """At most ``size`` random rows that stand for all, with their new weights; all rows if there are no more.

        Rows that weigh the same are drawn without replacement, others systematically from a random order: one that
        is expected m times is drawn as often as the whole number below or above m.
        """
        weights = self.weights
        if np.count_nonzero(weights) <= size:
            return self
        total = weights.sum()
        if weights.min() == weights.max():
            chosen = np.sort(rng.choice(len(weights), size, replace=False))
            return self._of(np.asfortranarray(self.entries[chosen]), np.full(size, total / size), chosen)
        order = rng.permutation(len(weights))
        places = (np.arange(size) + rng.random()) * (total / size)
        drawn = np.minimum(np.searchsorted(weights[order].cumsum(), places, side="right"), len(weights) - 1)
        times = np.bincount(order[drawn], minlength=len(weights))
        chosen = np.flatnonzero(times)
        return self._of(np.asfortranarray(self.entries[chosen]), times[chosen] * (total / size), chosen)


MARGINALIZE = "marginalize"
MISSING = ("error", MARGINALIZE)  # what to do about missing values


class IncompleteData(Data):
    """Rows in memory with missing values: each counts with what was observed of it.

    They have no `rows`: what needs complete ones raises an error.

    Attributes
    ----------
    entries : (obs, feature)
        NaN where values are missing; something is observed in each row, and of each feature.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.data import IncompleteData
    >>> IncompleteData(np.array([[1.0, np.nan], [3.0, 5.0]])).filled
    array([[1., 5.],
           [3., 5.]])
    """

    __module__ = "bayesgmm.data"

    def __init__(self, entries: Rows, row_weights: PerRow | None = None) -> None:
        self.__dict__.update(_entries=np.asfortranarray(entries), row_weights=row_weights)

    def __repr__(self) -> str:
        return f"{type(self).__name__} of shape {self.shape}"

    @property
    def entries(self) -> Rows:
        """The rows, NaN where values are missing."""
        return self.__dict__["_entries"]

    @property
    def rows(self) -> Rows:
        """An error: some are not complete."""
        raise InputError(
            expected="complete rows, which this needs",
            got="rows with missing values",
            hint="Missing values can be marginalized in fits, memberships, densities and criteria; "
            "impute(X) of a fit completes rows.",
        )

    @cached_property
    def filled(self) -> Rows:
        """The rows with means of features in the place of missing values."""
        missing = np.isnan(self.entries)
        weights = np.where(missing, 0.0, self.weights[:, None])
        known = np.where(missing, 0.0, self.entries)
        with np.errstate(invalid="ignore"):  # of a feature that no row has: of a part of the rows
            means = np.nan_to_num((weights * known).sum(axis=0) / weights.sum(axis=0))
        return np.asfortranarray(np.where(missing, means, self.entries))

    def parts(self) -> list[tuple[IntArray, IntArray, Data]]:
        """Of each pattern numbers of the rows, the features observed, and these rows of these features."""
        (n, d), found = self.shape, []
        groups = Patterns.of(~np.isnan(self.entries)).groups or [(np.arange(n), np.arange(d), np.arange(0))]
        for own, observed, _ in groups:
            weights = None if self.row_weights is None else self.row_weights[own]
            found.append((own, observed, Data(np.asfortranarray(self.entries[np.ix_(own, observed)]), weights)))
        return found

    @staticmethod
    def _block(columns: Columns, row_weights: PerRow) -> Block:
        return Block.of(columns, row_weights)

    def _of(self, entries: Rows, row_weights: PerRow | None, which: IntArray | slice = slice(None)) -> "Data":
        return IncompleteData(entries, row_weights)

    def _distinct_values(self) -> tuple[Rows, PerRow | None]:
        d, missing = self.shape[1], np.isnan(self.entries)
        both = np.asfortranarray(np.column_stack([self.filled, missing]))
        found, row_weights = distinct_rows(both, self.row_weights)
        if found is both and row_weights is self.row_weights:
            return self.entries, self.row_weights
        return np.asfortranarray(np.where(found[:, d:] > 0.0, np.nan, found[:, :d])), row_weights
