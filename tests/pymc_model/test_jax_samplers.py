"""Samplers that run on JAX draw the posterior of the native engine."""

import warnings

import arviz_stats as azs
import numpy as np
import nutpie
import pymc as pm
import pytest
from monte_carlo import bound

from bayesgmm import BayesianGaussianMixture, Prior, build_model

pytest.importorskip("jax")
pytestmark = [pytest.mark.slow, pytest.mark.draws]

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(0.0, 1.0, (25, 2)), RNG.normal([9.0, 5.0], [1.0, 2.0], (40, 2))])
STARTS = {"means": np.array([[0.0, 0.0], [9.0, 5.0]])}
SETTINGS = {"tune": 500, "draws": 500, "chains": 2}
PRIORS = {
    "default": Prior.weakly_informative(X),
    "sampled scale": Prior.independent(
        concentration=2.0,
        mean=[4.0, 2.0],
        mean_covariance=20.0 * np.eye(2),
        dof=4.0,
        scale=Prior.wishart(3.0, np.eye(2)),
    ),
    "separation": Prior.separation(
        concentration=2.0,
        mean=[4.0, 2.0],
        mean_covariance=20.0 * np.eye(2),
        eta=1.5,
        variance_shape=2.0,
        variance_scale=2.0,
    ),
    "sparse": Prior.weakly_informative(X, concentration=0.5),
}


def by_pymc(model, sampler, seed):
    with model:
        return pm.sample(**SETTINGS, initvals=STARTS, nuts_sampler=sampler, random_seed=seed, progressbar=False)


def by_nutpie(model, seed):
    compiled = nutpie.compile_pymc_model(model, backend="jax", initial_points=STARTS)
    return nutpie.sample(compiled, **SETTINGS, seed=seed, progress_bar=False)


def summaries(tree):
    """Quantities (chain, draw) that do not depend on labels, of clusters that are apart."""
    posterior = tree["posterior"].to_dataset()
    means, weights, covariances = (posterior[name].to_numpy() for name in ("means", "weights", "covariances"))
    order = np.argsort(means[..., 0], axis=-1)
    means = np.take_along_axis(means, order[..., None], axis=2)
    weights = np.take_along_axis(weights, order, axis=2)
    log_dets = np.take_along_axis(np.linalg.slogdet(covariances)[1], order, axis=2)
    return [*np.moveaxis(means.reshape(*means.shape[:2], -1), -1, 0), weights[..., 0], *np.moveaxis(log_dets, -1, 0)]


@pytest.mark.filterwarnings("ignore")  # of JAX and its samplers, about each other
@pytest.mark.parametrize(
    ("sampler", "covariance_type", "prior"),
    [
        ("numpyro", "full", "default"),
        ("numpyro", "VEI", "sparse"),
        ("blackjax", "diag", "sampled scale"),
        ("nutpie", "tied", "separation"),
    ],
)
def test_the_posterior_is_the_native_ones(sampler, covariance_type, prior):
    model = build_model(X, 2, covariance_type=covariance_type, prior=PRIORS[prior])
    tree = by_nutpie(model, 1) if sampler == "nutpie" else by_pymc(model, sampler, 1)
    assert {variable.name for variable in model.free_RVs} | {"weights"} <= set(tree["posterior"].data_vars)
    assert tree["posterior"]["covariances"].dims == ("chain", "draw", "cluster", "feature", "feature_bis")
    native = BayesianGaussianMixture(2, covariance_type=covariance_type, prior=PRIORS[prior], random_state=1)
    native.set_params(progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = summaries(native.fit(X).posterior_)
    found = summaries(tree)
    for one, other in zip(found, expected, strict=True):
        error = np.hypot(azs.mcse(one), azs.mcse(other))
        assert abs(one.mean() - other.mean()) < bound(len(found)) * error
