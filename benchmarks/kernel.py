"""The kernel beside its floor: the same arithmetic at dgemm speed plus one exponential a row and component.

Run `uv run python benchmarks/kernel.py`. One thread, one process; every round measures dgemm, NumPy's exp, the
kernel and a plain NumPy E-step one after the other, and what is printed are medians over rounds of ratios
within a round, so that a machine that slows down slows down both sides.
"""

import argparse
from collections.abc import Callable
from time import thread_time

import numpy as np
from scipy.linalg import solve_triangular
from threadpoolctl import threadpool_limits

from bayesgmm._common.arrays import Array
from bayesgmm.mixture.mixture import Mixture, column_statistics

SIZES = ((272, 2, 2), (2_000, 5, 4), (10_000, 5, 5), (100_000, 10, 10), (20_000, 50, 5))
GEMM, N_EXP = 512, 4096


def flops_per_row_and_component(n_features: int) -> int:
    """Residual, whitening, quadratic form, weighted residual and first moment, second moment."""
    d = n_features
    return d + d * (d + 1) + 2 * d + 2 * d + d + d * (d + 1)


def mixture_and_rows(n_rows: int, n_features: int, n_components: int) -> tuple[Mixture, Array]:
    """A random full-covariance mixture and rows drawn from it."""
    rng = np.random.default_rng(0)
    factors = 0.2 * np.tril(rng.normal(size=(n_components, n_features, n_features)), -1) + np.eye(n_features)
    means = rng.normal(0.0, 2.0, (n_components, n_features))
    mixture = Mixture(np.full(n_components, 1 / n_components), means, factors @ np.swapaxes(factors, 1, 2))
    return mixture, mixture.sample(n_rows, rng=rng)[0]


def numpy_e_step(X: Array, mixture: Mixture) -> tuple[Array, Array, Array]:
    """Responsibilities and sums as a NumPy user writes them, one component at a time."""
    joint = np.empty((len(X), mixture.n_components))
    for k, (mean, factor) in enumerate(zip(mixture.means, mixture.factors, strict=True)):
        z = solve_triangular(factor, (X - mean).T, lower=True, check_finite=False)
        joint[:, k] = mixture.log_scale[k] - 0.5 * (z**2).sum(axis=0)
    highest = joint.max(axis=1, keepdims=True)
    resp = np.exp(joint - highest)
    resp /= resp.sum(axis=1, keepdims=True)
    counts, means = resp.sum(axis=0), (resp.T @ X) / resp.sum(axis=0)[:, None]
    second = np.array([((X - m) * r[:, None]).T @ (X - m) for m, r in zip(means, resp.T, strict=True)])
    return counts, means, second


def seconds(call: Callable[[], object], at_least: float) -> float:
    """Mean time of one call, from enough calls to fill ``at_least`` seconds."""
    n, elapsed = 1, 0.0
    while True:
        start = thread_time()
        for _ in range(n):
            call()
        elapsed = thread_time() - start
        if elapsed >= at_least:
            return elapsed / n
        n = max(2 * n, int(1.2 * n * at_least / max(elapsed, 1e-9)))


def measure(size: tuple[int, int, int], rounds: int) -> tuple[float, float, float]:
    """Microseconds of the kernel, and medians of kernel / floor and of NumPy / kernel."""
    n_rows, n_features, n_components = size
    mixture, X = mixture_and_rows(*size)
    columns = np.ascontiguousarray(X.T)
    rng = np.random.default_rng(1)
    a, b, product = rng.normal(size=(GEMM, GEMM)), rng.normal(size=(GEMM, GEMM)), np.empty((GEMM, GEMM))
    exponents, values = -rng.exponential(10.0, N_EXP), np.empty(N_EXP)
    flops = n_rows * n_components * flops_per_row_and_component(n_features)
    records = []
    for _ in range(rounds):
        per_flop = seconds(lambda: np.matmul(a, b, out=product), 0.02) / (2.0 * GEMM**3)
        per_exp = seconds(lambda: np.exp(exponents, out=values), 0.005) / N_EXP
        kernel = seconds(lambda: column_statistics(columns, mixture), 0.02)
        plain = seconds(lambda: numpy_e_step(X, mixture), 0.02)
        floor = flops * per_flop + n_rows * n_components * per_exp
        records.append((1e6 * kernel, kernel / floor, plain / kernel))
    return tuple(np.median(records, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    sizes, rounds = (SIZES[:2], 1) if options.quick else (SIZES, options.rounds)
    print("| rows x features, K | kernel | kernel / floor | NumPy / kernel |\n|---|---|---|---|")
    with threadpool_limits(1):
        for size in sizes:
            time, floor, plain = measure(size, rounds)
            print(f"| {size[0]:,} x {size[1]}, {size[2]} | {time:,.1f} µs | {floor:.2f} | {plain:.1f} |", flush=True)


if __name__ == "__main__":
    main()
