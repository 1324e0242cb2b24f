"""Coordinates: there and back, the Jacobian, the layout that the sampler's blocks rely on."""

from itertools import pairwise

import numpy as np
import pytest
from monte_carlo import FALSE_ALARM
from posterior_cases import SHAPES, affine_coordinates, free_parameters, numerical_gradient
from reference import FAMILIES, random_mixture
from scipy.stats import chi2, invwishart, kstest, norm

from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture import Mixture

AFFINE = ("identity", "dense", "blocks")


def mixtures(covariance_type, shape, n=2):
    rng = np.random.default_rng([7, *shape])
    return [random_mixture(rng, covariance_type, shape) for _ in range(n)]


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_there_and_back(covariance_type, shape, affine):
    centre, mixture = mixtures(covariance_type, shape)
    coordinates = affine_coordinates(centre, affine)
    point = coordinates.point(mixture)
    assert point.shape == (coordinates.n_dim,) == (mixture.family.n_parameters(*shape),)
    parameters = coordinates.parameters(point)
    np.testing.assert_allclose(parameters.weights, mixture.weights, rtol=1e-12)
    np.testing.assert_allclose(parameters.means, mixture.means, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(parameters.factors, mixture.factors, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_log_jacobian_is_the_log_determinant(covariance_type, shape, affine):
    centre, mixture = mixtures(covariance_type, shape)
    coordinates = affine_coordinates(centre, affine)

    def natural(point):
        at = coordinates.parameters(point)
        covariances = centre.family.covariances(at.factors, *shape)
        return free_parameters(at.weights, at.means, covariances, covariance_type)

    point = coordinates.point(mixture)
    _, expected = np.linalg.slogdet(numerical_gradient(natural, point))
    assert coordinates.log_jacobian(point) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_origin_is_the_centre_and_leading_axes_pass_through(covariance_type):
    centre, mixture = mixtures(covariance_type, (3, 2))
    coordinates = Coordinates.around(centre)
    assert np.abs(coordinates.point(centre)).max() < 1e-14
    point = coordinates.point(mixture)
    points = np.stack([np.zeros_like(point), point, point])[:, None]
    batch = coordinates.parameters(points)
    np.testing.assert_allclose(batch.weights[0, 0], centre.weights)
    np.testing.assert_allclose(batch.factors[0, 0], centre.factors)
    single = coordinates.parameters(point)
    for name in ("weights", "means", "factors", "covariances"):
        np.testing.assert_allclose(getattr(batch, name)[1:, 0], np.stack([getattr(single, name)] * 2), rtol=1e-14)
    np.testing.assert_allclose(coordinates.log_jacobian(points)[1:, 0], coordinates.log_jacobian(point), rtol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_component_bounds_separate_what_moves_one_component(covariance_type, shape):
    """Moving one natural block changes the weights only, one component only, or the shared covariance only."""
    centre, _ = mixtures(covariance_type, shape)
    coordinates = Coordinates.around(centre)
    bounds = coordinates.component_bounds()
    assert bounds[0] == 0
    assert bounds[-1] == coordinates.n_dim
    shared = centre.family.shared
    n_components = shape[0]
    assert len(bounds) - 1 == (n_components > 1) + n_components + shared
    still = coordinates.parameters(np.zeros(coordinates.n_dim))
    for b, (start, stop) in enumerate(pairwise(bounds)):
        point = np.zeros(coordinates.n_dim)
        point[start:stop] = 0.3
        moved = coordinates.parameters(point)
        component = b - (n_components > 1)
        moves_weights = component < 0
        assert np.allclose(moved.weights, still.weights) is not moves_weights
        changed = np.flatnonzero((moved.means != still.means).any(axis=1))
        expected = [] if moves_weights or component == n_components else [component]
        assert changed.tolist() == expected
        changed = np.flatnonzero((moved.factors != still.factors).any(axis=(1, 2)))
        assert changed.tolist() == (expected if not shared else [0] * (component == n_components))


def test_far_points_keep_their_digits():
    centre, _ = mixtures("full", (3, 2))
    coordinates = Coordinates.around(centre)
    point = np.zeros(coordinates.n_dim)
    point[:2] = -300.0, 50.0
    parameters = coordinates.parameters(point)
    assert parameters.weights.sum() == pytest.approx(1.0, abs=1e-15)
    assert 0.0 < parameters.weights[0] < 1e-140
    assert np.isfinite(coordinates.log_jacobian(point))


def test_inverse_wishart_covariances_are_normal_below_the_diagonal():
    """Bartlett: with few degrees of freedom too, where the entries of the factor itself have heavy tails."""
    d, dof, n = 5, 7.0, 4_000
    centre = Mixture([1.0], np.zeros((1, d)), np.eye(d)[None])
    drawn = invwishart(dof, np.eye(d)).rvs(n, random_state=0)
    one = centre.family.parametrisation
    packed = one.pack(np.linalg.cholesky(drawn))
    rows, columns = np.tril_indices(d)
    below = packed[:, rows != columns]
    assert kstest(below.ravel()[:: below.shape[1] + 1], norm.cdf).pvalue > FALSE_ALARM
    np.testing.assert_allclose(np.cov(below.T), np.eye(below.shape[1]), atol=6.0 / np.sqrt(n))
    squares = np.exp(-2.0 * packed[:, rows == columns])
    for i in range(d):
        assert kstest(squares[:, i], chi2(dof - d + 1.0 + i).cdf).pvalue > FALSE_ALARM
