"""NUTS on the native log posterior beside `pm.Mixture` of `pm.MvNormal` components under nutpie.

Run `uv run python benchmarks/nuts.py`. Both sides have the same prior, starts, sampler settings and
relabelling; only the likelihood and the coordinates differ. Compiling is left out and reported apart, our
whitening at the mode is part of our time. Runs alternate in one process and what is printed are medians over
rounds of ratios within a round. Rates are per second of processor time, summed over threads, which other work on
the machine disturbs least; ratios of wall time stand beside them.

A comparison counts only if both sides converge (R-hat below 1.01). Iris with three full covariances does not under
the default prior: there the third component is nearly empty in one mode and splits two species in another. So its
weights get a Dirichlet(200) here, which expects three species of about equal number; the rest is the default prior.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import arviz_stats as azs
import numpy as np
import nutpie
import pymc as pm
import xarray as xr
from sklearn.datasets import load_iris
from threadpoolctl import threadpool_limits

from bayesgmm import Mixture, Prior
from bayesgmm._common.arrays import Array
from bayesgmm.data.blocks import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.diagnostics.rhat_ess import MAX_R_HAT
from bayesgmm.em.multistart import best_of_starts
from bayesgmm.inference.engine_pymc import unconstrained_points
from bayesgmm.inference.engines import Sampled, sample_native
from bayesgmm.inference.nuts import sample_model
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture.draws import Draws
from bayesgmm.posterior.tree import aligned
from bayesgmm.priors.model import Model
from bayesgmm.pymc_model.inverse_wishart import InverseWishartCovariances

N_ANCHORS = 5
SHAPES = ("weights", "means", "covariances")


def iris() -> Problem:
    X = load_iris().data
    return problem(X, Prior.weakly_informative(X, concentration=200.0), n_components=3)


def simulated() -> Problem:
    """2,000 rows of four components in five features; the best label is right for about 91 % of the rows."""
    rng = np.random.default_rng(2)
    means = rng.normal(0.0, 1.5, (4, 5))
    factors = 0.4 * np.tril(rng.normal(size=(4, 5, 5)), -1) + np.eye(5)
    truth = Mixture([0.4, 0.3, 0.2, 0.1], means, factors @ np.swapaxes(factors, 1, 2))
    X = truth.sample(2000, rng=rng)[0]
    return problem(X, Prior.weakly_informative(X), n_components=4)


def faithful() -> Problem:
    X = load_old_faithful().to_numpy()
    return problem(X, Prior.weakly_informative(X), n_components=2)


SETS = {
    "faithful": ("Old Faithful, K = 2", faithful),
    "iris": ("Iris, K = 3", iris),
    "simulated": ("2,000 x 5, K = 4", simulated),
}


def problem(X: Array, prior: Prior, *, n_components: int) -> Problem:
    model = Model.of("full", n_components, X.shape[1], prior=prior)
    em, _ = best_of_starts(Data.of(X), model, rng=np.random.default_rng(0))
    return Problem(Data.of(X), prior, em.mixture)


def handwritten(problem: Problem) -> pm.Model:
    prior, k = problem.prior, problem.start.n_components
    d = problem.start.n_features
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", a=np.full(k, prior.concentration))
        covariances = InverseWishartCovariances(
            "covariances", dof=np.full(k, prior.dof), scale=np.broadcast_to(prior.scale, (k, d, d))
        )
        means = pm.MvNormal("means", mu=prior.mean, cov=prior.mean_covariance, shape=(k, d))
        components = [pm.MvNormal.dist(mu=means[j], cov=covariances[j]) for j in range(k)]
        pm.Mixture(
            "y", w=weights, comp_dists=components, observed=pm.Data("X", np.ascontiguousarray(problem.data.rows))
        )
    return model


class Handwritten:
    """The hand-written model, compiled once, that samples from the starts of the native engine."""

    def __init__(self, problem: Problem) -> None:
        begun = time.perf_counter()
        self.model = handwritten(problem)
        self.compiled = nutpie.compile_pymc_model(self.model, var_names=list(SHAPES))
        self.compile_seconds = time.perf_counter() - begun

    def starts(self, problem: Problem, chains: int, rng: np.random.Generator) -> Array:
        values = problem.parameters(problem.starting_points(chains, rng)).arrays
        return unconstrained_points(self.model, dict(zip(SHAPES, values, strict=True)))

    def sample(self, problem: Problem, settings: SamplerSettings, starts: Array) -> Sampled:
        start = problem.start
        shapes = zip(SHAPES, (start.weights.shape, start.means.shape, start.full_covariances.shape), strict=True)
        run = sample_model(self.compiled, starts, settings, dict(shapes))
        return Draws(*(run.values[name] for name in SHAPES), family=start.family).end_to_end(), run


@dataclass(frozen=True)
class Result:
    """One run: its cost; bulk ESS and R-hat of the log-likelihood, the worst other invariant, the worst parameter."""

    seconds: float
    wall: float
    n_gradients: int
    leapfrogs: float
    divergences: int
    ess: tuple[float, ...]
    r_hat: tuple[float, ...]

    @property
    def figures(self) -> Array:
        """What is compared: cost of a gradient, leapfrogs, then by gradient, by second and by wall-clock second."""
        ess = np.array(self.ess)
        rates = (1e3 * ess / self.n_gradients, ess / self.seconds, ess / self.wall)
        return np.array([1e6 * self.seconds / self.n_gradients, self.leapfrogs, *np.concatenate(rates)])


def measured(problem: Problem, sample: Callable[[], Sampled]) -> Result:
    wall, processor = time.perf_counter(), time.process_time()
    draws, run = sample()
    seconds, wall = time.process_time() - processor, time.perf_counter() - wall
    shape = run.stats["lp"].shape
    invariants = invariant(problem, draws).reshape(*shape, -1)
    groups = (invariants[..., :1], invariants[..., 1:], relabelled(problem, draws).reshape(*shape, -1))
    ess, r_hat = zip(*map(worst, groups), strict=True)
    n_gradients, leapfrogs = int(run.n_gradients.sum()), float(run.stats["n_steps"].mean())
    return Result(seconds, wall, n_gradients, leapfrogs, int(run.stats["diverging"].sum()), ess, r_hat)


def invariant(problem: Problem, draws: Draws) -> Array:
    """Log-likelihood, log density of a few rows, sorted weights (sample, quantity): labels play no part."""
    log_density = np.array([Mixture(*each).log_prob(problem.data.rows) for each in zip(*draws.arrays, strict=True)])
    anchors = log_density[:, :: len(problem.data.rows) // N_ANCHORS]
    return np.column_stack([log_density.sum(axis=1), anchors, np.sort(draws.weights, axis=-1)])


def relabelled(problem: Problem, draws: Draws) -> Array:
    """Every parameter (sample, quantity) in the labels of the EM solution."""
    ours, _ = aligned(problem.start, draws, alike=problem.model.interchangeable)
    rows, columns = np.tril_indices(ours.means.shape[-1])
    parts = (ours.weights, ours.means, ours.covariances[..., rows, columns])
    return np.concatenate([part.reshape(len(ours), -1) for part in parts], axis=-1)


def worst(values: Array) -> tuple[float, float]:
    quantities = xr.Dataset({"q": (("chain", "draw", "quantity"), values)})
    return float(azs.ess(quantities, method="bulk")["q"].min()), float(azs.rhat(quantities)["q"].max())


def compare(name: str, options: argparse.Namespace) -> None:
    title, make = SETS[name]
    given = make()
    theirs = Handwritten(given)
    pairs = []
    for repeat in range(options.repeats):
        settings = SamplerSettings(
            seed=repeat,
            draws=options.draws,
            tune=options.tune,
            chains=options.chains,
            target_accept=options.target_accept,
            progress=False,
        )
        fresh = Problem(given.data, given.prior, given.start)
        ours = measured(given, lambda: sample_native(fresh, settings, np.random.default_rng(repeat)))  # noqa: B023
        starts = theirs.starts(given, settings.chains, np.random.default_rng(repeat))
        pairs.append((ours, measured(given, lambda: theirs.sample(given, settings, starts))))  # noqa: B023
    report(title, pairs, theirs.compile_seconds)


def report(title: str, pairs: list[tuple[Result, Result]], compile_seconds: float) -> None:
    print(f"\n{title}: {len(pairs)} rounds; compiling pm.Mixture took {compile_seconds:.0f} s and is not counted\n")
    columns = ("", "µs a gradient", "leapfrogs a draw", "ESS per 1,000 gradients", "ESS per processor second")
    print(f"| {' | '.join((*columns, 'ESS per second', 'worst R-hat', 'divergences'))} |\n|{'---|' * 8}")
    converged = True
    for side, results in zip(("bayesgmm", "pm.Mixture"), zip(*pairs, strict=True), strict=True):
        us, leapfrogs, *rates = np.median([result.figures for result in results], axis=0)
        r_hat = np.max([result.r_hat for result in results])
        converged &= r_hat < MAX_R_HAT
        divergences = sum(result.divergences for result in results)
        print(
            f"| {side} | {us:.1f} | {leapfrogs:.1f} | {triple(rates[:3], '.1f')} | {triple(rates[3:6], ',.0f')} "
            f"| {triple(rates[6:], ',.0f')} | {r_hat:.4f} | {divergences} |"
        )
    us, leapfrogs, *rates = np.median([ours.figures / theirs.figures for ours, theirs in pairs], axis=0)
    print(
        f"| ratio | 1 / {1 / us:.1f} | {leapfrogs:.2f} | {triple(rates[:3], '.1f')} | **{triple(rates[3:6], '.1f')}** "
        f"| {triple(rates[6:], '.1f')} | | |",
        flush=True,
    )
    if not converged:
        print(f"Does not count: R-hat is above {MAX_R_HAT}. Take more draws.", flush=True)


def triple(values: list[float], form: str) -> str:
    return ", ".join(format(value, form) for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["iris", "simulated"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--tune", type=int, default=400)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--target-accept", type=float, default=0.8)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(sets=["faithful"], repeats=1, draws=50, tune=50)
    with threadpool_limits(1):
        print("ESS (bulk): of the log-likelihood, the worst other invariant, the worst parameter after relabelling.")
        for name in options.sets:
            compare(name, options)


if __name__ == "__main__":
    main()
