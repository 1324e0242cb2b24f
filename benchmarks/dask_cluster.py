"""Rows on a Dask cluster: what a round costs beside the work, and passes over many rows beside those in memory.

Run it: uv run python benchmarks/dask_cluster.py [--rows 2000000] [--workers 3] [--threads 1]
A LocalCluster of processes on this machine; five components in five features. "round" is a sum over blocks of one row,
so that hardly anything is computed: milliseconds on the clock, least and median, and processor time of this process,
in which client and scheduler are. "/ limit" compares the least with 5 ms and 1 ms a worker. "task a block" is the same
sum by `client.map`, with one task for each block. Then one E-step over rows that the workers simulate and hold: seconds
of loading, of a pass (the fastest of several, and processor time a row) and of one in this process, by as many threads,
over the same rows in memory; the difference of the log-likelihood when this process reads the same blocks, which is
exactly zero; and a pass after a worker has been killed, which computes its rows again.
"""

import argparse
import os
import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial, reduce
from operator import add

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sources import D, K, truth

from bayesgmm import Mixture, open_source
from bayesgmm.data.blocks import Block, Data
from bayesgmm.data.sources import SourceData
from bayesgmm.data.totals import total
from bayesgmm.em.em import _of_block

CHUNK = 500_000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--most-here", type=int, default=10_000_000, help="rows that this process reads too")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.workers, options.rounds = 60_000, 2, 3
    dask.config.set({"distributed.worker.memory.terminate": False})  # workers of one machine share its memory
    with (
        LocalCluster(options.workers, threads_per_worker=options.threads, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        rounds(client, options)
        passes(client, options)


def rounds(client: Client, options: argparse.Namespace) -> None:
    """What a round costs, by the number of blocks."""
    print("| round | blocks | least, ms | median, ms | processor here, ms | / limit |\n" + "|---" * 6 + "|")
    limit = 5.0 + len(client.nthreads())
    for n_blocks in (3, 48) if options.quick else (3, 48, 256, 2_000):
        blocks = da.zeros((n_blocks, D), chunks=(1, D))
        data = SourceData(open_source(blocks))
        line("call a worker", n_blocks, partial(log_likelihood, data), options.rounds, limit)
    for n_blocks in (3, 48):
        held = client.map(one_row, range(n_blocks))
        line("task a block", n_blocks, partial(by_tasks, client, held), min(options.rounds, 20), limit)


def line(name: str, n_blocks: int, run: Callable[[], object], n_rounds: int, limit: float) -> None:
    """One line of the table."""
    run()
    begun, clocks = time.process_time(), []
    for _ in range(n_rounds):
        clock = time.perf_counter()
        run()
        clocks.append(1e3 * (time.perf_counter() - clock))
    here, least, median = 1e3 * (time.process_time() - begun) / n_rounds, min(clocks), statistics.median(clocks)
    print(f"| {name} | {n_blocks} | {least:.1f} | {median:.1f} | {here:.1f} | {least / limit:.2f} |", flush=True)


def log_likelihood(data: Data, pool: ThreadPoolExecutor | None = None) -> float:
    """One E-step."""
    return total(partial(_of_block, truth()), data, pool).log_likelihood


def one_row(index: int) -> Block:
    """A block of one row."""
    return Block(np.zeros((D, 1)), np.empty(0))


def by_tasks(client: Client, held: list) -> object:
    """The sum by one task a block."""
    return reduce(add, client.gather(client.map(partial(_of_block, truth()), held, pure=False)))


def simulated(n_rows: int, mixture: Mixture, block_info: dict | None = None) -> np.ndarray:
    """A chunk of rows."""
    chunk = 0 if not block_info else block_info[None]["chunk-location"][0]
    return mixture.sample(n_rows, rng=np.random.default_rng(chunk))[0]


def passes(client: Client, options: argparse.Namespace) -> None:
    """Loading and passes."""
    n_chunks = max(options.workers, options.rows // CHUNK)
    n_rows = options.rows // n_chunks
    x = da.map_blocks(simulated, n_rows, truth(), chunks=((n_rows,) * n_chunks, (D,)), dtype=np.float64)
    data = SourceData(open_source(x))
    workers = f"{options.workers} workers with {options.threads} thread(s) each"
    print(f"\n{n_rows * n_chunks:,} x {D}, K = {K}, {n_chunks} chunks, {workers}")
    seconds, there = timed(lambda: log_likelihood(data))
    print(f"loading and one pass: {seconds:.2f} s")
    n_passes, n_cores = min(options.rounds, 5), options.workers * options.threads
    before = sum(client.run(time.process_time).values())
    on_cluster = min(timed(lambda: log_likelihood(data))[0] for _ in range(n_passes))
    processor = (sum(client.run(time.process_time).values()) - before) / n_passes
    print(f"a pass: {on_cluster:.3f} s; processor of the workers {1e9 * processor / x.shape[0]:.1f} ns a row")
    if x.shape[0] <= options.most_here:
        with ThreadPoolExecutor(n_cores) as pool:
            source = SourceData(replace(open_source(x), client=None))
            same = log_likelihood(source, pool)
            memory = Data(np.asfortranarray(np.concatenate([block.columns.T.copy() for block in source])))
            log_likelihood(memory, pool)
            before = time.process_time()
            seconds = min(timed(lambda: log_likelihood(memory, pool))[0] for _ in range(n_passes))
            here = 1e9 * (time.process_time() - before) / n_passes / x.shape[0]
        print(f"a pass in memory, {n_cores} threads: {seconds:.3f} s; processor {here:.1f} ns a row")
        print(f"log-likelihood {there:.6f}, less that of this process: {there - same}")
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    seconds, again = timed(lambda: log_likelihood(data))
    print(f"a pass after a worker was killed: {seconds:.2f} s, difference {again - there}")


def timed(run: Callable[[], float]) -> tuple[float, float]:
    """Seconds on the clock, and the result."""
    begun = time.perf_counter()
    result = run()
    return time.perf_counter() - begun, result


if __name__ == "__main__":
    main()
