"""A table of models by BIC: `select_components` beside a loop over scikit-learn's mixtures.

Run it: uv run python benchmarks/selection.py [--seeds 5]
K = 2, 3, 4. Ours are all covariance families (seven of two features and more) with default settings; theirs are the
four that scikit-learn has, one start each, its default. Processor seconds are medians over seeds, in one process with
compiled code loaded and the two in turn. "BIC" is the winner's, the highest over seeds; a loop over BIC may choose a
spike, and "spikes" counts the winners that fail our degeneracy rule.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from _default_fits import end
from _measuring import overlapping, timed
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture as TheirMixture
from threadpoolctl import threadpool_limits

from bayesgmm import select_components
from bayesgmm._common.arrays import Array
from bayesgmm.datasets import load_old_faithful

SIZES = (2, 3, 4)
THEIR_FAMILIES = ("full", "tied", "diag", "spherical")
SETS: dict[str, Callable[[], Array]] = {
    "Old Faithful, 272 x 2": lambda: load_old_faithful().to_numpy(),
    "iris, 150 x 4": lambda: load_iris().data,
    "five overlapping groups, 2,000 x 5": lambda: overlapping(2_000, 5, 5),
}
QUICK = ["Old Faithful, 272 x 2"]
HEADER = "| data | search | s | ratio | winner | BIC | spikes |\n|" + "---|" * 7


class Choice(NamedTuple):
    """What a search chose, and what it took."""

    winner: str
    bic: float
    proper: bool
    seconds: float


def ours(X: Array, seed: int) -> Choice:
    """`select_components` with its defaults."""
    (_, seconds), found = timed(lambda: select_components(X, SIZES, random_state=seed, progress=False))
    return Choice(str(found.winner), found.best.bic(), end(found.best, X).proper, seconds)


def theirs(X: Array, seed: int) -> Choice:
    """The least BIC of scikit-learn's families."""

    def search() -> tuple[float, TheirMixture]:
        models = [
            TheirMixture(k, covariance_type=family, random_state=seed).fit(X)
            for family in THEIR_FAMILIES
            for k in SIZES
        ]
        return min(((model.bic(X), model) for model in models), key=lambda each: each[0])

    (_, seconds), (bic, model) = timed(search)
    return Choice(f"{model.covariance_type} with K = {model.n_components}", bic, end(model, X).proper, seconds)


def text(name: str, search: str, choices: list[Choice], to: list[Choice]) -> str:
    """A line of the table."""
    seconds, others = (float(np.median([choice.seconds for choice in each])) for each in (choices, to))
    winners = "; ".join(sorted({choice.winner for choice in choices}))
    bic, spikes = max(choice.bic for choice in choices), sum(not choice.proper for choice in choices)
    return f"| {name} | {search} | {seconds:.3f} | {seconds / others:.2f} | {winners} | {bic:,.2f} | {spikes} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    print(HEADER, flush=True)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence and optima found once: the ends are compared
        for name in QUICK if options.quick else SETS:
            X = SETS[name]()
            for search in (ours, theirs):
                search(X, 1_000)  # compiles, or loads what was compiled
            pairs = [(ours(X, seed), theirs(X, seed)) for seed in range(1 if options.quick else options.seeds)]
            left, right = ([pair[i] for pair in pairs] for i in (0, 1))
            print(text(name, "select_components", left, right), flush=True)
            print(text(name, "scikit-learn, loop", right, right), flush=True)


if __name__ == "__main__":
    main()
