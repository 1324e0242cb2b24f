"""A posterior as users write it, from `import` to summary: this package beside PyMC.

Run `uv run python benchmarks/as_written.py`. The model of the PyMC examples (LKJ correlations, half-normal standard
deviations, PyMC's own starts) against `BayesianGaussianMixture`, each in a process of its own. What earlier runs
compiled is in the caches of both: the first run on a machine takes longer.
"""

import argparse
import json
import subprocess
import sys
import time

SETS = ("faithful", "iris", "simulated")
IMPORTS = {
    "bayesgmm": "from bayesgmm import BayesianGaussianMixture, datasets; import bayesgmm.comparison.parameter_table",
    "pm.Mixture": "import pymc, arviz, bayesgmm.datasets",
}


def with_pymc(X, n_components, **settings):  # type: ignore[no-untyped-def]
    import arviz as az
    import numpy as np
    import pymc as pm

    n_features = X.shape[1]
    with pm.Model():
        weights = pm.Dirichlet("weights", a=np.ones(n_components))
        means = pm.Normal("means", X.mean(axis=0), 2.0 * X.std(axis=0), shape=(n_components, n_features))
        components = []
        for k in range(n_components):
            sd = pm.HalfNormal.dist(X.std(axis=0), shape=n_features)
            chol, _, _ = pm.LKJCholeskyCov(f"chol_{k}", n=n_features, eta=2.0, sd_dist=sd, compute_corr=True)
            components.append(pm.MvNormal.dist(mu=means[k], chol=chol))
        pm.Mixture("y", w=weights, comp_dists=components, observed=X)
        trace = pm.sample(chains=4, random_seed=1, progressbar=False, **settings)
    az.summary(trace)
    return trace["posterior"]


def with_bayesgmm(X, n_components, **settings):  # type: ignore[no-untyped-def]
    from bayesgmm import BayesianGaussianMixture

    fit = BayesianGaussianMixture(n_components, random_state=1, progress=False, **settings).fit(X)
    fit.summary()
    return fit.posterior_["posterior"]


def draws(posterior, n_components, n_features):  # type: ignore[no-untyped-def]
    """Weights, means and covariances of either posterior."""
    import numpy as np

    weights, means = posterior["weights"].to_numpy(), posterior["means"].to_numpy()
    if "covariances" in posterior:
        return weights, means, posterior["covariances"].to_numpy()
    factors = np.zeros((*means.shape, n_features))
    rows, columns = np.tril_indices(n_features)
    for k in range(n_components):
        factors[:, :, k, rows, columns] = posterior[f"chol_{k}"].to_numpy()
    return weights, means, factors @ np.swapaxes(factors, -1, -2)


def measure(side: str, name: str, start: float, *, quick: bool) -> None:
    """Print seconds from ``start``, `time.time()` before this process, until the summary was there, and the draws."""
    X, n_components = data(name)
    fit = with_bayesgmm if side == "bayesgmm" else with_pymc
    posterior = fit(X, n_components, **({"draws": 50, "tune": 50} if quick else {}))
    seconds = time.time() - start

    import nuts

    from bayesgmm.mixture.draws import Draws

    problem, arrays = nuts.SETS[name][1](), draws(posterior, n_components, X.shape[1])
    drawn = Draws(*arrays, family=problem.start.family).end_to_end()
    ess, r_hat = nuts.worst(nuts.relabelled(problem, drawn).reshape(*arrays[0].shape[:2], -1))
    print(json.dumps({"seconds": seconds, "ess": ess, "r_hat": r_hat}))


def data(name):  # type: ignore[no-untyped-def]
    """The rows, without importing what is to be timed."""
    if name == "iris":
        from sklearn.datasets import load_iris

        return load_iris().data, 3
    if name == "faithful":
        from bayesgmm.datasets import load_old_faithful

        return load_old_faithful().to_numpy(), 2
    import numpy as np

    rng = np.random.default_rng(2)
    means = rng.normal(0.0, 1.5, (4, 5))
    factors = 0.4 * np.tril(rng.normal(size=(4, 5, 5)), -1) + np.eye(5)
    labels = rng.choice(4, 2000, p=[0.4, 0.3, 0.2, 0.1])
    return means[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(2000, 5))), 4


def measured(side: str, name: str, options: argparse.Namespace) -> dict[str, float] | None:
    """Seconds, ESS and R-hat of one process, or nothing if it takes too long."""
    from startup import environment

    subprocess.run([sys.executable, "-c", IMPORTS[side]], env=environment(), check=True)  # caches bytecode
    command = [sys.executable, __file__, *["--quick"][: options.quick], "--only", side, name, repr(time.time())]
    try:
        done = subprocess.run(
            command, env=environment(), stdout=subprocess.PIPE, text=True, timeout=options.time_limit, check=True
        )
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, options: argparse.Namespace) -> None:
    from bayesgmm.diagnostics.rhat_ess import MAX_R_HAT

    print(
        f"\n{name}\n\n| | seconds | worst ESS of a parameter, relabelled | its R-hat |\n|---|---|---|---|", flush=True
    )
    done = []
    for side in IMPORTS:
        figures = measured(side, name, options)
        if figures is None:
            print(f"| {side} | not finished after {options.time_limit:.0f} | | |", flush=True)
            return
        print(f"| {side} | {figures['seconds']:.1f} | {figures['ess']:.0f} | {figures['r_hat']:.3f} |", flush=True)
        done.append(figures)
    ours, theirs = done
    print(f"\nTime: {theirs['seconds'] / ours['seconds']:.1f} times.", end=" ")
    if max(ours["r_hat"], theirs["r_hat"]) < MAX_R_HAT:
        ratio = ours["ess"] / theirs["ess"] * theirs["seconds"] / ours["seconds"]
        print(f"ESS per second, imports and compiling included: {ratio:.1f} times.", flush=True)
    else:
        print(f"ESS cannot be compared: R-hat is above {MAX_R_HAT}.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["faithful"])
    parser.add_argument("--time-limit", type=float, default=1800.0, help="seconds a process may take")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds: does the script run?")
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        side, name, start = options.only
        measure(side, name, float(start), quick=options.quick)
        return
    for name in options.sets:
        compare(name, options)


if __name__ == "__main__":
    main()
