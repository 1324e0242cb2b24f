"""`Mixture`: a density, a sampler, and a border that tells what is wrong."""

import numpy as np
import pytest
from reference import FAMILIES, random_mixture
from scipy.integrate import quad

from bayesgmm.exceptions import InputError
from bayesgmm.mixture.mixture import Mixture, column_statistics, expected_statistics

EYE = [np.eye(2), np.eye(2)]


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_density_integrates_to_one(covariance_type):
    mixture = random_mixture(np.random.default_rng(0), covariance_type, (3, 1))
    edges = [mixture.means.min() - 40.0, mixture.means.max() + 40.0]
    total, _ = quad(lambda x: np.exp(mixture.log_prob([[x]])[0]), *edges, points=mixture.means[:, 0], epsabs=1e-11)
    assert total == pytest.approx(1.0, abs=1e-9)


def test_density_of_two_features_integrates_to_one():
    mixture = random_mixture(np.random.default_rng(1), "full", (2, 2))
    axis = np.linspace(-14.0, 14.0, 561)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = np.exp(mixture.log_prob(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_responsibilities_are_posterior_probabilities(covariance_type):
    rng = np.random.default_rng(2)
    mixture = random_mixture(rng, covariance_type, (4, 3))
    X, _ = mixture.sample(300, rng=rng)
    resp = mixture.responsibilities(X)
    assert resp.shape == (300, 4)
    assert (resp >= 0.0).all()
    np.testing.assert_allclose(resp.sum(axis=1), 1.0, rtol=1e-13)
    np.testing.assert_allclose(resp.sum(axis=0), expected_statistics(X, mixture).counts, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_log_likelihood_is_the_sum_of_log_densities(covariance_type):
    rng = np.random.default_rng(3)
    mixture = random_mixture(rng, covariance_type, (2, 3))
    X, _ = mixture.sample(400, rng=rng)
    v = rng.uniform(0.0, 2.0, 400)
    assert expected_statistics(X, mixture).log_likelihood == pytest.approx(mixture.log_prob(X).sum(), rel=1e-12)
    assert expected_statistics(X, mixture, v).log_likelihood == pytest.approx(v @ mixture.log_prob(X), rel=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_samples_have_the_moments_of_the_mixture(covariance_type):
    """z-scores of shares, means and second moments per component; 5 is 1 in 1.7 million a score."""
    rng = np.random.default_rng(4)
    mixture = random_mixture(rng, covariance_type, (3, 2))
    n = 40_000
    X, labels = mixture.sample(n, rng=rng)
    shares = np.bincount(labels, minlength=3) / n
    z = (shares - mixture.weights) / np.sqrt(mixture.weights * (1 - mixture.weights) / n)
    assert np.abs(z).max() < 5.0
    for k, (mean, covariance) in enumerate(zip(mixture.means, mixture.full_covariances, strict=True)):
        deviation = X[labels == k] - mean
        products = np.einsum("ni,nj->nij", deviation, deviation).reshape(-1, 4)
        for terms, expected in ((deviation, np.zeros(2)), (products, covariance.ravel())):
            z = (terms.mean(axis=0) - expected) / (terms.std(axis=0) / np.sqrt(len(terms)))
            assert np.abs(z).max() < 5.0


def test_same_generator_state_same_sample():
    mixture = random_mixture(np.random.default_rng(5), "full", (2, 3))
    first, second = (mixture.sample(10, rng=np.random.default_rng(6)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_permuting_components_keeps_the_density(covariance_type):
    rng = np.random.default_rng(7)
    mixture = random_mixture(rng, covariance_type, (3, 2))
    X, _ = mixture.sample(50, rng=rng)
    order = [2, 0, 1]
    permuted = mixture.permute(order)
    np.testing.assert_array_equal(permuted.weights, mixture.weights[order])
    np.testing.assert_array_equal(permuted.full_covariances, mixture.full_covariances[order])
    np.testing.assert_allclose(permuted.log_prob(X), mixture.log_prob(X), rtol=1e-13)
    np.testing.assert_allclose(permuted.responsibilities(X), mixture.responsibilities(X)[:, order], rtol=1e-12)


def test_rows_are_read_in_any_layout_and_left_unchanged():
    rng = np.random.default_rng(8)
    mixture = random_mixture(rng, "full", (2, 3))
    X, _ = mixture.sample(40, rng=rng)
    kept = X.copy()
    want = mixture.log_prob(X)
    for rows in (np.asfortranarray(X), X.tolist(), np.repeat(X, 2, axis=0)[::2]):
        np.testing.assert_array_equal(mixture.log_prob(rows), want)
    np.testing.assert_array_equal(X, kept)
    columns = column_statistics(np.ascontiguousarray(X.T), mixture)
    np.testing.assert_array_equal(columns.second, expected_statistics(X, mixture).second)


def test_mclust_codes_are_read_and_stored_by_name():
    assert Mixture([1.0], [[0.0, 0.0]], [1.0], "VII").covariance_type == "spherical"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.6], np.zeros((2, 2)), EYE), "sum to one"),
        (([[0.5, 0.5]], np.zeros((2, 2)), EYE), "sum to one"),
        (([1.0, 0.0], np.zeros((2, 2)), EYE), "weights > 0"),
        (([0.5, 0.5], np.zeros(2), EYE), r"shape \(2, feature\)"),
        (([0.5, 0.5], np.zeros((3, 2)), EYE), r"shape \(2, feature\)"),
        (([0.5, 0.5], [[0.0, np.nan], [0.0, 0.0]], EYE), "means without missing"),
        (([0.5, 0.5], np.zeros((2, 2)), np.eye(2)), r"shape \(2, 2, 2\)"),
        (([0.5, 0.5], np.zeros((2, 2)), EYE, "tied"), r"shape \(2, 2\)"),
        (([0.5, 0.5], np.zeros((2, 2)), [np.eye(2), -np.eye(2)]), "positive definite"),
        (([0.5, 0.5], np.zeros((2, 2)), [[1.0, 1.0], [1.0, 0.0]], "diag"), "positive definite"),
        (([0.5, 0.5], np.zeros((2, 2)), [1.0, -1.0], "spherical"), "positive definite"),
        (([0.5, 0.5], np.zeros((2, 2)), EYE, "XYZ"), "covariance_type"),
    ],
)
def test_wrong_parameters_raise_at_the_border(arguments, message):
    with pytest.raises(InputError, match=message):
        Mixture(*arguments)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([1.0, 2.0], "Expected 2D array"),
        (np.empty((0, 2)), "at least one row"),
        ([[1.0, 2.0, 3.0]], "2 features"),
        ([[1.0, np.nan]], "1 missing in .x1."),
        ([[1.0, np.inf]], "infinite"),
        ([["a", "b"]], "numeric"),
    ],
)
def test_wrong_rows_raise_at_the_border(X, message):
    mixture = Mixture([0.5, 0.5], np.zeros((2, 2)), EYE)
    for method in (mixture.log_prob, mixture.responsibilities, lambda X: expected_statistics(X, mixture)):
        with pytest.raises(InputError, match=message):
            method(X)


@pytest.mark.parametrize("row_weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan], [[1.0, 1.0]]])
def test_wrong_row_weights_raise_at_the_border(row_weights):
    with pytest.raises(InputError, match="row_weights"):
        expected_statistics([[0.0], [1.0]], Mixture([1.0], [[0.0]], [[[1.0]]]), row_weights)
