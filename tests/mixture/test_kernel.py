"""The kernel against plain NumPy, at its borders, and its promises about compiling."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import (
    FAMILIES,
    assert_statistics_close,
    log_joint,
    random_mixture,
    reference_with_magnitudes,
)
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal

from bayesgmm.mixture.components.component import Gaussian
from bayesgmm.mixture.covariance.full import Full
from bayesgmm.mixture.kernel import add_statistics, pointwise
from bayesgmm.mixture.mixture import Mixture, expected_statistics


def signatures(function):
    """How many signatures the versions of a function, one a family, were compiled for."""
    return {len(version.dispatcher.signatures) for version in function.versions.values()}


FEATURES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 50)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("n_features", FEATURES)
def test_statistics_equal_plain_numpy(covariance_type, n_features):
    rng = np.random.default_rng(n_features)
    for n_rows in (1, 2, 127, 128, 129, 256, 1000):
        mixture = random_mixture(rng, covariance_type, (1 + n_rows % 5, n_features))
        X, _ = mixture.sample(n_rows, rng=rng)
        want, magnitudes = reference_with_magnitudes(X, mixture)
        assert_statistics_close(expected_statistics(X, mixture), want, magnitudes=magnitudes)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("n_features", FEATURES)
def test_pointwise_equals_plain_numpy(covariance_type, n_features):
    rng = np.random.default_rng(n_features)
    for n_rows in (1, 128, 129, 500):
        mixture = random_mixture(rng, covariance_type, (3, n_features))
        X, _ = mixture.sample(n_rows, rng=rng)
        joint = log_joint(X, mixture)
        np.testing.assert_allclose(mixture.log_prob(X), logsumexp(joint, axis=1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(mixture.responsibilities(X), softmax(joint, axis=1), rtol=1e-11, atol=1e-14)


def test_density_equals_scipy():
    rng = np.random.default_rng(1)
    mixture = random_mixture(rng, "full", (3, 4))
    X, _ = mixture.sample(50, rng=rng)
    components = zip(mixture.means, mixture.covariances, strict=True)
    want = mixture.weights @ [multivariate_normal(m, c).pdf(X) for m, c in components]
    np.testing.assert_allclose(np.exp(mixture.log_prob(X)), want, rtol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    covariance_type=st.sampled_from(FAMILIES),
    n_rows=st.integers(1, 300),
    n_components=st.integers(1, 12),
    n_features=st.integers(1, 16),
    seed=st.integers(0, 2**32 - 1),
)
def test_statistics_equal_plain_numpy_for_any_shape(covariance_type, n_rows, n_components, n_features, seed):
    rng = np.random.default_rng(seed)
    mixture = random_mixture(rng, covariance_type, (n_components, n_features))
    X = rng.normal(0.0, 3.0, (n_rows, n_features))
    v = rng.integers(0, 3, n_rows) * rng.uniform(0.0, 2.0, n_rows)
    v[rng.integers(n_rows)] = 1.0
    want, magnitudes = reference_with_magnitudes(X, mixture, v)
    assert_statistics_close(expected_statistics(X, mixture, v), want, magnitudes=magnitudes)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_integer_row_weights_equal_repeated_rows(covariance_type):
    rng = np.random.default_rng(2)
    mixture = random_mixture(rng, covariance_type, (3, 5))
    X, _ = mixture.sample(200, rng=rng)
    v = rng.integers(0, 4, 200)
    repeated = np.repeat(X, v, axis=0)
    _, magnitudes = reference_with_magnitudes(repeated, mixture)
    got = expected_statistics(X, mixture, v.astype(float))
    assert_statistics_close(got, expected_statistics(repeated, mixture), magnitudes=magnitudes)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_statistics_of_blocks_add(covariance_type):
    rng = np.random.default_rng(3)
    mixture = random_mixture(rng, covariance_type, (4, 3))
    X, _ = mixture.sample(700, rng=rng)
    _, magnitudes = reference_with_magnitudes(X, mixture)
    parts = [expected_statistics(part, mixture) for part in np.split(X, [1, 130, 450])]
    total = parts[0] + parts[1] + parts[2] + parts[3]
    assert_statistics_close(total, expected_statistics(X, mixture), magnitudes=magnitudes)


def test_second_moments_are_symmetric():
    rng = np.random.default_rng(4)
    mixture = random_mixture(rng, "full", (2, 7))
    second = expected_statistics(mixture.sample(300, rng=rng)[0], mixture).second
    np.testing.assert_array_equal(second, np.swapaxes(second, 1, 2))


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("distance", [1e3, 1e6, 1e12, 1e100])
def test_far_rows_stay_finite(covariance_type, distance):
    rng = np.random.default_rng(5)
    mixture = random_mixture(rng, covariance_type, (3, 4))
    X, _ = mixture.sample(150, rng=rng)
    X[::3] += distance * rng.choice([-1.0, 1.0], (50, 4))
    resp = mixture.responsibilities(X)
    assert np.isfinite(mixture.log_prob(X)).all()
    np.testing.assert_allclose(resp.sum(axis=1), 1.0, rtol=1e-12)
    statistics = expected_statistics(X, mixture)
    assert np.isfinite(statistics.log_likelihood)
    assert np.isfinite(statistics.first).all()
    assert np.isfinite(statistics.second).all()
    np.testing.assert_allclose(statistics.counts.sum(), 150.0, rtol=1e-12)


def test_small_responsibilities_are_zero_never_denormal():
    rows = np.linspace(0.0, 60.0, 5001)[:, None]
    resp = Mixture([0.5, 0.5], [[0.0], [60.0]], [[[1.0]], [[1.0]]]).responsibilities(rows)
    assert (resp == 0.0).any()
    assert resp[resp > 0.0].min() >= np.exp(-201.0)
    assert resp[resp > 0.0].min() <= np.exp(-199.0)


def test_no_recompile_for_new_data_or_shapes():
    rng = np.random.default_rng(6)
    for covariance_type in FAMILIES:
        for n_rows, n_components, n_features in ((1, 1, 1), (1, 2, 3), (300, 1, 2), (130, 4, 1)):
            mixture = random_mixture(rng, covariance_type, (n_components, n_features))
            X = mixture.sample(n_rows, rng=rng)[0]
            frozen = np.asfortranarray(X)
            frozen.flags.writeable = False
            for rows in (X, frozen, X[::-1], X.astype(np.float32), X.tolist()):
                mixture.responsibilities(rows)
                expected_statistics(rows, mixture, np.ones(n_rows))
                expected_statistics(rows, mixture)
    assert signatures(add_statistics) == signatures(pointwise) == {1}


def test_no_recompile_for_other_layouts_of_parameters():
    weights, means = np.array([0.5, 0.5]), np.asfortranarray(np.arange(6.0).reshape(2, 3))
    weights.flags.writeable = means.flags.writeable = False
    mixture = Mixture(weights, means, np.broadcast_to(np.eye(3), (2, 3, 3)))
    assert expected_statistics(means, mixture.permute([1, 0])).counts.sum() == pytest.approx(2.0)
    assert expected_statistics(means, mixture).counts.sum() == pytest.approx(2.0)
    assert signatures(add_statistics) == {1}


def test_kernels_release_the_interpreter_lock():
    for function in (add_statistics, pointwise):
        assert function.version(Full, Gaussian).dispatcher.targetoptions["nogil"]


def test_a_fresh_process_loads_the_kernels_from_disk():
    code = """
import json
from bayesgmm.mixture.kernel import add_statistics, pointwise
from bayesgmm.mixture.mixture import Mixture, expected_statistics
mixture = Mixture([1.0], [[0.0]], [[[1.0]]])
mixture.log_prob([[0.0]]), expected_statistics([[0.0]], mixture)
stats = [version.dispatcher.stats for f in (add_statistics, pointwise) for version in f.versions.values()]
print(json.dumps([[sum(each.cache_hits.values()), sum(each.cache_misses.values())] for each in stats]))
"""
    expected_statistics([[0.0]], Mixture([1.0], [[0.0]], [[[1.0]]]))  # this process has filled the cache
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[1, 0], [1, 0]]
