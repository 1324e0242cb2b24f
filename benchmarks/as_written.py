"""One process of `benchmarks/nuts.py --as-written`: a mixture from import to summary, as a user writes it.

`python benchmarks/as_written.py {bayesgmm,pm.Mixture} {faithful,iris,simulated} START`, START being `time.time()` when
the process was asked for. Prints seconds until the summary was there, and how good the draws are, as JSON.
"""

import json
import sys
import time


def with_pymc(X, n_components):  # type: ignore[no-untyped-def]
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
        trace = pm.sample(chains=4, random_seed=1, progressbar=False)
    az.summary(trace)
    return trace["posterior"]


def with_bayesgmm(X, n_components):  # type: ignore[no-untyped-def]
    from bayesgmm import BayesianGaussianMixture

    fit = BayesianGaussianMixture(n_components, random_state=1, progress=False).fit(X)
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


def main() -> None:
    side, name, start = sys.argv[1], sys.argv[2], float(sys.argv[3])
    X, n_components = data(name)
    fit = with_bayesgmm if side == "bayesgmm" else with_pymc
    posterior = fit(X, n_components)
    seconds = time.time() - start

    import nuts

    from bayesgmm.bayes.problem import MixtureDraws

    problem = nuts.SETS[name][1]()
    drawn = MixtureDraws(*draws(posterior, n_components, X.shape[1]), run=None)  # type: ignore[arg-type]
    ess, r_hat = nuts.worst(nuts.relabelled(problem, drawn))
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


if __name__ == "__main__":
    main()
