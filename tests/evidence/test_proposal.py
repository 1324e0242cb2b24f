"""The proposal of bridge sampling: a density on one labelling, and evidences in many dimensions."""

from math import lgamma, log

import numpy as np
import pytest
from em_cases import load_data
from monte_carlo import bound
from scipy.special import expit

from bayesgmm import BayesianGaussianMixture, Prior, log_evidence
from bayesgmm.evidence import proposal as module
from bayesgmm.evidence.marginal_likelihood import target_of_tree
from bayesgmm.evidence.mode_weights import halves
from bayesgmm.evidence.proposal import Proposal, best_mixture, has_labels_of, in_labels_of
from bayesgmm.log_posterior import whitened_log_posterior
from bayesgmm.posterior import draws_of

pytestmark = pytest.mark.draws


@pytest.fixture(scope="module")
def three():
    """Three components for Old Faithful, which has two clusters: labels overlap."""
    model = BayesianGaussianMixture(3, inference="gibbs", draws=500, random_state=0, progress=False)
    return model.fit(load_data("faithful"))


def parts_of(fit, *, seed=0):
    """Conditionals, draws in the labels of the best one, and that one."""
    target, draws = target_of_tree(fit.posterior_), draws_of(fit.posterior_)
    labels = best_mixture(draws, target.log_joint(draws))
    draws = in_labels_of(labels, draws)
    return target.conditionals(draws, rng=np.random.default_rng(seed)), draws, labels


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("with_normal", [True, False])
def test_the_density_is_that_of_the_points_in_the_labelling(symmetric, with_normal, three, monkeypatch):
    """The integral of p q / (p + q) over the labelling by draws of either of two proposals: bounded terms."""
    monkeypatch.setattr(module, "_IN_LABELLING", 0.0 if with_normal else 2.0)
    conditionals, draws, labels = parts_of(three)
    other, _, _ = parts_of(three, seed=1)
    rng = np.random.default_rng(2)
    own, second = (Proposal.of(c, draws, labels, symmetric=symmetric, rng=rng) for c in (conditionals, other))
    assert (own.normal is not None) is with_normal
    terms = []
    for one, two in ((own, second), (second, own)):
        points = one.sample(8_000, rng=rng)
        terms.append(np.where(one.counts(points), expit(two.log_density(points) - one.log_density(points)), 0.0))
    error = np.hypot(*(each.std() for each in terms)) / np.sqrt(8_000)
    assert abs(terms[0].mean() - terms[1].mean()) < bound() * error
    assert terms[0].mean() > 10.0 * error
    if symmetric and not with_normal:
        assert second.counts(points).all()


@pytest.mark.parametrize("share", [0.0, 2.0])
def test_evidences_do_not_depend_on_whether_the_normal_density_is_used(share, three, monkeypatch):
    monkeypatch.setattr(module, "_IN_LABELLING", share)
    found = log_evidence(three, random_state=1, cross_check=False)
    assert found.bridge.se < 0.15
    assert abs(found.bridge.log_evidence + 1169.87) < bound() * np.hypot(found.bridge.se, 0.03)


def test_with_few_draws_or_many_parameters_there_is_no_normal_density(three):
    conditionals, draws, labels = parts_of(three)
    settings = {"symmetric": True, "rng": np.random.default_rng(0)}
    assert Proposal.of(conditionals, draws[:34], labels, **settings).normal is None  # 17 parameters
    assert Proposal.of(None, draws[:40], labels, **settings).normal is not None  # there is no other


def test_halves_are_the_first_and_second_of_each_chain():
    first, second = halves(np.array([2, 2, 2, 0, 0, 0, 0, 5]))
    np.testing.assert_array_equal(first, [0, 1, 3, 4, 7])
    np.testing.assert_array_equal(second, [2, 5, 6])


def groups(n_rows, apart, *, k=4, d=5):
    rng = np.random.default_rng(0)
    centres = apart / np.sqrt(2.0) * np.eye(k, d)
    return centres[rng.integers(k, size=n_rows)] + rng.normal(size=(n_rows, d))


def importance_sampled(fit, *, n=4_000):
    """Log evidence and standard error by normal points in coordinates whitened at the mode; no draw is needed."""
    target, draws = target_of_tree(fit.posterior_), draws_of(fit.posterior_)
    labels = best_mixture(draws, target.log_joint(draws))
    density = whitened_log_posterior(target.data, target.prior, labels)
    z = np.random.default_rng(0).standard_normal((n, density.n_dim))
    log_normal = -0.5 * ((z**2).sum(axis=1) + density.n_dim * log(2.0 * np.pi))
    ratios = np.array([density(point)[0] for point in z]) - log_normal
    inside = has_labels_of(labels, density.coordinates.parameters(z))
    shift = ratios[inside].max()
    weights = np.where(inside, np.exp(ratios - shift), 0.0)
    log_z = shift + log(weights.mean()) + lgamma(fit.n_components + 1.0)
    return log_z, float(weights.std() / weights.mean() / np.sqrt(n))


@pytest.mark.parametrize(
    ("n_rows", "apart"),
    [
        (2_000, 4.0),
        *(pytest.param(n, apart, marks=pytest.mark.slow) for n in (5_000, 20_000) for apart in (3.0, 6.0)),
    ],
)
def test_many_parameters_by_three_methods(n_rows, apart):
    """83 parameters; what is fitted to every other draw of a chain fits the others, and all came out low."""
    X = groups(n_rows, apart)
    model = BayesianGaussianMixture(4, prior=Prior.weakly_informative(X), random_state=0, progress=False)
    fit = model.fit(X)
    found = log_evidence(fit, random_state=1)
    want, se = importance_sampled(fit)
    assert se < 0.1
    assert found.bridge.se < 0.15
    assert found.findings == ()
    assert abs(found.bridge.log_evidence - want) < bound() * np.hypot(found.bridge.se, se)
    assert abs(found.thames.log_evidence - want) < bound() * np.hypot(found.thames.se, se)
