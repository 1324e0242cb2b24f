"""From nothing to a fit: what a fresh process pays beyond the imports that no one gets around.

Run `uv run python benchmarks/startup.py`. Every figure is the wall time of a fresh interpreter, from its start to
its end. Baselines (the imports of nutpie and scikit-learn) and fits (Old Faithful, two components) alternate, and what
is printed are medians over rounds of differences within a round. The last part starts each time with an empty
folder of compiled kernels.

Python's own bytecode is cached in a temporary folder that one uncounted run fills: where
PYTHONDONTWRITEBYTECODE is set, every import would compile its sources anew and drown what is measured.
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
NOT_LOADED = "import sys; assert not {'pymc', 'pytensor'} & set(sys.modules)"
CASES = {  # name: (imports, fit, seconds that the fit may take with cached kernels)
    "posterior, 4 x 1,000 draws": ("import nutpie, sklearn.mixture", POSTERIOR, 3.0),
    "EM": ("import sklearn.mixture", EM, 1.5),
}
FIRST_RUN = 45.0


def environment(bytecode: Path) -> dict[str, str]:
    """Of a process that caches its bytecode in a folder and computes in one thread."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return own | threads | {"PYTHONPYCACHEPREFIX": str(bytecode)}


def seconds(code: str, kernels: Path, bytecode: Path) -> float:
    """Wall time of a process that runs the code with its own folders of compiled code."""
    variables = environment(bytecode) | {"NUMBA_CACHE_DIR": str(kernels)}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=variables, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def cached(folder: Path, rounds: int) -> None:
    kernels, bytecode = folder / "kernels", folder / "bytecode"
    for _, fit, _ in CASES.values():
        seconds(fit + NOT_LOADED, kernels, bytecode)
    times = np.array(
        [
            [
                [seconds(code, kernels, bytecode) for code in (imports, f"{imports}\n{fit}")]
                for imports, fit, _ in CASES.values()
            ]
            for _ in range(rounds)
        ]
    )
    print("| with cached kernels | imports | imports and fit | beyond the imports | aim |\n|---|---|---|---|---|")
    for name, (baseline, whole), (_, _, aim) in zip(CASES, np.median(times, axis=0), CASES.values(), strict=True):
        beyond = np.median(np.diff(times[:, list(CASES).index(name)], axis=1))
        print(f"| {name} | {baseline:.2f} s | {whole:.2f} s | **{beyond:.2f} s** | {aim:.1f} s |", flush=True)


def first_run(folder: Path, rounds: int) -> None:
    print("\n| first run, nothing compiled | whole process | aim |\n|---|---|---|")
    for name, (_, fit, _) in CASES.items():
        times = [seconds(fit, folder / f"{name[:2]}{i}", folder / "bytecode") for i in range(rounds)]
        print(f"| {name} | **{np.median(times):.1f} s** | {FIRST_RUN:.0f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--first-runs", type=int, default=2, help="rounds with empty caches")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cached(Path(folder), options.rounds)
        first_run(Path(folder), options.first_runs)


if __name__ == "__main__":
    main()
