"""Pareto smoothing: the sign of what it is given, the rule, and draws whose Monte Carlo errors can be believed."""

import arviz_stats as azs
import numpy as np
import pytest
from arviz_stats.base import array_stats
from monte_carlo import bound
from scipy.stats import norm

from bayesgmm.laplace import resampled_in_order
from bayesgmm.laplace.smoothing import Smoothed

pytestmark = pytest.mark.draws


def log_ratios(sd, *, n=4_000, n_dim=3, seed=0):
    """A standard normal distribution over a normal one of another width, at draws of the latter."""
    x = np.random.default_rng(seed).normal(0.0, sd, (n, n_dim))
    return x, (norm.logpdf(x) - norm.logpdf(x, scale=sd)).sum(axis=1)


def test_a_narrow_proposal_is_told_by_k_hat_and_a_wide_one_is_not():
    """A proposal half as wide has no variance of ratios; psislw given the ratios themselves says the opposite."""
    narrow, wide = log_ratios(0.5)[1], log_ratios(1.1)[1]
    assert Smoothed.of(narrow).k_hat > 0.5
    assert Smoothed.of(wide).k_hat < 0.5
    assert not Smoothed.of(narrow).is_good
    assert Smoothed.of(wide).is_good
    with_the_other_sign = float(array_stats.psislw(narrow)[1])
    assert with_the_other_sign < 0.5


def test_weights_give_moments_and_the_normalising_constant():
    """A constant in the ratios is the log of that constant."""
    x, ratios = log_ratios(1.2)
    found = Smoothed.of(ratios + 7.0)
    error = 1.0 / np.sqrt(found.effective_size)
    assert abs(found.weights @ x[:, 0]) < bound() * error
    assert abs(found.weights @ x[:, 0] ** 2 - 1.0) < bound() * np.sqrt(2.0) * error
    assert abs(found.log_mean - 7.0) < bound() * found.log_mean_se
    np.testing.assert_allclose(found.weights.sum(), 1.0)


def test_monte_carlo_errors_of_resampled_draws_are_those_of_the_weights():
    """ArviZ's effective size of draws in order is honest; in random order the draws seem independent."""
    in_order, shuffled, exact, rng = [], [], [], np.random.default_rng(0)
    for seed in range(20):
        x, ratios = log_ratios(1.5, n_dim=2, seed=seed)
        values, n = np.linalg.norm(x, axis=1), 4_000
        chosen = resampled_in_order(Smoothed.of(ratios).weights, n, rng=rng)
        which, copies = np.unique(chosen, return_counts=True)
        draws = values[chosen]
        error = np.square(copies * (values[which] - draws.mean())).sum() / n**2  # squared, of independent proposals
        exact.append(draws.var() / error)
        in_order.append(float(azs.ess(draws.reshape(4, -1), method="mean")))
        shuffled.append(float(azs.ess(rng.permutation(draws).reshape(4, -1), method="mean")))
    assert np.mean(exact) < 3_400
    np.testing.assert_allclose(np.mean(in_order), np.mean(exact), rtol=0.1)
    assert np.mean(shuffled) > 1.15 * np.mean(exact)


def test_resampling_is_in_proportion_and_in_order():
    weights = np.random.default_rng(1).dirichlet(np.ones(50))
    chosen = resampled_in_order(weights, 10_000, rng=np.random.default_rng(0))
    assert (np.diff(chosen) >= 0).all()
    np.testing.assert_allclose(np.bincount(chosen, minlength=50), 10_000 * weights, atol=1.0)
