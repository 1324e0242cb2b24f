"""Rows on disk beside rows in memory: processor time of a pass, peak memory, and the same log-likelihood.

Run it: uv run python benchmarks/sources.py [--rows 2000000] [--fit] [--folder FOLDER]
Five components in five features. Every line has a process of its own; files are in the page cache. "pass" is one
E-step over all rows, processor time of all threads, the fastest of several, and "/ memory" its ratio to that of rows in
memory. "first" is the pass that checks, summarises and samples rows, or reads them into memory. "peak" is the largest
resident set of the process as the operating system counts it (VmHWM), "before" what it had when all was imported and
compiled. "difference" is that of the log-likelihood, relative. With --fit, the default fit: seconds on the clock, of
the processor, peak, EM steps on all rows, and its log-likelihood less that of the mixture that the rows are drawn from.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _measuring import resident_peak, timed

from bayesgmm import GaussianMixture, Mixture, open_source
from bayesgmm.data.blocks import Data
from bayesgmm.data.sources import SourceData
from bayesgmm.em.em import EMSettings, run_em

K, D, SEED = 5, 5, 0
SETTINGS = EMSettings(max_iter=0, reg_covar=np.full(D, 1e-9))  # one E-step
KINDS = {
    "memory": "rows.npy",
    ".npy": "rows.npy",
    ".npy, float32": "single.npy",
    "Parquet, as pyarrow writes it": "default.parquet",
    "Parquet, groups of 100,000, no dictionary": "groups.parquet",
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fit", action="store_true", help="also the whole default fit")
    parser.add_argument("--folder", type=Path, help="where files are written, and kept; a temporary one by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    parser.add_argument("--of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rows, options.rounds = 250_000, 1
    if options.of:
        (fitted if options.fit else passes)(*options.of, options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        written(folder, options.rows)
        print(f"| {options.rows:,} x {D} | pass, s | / memory | first, s | peak, MB | before, MB | difference |")
        print("|" + "---|" * 7)
        reference: list[float] = []
        for kind, name in KINDS.items():
            seconds, first, peak, before, log_likelihood = in_process(kind, folder / name, options)
            reference = reference or [seconds, log_likelihood]
            line = f"| {kind} | {seconds:.3f} | {seconds / reference[0]:.2f} | {first:.2f} | {peak:.0f} | {before:.0f} "
            print(f"{line}| {abs(log_likelihood / reference[1] - 1.0):.0e} |", flush=True)
        if not options.fit:
            return
        print("\n| default fit | seconds | processor s | peak, MB | steps | above truth |\n|" + "---|" * 6)
        for kind, name in list(KINDS.items())[1:]:
            clock, processor, peak, steps, gain = in_process(kind, folder / name, options, "--fit")
            print(f"| {kind} | {clock:.1f} | {processor:.1f} | {peak:.0f} | {steps:.0f} | {gain:.1f} |", flush=True)


def truth() -> Mixture:
    """Five overlapping components."""
    rng = np.random.default_rng(SEED)
    shapes = np.tril(rng.normal(0.0, 0.3, (K, D, D))) + np.eye(D)
    return Mixture(np.full(K, 1.0 / K), rng.normal(0.0, 2.0, (K, D)), shapes @ np.swapaxes(shapes, 1, 2))


def written(folder: Path, n_rows: int) -> None:
    """The files, part by part; those of an earlier run that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    if all((folder / name).exists() for name in KINDS.values()):
        return
    rng, mixture, size = np.random.default_rng(SEED), truth(), 2**20
    double = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float64, (n_rows, D))
    single = np.lib.format.open_memmap(folder / "single.npy", "w+", np.float32, (n_rows, D))
    schema = pa.schema([(f"x{j}", pa.float64()) for j in range(D)])
    with (
        pq.ParquetWriter(folder / "default.parquet", schema) as default,
        pq.ParquetWriter(folder / "groups.parquet", schema, use_dictionary=False) as groups,
    ):
        for start in range(0, n_rows, size):
            X = mixture.sample(min(size, n_rows - start), rng=rng)[0]
            double[start : start + size] = single[start : start + size] = X
            table = pa.table(dict(zip(schema.names, np.ascontiguousarray(X.T), strict=True)))
            default.write_table(table)
            groups.write_table(table, row_group_size=100_000)


def in_process(kind: str, path: Path, options: argparse.Namespace, *more: str) -> list[float]:
    """The figures that a process of its own prints."""
    settings = ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    command = [sys.executable, __file__, "--of", kind, str(path), *settings, *more]
    return list(map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()))


def passes(kind: str, path: str, options: argparse.Namespace) -> None:
    """Seconds of a pass and of the first, peak and memory before, and the log-likelihood."""
    mixture, rng = truth(), np.random.default_rng(SEED)
    small = mixture.sample(100, rng=rng)[0]
    run_em(Data.of(small), mixture, settings=SETTINGS)
    if kind != "memory":
        open_source(path).sample(10)
    before = peak_now()
    with ThreadPoolExecutor(options.threads) as pool:
        (_, first), data = timed(lambda: read(kind, path, options.threads))
        used = pool if options.threads > 1 else None
        runs = [timed(lambda: run_em(data, mixture, settings=SETTINGS, pool=used)) for _ in range(options.rounds)]
    seconds = min(processor for (_, processor), _ in runs)
    print(seconds, first, peak_now(), before, runs[0][1].log_likelihood)


def read(kind: str, path: str, n_threads: int) -> Data:
    """Rows in memory, or in blocks."""
    if kind == "memory":
        return Data.of(np.load(path))
    return SourceData.read_once(open_source(path), rng=np.random.default_rng(SEED), n_jobs=n_threads)


def fitted(kind: str, path: str, options: argparse.Namespace) -> None:
    """Seconds on the clock and of the processor, peak, steps and log-likelihood above that of the truth."""
    (clock, processor), fit = timed(lambda: GaussianMixture(K, random_state=SEED).fit(path))
    peak, above = (
        peak_now(),
        fit.log_likelihood_
        - run_em(
            SourceData.read_once(open_source(path), rng=np.random.default_rng(SEED)), truth(), settings=SETTINGS
        ).log_likelihood,
    )
    print(clock, processor, peak, fit.n_iter_, above)


def peak_now() -> float:
    """Peak resident memory of this process, in MB: the operating system's figure."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resident_peak()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
