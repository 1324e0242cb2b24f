"""The M-step against the formulas written out in plain NumPy, and at its borders."""

import numpy as np
import pytest
from em_cases import PRIORS, one_start, plain_em_step
from posterior_cases import numerical_gradient
from reference import FAMILIES, load_data, random_mixture

from bayesgmm._compiled import cholesky_lower, invert_lower, multiply_lower
from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.m_step import m_step
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture.covariance.floors import lift, sandwich, write_factor
from bayesgmm.mixture.mixture import Mixture, expected_statistics
from bayesgmm.priors.conjugate_counts import pseudo_data
from bayesgmm.priors.prior import Prior


@pytest.mark.parametrize("name", ["iris", "galaxies", "thyroid"])
@pytest.mark.parametrize("prior_name", PRIORS)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_em_step_equals_plain_numpy(covariance_type, prior_name, name):
    X = load_data(name)
    prior = PRIORS[prior_name](X)
    start = one_start(Data.of(X), 3, rng=np.random.default_rng(1), covariance_type=covariance_type)
    resolved = None if prior is None else prior.resolve(3, X.shape[1], covariance_type)
    settings = EMSettings(tol=-1.0, max_iter=1, reg_covar=0.0)
    got = run_em(Data.of(X), start, prior=resolved, settings=settings).mixture
    want = plain_em_step(X, start, prior)
    np.testing.assert_allclose(got.weights, want.weights, rtol=1e-11)
    np.testing.assert_allclose(got.means, want.means, rtol=1e-10, atol=1e-10 * X.std())
    np.testing.assert_allclose(got.covariances, want.covariances, rtol=1e-9, atol=1e-10 * X.var())


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_parts_of_the_next_mixture_agree(covariance_type):
    rng = np.random.default_rng(0)
    mixture = random_mixture(rng, covariance_type, (3, 4))
    X, _ = mixture.sample(200, rng=rng)
    got, n_floored = step(X, mixture)
    rebuilt = Mixture(got.weights, got.means, got.covariances, covariance_type)
    for name in ("factors", "precision_factors", "log_scale"):
        np.testing.assert_allclose(getattr(got, name), getattr(rebuilt, name), rtol=1e-10, atol=1e-12)
    assert n_floored == 0
    assert got.weights.sum() == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_eigenvalues_stay_at_or_above_the_floor(covariance_type):
    rng = np.random.default_rng(0)
    mixture = random_mixture(rng, covariance_type, (2, 3))
    X = rng.normal(size=(50, 3)) * [1.0, 1e-3, 1.0]
    got, n_floored = step(X, mixture, floor=2.0)
    assert np.linalg.eigvalsh(got.full_covariances).min() >= 2.0 * (1 - 1e-12)
    assert n_floored == len(got.factors)
    free, _ = step(X, mixture, floor=0.0)
    assert np.linalg.eigvalsh(free.full_covariances).min() < 1.0


def test_a_floor_leaves_larger_eigenvalues_alone():
    X = np.random.default_rng(0).normal(size=(100, 2)) * [3.0, 0.1]
    unit = Mixture([1.0], [[0.0, 0.0]], [np.eye(2)])
    floored = np.linalg.eigvalsh(step(X, unit, floor=0.5)[0].covariances[0])
    free = np.linalg.eigvalsh(step(X, unit, floor=0.0)[0].covariances[0])
    np.testing.assert_allclose(floored, [0.5, free[1]], rtol=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_a_component_without_rows_keeps_its_place(covariance_type):
    mixture = random_mixture(np.random.default_rng(0), covariance_type, (3, 2))
    far = mixture.means.copy()
    far[2] = 1e6
    start = Mixture(mixture.weights, far, mixture.covariances, covariance_type)
    X, _ = mixture.sample(100, rng=np.random.default_rng(1))
    got, _ = step(X, start)
    assert np.isfinite(got.log_scale).all()
    assert 0.0 < got.weights[2] < 1e-100
    np.testing.assert_array_equal(got.means[2], far[2])
    if not start.family.shared:
        np.testing.assert_allclose(got.covariances[2], start.covariances[2], rtol=1e-14)


ETAS = (0.6, 1.0, 4.0, 60.0, 400.0)  # with the last the power of the determinants is below zero


def _other_priors(X, covariance_type):
    C = np.cov(X.T)
    yield Prior.malsiner_walli(X, concentration=1.5)
    scale = Prior.wishart(X.shape[1] + 1, C / 30)
    yield Prior.normal_inverse_wishart(mean=X.mean(axis=0), kappa=0.3, dof=X.shape[1] + 3, scale=scale)
    if covariance_type in ("full", "tied"):
        numbers = {"mean": X.mean(axis=0), "mean_covariance": 4 * C, "concentration": 1.2}
        for eta in ETAS:
            yield Prior.separation(variance_shape=2.5, variance_scale=np.diagonal(C) / 5, eta=eta, **numbers)


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_sampled_scales_and_separation_priors_climb_to_a_maximum(covariance_type, accelerate):
    X = load_data("iris")
    start = one_start(Data.of(X), 3, rng=np.random.default_rng(1), covariance_type=covariance_type)
    settings = EMSettings(tol=0.0, max_iter=3_000, reg_covar=1e-9, accelerate=accelerate)
    for prior in _other_priors(X, covariance_type):
        resolved = prior.resolve(3, 4, covariance_type)
        result = run_em(Data.of(X), start, prior=resolved, settings=settings)
        assert result.converged
        assert np.diff(result.history).min() > -1e-11
        log_posterior = LogPosterior(Data.of(X), resolved, Coordinates.around(result.mixture))
        at = np.zeros(log_posterior.n_dim)
        jacobian = numerical_gradient(lambda y: log_posterior.coordinates.log_jacobian(y), at)  # noqa: B023
        np.testing.assert_allclose(log_posterior(at)[1], jacobian, atol=2e-4)


def step(X, mixture, *, floor=0.0):
    nothing = pseudo_data(None, mixture.n_components, mixture.n_features, mixture.family)
    return m_step(expected_statistics(X, mixture), mixture, nothing, floor=floor)


@pytest.mark.parametrize("d", [3, 20])
def test_a_feature_that_stands_alone_is_lifted_as_by_eigenvalues(d):
    """Constant features are lifted without an eigendecomposition; the result is the same."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(d, d))
    moment, factor = root @ root.T / d, np.diag(rng.uniform(0.5, 2.0, d))
    factor += np.tril(rng.normal(size=(d, d)), -1)
    alone = [0, d - 1]
    moment[alone] = moment[:, alone] = 0.0
    factor[alone, :] = factor[:, alone] = 0.0
    factor[alone, alone] = 1.5
    floors = np.full(d, 1e-6)
    floors[alone] = 4.0
    written = [np.empty((d, d)) for _ in range(2)]
    want = [np.empty((d, d)) for _ in range(2)]
    expected = lift(factor, moment.copy(), floors, *want)
    found = write_factor(floors, moment.copy(), factor, *written, np.empty((d, d)))
    assert found == expected == 1
    np.testing.assert_allclose(written[0] @ written[0].T, want[0] @ want[0].T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(written[1] @ written[0], np.eye(d), atol=1e-9)


@pytest.mark.parametrize("d", [1, 2, 7, 16, 33, 100])
def test_triangular_products_equal_numpy(d):
    rng = np.random.default_rng(d)
    root = rng.normal(size=(d, d))
    matrix = root @ root.T + np.eye(d)
    lower, inverse, product = (np.full((d, d), np.nan) for _ in range(3))
    assert cholesky_lower(matrix, lower)
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrix), atol=1e-12 * d)
    invert_lower(lower, inverse)
    np.testing.assert_allclose(inverse, np.linalg.inv(lower), atol=1e-12 * d)
    multiply_lower(lower, inverse, product)
    np.testing.assert_allclose(product, np.eye(d), atol=1e-12 * d)
    assert not cholesky_lower(-matrix, lower)
    np.testing.assert_allclose(sandwich(root, matrix), root @ matrix @ root.T, rtol=1e-12, atol=1e-11 * d**2)
