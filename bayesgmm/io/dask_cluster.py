"""Rows in the memory of a Dask cluster's workers, who add what tasks give for them: one call a worker a round.

Blocks are read where they live, by futures that the scheduler computes again elsewhere when a worker dies. Rounds do
not pass through the scheduler, which takes milliseconds for a task: the client calls a handler of each worker over a
connection to it. A round is idempotent, so that one that has lost a worker asks those that have its rows now.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import reduce
from itertools import islice, pairwise, repeat
from operator import add
from typing import Any, NamedTuple

import distributed
from distributed.comm import CommClosedError
from distributed.core import send_recv
from distributed.protocol.pickle import dumps, loads

from bayesgmm._common import one_blas_thread
from bayesgmm.data import Block, HaltedError, HandlesElsewhere, in_order, longest_run
from bayesgmm.exceptions import ClusterError, InputError
from bayesgmm.io.dask_collections import DaskChunk

_OPERATION = "bayesgmm_task"  # the name of the workers' handler
_ASK_AGAIN = 0.1  # seconds after which one who waits looks whether the user or a lost scheduler wants an end
_CONNECT = 3.0  # seconds that a worker may take to accept a connection
_LOOK_AROUND = 1.0  # seconds between two looks for workers that have come
_WITHOUT_WORKERS = 30.0  # seconds that rows may be without any worker
_MOST_TRIES = 20  # of a round that loses workers again and again
_ROWS_PER_CALL = 1_000_000  # of results for each row

type Loaded = list[list[Block]]
"""The blocks of each handle of a run."""
type Jobs = list[tuple[int, tuple[Any, ...]]]
"""Handles by their places in a run, and further arguments of the task."""


class Order(NamedTuple):
    """What a worker is to do with a run of handles: add its sums, or return results for some of its handles.

    Attributes
    ----------
    run : int
    key : str
        Of the future with its blocks.
    jobs : Jobs or None
        For sums none.
    """

    run: int
    key: str
    jobs: Jobs | None


# ---- in a worker


def load_rows(handles: Sequence[Any], chunks: Sequence[Any]) -> Loaded:
    """Read handles, each of a Dask collection from its chunk, which has been computed."""
    here = [handle if chunk is None else _with(chunk, handle) for handle, chunk in zip(handles, chunks, strict=True)]
    return [[block._replace(columns=block.columns.copy()) for block in handle.read()] for handle in here]


def _with(chunk: Any, handle: Any) -> Any:
    return replace(handle, block=replace(handle.block, chunk=chunk))


class Answers(distributed.WorkerPlugin):
    """The handler of a worker: does tasks with blocks that it holds, in threads of its own."""

    name, idempotent = "bayesgmm", True

    def setup(self, worker: Any) -> None:
        """Begin to answer."""
        n_threads = worker.state.nthreads
        self.worker, self.pool = worker, ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        worker.handlers[_OPERATION] = self.answer

    async def answer(self, request: bytes) -> bytes:
        """Results by run, of those that are here."""
        packed, orders = loads(request)
        held = [(order, self.worker.data[order.key]) for order in orders if order.key in self.worker.data]
        return await asyncio.to_thread(self._results, packed, held)

    def _results(self, packed: bytes, held: list[tuple[Order, Loaded]]) -> bytes:
        task = loads(packed)
        with one_blas_thread():
            if held and held[0][0].jobs is None:
                blocks = (block for _, loaded in held for handle in loaded for block in handle)
                parts = in_order(task, blocks, self.pool, ahead=4 * self.worker.state.nthreads)
                return dumps({order.run: _added(parts, loaded) for order, loaded in held})
            return dumps({order.run: self._each(task, order.jobs or [], loaded) for order, loaded in held})

    def _each(self, task: Callable[..., Any], jobs: Jobs, loaded: Loaded) -> list[Any]:
        return list(in_order(lambda job: task(iter(loaded[job[0]]), *job[1]), jobs, self.pool))


def _added(parts: Iterator[Any], loaded: Loaded) -> Any:
    """The sum of a run, of parts one a block: the sums of handles are added."""
    return reduce(add, [reduce(add, islice(parts, len(handle))) for handle in loaded])


# ---- in the client


class OnWorkers(HandlesElsewhere):
    """Handles whose rows are in the memory of the workers of a Dask cluster, as long as this object lives.

    Parameters
    ----------
    client : distributed.Client
    handles : sequence of StoredBlock
        They are read by the workers; chunks of Dask collections are computed there.
    """

    def __init__(self, client: distributed.Client, handles: Sequence[Any]) -> None:
        self.client, self.handles, self._address = client, handles, client.scheduler.address
        self._is_collection = isinstance(handles[0].block, DaskChunk)
        size = longest_run(len(handles))
        self.runs = [range(first, min(first + size, len(handles))) for first in range(0, len(handles), size)]
        client.register_plugin(Answers())
        self._workers: dict[str, int] = dict(client.nthreads())  # threads by address
        self._place: dict[int, str] = {}  # of runs
        self._moving: dict[int, distributed.Future] = {}
        self._looked = time.monotonic()
        slots = sorted((i / n, address) for address, n in self._workers.items() for i in range(n))
        anywhere = self._is_collection or not slots  # chunks may have a place
        addresses = [None if anywhere else slots[run % len(slots)][1] for run in range(len(self.runs))]
        self._futures = dict(self._loading(dict(enumerate(addresses))))

    def __len__(self) -> int:
        return len(self.handles)

    def __getitem__(self, place: Any) -> Any:
        return self.handles[place]

    def sums(self, task: Callable[[Block], Any], *, halted: Callable[[], bool]) -> list[Any]:
        """The sum of each run, in order: one call a worker."""
        future = self._begin(self._results(dumps(task), dict.fromkeys(range(len(self.runs)))))
        try:
            while not wait([future], timeout=_ASK_AGAIN).done:
                if halted():
                    raise HaltedError
        finally:
            future.cancel()
        found = future.result()
        return [found[run] for run in range(len(self.runs))]

    def each(self, task: Callable[..., Any], *of_handles: Sequence[Any]) -> Iterator[Any]:
        """What a task gives for each handle, in order: some million rows a call, a few calls ahead."""
        packed, ahead = dumps(task), 2 * max(1, sum(self._workers.values()))

        async def results(part: tuple[int, range]) -> list[Any]:
            run, places = part
            first = self.runs[run].start
            jobs = [(place - first, tuple(values[place] for values in of_handles)) for place in places]
            return (await self._results(packed, {run: jobs}))[run]

        parts = [(run, places) for run in range(len(self.runs)) for places in self._in_calls(self.runs[run])]
        awaited: Callable[[Any], Any] = results  # by `_Loop`
        for found in in_order(awaited, parts, _Loop(self._begin), ahead=ahead):
            yield from found

    def _in_calls(self, places: range) -> Iterator[range]:
        """The handles of a run, as many at a time as a call may return results of."""
        firsts, n_rows = [places.start], 0
        for place in places:
            n_rows += self.handles[place].n_rows
            if n_rows > _ROWS_PER_CALL and place > firsts[-1]:
                firsts.append(place)
                n_rows = self.handles[place].n_rows
        return (range(*pair) for pair in pairwise([*firsts, places.stop]))

    def _begin[Result](self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        if self.client.status != "running":
            coroutine.close()
            raise self._lost_scheduler()
        return asyncio.run_coroutine_threadsafe(coroutine, self.client.loop.asyncio_loop)

    # ---- in the event loop of the client

    async def _results(self, packed: bytes, jobs: Mapping[int, Jobs | None]) -> dict[int, Any]:
        """Results by run, from the workers that hold them; from others where they are lost meanwhile."""
        found: dict[int, Any] = {}
        for _ in range(_MOST_TRIES):
            left = [run for run in jobs if run not in found]
            await self._locate(left)
            by_worker: dict[str, list[Order]] = defaultdict(list)
            for run in left:
                by_worker[self._place[run]].append(Order(run, self._futures[run].key, jobs[run]))
            calls = [self._answer(address, dumps((packed, orders))) for address, orders in by_worker.items()]
            for answer in (await asyncio.gather(self._look_around(), *calls))[1:]:
                found |= answer
            if len(found) == len(jobs):
                return found
            for run in left:
                if run not in found:
                    self._place.pop(run, None)
        why = "they die again and again, or cannot be reached from this machine"
        raise self._lose(f"Workers of the Dask cluster did not answer {_MOST_TRIES} times in one pass: {why}")

    async def _answer(self, address: str, request: bytes) -> dict[int, Any]:
        """What a worker returns; nothing if it is lost."""
        pool = self.client.rpc
        try:
            comm = await pool.connect(address, timeout=_CONNECT)
        except OSError:
            return {}
        try:
            return loads(await send_recv(comm, op=_OPERATION, request=request))
        except CommClosedError:
            return {}
        finally:
            pool.reuse(address, comm)

    async def _locate(self, runs: list[int]) -> None:
        """Find a worker for each run, and wait until one has loaded it."""
        begun, pause = time.monotonic(), 0.01
        while unknown := {self._futures[run].key: run for run in runs if run not in self._place}:
            holders = await self._scheduler("who_has", keys=list(unknown))
            for key, run in unknown.items():
                if holders.get(key):
                    self._place[run] = holders[key][0]
                elif self._futures[run].status == "error":
                    raise await self._futures[run]._exception()
                elif self._futures[run].status == "cancelled":
                    raise self._lose("The rows on the Dask cluster were cancelled, or it was restarted")
            if all(holders.get(key) for key in unknown):
                return
            if time.monotonic() - begun > _WITHOUT_WORKERS and not await self._scheduler("ncores"):
                raise self._lose(f"The Dask cluster has had no workers for {_WITHOUT_WORKERS:.0f} seconds")
            await asyncio.sleep(pause)
            pause = min(2.0 * pause, 0.25)

    async def _scheduler(self, operation: str, **arguments: Any) -> Any:
        """What the scheduler returns; an error as soon as the client has lost it."""
        call = asyncio.ensure_future(getattr(self.client.scheduler, operation)(**arguments))
        try:
            while self.client.status == "running":
                if (await asyncio.wait([call], timeout=_ASK_AGAIN))[0]:
                    return call.result()
        except OSError as error:
            raise self._lost_scheduler() from error
        finally:
            call.cancel()
        raise self._lost_scheduler()

    def _lost_scheduler(self) -> ClusterError:
        if self.client.status == "closed":
            return self._lose(f"The client of the Dask scheduler at {self._address} was closed")
        return self._lose(f"The Dask scheduler at {self._address} does not answer any more")

    def _lose(self, why: str) -> ClusterError:
        self.lost = ClusterError(f"{why}. Start the cluster again, and open the rows again.")
        return self.lost

    # ---- where rows are

    def _loading(self, places: dict[int, str | None]) -> Iterator[tuple[int, distributed.Future]]:
        """Futures of runs, to be loaded by the workers with these addresses unless they die."""
        wanted = [self.handles[place] for run in places for place in self.runs[run]]
        chunks: Iterator[Any] = repeat(None)
        if self._is_collection:
            chunks = iter(self.client.compute([handle.block.chunk for handle in wanted]))
            wanted = [_with(None, handle) for handle in wanted]
        handles = iter(wanted)
        for run, address in places.items():
            each = [list(islice(of_all, len(self.runs[run]))) for of_all in (handles, chunks)]
            where = {} if address is None else {"workers": [address], "allow_other_workers": True}
            yield run, self.client.submit(load_rows, *each, pure=False, **where)

    async def _look_around(self) -> None:
        """Now and then: share the rows with workers that have none, and read them there once they are loaded.

        Until one has some: Dask may let another worker load them that has nothing to do.
        """
        if time.monotonic() - self._looked < _LOOK_AROUND:
            return
        self._looked = time.monotonic()
        for run in [run for run, future in self._moving.items() if future.status != "pending"]:
            future = self._moving.pop(run)
            if future.status == "finished":
                self._futures[run] = future
                self._place.pop(run, None)
        self._workers = await self._scheduler("ncores")
        if not self._moving and len(self._place) == len(self.runs) and (moved := self._fair_share()):
            self._moving = dict(self._loading(moved))

    def _fair_share(self) -> dict[int, str | None]:
        """Runs for workers that have none, from those that have most of them for each of their threads."""
        held: dict[str, list[int]] = defaultdict(list)
        for run, address in self._place.items():
            held[address].append(run)
        moved: dict[int, str | None] = {}
        for address in [address for address in self._workers if address not in held]:
            for _ in range(int(len(self.runs) * self._workers[address] / sum(self._workers.values()))):
                richest = max(held, key=lambda each: len(held[each]) / self._workers.get(each, 1), default=None)
                if richest is None or len(held[richest]) < 2:
                    return moved
                moved[held[richest].pop()] = address
        return moved


class _Loop(Executor):
    """Coroutines as the tasks of an executor."""

    def __init__(self, begin: Callable[[Coroutine[Any, Any, Any]], Future[Any]]) -> None:
        self._begin = begin

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin what a task returns."""
        return self._begin(task(*args, **kwargs))


def checked(client: Any) -> distributed.Client:
    """A client that can be used, or an error."""
    if not isinstance(client, distributed.Client):
        got = type(client).__name__
    elif client.asynchronous or client.status != "running":
        got = f"one that is {'asynchronous' if client.asynchronous else client.status}"
    else:
        return client
    hint = "Say client=Client(address)."
    raise InputError(expected="a dask.distributed.Client that is running", got=got, hint=hint)
