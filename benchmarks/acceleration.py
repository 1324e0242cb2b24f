"""EM with extrapolation beside plain EM: evaluations of EM's map, and processor time, from the same starts.

Run it: uv run python benchmarks/acceleration.py [--starts 40]
Each line adds up starts at memberships by distance from random rows. An evaluation is one pass over the rows, the
checks of extrapolated points among them. "own stop" counts plain EM until it stops by itself. Where the accelerated
run ends higher by more than 1e-3, plain EM stopped short on a plateau: "as far" counts its passes until it comes
within the tolerance of the same height, or its own stop if it never does (another optimum). "most" is the largest
ratio of accelerated passes to those among starts that end at the same optimum. Below stand, start by start, those that
took more than 1.1 times as many and those that ended lower by more than 1e-3.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_iris, load_wine

from bayesgmm._common.arrays import Array
from bayesgmm.data.blocks import Data
from bayesgmm.datasets import load_acidity, load_banknote, load_diabetes, load_galaxies, load_old_faithful, load_thyroid
from bayesgmm.em.em import EMResult, EMSettings, run_em
from bayesgmm.em.initialization import first_step
from bayesgmm.em.moments import moments_of
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.model import Model

LOWER = 1e-3  # in log-likelihood
PLAIN, FAST = EMSettings(max_iter=20_000, accelerate=False), EMSettings(max_iter=20_000)
ON = EMSettings(tol=1e-12, max_iter=60_000, accelerate=False)
FAMILIES = ("full", "tied", "diag", "spherical")

type Case = tuple[str, Array, int, str]


class Pair(NamedTuple):
    """Both runs from one start: passes, and the gain of the accelerated one's end over the plain one's."""

    plain: int
    as_far: int
    fast: int
    gain: float
    same: bool

    @property
    def ratio(self) -> float:
        return self.fast / self.as_far


def groups(distance: float, n_components: int, n_features: int) -> Array:
    """2,000 rows from groups of unit variance in a line, so many standard deviations apart."""
    rng = np.random.default_rng(5)
    means = np.zeros((n_components, n_features))
    means[:, 0] = distance * np.arange(n_components)
    return means[rng.integers(n_components, size=2_000)] + rng.normal(size=(2_000, n_features))


def numbers(load: Callable) -> Array:
    """The features of a data set, ours or scikit-learn's."""
    data = load()
    return np.asarray(data.data if "data" in data else data.select_dtypes("number").to_numpy(float))


def overlapping() -> list[Case]:
    """The sets on which EM is slow: name, rows, components, family."""
    return [
        ("1.0 sd apart, 2,000 x 2", groups(1.0, 2, 2), 2, "full"),
        ("1.5 sd apart, 2,000 x 1", groups(1.5, 2, 1), 2, "full"),
        ("1.5 sd apart, 2,000 x 2", groups(1.5, 2, 2), 2, "tied"),
        ("1.5 sd apart, 2,000 x 2", groups(1.5, 3, 2), 3, "tied"),
        ("2.0 sd apart, 2,000 x 1", groups(2.0, 3, 1), 3, "full"),
        ("acidity", numbers(load_acidity), 3, "full"),
    ]


def elsewhere() -> Iterator[Case]:
    """Sets as they come, in each of scikit-learn's families."""
    yield "4.0 sd apart, 2,000 x 2", groups(4.0, 2, 2), 2, "full"
    yield "6.0 sd apart, 2,000 x 2", groups(6.0, 3, 2), 3, "full"
    sets = [
        ("Old Faithful", load_old_faithful, 2),
        ("Old Faithful", load_old_faithful, 3),
        ("iris", load_iris, 3),
        ("thyroid", load_thyroid, 3),
        ("diabetes", load_diabetes, 3),
        ("banknote", load_banknote, 3),
        ("wine", load_wine, 3),
        ("galaxies", load_galaxies, 3),
        ("galaxies", load_galaxies, 4),
    ]
    for name, load, n_components in sets:
        for covariance_type in FAMILIES:
            yield name, numbers(load), n_components, covariance_type


def random_start(X: Array, n_components: int, covariance_type: str, *, seed: int) -> Mixture:
    """Memberships by distance from random rows, which leaves EM much to do."""
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    centres = standard[np.random.default_rng(seed).choice(len(X), n_components, replace=False)]
    log_resp = -0.5 * ((standard[:, None] - centres) ** 2).sum(axis=-1)
    resp = np.exp(log_resp - log_resp.max(axis=1, keepdims=True))
    model, resp = Model.of(covariance_type, n_components, X.shape[1]), resp / resp.sum(axis=1, keepdims=True)
    moments = moments_of(Data.of(X), model.family)
    return first_step(X, resp, model.pseudo_data, moments=moments, family=model.family)


def compared(rows: Data, start: Mixture, plain: EMResult, fast: EMResult, *, n_rows: int) -> Pair:
    """What two runs from one start have taken, and whether they climbed the same hill."""
    gain, as_far, slack = fast.objective - plain.objective, plain.n_iter + 1, FAST.tol * n_rows
    same = abs(gain) <= LOWER
    if gain > LOWER:
        reached = np.nonzero(run_em(rows, start, settings=ON).history >= fast.objective - slack)[0]
        same, as_far = bool(len(reached)), max(as_far, int(reached[0]) + 1 if len(reached) else 0)
    elif gain < -LOWER:  # the same hill if plain EM climbs on from there to where it stopped
        same = run_em(rows, fast.mixture, settings=ON).objective > plain.objective - LOWER
    return Pair(plain.n_iter + 1, as_far, fast.n_iter + 1, gain, same)


def main() -> None:
    """Print both tables and the exceptions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    n_starts = 1 if options.quick else options.starts
    exceptions: list[str] = []
    for title, sets in (("overlapping", overlapping()), ("elsewhere", elsewhere())):
        print(f"{title:25}  K family    own stop   as far     fast  ratio  most   time  another optimum: higher, lower")
        for case in list(sets)[-1:] if options.quick else sets:
            pairs = print_line(case, n_starts)
            exceptions += [text(case, seed, pair) for seed, pair in enumerate(pairs) if exceptional(pair)]
    print("\n".join(["", "exceptions:", *exceptions]))


def print_line(case: Case, n_starts: int) -> list[Pair]:
    """One line of the table."""
    name, X, n_components, covariance_type = case
    starts = [random_start(X, n_components, covariance_type, seed=seed) for seed in range(n_starts)]
    rows = Data.of(X)
    timed(rows, starts[:1], FAST)
    plain, plain_time = timed(rows, starts, PLAIN)
    fast, fast_time = timed(rows, starts, FAST)
    pairs = [compared(rows, *three, n_rows=len(X)) for three in zip(starts, plain, fast, strict=True)]
    own, as_far, taken = (sum(getattr(pair, field) for pair in pairs) for field in ("plain", "as_far", "fast"))
    most = max((pair.ratio for pair in pairs if pair.same), default=np.nan)
    others = [sum(not pair.same and sign * pair.gain > 0 for pair in pairs) for sign in (1, -1)]
    print(
        f"{name:25}{n_components:3} {covariance_type:9}{own:10,}{as_far:9,}{taken:9,}{as_far / taken:7.2f}{most:6.2f}"
        f"{plain_time / fast_time:7.2f}  {others[0]}, {others[1]}",
        flush=True,
    )
    return pairs


def exceptional(pair: Pair) -> bool:
    """More than a tenth more passes, or a lower end."""
    return pair.ratio > 1.1 or pair.gain < -LOWER


def text(case: Case, seed: int, pair: Pair) -> str:
    """An exception in words."""
    name, _, n_components, covariance_type = case
    where = "the same optimum" if pair.same else f"another optimum, {pair.gain:+.3f}"
    return f"{name}, K = {n_components}, {covariance_type}, start {seed}: {pair.as_far} and {pair.fast}, {where}"


def timed(rows: Data, starts: list[Mixture], settings: EMSettings) -> tuple[list[EMResult], float]:
    """The runs, and processor seconds."""
    began = time.thread_time()
    runs = [run_em(rows, start, settings=settings) for start in starts]
    return runs, time.thread_time() - began


if __name__ == "__main__":
    main()
