"""The native log posterior: its value term by term, its gradient, and that neither data nor shape recompiles it."""

import ctypes
import gc

import numpy as np
import pytest
from posterior_cases import PAIRS, SHAPES, case, numerical_gradient
from prior_cases import LEGAL, case_of

from bayesgmm.data import Data
from bayesgmm.log_posterior import log_posterior as module
from bayesgmm.log_posterior.log_posterior import LogPosterior, c_log_posterior
from bayesgmm.mixture.mixture import Mixture

AFFINE = ("identity", "dense", "blocks")


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("covariance_type", "form"), PAIRS)
def test_value_is_likelihood_prior_and_jacobian(covariance_type, form, shape, affine):
    at = case(covariance_type, form, shape)
    log_posterior = at.log_posterior(affine)
    point = log_posterior.coordinates.point(at.elsewhere)
    terms = [
        at.elsewhere.log_prob(at.X).sum(),
        at.prior.log_prob(at.elsewhere),
        log_posterior.coordinates.log_jacobian(point),
    ]
    assert log_posterior(point)[0] == pytest.approx(sum(terms), rel=1e-10, abs=1e-10 * max(np.abs(terms)))


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("covariance_type", "form"), PAIRS)
def test_gradient_against_central_differences(covariance_type, form, shape, affine):
    at = case(covariance_type, form, shape)
    log_posterior = at.log_posterior(affine)
    for mixture in (at.centre, at.elsewhere):
        point = log_posterior.coordinates.point(mixture)
        expected = numerical_gradient(lambda y: log_posterior(y)[0], point)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(log_posterior(point)[1], expected, rtol=1e-7, atol=1e-7 * scale)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("covariance_type", "form"), LEGAL)
def test_sampled_scales_and_separation_priors(covariance_type, form, shape):
    at = case_of(covariance_type, form, shape)
    log_posterior = at.log_posterior("dense")
    for mixture in (at.centre, at.elsewhere):
        point = log_posterior.coordinates.point(mixture)
        jacobian = float(log_posterior.coordinates.log_jacobian(point))
        value = mixture.log_prob(at.X).sum() + at.prior.log_prob(mixture) + jacobian
        assert log_posterior(point)[0] == pytest.approx(value, rel=1e-10)
        expected = numerical_gradient(lambda y: log_posterior(y)[0], point)
        np.testing.assert_allclose(log_posterior(point)[1], expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize(("covariance_type", "form"), PAIRS)
def test_a_prior_shared_by_all_components_too(covariance_type, form):
    at = case(covariance_type, form, (3, 2), by_cluster=False)
    log_posterior = at.log_posterior()
    point = log_posterior.coordinates.point(at.elsewhere)
    expected = numerical_gradient(lambda y: log_posterior(y)[0], point)
    np.testing.assert_allclose(log_posterior(point)[1], expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize(("covariance_type", "form"), PAIRS)
def test_row_weights_are_repeated_rows(covariance_type, form):
    at = case(covariance_type, form, (3, 2))
    times = np.arange(len(at.X)) % 4
    weighted = at.log_posterior("dense", row_weights=times.astype(float))
    repeated = LogPosterior(Data.of(at.X.repeat(times, axis=0)), weighted.prior, weighted.coordinates)
    point = weighted.coordinates.point(at.elsewhere)
    (value, gradient), (expected, slope) = weighted(point), repeated(point)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-10 * np.abs(slope).max())


def c_function(mixture):
    address = c_log_posterior(*mixture.kernel).address
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)(address)


def test_the_c_function_gives_the_same():
    for covariance_type, form in PAIRS:
        at = case(covariance_type, form, (2, 4))
        function = c_function(at.centre)
        log_posterior = at.log_posterior("blocks")
        point = log_posterior.coordinates.point(at.elsewhere)
        gradient, value = np.empty_like(point), np.empty(1)
        pointers = [a.ctypes.data for a in (point, gradient, value, log_posterior.header)]
        assert function(len(point), *pointers) == 0
        expected, slope = log_posterior(point)
        assert value[0] == expected
        np.testing.assert_array_equal(gradient, slope)


def test_the_c_function_reports_what_is_not_finite():
    at = case("full", "independent", (2, 2))
    function, log_posterior = c_function(at.centre), at.log_posterior()
    gradient, value = np.empty(log_posterior.n_dim), np.empty(1)
    for wrong in (1e4, -1e4, np.nan):
        point = np.full(log_posterior.n_dim, wrong)
        pointers = [a.ctypes.data for a in (point, gradient, value, log_posterior.header)]
        assert function(len(point), *pointers) > 0


def test_nothing_compiles_for_new_shapes_data_or_read_only_points():
    for covariance_type, form in PAIRS:  # one version a family
        log_posterior = case(covariance_type, form, (3, 2)).log_posterior()
        log_posterior(np.zeros(log_posterior.n_dim))
    versions = [version.dispatcher for version in module._from_addresses.versions.values()]
    compiled = [f for f in (*vars(module).values(), *versions) if getattr(f, "signatures", None)]
    before = {f: list(f.signatures) for f in compiled}
    assert [len(version.signatures) for version in versions] == [1] * 7
    for covariance_type, form in PAIRS:
        for shape in SHAPES:
            other = case(covariance_type, form, shape, seed=1).log_posterior("dense")
            point = np.zeros(other.n_dim)
            point.setflags(write=False)
            other(point)
    assert {f: list(f.signatures) for f in compiled} == before


def test_arrays_outlive_their_names():
    at = case("full", "independent", (3, 2))
    log_posterior = at.log_posterior("dense")
    point = log_posterior.coordinates.point(at.elsewhere)
    expected = log_posterior(point)[0]
    del at
    gc.collect()
    ballast = [np.full(100, np.nan) for _ in range(1000)]
    assert log_posterior(point)[0] == expected
    assert len(ballast) == 1000


def test_a_point_of_the_wrong_length():
    log_posterior = case("full", "independent", (3, 2)).log_posterior()
    with pytest.raises(ValueError, match="a point has shape"):
        log_posterior(np.zeros(log_posterior.n_dim + 1))


def test_far_away_rows_and_points_stay_finite():
    at = case("full", "independent", (2, 2))
    far = np.asfortranarray(at.X + 1e6)
    log_posterior = LogPosterior(Data.of(far), at.log_posterior().prior, at.coordinates())
    value, gradient = log_posterior(np.zeros(log_posterior.n_dim))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_relabelling_changes_nothing_under_an_exchangeable_prior():
    at = case("full", "normal_inverse_wishart", (3, 2), by_cluster=False)
    order = [2, 0, 1]
    coordinates = at.coordinates()
    log_posterior = at.log_posterior()

    def natural(mixture: Mixture) -> float:
        point = coordinates.point(mixture)
        return log_posterior(point)[0] - float(coordinates.log_jacobian(point))

    assert natural(at.elsewhere.permute(order)) == pytest.approx(natural(at.elsewhere), rel=1e-12)
