"""The density of Student-t mixtures: SciPy's, normalizing constants included; its gradient by differences."""

import numpy as np
import pytest
from reference import random_mixture
from scipy.stats import gamma, multivariate_t

from bayesgmm import Prior
from bayesgmm.data import Data, IncompleteData
from bayesgmm.datasets import load_old_faithful
from bayesgmm.log_posterior import BlockLogPosterior, Coordinates, LogPosterior
from bayesgmm.mixture import component_of
from bayesgmm.priors import Model

FAITHFUL = load_old_faithful().to_numpy()[:60]
ROWS = (FAITHFUL - FAITHFUL.mean(axis=0)) / FAITHFUL.std(axis=0)
DATA = Data.of(ROWS, row_weights=np.arange(60) % 3 + 1)
N_FREE = {"each": 3, "shared": 1}


def density(covariance_type, dof, data=DATA):
    model = Model.of(
        covariance_type, 3, 2, prior=Prior.weakly_informative(ROWS), component=component_of("student_t", dof)
    )
    centre = model.with_component(random_mixture(np.random.default_rng(3), covariance_type, (3, 2)))
    return LogPosterior(data, model.required_prior, Coordinates.around(centre))


def points(found, n=2):
    return 0.4 * np.random.default_rng(6).standard_normal((n, found.n_dim))


def check_gradient(found, point):
    gradient = found(point)[1]
    for j in range(found.n_dim):
        step = np.zeros(found.n_dim)
        step[j] = 1e-5
        difference = (found(point + step)[0] - found(point - step)[0]) / 2e-5
        assert gradient[j] == pytest.approx(difference, rel=1e-6, abs=1e-6)


def check_value_and_gradient(covariance_type, dof):
    found = density(covariance_type, dof)
    for point in points(found):
        mixture = found.coordinates.parameters(point[None]).mixture(0)
        parts = [
            w * multivariate_t(mean, scale, df=nu).pdf(ROWS)
            for w, mean, scale, nu in zip(
                mixture.weights, mixture.means, mixture.full_covariances, mixture.dof, strict=True
            )
        ]
        expected = DATA.weights @ np.log(sum(parts)) + found.prior.log_prob(mixture)
        expected += gamma(2, scale=10).logpdf(mixture.dof[: N_FREE.get(dof, 0)]).sum()
        expected += found.coordinates.log_jacobian(point)
        assert found(point)[0] == pytest.approx(expected, abs=1e-8)
        check_gradient(found, point)
        np.testing.assert_allclose(found.coordinates.point(mixture), point, atol=1e-8)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
@pytest.mark.parametrize("dof", ["each", "shared", 4.0])
def test_value_is_scipys_and_gradient_that_of_differences(covariance_type, dof):
    check_value_and_gradient(covariance_type, dof)


@pytest.mark.slow
@pytest.mark.parametrize(
    "covariance_type", ["diag", "spherical", "tied_diag", "tied_spherical", "VEI", "EVI", "VEE", "EVV"]
)
@pytest.mark.parametrize("dof", ["each", "shared"])
def test_in_other_families_too(covariance_type, dof):
    check_value_and_gradient(covariance_type, dof)


def test_for_many_degrees_of_freedom_it_is_the_gaussian_density():
    heavy = density("full", 1e8)
    centre = heavy.coordinates.centre
    plain = LogPosterior(DATA, heavy.prior, Coordinates.around(centre.with_component(component_of("gaussian"), None)))
    for point in points(plain):
        (value, gradient), (expected, slope) = heavy(point), plain(point)
        assert value == pytest.approx(expected, abs=1e-5)  # 120 rows, each to 1e-7
        np.testing.assert_allclose(gradient, slope, atol=1e-5)


@pytest.mark.parametrize("dof", ["each", "shared"])
def test_sums_over_rows_elsewhere_give_the_same(dof):
    found = density("full", dof)
    by_blocks = BlockLogPosterior(found.data, found.prior, found.coordinates)
    for point in points(found):
        (value, gradient), (expected, slope) = by_blocks(point), found(point)
        assert value == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(gradient, slope, atol=1e-9)


def test_rows_with_labels_are_those_of_the_components_allowed():
    allowed = np.ones((60, 3), dtype=bool)
    allowed[:20, 1:] = False
    data = Data.of(ROWS).labelled(allowed)
    found = density("full", "each", data)
    by_blocks = BlockLogPosterior(data, found.prior, found.coordinates)
    for point in points(found):
        mixture = found.coordinates.parameters(point[None]).mixture(0)
        first = multivariate_t(mixture.means[0], mixture.full_covariances[0], df=mixture.dof[0])
        of_first = np.log(mixture.weights[0]) + first.logpdf(ROWS[:20])
        expected = of_first.sum() + mixture.log_prob(ROWS[20:]).sum() + found.prior.log_prob(mixture)
        expected += gamma(2, scale=10).logpdf(mixture.dof).sum() + found.coordinates.log_jacobian(point)
        assert found(point)[0] == pytest.approx(expected, abs=1e-8)
        assert by_blocks(point)[0] == pytest.approx(expected, abs=1e-8)
        check_gradient(found, point)


def test_rows_with_missing_values_count_by_their_marginal_density():
    holes = ROWS.copy()
    holes[::4, 0] = holes[1::4, 1] = np.nan
    found = density("full", "each", IncompleteData(holes))
    for point in points(found):
        mixture = found.coordinates.parameters(point[None]).mixture(0)
        whole = ~np.isnan(holes).any(axis=1)
        expected = mixture.log_prob(ROWS[whole]).sum() + found.prior.log_prob(mixture)
        for j, some in ((1, slice(None, None, 4)), (0, slice(1, None, 4))):
            expected += mixture.marginal(j).log_prob(ROWS[some, j : j + 1]).sum()
        expected += gamma(2, scale=10).logpdf(mixture.dof).sum() + found.coordinates.log_jacobian(point)
        assert found(point)[0] == pytest.approx(expected, abs=1e-8)
        check_gradient(found, point)
