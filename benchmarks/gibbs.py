"""Two samplers of the same posterior: Gibbs sampling beside NUTS.

Run it: uv run python benchmarks/gibbs.py
Default fits but for init="best" (no exploratory chains), 4 x 1,000 draws each. "missing" is the largest fraction of
information on a parameter that the unknown labels take away, at the mode (`StandardErrors.missing`). "s" are processor
seconds of the whole fit, ESS the smallest effective sample size, of the log-likelihood, of label-invariant quantities
and of relabelled parameters. The ratios are effective draws a processor second, Gibbs sampling over NUTS.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import arviz_stats as azs
import numpy as np
from _measuring import overlapping, timed
from sklearn.datasets import load_iris
from threadpoolctl import threadpool_limits

from bayesgmm import BayesianGaussianMixture, diagnose
from bayesgmm._common.arrays import Array
from bayesgmm.data.blocks import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.diagnostics import invariants
from bayesgmm.exceptions import InformationError
from bayesgmm.standard_errors import standard_errors

INFERENCES = ("nuts", "gibbs")
HEADER = (
    "| data | family | missing | sampler | s | ESS: log-likelihood | invariant | parameter | ratios |\n|" + "---|" * 9
)


class Line(NamedTuple):
    """Rows, and the model."""

    rows: Callable[[], Array]
    n_components: int
    family: str = "full"


def apart(n_rows: int, n_features: int, n_components: int) -> Array:
    """Spherical groups 8 standard deviations apart."""
    rng = np.random.default_rng(0)
    centres = 8.0 / np.sqrt(2.0) * np.eye(n_components, n_features)
    return centres[rng.integers(n_components, size=n_rows)] + rng.normal(size=(n_rows, n_features))


LINES = {
    "Old Faithful, K = 2": Line(lambda: load_old_faithful().to_numpy(), 2),
    "iris, K = 3": Line(lambda: load_iris().data, 3, "tied"),
    "2,000 x 5 apart, K = 4": Line(lambda: apart(2_000, 5, 4), 4),
    "2,000 x 5 overlapping, K = 4": Line(lambda: overlapping(2_000, 5, 4), 4),
    "2,000 x 5 much overlapping, K = 4": Line(lambda: overlapping(2_000, 5, 4, spread=0.7), 4),
    "2,000 x 2 much overlapping, K = 3": Line(lambda: overlapping(2_000, 2, 3, spread=1.0), 3),
    "1,000 x 20 apart, K = 3": Line(lambda: apart(1_000, 20, 3), 3),
    "1,000 x 20 apart, K = 3, diag": Line(lambda: apart(1_000, 20, 3), 3, "diag"),
    "5,000 x 10 overlapping, K = 10": Line(lambda: overlapping(5_000, 10, 10), 10),
}
QUICK = {"300 x 2 apart, K = 2": Line(lambda: apart(300, 2, 2), 2)}


class Run(NamedTuple):
    """Processor seconds, and effective sample sizes: log-likelihood, label-invariant quantities, parameters."""

    fit: Any
    seconds: float
    sizes: tuple[float, float, float]


def run(X: Array, line: Line, inference: str, *, draws: int) -> Run:
    """A fit; a short one goes before."""
    settings = {"covariance_type": line.family, "inference": inference, "init": "best", "random_state": 0}
    BayesianGaussianMixture(line.n_components, draws=20, tune=20, progress=False, **settings).fit(X)
    model = BayesianGaussianMixture(line.n_components, draws=draws, progress=False, **settings)
    (_, seconds), fit = timed(lambda: model.fit(X))
    figures = diagnose(fit).figures
    log_likelihood = invariants(fit.posterior_, Data.of(X))["log_likelihood"].to_numpy()
    mixing = figures.invariants, figures.relabelled or figures.labelled
    invariant, parameter = (min(each.ess_bulk, each.ess_tail) for each in mixing)
    return Run(fit, seconds, (float(azs.ess(log_likelihood)), invariant, parameter))


def missing(fit: Any, X: Array) -> str:
    """The largest fraction of missing information at the mode."""
    try:
        return f"{standard_errors(X, fit.em_, prior=fit.prior_).missing[0]:.2f}"
    except InformationError:
        return ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    print(HEADER, flush=True)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # effective sizes tell
        for name, line in (QUICK if options.quick else LINES).items():
            X = line.rows()
            runs = {each: run(X, line, each, draws=100 if options.quick else 1_000) for each in INFERENCES}
            share = missing(runs["nuts"].fit, X)
            rates = {each: [size / found.seconds for size in found.sizes] for each, found in runs.items()}
            ratios = [own / other for own, other in zip(rates["gibbs"], rates["nuts"], strict=True)]
            for each, found in runs.items():
                sizes = " | ".join(f"{size:,.0f}" for size in found.sizes)
                told = ", ".join(f"{ratio:.2g}" for ratio in ratios) if each == "gibbs" else ""
                cells = (name, line.family, share, each, f"{found.seconds:.2f}", sizes, told)
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
