"""Seconds and memory of every way to relabel a posterior, each in a process of its own.

Run `uv run python benchmarks/relabel.py`. Two posteriors in random labels, one whose clusters are apart and one in
which two components too many wander among the others, so that searches are long. Seconds are of processor time in
one thread, for `relabel` with all it reports; memory is the peak of the resident set, over what imports and draws
take and in all, as the operating system counts it.
"""

import argparse
import os
import subprocess
import sys
from time import process_time

import numpy as np
from _measuring import resident_peak

from bayesgmm.label_switching.methods import METHODS

CHOICES = (*((method, "kl") for method in METHODS), ("optimal-assignment", "wasserstein"))
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
CHAINS = 4


def posterior(sizes: list[int], *, wandering: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws in random labels, and rows."""
    n_draws, n_rows, n_clusters, n_features = sizes
    rng = np.random.default_rng(0)
    n_real = n_clusters - 2 if wandering else n_clusters
    centres = rng.normal(0.0, 3.0, (n_real, n_features))
    X = centres[rng.integers(n_real, size=n_rows)] + rng.normal(size=(n_rows, n_features))
    shape = (CHAINS, n_draws // CHAINS, n_clusters)
    home = np.where(np.arange(n_clusters) < n_real, np.arange(n_clusters), rng.integers(n_real, size=shape))
    extra = np.arange(n_clusters) >= n_real
    means = centres[home] + np.where(extra, 1.0, 0.02)[:, None] * rng.normal(size=(*shape, n_features))
    weights = rng.dirichlet(np.where(extra, 8.0, 60.0), shape[:2])
    sd = np.exp(np.where(extra, 0.4, 0.02) * rng.normal(size=shape))
    order = rng.permuted(np.broadcast_to(np.arange(n_clusters), shape), axis=2)
    draws = {"weights": weights, "means": means, "covariances": sd[..., None, None] ** 2 * np.eye(n_features)}
    return {name: _taken(values, order) for name, values in draws.items()}, X


def _taken(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    index = order.reshape(*order.shape, *(1,) * (values.ndim - 3))
    return np.ascontiguousarray(np.take_along_axis(values, index, axis=2))


def measure(method: str, divergence: str, sizes: list[int]) -> None:
    """Print seconds for both posteriors, MB over the baseline and in all, and whether components are identified."""
    from bayesgmm.label_switching.relabel_draws import relabel, relabelling

    relabel(*posterior([8, 100, *sizes[2:]], wandering=False), method=method, divergence=divergence)  # loads, compiles
    seconds, identified, before = [], [], 0.0
    for wandering in (False, True):
        draws, X = posterior(sizes, wandering=wandering)
        before = before or resident_peak()
        start = process_time()
        record = relabelling(relabel(draws, X, method=method, divergence=divergence))
        seconds.append(process_time() - start)
        identified.append("yes" if record.identified else "no")
    name = method + (f", {divergence}" if method == "optimal-assignment" else "")
    cells = [f"{seconds[0]:.1f}", f"{seconds[1]:.1f}", f"{resident_peak() - before:.0f}", f"{resident_peak():.0f}"]
    print(f"| {' | '.join([name, *cells, ', '.join(identified)])} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs=4, default=[4_000, 10_000, 5, 3], help="draws, rows, K, D")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    if options.quick:
        options.sizes = [200, 100, 4, 2]
    if options.only:
        measure(*options.only, options.sizes)
        return
    print("| method | clusters apart, s | two too many, s | MB | MB in all | identified |\n|---|---|---|---|---|---|")
    sys.stdout.flush()
    for choice in CHOICES[:1] if options.quick else CHOICES:
        sizes = [str(size) for size in options.sizes]
        command = [sys.executable, __file__, "--sizes", *sizes, "--only", *choice]
        subprocess.run(command, env=os.environ | THREADS, check=True)


if __name__ == "__main__":
    main()
