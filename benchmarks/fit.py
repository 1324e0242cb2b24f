"""A whole fit of this package beside one of scikit-learn's, in one process, BLAS limited to one thread.

Run it: uv run python benchmarks/fit.py
Both get the same number of starts, and scikit-learn its default tolerance of 1e-3 on the last gain per row. Ours
bounds the gain still to come: the same number would let it stop several nats lower, so it gets 5e-6 on 272 rows and
2e-5 elsewhere. "search" is ours with its default tolerance, so that starts search on. "apart" are groups so far apart
that EM takes a few steps. The runs are interleaved, and the table shows medians over rounds, on the clock and of
processor time: of `fit` for one start and for several, of `score_samples` and of `predict_proba`. "nats" is how far our
log-likelihood lies above theirs, lowest and highest; single starts end in different optima. Memory is the peak of a
process of its own that reads the data and fits once, over one that only reads them (Linux).
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import overlapping, timed
from sklearn.mixture import GaussianMixture as TheirMixture
from threadpoolctl import threadpool_limits

from bayesgmm import GaussianMixture
from bayesgmm.datasets import load_old_faithful

THEIRS, SEARCHED = 1e-3, 1e-7
CLASSES = {"ours": GaussianMixture, "theirs": TheirMixture}
TOLERANCES = {"272 x 2": 5e-6, "10,000 x 5": 2e-5, "10,000 x 5 apart": 2e-5, "100,000 x 10": 2e-5}
CASES = {"272 x 2": 2, "10,000 x 5": 5, "10,000 x 5 apart": 5, "100,000 x 10": 10}


def rows(name: str) -> np.ndarray:
    """Old Faithful, or groups of unequal shapes that overlap as clusters of real data do, or ten times as far apart."""
    if name == "272 x 2":
        return np.asarray(load_old_faithful())
    n_rows, n_features = (int(part.replace(",", "")) for part in name.removesuffix(" apart").split(" x "))
    return overlapping(n_rows, n_features, CASES[name], spread=15.0 if name.endswith("apart") else 1.5)


def fitted(who: str, X: np.ndarray, n_components: int, *, n_init: int, tol: float = 2e-5, seed: int = 0) -> Any:
    """One fit with the same number of starts; the tolerance is ours."""
    tol = tol if who == "ours" else THEIRS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CLASSES[who](n_components, n_init=n_init, tol=tol, random_state=seed).fit(X)


def main() -> None:
    """Print the table, or in a process of its own the peak of one fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, nargs="*", default=[1, 10])
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--search", nargs="*", default=["272 x 2", "10,000 x 5"])
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(rounds=1, starts=[1], cases=["272 x 2"])
    with threadpool_limits(1):
        if arguments.peak:
            print(peak(*arguments.peak, CASES[arguments.cases[0]]))
            return
        for name in arguments.cases:
            for n_init in arguments.starts:
                label = f"{name}, K = {CASES[name]}, starts {n_init}"
                print(f"{label}: {fits(name, n_init, arguments.rounds, tol=TOLERANCES[name])}", flush=True)
                if name in arguments.search:
                    print(f"{label}, search: {fits(name, n_init, arguments.rounds, tol=SEARCHED)}", flush=True)
            print(f"{name}: {densities(name, arguments.rounds)}", flush=True)
            print(f"{name}: {memory(name)}", flush=True)


def fits(name: str, n_init: int, rounds: int, *, tol: float) -> str:
    """Seconds of a fit of each, and how the log-likelihoods compare, seed by seed."""
    X, k = rows(name), CASES[name]
    for who in CLASSES:
        fitted(who, X[:200], k, n_init=1)
    times, gains = [], []
    for seed in range(rounds):
        (ours, our_model), (theirs, their_model) = (
            timed(lambda who=who, seed=seed: fitted(who, X, k, n_init=n_init, seed=seed, tol=tol)) for who in CLASSES
        )
        times.append((ours, theirs))
        gains.append(our_model.log_likelihood_ - their_model.score(X) * len(X))
    return f"{_ratio(times)}; nats {min(gains):.3f} to {max(gains):.3f}"


def densities(name: str, rounds: int) -> str:
    """Seconds of `score_samples` and `predict_proba`."""
    X, k = rows(name), CASES[name]
    models = [fitted(who, X, k, n_init=1) for who in CLASSES]
    shown = []
    for method in ("score_samples", "predict_proba"):
        times = [
            [timed(lambda model=model, method=method: getattr(model, method)(X))[0] for model in models]
            for _ in range(5 * rounds)
        ]
        shown.append(f"{method}: {_ratio(times)}")
    return "; ".join(shown)


def memory(name: str) -> str:
    """Peaks over that of a process that reads the data and fits nothing."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, rows(name))
        for who in ("neither", *CLASSES):
            command = [sys.executable, __file__, "--peak", who, str(path), "--cases", name]
            peaks[who] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ours, theirs = (peaks[who] - peaks["neither"] for who in CLASSES)
    return f"peak memory, MB: ours {ours:.1f}, scikit-learn's {theirs:.1f}"


def peak(who: str, path: str, n_components: int) -> float:
    """Peak of this process in MB; small fits of both load their code before."""
    X = np.load(path)
    for one in CLASSES:
        fitted(one, X[:200], n_components, n_init=1)
    if who != "neither":
        fitted(who, X, n_components, n_init=1)
    # Not getrusage: what it says starts at the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024.0


def _ratio(times: list) -> str:
    """Medians of (ours, theirs), each (clock, processor); the ratio is that of a round."""
    table = np.array(times)
    (ours, _), (theirs, _) = np.median(table, axis=0)
    clock, processor = np.median(table[:, 1] / table[:, 0], axis=0)
    return (
        f"ours {ours * 1e3:.2f} ms, scikit-learn {theirs * 1e3:.2f} ms, "
        f"ratio {clock:.1f} on the clock, {processor:.1f} of processor time"
    )


if __name__ == "__main__":
    main()
