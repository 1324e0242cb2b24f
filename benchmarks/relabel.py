"""Seconds and memory of every way to relabel a posterior, each in a process of its own.

Run `uv run python benchmarks/relabel.py`. Draws around five clusters in random labels; the time is that of `relabel`
with all it reports, in one thread, and the memory is the peak of the resident set over what it was before, as the
operating system counts it.
"""

import argparse
import os
import subprocess
import sys
from resource import RUSAGE_SELF, getrusage
from time import perf_counter

import numpy as np

from bayesgmm.algorithms.relabelling import METHODS

CHOICES = (*((method, "kl") for method in METHODS), ("optimal-assignment", "wasserstein"))
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
CHAINS = 4


def posterior(n_draws: int, n_rows: int, n_clusters: int, n_features: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws in random labels, and rows."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0.0, 3.0, (n_clusters, n_features))
    X = centres[rng.integers(n_clusters, size=n_rows)] + rng.normal(size=(n_rows, n_features))
    shape = (CHAINS, n_draws // CHAINS, n_clusters)
    order = rng.permuted(np.broadcast_to(np.arange(n_clusters), shape), axis=2)
    means = centres[order] + rng.normal(0.0, 0.02, (*shape, n_features))
    weights = rng.dirichlet(np.full(n_clusters, n_rows / n_clusters), shape[:2])
    factors = 0.02 * np.tril(rng.normal(size=(*shape, n_features, n_features))) + np.eye(n_features)
    return {"weights": weights, "means": means, "covariances": factors @ np.swapaxes(factors, -1, -2)}, X


def resident() -> float:
    """Peak resident memory so far, in MB."""
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def measure(method: str, divergence: str, sizes: list[int]) -> None:
    """Print seconds, MB over what imports and draws take, MB in all, and the agreement with a second method."""
    from bayesgmm.bayes.relabel import relabel, relabelling

    relabel(*posterior(8, 100, *sizes[2:]), method=method, divergence=divergence)  # loads and compiles
    draws, X = posterior(*sizes)
    before, start = resident(), perf_counter()
    record = relabelling(relabel(draws, X, method=method, divergence=divergence))
    seconds, memory = perf_counter() - start, resident() - before
    name = method + (f", {divergence}" if method == "optimal-assignment" else "")
    print(f"| {name} | {seconds:.1f} | {memory:.0f} | {resident():.0f} | {record.agreement:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs=4, default=[4_000, 10_000, 5, 3], help="draws, rows, K, D")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(*options.only, options.sizes)
        return
    print("| method | seconds | MB | MB in all | agreement |\n|---|---|---|---|---|", flush=True)
    for choice in CHOICES:
        sizes = [str(size) for size in options.sizes]
        command = [sys.executable, __file__, "--sizes", *sizes, "--only", *choice]
        subprocess.run(command, env=os.environ | THREADS, check=True)


if __name__ == "__main__":
    main()
