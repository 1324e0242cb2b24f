"""From nothing to a fit: what a fresh process pays beyond the imports that no one gets around.

Run `uv run python benchmarks/startup.py`. Every figure is the wall time of a fresh interpreter, from its start to
its end. Baselines (the imports of nutpie and scikit-learn) and fits (Old Faithful, two components) alternate, and what
is printed are medians over rounds of differences within a round. First runs start each with an empty folder of
compiled kernels; the other rounds find what the first of them compiled.

Python's own bytecode is cached, as it is by default: where PYTHONDONTWRITEBYTECODE is set, every import would compile
its sources anew and drown what is measured, so that the processes do not get it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

POSTERIOR = """
from bayesgmm import BayesianGaussianMixture
from bayesgmm.datasets import load_old_faithful
fit = BayesianGaussianMixture(2, draws=1000, chains=4, random_state=1, progress=False).fit(load_old_faithful())
assert fit.posterior_["posterior"].sizes["draw"] == 1000
"""
EM = """
from bayesgmm import GaussianMixture
from bayesgmm.datasets import load_old_faithful
assert GaussianMixture(2, random_state=1).fit(load_old_faithful()).converged_
"""
LOG_DENSITY = """
from bayesgmm import Mixture
assert Mixture([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]]).log_prob([[0.0]]).shape == (1,)
"""
NOT_LOADED = "import sys; assert not {'pymc', 'pytensor'} & set(sys.modules)"
CASES = {  # name: (imports, fit, seconds that the fit may take with cached kernels)
    "posterior, 4 x 1,000 draws": ("import nutpie, sklearn.mixture", POSTERIOR, 3.0),
    "EM": ("import sklearn.mixture", EM, 1.5),
}
IMPORTS = (
    "import bayesgmm.estimators.bayesian_gaussian_mixture, bayesgmm.estimators.gaussian_mixture, bayesgmm.datasets"
)
QUICK = {"a log density": ("import numpy", LOG_DENSITY, 1.5)}
FIRST_RUN = 45.0


def environment() -> dict[str, str]:
    """Of a process that caches its bytecode and computes in one thread."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return own | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def seconds(code: str, kernels: Path) -> float:
    """Wall time of a process that runs the code with its own folder of compiled kernels."""
    variables = environment() | {"NUMBA_CACHE_DIR": str(kernels)}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=variables, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def first_runs(cases: dict, folder: Path, rounds: int) -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], env=environment(), check=True)  # caches bytecode, not counted
    print("| first run, nothing compiled | whole process | aim |\n|---|---|---|")
    for name, (_, fit, _) in cases.items():
        times = [seconds(fit + NOT_LOADED, folder / f"{name}{i}") for i in range(rounds)]
        print(f"| {name} | **{np.median(times):.1f} s** | {FIRST_RUN:.0f} s |", flush=True)


def cached(cases: dict, folder: Path, rounds: int) -> None:
    print("\n| with cached kernels | imports | imports and fit | beyond the imports | aim |\n|---|---|---|---|---|")
    times = np.array(
        [
            [
                [seconds(code, folder / f"{name}0") for code in (imports, f"{imports}\n{fit}")]
                for name, (imports, fit, _) in cases.items()
            ]
            for _ in range(rounds)
        ]
    )
    for i, (name, (_, _, aim)) in enumerate(cases.items()):
        (baseline, whole), beyond = np.median(times[:, i], axis=0), np.median(np.diff(times[:, i], axis=1))
        print(f"| {name} | {baseline:.2f} s | {whole:.2f} s | **{beyond:.2f} s** | {aim:.1f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--first-runs", type=int, default=2, help="rounds with empty caches")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(rounds=1, first_runs=1)
    cases = QUICK if options.quick else CASES
    with tempfile.TemporaryDirectory() as folder:
        first_runs(cases, Path(folder), options.first_runs)
        cached(cases, Path(folder), options.rounds)


if __name__ == "__main__":
    main()
