"""Posteriors with several modes: default fits of several seeds, beside the truth or beside each other.

Run it: uv run python benchmarks/modes.py [--seeds 5] [--drawn 200] [--groups 20] [--overlapping 4] [--seed 0]
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

The third part asks of twenty sets of five noisy groups in how many fits every such region of mass .05 or more, by a
reference of 2,000 sweeps, has a draw. The fourth has 1,000 rows of overlapping components (benchmarks/_measuring.py):
processor seconds of default fits of four seeds, effective draws of the log-likelihood, the log evidence of each, and
the largest difference of two of them in stated errors.
"""

import argparse
import time
from collections import Counter
from functools import partial

import arviz_stats as azs
import numpy as np
from _drawn_modes import compared, fitted, noisy_groups, parameters_of
from _measuring import overlapping, timed
from _mode_cases import Case, cases
from mode_references import mean_and_error, read

from bayesgmm import diagnose, log_evidence
from bayesgmm._common.arrays import Array
from bayesgmm.diagnostics import invariants

HEADER = (
    "| data | K | quantity | truth | means over draws | errors | z | z² | missing | seconds | verdicts |\n"
    + "|---" * 11
    + "|"
)


def lines(case: Case, n_seeds: int) -> tuple[str, Array]:
    """Lines of the first table, one a quantity, and z of each quantity and seed."""
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
    told_each = [(name, *cells(case, name, own)) for name, own in each]
    text = "\n".join(f"| {case.name} | {case.k} | {name} | {own} | {shared} |" for name, own, _ in told_each)
    return text, np.concatenate([z for *_, z in told_each])


def cells(case: Case, quantity: str, found: Array) -> tuple[str, Array]:
    """Truth, means, errors and z of a quantity, whose mean and error (seed, 2) are found; and z of each seed."""
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
    return f"{written} | {each} | {errors.min():.3f}-{errors.max():.3f} | {scores}", z


SIZES = ((5, 4), (10, 3), (10, 10))  # features, components


def of_overlapping(X: Array, k: int, n_seeds: int) -> str:
    """A line of the fourth part."""
    seconds, effective, found, verdicts = [], [], [], Counter[str]()
    for seed in range(n_seeds):
        (_, processor), fit = timed(partial(fitted, X, k, seed))
        evidence = log_evidence(fit, X, random_state=seed, progress=False)
        seconds.append(processor)
        effective.append(float(azs.ess(invariants(fit)["log_likelihood"].to_numpy())))
        found.append((evidence.log_evidence, evidence.se))
        verdicts[diagnose(fit).verdict] += 1
    values, errors = np.array(found).T
    z = np.abs(values[:, None] - values) / np.maximum(np.hypot(errors[:, None], errors), 1e-9)
    evidences = " ".join(f"{value:.2f} ± {error:.2f}" for value, error in found)
    told = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
    cells = (
        " ".join(f"{s:.1f}" for s in seconds),
        " ".join(f"{n:.0f}" for n in effective),
        evidences,
        f"{z.max():.1f}",
    )
    return f"| {X.shape[1]} | {k} | {' | '.join(cells)} | {told} |"


def main() -> None:
    """Print the four parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="of each line of the first table; 0 leaves it out")
    parser.add_argument("--drawn", type=int, default=200, help="data sets of the second part")
    parser.add_argument("--seed", type=int, default=0, help="of those")
    parser.add_argument("--groups", type=int, default=20, help="data sets of the third part")
    parser.add_argument("--overlapping", type=int, default=4, help="seeds of the fourth part")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    sizes = (options.seeds, options.drawn, options.groups, options.overlapping)
    n_seeds, n_drawn, n_groups, n_overlapping = (2, 1, 1, 2) if options.quick else sizes
    if n_seeds:
        print(HEADER, flush=True)
        pooled: list[Array] = []
        for case in list(cases())[: 2 if options.quick else None]:
            text, z = lines(case, n_seeds)
            print(text, flush=True)
            pooled.append(z)
        z = np.concatenate(pooled)
        print(
            f"\nOver all {len(z)}: mean of z² {np.square(z).mean():.2f}, largest |z| {np.abs(z).max():.1f}", flush=True
        )
    if n_drawn:
        print(f"\n{compared(options.seed, n_drawn)}", flush=True)
    if n_groups:
        print(f"\n{noisy_groups(n_groups, 1 if options.quick else max(n_seeds, 1))}", flush=True)
    if n_overlapping:
        print(
            "\n| D | K | processor s | effective log-likelihoods | log evidences | z | verdicts |\n" + "|---" * 7 + "|"
        )
        for d, k in SIZES[: 1 if options.quick else None]:
            print(of_overlapping(overlapping(200 if options.quick else 1_000, d, k), k, n_overlapping), flush=True)


if __name__ == "__main__":
    main()
