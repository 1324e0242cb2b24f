"""Many features: mixtures of factor analysers beside tied, diagonal and full covariances, and scikit-learn's own.

Run it: uv run python benchmarks/high_dimension.py [--seeds 1 2 3] [--features 100] [--rows 500] [--quick]
Three clusters of equal weight, means N(0, I), loadings of three factors N(0, 1), unit noise. Seeds are drawn anew for
each run, unless they are given, and printed. Per seed and model: mean log density and adjusted Rand index of 2,000 new
rows (the first line is the mixture that they come from), seconds of the fit on the wall clock, after a first fit that
compiles, and how many starts it made. ``scikit-learn diag`` has three starts.
"""

import argparse
import secrets
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as SklearnMixture

from bayesgmm import GaussianMixture, Mixture

N_COMPONENTS, N_FACTORS, N_NEW = 3, 3, 2_000
FAMILIES = ("factor3", "tied", "diag", "full")


def simulated(seed: int, n_features: int) -> tuple[Mixture, np.random.Generator]:
    """The mixture that rows come from, and what draws them."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(N_COMPONENTS, n_features, N_FACTORS))
    means = rng.normal(size=(N_COMPONENTS, n_features))
    covariances = loadings @ loadings.transpose(0, 2, 1) + np.eye(n_features)
    return Mixture(np.full(N_COMPONENTS, 1.0 / N_COMPONENTS), means, covariances), rng


def fits(X: np.ndarray, seed: int) -> Iterator[tuple[str, Callable[[], GaussianMixture | SklearnMixture]]]:
    """Models by name, and how each is fitted."""
    for name in FAMILIES:
        yield name, GaussianMixture(N_COMPONENTS, covariance_type=name, random_state=seed).fit
    yield (
        "scikit-learn diag",
        SklearnMixture(N_COMPONENTS, covariance_type="diag", n_init=3, random_state=seed % 2**32).fit,
    )


def lines(seed: int, n_features: int, n_rows: int) -> Iterator[str]:
    """The table of one seed."""
    truth, rng = simulated(seed, n_features)
    X, _ = truth.sample(n_rows, rng=rng)
    new, groups = truth.sample(N_NEW, rng=rng)
    yield row(seed, "the truth", truth.log_prob(new).mean(), truth.responsibilities(new).argmax(axis=1), groups, "", "")
    for name, fit in fits(X, seed):
        begun = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # more parameters than rows, and spikes: the table shows what they do
            model = fit(X)
        seconds = f"{time.perf_counter() - begun:.1f}"
        n_starts = model.starts_.n_starts if isinstance(model, GaussianMixture) else model.n_init
        yield row(seed, name, model.score(new), model.predict(new), groups, seconds, f"{n_starts}")


def row(
    seed: int, name: str, density: float, found: np.ndarray, groups: np.ndarray, seconds: str, n_starts: str
) -> str:
    """One line."""
    return f"| {seed} | {name} | {density:.2f} | {adjusted_rand_score(groups, found):.3f} | {seconds} | {n_starts} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", help="by default three that are drawn now")
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="one seed, few features and rows")
    options = parser.parse_args()
    n_features, n_rows = (12, 200) if options.quick else (options.features, options.rows)
    drawn = [secrets.randbelow(2**31) for _ in range(1 if options.quick else 3)]
    for _ in lines(0, n_features, n_rows):  # compiles
        pass
    print(f"| seed | D = {n_features}, N = {n_rows} | log density a row | ARI | s | starts |")
    print("|---|---|---|---|---|---|")
    for seed in options.seeds or drawn:
        for line in lines(seed, n_features, n_rows):
            print(line, flush=True)


if __name__ == "__main__":
    main()
