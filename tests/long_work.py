"""Long work that is killed: run as a script, it forks a process for each try and ends it by SIGKILL.

``python long_work.py FOLDER SEED KILLS WORK...`` kills each WORK so many times at random moments, then lets it end, and
writes its result to FOLDER/WORK-killed.npz, beside that of an undisturbed run without a checkpoint. It prints how often
a process was met at work.
"""

import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # threads of OpenMP do not survive a fork

import numpy as np

from bayesgmm import BayesianGaussianMixture, GaussianMixture, select_components
from bayesgmm.datasets import load_old_faithful
from bayesgmm.io import checkpoints

checkpoints._OFTEN = 0.05  # seconds: the work is short for long work
type Result = dict[str, np.ndarray]

GEYSER = np.asarray(load_old_faithful())
FITTED = GaussianMixture(2, random_state=1).fit(GEYSER)
BLOBS = np.concatenate([np.random.default_rng(k).normal(3.0 * k, 1.0, (500, 4)) for k in range(6)])


def em(checkpoint: Path | None) -> Result:
    fit = GaussianMixture(9, n_init=20, random_state=1).fit(BLOBS, checkpoint=checkpoint)
    return {"means": fit.means_, "objectives": fit.starts_.objectives, "history": fit.history_}


def _posterior(checkpoint: Path | None, **settings: object) -> Result:
    fit = BayesianGaussianMixture(2, random_state=1, draws=2_000, progress=False, cores=2, **settings)
    tree = fit.fit(GEYSER, checkpoint=checkpoint).posterior_
    return {name: tree["posterior"][name].to_numpy() for name in ("weights", "means", "covariances")}


def nuts(checkpoint: Path | None) -> Result:
    return _posterior(checkpoint, init="best")


def gibbs(checkpoint: Path | None) -> Result:
    return _posterior(checkpoint, inference="gibbs")


def select(checkpoint: Path | None) -> Result:
    found = select_components(GEYSER, range(1, 6), ["full", "tied"], random_state=1, checkpoint=checkpoint)
    return {"table": found.table.drop(columns="note").to_numpy(dtype=np.float64)}


def bootstrap(checkpoint: Path | None) -> Result:
    found = FITTED.bootstrap(GEYSER, n_replicates=500, checkpoint=checkpoint, progress=False)
    return {"means": found.means, "covariances": found.covariances}


WORKS: dict[str, Callable[[Path | None], Result]] = {
    work.__name__: work for work in (em, nuts, gibbs, select, bootstrap)
}


def forked(work: Callable[[Path | None], Result], checkpoint: Path | None, out: Path) -> int:
    """A process that works and writes its result; compiled code and data are there at once."""
    process = os.fork()
    if process == 0:
        try:
            np.savez(out, **work(checkpoint))
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return process


def wait_for(process: int) -> None:
    if os.waitpid(process, 0)[1] != 0:
        raise SystemExit("a process failed")


def main(folder: Path, seed: int, n_kills: int, works: list[str]) -> None:
    warnings.simplefilter("ignore")
    moments, n_met = random.Random(seed), 0
    for name in works:
        work = WORKS[name]
        work(None)  # load what is compiled
        began = time.perf_counter()
        wait_for(forked(work, None, folder / f"{name}-undisturbed.npz"))
        seconds = time.perf_counter() - began
        for _ in range(n_kills):
            process = forked(work, folder / name, folder / "unused.npz")
            time.sleep(moments.uniform(0.0, 0.7 * seconds))
            if os.waitpid(process, os.WNOHANG) == (0, 0):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                n_met += 1
        wait_for(forked(work, folder / name, folder / f"{name}-killed.npz"))
    print(n_met)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
