"""A mixture with noise: its box, densities as SciPy's, memberships, samples."""

import pickle

import numpy as np
import pytest
from monte_carlo import bound
from reference import EVERY_FAMILY, load_data, load_json, random_mixture
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import expected_statistics, measure
from bayesgmm.noise import NoisyMixture, Uniform

ROWS = load_data("faithful_noise")[:, :2]


def noisy(covariance_type="full", shape=(3, 2), *, weight=0.3):
    rng = np.random.default_rng(7)
    mixture = random_mixture(rng, covariance_type, shape)
    rows = rng.uniform(-6.0, 6.0, (500, shape[1]))
    return NoisyMixture.of(mixture, Uniform.around(Data.of(rows)), weight), rows


def test_the_volume_is_mclusts():
    volumes = [fit["hypvol"] for fit in load_json("mclust_noise")]
    np.testing.assert_allclose(volumes, Uniform.around(Data.of(ROWS)).volume, rtol=1e-9)


def test_the_box_along_principal_axes_is_taken_where_it_is_smaller():
    turn = np.array([[np.cos(0.6), np.sin(0.6)], [-np.sin(0.6), np.cos(0.6)]])
    corners = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 1.0], [10.0, 1.0]])
    box = Uniform.around(Data.of(corners @ turn + 3.0))
    assert box.volume == pytest.approx(10.0)
    assert box.holds((corners @ turn + 3.0).T).all()
    assert not box.holds((np.array([[5.0, 1.1]]) @ turn + 3.0).T).any()


def test_rows_that_weigh_nothing_have_no_place_in_the_box():
    rows = np.array([[0.0], [1.0], [2.0], [50.0]])
    assert Uniform.around(Data.of(rows, row_weights=[1, 2, 1, 0])).volume == 2.0


@pytest.mark.parametrize("rows", [np.ones((5, 1)), np.arange(6.0)[:, None] * [1.0, 2.0]], ids=["constant", "dependent"])
def test_rows_without_a_volume_are_refused(rows):
    with pytest.raises(InputError, match="rows that vary in every direction"):
        Uniform.around(Data.of(rows))


@pytest.mark.parametrize("covariance_type", EVERY_FAMILY)
def test_density_and_memberships_are_scipys(covariance_type):
    mixture, rows = noisy(covariance_type)
    rows = np.concatenate([rows, rows * 30.0])
    inside = mixture.noise.holds(rows.T)
    assert 0 < inside.sum() < len(rows)
    parts = [
        np.log(w) + multivariate_normal(mean, matrix).logpdf(rows)
        for w, mean, matrix in zip(mixture.weights, mixture.means, mixture.full_covariances, strict=True)
    ]
    noise = np.where(inside, np.log(mixture.noise_weight / mixture.noise.volume), -np.inf)
    joint = np.column_stack([*parts, noise])
    total = logsumexp(joint, axis=1)
    log_density, resp = mixture.density_and_responsibilities(rows)
    np.testing.assert_allclose(log_density, total, rtol=1e-10)
    np.testing.assert_allclose(resp, np.exp(joint - total[:, None]), atol=1e-9)
    np.testing.assert_allclose(resp.sum(axis=1), 1.0)
    np.testing.assert_array_equal(mixture.log_prob(rows), log_density)
    assert (resp[~inside, -1] == 0.0).all()
    labels = mixture.most_probable(resp)
    np.testing.assert_array_equal(labels == -1, resp.argmax(axis=1) == 3)


@pytest.mark.parametrize("covariance_type", EVERY_FAMILY)
def test_statistics_have_a_count_of_noise_and_no_moments_of_it(covariance_type):
    mixture, rows = noisy(covariance_type)
    found, resp = expected_statistics(rows, mixture), mixture.responsibilities(rows)
    np.testing.assert_allclose(found.counts, resp.sum(axis=0))
    assert found.log_likelihood == pytest.approx(mixture.log_prob(rows).sum())
    assert not found.first[-1].any()
    assert not found.second[-1].any()


def test_the_density_integrates_to_one():
    mixture, _ = noisy(shape=(2, 1))
    grid = np.linspace(-60.0, 60.0, 400_001)
    assert np.trapezoid(np.exp(mixture.log_prob(grid[:, None])), grid) == pytest.approx(1.0, abs=1e-4)


def test_free_numbers_are_mclusts_and_one_less_of_a_given_volume():
    mixture, rows = noisy()
    assert mixture.n_parameters == mixture.components.n_parameters + 2
    given = Uniform.around(Data.of(rows), 5.0)
    assert given.volume == 5.0
    fixed = NoisyMixture.of(mixture.components, given, 0.3)
    assert measure(Data.of(rows), fixed).n_parameters == mixture.n_parameters - 1


@pytest.mark.draws
def test_samples_are_noise_as_often_as_it_weighs_and_lie_in_the_box():
    mixture, _ = noisy(weight=0.3)
    rows, labels = mixture.sample(20_000, rng=np.random.default_rng(3))
    assert mixture.noise.holds(rows[labels == -1].T).all()
    shares = np.array([(labels == k).mean() for k in range(-1, 3)])
    expected = np.array([0.3, *mixture.weights])
    z = (shares - expected) / np.sqrt(expected * (1.0 - expected) / len(rows))
    assert np.abs(z).max() < bound(4)
    middle = mixture.noise.sample(20_000, rng=np.random.default_rng(4)) @ mixture.noise.axes.T
    sides = mixture.noise.upper - mixture.noise.lower
    error = middle.mean(axis=0) - 0.5 * (mixture.noise.lower + mixture.noise.upper)
    assert np.abs(error / (sides / np.sqrt(12.0 * len(middle)))).max() < bound(2)


def test_permuted_and_pickled_it_is_the_same_mixture():
    mixture, rows = noisy()
    again = pickle.loads(pickle.dumps(mixture.permute([2, 0, 1])))
    np.testing.assert_allclose(again.log_prob(rows), mixture.log_prob(rows))
    np.testing.assert_allclose(again.responsibilities(rows)[:, [1, 2, 0, 3]], mixture.responsibilities(rows))


def turned_box(angle=0.6):
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Uniform(axes, np.array([-1.0, 2.0]), np.array([3.0, 5.0]), 12.0)


@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_distribution_functions_of_features_are_those_of_sums_of_uniform_numbers(angle):
    box = turned_box(angle)
    (a, b), (u, v) = box.upper - box.lower, box.axes[:, 0]
    start, at = (box.lower @ box.axes)[0], np.linspace(-8.0, 8.0, 9)

    def given_second(share, x):
        return np.clip((x - start - b * v * share) / (a * u), 0.0, 1.0)

    expected = [quad(given_second, 0.0, 1.0, args=(x,), limit=200)[0] for x in at]
    np.testing.assert_allclose(box.cdf(np.column_stack([at, at]))[:, 0], expected, atol=2e-3)


def test_densities_of_features_integrate_to_distribution_functions_and_are_constant_in_the_box():
    box = turned_box()
    at = np.linspace(-8.0, 8.0, 4_001)[:, None]
    found = np.cumsum(box.density_of([1], at)) * (at[1, 0] - at[0, 0])
    np.testing.assert_allclose(found, box.cdf(np.hstack([at, at]))[:, 1], atol=5e-3)
    rows = np.random.default_rng(0).uniform(-8.0, 8.0, (500, 2))
    np.testing.assert_allclose(box.density_of([0, 1], rows), box.holds(rows.T) / 12.0)


def test_the_density_of_two_features_of_three_integrates_to_one():
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    box = Uniform(axes, np.zeros(3), np.array([1.0, 2.0, 3.0]), 6.0)
    side = np.linspace(-5.0, 5.0, 151)
    at = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    assert box.density_of([0, 2], at).sum() * (side[1] - side[0]) ** 2 == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("verb", ["marginal", "condition"])
def test_it_has_no_marginal_and_conditional_mixtures(verb):
    given = {"marginal": 0, "condition": {0: 1.0}}[verb]
    with pytest.raises(InputError, match=r"a fit without noise for a .*mixture_\.components"):
        getattr(noisy()[0], verb)(given)
