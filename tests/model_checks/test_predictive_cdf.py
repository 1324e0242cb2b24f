"""Tail probabilities against exact ones, and LOO-PIT against ArviZ and against the definition."""

import arviz_stats as azs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from monte_carlo import FALSE_ALARM, bound
from pretend_posterior import em_fit, pretend_posterior
from scipy.special import logsumexp
from scipy.stats import chi2, kstwobign, norm

from bayesgmm import Mixture, compute_log_likelihood, posterior_predictive
from bayesgmm.data import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.mixture.draws import Draws
from bayesgmm.model_checks.fitted_mixture import fitted_mixture_of
from bayesgmm.model_checks.predictive_cdf import predictive_cdf
from bayesgmm.prediction.densities import log_densities
from bayesgmm.prediction.tails import reference

FRAME = pd.DataFrame(np.asarray(load_old_faithful()), columns=["eruptions", "waiting"])
RNG = np.random.default_rng
REFERENCES = 16


@pytest.fixture(scope="module")
def tree():
    return pretend_posterior(FRAME, em_fit(FRAME, 2), draws=250)


def mean_tail(draws, X, *, seed):
    """Tail probabilities averaged over as many simulated references."""
    simulated = [reference(draws, rng=rng) for rng in RNG(seed).spawn(REFERENCES)]
    return np.mean([predictive_cdf(draws, Data(X), each, left_out=False).tail for each in simulated], axis=0)


@pytest.mark.draws
@pytest.mark.parametrize("d", [1, 3, 40])
def test_tails_of_one_gaussian_are_those_of_chi_square(d):
    factor = np.tril(RNG(0).normal(size=(d, d))) + 3 * np.eye(d)
    draws = Draws.of_mixture(Mixture([1.0], np.ones((1, d)), (factor @ factor.T)[None]))
    wanted = np.array([0.9, 0.5, 0.1, 1e-2, 1e-4, 1e-7, 1e-10])
    z = RNG(1).normal(size=(len(wanted), d))
    z *= np.sqrt(chi2.isf(wanted, d) / (z**2).sum(axis=1))[:, None]
    found = mean_tail(draws, 1.0 + z @ factor.T, seed=2)
    error = np.array([0.006, 0.018, 0.042, 0.08, 0.08, 0.08, 0.08]) / np.sqrt(REFERENCES)  # relative, of 40 seeds
    assert (np.abs(found / wanted - 1.0) < bound(7) * error).all()


@pytest.mark.draws
def test_tails_of_a_mixture_are_those_of_plain_simulation():
    mixture = Mixture([0.3, 0.7], [[0.0, 0.0], [4.0, 1.0]], [[[1.0, 0.3], [0.3, 2.0]], [[0.3, 0.0], [0.0, 0.2]]])
    draws, X = Draws.of_mixture(mixture), mixture.sample(300, rng=RNG(3))[0]
    simulated = np.sort(mixture.log_prob(mixture.sample(200_000, rng=RNG(5))[0]))
    expected = np.searchsorted(simulated, mixture.log_prob(X)) / len(simulated)
    # Kolmogorov's distribution; 5,000 rows of unequal weights are worth 2,500 at least
    atol = kstwobign.isf(FALSE_ALARM) / np.sqrt(2_500 * REFERENCES)
    np.testing.assert_allclose(mean_tail(draws, X, seed=4), expected, atol=atol)
    thresholds = [reference(draws, rng=rng).threshold(0.05) for rng in RNG(6).spawn(REFERENCES)]
    shares = np.searchsorted(simulated, thresholds) / len(simulated)
    assert abs(shares.mean() - 0.05) < bound() * shares.std(ddof=1) / np.sqrt(REFERENCES) + 0.001  # and its bias
    assert shares.std() < 0.01


@pytest.mark.parametrize("family", ["full", "tied", "diag", "tied_spherical"])
def test_features_are_mixtures_of_normal_distribution_functions(family):
    fit = pretend_posterior(FRAME, em_fit(FRAME, 2, family), draws=15)
    fitted = fitted_mixture_of(fit)
    found = predictive_cdf(fitted.draws, fitted.data, reference(fitted.draws, rng=RNG(0)), left_out=False)
    draws = fit["posterior"]
    weights, means = (draws[name].to_numpy().reshape(30, 2, -1) for name in ("weights", "means"))
    sds = np.sqrt(np.diagonal(draws["covariances"].to_numpy(), axis1=-2, axis2=-1)).reshape(30, 2, 2)
    for j in range(2):
        cdf = norm.cdf(FRAME.to_numpy()[:, j, None, None], means[..., j], sds[..., j])
        np.testing.assert_allclose(found.features[:, j], (weights[..., 0] * cdf).sum(axis=2).mean(axis=1), atol=1e-12)


@pytest.mark.draws
def test_loo_pit_is_arviz_s_without_its_noise(tree):
    fitted = fitted_mixture_of(tree)
    found = predictive_cdf(fitted.draws, fitted.data, reference(fitted.draws, rng=RNG(0)), left_out=True, r_eff=1.0)
    whole = compute_log_likelihood(posterior_predictive(tree, n_samples=500, random_state=1))
    for j, name in enumerate(FRAME.columns):
        one = {group: whole[group].to_dataset() for group in ("posterior", "log_likelihood")}
        for group in ("posterior_predictive", "observed_data"):
            one[group] = whole[group].to_dataset().isel(feature=j, drop=True)
        theirs = azs.loo_pit(xr.DataTree.from_dict(one), random_state=1)["y"].to_numpy()
        assert np.abs(found.features[:, j] - theirs).max() < bound(272) * 0.5 / np.sqrt(500), name  # simulated rows
        assert np.abs((found.features[:, j] - theirs).mean()) < 0.01, name


def test_a_row_left_out_is_judged_by_the_others(tree):
    fitted = fitted_mixture_of(tree)
    row = np.array([[3.0, 95.0]])
    values = log_densities(fitted.draws, Data(row))[:, 0]
    simulated = reference(fitted.draws, rng=RNG(0))
    with_it = predictive_cdf(fitted.draws, Data(row), simulated, left_out=False)
    without = predictive_cdf(fitted.draws, Data(row), simulated, left_out=True)
    np.testing.assert_allclose(with_it.log_density, logsumexp(values) - np.log(len(values)))
    assert without.log_density[0] < with_it.log_density[0]
    assert without.tail[0] < with_it.tail[0] < 1e-3


def test_blocks_do_not_change_the_result(tree, monkeypatch):
    fitted = fitted_mixture_of(tree)
    simulated = reference(fitted.draws, rng=RNG(0))
    whole = predictive_cdf(fitted.draws, fitted.data, simulated, left_out=True)
    seen = []
    monkeypatch.setattr("bayesgmm.model_checks.predictive_cdf._BLOCK", 100)
    parts = predictive_cdf(fitted.draws, fitted.data, simulated, left_out=True, callback=lambda *at: seen.append(at))
    np.testing.assert_allclose(parts.tail, whole.tail)
    np.testing.assert_allclose(parts.features, whole.features)
    assert seen == [(100, 272), (200, 272), (272, 272)]
