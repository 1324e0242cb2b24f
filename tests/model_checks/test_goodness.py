"""The test for Gaussian mixtures: its size, its power, and what its statistics are."""

import warnings

import numpy as np
import pytest
from monte_carlo import FALSE_ALARM, binomial_range, bound
from scipy.stats import kstest

from bayesgmm import GaussianMixture, Mixture
from bayesgmm.model_checks.fitted_mixture import fitted_mixture_of
from bayesgmm.model_checks.gaussianity import departures, uniform_differences, uniform_distances
from bayesgmm.model_checks.goodness import goodness_of_fit

pytestmark = pytest.mark.draws
CENTRES = np.array([[0.0, 0.0], [6.0, 4.0], [0.0, 8.0]])
RNG = np.random.default_rng


def noise(kind, n, rng):
    e = rng.standard_normal((n, 2))
    if kind == "t3":
        return e / np.sqrt(rng.chisquare(3, (n, 1)) / 3)
    if kind == "box":
        return rng.uniform(-1.7, 1.7, (n, 2))
    if kind == "banana":
        return np.column_stack([e[:, 0], 0.5 * e[:, 1] + 0.7 * (e[:, 0] ** 2 - 1)])
    return e


def simulated(kind, n, rng, k=2):
    labels = rng.integers(k, size=n)
    return CENTRES[labels] + noise(kind, n, rng)


def p_values(kind, seed, *, n=300, k=2, n_replicates=59):
    rng = RNG([seed, n])
    X = simulated(kind, n, rng, k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = GaussianMixture(k, random_state=0, n_init=3).fit(X)
    return goodness_of_fit(fitted_mixture_of(fit, X), n_replicates=n_replicates, rng=rng)


@pytest.mark.parametrize("kind", ["t3", "box", "banana"])
def test_it_sees_clusters_that_are_not_gaussian(kind):
    found = p_values(kind, 1)
    assert found.p_value <= 0.05
    by_name = dict(zip(found.names, zip(found.observed, found.replicated.T, strict=True), strict=True))
    observed, replicated = by_name["kurtosis"]
    assert {"t3": observed > replicated.max(), "box": observed < replicated.min()}.get(kind, True)
    if kind == "banana":
        observed, replicated = by_name["skewness"]
        assert observed > replicated.max()


def test_it_sees_a_component_too_few():
    rng = RNG(5)
    X = simulated("normal", 300, rng, k=3)
    fit = GaussianMixture(2, random_state=0).fit(X)
    assert goodness_of_fit(fitted_mixture_of(fit, X), n_replicates=59, rng=rng).p_value <= 0.05


@pytest.mark.slow
def test_it_keeps_its_size():
    p = np.array([p_values("normal", seed, n=100, n_replicates=39).p_value for seed in range(8)])
    assert (p <= 0.05).sum() <= binomial_range(len(p), 0.05)[1]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "k"), [(100, 1), (150, 2), (400, 3)])
def test_p_values_are_uniform(n, k):
    p = np.array([p_values("normal", seed, n=n, k=k, n_replicates=99).p_value for seed in range(200)])
    low, high = binomial_range(len(p), 0.05)
    assert low <= (p <= 0.05).sum() <= high
    assert kstest(p, "uniform").pvalue > FALSE_ALARM


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t3", "box", "banana"])
def test_its_power_at_two_hundred_rows(kind):
    p = np.array([p_values(kind, seed, n=200, n_replicates=99).p_value for seed in range(30)])
    assert (p <= 0.05).mean() >= 0.8


@pytest.mark.parametrize("family", ["full", "diag", "spherical", "tied"])
def test_departures_are_what_they_are_for_rows_of_the_mixture(family):
    shape = {"full": np.array([np.eye(3), 2 * np.eye(3)]), "tied": np.eye(3), "diag": np.ones((2, 3))}
    mixture = Mixture([0.4, 0.6], [[0.0] * 3, [9.0] * 3], shape.get(family, np.array([1.0, 4.0])), family)
    X = np.asfortranarray(mixture.sample(20_000, rng=RNG(0))[0])
    found = departures(X, mixture, rng=RNG(1))
    assert found["kurtosis"] == pytest.approx(1.0, abs=0.03)
    # each n_k |s_k|² has the mean d E|z|^4 z_1² = d (d + 2)(d + 4)
    assert found["skewness"] < 5 * 2 * 3 * 5 * 7 / len(X)
    assert found["distances"] < 1.2
    assert found["features"] < 3.0


def test_energy_distance_is_that_of_its_definition():
    mixture = Mixture([1.0], [[0.0]], [[[1.0]]])
    X = RNG(2).normal(3.0, 1.0, (200, 1))
    found = departures(X, mixture, rng=RNG(3))["energy"]
    z, y = X / X.std(ddof=1), RNG(4).normal(0.0, 1.0, (4000, 1)) / X.std(ddof=1)
    expected = 2 * np.abs(z - y.T).mean() - np.abs(z - z.T).mean() - np.abs(y - y[::-1].T).mean()
    of_each = 2 * (np.abs(z - y.T).mean(axis=0) - np.abs(y - y.T).mean(axis=0))  # its share of the error
    assert abs(found / 200 - expected) < bound() * of_each.std() * np.sqrt(1 / 600 + 1 / 4000)


@pytest.mark.parametrize("copies", [np.eye(2), [[1.0, 2.0]], [[1.0, 0.0]]], ids=["two", "dependent", "constant"])
def test_energy_distance_needs_no_more_directions_than_rows_have(copies):
    mixture = Mixture([1.0], [[0.0] * 2], [np.eye(2)])
    X = RNG(2).normal(3.0, 1.0, (200, len(copies))) @ copies
    assert 100 < departures(X, mixture, rng=RNG(3))["energy"] < np.inf


def test_distances_from_uniformity():
    u = (np.arange(50)[:, None] + 0.5) / 50
    assert uniform_distances(u) == pytest.approx([1 / 600])
    np.testing.assert_allclose(uniform_differences(u, np.array([0.0, 0.5, 1.0])), [[0.0, 0.0, 0.0]], atol=1e-12)
    half = uniform_differences(u / 2, np.array([0.5]))
    assert half[0, 0] == pytest.approx(0.5)


def test_threads_do_not_change_the_result():
    X = simulated("normal", 80, RNG(7))
    fit = GaussianMixture(2, random_state=0).fit(X)
    seen = []
    one, two = (
        goodness_of_fit(
            fitted_mixture_of(fit, X), n_replicates=39, rng=RNG(1), n_jobs=jobs, callback=lambda *at: seen.append(at)
        )
        for jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.replicated, two.replicated)
    assert seen[-1] == (39, 39)
    assert len(seen) == 78
