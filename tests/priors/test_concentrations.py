"""A concentration that is integrated out: the quadrature, its gradient, and the draws given the weights."""

from itertools import pairwise

import numpy as np
import pytest
from monte_carlo import FALSE_ALARM
from scipy.integrate import quad
from scipy.special import gammaln
from scipy.stats import kstest

from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.concentrations import (
    SMALLEST_WEIGHT,
    concentration_nodes,
    draw_concentrations,
    log_marginal,
    mean_concentration,
    mixed_concentration,
)
from bayesgmm.priors.hyperpriors import Gamma
from bayesgmm.priors.prior import Prior

CASES = [(1.0, 20.0, 10), (1.0, 200.0, 2), (0.3, 1.0, 2), (400.0, 4e4, 5), (2.0, 0.5, 3), (10.0, 1e3, 100)]


def log_integrand(t, prior, k, s):
    """In t = log e, as it stands in the formula."""
    e = np.exp(t)
    a, b = prior.shape, prior.rate
    return a * (t + np.log(b)) - b * e - gammaln(a) + gammaln(k * e) - k * gammaln(e) + (e - 1.0) * s


@pytest.mark.parametrize("below", [0.0, 3.0, 3e2, 7e3])
@pytest.mark.parametrize(("a", "b", "k"), CASES)
def test_the_quadrature_is_exact_from_equal_weights_to_vanishing_ones(a, b, k, below):
    prior, s = Gamma(a, b), -k * (np.log(k) + below)
    t = np.linspace(-45.0, 12.0, 200_001)
    values = log_integrand(t, prior, k, s)
    highest, around = values.max(), t[values.argmax()]
    inside = t[values > highest - 40.0]
    edges = [inside[0], *np.linspace(-3, 3, 7) / np.sqrt(a + k) + around, inside[-1]]
    edges = [edge for edge in sorted(edges) if inside[0] <= edge <= inside[-1]]
    total = sum(
        quad(lambda x: np.exp(log_integrand(x, prior, k, s) - highest), *ends, epsrel=1e-10)[0]
        for ends in pairwise(edges)
    )
    nodes = concentration_nodes(prior, k)
    assert log_marginal(nodes, s) == pytest.approx(highest + np.log(total), rel=1e-9, abs=1e-9)
    slope = (log_marginal(nodes, s + 1e-3) - log_marginal(nodes, s - 1e-3)) / 2e-3
    mean = mean_concentration(nodes, s)
    assert mean - 1.0 == pytest.approx(slope, rel=1e-5, abs=1e-6)  # Fisher's identity
    value, compiled_mean = mixed_concentration(nodes, s)
    assert value - s == pytest.approx(log_marginal(nodes, s), rel=1e-12, abs=1e-9)
    assert compiled_mean == pytest.approx(mean, rel=1e-12)


def test_a_prior_on_one_number_is_that_number():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2))
    weights = np.array([0.7, 0.2999, 1e-4])
    mixture = Mixture(weights, rng.normal(size=(3, 2)), np.stack([np.eye(2)] * 3))
    fixed = Prior.weakly_informative(X, concentration=0.05).log_prob(mixture)
    narrow = Prior.weakly_informative(X, concentration=Prior.gamma(5e5, 1e7)).log_prob(mixture)
    assert narrow == pytest.approx(fixed, abs=1e-4)
    wide = Prior.weakly_informative(X, concentration=Prior.gamma(1, 20)).log_prob(mixture)
    assert abs(wide - fixed) > 0.01


@pytest.mark.draws
@pytest.mark.parametrize("k", [2, 5])
def test_draws_given_weights_drawn_from_the_prior_are_draws_from_the_prior(k):
    """Joint draws by way of the weights, many of them too small for a number, leave the marginal as it was."""
    rng, prior = np.random.default_rng(k), Gamma(2.0, 200.0)
    e = rng.gamma(prior.shape, 1.0 / prior.rate, 4_000)
    log_gamma = np.log(rng.gamma(e[:, None] + 1.0, size=(4_000, k))) + np.log(rng.random((4_000, k))) / e[:, None]
    log_w = log_gamma - np.logaddexp.reduce(log_gamma, axis=1)[:, None]
    weights = np.maximum(np.exp(log_w), SMALLEST_WEIGHT)
    assert 0.01 < (weights == SMALLEST_WEIGHT).mean() < 0.2
    drawn = draw_concentrations(prior, weights.reshape(4, 1_000, k), rng=rng)
    assert drawn.shape == (4, 1_000)
    flat = drawn.ravel()
    assert kstest(flat, "gamma", args=(prior.shape, 0.0, 1.0 / prior.rate)).pvalue > FALSE_ALARM
    u = -flat * np.maximum(log_w, np.log(SMALLEST_WEIGHT)).min(axis=1)
    v = -e * np.maximum(log_w, np.log(SMALLEST_WEIGHT)).min(axis=1)
    assert kstest(u, v).pvalue > FALSE_ALARM  # and they go with the weights as they should


def test_hyperparameters_given_has_it():
    X = np.random.default_rng(0).normal(size=(20, 2))
    prior = Prior.weakly_informative(X, concentration=Prior.gamma(1, 20))
    weights = np.tile([0.5, 0.5 - 1e-300, 1e-300], (2, 5, 1))
    covariances = np.broadcast_to(np.eye(2), (2, 5, 3, 2, 2))
    drawn = prior.model_variables_given(weights, covariances, rng=np.random.default_rng(1))
    assert set(prior.hyperparameters_given(weights, covariances, rng=np.random.default_rng(1))) == {
        "prior_concentration"
    }
    assert set(drawn) == {"prior_concentration", "log_gammas"}
    log_sums = np.logaddexp.reduce(drawn["log_gammas"], axis=-1, keepdims=True)
    np.testing.assert_allclose(np.exp(drawn["log_gammas"] - log_sums), weights, rtol=1e-9)
    assert drawn["prior_concentration"].shape == (2, 5)
    assert (drawn["prior_concentration"] > 0).all()
    assert prior.exchangeable
