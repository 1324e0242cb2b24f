"""`Data`: validated rows in blocks, with their weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import BoolArray, Columns, IntArray, PerRow, Rows
from bayesgmm.data.unique_rows import distinct_rows
from bayesgmm.exceptions import ClusterError
from bayesgmm.validation import as_row_weights, as_rows

ROWS_PER_BLOCK = 25_000  # what a thread takes at a time; fixed, so that sums do not depend on the number of threads
ONE_EACH = np.empty(0)
EVERY_COMPONENT = np.empty(0, dtype=bool)


class Block(NamedTuple):
    """Some rows as the kernel reads them, and what belongs to them.

    Attributes
    ----------
    columns : (feature, obs), C-contiguous
    row_weights : (obs,), or (0,) if every row counts once
    allowed : (cluster,) bool, or (0,) if all are
        The components that these rows may come from.
    """

    columns: Columns
    row_weights: PerRow
    allowed: BoolArray = EVERY_COMPONENT

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
            allowed = np.tile(self.allowed, (len(rows), 1)) if len(self.allowed) else None
            yield Data(rows, self.row_weights[part] if len(self.row_weights) else None, allowed)


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
    allowed: BoolArray | None = None

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

    def labelled(self, allowed: BoolArray) -> "Data":
        """The rows with the components (obs, cluster) that they may come from, those with the same ones together."""
        order = np.lexsort(allowed.T)
        rows = np.asfortranarray(self.rows[order])
        return Data(rows, None if self.row_weights is None else self.row_weights[order], allowed[order])

    @property
    def labels(self) -> IntArray:
        """The component of each row that may come from one only, (obs,), -1 for the others."""
        if self.allowed is None:
            return np.full(len(self.rows), -1)
        return np.where(self.allowed.sum(axis=1) == 1, self.allowed.argmax(axis=1), -1)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and features."""
        return self.rows.shape

    @cached_property
    def weights(self) -> PerRow:
        """The weight of each row, (obs,)."""
        return np.ones(len(self.rows)) if self.row_weights is None else self.row_weights

    @cached_property
    def total(self) -> float:
        """Rows, each as often as it counts."""
        return float(len(self.rows) if self.row_weights is None else self.row_weights.sum())

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """One block up to `ROWS_PER_BLOCK` rows, if only an empty one, else copies of so many rows.

        Rows of a block may come from the same components.
        """
        weights = ONE_EACH if self.row_weights is None else self.row_weights
        return tuple(
            Block(np.ascontiguousarray(self.rows.T[:, part]), weights[part], self._allowed(part))
            for part in self._parts()
        )

    def _parts(self) -> Iterator[slice]:
        """The rows of each block."""
        n, allowed = len(self.rows), self.allowed
        changes = [] if allowed is None else (np.flatnonzero((allowed[1:] != allowed[:-1]).any(axis=1)) + 1).tolist()
        for begin, end in pairwise([0, *changes, max(1, n)]):
            yield from (slice(at, min(at + ROWS_PER_BLOCK, end)) for at in range(begin, end, ROWS_PER_BLOCK))

    def _allowed(self, part: slice) -> BoolArray:
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
        return chain.from_iterable(block.pieces(size) for block in self)

    def take(self, which: IntArray | slice) -> "Data":
        """Some of the rows, by their numbers, with their weights."""
        rows = np.asfortranarray(self.rows[which])
        row_weights = None if self.row_weights is None else np.ascontiguousarray(self.row_weights[which])
        return Data(rows, row_weights, None if self.allowed is None else self.allowed[which])

    def with_weights(self, row_weights: PerRow) -> "Data":
        """The same rows with other weights, (obs,) and not negative; no row is copied."""
        other = Data(self.rows, row_weights, self.allowed)
        pieces = np.split(row_weights, np.cumsum([block.columns.shape[1] for block in self])[:-1])
        blocks = (block._replace(row_weights=piece) for block, piece in zip(self, pieces, strict=True))
        other.__dict__["blocks"] = tuple(blocks)
        return other

    def distinct(self) -> "Data":
        """The different rows, each with the sum of its weights, see `distinct_rows`; labelled rows as they are."""
        return self if self.allowed is not None else self._distinct

    @cached_property
    def _distinct(self) -> "Data":
        rows, row_weights = distinct_rows(self.rows, self.row_weights)
        if rows is self.rows and row_weights is self.row_weights:
            return self
        found = Data(rows, row_weights)
        found.__dict__["_distinct"] = found
        return found

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
            return Data(np.asfortranarray(self.rows[chosen]), np.full(size, total / size))
        order = rng.permutation(len(weights))
        places = (np.arange(size) + rng.random()) * (total / size)
        drawn = np.minimum(np.searchsorted(weights[order].cumsum(), places, side="right"), len(weights) - 1)
        times = np.bincount(order[drawn], minlength=len(weights))
        chosen = np.flatnonzero(times)
        return Data(np.asfortranarray(self.rows[chosen]), times[chosen] * (total / size))
