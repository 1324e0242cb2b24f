"""Laplace approximation corrected by importance sampling beside NUTS, by number of rows.

Run it: uv run python benchmarks/laplace.py
Rows x 5, K = 4 overlapping groups, default fits, 4 x 1,000 draws. "s beyond EM" are processor seconds of the whole fit,
search for modes and diagnosis included, less those of EM's starts, the same for both. k-hat, effective draws of 4,000,
rows by which ratios were computed and the standard deviation of their error are the approximation's. Differences of
posterior means and of logarithms of standard deviations, over all parameters: root mean square, of means in posterior
standard deviations, and the largest in combined Monte Carlo standard errors. The last column is processor seconds
beyond EM, NUTS over the approximation. NUTS is left out above --most-nuts rows.
"""

import argparse
import json
import time
import warnings
from typing import Any, NamedTuple

import arviz_stats as azs
import numpy as np
from threadpoolctl import threadpool_limits

import bayesgmm.estimators.bayesian_gaussian_mixture as estimator
from bayesgmm import BayesianGaussianMixture, Mixture
from bayesgmm._common.arrays import Array
from bayesgmm.exceptions import SamplingError

HEADER = (
    "| rows | s of EM | s beyond EM: Laplace | NUTS | k-hat | effective | by rows | error "
    "| rms of means | of log sds | largest z: means | sds | ratio |\n|" + "---|" * 13
)


def simulated(n_rows: int) -> Array:
    """Four groups of unequal size that overlap: the best label is right for about 91 % of the rows."""
    rng = np.random.default_rng(2)
    means = rng.normal(0.0, 1.5, (4, 5))
    factors = 0.4 * np.tril(rng.normal(size=(4, 5, 5)), -1) + np.eye(5)
    truth = Mixture([0.4, 0.3, 0.2, 0.1], means, factors @ np.swapaxes(factors, 1, 2))
    return truth.sample(n_rows, rng=rng)[0]


class Run(NamedTuple):
    """A fit, processor seconds of EM's starts and of the rest."""

    fit: Any
    em: float
    beyond: float


def run(X: Array, inference: str, **settings: Any) -> Run:
    """A fit with seed 1; one with seed 0 has loaded all code."""
    seconds, whole = [0.0], estimator.best_of_starts

    def measured(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        found = whole(*args, **options)
        seconds[0] = time.process_time() - began
        return found

    estimator.best_of_starts = measured
    try:
        began = time.process_time()
        fit = BayesianGaussianMixture(4, inference=inference, random_state=1, progress=False, **settings).fit(X)
        total = time.process_time() - began
    finally:
        estimator.best_of_starts = whole
    return Run(fit, seconds[0], total - seconds[0])


def entries(fit: Any) -> Array:
    """Weights, means and different entries of covariances, (parameter, chain, draw)."""
    posterior = fit.posterior_["posterior"]
    covariances = posterior["covariances"].to_numpy()
    i, j = np.tril_indices(covariances.shape[-1])
    parts = posterior["weights"].to_numpy(), posterior["means"].to_numpy(), covariances[..., i, j]
    return np.moveaxis(np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=2), 2, 0)


def differences(one: Any, other: Any) -> tuple[float, float, float, float]:
    """Root mean squares and largest z of means and of log standard deviations."""
    draws = [entries(fit) for fit in (one, other)]
    means, sds = (np.array([moment(each, axis=(1, 2)) for each in draws]) for moment in (np.mean, np.std))
    of_means, of_sds = (
        np.hypot(*([float(azs.mcse(values, method=method)) for values in each] for each in draws))
        for method in ("mean", "sd")
    )
    apart, ratio = (means[0] - means[1]) / sds[1], np.log(sds[0] / sds[1])
    z = (means[0] - means[1]) / of_means, (sds[0] - sds[1]) / of_sds
    return (*(float(np.sqrt(np.mean(each**2))) for each in (apart, ratio)), *(float(np.abs(each).max()) for each in z))


def line(n_rows: int, *, with_nuts: bool, **settings: Any) -> str:
    X = simulated(n_rows)
    try:
        found = run(X, "laplace", **settings)
    except SamplingError as error:
        return f"| {n_rows:,} | refused: {str(error).split(':', 1)[1].split('(')[0].strip()} {'|' * 12}"
    known = found.fit.posterior_.attrs
    record = json.loads(known["laplace"])[0]
    cells = [f"{n_rows:,}", f"{found.em:.1f}", f"{found.beyond:.2f}"]
    quality = [
        f"{known['k_hat']:.2f}",
        f"{known['effective_draws']:,.0f}",
        f"{record['n_rows']:,}",
        f"{record['log_ratio_error']:.3f}",
    ]
    if not with_nuts:
        return f"| {' | '.join([*cells, '', *quality, '', '', '', '', ''])} |"
    nuts = run(X, "nuts", **settings)
    rms_means, rms_sds, z_means, z_sds = differences(found.fit, nuts.fit)
    apart = [f"{rms_means:.3f}", f"{rms_sds:.3f}", f"{z_means:.1f}", f"{z_sds:.1f}"]
    return f"| {' | '.join([*cells, f'{nuts.beyond:.1f}', *quality, *apart, f'{nuts.beyond / found.beyond:.1f}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 3_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--most-nuts", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    settings = {"draws": 200, "tune": 100} if arguments.quick else {}
    rows = [10_000] if arguments.quick else arguments.rows
    print(HEADER, flush=True)
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for inference in ("laplace", "nuts"):
            run(simulated(12_000), inference, draws=20, tune=20, init="best")
        for n_rows in rows:
            print(line(n_rows, with_nuts=n_rows <= arguments.most_nuts, **settings), flush=True)


if __name__ == "__main__":
    main()
