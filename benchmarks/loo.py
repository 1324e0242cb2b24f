"""Memory and processor time of leave-one-out: row blocks beside the whole matrix of log-likelihoods, a process each.

    uv run python benchmarks/loo.py                  # 40,000 rows, 4,000 draws, 5 features, 5 components
    uv run python benchmarks/loo.py --rows 4000 --whole

Prints the highest resident memory of the process in MB (after the import and the draws, and at the end) and its
processor seconds.
"""

import argparse
import subprocess
import sys
import time

import arviz_stats as azs
import numpy as np
import xarray as xr
from _measuring import resident_peak

from bayesgmm import Mixture, compute_log_likelihood, loo
from bayesgmm.posterior.adapter import mixture_posterior


def posterior(rows: int, draws: int, features: int, components: int) -> xr.DataTree:
    """Draws that scatter around a mixture as those of a posterior given so many rows would."""
    rng = np.random.default_rng(0)
    means = 3.0 * rng.standard_normal((components, features))
    truth = Mixture(np.full(components, 1 / components), means, np.stack([np.eye(features)] * components))
    X, _ = truth.sample(rows, rng=rng)
    scatter = np.sqrt(components / rows)
    noise = rng.standard_normal((draws, components, features, features)) * scatter
    arrays = {
        "weights": rng.dirichlet(np.full(components, rows / components), draws),
        "means": means + scatter * rng.standard_normal((draws, components, features)),
        "covariances": np.eye(features) + (noise + noise.swapaxes(-1, -2)) / 2,
    }
    shaped = {name: values.reshape(4, -1, *values.shape[1:]) for name, values in arrays.items()}
    return mixture_posterior(shaped, X)


def measure(arguments: argparse.Namespace, how: str) -> None:
    """Leave-one-out once, figures on the standard output."""
    tree = posterior(arguments.rows, arguments.draws, arguments.features, arguments.components)
    before, begun = resident_peak(), time.process_time()
    found = azs.loo(compute_log_likelihood(tree)) if how == "whole" else loo(tree)
    seconds = time.process_time() - begun
    sys.stdout.write(
        f"{how:9s} elpd {found.elpd:12.2f}  before {before:6.0f} MB  peak {resident_peak():6.0f} MB  {seconds:6.1f} s\n"
    )


def main() -> None:
    """Each way in a process of its own; the quick mode has one for both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 40_000), ("draws", 4_000), ("features", 5), ("components", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--whole", action="store_true", help="ArviZ on the stored log_likelihood group, too")
    parser.add_argument("--only", choices=("pointwise", "whole"), nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(rows=200, draws=200, whole=True)
    if arguments.only:
        for how in arguments.only:
            measure(arguments, how)
        return
    ways = ["pointwise", "whole"] if arguments.whole else ["pointwise"]
    for only in [ways] if arguments.quick else [[how] for how in ways]:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", *only], check=True)


if __name__ == "__main__":
    main()
