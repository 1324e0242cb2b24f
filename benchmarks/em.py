"""One EM iteration of this package beside one of scikit-learn's, in one process, BLAS limited to one thread.

Run it: uv run python benchmarks/em.py
Both start at the same mixture and run a fixed number of steps; the two are interleaved, and the table shows
medians over rounds.
"""

import time
import warnings

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as TheirMixture
from threadpoolctl import threadpool_limits

from bayesgmm.algorithms.em import EMSettings, Rows, run_em
from bayesgmm.algorithms.initialise import starting_mixture
from bayesgmm.datasets import load_old_faithful

ROUNDS = 7
NEVER = -1.0  # a tolerance that no run meets


def main() -> None:
    """Print the table."""
    cases = [
        ("Old Faithful, 272 x 2", np.asarray(load_old_faithful()), 2, (200, 200), 20),
        ("2,000 x 5", simulated(2_000, 5, 4), 4, (100, 100), 20),
        ("100,000 x 10", simulated(100_000, 10, 10), 10, (10, 4), 40),
    ]
    print(f"{'data':24}{'K':>4}{'ours, us':>12}{'sklearn, us':>14}{'ratio':>8}{'aim':>6}")
    for name, X, n_components, steps, aim in cases:
        ours, theirs = medians(X, n_components, steps)
        print(f"{name:24}{n_components:4}{ours:12.1f}{theirs:14.1f}{theirs / ours:8.1f}{aim:6}")


def simulated(n_rows: int, n_features: int, n_components: int) -> np.ndarray:
    """Overlapping spherical groups."""
    return make_blobs(n_rows, n_features, centers=n_components, cluster_std=2.0, random_state=0)[0]


def medians(X: np.ndarray, n_components: int, steps: tuple[int, int]) -> tuple[float, float]:
    """Median microseconds per iteration, ours and theirs."""
    start = starting_mixture(X, n_components, rng=np.random.default_rng(0))
    rows, settings = Rows(X), EMSettings(tol=NEVER, max_iter=steps[0])
    times: tuple[list[float], list[float]] = ([], [])
    with threadpool_limits(1):
        for _ in range(ROUNDS + 1):
            began = time.thread_time()
            run_em(rows, start, settings=settings)
            middle = time.thread_time()
            their_steps(X, start, steps[1])
            times[0].append((middle - began) / steps[0])
            times[1].append((time.thread_time() - middle) / steps[1])
    return 1e6 * float(np.median(times[0][1:])), 1e6 * float(np.median(times[1][1:]))  # the first round warms up


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
