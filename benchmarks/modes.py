"""Posteriors with several modes: default fits of several seeds, beside the truth or beside each other.

Run it: uv run python benchmarks/modes.py [--seeds 5] [--drawn 40] [--seed 0]
"quantity" is the probability that two rows lie together, or what stands there, "truth" what follows from symmetry, or
the mean over the seeds where nothing is known ("seeds"). "errors" are the stated standard errors, z the largest error
in them over seeds, and "z²" the mean square over seeds, about one if stated errors are right, or smaller by one over
the number of seeds where their mean stands for the truth. "missing" is the largest bound of what modes that were not
met may hold.

The second table has drawn data of one to four groups, some of two to six rows, that are fitted with as many components,
one less or one more, by two seeds each: "apart" counts data on which both call themselves converged or weighed, and a
quantity differs by more than 4.5 combined standard errors and .02.
"""

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from arviz_stats import mcse
from sklearn.datasets import load_iris

from bayesgmm import BayesianGaussianMixture, Prior, diagnose
from bayesgmm._common.arrays import Array
from bayesgmm.data import Data
from bayesgmm.datasets import load_acidity, load_galaxies
from bayesgmm.exceptions import SamplingWarning
from bayesgmm.posterior import draws_of
from bayesgmm.prediction import each_draw

SUCCESSES = ("converged", "converged, labels switched", "several modes, weighed", "collapsed or empty component")
HARD = Prior.normal_inverse_wishart(mean=(5.8, 3.1, 3.8, 1.2), kappa=0.01, dof=6, scale=np.diag([0.4, 0.1, 1.8, 0.34]))
HEADER = (
    "| data | K | quantity | truth | means over draws | errors | z | z² | missing | seconds | verdicts |\n"
    + "|---" * 11
)
WRONG, LEAST = 4.5, 0.02


class Case(NamedTuple):
    """Rows, a number of components, and a quantity (chain, draw) of fits, with its true mean if it is known."""

    name: str
    X: Array
    k: int
    quantity: str
    of: Callable[[BayesianGaussianMixture], Array]
    truth: float | None = None
    prior: Prior | None = None


def copies(n: int, rows: int = 10, noise: float = 0.0, seed: int = 0) -> Array:
    """Copies of one cluster, rotated about the origin."""
    rng = np.random.default_rng(seed)
    block = rng.normal(size=(rows, 2))
    block += [6.0, 0.0] - block.mean(axis=0)
    a = 2.0 * np.pi * np.arange(n) / n
    turns = np.stack([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]).transpose(2, 0, 1)
    return np.vstack(block @ turns) + noise * rng.normal(size=(n * rows, 2))


def together(i: int, j: int) -> Callable[[BayesianGaussianMixture], Array]:
    """Whether two rows have the same most probable label."""

    def of(fit: BayesianGaussianMixture) -> Array:
        posterior, rows = fit.posterior_, fit.posterior_["observed_data"]["y"].to_numpy()[[i, j]]
        pairs = (resp for _, resp in each_draw(draws_of(posterior), Data.of(rows), with_memberships=True))
        same = [float(resp[:, 0].argmax() == resp[:, 1].argmax()) for resp in pairs]
        return np.reshape(same, posterior["posterior"]["weights"].shape[:2])

    return of


def smallest_weight(fit: BayesianGaussianMixture) -> Array:
    """The weight of the smallest component."""
    weight: Array = fit.posterior_["posterior"]["weights"].min("cluster").to_numpy()
    return weight


def far_away(fit: BayesianGaussianMixture) -> Array:
    """Whether the smaller component is not at the three rows near (12, 12)."""
    posterior = fit.posterior_["posterior"]
    mean = posterior["means"].isel(cluster=posterior["weights"].argmin("cluster"))
    away: Array = (np.abs(mean - 12.0) > 3.0).any("feature").to_numpy().astype(float)
    return away


def cases() -> Iterator[Case]:
    """The first table."""
    iris, galaxies, acidity = load_iris().data, np.asarray(load_galaxies()), np.asarray(load_acidity())
    for n, k in ((5, 4), (3, 2), (4, 3)):
        yield Case(f"{n} copies", copies(n), k, "neighbours", together(0, 10), 1.0 / n)
    yield Case("4 copies", copies(4), 2, "neighbours", together(0, 10), 0.5)
    for seed in range(5):
        X = copies(5, 7, 0.4, seed)
        yield Case(f"noisy groups {seed}", X, 4, "first neighbours", together(0, 7))
    yield Case("iris", iris, 3, "rows 70, 130", together(70, 130))
    yield Case("iris, hard prior", iris, 3, "rows 70, 130", together(70, 130), None, HARD)
    for k in (3, 4, 5, 6):
        yield Case("galaxies", galaxies, k, "smallest weight", smallest_weight, None, Prior.richardson_green(galaxies))
    yield Case("acidity", acidity, 3, "smallest weight", smallest_weight)
    rng = np.random.default_rng(0)
    few = np.concatenate([rng.normal(size=(997, 2)), rng.normal(12.0, 0.3, (3, 2))])
    yield Case("997 + 3 rows", few, 2, "component elsewhere", far_away)
    crossed = np.concatenate([rng.normal(size=(250, 2)) * [1, 9], rng.normal(size=(250, 2)) * [9, 1]])
    for k in (2, 3):
        yield Case("crossed clusters", crossed, k, "smallest weight", smallest_weight)


def fitted(X: Array, k: int, seed: int, prior: Prior | None = None) -> BayesianGaussianMixture:
    """A default fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        return BayesianGaussianMixture(k, prior=prior, random_state=seed, progress=False).fit(X)


def line(case: Case, n_seeds: int) -> str:
    """A line of the first table."""
    means, errors, missing, verdicts, seconds = [], [], [], Counter[str](), []
    for seed in range(n_seeds):
        began = time.perf_counter()
        fit = fitted(case.X, case.k, seed, case.prior)
        seconds.append(time.perf_counter() - began)
        series = case.of(fit)
        means.append(float(series.mean()))
        errors.append(float(mcse(series)) if np.ptp(series) > 0.0 else 0.0)
        missing.append(float(fit.posterior_.attrs.get("missing", np.nan)))
        verdicts[diagnose(fit).verdict] += 1
    truth = float(np.mean(means)) if case.truth is None else case.truth
    z = (np.array(means) - truth) / np.maximum(errors, 1e-4)
    cells = (
        case.name,
        case.k,
        case.quantity,
        "seeds" if case.truth is None else f"{truth:.3f}",
        " ".join(f"{mean:.3f}" for mean in means),
        f"{min(errors):.3f}-{max(errors):.3f}",
        f"{np.abs(z).max():.1f}",
        f"{np.square(z).mean():.1f}",
        f"{max(missing):.2f}",
        f"{np.median(seconds):.1f}",
        ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common()),
    )
    return f"| {' | '.join(map(str, cells))} |"


def groups(rng: np.random.Generator) -> tuple[Array, int]:
    """Rows of one to four groups, and how many components to fit."""
    n_groups, d = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    sizes = np.where(rng.random(n_groups) < 0.25, rng.integers(2, 7, n_groups), rng.integers(15, 100, n_groups))
    centres = rng.normal(0.0, rng.uniform(1.0, 5.0), (n_groups, d))
    X = np.repeat(centres, sizes, axis=0) + rng.normal(size=(sizes.sum(), d))
    k = max(1, n_groups + int(rng.integers(-1, 2)))
    return (X if len(X) > 2 * k else np.vstack([X, rng.normal(size=(10, d))])), k


def compared(seed: int, n_cases: int) -> str:
    """The second table."""
    rng, verdicts, apart, told = np.random.default_rng(seed), Counter[str](), 0, 0
    for _ in range(n_cases):
        X, k = groups(rng)
        pairs = [together(*map(int, rng.choice(len(X), 2, replace=False))) for _ in range(4)]
        fits = [fitted(X, k, s) for s in (0, 1)]
        found = [diagnose(fit).verdict for fit in fits]
        verdicts.update(found)
        wrong = False
        for of in (*pairs, smallest_weight):
            series = [of(fit) for fit in fits]
            gap = abs(series[0].mean() - series[1].mean())
            error = np.hypot(*(float(mcse(each)) if np.ptp(each) > 0.0 else 0.0 for each in series))
            wrong |= bool(gap > LEAST and gap > WRONG * error)
        apart += wrong and all(verdict in SUCCESSES for verdict in found)
        told += wrong and max(fit.posterior_.attrs.get("missing", 0.0) for fit in fits) > 0.1
    counted = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
    missing = f"of which told that modes may be missing: {told}"
    return f"{n_cases} data sets, two fits each: {counted}. Apart: {apart}, {missing}."


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--drawn", type=int, default=40, help="data sets of the second table")
    parser.add_argument("--seed", type=int, default=0, help="of those")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    n_seeds, n_drawn = (2, 1) if options.quick else (options.seeds, options.drawn)
    print(HEADER, flush=True)
    for case in list(cases())[: 2 if options.quick else None]:
        print(line(case, n_seeds), flush=True)
    print(f"\n{compared(options.seed, n_drawn)}")


if __name__ == "__main__":
    main()
