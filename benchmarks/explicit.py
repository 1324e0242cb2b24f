"""Settings spelled out are a promise too: our fits beside scikit-learn's with the same values.

Run it: uv run python benchmarks/explicit.py [--lines NAME ...] [--seeds 10] [--most-rows 10000]
Total log-likelihoods over seeds. "mean" and "worst" are ours minus scikit-learn's, of the means and of the lowest;
spikes, fits that fail our degeneracy rule, are left out, and "spikes" counts ours and theirs. "time" is the ratio of
processor seconds, sums over seeds, in one process with compiled code loaded. Every setting is one that users write:
scikit-learn's own defaults, ten starts, its other initialization, and a tight tolerance.
"""

import argparse
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from _default_fits import end
from _measuring import timed
from defaults import FAMILIES, lines
from sklearn.mixture import GaussianMixture as TheirMixture
from threadpoolctl import threadpool_limits

from bayesgmm import GaussianMixture
from bayesgmm._common.arrays import Array

SETTINGS: tuple[Mapping[str, Any], ...] = (
    {"n_init": 1, "tol": 1e-3},
    {"n_init": 10, "tol": 1e-3},
    {"n_init": 1, "tol": 1e-3, "max_iter": 100, "init_params": "kmeans"},
    {"n_init": 10, "init_params": "random_from_data"},
    {"n_init": 1, "tol": 1e-6, "max_iter": 1000},
)
QUICK = ["iris"]
HEADER = "| line | family | settings | mean | worst | time | spikes |\n|" + "---|" * 7


class Side(NamedTuple):
    """Log-likelihoods of the fits that are no spikes, how many are, and processor seconds of all."""

    ends: Array
    spikes: int
    seconds: float


def side(estimator: type, X: Array, k: int, covariance_type: str, settings: Mapping[str, Any], seeds: int) -> Side:
    """The fits of one estimator; a small one goes before."""
    ends, seconds = [], 0.0
    for seed in range(seeds):
        model = estimator(k, covariance_type=covariance_type, random_state=seed, **settings)
        (_, spent), fit = timed(lambda model=model: model.fit(X))
        seconds += spent
        ends.append(end(fit, X))
    proper = np.array([each.log_likelihood for each in ends if each.proper])
    return Side(proper, len(ends) - len(proper), seconds)


def text(name: str, covariance_type: str, settings: Mapping[str, Any], ours: Side, theirs: Side) -> str:
    """A line of the table."""
    told = ", ".join(f"{key}={value}" for key, value in settings.items())
    compared = len(ours.ends) and len(theirs.ends)
    gaps = [f"{f(ours.ends) - f(theirs.ends):+.4f}" if compared else "" for f in (np.mean, np.min)]
    spikes = f"{ours.spikes}, {theirs.spikes}"
    return (
        f"| {name} | {covariance_type} | {told} | {' | '.join(gaps)} | {ours.seconds / theirs.seconds:.2f} | {spikes} |"
    )


def main() -> None:
    """Print the table, line by line, and how many promises are not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", nargs="+", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--most-rows", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(lines=QUICK, seeds=2)
    print(HEADER, flush=True)
    lower = slower = n = 0
    chosen = [line for line in lines(0) if line.n_rows <= options.most_rows]
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, degeneracy and few rows: the ends are compared
        for line in chosen:
            if options.lines is not None and line.name not in options.lines:
                continue
            X = line.make()
            for covariance_type in FAMILIES:
                GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X[:100, :2])
                for settings in SETTINGS:
                    ours, theirs = (
                        side(each, X, line.n_components, covariance_type, settings, options.seeds)
                        for each in (GaussianMixture, TheirMixture)
                    )
                    print(text(line.name, covariance_type, settings, ours, theirs), flush=True)
                    if len(ours.ends) and len(theirs.ends):
                        lower += min(f(ours.ends) - f(theirs.ends) for f in (np.mean, np.min)) < -1e-3
                    slower, n = slower + (ours.seconds > theirs.seconds), n + 1
    print(f"\nOf {n} comparisons {lower} lower in the mean or the worst seed, {slower} slower.")


if __name__ == "__main__":
    main()
