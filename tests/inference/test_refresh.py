"""The step on radii: it leaves any density as it is, keeps directions, and makes log densities nearly independent."""

from dataclasses import replace

import arviz_stats as azs
import numpy as np
import pytest
from gaussian_target import compiled_log_density, gaussian_arrays, gaussian_header
from monte_carlo import FALSE_ALARM, bound
from scipy.stats import chi2, kstest, norm

from bayesgmm import BayesianGaussianMixture
from bayesgmm.data import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.em import best_of_starts
from bayesgmm.inference import engines, refresh
from bayesgmm.inference.nuts import Target, sample_nuts
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.refresh import refreshed
from bayesgmm.inference.settings import POINT, SamplerSettings, Trace
from bayesgmm.priors import Model, Prior

pytestmark = pytest.mark.draws
SETTINGS = SamplerSettings(seed=1, chains=4, draws=2_000)


def independent_draws(mean, sds, *, n=2_000):
    """A run with exact draws of a Gaussian that is no standard normal, and the density."""
    arrays = gaussian_arrays(np.array(mean), np.diag(np.square(sds)))
    target = Target(len(sds), compiled_log_density().address, gaussian_header(*arrays), keep=arrays)
    points = np.random.default_rng(2).normal(mean, sds, (4, n, len(sds)))
    lp = np.array([[target(y)[1] for y in chain] for chain in points])
    return Trace({POINT: points}, {"lp": lp}, np.zeros(4, dtype=np.int64), np.arange(4), False, 0.0), target


@pytest.mark.parametrize(("mean", "sds"), [([0.0], [1.4]), ([0.4, -0.3], [0.7, 1.5]), ([0.3] * 5, [0.8, 1, 1, 1.2, 2])])
def test_any_density_is_left_as_it_is(mean, sds):
    run, target = independent_draws(mean, sds)
    after = refreshed(run, target, SETTINGS, np.random.default_rng(3))
    points, n, d = after.points.reshape(-1, len(sds)), 8_000, len(sds)
    assert 0.2 < after.stats["refreshed"].mean() < 1.0
    for j in range(d):
        assert kstest(points[:, j], norm(mean[j], sds[j]).cdf).pvalue > FALSE_ALARM
    assert kstest(-2.0 * after.stats["lp"].ravel(), chi2(d).cdf).pvalue > FALSE_ALARM
    products = ((points - mean) / sds)[:, :1] * (points - mean) / sds
    assert np.abs(products[:, 1:].mean(axis=0)).max(initial=0.0) < bound(d) / np.sqrt(n)


def test_directions_stay_and_log_densities_follow():
    run, target = independent_draws([0.2, -0.1, 0.0], [0.9, 1.1, 1.3], n=50)
    after = refreshed(run, target, SETTINGS, np.random.default_rng(3))
    before, points = (each.points / np.linalg.norm(each.points, axis=-1, keepdims=True) for each in (run, after))
    np.testing.assert_allclose(points, before, atol=1e-14)
    moved = (after.points != run.points).any(axis=-1)
    np.testing.assert_array_equal(moved, after.stats["refreshed"])
    expected = [[target(y)[1] for y in chain] for chain in after.points]
    np.testing.assert_allclose(after.stats["lp"], expected, rtol=1e-14)
    again = refreshed(run, target, replace(SETTINGS, cores=1), np.random.default_rng(3))
    np.testing.assert_array_equal(again.points, after.points)


def test_when_time_is_over_the_rest_stays_as_it_is():
    run, target = independent_draws([0.0], [1.0], n=20)
    after = refreshed(run, target, replace(SETTINGS, until=0.0), np.random.default_rng(3))
    np.testing.assert_array_equal(after.points, run.points)
    assert not after.stats["refreshed"].any()


def test_ctrl_c_is_on_record(monkeypatch):
    run, target = independent_draws([0.0], [1.0], n=20)
    in_threads = refresh.in_threads

    def interrupted(task, items, **options):
        def stopped(item, stop):
            stop.set()
            return task(item, stop)

        return in_threads(stopped, items, **options)

    monkeypatch.setattr(refresh, "in_threads", interrupted)
    after = refreshed(run, target, SETTINGS, np.random.default_rng(3))
    assert after.interrupted
    assert not run.interrupted
    np.testing.assert_array_equal(after.points, run.points)


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_sampler_s_log_density_is_the_one_that_is_compared(interrupted, monkeypatch):
    """And who interrupts NUTS gets its draws as they are."""
    X = np.asfortranarray(load_old_faithful().to_numpy())
    prior = Prior.weakly_informative(X)
    em, _ = best_of_starts(Data.of(X), Model.of("full", 2, 2, prior=prior), rng=np.random.default_rng(0), n_init=1)
    problem, runs = Problem(Data.of(X), prior, em.mixture), []

    def recorded(*args):
        runs.append(replace(sample_nuts(*args), interrupted=interrupted))
        return runs[-1]

    monkeypatch.setattr(engines, "sample_nuts", recorded)
    settings = SamplerSettings(seed=1, chains=2, draws=100, tune=100, progress=False)
    _, after = engines.sample_native(problem, settings, np.random.default_rng(0))
    for run in (runs[0], after):
        expected = [[problem.log_posterior(y)[0] for y in chain] for chain in run.points]
        np.testing.assert_allclose(run.stats["lp"], expected, rtol=1e-12)
    assert ("refreshed" in after.stats) is not interrupted


def test_log_densities_of_a_posterior_are_nearly_independent():
    """1,900 of 4,000 effective draws without the step, with it 4,000; parameters lose nothing."""
    fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    stats, posterior = fit.posterior_["sample_stats"], fit.posterior_["posterior"]
    assert stats["refreshed"].mean() > 0.7
    assert float(azs.ess(stats["lp"].to_numpy())) > 2_800
    assert float(azs.ess(posterior["weights"].to_numpy()[..., 0])) > 3_000
