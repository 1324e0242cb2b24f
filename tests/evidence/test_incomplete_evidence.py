"""The evidence of rows with missing values, against closed forms and enumeration."""

from itertools import product

import numpy as np
import pytest
from monte_carlo import bound
from scipy.special import gammaln, logsumexp
from test_marginal_likelihood import niw_log_evidence

from bayesgmm import BayesianGaussianMixture, Prior, average_models, combine_modes, log_evidence

pytestmark = pytest.mark.draws
PRIOR = Prior.normal_inverse_wishart(
    concentration=1.5, mean=[0.0, 0.0], kappa=0.3, dof=5.0, scale=[[1.0, 0.2], [0.2, 1.0]]
)
OF_FIRST = Prior.normal_inverse_wishart(concentration=1.5, mean=[0.0], kappa=0.3, dof=4.0, scale=[[1.0]])
SETTINGS = {"missing": "marginalize", "prior": PRIOR, "inference": "gibbs", "progress": False, "random_state": 1}


def rows(n, n_whole, seed=3):
    """Rows of which the second feature was observed in the first few only."""
    X = np.random.default_rng(seed).multivariate_normal([0.5, -0.5], [[1.0, 0.8], [0.8, 1.0]], n)
    X[n_whole:, 1] = np.nan
    return X


def of_component(X):
    """Of rows with a monotone pattern: the first feature of all, and the second given the first of those that have it.

    A normal-inverse-Wishart prior has the parameters of a regression independent of those of the regressor.
    """
    whole = X[~np.isnan(X[:, 1])]
    found = niw_log_evidence(X[:, :1], OF_FIRST) if len(X) else 0.0
    return found + (niw_log_evidence(whole, PRIOR) - niw_log_evidence(whole[:, :1], OF_FIRST) if len(whole) else 0.0)


def of_two_components(X, alpha=1.5):
    """By enumeration of all allocations."""
    found = []
    for labels in product([0, 1], repeat=len(X)):
        own = [X[np.equal(labels, k)] for k in (0, 1)]
        shares = sum(gammaln(alpha + len(each)) - gammaln(alpha) for each in own)
        shares += gammaln(2 * alpha) - gammaln(2 * alpha + len(X))
        found.append(shares + sum(map(of_component, own)))
    return logsumexp(found)


def test_one_component_with_a_monotone_pattern_in_closed_form():
    X = rows(30, 18)
    fit = BayesianGaussianMixture(1, **SETTINGS).fit(X)
    found = log_evidence(fit, random_state=1)
    assert found.se < 0.05
    assert abs(found.log_evidence - of_component(X)) < bound() * found.se
    assert abs(found.thames.log_evidence - of_component(X)) < bound() * found.thames.se


def test_two_components_by_enumeration_and_an_average_of_models():
    X = rows(8, 5)
    X[::2] += [3.0, 2.0]
    fits = [BayesianGaussianMixture(k, draws=600, tune=100, **SETTINGS).fit(X) for k in (1, 2)]
    found = [log_evidence(fit, random_state=1) for fit in fits]
    exact = [of_component(X), of_two_components(X)]
    for own, truth in zip(found, exact, strict=True):
        assert own.se < 0.1
        assert abs(own.log_evidence - truth) < bound(2) * own.se
    average = average_models(fits, evidences=found)
    np.testing.assert_allclose(average.table["log_evidence"], exact, atol=0.5)
    assert combine_modes(fits[0]) is fits[0].posterior_
