"""EM with extrapolation beside plain EM: evaluations of EM's map, and processor time, from the same starts.

Run it: uv run python benchmarks/acceleration.py
Each line adds up 8 starts at memberships by distance from random rows. An evaluation is one pass over the rows, the
checks of extrapolated points among them. "most" is the largest ratio of accelerated to plain among the starts.
"same, better, worse" compares the objectives at the end, at a tolerance of 1e-4 a row. Worse is another optimum.
"""

import time

import numpy as np

from bayesgmm.algorithms.em import EMResult, EMSettings, Rows, run_em
from bayesgmm.algorithms.initialise import mixture_from_responsibilities
from bayesgmm.datasets import load_acidity, load_banknote, load_diabetes, load_galaxies, load_old_faithful, load_thyroid
from bayesgmm.ground.mixture import Mixture
from bayesgmm.words.arrays import Array

STARTS = range(8)
SAME = 1e-4  # of the objective, a row
PLAIN, FAST = EMSettings(max_iter=20_000, accelerate=False), EMSettings(max_iter=20_000)


def groups(distance: float, n_components: int, n_features: int) -> Array:
    """2,000 rows from groups of unit variance in a line, so many standard deviations apart."""
    rng = np.random.default_rng(5)
    means = np.zeros((n_components, n_features))
    means[:, 0] = distance * np.arange(n_components)
    return means[rng.integers(n_components, size=2_000)] + rng.normal(size=(2_000, n_features))


def overlapping() -> list[tuple[str, Array, int, str]]:
    """The sets on which EM is slow: name, rows, components, family."""
    return [
        ("1.0 sd apart, 2,000 x 2", groups(1.0, 2, 2), 2, "full"),
        ("1.5 sd apart, 2,000 x 1", groups(1.5, 2, 1), 2, "full"),
        ("1.5 sd apart, 2,000 x 2", groups(1.5, 2, 2), 2, "tied"),
        ("1.5 sd apart, 2,000 x 2", groups(1.5, 3, 2), 3, "tied"),
        ("2.0 sd apart, 2,000 x 1", groups(2.0, 3, 1), 3, "full"),
        ("acidity", load_acidity().to_numpy(float), 3, "full"),
    ]


def elsewhere() -> list[tuple[str, Array, int, str]]:
    """Sets as they come."""
    faithful, thyroid, diabetes, banknote, galaxies = (
        load().select_dtypes("number").to_numpy(float)
        for load in (load_old_faithful, load_thyroid, load_diabetes, load_banknote, load_galaxies)
    )
    return [
        ("4 sd apart, 2,000 x 2", groups(4.0, 2, 2), 2, "full"),
        ("6 sd apart, 2,000 x 2", groups(6.0, 3, 2), 3, "full"),
        ("Old Faithful", faithful, 2, "full"),
        ("Old Faithful", faithful, 3, "full"),
        ("Old Faithful", faithful, 3, "tied"),
        ("thyroid", thyroid, 3, "full"),
        ("thyroid", thyroid, 3, "diag"),
        ("diabetes", diabetes, 3, "full"),
        ("banknote", banknote, 2, "full"),
        ("galaxies", galaxies, 4, "full"),
    ]


def random_start(X: Array, n_components: int, covariance_type: str, *, seed: int) -> Mixture:
    """Memberships by distance from random rows, which leaves EM much to do."""
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    centres = standard[np.random.default_rng(seed).choice(len(X), n_components, replace=False)]
    log_resp = -0.5 * ((standard[:, None] - centres) ** 2).sum(axis=-1)
    resp = np.exp(log_resp - log_resp.max(axis=1, keepdims=True))
    return mixture_from_responsibilities(X, resp / resp.sum(axis=1, keepdims=True), covariance_type)


def main() -> None:
    """Print both tables."""
    for title, sets in (("overlapping", overlapping()), ("elsewhere", elsewhere())):
        print(f"{title:28}  K family   plain   fast  ratio  most   time  same, better, worse")
        for case in sets:
            print(line(*case))


def line(name: str, X: Array, n_components: int, covariance_type: str) -> str:
    """One line of the table."""
    starts = [random_start(X, n_components, covariance_type, seed=seed) for seed in STARTS]
    rows = Rows(X)
    timed(rows, starts[:1], FAST)
    plain, plain_time = timed(rows, starts, PLAIN)
    fast, fast_time = timed(rows, starts, FAST)
    before, after = (np.array([run.n_iter + 1 for run in runs]) for runs in (plain, fast))
    gain = np.array([b.objective - a.objective for a, b in zip(plain, fast, strict=True)]) / len(X)
    ends = (abs(gain) <= SAME).sum(), (gain > SAME).sum(), (gain < -SAME).sum()
    return (
        f"{name:28}{n_components:3}{covariance_type:>7}{before.sum():8}{after.sum():7}{before.sum() / after.sum():7.2f}"
        f"{(after / before).max():6.2f}{plain_time / fast_time:7.2f}  {ends[0]}, {ends[1]}, {ends[2]}"
    )


def timed(rows: Rows, starts: list[Mixture], settings: EMSettings) -> tuple[list[EMResult], float]:
    """The runs, and processor seconds."""
    began = time.thread_time()
    runs = [run_em(rows, start, settings=settings) for start in starts]
    return runs, time.thread_time() - began


if __name__ == "__main__":
    main()
