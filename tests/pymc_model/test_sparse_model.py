"""Sparse weights in the PyMC model: the same density as the native engine's, prior draws, and sampling."""

import numpy as np
import pymc as pm
import pytest
from monte_carlo import FALSE_ALARM, binomial_range
from posterior_cases import numerical_gradient
from scipy.special import gammaln
from scipy.stats import gamma, kstest
from sparse_weight_cases import CONCENTRATIONS, density, sparse_case

from bayesgmm.inference.engine_pymc import INTERPRETED
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.hyperpriors import Gamma
from bayesgmm.pymc_model.model import build_model
from bayesgmm.pymc_model.sparse_weights import sparse_weights

# PyTensor silences this hint about its own code at import; pytest resets that.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*np.dot\(\) is faster on contiguous arrays")


def log_density_given(concentration, log_gammas, mixture, prior) -> float:
    """Log density of what the PyMC model has besides the mixture: the sum of gamma variables, and the concentration."""
    k = mixture.n_components
    log_sum = np.logaddexp.reduce(log_gammas)
    e = np.broadcast_to(concentration, k)
    total = e.sum() * log_sum - np.exp(log_sum) - gammaln(e.sum()) + np.log(mixture.weights).sum()
    if isinstance(prior.concentration_prior, Gamma):
        resolved = prior.resolve(k, mixture.n_features, mixture.covariance_type)
        log_w = np.log(mixture.weights)
        joint = gamma.logpdf(concentration, prior.concentration_prior.shape, scale=1.0 / prior.concentration_prior.rate)
        joint += gammaln(k * concentration) - k * gammaln(concentration) + (concentration - 1.0) * log_w.sum()
        total += joint - resolved._log_density_of_weights(log_w)
    return float(total)


@pytest.mark.parametrize("concentration", CONCENTRATIONS.values(), ids=CONCENTRATIONS)
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_both_densities_are_equal_whatever_the_hyperparameter(covariance_type, concentration):
    at = sparse_case(covariance_type, concentration)
    model = build_model(at.X, 3, covariance_type=covariance_type, prior=at.prior)
    drawn = isinstance(concentration, Gamma)
    expected_names = {"log_gammas", "means", "covariances"} | ({"prior_concentration"} if drawn else set())
    assert {variable.name for variable in model.free_RVs} == expected_names
    for mixture in (at.centre, at.elsewhere):
        native = mixture.log_prob(at.X).sum() + at.prior.log_prob(mixture)
        for e in (0.003, 0.2) if drawn else (np.asarray(concentration),):
            log_gammas = np.log(mixture.weights) - 0.7
            found = pymc_density(model, mixture, log_gammas, e if drawn else None)
            extra = log_density_given(e, log_gammas, mixture, at.prior)
            assert found == pytest.approx(native + extra, rel=1e-10)


def pymc_density(model, mixture, log_gammas, e) -> float:
    """At constrained values, by the model's own graph."""
    given = {"log_gammas": log_gammas, "means": mixture.means, "covariances": mixture.full_covariances}
    if e is not None:
        given["prior_concentration"] = np.asarray(e)
    point = {}
    for variable in model.free_RVs:
        transform = model.rvs_to_transforms[variable]
        value = given[variable.name]
        name = model.rvs_to_values[variable].name
        point[name] = (
            value if transform is None else transform.forward(value, *variable.owner.inputs).eval(mode=INTERPRETED)
        )
    return float(model.compile_logp(jacobian=False, mode=INTERPRETED)(point))


def test_the_gradient_in_the_logarithms_follows_from_the_native_one():
    at = sparse_case("full", 0.01)
    model = build_model(at.X, 3, prior=at.prior)
    log_posterior = density(at)
    log_gammas = np.log(at.elsewhere.weights)

    def native(log_g):
        w = np.exp(log_g - np.logaddexp.reduce(log_g))
        mixture = Mixture(w, at.elsewhere.means, at.elsewhere.covariances)
        point = log_posterior.coordinates.point(mixture)
        jacobian = log_posterior.coordinates.log_jacobian(point)
        return log_posterior(point)[0] - jacobian + log_density_given(0.01, log_g, mixture, at.prior)

    expected = numerical_gradient(native, log_gammas)
    found = numerical_gradient(lambda g: pymc_density(model, at.elsewhere, g, None), log_gammas, step=1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.draws
def test_prior_draws_are_dirichlet_and_never_lost():
    with pm.Model(coords={"cluster": range(3)}):
        sparse_weights(np.full(3, 0.002), dims="cluster")
        drawn = pm.sample_prior_predictive(2_000, random_seed=2, compile_kwargs={"mode": INTERPRETED})["prior"]
    log_gammas = drawn["log_gammas"].to_numpy()[0]
    assert np.isfinite(log_gammas).all()
    assert log_gammas.min() < -2_000
    first = log_gammas[:, 0] - np.logaddexp.reduce(log_gammas, axis=1)
    assert kstest(np.exp(0.002 * log_gammas[:, 1]), "uniform").pvalue > FALSE_ALARM  # P(g < x) = x^a but near one
    low, high = binomial_range(2_000, 1 / 3)
    assert low <= (first > np.log(0.5)).sum() <= high  # one weight is nearly one


def test_the_whole_models_prior_can_be_drawn():
    X = np.random.default_rng(0).normal(size=(20, 2))
    from bayesgmm import Prior

    model = build_model(X, 3, prior=Prior.weakly_informative(X, concentration=Prior.gamma(1, 20)))
    with model:
        drawn = pm.sample_prior_predictive(50, random_seed=1, compile_kwargs={"mode": INTERPRETED})["prior"]
    np.testing.assert_allclose(drawn["weights"].sum("cluster"), 1.0)
    assert np.isfinite(drawn["log_gammas"]).all()
