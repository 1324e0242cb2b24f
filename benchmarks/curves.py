"""What a default fit and a gradient cost as rows, features and components grow, beside scikit-learn and PyMC.

![Seconds of a default fit and milliseconds of a gradient against rows, features and components](curves.png)

Run it: uv run python benchmarks/curves.py [--figure PATH]
Overlapping groups; from 10,000 rows, 5 features and 5 components one size changes at a time. "ours" is our default fit,
"sk 1" and "sk 10" are scikit-learn's default and its ten starts, processor seconds. "gradient" is one evaluation of the
log posterior and its gradient, which is what a leapfrog step of NUTS costs, "pm.Mixture" the same of PyMC's model with
a component for each cluster, milliseconds, the fastest of several. The figure is drawn anew.

The second table is the default posterior of 1,000 rows of groups 20 standard deviations apart (nearer ones are better
described by fewer components, if these have hundreds of parameters): processor seconds of the fit, leapfrog steps of a
draw, warm-up included, the share of processor time that is not sampling, the worst R-hat and the smallest effective
size of label-invariant quantities, and the verdict.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measuring import overlapping, timed
from nuts import handwritten
from pymc.blocking import DictToArrayBijection
from sklearn.mixture import GaussianMixture as TheirMixture
from threadpoolctl import threadpool_limits

from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior, diagnose
from bayesgmm._common.arrays import Array
from bayesgmm.data.blocks import Data
from bayesgmm.estimators.bayesian_gaussian_mixture import DEFAULT_TUNE
from bayesgmm.inference.problem import Problem
from bayesgmm.priors.model import Model

BASE = {"rows": 10_000, "features": 5, "components": 5}
SIZES = {"rows": (1_000, 10_000, 100_000), "features": (2, 5, 10, 20, 40), "components": (2, 5, 10, 20)}
QUICK_SIZES = {"rows": (200,), "features": (2,), "components": (2,)}
FITS = ("ours", "sk 1", "sk 10")
GRADIENTS = ("gradient", "pm.Mixture")
MOST_OF_PYMC = 2_000_000  # rows times features times components that a graph of PyMC's evaluates within a second
REPEATS = 5
POSTERIORS = (  # features, components, family
    *((d, 3, "full") for d in (3, 5, 10, 20)),
    *((d, 3, "diag") for d in (20, 100)),
    *((10, k, "full") for k in (2, 5, 10)),
)
QUICK_POSTERIORS = ((3, 2, "full"),)


class Point(NamedTuple):
    """What one size costs, by who."""

    size: int
    costs: dict[str, float]


def estimators(k: int) -> dict[str, Callable[[], Any]]:
    """Each with its own defaults."""
    return {
        "ours": partial(GaussianMixture, k, random_state=0),
        "sk 1": partial(TheirMixture, k, random_state=0),
        "sk 10": partial(TheirMixture, k, random_state=0, n_init=10),
    }


def fit_seconds(X: Array, k: int) -> dict[str, float]:
    """Processor seconds of a fit; a small one goes before."""
    costs = {}
    for who, make in estimators(k).items():
        make().fit(X[:500])
        costs[who] = timed(lambda make=make: make().fit(X))[0][1]
    return costs


def gradient_milliseconds(X: Array, k: int) -> dict[str, float]:
    """The fastest of several evaluations at the fit."""
    em = GaussianMixture(k, prior="weakly_informative", random_state=0).fit(X)
    problem = Problem(Data.of(X), Prior.weakly_informative(X), em.mixture_)
    density, point = problem.log_posterior, np.zeros(problem.log_posterior.n_dim)
    costs = {"gradient": fastest(lambda: density(point))}
    if X.size * k <= MOST_OF_PYMC:
        model = handwritten(problem)
        function = model.logp_dlogp_function(ravel_inputs=True)
        values = DictToArrayBijection.map(model.initial_point()).data
        costs["pm.Mixture"] = fastest(lambda: function(values))
    return costs


def fastest(run: Callable[[], object]) -> float:
    """Milliseconds of the fastest of several runs, after one."""
    run()
    spent = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        run()
        spent.append(time.perf_counter() - begun)
    return 1e3 * min(spent)


def curve(axis: str, sizes: Sequence[int], *, rows: int) -> list[Point]:
    """One size changed, the others as they are."""
    points = []
    for size in sizes:
        shape = {**BASE, "rows": rows, axis: size}
        X = overlapping(shape["rows"], shape["features"], shape["components"])
        points.append(Point(size, fit_seconds(X, shape["components"]) | gradient_milliseconds(X, shape["components"])))
        print(line(axis, points[-1]), flush=True)
    return points


def line(axis: str, point: Point) -> str:
    """A line of the table."""
    cells = [f"{point.costs[who]:.4f}" if who in point.costs else "" for who in (*FITS, *GRADIENTS)]
    ratios = [f"{point.costs['ours'] / point.costs[who]:.2f}" for who in FITS[1:]]
    pymc = point.costs.get("pm.Mixture")
    return f"| {axis} | {point.size:,} | {' | '.join([*cells, *ratios])} | " + (
        f"{point.costs['gradient'] / pymc:.3f} |" if pymc else "|"
    )


def posterior_line(d: int, k: int, family: str, *, n_rows: int) -> str:
    """A line of the table of posteriors."""
    rng = np.random.default_rng(0)
    X = 20.0 / np.sqrt(2.0) * np.eye(k, d)[rng.integers(k, size=n_rows)] + rng.normal(size=(n_rows, d))
    model = BayesianGaussianMixture(k, covariance_type=family, random_state=0, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the verdict stands in the table
        (_, seconds), fit = timed(lambda: model.fit(X))
    tree, found = fit.posterior_, diagnose(fit)
    sampling = min(tree.attrs["sampling_time"] * min(2, tree["posterior"].sizes["chain"]) / seconds, 1.0)
    leapfrogs = tree.attrs["n_gradients"] / (model.chains * (tree["posterior"].sizes["draw"] + DEFAULT_TUNE))
    mixing, parameters = found.figures.invariants, Model.of(family, k, d).n_parameters
    return (
        f"| {d} | {k} | {family} | {parameters:,} | {seconds:.1f} | "
        f"{leapfrogs:.0f} | {1.0 - sampling:.2f} | {mixing.r_hat:.3f} | "
        f"{min(mixing.ess_bulk, mixing.ess_tail):,.0f} | {found.verdict} |"
    )


def drawn(curves: dict[str, list[Point]], path: Path) -> None:
    """Both costs against each size, on logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(2, len(curves), sharey="row")
    for column, (axis, points) in enumerate(curves.items()):
        for panel, names, label in (
            (panels[0, column], FITS, "s a fit"),
            (panels[1, column], GRADIENTS, "ms a gradient"),
        ):
            for who in names:
                known = [(point.size, point.costs[who]) for point in points if who in point.costs]
                if known:
                    panel.plot(*zip(*known, strict=True), marker="o", label=who)
            panel.set(xscale="log", yscale="log", xlabel=axis)
            panel.set_xticks([point.size for point in points], [f"{point.size:,}" for point in points], minor=False)
            panel.minorticks_off()
            if column == 0:
                panel.set_ylabel(label)
                panel.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the table and, if asked for, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, default=Path(__file__).with_name("curves.png"), help="where to draw it")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    columns = ("size", *FITS, *GRADIENTS, "ours / sk 1", "ours / sk 10", "gradient / pm.Mixture")
    print(f"| of | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    sizes, rows = (QUICK_SIZES, 200) if options.quick else (SIZES, BASE["rows"])
    with threadpool_limits(1):
        curves = {axis: curve(axis, each, rows=rows) for axis, each in sizes.items()}
    if not options.quick:
        drawn(curves, options.figure)
    columns = ("D", "K", "family", "parameters", "processor s", "leapfrogs", "not sampling", "R-hat", "ESS", "verdict")
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for d, k, family in QUICK_POSTERIORS if options.quick else POSTERIORS:
        print(posterior_line(d, k, family, n_rows=rows if options.quick else 1_000), flush=True)


if __name__ == "__main__":
    main()
