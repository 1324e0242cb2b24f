"""Labelled rows in the log posterior: value, gradient, and the same by blocks."""

import numpy as np
import pytest
from posterior_cases import FORMS, case, numerical_gradient
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bayesgmm.data import Data, allowed_components
from bayesgmm.log_posterior import BlockLogPosterior, LogPosterior

LABELS = np.resize([0, -1, 2, -1, -1, 1], 23)


def posteriors(at, labels, row_weights=None):
    """The log posterior of labelled rows, compiled and by blocks."""
    native = at.log_posterior("dense")
    data = Data.of(at.X, row_weights).labelled(allowed_components(labels, len(at.X), 3))
    parts = data, native.prior, native.coordinates
    return LogPosterior(*parts), BlockLogPosterior(*parts)


def log_likelihood(mixture, data):
    """By array operations: the sum over the components that a row may come from."""
    parts = zip(mixture.weights, mixture.means, mixture.full_covariances, strict=True)
    joint = [np.log(w) + multivariate_normal(mean, cov).logpdf(data.rows) for w, mean, cov in parts]
    return data.weights @ logsumexp(np.where(data.allowed.T, joint, -np.inf), axis=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", ["full", "tied", "diag", "tied_diag", "spherical", "tied_spherical", "VEI"])
def test_value_and_gradient(family, form) -> None:
    at = case(family, form, (3, 2))
    native, by_blocks = posteriors(at, LABELS, np.linspace(0.5, 2.0, 23))
    for mixture in (at.centre, at.elsewhere):
        point = native.coordinates.point(mixture)
        terms = (
            log_likelihood(mixture, native.data),
            at.prior.log_prob(mixture),
            native.coordinates.log_jacobian(point),
        )
        value, gradient = native(point)
        assert value == pytest.approx(float(sum(terms)), rel=1e-10)
        expected = numerical_gradient(lambda y: native(y)[0], point)
        np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())
        of_blocks, slope = by_blocks(point)
        assert of_blocks == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(slope, gradient, rtol=1e-10, atol=1e-10 * np.abs(gradient).max())


def test_sets_of_components() -> None:
    at = case("full", "independent", (3, 2))
    allowed = np.random.default_rng(0).random((23, 3)) < 0.6
    allowed[~allowed.any(axis=1)] = True
    native, _ = posteriors(at, allowed)
    point = native.coordinates.point(at.elsewhere)
    terms = at.prior.log_prob(at.elsewhere), native.coordinates.log_jacobian(point)
    assert native(point)[0] == pytest.approx(log_likelihood(at.elsewhere, native.data) + float(sum(terms)), rel=1e-10)
    expected = numerical_gradient(lambda y: native(y)[0], point)
    np.testing.assert_allclose(native(point)[1], expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


def test_no_label_changes_nothing() -> None:
    at = case("full", "independent", (3, 2))
    free = at.log_posterior("dense")
    for density in posteriors(at, np.full(23, -1)):
        value, gradient = density(free.coordinates.point(at.elsewhere))
        expected, slope = free(free.coordinates.point(at.elsewhere))
        assert value == pytest.approx(expected, rel=1e-13)
        np.testing.assert_allclose(gradient, slope, rtol=1e-11, atol=1e-11 * np.abs(slope).max())
