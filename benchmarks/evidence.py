"""Log evidences over seeds: how far repeated fits differ, beside the standard errors they report, and the seconds.

    uv run python benchmarks/evidence.py             # Old Faithful and galaxies, four fits each
    uv run python benchmarks/evidence.py --fits 8

Galaxies have Richardson & Green's prior, and up to seven components more than clusters. Prints for what `log_evidence`
returns, and for each method that it used, the fits that had an estimate, their mean and standard deviation, the root
mean square of the reported standard errors, and the median seconds of `log_evidence`, all methods together. "known" is
the value of an independent program, sequential importance sampling over observations, itself known to .1, and z the
largest error of a fit in standard errors, those of the known value included.
"""

import argparse
import time
import warnings

import numpy as np

from bayesgmm import BayesianGaussianMixture, Prior, log_evidence
from bayesgmm.datasets import load_galaxies, load_old_faithful
from bayesgmm.evidence import Estimate, Evidence
from bayesgmm.exceptions import EvidenceWarning, SamplingWarning

KNOWN = {3: -227.01, 4: -226.23, 5: -225.83, 6: -225.92, 7: -225.96, 8: -226.45, 9: -226.85, 10: -227.38}
KNOWN_TO = 0.1
HEADER = "| data | K | estimate | fits | mean | sd | se | known | z | seconds |\n|" + "---|" * 10


def estimates(found: Evidence) -> dict[str, Estimate | None]:
    """What is returned, and by each method."""
    own = Estimate(found.log_evidence, found.se)
    return {"returned": own, "bridge sampling": found.bridge, "THAMES": found.thames, "tempering": found.tempered}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    n_fits, n_draws = (2, 100) if options.quick else (options.fits, 1000)
    for category in (SamplingWarning, EvidenceWarning):  # overlapping components mix slowly: that is what is looked at
        warnings.simplefilter("ignore", category)
    faithful, galaxies = load_old_faithful().to_numpy(), np.asarray(load_galaxies()) / 1000.0
    cases = [("Old Faithful", faithful, None, k) for k in (1, 2, 3)]
    cases += [("galaxies", galaxies, Prior.richardson_green(galaxies), k) for k in range(1, 11)]
    print(HEADER, flush=True)
    for name, X, prior, k in cases[1:2] if options.quick else cases:
        found, seconds = [], []
        for seed in range(n_fits):
            fit = BayesianGaussianMixture(k, prior=prior, draws=n_draws, random_state=seed, progress=False).fit(X)
            start = time.perf_counter()
            found.append(estimates(log_evidence(fit, random_state=seed, progress=False)))
            seconds.append(time.perf_counter() - start)
        known = KNOWN.get(k, np.nan) if name == "galaxies" else np.nan
        for method in found[0]:
            own = [one[method] for one in found]
            values = np.array([(each.log_evidence, each.se) for each in own if each is not None])
            if len(values) == 0 or not np.isfinite(values[:, 0]).any():
                continue
            mean, sd, se = values[:, 0].mean(), values[:, 0].std(), np.sqrt((values[:, 1] ** 2).mean())
            z = np.abs((values[:, 0] - known) / np.hypot(values[:, 1], KNOWN_TO)).max()
            told = " | " if np.isnan(known) else f"{known:.2f} | {z:.1f}"
            cells = (name, k, method, len(values), f"{mean:.3f}", f"{sd:.3f}", f"{se:.3f}", told)
            print(f"| {' | '.join(map(str, cells))} | {np.median(seconds):.1f} |", flush=True)


if __name__ == "__main__":
    main()
