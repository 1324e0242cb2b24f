"""Log evidences over seeds: how far repeated fits differ, beside the standard errors they report, and the seconds.

    uv run python benchmarks/evidence.py             # Old Faithful and galaxies, eight fits each
    uv run python benchmarks/evidence.py --fits 4

Prints for each method the mean over fits, their standard deviation, the root mean square of the reported standard
errors, and the median seconds of `log_evidence` (both methods together).
"""

import argparse
import time
import warnings

import numpy as np

from bayesgmm import BayesianGaussianMixture, Prior, log_evidence
from bayesgmm.datasets import load_galaxies, load_old_faithful
from bayesgmm.exceptions import SamplingWarning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    n_fits, n_draws = (2, 100) if options.quick else (options.fits, 1000)
    warnings.simplefilter("ignore", SamplingWarning)  # overlapping components mix slowly: that is what is looked at
    faithful, galaxies = np.asarray(load_old_faithful()), np.asarray(load_galaxies()) / 1000.0
    richardson_green = Prior.richardson_green(galaxies)
    cases = [("faithful", faithful, None, k) for k in (1, 2, 3)]
    cases += [("galaxies", galaxies, richardson_green, k) for k in (1, 2, 3, 4)]
    print(f"{'data':10}{'K':>2}  {'method':8}{'mean':>12}{'sd':>8}{'se':>8}{'seconds':>9}")
    for name, X, prior, k in cases[1:2] if options.quick else cases:
        found, seconds = [], []
        for seed in range(n_fits):
            fit = BayesianGaussianMixture(k, prior=prior, draws=n_draws, random_state=seed, progress=False).fit(X)
            start = time.perf_counter()
            found.append(log_evidence(fit, random_state=seed))
            seconds.append(time.perf_counter() - start)
        for method in ("bridge", "thames"):
            values = np.array([(own.log_evidence, own.se) for own in (getattr(one, method) for one in found)])
            mean, sd, se = values[:, 0].mean(), values[:, 0].std(ddof=1), np.sqrt((values[:, 1] ** 2).mean())
            print(f"{name:10}{k:2d}  {method:8}{mean:12.3f}{sd:8.3f}{se:8.3f}{np.median(seconds):9.1f}", flush=True)


if __name__ == "__main__":
    main()
