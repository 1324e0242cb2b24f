"""Laplace approximations: the mode, exact evidences, several optima, refusals."""

import math

import numpy as np
import pytest
from exact_posterior import updated
from monte_carlo import bound
from scipy.special import multigammaln

from bayesgmm import Mixture, Prior
from bayesgmm.data import Data
from bayesgmm.exceptions import SamplingError
from bayesgmm.laplace import approximate, effective_draws, mode, resampled
from bayesgmm.laplace.mode import normal_approximation
from bayesgmm.log_posterior import LogPosterior
from bayesgmm.priors import Model

pytestmark = pytest.mark.draws


def conjugate(n=800):
    """One component, for which posterior and evidence are known."""
    X = np.random.default_rng(3).multivariate_normal([1.0, -2.0], [[2.0, 0.6], [0.6, 1.0]], n)
    prior = Prior.normal_inverse_wishart(mean=[0.0, 0.0], kappa=0.5, dof=5.0, scale=np.eye(2))
    return Data.of(X), Model.of("full", 1, 2, prior=prior), Mixture([1.0], [[0.5, -1.5]], [np.eye(2)])


def log_evidence(data, prior):
    n, d = data.shape
    X = data.rows
    kappa, _, dof, scale = updated(prior, np.array([float(n)]), X.sum(axis=0)[None], (X.T @ X)[None])

    def half(kappa, dof, scale):
        return multigammaln(0.5 * dof, d) - 0.5 * dof * np.linalg.slogdet(scale)[1] - 0.5 * d * np.log(kappa)

    of_prior = half(0.5, 5.0, np.eye(2))
    return half(float(kappa[0]), float(dof[0]), scale[0]) - of_prior - 0.5 * n * d * np.log(np.pi)


def test_evidence_and_means_of_one_component_are_exact():
    data, model, start = conjugate()
    rng = np.random.default_rng(0)
    (found,) = approximate(data, model, [start], 4_000, rng=rng)
    assert abs(found.log_evidence - log_evidence(data, model.prior)) < bound() * found.log_evidence_se
    assert found.log_evidence_se < 0.01
    draws = resampled([found], 4_000, rng=rng).draws
    kappa, mean, dof, scale = updated(
        model.prior, np.array([800.0]), data.rows.sum(axis=0)[None], (data.rows.T @ data.rows)[None]
    )
    variances = np.diagonal(scale[0]) / ((dof[0] - 3.0) * kappa[0])
    errors = np.sqrt(variances * (1.0 / effective_draws([found]) + 1.0 / 4_000.0))
    assert (np.abs(draws.means[:, 0].mean(axis=0) - mean[0]) < bound(2) * errors).all()
    np.testing.assert_allclose(draws.covariances[:, 0].mean(axis=0), scale[0] / (dof[0] - 3.0), rtol=0.02)


def test_the_centre_is_the_mode_however_far_the_start():
    data, model, start = conjugate()
    far = Mixture([1.0], [[3.0, 3.0]], [10.0 * np.eye(2)])
    for each in (start, far):
        at = normal_approximation(data, model.required_prior, each)
        density = LogPosterior(data, at.prior, at.coordinates)
        value, slope = density(np.zeros(at.coordinates.n_dim))
        assert np.linalg.norm(slope) < 0.1  # posterior standard deviations
        height = at.log_mass - 0.5 * at.coordinates.n_dim * math.log(2.0 * math.pi)
        np.testing.assert_allclose(height, value, atol=0.01)


def test_the_mode_of_many_rows_is_found_by_the_information_of_some(monkeypatch):
    """The same mode, from a start that is far in posterior standard deviations."""
    data, model, one, _ = two_ways()
    shifted = Mixture(one.weights, one.means + 0.3, one.covariances)
    exact = normal_approximation(data, model.required_prior, shifted)
    monkeypatch.setattr(mode, "_SOME_ROWS", 200)
    found = normal_approximation(data, model.required_prior, shifted)
    assert np.linalg.norm(exact.coordinates.point(found.mixture)) < 0.02
    np.testing.assert_allclose(found.log_mass, exact.log_mass, atol=0.01)


def test_a_start_in_other_labels_is_the_same_optimum():
    data, model, one = two_ways()[:3]
    found = approximate(data, model, [one, one.permute(np.array([1, 0]))], 100, rng=np.random.default_rng(0))
    assert len(found) == 1


def two_ways(n=400):
    """Four groups at the corners of a square, and two components: left and right, or above and below."""
    rng = np.random.default_rng(5)
    X = rng.normal(0.0, 0.5, (n, 2)) + rng.choice([-3.0, 3.0], (n, 2))
    X = np.concatenate([X, X[:, ::-1]])  # the same after a swap of the features
    prior = Prior.normal_inverse_wishart(mean=[0.0, 0.0], kappa=0.1, dof=4.0, scale=np.eye(2))
    stretched = np.diag([0.3, 9.0]), np.diag([9.0, 0.3])
    optima = [
        Mixture([0.5, 0.5], [np.array([-3.0, 0.0])[::step], np.array([3.0, 0.0])[::step]], [each, each])
        for step, each in zip((1, -1), stretched, strict=True)
    ]
    return Data.of(X), Model.of("full", 2, 2, prior=prior), *optima


def test_optima_are_weighed_by_their_evidence():
    """Of two that a symmetry of the rows swaps, each has half of the posterior."""
    data, model, *optima = two_ways()
    rng = np.random.default_rng(0)
    found = approximate(data, model, optima, 4_000, rng=rng)
    one, other = found
    error = math.hypot(one.log_evidence_se, other.log_evidence_se)
    assert abs(one.log_evidence - other.log_evidence) < bound() * error < 0.3
    chosen = resampled(found, 4_000, rng=rng)
    assert abs((chosen.optimum == 0).mean() - 0.5) < 0.1
    assert 4_000 < effective_draws(found) < 8_000
    for m, each in enumerate(found):
        own = chosen.optimum == m
        np.testing.assert_allclose(
            chosen.draws.means[own][0], each.normal.parameters(each.points).means[chosen.proposal[own][0]]
        )


def test_an_optimum_without_weight_is_left_out():
    data, model, *optima = two_ways()
    left = data.rows[data.rows[:, 0] < 0.0]  # once more, a little higher: left and right fit better
    more = Data.of(np.concatenate([data.rows, left - [1.0, 0.0], left - [1.0, 0.0]]))
    found = approximate(more, model, optima, 100, rng=np.random.default_rng(0))
    assert len(found) == 1
    masses = [normal_approximation(more, model.required_prior, each).log_mass for each in optima]
    assert found[0].normal.log_mass == max(masses) > min(masses) + 30.0


@pytest.mark.parametrize("seed", range(3))
def test_few_rows_of_overlapping_components_are_refused(seed):
    rng = np.random.default_rng(seed)
    factors = 0.4 * np.tril(rng.normal(size=(4, 5, 5)), -1) + np.eye(5)
    truth = Mixture([0.4, 0.3, 0.2, 0.1], rng.normal(0.0, 1.5, (4, 5)), factors @ np.swapaxes(factors, 1, 2))
    X = truth.sample(300, rng=rng)[0]
    model = Model.of("full", 4, 5, prior=Prior.weakly_informative(X))
    with pytest.raises(SamplingError, match=r'inference="nuts"'):
        approximate(Data.of(X), model, [truth], 4_000, rng=rng)


def test_no_maximum_is_an_error():
    """A component without rows under a prior that has no mode there."""
    X = np.random.default_rng(0).normal(size=(30, 2))
    prior = Prior.weakly_informative(X, concentration=0.01)
    start = Mixture([1.0 - 1e-9, 1e-9], [[0.0, 0.0], [1e6, 1e6]], [np.eye(2), np.eye(2)])
    with pytest.raises(SamplingError, match="Laplace approximation"):
        approximate(Data.of(X), Model.of("full", 2, 2, prior=prior), [start], 100, rng=np.random.default_rng(0))
