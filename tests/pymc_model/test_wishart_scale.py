"""The PyMC variables of sampled scales and of separation priors: draws have the distribution that is their density."""

import numpy as np
import pymc as pm
import pytest
from monte_carlo import FALSE_ALARM
from reference import FAMILIES
from scipy.stats import beta, chi2, invgamma, kstest

from bayesgmm.inference.engine_pymc import INTERPRETED
from bayesgmm.pymc_model.lkj_separation import SeparationCovariances
from bayesgmm.pymc_model.wishart_scale import WishartScale

pytestmark = pytest.mark.draws

N = 3_000
V = np.array([[2.0, 0.5], [0.5, 1.0]])


def fits(values, distribution) -> bool:
    return kstest(distribution.cdf(values), "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_scales_are_wishart_or_chi_square(covariance_type):
    variable = WishartScale.dist(3.5, V, covariance_type=covariance_type)
    drawn = pm.draw(variable, N, random_seed=1, mode=INTERPRETED)
    if covariance_type in ("full", "tied"):
        direction = np.array([0.6, -0.8])
        values = np.einsum("i,nij,j->n", direction, drawn, direction) / (direction @ V @ direction)
        np.testing.assert_allclose(drawn.mean(axis=0), 3.5 * V, atol=0.3)
    else:
        assert (drawn[:, 0, 1] == 0.0).all()
        values = drawn[:, 0, 0] / (1.5 if "spherical" in covariance_type else 2.0)
    assert fits(values, chi2(3.5))
    assert np.isfinite(pm.logp(variable, drawn[0]).eval(mode=INTERPRETED))


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_variances_are_inverse_gamma_and_correlations_lkj(covariance_type):
    a, b, eta, d = np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0, 0.5]), 1.7, 3
    variable = SeparationCovariances.dist(eta, np.tile(a, (2, 1)), np.tile(b, (2, 1)), covariance_type=covariance_type)
    drawn = pm.draw(variable, N, random_seed=1, mode=INTERPRETED)
    assert drawn.shape == (N, 2, d, d)
    assert bool((drawn[:, 0] == drawn[:, 1]).all()) == (covariance_type == "tied")
    covariances = drawn[:, 1]
    np.testing.assert_allclose(covariances, np.swapaxes(covariances, 1, 2))
    for j in range(d):
        assert fits(covariances[:, j, j], invgamma(a[j], scale=b[j]))
        i = (j + 1) % d
        correlation = covariances[:, i, j] / np.sqrt(covariances[:, i, i] * covariances[:, j, j])
        assert fits((correlation + 1.0) / 2.0, beta(eta + 0.5 * d - 1.0, eta + 0.5 * d - 1.0))
