"""Posteriors with several modes: default fits of several seeds, beside the truth or beside each other.

Run it: uv run python benchmarks/modes.py [--seeds 5] [--drawn 200] [--seed 0]
"truth" is what follows from symmetry, or a reference by replica exchange of benchmarks/mode_references.py with its
Monte Carlo error, or the mean over the seeds where there is no reference ("none"). "errors" are the stated standard
errors, z the largest error in them and in that of the reference over seeds, and "z²" the mean square over seeds, about
one if stated errors are right, or smaller by one over the number of seeds where their mean stands for the truth.
"missing" is the largest bound of what modes that were not met may hold.

The second part has fresh small data sets (benchmarks/_drawn_modes.py: 8 to 60 rows, 1 to 3 features, 2 to 4 components,
one more or fewer groups, some of one to three rows, some with ties), a default fit each, and a reference each, which
is left out where it does not mix. Wrong is a fit of which one of five quantities, together of four pairs of rows and
the smallest weight, is off by more than 4.5 combined standard errors and .02. "missed" is the mass that the reference
has in regions of partitions without a draw of the fit: at most twelve groups of its partitions, by average linkage of
variations of information; a draw lies in that of the nearest medoid. Fits that are wrong, or missed more than they
bound, are listed.
"""

import argparse
import time
from collections import Counter

import numpy as np
from _drawn_modes import compared, fitted, parameters_of
from _mode_cases import Case, cases
from mode_references import mean_and_error, read

from bayesgmm import diagnose

HEADER = (
    "| data | K | quantity | truth | means over draws | errors | z | z² | missing | seconds | verdicts |\n"
    + "|---" * 11
    + "|"
)


def lines(case: Case, n_seeds: int) -> str:
    """Lines of the first table, one a quantity."""
    found, missing, verdicts, seconds = [], [], Counter[str](), []
    for seed in range(n_seeds):
        began = time.perf_counter()
        fit = fitted(case.X, case.k, seed, case.prior)
        seconds.append(time.perf_counter() - began)
        draws = parameters_of(fit)
        found.append([mean_and_error(of(draws, case.X))[:2] for of in case.quantities.values()])
        missing.append(float(fit.posterior_.attrs.get("missing", np.nan)))
        verdicts[diagnose(fit).verdict] += 1
    told = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
    shared = f"{np.nanmax(missing):.2f} | {np.median(seconds):.1f} | {told}"
    each = zip(case.quantities, np.moveaxis(np.array(found), 1, 0), strict=True)
    return "\n".join(f"| {case.name} | {case.k} | {name} | {cells(case, name, own)} | {shared} |" for name, own in each)


def cells(case: Case, quantity: str, found: np.ndarray) -> str:
    """Truth, means, errors and z of a quantity, whose mean and error (seed, 2) are found."""
    means, errors = found.T
    truth, error, written = float(means.mean()), 0.0, "none"
    reference = read().get(case.key)
    if case.truth is not None:
        truth, written = case.truth, f"{case.truth:.3f}"
    elif reference is not None and reference["mixed"]:
        truth, error = (reference["quantities"][quantity][name] for name in ("value", "error"))
        written = f"{truth:.4f} ± {error:.4f}"
    z = (means - truth) / np.maximum(np.hypot(errors, error), 1e-4)
    each = " ".join(f"{mean:.3f}" for mean in means)
    scores = f"{np.abs(z).max():.1f} | {np.square(z).mean():.1f}"
    return f"{written} | {each} | {errors.min():.3f}-{errors.max():.3f} | {scores}"


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="of each line of the first table; 0 leaves it out")
    parser.add_argument("--drawn", type=int, default=200, help="data sets of the second part")
    parser.add_argument("--seed", type=int, default=0, help="of those")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    n_seeds, n_drawn = (2, 1) if options.quick else (options.seeds, options.drawn)
    if n_seeds:
        print(HEADER, flush=True)
        for case in list(cases())[: 2 if options.quick else None]:
            print(lines(case, n_seeds), flush=True)
    if n_drawn:
        print(f"\n{compared(options.seed, n_drawn)}")


if __name__ == "__main__":
    main()
