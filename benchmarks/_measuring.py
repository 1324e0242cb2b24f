"""What several scripts measure with, and the simulated rows they share."""

import sys
import time
from collections.abc import Callable
from resource import RUSAGE_SELF, getrusage

import numpy as np

from bayesgmm._common.arrays import Array


def timed[T](run: Callable[[], T]) -> tuple[tuple[float, float], T]:
    """Seconds on the clock and of the processor (all threads), and the result."""
    clock, processor = time.perf_counter(), time.process_time()
    result = run()
    return (time.perf_counter() - clock, time.process_time() - processor), result


def resident_peak() -> float:
    """Peak resident memory of this process so far, in MB."""
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes there, KiB on Linux


def overlapping(n_rows: int, n_features: int, n_components: int, *, spread: float = 1.5, seed: int = 0) -> Array:
    """Groups of unequal shapes; at the default spread of their means they overlap as clusters of real data do.

    Standard deviations along each group's own directions are between 0.4 and 2.
    """
    rng = np.random.default_rng(seed)
    labels, noise = rng.integers(n_components, size=n_rows), rng.normal(size=(n_rows, n_features))
    means = rng.normal(0.0, spread, (n_components, n_features))
    directions = np.linalg.qr(rng.normal(size=(n_components, n_features, n_features))).Q
    shapes = directions * np.exp(rng.uniform(np.log(0.4), np.log(2.0), (n_components, 1, n_features)))
    X = means[labels]
    for k, shape in enumerate(shapes):  # one at a time: a matrix for every row would take gigabytes
        X[labels == k] += noise[labels == k] @ shape.T
    return X
