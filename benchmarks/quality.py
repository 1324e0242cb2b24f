"""Every data set, family and K of the reference fits: our default fit beside the best of scikit-learn and mclust.

Run it: uv run python benchmarks/quality.py [folder of the data] [--pixels]
The folder holds the data sets and `reference/` (by default ../shared/data beside the repository). The target of a
case is the highest log-likelihood of scikit-learn's 20 starts that is not degenerate and of mclust's run on to a
tight tolerance; a fit misses it if it ends more than 1e-3 below. The table counts misses by K and lists each.

--pixels: 5,000 pixels of the pictures that scikit-learn ships, where starts of one kind may all end in the same poor
optimum. Our defaults beside 20 starts each of two kinds by scikit-learn: the best sound log-likelihood, the number of
distinct sound optima (apart by more than one) and of spikes, processor seconds.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.mixture import GaussianMixture as SklearnMixture

from bayesgmm import GaussianMixture, Mixture
from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SLACK = 1e-3
COLLAPSED = 1e-3
CODES = {
    "full": ("VVV", "V"),
    "tied": ("EEE", "E"),
    "diag": ("VVI",),
    "spherical": ("VII",),
    "tied_diag": ("EEI",),
    "tied_spherical": ("EII",),
}
PICTURES, PIXEL_COMPONENTS, N_PIXELS, PIXEL_STARTS = ("china.jpg", "flower.jpg"), (3, 5, 8), 5_000, 20
SHARED = ("tied", "tied_diag", "tied_spherical")


class Case(NamedTuple):
    """One fit to make, and the log-likelihood to reach."""

    dataset: str
    covariance_type: str
    n_components: int
    target: float


class Outcome(NamedTuple):
    """What a fit reached and what it took; seconds of processor time."""

    case: Case
    log_likelihood: float
    degenerate: bool
    seconds: float

    @property
    def missed(self) -> bool:
        return not self.log_likelihood >= self.case.target - SLACK or self.degenerate


def cases(folder: Path) -> Iterator[Case]:
    """Every data set, family and K for which one of the two programs has a sound fit."""
    for path in sorted((folder / "reference" / "mclust").glob("*.json")):
        theirs = json.loads((folder / "reference" / "sklearn" / path.name).read_text())
        mclust = json.loads(path.read_text())
        spread = np.cov(load(folder, path.stem).T, bias=True).reshape(mclust["d"], mclust["d"])
        for covariance_type in CODES:
            for k in range(1, 7):
                targets = [*_scikit_learns(theirs, covariance_type, k), *_mclusts(mclust, covariance_type, k, spread)]
                if targets:
                    yield Case(path.stem, covariance_type, k, max(targets))


def load(folder: Path, name: str) -> np.ndarray:
    """The feature columns of a data set, as the reference fits took them."""
    columns = json.loads((folder / "reference" / "mclust" / f"{name}.json").read_text())["columns"]
    table = np.genfromtxt(folder / f"{name}.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    X = np.column_stack([table[column] for column in columns]).astype(float)
    return X / 1000.0 if name == "galaxies" else X


def _scikit_learns(record: dict, covariance_type: str, k: int) -> list[float]:
    """Log-likelihoods of the starts that are not degenerate; shared covariances may have components of few rows."""
    fits = [fit for fit in record["fits"] if (fit["covariance_type"], fit["K"]) == (covariance_type, k)]
    starts = [start for fit in fits for start in fit["starts"]]
    if covariance_type in SHARED:
        return [start["loglik"] for start in starts if start["min_eig_ratio"] >= COLLAPSED]
    return [start["loglik"] for start in starts if not start["degenerate"]]


def _mclusts(record: dict, covariance_type: str, k: int, spread: np.ndarray) -> list[float]:
    found = []
    for fit in record["fits"]:
        if fit["model"] not in CODES[covariance_type] or fit["G"] != k or fit.get("loglik_tight") is None:
            continue
        if not _degenerate(fit["parameters"], covariance_type, spread, n_rows=record["n"]):
            found.append(fit["loglik_tight"])
    return found


def _degenerate(parameters: dict, covariance_type: str, spread: np.ndarray, *, n_rows: int) -> bool:
    """The reference's own rule."""
    covariances = np.array(parameters["covariances"])
    variances, of_data = np.diagonal(covariances, axis1=1, axis2=2), np.diagonal(spread)
    if covariance_type in ("full", "tied"):
        ratio = np.linalg.eigvalsh(covariances)[:, 0] / np.linalg.eigvalsh(spread)[0]
    elif covariance_type in ("diag", "tied_diag"):
        ratio = variances / of_data
    else:
        ratio = variances[:, 0] / of_data.mean()
    few = min(parameters["weights"]) * n_rows < len(spread) + 1 and covariance_type not in SHARED
    return bool(ratio.min() < COLLAPSED or few)


def fitted(case: Case, X: np.ndarray, options: dict) -> Outcome:
    """Our fit with its own defaults."""
    model = GaussianMixture(case.n_components, covariance_type=case.covariance_type, **options)
    before = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(X)
    seconds = time.process_time() - before
    starts = model.starts_
    return Outcome(case, model.log_likelihood_, bool(starts.degenerate[starts.best]), seconds)


def outcomes(folder: Path, *, seed: int = 0, datasets: list[str] | None = None, **options: object) -> Iterator[Outcome]:
    """The fit of every case, one after the other."""
    for case in cases(folder):
        if datasets is None or case.dataset in datasets:
            yield fitted(case, load(folder, case.dataset), {"random_state": seed, **options})


def main() -> None:
    """Print the misses and the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(os.environ.get("BAYESGMM_DATA", DATA)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-init", type=int)
    parser.add_argument("--init-params")
    parser.add_argument("--datasets", nargs="*")
    parser.add_argument("--pixels", action="store_true")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    arguments = parser.parse_args()
    if arguments.quick:
        print_pixels(PICTURES[:1], PIXEL_COMPONENTS[:1], n_pixels=300, n_starts=1, seed=0)
        vars(arguments).update(datasets=["faithful"], n_init=1)
    if arguments.pixels:
        print_pixels(PICTURES, PIXEL_COMPONENTS, n_pixels=N_PIXELS, n_starts=PIXEL_STARTS, seed=arguments.seed)
        print_spike()
        return
    options = {"n_init": arguments.n_init, "init_params": arguments.init_params}
    options = {name: value for name, value in options.items() if value is not None}
    found = []
    for outcome in outcomes(arguments.folder, seed=arguments.seed, datasets=arguments.datasets, **options):
        found.append(outcome)
        if outcome.missed:
            case = outcome.case
            short = "degenerate" if outcome.degenerate else f"{case.target - outcome.log_likelihood:.3f} short"
            label = f"{case.dataset:20}{case.covariance_type:15} K = {case.n_components}"
            print(f"{label} {outcome.log_likelihood:12.3f} of {case.target:12.3f}: {short}", flush=True)
    print("\nmisses by K: " + ", ".join(f"{k}: {_share(found, k)}" for k in range(1, 7)))
    if not found:
        print(f"no reference fits in {arguments.folder}")
        return
    seconds = np.array([outcome.seconds for outcome in found])
    print(f"misses: {sum(o.missed for o in found)} of {len(found)}")
    print(
        f"processor seconds: {seconds.sum():.1f} in all, median {np.median(seconds):.4f}, longest {seconds.max():.2f}"
    )


def print_pixels(
    pictures: Sequence[str], components: Sequence[int], *, n_pixels: int, n_starts: int, seed: int
) -> None:
    """Each kind of start on each picture."""
    print(f"{'picture':14}  K  {'starts':24}{'best':>12}  optima  spikes  seconds")
    for picture in pictures:
        X = pixels(picture, n_pixels)
        for k in components:
            for kind in ("ours", "kmeans", "random_from_data"):
                before = time.process_time()
                ours = kind == "ours"
                values, spikes = _ours(X, k, seed=seed) if ours else _scikit_learn_fits(X, k, kind, n_starts)
                seconds = time.process_time() - before
                sound = np.sort(values[~spikes])
                optima = 1 + (np.diff(sound) > 1.0).sum() if len(sound) else 0
                best = f"{sound[-1]:12.1f}" if len(sound) else f"{'none':>12}"
                print(f"{picture:14}{k:3}  {kind:24}{best}{optima:8}{spikes.sum():8}{seconds:9.1f}", flush=True)


def print_spike() -> None:
    """What the highest spike on china.jpg sits on, and whether it outlives that pixels are rounded."""
    X = pixels(PICTURES[0], N_PIXELS)
    fits = [
        SklearnMixture(8, init_params="random_from_data", random_state=s, max_iter=2_000, tol=1e-6) for s in range(6)
    ]
    fit = max((each.fit(X) for each in fits), key=lambda each: each.score(X))
    variances = np.linalg.eigvalsh(fit.covariances_)[:, 0]
    one = int(variances.argmin())
    colours = np.unique(X[fit.predict(X) == one], axis=0)
    print(
        f"spike: log-likelihood {fit.score(X) * len(X):.1f}, {fit.weights_[one] * len(X):.0f} rows of {len(colours)} "
        f"colours, variance {variances[one]:.3f} in a direction; of rounding {1 / 12:.3f}; of the data "
        f"{np.linalg.eigvalsh(np.cov(X.T))[0]:.1f}"
    )
    blurred = X + np.random.default_rng(1).uniform(-0.5, 0.5, X.shape)
    widened = Mixture(fit.weights_, fit.means_, fit.covariances_ + np.eye(3) / 12)
    onwards = run_em(Data.of(blurred), widened, settings=EMSettings(1e-8, 5_000)).log_likelihood
    values, spikes = _ours(blurred, 8, seed=0)
    print(f"blurred: EM from there {onwards:.1f}; new starts {values[~spikes].max():.1f}, {spikes.sum()} spikes")


def pixels(picture: str, n_pixels: int) -> np.ndarray:
    """Red, green and blue of random pixels, 0 to 255."""
    colours = load_sample_image(picture).reshape(-1, 3).astype(float)
    return colours[np.random.default_rng(0).choice(len(colours), n_pixels, replace=False)]


def _ours(X: np.ndarray, k: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods of the starts of a fit by default, and which are spikes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        starts = GaussianMixture(k, random_state=seed).fit(X).starts_
    return starts.objectives, starts.degenerate


def _scikit_learn_fits(X: np.ndarray, k: int, kind: str, n_starts: int) -> tuple[np.ndarray, np.ndarray]:
    values, spikes = [], []
    for seed in range(n_starts):
        fit = SklearnMixture(k, init_params=kind, random_state=seed, tol=1e-6, max_iter=2_000).fit(X)
        mixture = Mixture(fit.weights_, fit.means_, fit.covariances_)
        values.append(mixture.log_prob(X).sum())
        parameters = {"weights": fit.weights_, "covariances": fit.covariances_}
        spikes.append(_degenerate(parameters, "full", np.cov(X.T, bias=True), n_rows=len(X)))
    return np.array(values), np.array(spikes)


def _share(found: list[Outcome], k: int) -> str:
    of_k = [outcome.missed for outcome in found if outcome.case.n_components == k]
    return f"{sum(of_k)} of {len(of_k)}"


if __name__ == "__main__":
    main()
