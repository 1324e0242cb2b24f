"""Whitening: the normal approximation in the sampler's coordinates is a standard normal."""

import numpy as np
import pytest
from em_cases import mixture_from_responsibilities
from reference import FAMILIES, load_data

from bayesgmm.data.blocks import Data
from bayesgmm.em.em import run_em
from bayesgmm.log_posterior import whitening
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.whitening import whitened_log_posterior
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior


def map_estimate(X, n_components, covariance_type) -> tuple[LogPosterior, Mixture]:
    """The whitened log posterior of well-separated data, and the maximum a posteriori it is centred at."""
    prior = Prior.weakly_informative(X).resolve(n_components, X.shape[1], covariance_type)
    order = X[:, 0].argsort().argsort()
    resp = np.eye(n_components)[order * n_components // len(X)]
    start = mixture_from_responsibilities(X, resp, covariance_type, reg_covar=1e-6)
    centre = run_em(Data.of(X), start, prior=prior).mixture
    return whitened_log_posterior(Data.of(X), prior, centre), centre


def separated(n=300, d=2, k=3):
    rng = np.random.default_rng(0)
    return np.asfortranarray(rng.normal(size=(n, d)) + 8.0 * (np.arange(n) * k // n)[:, None])


def hessian(log_posterior, point):
    steps = np.eye(len(point)) * 1e-4
    return np.array([(log_posterior(point - s)[1] - log_posterior(point + s)[1]) / 2e-4 for s in steps])


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_origin_is_the_mode_and_the_information_there_is_one(covariance_type):
    log_posterior, _ = map_estimate(separated(), 3, covariance_type)
    origin = np.zeros(log_posterior.n_dim)
    assert np.abs(log_posterior(origin)[1]).max() < 0.05  # L-BFGS stops so near, in posterior standard deviations
    np.testing.assert_allclose(hessian(log_posterior, origin), np.eye(log_posterior.n_dim), atol=1e-4)


def test_the_posterior_has_about_unit_scale():
    """Importance sampling by the normal approximation: means near 0, standard deviations near 1."""
    log_posterior, _ = map_estimate(separated(), 3, "full")
    points = np.random.default_rng(1).standard_normal((20_000, log_posterior.n_dim))
    log_ratio = np.array([log_posterior(p)[0] for p in points]) + 0.5 * (points**2).sum(axis=1)
    weights = np.exp(log_ratio - log_ratio.max())
    weights /= weights.sum()
    assert 1.0 / (weights**2).sum() > 500
    mean = weights @ points
    sd = np.sqrt(weights @ (points - mean) ** 2)
    assert np.abs(mean).max() < 0.4
    assert sd.min() > 0.8
    assert sd.max() < 1.3


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_by_blocks_it_takes_the_diagonal_blocks_of_the_information(covariance_type, monkeypatch):
    X = separated()
    dense, centre = map_estimate(X, 3, covariance_type)
    monkeypatch.setattr(whitening, "DENSE_LIMIT", 0)
    blocks = whitened_log_posterior(Data.of(X), dense.prior, centre)
    bounds = blocks.coordinates.component_bounds()
    np.testing.assert_array_equal(blocks.coordinates.bounds, bounds)
    (a,) = dense.coordinates.blocks
    information = np.linalg.inv(a @ a.T)
    for i, j, block in zip(bounds[:-1], bounds[1:], blocks.coordinates.blocks, strict=True):
        np.testing.assert_allclose(np.linalg.inv(block @ block.T), information[i:j, i:j], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        blocks.coordinates.parameters(np.zeros(blocks.n_dim)).means,
        dense.coordinates.parameters(np.zeros(dense.n_dim)).means,
    )


def test_indefinite_or_flat_information_keeps_a_bounded_scale():
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    scale = whitening._scale(rotation @ np.diag([4.0, 1e-9, -1e-9, -25.0]) @ rotation.T)
    assert np.allclose(scale, np.tril(scale))
    variances = np.sort(np.linalg.eigvalsh(scale @ scale.T))
    np.testing.assert_allclose(variances, [1 / 25, 1 / 4, 100, 100], rtol=1e-6)


@pytest.mark.parametrize("n_components", [2, 4])
def test_surplus_components_do_not_break_it(n_components):
    """Two equal components make a saddle; more components than clusters make flat directions."""
    X = np.asfortranarray(load_data("faithful"))
    rng = np.random.default_rng(0)
    centre = Mixture(
        np.full(n_components, 1 / n_components),
        X.mean(axis=0) + 1e-9 * rng.normal(size=(n_components, 2)),
        np.stack([np.cov(X.T)] * n_components),
    )
    prior = Prior.weakly_informative(X).resolve(n_components, 2, "full")
    log_posterior = whitened_log_posterior(Data.of(X), prior, centre)
    assert np.isfinite(log_posterior(np.zeros(log_posterior.n_dim))[0])
    (a,) = log_posterior.coordinates.blocks
    assert np.linalg.norm(a, ord=2) <= 10.0 + 1e-6
    assert (np.diag(a) > 0).all()
