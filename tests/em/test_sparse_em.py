"""EM under sparse priors: fixed concentrations below one, and concentrations that are a missing value."""

import numpy as np
import pytest
from em_cases import one_start
from reference import FAMILIES, load_data

from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior

CONCENTRATIONS = {"fixed": 0.01, "gamma": Prior.gamma(1.0, 20.0), "gamma above one": Prior.gamma(4.0, 2.0)}


def climb(X, covariance_type, concentration, *, n_components=4, **settings):
    prior = Prior.weakly_informative(X, concentration=concentration)
    resolved = prior.resolve(n_components, X.shape[1], covariance_type)
    start = one_start(Data.of(X), n_components, rng=np.random.default_rng(1), covariance_type=covariance_type)
    return prior, run_em(Data.of(X), start, prior=resolved, settings=EMSettings(reg_covar=0.0, **settings))


def objective(X, prior, mixture):
    """Log posterior in softmax coordinates, hyperparameters integrated out."""
    return mixture.log_prob(X).sum() + prior.log_prob(mixture) + np.log(mixture.weights).sum()


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("concentration", CONCENTRATIONS.values(), ids=CONCENTRATIONS)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_marginal_log_posterior_never_falls(covariance_type, concentration, accelerate):
    X = load_data("faithful")
    prior, found = climb(X, covariance_type, concentration, max_iter=300, accelerate=accelerate)
    steps = np.diff(found.history)
    assert steps.min() >= -1e-9 * abs(found.objective)
    assert found.objective == pytest.approx(objective(X, prior, found.mixture), rel=1e-12)


@pytest.mark.parametrize("concentration", CONCENTRATIONS.values(), ids=CONCENTRATIONS)
def test_the_gradient_in_softmax_coordinates_vanishes_at_the_optimum(concentration):
    X = load_data("galaxies")
    X = X / X.std()
    prior, found = climb(X, "full", concentration, tol=0.0, max_iter=20_000)
    assert found.converged
    at = found.mixture

    def moved(direction, step):
        log_w = np.log(at.weights) + step * direction
        weights = np.exp(log_w - np.logaddexp.reduce(log_w))
        return objective(X, prior, Mixture(weights, at.means, at.covariances))

    slopes = [(moved(e, 1e-5) - moved(e, -1e-5)) / 2e-5 for e in np.eye(4)]
    np.testing.assert_allclose(slopes, 0.0, atol=1e-3)


def test_a_narrow_prior_on_the_concentration_is_the_fixed_one():
    X = load_data("faithful")
    fixed = climb(X, "full", 0.05, tol=0.0)[1].mixture
    narrow = climb(X, "full", Prior.gamma(5e6, 1e8), tol=0.0)[1].mixture
    np.testing.assert_allclose(narrow.weights, fixed.weights, atol=1e-5)
    np.testing.assert_allclose(narrow.means, fixed.means, rtol=1e-4)
