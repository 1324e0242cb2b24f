"""What a user meets who changes the import line: our default fit beside scikit-learn's default and its ten starts.

Run it: uv run python benchmarks/defaults.py [--lines NAME ...] [--seeds 3] [--most-rows N]
"sk 1" is scikit-learn with its defaults, "sk 10" with n_init=10. Every fit has a process of its own, in which a small
fit has loaded compiled code before; seconds are processor time of all threads (BLAS and OpenMP have one), medians over
seeds, and "wall" is time on the clock. Memory is the peak of the resident set over that before the fit. "nats" is our
total log-likelihood minus the highest of those of scikit-learn's ten starts that pass our degeneracy rule, of the worst
seed. "degenerate" counts our fits (and scikit-learn's starts) that fail the rule; a degenerate fit has no "nats".
Lines of more than 200,000 rows have one seed. The lines "drawn" have random rows, features, components and overlap,
from `--seed`.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _default_fits import ESTIMATORS, Fit, Task, measure
from _measuring import overlapping
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_blobs
from sklearn.decomposition import PCA

from bayesgmm._common.arrays import Array
from bayesgmm.datasets import load_old_faithful

FAMILIES = ("full", "diag")
ONE_SEED_ABOVE = 200_000  # rows
N_DRAWN = 5
MOST_OF_TEN, MOST_OF_ONE = 0.5, 5.0
QUICK = ["faithful", "iris", "wine"]
FRESH = multiprocessing.get_context("forkserver")  # its processes are forked from one that has imported, not computed
IMPORTS = ["bayesgmm.estimators.gaussian_mixture", "bayesgmm.datasets", "sklearn.datasets", "sklearn.decomposition"]
HEADER = (
    "| line | family | ours, s | sk 1, s | sk 10, s | ours / sk 1 | ours / sk 10 | ours, wall s | ours, MB | sk 10, MB "
    "| nats | flags |\n|" + "---|" * 12
)


class Line(NamedTuple):
    """A data set and the number of components to fit."""

    name: str
    n_rows: int
    n_features: int
    n_components: int
    make: Callable[[], Array]


class Row(NamedTuple):
    """The fits of a line in one family, by estimator and seed."""

    line: Line
    covariance_type: str
    fits: dict[str, list[Fit]]

    def seconds(self, who: str) -> float:
        return float(np.median([fit.seconds for fit in self.fits[who]]))

    def ratio(self, who: str) -> float:
        return self.seconds("ours") / self.seconds(who)

    def megabytes(self, who: str) -> float:
        return max(fit.megabytes for fit in self.fits[who])

    @property
    def degenerate(self) -> int:
        return sum(not fit.ends[0].proper for fit in self.fits["ours"])

    @property
    def gap(self) -> float | None:
        """Of the worst seed; none if ours or all of theirs are degenerate in every one."""
        gaps = [
            ours.ends[0].log_likelihood - max(end.log_likelihood for end in theirs.ends if end.proper)
            for ours, theirs in zip(self.fits["ours"], self.fits["sk 10"], strict=True)
            if ours.ends[0].proper and any(end.proper for end in theirs.ends)
        ]
        return min(gaps, default=None)


def low_rank(n_rows: int, n_features: int, n_components: int) -> Array:
    """Groups that vary in five directions each, and little in the others."""
    rng = np.random.default_rng(0)
    labels = rng.integers(n_components, size=n_rows)
    means = rng.normal(size=(n_components, n_features))
    loadings = rng.normal(size=(n_components, 5, n_features))
    X = means[labels] + 0.5 * rng.normal(size=(n_rows, n_features))
    for k in range(n_components):
        X[labels == k] += rng.normal(size=(np.count_nonzero(labels == k), 5)) @ loadings[k]
    return X


def many_groups(n_rows: int, n_components: int) -> Array:
    """Round groups at random places of a square."""
    rng = np.random.default_rng(0)
    return rng.uniform(0.0, 20.0, (n_components, 2))[rng.integers(n_components, size=n_rows)] + rng.normal(
        0.0, 0.5, (n_rows, 2)
    )


def drawn(seed: int) -> Iterator[Line]:
    """Lines whose sizes and overlap are random."""
    rng = np.random.default_rng(seed)
    for i in range(1, N_DRAWN + 1):
        n_rows, n_features, k = int(10 ** rng.uniform(2.5, 4.7)), int(rng.integers(2, 13)), int(rng.integers(2, 9))
        spread, own_seed = rng.uniform(0.8, 4.0), int(rng.integers(2**31))
        make = partial(overlapping, n_rows, n_features, k, spread=spread, seed=own_seed)
        yield Line(f"drawn-{i}", n_rows, n_features, k, make)


def lines(seed: int) -> list[Line]:
    """All of them; those of fixed data first."""
    return [
        Line("faithful", 272, 2, 2, lambda: np.asarray(load_old_faithful())),
        Line("iris", 150, 4, 3, lambda: load_iris().data),
        Line("wine", 178, 13, 3, lambda: load_wine().data),
        Line("cancer", 569, 30, 2, lambda: load_breast_cancer().data),
        Line("digits", 1_797, 64, 10, lambda: load_digits().data),
        Line("digits-20", 1_797, 20, 10, lambda: PCA(20, svd_solver="full").fit_transform(load_digits().data)),
        Line("blobs", 3_000, 200, 5, lambda: make_blobs(3_000, 200, centers=5, random_state=0)[0]),
        Line("low-rank", 500, 100, 3, lambda: low_rank(500, 100, 3)),
        Line("many-20k", 20_000, 2, 30, lambda: many_groups(20_000, 30)),
        Line("overlapping-10k", 10_000, 5, 5, lambda: overlapping(10_000, 5, 5)),
        Line("overlapping-200k", 200_000, 8, 8, lambda: overlapping(200_000, 8, 8)),
        Line("overlapping-1m", 1_000_000, 8, 8, lambda: overlapping(1_000_000, 8, 8)),
        Line("narrow-1m", 1_000_000, 2, 3, lambda: overlapping(1_000_000, 2, 3)),
        *drawn(seed),
    ]


def main() -> None:
    """Print the table, line by line, and its summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", nargs="+", metavar="NAME", choices=[line.name for line in lines(0)])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--seed", type=int, default=0, help="of the lines that are drawn")
    parser.add_argument("--seeds", type=int, default=3, help="random_state is 0, 1, ... in turn")
    parser.add_argument("--most-rows", type=int, help="leave larger lines out")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(lines=QUICK, families=["diag"], seeds=1)
    FRESH.set_forkserver_preload(IMPORTS)
    print(HEADER, flush=True)
    rows = []
    for line in chosen(options):
        for covariance_type in options.families:
            rows.append(measured(line, covariance_type, 1 if line.n_rows > ONE_SEED_ABOVE else options.seeds))
            print(text(rows[-1]), flush=True)
    print(f"\n{summary(rows)}")


def chosen(options: argparse.Namespace) -> list[Line]:
    """The lines that were asked for, if they are not too large."""
    most = np.inf if options.most_rows is None else options.most_rows
    return [
        line
        for line in lines(options.seed)
        if line.n_rows <= most and (options.lines is None or line.name in options.lines)
    ]


def measured(line: Line, covariance_type: str, n_seeds: int) -> Row:
    """All fits of a line in one family, those of one seed next to each other, each in a process of its own."""
    fits: dict[str, list[Fit]] = {who: [] for who in ESTIMATORS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, line.make())
        for seed in range(n_seeds):
            for who, found in fits.items():
                with ProcessPoolExecutor(1, mp_context=FRESH) as process:
                    task = Task(who, str(path), line.n_components, covariance_type, seed)
                    found.append(process.submit(measure, task).result())
    return Row(line, covariance_type, fits)


def text(row: Row) -> str:
    """A line of the table."""
    line, fits = row.line, row.fits
    cells = [
        f"{line.name}, {line.n_rows:,} x {line.n_features}, K = {line.n_components}",
        row.covariance_type,
        *(f"{row.seconds(who):.4f}" for who in fits),
        *(f"{row.ratio(who):.2f}" for who in ("sk 1", "sk 10")),
        f"{np.median([fit.wall for fit in fits['ours']]):.4f}",
        *(f"{row.megabytes(who):.1f}" for who in ("ours", "sk 10")),
        "" if row.gap is None else f"{row.gap:+.4f}",
        ", ".join(flags(row)),
    ]
    return f"| {' | '.join(cells)} |"


def flags(row: Row) -> Iterator[str]:
    """How many fits (of ten starts: how many starts) are degenerate, and what they warned of."""
    for who, fits in row.fits.items():
        ends = [end for fit in fits for end in fit.ends]
        if degenerate := sum(not end.proper for end in ends):
            yield f"{who}: {degenerate} of {len(ends)} degenerate"
        if warned := sorted({name for fit in fits for name in fit.warned}):
            yield f"{who}: {' and '.join(warned)}"


def summary(rows: Sequence[Row]) -> str:
    """Geometric means, lines above the bounds, and the worst gap."""
    one, ten = (np.array([row.ratio(who) for row in rows]) for who in ("sk 1", "sk 10"))
    means = [np.exp(np.log(ratios).mean()) for ratios in (one, ten)]
    gaps = [(row.gap, f"{row.line.name}, {row.covariance_type}") for row in rows if row.gap is not None]
    worst = "none" if not gaps else "{:+.4f} ({})".format(*min(gaps))
    return (
        f"Geometric means: {means[0]:.2f} x one start, {means[1]:.2f} x ten starts. "
        f"Of {len(rows)} lines {(ten > MOST_OF_TEN).sum()} above {MOST_OF_TEN} x ten starts, "
        f"{(one > MOST_OF_ONE).sum()} above {MOST_OF_ONE:g} x one start.\n"
        f"Worst gap: {worst} nats. Lines on which ours is degenerate: {sum(row.degenerate > 0 for row in rows)}."
    )


if __name__ == "__main__":
    main()
