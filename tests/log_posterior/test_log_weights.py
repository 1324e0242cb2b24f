"""Bent logarithms of sparse weights: the map, and the posterior density and its gradient in these coordinates."""

import numpy as np
import pytest
from posterior_cases import numerical_gradient
from reference import FAMILIES
from scipy.integrate import trapezoid
from scipy.special import gammaln
from scipy.stats import norm
from sparse_weight_cases import CONCENTRATIONS, density, sparse_case

from bayesgmm.data import Data
from bayesgmm.log_posterior.log_weights import SparseWeights, sparse_log_weight
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.log_posterior.whitening import whitened_log_posterior
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.concentrations import SMALLEST_WEIGHT
from bayesgmm.priors.hyperpriors import Gamma
from bayesgmm.priors.prior import Prior


def test_the_map_and_its_inverse():
    sparse_weights = SparseWeights(np.array([3.0, 0.5, 0.0]), -4.0)
    v = np.array([[-40.0, -3.0, 5.0], [1.0, -100.0, -7.0], [-4.0, -4.0, 300.0]])
    log_w = sparse_weights.log_weights(v)
    np.testing.assert_allclose(sparse_weights.places(log_w), v, rtol=1e-12, atol=1e-12)
    step = 1e-5
    np.testing.assert_allclose(
        sparse_weights.slope(v),
        (sparse_weights.log_weights(v + step) - sparse_weights.log_weights(v - step)) / (2 * step),
        rtol=1e-6,
    )
    for x, c in ((-40.0, 3.0), (-3.9, 0.5), (800.0, 2.0), (-1e4, 2.0)):
        value, slope, curvature = sparse_log_weight(x, c, -4.0)
        one = SparseWeights(np.array([c]), -4.0)
        assert value == pytest.approx(one.log_weights(np.array([x]))[0], rel=1e-14)
        assert slope == pytest.approx(one.slope(np.array([x]))[0], rel=1e-13)
        near = one.slope(np.array([x - step, x + step]))
        assert curvature == pytest.approx((near[1] - near[0]) / (2 * step), rel=1e-4, abs=1e-8)


def test_the_tail_of_an_empty_component_is_as_wide_as_planned():
    """exp(e log w) d log w with e = 0.01 has a mean of 100 nats; the coordinate a Rayleigh distribution of scale 4."""
    X = np.random.default_rng(0).normal(size=(20, 2))
    sparse_weights = SparseWeights.of(Prior.weakly_informative(X, concentration=0.01).resolve(2, 2), 80)
    v = np.linspace(-60.0, sparse_weights.turn, 20_000)[:, None]
    p = np.exp(0.01 * sparse_weights.log_weights(v)) * sparse_weights.slope(v)
    mean_depth = (p * (sparse_weights.turn - v)).sum(axis=0) / p.sum(axis=0)
    np.testing.assert_allclose(mean_depth, 4.0 * np.sqrt(np.pi / 2), rtol=0.1)


@pytest.mark.parametrize("affine", ["identity", "dense", "blocks"])
@pytest.mark.parametrize("concentration", CONCENTRATIONS.values(), ids=CONCENTRATIONS)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_value_is_likelihood_prior_and_jacobian_and_its_gradient_is_right(covariance_type, concentration, affine):
    at = sparse_case(covariance_type, concentration)
    log_posterior = density(at, affine)
    assert log_posterior.n_dim == at.centre.family.n_parameters(3, 2) + 1
    for mixture in (at.centre, at.elsewhere):
        point = log_posterior.coordinates.point(mixture)
        terms = [
            mixture.log_prob(at.X).sum(),
            at.prior.log_prob(mixture),
            log_posterior.coordinates.log_jacobian(point),
        ]
        value, gradient = log_posterior(point)
        assert value == pytest.approx(sum(terms), rel=1e-10, abs=1e-10 * max(np.abs(terms)))
        expected = numerical_gradient(lambda y: log_posterior(y)[0], point)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("affine", ["identity", "dense", "blocks"])
def test_there_and_back_and_the_jacobian(affine):
    at = sparse_case("full", 0.01)
    coordinates = density(at, affine).coordinates
    for mixture in (at.centre, at.elsewhere):
        point = coordinates.point(mixture)
        parameters = coordinates.parameters(point)
        np.testing.assert_allclose(parameters.weights, mixture.weights, rtol=1e-9)
        np.testing.assert_allclose(parameters.means, mixture.means, rtol=1e-11)
        np.testing.assert_allclose(parameters.factors, mixture.factors, rtol=1e-11, atol=1e-13)

    def natural(y):
        """Weights, the logarithm of their sum before they are normalised, and the rest."""
        u = coordinates.inner(y)[:3]
        log_g = coordinates.sparse_weights.log_weights(coordinates.log_places + u)
        p = coordinates.parameters(y)
        covariances = p.factors @ np.swapaxes(p.factors, -1, -2)
        rows, columns = np.tril_indices(2)
        free = [p.weights[:-1], [np.logaddexp.reduce(log_g)], p.means.ravel(), covariances[:, rows, columns].ravel()]
        return np.concatenate(free)

    y = coordinates.point(at.centre)
    _, log_det = np.linalg.slogdet(numerical_gradient(natural, y))
    of_sum = norm.logpdf(natural(y)[2])
    assert coordinates.log_jacobian(y) == pytest.approx(log_det + of_sum, abs=1e-7)


@pytest.mark.parametrize("concentration", [0.3, Gamma(2.0, 4.0)], ids=["fixed", "gamma"])
def test_the_density_of_two_weights_integrates_to_one(concentration):
    prior = Prior.normal_inverse_wishart(mean=[0.0], kappa=1.0, dof=3, scale=[[1.0]], concentration=concentration)
    resolved = prior.resolve(2, 1, "tied")
    coordinates = Coordinates.around(
        Mixture([0.5, 0.5], [[0.0], [0.0]], [[1.0]], "tied"), SparseWeights.of(resolved, 10.0)
    )
    drawn = isinstance(concentration, Gamma)
    constant = 0.0 if drawn else float(gammaln(2 * concentration) - 2 * gammaln(concentration))
    v = np.linspace(-60.0, 14.0, 301)
    u = np.stack(np.meshgrid(v, v, indexing="ij"), axis=-1)
    log_w, of_weights = coordinates._log_weights(u)
    values = np.exp(resolved._log_density_of_weights(log_w) + constant + of_weights)
    assert trapezoid(trapezoid(values, v), v) == pytest.approx(1.0, abs=1e-3)


def test_weights_too_small_for_a_number_stay_above_zero():
    at = sparse_case("full", 0.01)
    log_posterior = density(at)
    point = log_posterior.coordinates.point(at.centre)
    point[2] -= 60.0
    value, gradient = log_posterior(point)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    parameters = log_posterior.coordinates.parameters(point)
    assert parameters.weights[2] == SMALLEST_WEIGHT
    assert np.isfinite(log_posterior.coordinates.log_jacobian(point))


def test_other_priors_keep_log_ratios():
    X = np.random.default_rng(0).normal(size=(30, 2))
    for concentration, k, sparse in ((1.0, 2, False), (0.5, 2, True), (0.5, 1, False), (Gamma(4.0, 2.0), 2, True)):
        resolved = Prior.weakly_informative(X, concentration=concentration).resolve(k, 2)
        assert (SparseWeights.of(resolved, 30) is not None) is sparse


def test_whitening_with_empty_components():
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.normal(size=(80, 1)) + 8.0 * (np.arange(80) % 2)[:, None])
    prior = Prior.weakly_informative(X, concentration=0.01).resolve(5, 1)
    weights = np.array([0.5, 0.5 - 3e-4, 1e-4, 1e-4, 1e-4])
    means = np.array([[0.0], [8.0], [4.0], [4.0], [4.0]])
    centre = Mixture(weights, means, np.ones((5, 1, 1)))
    log_posterior = whitened_log_posterior(Data.of(X), prior, centre)
    (a,) = log_posterior.coordinates.blocks
    assert np.linalg.norm(a, ord=2) <= 10.0 + 1e-6
    value, gradient = log_posterior(np.zeros(log_posterior.n_dim))
    assert np.isfinite(value)
    assert np.abs(gradient).max() < 0.1
