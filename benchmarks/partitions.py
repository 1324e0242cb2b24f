"""Seconds of SALSO beside the usual shortcut, the draw with the least expected loss.

Run `uv run python benchmarks/partitions.py`. Rows come from clusters in the plane, one standard deviation wide, their
centres so far apart as the table says; draws of parameters scatter around the truth, and labels are drawn for each.
Seconds are processor time, summed over threads, of which there is one; kernels are compiled before. The shortcut
weighs every draw against all others. SALSO runs with its defaults: 16 runs, 10 zealous attempts.
"""

import argparse
from collections.abc import Callable
from time import process_time

import numpy as np

from bayesgmm import estimate_partition, sample_labels
from bayesgmm._common.arrays import Array
from bayesgmm.partitions.partition_losses import LOSSES, expected_loss

CASES = ((5, 4.0), (5, 2.0), (20, 4.0), (20, 2.0))  # clusters, distance of neighbouring centres
N_FEATURES = 2


def label_draws(n_draws: int, n_rows: int, n_clusters: int, distance: float) -> Array:
    """Draws of labels (draw, obs) from clusters on a square grid."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n_clusters)))
    centres = distance * np.stack(np.divmod(np.arange(n_clusters), side), axis=1).astype(float)
    X = centres[rng.integers(n_clusters, size=n_rows)] + rng.normal(size=(n_rows, N_FEATURES))
    posterior = {
        "weights": rng.dirichlet(np.full(n_clusters, n_rows / n_clusters), (1, n_draws)),
        "means": centres + rng.normal(size=(1, n_draws, n_clusters, N_FEATURES)) * np.sqrt(n_clusters / n_rows),
        "sds": np.ones((1, n_draws)),
    }
    labels = sample_labels(posterior, X, names={"weights": "weights", "means": "means", "sds": "sds"}, random_state=1)
    return labels.to_numpy()[0]


def timed[T](call: Callable[[], T]) -> tuple[float, T]:
    begun = process_time()
    result = call()
    return process_time() - begun, result


def best_draw(labels: Array, loss: str) -> float:
    """The least expected loss of any draw."""
    return min(expected_loss(labels, draw, loss=loss) for draw in labels)


def row(labels: Array, loss: str, *, shortcut: bool) -> str:
    seconds, found = timed(lambda: estimate_partition(labels, loss=loss, random_state=0))
    ours = f"{seconds:.1f} | {found.expected_loss:.4f} | {found.n_best} of {found.n_runs} | {found.n_clusters}"
    if not shortcut:
        return f"{ours} | | | |"
    seconds_draw, loss_draw = timed(lambda: best_draw(labels, loss))
    return f"{ours} | {seconds_draw:.0f} | {loss_draw:.4f} | {seconds_draw / seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=4_000)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--losses", nargs="+", default=["vi"], choices=list(LOSSES))
    parser.add_argument("--no-shortcut", action="store_true", help="leave out the slow part")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(draws=100, rows=60)
    small = label_draws(20, 30, *CASES[0])
    for loss in options.losses:
        row(small, loss, shortcut=True)  # compiles
    print(f"\n{options.draws:,} draws of {options.rows:,} rows\n")
    print("| clusters, distance | loss | SALSO, s | expected loss | runs at the best | clusters", end="")
    print(" | best draw, s | its expected loss | ratio of seconds |\n|---|---|---|---|---|---|---|---|---|")
    for n_clusters, distance in CASES:
        labels = label_draws(options.draws, options.rows, n_clusters, distance)
        for loss in options.losses:
            figures = row(labels, loss, shortcut=not options.no_shortcut)
            print(f"| {n_clusters}, {distance:g} | {loss} | {figures}", flush=True)


if __name__ == "__main__":
    main()
