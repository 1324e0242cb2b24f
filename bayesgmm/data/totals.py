"""Sums over blocks of rows, wherever they are: the one place that knows who adds them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial, reduce
from operator import add
from os import cpu_count
from typing import Any

from joblib import effective_n_jobs

from bayesgmm._common import Columns, PerRow
from bayesgmm.data.blocks import Block, Data, Handle

_AHEAD = cpu_count() or 1  # handles that are under way before the first result is taken, of sums four times as many


def over_blocks[Result](
    task: Callable[[Block], Result], data: Data | Iterable[tuple[Columns, PerRow]], pool: Executor | None = None
) -> Iterator[Result]:
    """Sums of what a task gives for blocks, one for each handle of the data and in their order.

    Blocks are loaded where the task runs, in the threads of the pool if there is one. The sums are the same without.
    """
    handles = data.handles if isinstance(data, Data) else (Block(*block) for block in data)
    return in_order(partial(_of_handle, task), handles, pool, ahead=4 * _AHEAD)


def total(task: Callable[[Block], Any], data: Data, pool: Executor | None = None) -> Any:
    """The sum over all rows of what a task gives for blocks of them."""
    return reduce(add, over_blocks(task, data, pool))


def by_handle[Result](
    task: Callable[[Iterator[Block]], Result], data: Data, pool: Executor | None = None
) -> Iterator[Result]:
    """What a task gives for the blocks of each handle of the data, in their order."""
    return in_order(lambda handle: task(handle.read()), data.handles, pool)


def _of_handle(task: Callable[[Block], Any], handle: Handle) -> Any:
    return reduce(add, map(task, handle.read()))


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
