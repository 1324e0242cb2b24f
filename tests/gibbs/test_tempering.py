"""The evidence by tempering: against closed forms, enumeration of allocations, and published and independent values."""

import numpy as np
import pytest
from mode_cases import exact_log_evidences
from monte_carlo import bound
from reference import load_data
from scipy.special import logsumexp, multigammaln

from bayesgmm import Prior
from bayesgmm.data import Data
from bayesgmm.gibbs import tempered_evidence
from bayesgmm.priors import Gamma, Model

pytestmark = pytest.mark.draws
SEVEN = np.array([0.0, 0.4, -0.3, 3.0, 3.5, 2.6, 1.4])[:, None]
OVERLAPPING = Prior.normal_inverse_wishart(concentration=1.5, mean=[1.0], kappa=0.3, dof=4.0, scale=[[1.0]])


def tempered(X, model, seed=1, **settings):
    return tempered_evidence(Data.of(X), model, rng=np.random.default_rng(seed), **settings)


def closed_form(X, mean, kappa, dof, scale):
    """One component under a normal-inverse-Wishart prior (Murphy 2007, equation 266)."""
    n, d = X.shape
    centred, shift = X - X.mean(axis=0), X.mean(axis=0) - mean
    after = scale + centred.T @ centred + kappa * n / (kappa + n) * np.outer(shift, shift)
    determinants = 0.5 * dof * np.linalg.slogdet(scale)[1] - 0.5 * (dof + n) * np.linalg.slogdet(after)[1]
    gammas = multigammaln(0.5 * (dof + n), d) - multigammaln(0.5 * dof, d)
    return gammas + determinants + 0.5 * d * np.log(kappa / (kappa + n)) - 0.5 * n * d * np.log(np.pi)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_one_component_in_closed_form(covariance_type):
    X = np.random.default_rng(0).normal([1.0, -2.0], [1.0, 3.0], (40, 2))
    mean, scale = np.zeros(2), np.array([[2.0, 0.0], [0.0, 1.0]])
    prior = Prior.normal_inverse_wishart(mean=mean, kappa=0.2, dof=5.0, scale=scale)
    found = tempered(X, Model.of(covariance_type, 1, 2, prior=prior))
    if covariance_type == "full":
        exact = closed_form(X, mean, 0.2, 5.0, scale)
    else:
        exact = sum(closed_form(X[:, [j]], mean[[j]], 0.2, 5.0, scale[j : j + 1, j : j + 1]) for j in range(2))
    assert 0.0 < found.se < 0.3
    assert abs(found.log_z - exact) < bound() * found.se


@pytest.mark.parametrize("weights", [None, np.array([1.0, 2.0, 1.0, 3.0, 1.0, 1.0, 1.0])])
def test_two_overlapping_components_by_enumeration(weights):
    rows = SEVEN if weights is None else np.repeat(SEVEN, weights.astype(int), axis=0)
    exact = logsumexp(exact_log_evidences(rows, OVERLAPPING, 2)[1])
    data = Data(np.asfortranarray(SEVEN), weights)
    found = tempered_evidence(data, Model.of("full", 2, 1, prior=OVERLAPPING), rng=np.random.default_rng(2))
    assert 0.0 < found.se < 0.2
    assert abs(found.log_z - exact) < bound() * found.se


GALAXIES = {3: -227.01, 6: -225.92, 8: -226.45, 10: -227.38}  # sequential importance sampling over observations


@pytest.mark.parametrize("k", [pytest.param(k, marks=() if k == 10 else pytest.mark.slow) for k in GALAXIES])
def test_galaxies_with_more_components_than_clusters(k):
    X = load_data("galaxies")
    found = tempered(X, Model.of("full", k, 1, prior=Prior.richardson_green(X)))
    assert found.se < 0.5 if k == 3 else found.se < 0.3
    assert abs(found.log_z - GALAXIES[k]) < bound() * np.hypot(found.se, 0.1)


def test_more_particles_know_it_better_and_seeds_agree():
    """With a sampled concentration; the same seed gives the same number."""
    prior = Prior.independent(
        mean=[1.0], mean_covariance=[[4.0]], dof=4.0, scale=[[1.0]], concentration=Gamma(2.0, 1.0)
    )
    model = Model.of("full", 3, 1, prior=prior)
    few = [tempered(SEVEN, model, seed, n_particles=400) for seed in range(6)]
    many = tempered(SEVEN, model, 7, n_particles=4_000)
    assert many.se < min(each.se for each in few)
    for each in few:
        assert abs(each.log_z - many.log_z) < bound(6) * np.hypot(each.se, many.se)
    assert tempered(SEVEN, model, 0, n_particles=400) == few[0]
