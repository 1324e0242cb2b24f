"""One EM iteration of this package beside one of scikit-learn's, in one process, BLAS limited to one thread.

Run it: uv run python benchmarks/em.py
Both start at the same mixture and run a fixed number of steps; the runs are interleaved, and the table shows
medians over rounds. "one thread" is processor time of one thread of each; "wall" is time on the clock, ours with
its threads (it shares out more than 25,000 rows), theirs with BLAS limited to one and as it comes.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from joblib import effective_n_jobs
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as TheirMixture
from threadpoolctl import threadpool_limits

from bayesgmm.data.blocks import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.initialization import starting_mixture
from bayesgmm.priors.model import Model

NEVER = -1.0  # a tolerance that no run meets


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    cases = [
        ("Old Faithful, 272 x 2", np.asarray(load_old_faithful()), 2, (200, 100)),
        ("2,000 x 5", simulated(2_000, 5, 4), 4, (100, 50)),
        ("100,000 x 10", simulated(100_000, 10, 10), 10, (50, 4)),
    ]
    print(f"{'':24}{'':4}{'microseconds, one thread':>28}{'':9}{'ratio of wall time':>28}")
    print(f"{'data':24}{'K':>4}{'ours':>14}{'scikit-learn':>14}{'ratio':>9}{'BLAS 1':>14}{'BLAS free':>14}")
    for name, X, n_components, steps in cases:
        cpu, theirs, wall, limited, free = medians(X, n_components, (1, 1) if options.quick else steps, rounds)
        line = f"{name:24}{n_components:4}{cpu * 1e6:14.1f}{theirs * 1e6:14.1f}{theirs / cpu:9.1f}"
        print(f"{line}{limited / wall:14.1f}{free / wall:14.1f}")


def simulated(n_rows: int, n_features: int, n_components: int) -> np.ndarray:
    """Overlapping spherical groups."""
    return make_blobs(n_rows, n_features, centers=n_components, cluster_std=2.0, random_state=0)[0]


def medians(X: np.ndarray, n_components: int, steps: tuple[int, int], rounds: int) -> tuple[float, ...]:
    """Seconds per iteration: processor time of ours and theirs; time on the clock of ours, theirs, theirs free."""
    start = starting_mixture(Data.of(X), Model.of("full", n_components, X.shape[1]), rng=np.random.default_rng(0))
    rows, settings = Data.of(X), EMSettings(tol=NEVER, max_iter=steps[0])
    times = []
    with ThreadPoolExecutor(effective_n_jobs(-1)) as pool:
        for _ in range(rounds + 1):
            with threadpool_limits(1):
                ours = timed(lambda: run_em(rows, start, settings=settings), steps[0])
                shared = timed(lambda: run_em(rows, start, settings=settings, pool=pool), steps[0])
                limited = timed(lambda: their_steps(X, start, steps[1]), steps[1])
            free = timed(lambda: their_steps(X, start, steps[1]), steps[1])
            times.append((ours[0], limited[0], shared[1], limited[1], free[1]))
    return tuple(np.median(times[1:], axis=0).tolist())  # the first round warms up


def timed(run: Callable[[], object], n_steps: int) -> tuple[float, float]:
    """Seconds a step: processor time of this thread, and time on the clock."""
    cpu, wall = time.thread_time(), time.perf_counter()
    run()
    return (time.thread_time() - cpu) / n_steps, (time.perf_counter() - wall) / n_steps


def their_steps(X: np.ndarray, start: object, n_steps: int) -> None:
    """scikit-learn's own EM loop from given parameters, without its set-up."""
    model = TheirMixture(len(start.weights), reg_covar=0.0)
    model.weights_, model.means_, model.covariances_ = start.weights, start.means, start.covariances
    model.precisions_cholesky_ = np.swapaxes(start.precision_factors, 1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(n_steps):
            log_prob_norm, log_resp = model._e_step(X)
            model._m_step(X, log_resp)
            model._compute_lower_bound(log_resp, log_prob_norm)


if __name__ == "__main__":
    main()
