"""Draws from priors against known moments, in every form and family."""

import numpy as np
import pytest
from monte_carlo import FALSE_ALARM, bound
from scipy.stats import invgamma, kstest

from bayesgmm import Prior
from bayesgmm.priors.sample import draw_mixtures

pytestmark = pytest.mark.draws

N = 20_000
SCALE = np.array([[2.0, 0.6], [0.6, 1.0]])


def drawn(prior, n_components=2, covariance_type="full", n=N):
    resolved = prior.resolve(n_components, prior.n_features, covariance_type)
    return draw_mixtures(resolved, n, rng=np.random.default_rng(1))


def conjugate(**settings):
    return Prior.normal_inverse_wishart(**{"mean": [1.0, -2.0], "kappa": 0.5, "dof": 9.0, "scale": SCALE} | settings)


def test_means_and_covariances_have_the_moments_of_the_normal_inverse_wishart():
    weights, means, covariances = drawn(conjugate(concentration=[1.0, 3.0]))
    np.testing.assert_allclose(weights.mean(axis=0), [0.25, 0.75], atol=0.01)
    expected = SCALE / (9.0 - 2 - 1)
    np.testing.assert_allclose(covariances.mean(axis=(0, 1)), expected, atol=0.01)
    np.testing.assert_allclose(means.mean(axis=(0, 1)), [1.0, -2.0], atol=0.02)
    np.testing.assert_allclose(np.cov(means[:, 0].T), expected / 0.5, atol=0.05)
    diagonal = invgamma(0.5 * (9.0 - 1), scale=0.5 * SCALE[0, 0])
    assert kstest(covariances[:, 0, 0, 0], diagonal.cdf).pvalue > FALSE_ALARM


def test_independent_means_do_not_depend_on_covariances():
    prior = Prior.independent(mean=[0.0, 0.0], mean_covariance=[[4.0, 1.0], [1.0, 9.0]], dof=6.0, scale=SCALE)
    _, means, covariances = drawn(prior)
    covariance = np.array([[4.0, 1.0], [1.0, 9.0]])
    variances = covariance.diagonal()
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / N)  # of a normal sample covariance
    assert (np.abs(np.cov(means[:, 1].T) - covariance) < bound(3) * error).all()
    trace = np.trace(covariances[:, 0], axis1=1, axis2=2)
    assert abs(np.corrcoef(np.log(trace), (means[:, 0] ** 2).sum(axis=1))[0, 1]) < bound() / np.sqrt(N)


@pytest.mark.parametrize("family", ["tied", "diag", "spherical", "tied_diag", "tied_spherical"])
def test_families_tie_what_they_tie(family):
    _, means, covariances = drawn(conjugate(), covariance_type=family)
    assert means.shape == (N, 2, 2)
    assert np.array_equal(covariances[:, 0], covariances[:, 1]) == family.startswith("tied")
    if family != "tied":
        assert not covariances[..., 0, 1].any()
    shape = SCALE.diagonal() if "spherical" not in family else np.full(2, SCALE.diagonal().mean())
    law = invgamma(0.5 * 9.0, scale=0.5 * shape[0]) if family != "tied" else invgamma(4.0, scale=0.5 * shape[0])
    assert kstest(covariances[:, 1, 0, 0], law.cdf).pvalue > FALSE_ALARM


def test_scales_that_have_a_prior_are_drawn_first():
    prior = conjugate(scale=Prior.wishart(5.0, SCALE / 5.0))
    _, _, covariances = drawn(prior)
    np.testing.assert_allclose(covariances.mean(axis=(0, 1)), SCALE / 6.0, atol=0.02)
    fixed = drawn(conjugate())[2]
    logs = [np.log(c[..., 0, 0]) for c in (covariances, fixed)]
    assert np.corrcoef(logs[0].T)[0, 1] > 0.1 > abs(np.corrcoef(logs[1].T)[0, 1])


def test_separated_variances_and_correlations():
    prior = Prior.separation(
        mean=np.zeros(3), mean_covariance=np.eye(3), variance_shape=3.0, variance_scale=2.0, eta=2.0
    )
    covariances = drawn(prior)[2][:, 0]
    sds = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    assert kstest(sds[:, 2] ** 2, invgamma(3.0, scale=2.0).cdf).pvalue > FALSE_ALARM
    correlations = covariances / (sds[:, :, None] * sds[:, None, :])
    shape = 2.0 - 1.0 + 3 / 2.0  # of the beta distribution of (r + 1) / 2
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert kstest((correlations[:, i, j] + 1) / 2, "beta", (shape, shape)).pvalue > FALSE_ALARM


def test_sparse_weights_never_vanish_all_together():
    weights = drawn(conjugate(concentration=Prior.gamma(1.0, 200.0)), n_components=6)[0]
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert np.median(weights.max(axis=1)) > 0.99
