"""A gradient of the log posterior and a Gibbs sweep by blocks beside those of one array, in processor time.

Run it: uv run python benchmarks/source_posterior.py [--rows 200000] [--folder FOLDER]
Five components in five features, 104 parameters; files are in the page cache, one thread. "gradient, 1" is one point a
pass, "gradient, 4" the points of four chains gathered into one pass, each for one point; "/ native" is the ratio to the
compiled function of one array, which NUTS calls in memory. "sweep" is one of Gibbs sampling, of four chains in one
pass, each for one chain. "difference" is that of the gradient from the native one, in posterior standard deviations.
Below it the passes over all rows before the first draw.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from _measuring import timed
from sources import D, K, truth, written

from bayesgmm import Mixture, Prior, open_source
from bayesgmm.data.blocks import Data
from bayesgmm.data.sources import SourceData
from bayesgmm.gibbs import BlockSweeps, Kept, Sweeps
from bayesgmm.gibbs.sweep import SWEEPS
from bayesgmm.log_posterior.by_blocks import BlockLogPosterior, SumsAt
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.whitening import whitened_log_posterior
from bayesgmm.priors import Model

SEED = 0
SOURCES = {
    ".npy": "rows.npy",
    ".npy, float32": "single.npy",
    "Parquet, groups of 100,000, no dictionary": "groups.parquet",
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where files are written, and kept; a temporary one by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.rounds = 110_000, 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        written(folder, options.rows)
        measure(folder, options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Both tables."""
    X, mixture = np.load(folder / "rows.npy"), truth()
    prior = Prior.weakly_informative(X)
    model = Model.of_mixture(mixture, prior)
    memory = Data.of(X)
    native = whitened_log_posterior(
        memory.subset(20_000, rng=np.random.default_rng(SEED)), model.required_prior, mixture
    )
    coordinates = native.coordinates
    native = LogPosterior(memory, model.required_prior, coordinates)
    points = 0.1 * np.random.default_rng(SEED).normal(size=(4, native.n_dim))
    rounds, expected = options.rounds, native(points[0])[1]
    of_native = fastest(lambda: native(points[0]), rounds)
    of_sweep = sweep_in_memory(memory, model, mixture, rounds)
    print(f"| {options.rows:,} x {D}, K = {K} | gradient, 1, ms | / native | gradient, 4, ms | / native ", end="")
    print("| sweep, ms | / memory | difference |\n|" + "---|" * 8)
    print(f"| one array | {1e3 * of_native:.2f} | 1 | | | {1e3 * of_sweep:.2f} | 1 | |", flush=True)
    data: dict[str, Data] = {"blocks in memory": memory}
    data |= {kind: looked_at(folder / name) for kind, name in SOURCES.items()}
    for kind, rows in data.items():
        by_blocks = BlockLogPosterior(rows, model.required_prior, coordinates)
        one, four = (fastest(partial(by_blocks.at, points[:n]), rounds) / n for n in (1, 4))
        sweep = sweep_by_blocks(rows, model, mixture, rounds)
        apart = np.abs(by_blocks(points[0])[1] - expected).max()
        line = f"| {kind} | {1e3 * one:.2f} | {one / of_native:.2f} | {1e3 * four:.2f} | {four / of_native:.2f} "
        print(f"{line}| {1e3 * sweep:.2f} | {sweep / of_sweep:.2f} | {apart:.0e} |", flush=True)
    source = data[".npy"]
    print("\n| passes before the first draw | by blocks | by differences over all rows |\n|---|---|---|")
    whitening = passes(lambda: whitened_log_posterior(source, model.required_prior, mixture), options.rows)
    print(f"| coordinates | {whitening:.1f} | {2 * native.n_dim} and those of L-BFGS |")


def fastest(run: object, rounds: int) -> float:
    """Processor seconds of a call, of the fastest of some rounds of several."""
    n = 5
    return min(timed(lambda: [run() for _ in range(n)])[0][1] for _ in range(rounds)) / n


def looked_at(path: Path) -> Data:
    """A source whose rows are checked."""
    return SourceData.read_once(open_source(path), rng=np.random.default_rng(SEED))


def sweep_in_memory(data: Data, model: Model, start: Mixture, rounds: int) -> float:
    """Seconds of a sweep of one chain."""
    sweeps = Sweeps(data, model)
    chain = sweeps.chain(start)
    kept, rng, n = Kept.room(chain, 4), np.random.default_rng(SEED), 4
    return fastest(lambda: sweeps.run(rng, chain, kept, first=0, n=n), rounds) / (n * SWEEPS + 0.5)  # and densities


def sweep_by_blocks(data: Data, model: Model, start: Mixture, rounds: int) -> float:
    """Seconds of a sweep of each of four chains."""
    sweeps = BlockSweeps(data, model, [start] * 4, rng=np.random.default_rng(SEED))
    return fastest(lambda: sweeps.draw(lambda: None), rounds) / (4 * SWEEPS)


def passes(run: object, n_rows: int) -> float:
    """How often all rows are read."""
    n_read, original = [], SumsAt.__call__

    def counting(task: SumsAt, block: object) -> object:
        n_read.append(block.columns.shape[1])
        return original(task, block)

    SumsAt.__call__ = counting
    run()
    SumsAt.__call__ = original
    return sum(n_read) / n_rows


if __name__ == "__main__":
    main()
