"""VEI, diagonal covariances of one shape: M-step, members, prior, coordinates, standard errors, posterior."""

import numpy as np
import pytest
from em_cases import load_data
from posterior_cases import numerical_gradient
from reference import random_mixture
from scipy.optimize import minimize
from scipy.special import logsumexp, polygamma

from bayesgmm import BayesianGaussianMixture, GaussianMixture, Mixture, Prior, diagnose
from bayesgmm.data import Data
from bayesgmm.em import run_em
from bayesgmm.em.m_step import m_step
from bayesgmm.exceptions import InputError
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture import covariance_family, expected_statistics
from bayesgmm.priors import pseudo_data
from bayesgmm.standard_errors import standard_errors

VEI = covariance_family("VEI")
SHAPES = [(1, 3), (2, 1), (3, 4)]


def log_free(variances):
    """Logarithms of the volumes of all components but the first, and of the first one's variances."""
    logs = np.log(variances)
    return np.concatenate([logs[1:, 0] - logs[0, 0], logs[0]])


def variances_of(free, k):
    return np.exp(np.concatenate([[0.0], free[: k - 1]])[:, None] + free[k - 1 :])


@pytest.mark.parametrize("shape", SHAPES)
def test_free_parameters(shape):
    k, d = shape
    assert VEI.n_parameters(k, d) == k - 1 + k * d + (k + d - 1)  # as mclust counts them
    if k > 1:
        one, packed = VEI.parametrisation, np.random.default_rng(0).normal(size=k - 1 + d)
        restriction = VEI.restriction(k, d)
        np.testing.assert_allclose(one.free((restriction @ packed).reshape(k, d), np), packed, atol=1e-14)


def test_covariances_of_another_shape_are_refused_and_made_members():
    wrong = np.stack([np.diag([1.0, 2.0]), np.diag([2.0, 1.0])])
    with pytest.raises(InputError, match="one shape, each times a volume"):
        Mixture([0.5, 0.5], np.eye(2), wrong, "VEI")
    nearest = VEI.compress(wrong)
    np.testing.assert_allclose(nearest, np.stack([np.sqrt(2.0) * np.eye(2)] * 2))
    with pytest.raises(InputError, match="one shape, each times a volume"):
        Mixture([0.5, 0.5], np.eye(2), np.stack([np.eye(2), np.full((2, 2), 0.5) + 0.5 * np.eye(2)]), "VEI")


@pytest.mark.parametrize("prior", [False, True])
def test_the_m_step_is_the_maximum(prior):
    rng = np.random.default_rng(0)
    X, mixture = load_data("iris"), random_mixture(rng, "VEI", (3, 4))
    mixture = Mixture(mixture.weights, X[[10, 60, 120]], mixture.covariances, "VEI")
    resp = mixture.responsibilities(X)
    own = Prior.normal_inverse_wishart(mean=X.mean(axis=0), kappa=0.1, dof=8.0, scale=np.cov(X.T), concentration=1.0)
    pseudo = pseudo_data(own.resolve(3, 4, "VEI") if prior else None, 3, 4, VEI)
    found, n_floored = m_step(expected_statistics(X, mixture), mixture, pseudo, floor=0.0)
    deviations = (X[:, None] - found.means) ** 2
    scatter = np.einsum("nk,nkj->kj", resp, deviations)
    counts = resp.sum(axis=0)
    if prior:
        scatter += np.diag(np.cov(X.T)) + 0.1 * (found.means - X.mean(axis=0)) ** 2
        counts = counts + 8.0 + 2.0 + 1.0

    def loss(free):
        variances = variances_of(free, 3)
        return 0.5 * (counts[:, None] * np.log(variances) + scatter / variances).sum()

    best = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8})
    variances = np.diagonal(found.covariances, axis1=1, axis2=2)
    assert n_floored == 0
    assert loss(log_free(variances)) <= best.fun + 1e-9
    np.testing.assert_allclose(numerical_gradient(loss, log_free(variances)), 0.0, atol=1e-6)


@pytest.mark.parametrize(("n_components", "best"), [(1, -741.01753519), (2, -443.06668738), (3, -339.46872726)])
def test_at_least_mclusts_log_likelihood_on_iris(n_components, best):
    X = load_data("iris")
    fit = GaussianMixture(n_components, covariance_type="VEI", random_state=0).fit(X)
    assert fit.score(X) * len(X) >= best - 1e-3
    assert fit.bic(X) <= -2.0 * best + VEI.n_parameters(n_components, 4) * np.log(150) + 2e-3


def test_the_objective_rises_and_the_floor_holds():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(40, 2)), np.full((3, 2), 5.0)])
    X = np.column_stack([X, np.full(len(X), 3.0)])  # a cluster of equal rows, and a constant feature
    start = random_mixture(rng, "VEI", (3, 3))
    result = run_em(Data.of(X), start)
    assert np.diff(result.history).min() > -1e-9 * np.abs(result.history).max()
    assert np.isfinite(result.mixture.covariances).all()
    Mixture(result.mixture.weights, result.mixture.means, result.mixture.covariances, "VEI")  # still a member


def test_the_prior_integrates_to_one():
    """Over the logarithms of a volume and two variances, on a grid that is exact for so smooth a function."""
    scale, dof = np.array([1.5, 0.7]), np.array([5.0, 7.0])
    prior = Prior.independent(
        concentration=1.0, mean=[0.0, 0.0], mean_covariance=np.eye(2), dof=dof, scale=np.diag(scale)
    ).resolve(2, 2, "VEI")
    width = 0.15
    grid = np.stack(np.meshgrid(*[np.arange(-7.0, 7.0, width)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    variances = np.exp(np.stack([grid[:, 1:], grid[:, 1:] + grid[:, :1]], axis=1))
    covariances = variances[..., None] * np.eye(2)
    weights, means = np.full((len(grid), 2), 0.5), np.zeros((len(grid), 2, 2))
    log_density = prior.log_density(weights, means, covariances)
    at_means = -2.0 * np.log(2.0 * np.pi)  # of the means, at their prior mean
    total = logsumexp(log_density - at_means + np.log(variances).sum(axis=(1, 2))) + 3.0 * np.log(width)
    assert total == pytest.approx(0.0, abs=1e-6)


@pytest.mark.draws
@pytest.mark.parametrize("compiled", [False, True])
def test_draws_from_the_prior(compiled):
    """Logarithms of inverse gammas: moments of the marginal densities of shape and volume."""
    rng, n, dof = np.random.default_rng(0), 20_000, np.array([5.0, 7.0])
    scale = np.broadcast_to(np.array([1.5, 0.7]), (n, 2, 1, 2))
    if compiled:
        matrices = np.zeros((n, 2, 2, 2))
        for each in matrices:
            VEI.parametrisation.draw_covariances(rng, dof, scale[0, :, 0, :, None] * np.eye(2), each)
        variances = np.diagonal(matrices, axis1=2, axis2=3)
    else:
        variances = VEI.parametrisation.draw_factors(np.broadcast_to(dof, (n, 2)), scale, rng)[:, :, 0] ** 2
    np.testing.assert_allclose(variances[:, 0, 0] / variances[:, 0, 1], variances[:, 1, 0] / variances[:, 1, 1])
    # The ratio of two inverse gammas of all 12 degrees of freedom; then chi-squares of 2 x 5 and 2 x 7.
    log_ratio = np.log(variances[:, 0, 0] / variances[:, 0, 1] / (1.5 / 0.7))
    trace = (scale[:, 0, 0] / variances[:, 0]).sum(axis=1)
    for k in range(2):
        chi2 = (scale[:, k, 0] / variances[:, k]).sum(axis=1)
        assert chi2.mean() == pytest.approx(2 * dof[k], abs=5 * np.sqrt(4 * dof[k] / n))
    assert np.corrcoef(trace, log_ratio)[0, 1] == pytest.approx(0.0, abs=5 / np.sqrt(n))
    assert log_ratio.mean() == pytest.approx(0.0, abs=5 * log_ratio.std() / np.sqrt(n))
    assert log_ratio.var() == pytest.approx(2 * polygamma(1, 6.0), rel=5 * np.sqrt(3 / n))


def test_different_scales_are_refused():
    prior = Prior.independent(
        mean=[0.0], mean_covariance=[[1.0]], dof=3.0, scale=np.array([[[1.0]], [[2.0]]]), concentration=1.0
    )
    with pytest.raises(InputError, match="one scale for all components"):
        prior.resolve(2, 1, "VEI")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_log_jacobian_of_coordinates(shape):
    rng = np.random.default_rng(1)
    centre, mixture = random_mixture(rng, "VEI", shape), random_mixture(rng, "VEI", shape)
    coordinates = Coordinates.around(centre)
    point = coordinates.point(mixture)

    def natural(y):
        at = coordinates.parameters(y)
        return np.concatenate([at.weights[:-1], at.means.ravel(), log_free(at.factors[:, 0] ** 2)])

    _, of_logs = np.linalg.slogdet(numerical_gradient(natural, point))
    expected = of_logs + np.log(mixture.factors**2).sum()
    assert coordinates.log_jacobian(point) == pytest.approx(expected, abs=1e-7)


def test_standard_errors_are_those_of_the_hessian():
    X = load_data("iris")
    fit = GaussianMixture(2, covariance_type="VEI", tol=1e-10, random_state=0).fit(X)
    mixture = fit.mixture_
    errors = standard_errors(X, mixture)
    k, d = mixture.means.shape

    def objective(step):
        u, m, free = np.split(step, [k - 1, k - 1 + k * d])
        weights = mixture.weights * np.exp(np.append(u, 0.0))
        variances = variances_of(log_free(np.diagonal(mixture.covariances, axis1=1, axis2=2)) + free, k)
        moved = Mixture(
            weights / weights.sum(), mixture.means + m.reshape(k, d), variances[..., None] * np.eye(d), "VEI"
        )
        return moved.log_prob(X).sum()

    n = VEI.n_parameters(k, d)
    steps = np.full(n, 1e-3)
    hessian = numerical_gradient(lambda y: numerical_gradient(objective, y, 1e-3), np.zeros(n), 1e-3)
    covariance = np.linalg.inv(-hessian)
    restriction, first = VEI.restriction(k, d), k - 1 + k * d
    logs = restriction @ covariance[first:, first:] @ restriction.T
    variances = np.diagonal(mixture.covariances, axis1=1, axis2=2)
    np.testing.assert_allclose(
        np.diagonal(errors.covariances, axis1=1, axis2=2), variances * np.sqrt(np.diag(logs)).reshape(k, d), rtol=1e-4
    )
    np.testing.assert_allclose(errors.means.ravel(), np.sqrt(np.diag(covariance)[k - 1 : first]), rtol=1e-4)
    assert len(errors.missing) == n == len(steps)


@pytest.mark.draws
def test_the_posterior_of_iris():
    X = load_data("iris")
    fit = BayesianGaussianMixture(3, covariance_type="VEI", random_state=0).fit(X)
    covariances = fit.posterior_["posterior"]["covariances"].to_numpy()
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    shape = variances / variances[..., :1]
    np.testing.assert_allclose(shape, np.broadcast_to(shape[:, :, :1], shape.shape), rtol=1e-9)
    found = diagnose(fit.posterior_)
    assert found.verdict == "converged", found
