"""Conjugate densities given allocations: against the prior's own density, Bayes' theorem, and their own draws."""

from dataclasses import replace
from itertools import permutations
from math import factorial, log

import numpy as np
import pytest
from monte_carlo import FALSE_ALARM, bound
from reference import FAMILIES, random_mixture
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_normal

from bayesgmm.data import Data
from bayesgmm.evidence.conditional_densities import Conditionals, log_mean_densities
from bayesgmm.mixture.draws import Draws
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior

FORMS = ("normal_inverse_wishart", "independent")
K, D = 3, 2


def some_prior(form, rng):
    root = rng.normal(size=(D, D))
    common = {"concentration": 1.7, "mean": rng.normal(size=D), "dof": 5.0, "scale": root @ root.T + np.eye(D)}
    if form == FORMS[0]:
        return Prior.normal_inverse_wishart(kappa=0.3, **common)
    return Prior.independent(mean_covariance=2.0 * np.eye(D) + 0.5, **common)


def some_mixtures(covariance_type, rng, n=4):
    return [random_mixture(rng, covariance_type, (K, D)) for _ in range(n)]


def stacked(mixtures) -> Draws:
    arrays = (np.stack([getattr(m, name) for m in mixtures]) for name in ("weights", "means", "full_covariances"))
    return Draws(*arrays, family=mixtures[0].family)


@pytest.mark.draws
def test_a_badly_conditioned_prior_can_be_drawn_from():
    """Fewer rows than features, in different units: the covariance of the data is all but singular."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(15, 30)) * 10.0 ** rng.uniform(-0.5, 0.5, 30)
    with pytest.warns(UserWarning, match="singular"):
        prior = Prior.weakly_informative(X).resolve(1, 30, "full")
    means = Conditionals.of_prior(prior).sample(400, rng=rng).means
    sd = 2.0 * X.std(axis=0, ddof=1)
    np.testing.assert_allclose(means[:, 0].std(axis=0), sd, rtol=0.25)


def test_covariances_of_dependent_features_are_positive_definite_whatever_is_drawn():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50))
    X = np.c_[x, y, 1e-9 * x]
    with pytest.warns(UserWarning, match="singular"):
        cov = 10.0 * Prior.weakly_informative(X).scale
    prior = Prior.normal_inverse_wishart(mean=np.zeros(3), kappa=1.0, dof=3.0, scale=cov).resolve(2, 3, "full")
    covariances = Conditionals.of_prior(prior).sample(20_000, rng=rng).covariances
    assert np.isfinite(np.linalg.cholesky(covariances)).all()


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_given_nothing_it_is_the_prior(form, covariance_type):
    rng = np.random.default_rng(0)
    prior = some_prior(form, rng).resolve(K, D, covariance_type)
    mixtures = some_mixtures(covariance_type, rng)
    want = [prior.log_prob(mixture) for mixture in mixtures]
    density = Conditionals.of_prior(prior)
    np.testing.assert_allclose(density.log_density(stacked(mixtures)), want, rtol=1e-10)
    np.testing.assert_allclose(density.log_labelled_density(stacked(mixtures))[:, 0], want, rtol=1e-10)


def joint(prior, mixture, X, labels):
    """log p(parameters) + log p(labels, rows | parameters)."""
    total = prior.log_prob(mixture) + np.log(mixture.weights[labels]).sum()
    for k in range(K):
        rows = X[labels == k]
        if len(rows):
            total += multivariate_normal(mixture.means[k], mixture.full_covariances[k]).logpdf(rows).sum()
    return total


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_a_conjugate_prior_gives_the_exact_posterior(covariance_type):
    """Density given rows less log joint density is the same number, minus log evidence, wherever it is taken."""
    rng = np.random.default_rng(1)
    prior = some_prior(FORMS[0], rng).resolve(K, D, covariance_type)
    X, labels = rng.normal(size=(12, D)), rng.integers(0, K - 1, size=12)  # one component stays empty
    mixtures = some_mixtures(covariance_type, rng)
    draws = stacked(mixtures)
    given = Conditionals.of_prior(prior).given(Data(X), labels[None], draws[:1])
    difference = given.log_labelled_density(draws)[:, 0]
    difference -= [joint(prior, mixture, X, labels) for mixture in mixtures]
    np.testing.assert_allclose(difference, difference[0], rtol=1e-9)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("block", ["means", "covariances"])
def test_an_independent_prior_gives_each_block_given_the_other(covariance_type, block):
    rng = np.random.default_rng(2)
    prior = some_prior(FORMS[1], rng).resolve(K, D, covariance_type)
    X, labels = rng.normal(size=(12, D)), rng.integers(0, K - 1, size=12)
    one, *others = some_mixtures(covariance_type, rng)
    kept = {"means": "covariances", "covariances": "means"}[block]
    values = [{kept: getattr(one, kept), block: getattr(m, block)} for m in (one, *others)]
    mixtures = [Mixture(one.weights, v["means"], v["covariances"], covariance_type) for v in values]
    draws = stacked(mixtures)
    given = Conditionals.of_prior(prior).given(Data(X), labels[None], draws[:1])
    difference = given.log_labelled_density(draws)[:, 0]
    difference -= [joint(prior, mixture, X, labels) for mixture in mixtures]
    np.testing.assert_allclose(difference, difference[0], rtol=1e-9)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_hyperparameters_of_each_allocation_take_the_place_of_the_prior_s(covariance_type):
    """Each allocation's density is that under a prior with its numbers."""
    rng = np.random.default_rng(6)
    common = {"mean": np.zeros(D), "mean_covariance": 3.0 * np.eye(D), "dof": 5.0}
    drawn = Prior.independent(**common, concentration=Prior.gamma(1.0, 2.0), scale=Prior.wishart(4.0, np.eye(D)))
    mixtures = some_mixtures(covariance_type, rng, 5)
    draws = stacked(mixtures)
    numbers = drawn.hyperparameters_given(draws.weights, draws.covariances, covariance_type=covariance_type, rng=rng)
    X, labels = rng.normal(size=(12, D)), rng.integers(0, K, size=(5, 12))
    base = Conditionals.of_prior(drawn.resolve(K, D, covariance_type).inverse_wishart, **numbers)
    got = base.given(Data(X), labels, draws).log_labelled_density(draws)
    for i in range(5):
        fixed = {"scale": numbers["prior_scale"][i], "concentration": numbers["prior_concentration"][i]}
        alone = Conditionals.of_prior(Prior.independent(**common, **fixed).resolve(K, D, covariance_type))
        own = alone.given(Data(X), labels[i : i + 1], draws[i : i + 1])
        want = own.log_labelled_density(draws)[:, 0]
        np.testing.assert_allclose(got[:, i], want, rtol=1e-10)


@pytest.mark.draws
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_draws_follow_the_density(form, covariance_type):
    """E[1 / density ratio] of two densities is one: checked with draws from each, in both directions."""
    rng = np.random.default_rng(3)
    prior = some_prior(form, rng).resolve(K, D, covariance_type)
    mixtures = some_mixtures(covariance_type, rng, 2)
    X, labels = rng.normal(size=(9, D)), rng.integers(0, K, size=(2, 9))
    wide = Conditionals.of_prior(prior).given(Data(X), labels, stacked(mixtures))
    narrow = replace(wide, concentration=wide.concentration + 1.0, dof=wide.dof + 2.0)
    points = wide.sample(40_000, rng=rng)
    ratio = np.exp(narrow.log_density(points) - wide.log_density(points))
    assert abs(ratio.mean() - 1.0) < bound() * ratio.std() / 200.0
    assert ratio.std() / 200.0 < 0.05


@pytest.mark.draws
def test_draws_of_one_covariance_have_the_right_distribution():
    prior = Prior.normal_inverse_wishart(mean=[1.0], kappa=2.0, dof=3.0, scale=[[5.0]]).resolve(1, 1, "full")
    draws = Conditionals.of_prior(prior).sample(4_000, rng=np.random.default_rng(4))
    variances = draws.covariances[:, 0, 0, 0]
    assert kstest(5.0 / variances, "chi2", args=(3.0,)).pvalue > FALSE_ALARM
    assert kstest((draws.means[:, 0, 0] - 1.0) / np.sqrt(variances / 2.0), "norm").pvalue > FALSE_ALARM


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("apart", [0.1, 30.0, 300.0])
def test_averages_equal_the_sums_over_allocations_and_permutations(k, apart):
    """Also where nearly all allocations are left out because they do not count."""
    rng = np.random.default_rng(k)
    tables, offsets = rng.normal(scale=apart, size=(6, 40, k, k)) - 500.0, rng.normal(scale=apart, size=(6, 40))
    sums = [tables[..., range(k), list(order)].sum(axis=-1) for order in permutations(range(k))]
    want = logsumexp(offsets + logsumexp(sums, axis=0) - log(factorial(k)), axis=1) - log(40)
    np.testing.assert_allclose(log_mean_densities(tables, offsets), want, rtol=1e-12)


def test_allocations_without_density_do_not_count():
    tables, offsets = np.zeros((1, 3, 2, 2)), np.array([[0.0, -np.inf, -np.inf]])
    assert log_mean_densities(tables, offsets)[0] == pytest.approx(-log(3))
    assert log_mean_densities(tables, offsets - np.inf)[0] == -np.inf


def test_labels_do_not_matter_and_allocations_are_averaged():
    rng = np.random.default_rng(5)
    prior = some_prior(FORMS[0], rng).resolve(K, D, "full")
    mixtures = some_mixtures("full", rng)
    draws = stacked(mixtures)
    X, labels = rng.normal(size=(9, D)), rng.integers(0, K, size=(4, 9))
    given = Conditionals.of_prior(prior).given(Data(X), labels, draws)
    orders = [np.tile(order, (4, 1)) for order in permutations(range(K))]
    labelled = [given.log_labelled_density(draws.reordered(order)) for order in orders]
    want = logsumexp(labelled, axis=(0, 2)) - log(len(orders) * 4)
    np.testing.assert_allclose(given.log_density(draws), want, rtol=1e-10)
    np.testing.assert_allclose(given.log_density(draws.reordered(orders[4])), want)
