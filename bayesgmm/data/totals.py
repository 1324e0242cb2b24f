"""Sums over blocks of rows, wherever they are: the one place that knows who adds them."""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial, reduce
from itertools import islice
from operator import add
from os import cpu_count
from typing import Any

from joblib import effective_n_jobs

from bayesgmm._common import Columns, PerRow
from bayesgmm.data.blocks import Block, Data, Handle
from bayesgmm.exceptions import ClusterError

_AHEAD = cpu_count() or 1  # handles that are under way before the first result is taken, of sums four times as many
_MOST_SUMS = 256  # that are added in the end: each of a run of handles, so that those who hold them return few


class HaltedError(Exception):
    """A pass over the rows was ended before it was over, so that it has no result."""


class HandlesElsewhere(Sequence[Handle]):
    """Handles of rows in the memory of others, who do what is asked for all of them in few calls.

    What they are asked to do must be picklable.

    Attributes
    ----------
    lost : ClusterError or None
        Why they cannot be reached any more.
    """

    __module__ = "bayesgmm.data"

    lost: ClusterError | None = None

    @abstractmethod
    def sums(self, task: Callable[[Block], Any], *, halted: Callable[[], bool]) -> Iterable[Any]:
        """Sums of what a task gives for blocks, of each of the `runs_of` handles, in order."""

    @abstractmethod
    def each(self, task: Callable[..., Any], *of_handles: Sequence[Any]) -> Iterator[Any]:
        """What a task gives for the blocks of each handle and what belongs to it, in order."""


def over_blocks[Result](
    task: Callable[[Block], Result],
    data: Data | Iterable[Block | tuple[Columns, PerRow]],
    pool: Executor | None = None,
    *,
    halted: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Sums of what a task gives for blocks, in order: one for each handle of the data, or if many for runs of them.

    Blocks are loaded where the task runs: in the threads of the pool if there is one, or where they are on a cluster,
    for which it must be picklable. The sums are the same.

    Raises
    ------
    HaltedError
        As soon as ``halted()`` is true, which is asked after each block.
    """
    handles = data.handles if isinstance(data, Data) else ()
    if isinstance(handles, HandlesElsewhere):
        return iter(handles.sums(task, halted=halted))
    found = in_order(partial(_of_handle, task), handles or (Block(*block) for block in data), pool, ahead=4 * _AHEAD)
    return _runs_added(_unless(halted, found), longest_run(len(handles)))


def total(
    task: Callable[[Block], Any],
    data: Data | Iterable[Block | tuple[Columns, PerRow]],
    pool: Executor | None = None,
    *,
    halted: Callable[[], bool] = lambda: False,
) -> Any:
    """The sum over all rows of what a task gives for blocks of them; see `over_blocks`."""
    return reduce(add, over_blocks(task, data, pool, halted=halted))


def by_handle[Result](
    task: Callable[..., Result], data: Data, pool: Executor | None = None, *of_handles: Sequence[Any]
) -> Iterator[Result]:
    """What a task gives for the blocks of each handle of the data, an iterator, in their order.

    Sequences with something for each handle are its further arguments. On a cluster it must be picklable.
    """
    if isinstance(data.handles, HandlesElsewhere):
        return data.handles.each(task, *of_handles)
    return in_order(partial(_of_blocks, task), list(zip(data.handles, *of_handles, strict=True)), pool)


def longest_run(n_handles: int) -> int:
    """How many handles are added before their sum is added to others: the sums do not depend on who adds."""
    return max(1, -(-n_handles // _MOST_SUMS))


def _of_handle(task: Callable[[Block], Any], handle: Handle) -> Any:
    return reduce(add, map(task, handle.read()))


def _of_blocks(task: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    handle, *others = arguments
    return task(handle.read(), *others)


def _unless[Item](halted: Callable[[], bool], items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if halted():
            raise HaltedError
        yield item


def _runs_added(parts: Iterator[Any], size: int) -> Iterator[Any]:
    """Sums of so many parts after each other."""
    for first in parts:
        yield reduce(add, islice(parts, size - 1), first)


def in_order[Item, Result](
    task: Callable[[Item], Result], items: Iterable[Item], pool: Executor | None, *, ahead: int = _AHEAD
) -> Iterator[Result]:
    """What a task gives for each item, in their order: as `Executor.map`, but only a few results ahead."""
    if pool is None:
        yield from map(task, items)
        return
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(task, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def threads_for(data: Data, n_jobs: int | None) -> AbstractContextManager[Executor | None]:
    """Threads for the blocks of rows, if there are several: as many as asked for, by default one a core."""
    if len(data.handles) == 1:
        return nullcontext()
    n_threads = effective_n_jobs(-1 if n_jobs is None else n_jobs)
    return ThreadPoolExecutor(n_threads) if n_threads > 1 else nullcontext()
