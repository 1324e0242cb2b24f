"""Densities with hyperparameters integrated out, and draws of those hyperparameters."""

import numpy as np
import pymc as pm
import pytest
from monte_carlo import FALSE_ALARM
from prior_cases import LEGAL, SAMPLED_SCALES, case_of, log_density_given, prior_of
from reference import FAMILIES, random_mixture
from scipy.integrate import quad
from scipy.stats import gamma, invgamma, invwishart, kstest, uniform, wishart

from bayesgmm.exceptions import InputError
from bayesgmm.inference.engine_pymc import INTERPRETED
from bayesgmm.mixture import covariance_family
from bayesgmm.priors.hyperpriors import Separation
from bayesgmm.priors.prior import Prior

SHAPES = ((3, 2), (2, 1), (1, 3), (2, 4))


def given_scale(prior, scale):
    """The prior once its scale is known."""
    numbers = {"mean": prior.mean, "concentration": prior.concentration, "dof": prior.dof, "scale": scale}
    if prior.kappa is not None:
        return Prior.normal_inverse_wishart(kappa=prior.kappa, **numbers)
    return Prior.independent(mean_covariance=prior.mean_covariance, **numbers)


def log_density_of_scale(prior, scale, family):
    """Of S, of its diagonal, or of the one number of a spherical family, as SciPy has them."""
    n, v = prior.scale_prior.dof, prior.scale_prior.scale
    if family.name in ("full", "tied"):
        return wishart(n, v).logpdf(scale)
    if family.name in ("diag", "tied_diag"):
        return gamma(n / 2, scale=2.0 * np.diagonal(v)).logpdf(np.diagonal(scale)).sum()
    return gamma(n / 2, scale=2.0 * np.trace(v) / len(v)).logpdf(scale[0, 0])


def some_scale(family, d, rng):
    root = rng.normal(size=(d, d))
    full = root @ root.T + np.eye(d)
    if family.name in ("full", "tied"):
        return full
    diagonal = np.diagonal(full)
    return np.diag(diagonal if family.name in ("diag", "tied_diag") else np.full(d, diagonal.mean()))


@pytest.mark.parametrize("form", SAMPLED_SCALES)
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_marginal_density_is_joint_over_conditional_for_any_scale(covariance_type, form, shape):
    rng = np.random.default_rng(0)
    at, family = case_of(covariance_type, form, shape), covariance_family(covariance_type)
    for mixture in (at.centre, at.elsewhere):
        scale = some_scale(family, shape[1], rng)
        joint = given_scale(at.prior, scale).log_prob(mixture) + log_density_of_scale(at.prior, scale, family)
        expected = joint - log_density_given(at.prior, mixture, scale)
        assert at.prior.log_prob(mixture) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_separation_density_is_that_of_variances_and_correlations(covariance_type, shape):
    at = case_of(covariance_type, "separation", shape)
    prior, d, variances = at.prior, shape[1], at.prior.variances
    dof, scale = variances.inverse_wishart
    for mixture in (at.centre, at.elsewhere):
        expected = given_scale(prior, prior.scale).log_prob(mixture)
        for covariance in mixture.full_covariances[: covariance_family(covariance_type).n_blocks(shape[0])]:
            v = np.diagonal(covariance)
            expected -= invwishart(dof, scale).logpdf(covariance)
            expected += invgamma(variances.variance_shape, scale=variances.variance_scale).logpdf(v).sum()
            expected -= 0.5 * (d - 1) * np.log(v).sum()
            lower = np.linalg.cholesky(covariance / np.sqrt(np.outer(v, v)))
            if d > 1:  # PyMC's density is that of the factor
                expected += pm.logp(pm.LKJCorr.dist(n=d, eta=variances.eta), lower).eval(mode=INTERPRETED)
                expected -= (np.arange(d - 1, -1, -1) * np.log(np.diagonal(lower))).sum()
        assert prior.log_prob(mixture) == pytest.approx(float(expected), rel=1e-9)


def test_the_constant_of_lkj_in_two_dimensions():
    for eta in (0.7, 1.0, 2.5):
        integral, _ = quad(lambda r, eta=eta: (1.0 - r * r) ** (eta - 1.0), -1.0, 1.0)
        found = Separation(np.ones(2), np.ones(2), eta).log_constant
        assert found == pytest.approx(-np.log(integral), rel=1e-6)  # IG(1, 1) has constant one


@pytest.mark.parametrize(("covariance_type", "form"), LEGAL)
def test_many_points_at_once(covariance_type, form):
    rng = np.random.default_rng(0)
    at = case_of(covariance_type, form, (3, 2))
    mixtures = [random_mixture(rng, covariance_type, (3, 2)) for _ in range(4)]
    arrays = [(m.weights, m.means, m.full_covariances) for m in mixtures]
    stacked = (np.stack(part).reshape(2, 2, *part[0].shape) for part in zip(*arrays, strict=True))
    found = at.prior.resolve(3, 2, covariance_type).log_density(*stacked)
    np.testing.assert_allclose(found.ravel(), [at.prior.log_prob(m) for m in mixtures], rtol=1e-12)


@pytest.mark.draws
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_scales_are_drawn_from_their_conditional(covariance_type):
    at = case_of(covariance_type, "independent", (3, 2))
    family, n = covariance_family(covariance_type), 4_000
    weights = np.broadcast_to(at.centre.weights, (n, 3))
    covariances = np.broadcast_to(at.centre.full_covariances, (n, 3, 2, 2))
    drawn = at.prior.hyperparameters_given(
        weights, covariances, covariance_type=covariance_type, rng=np.random.default_rng(0)
    )["prior_scale"]
    assert drawn.shape == (n, 2, 2)
    precisions = np.linalg.inv(at.centre.full_covariances[: family.n_blocks(3)]).sum(axis=0)
    count, v = at.prior.scale_prior.dof + family.n_blocks(3) * float(at.prior.dof), at.prior.scale_prior.scale
    if family.name in ("full", "tied"):
        scale = np.linalg.inv(np.linalg.inv(v) + precisions)
        direction = np.array([0.6, -0.8])  # aᵀ S a is aᵀ V a times chi2
        values = np.einsum("i,nij,j->n", direction, drawn, direction) / (direction @ scale @ direction)
    else:
        mean = np.trace(v) / 2 if family.name.endswith("spherical") else v[0, 0]
        values = drawn[:, 0, 0] * (1.0 / mean + precisions[0, 0])
        assert (drawn[:, 0, 1] == 0.0).all()
        assert family.name.endswith("spherical") == bool((drawn[:, 0, 0] == drawn[:, 1, 1]).all())
    assert kstest(gamma(count / 2, scale=2.0).cdf(values), uniform.cdf).pvalue > FALSE_ALARM


def test_numbers_have_nothing_to_draw():
    at = case_of("full", "separation", (3, 2))
    nothing = at.prior.hyperparameters_given(
        at.centre.weights, at.centre.full_covariances, rng=np.random.default_rng(0)
    )
    assert nothing == {}


@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "EEI", "EII"])
def test_separation_is_for_families_with_correlations(covariance_type):
    prior = prior_of("separation", 2, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="inverse-gamma variances"):
        prior.resolve(3, 2, covariance_type)


def test_the_similar_inverse_wishart_has_the_same_variances():
    """Var j of IW(nu, S) is IG((nu - d + 1) / 2, S_jj / 2)."""
    prior = Prior.separation(
        mean=np.zeros(3), mean_covariance=np.eye(3), variance_shape=2.5, variance_scale=[1.0, 2.0, 3.0], eta=2.0
    )
    assert (float(prior.dof) - 3 + 1) / 2 == 2.5
    np.testing.assert_allclose(np.diagonal(prior.scale) / 2, [1.0, 2.0, 3.0])
