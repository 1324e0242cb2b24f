"""Gibbs sampling block by block: draws are those of sweeps in memory in distribution, and do not depend on threads."""

from concurrent.futures import ThreadPoolExecutor

import arviz as az
import numpy as np
import pytest
from monte_carlo import bound
from reference import load_data

from bayesgmm import Prior
from bayesgmm.data import Data
from bayesgmm.gibbs import BlockSweeps, Kept, run_chains
from bayesgmm.gibbs.sweep import Sweeps
from bayesgmm.mixture import Draws, Mixture, covariance_family
from bayesgmm.priors import Gamma, Model

pytestmark = pytest.mark.draws
START = Mixture(
    [0.36, 0.64], [[2.04, 54.5], [4.29, 80.0]], np.array([[[0.07, 0.4], [0.4, 34.0]], [[0.17, 0.9], [0.9, 36.0]]])
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("bayesgmm.data.blocks.ROWS_PER_BLOCK", 140)


def model_of(family, prior=None):
    X, family = load_data("faithful"), covariance_family(family)
    start = Mixture(START.weights, START.means, family.compress(START.full_covariances), family.name)
    return start, Model.of_mixture(start, Prior.weakly_informative(X) if prior is None else prior)


def drawn(start, model, n, *, seed=0, pool=None):
    """Draws (chain, draw) of four chains and their log-likelihoods."""
    sweeps = BlockSweeps(Data.of(load_data("faithful")), model, [start] * 4, rng=np.random.default_rng(seed), pool=pool)
    kept = [Kept.room(chain, n) for chain in sweeps.chains]
    for s in range(-5, n):
        before = sweeps.draw(lambda: None)
        if s > 0:
            for own, value in zip(kept, before, strict=True):
                own.log_likelihood[s - 1] = value
        if s >= 0:
            sweeps.keep(kept, s)
    for own, value in zip(kept, sweeps.log_likelihoods(lambda: None), strict=True):
        own.log_likelihood[-1] = value
    weights, means, factors, log_likelihood = (np.stack(each) for each in zip(*kept, strict=True))
    return Draws.of_factors(weights, means, factors, family=model.family).end_to_end(), log_likelihood


def quantities(draws, log_likelihood):
    parts = [draws.weights, draws.means, np.log(draws.variances), log_likelihood.reshape(-1, 1)]
    return np.concatenate([part.reshape(len(draws), -1) for part in parts], axis=1).T


def assert_alike(one, other):
    pairs = [(a.reshape(4, -1), b.reshape(4, -1)) for a, b in zip(quantities(*one), quantities(*other), strict=True)]
    scores = [(a.mean() - b.mean()) / np.hypot(az.mcse(a), az.mcse(b)) for a, b in pairs]
    assert np.abs(scores).max() < bound(len(scores))


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical"])
def test_draws_are_those_of_memory(family):
    start, model = model_of(family)
    sweeps = Sweeps(Data.of(load_data("faithful")), model)
    memory = run_chains(sweeps, [start] * 4, burn=5, n=150, rng=np.random.default_rng(1))
    assert_alike(drawn(start, model, 150), memory)


def test_draws_under_hyperpriors_are_those_of_memory():
    X = load_data("faithful")
    start, model = model_of("full", Prior.weakly_informative(X, concentration=Gamma(2.0, 1.0)))
    sweeps = Sweeps(Data.of(X), model)
    memory = run_chains(sweeps, [start] * 4, burn=5, n=150, rng=np.random.default_rng(1))
    assert_alike(drawn(start, model, 150), memory)


def test_draws_do_not_depend_on_threads():
    start, model = model_of("full")
    with ThreadPoolExecutor(3) as pool:
        one, other = drawn(start, model, 5), drawn(start, model, 5, pool=pool)
    for a, b in zip((*one[0].arrays, one[1]), (*other[0].arrays, other[1]), strict=True):
        np.testing.assert_array_equal(a, b)
    again = drawn(start, model, 5, seed=1)
    assert not np.array_equal(again[1], one[1])


def test_equal_blocks_have_labels_of_their_own():
    """Two blocks of the same rows: if their labels were the same, counts would be even."""
    model = model_of("full")[1]
    twice = Data(np.asfortranarray(np.tile(load_data("faithful")[:140], (2, 1))))
    wide = Mixture([0.5, 0.5], np.tile([3.0, 70.0], (2, 1)), np.array([np.diag([2.0, 200.0])] * 2))
    sweeps = BlockSweeps(twice, model, [wide], rng=np.random.default_rng(0))
    counts = []
    for sweeps.n_sweeps in range(30):
        counts.append(sweeps._sums(lambda: None)[0, 1])
    assert {count % 2 for count in counts} == {0.0, 1.0}


def test_log_likelihoods_are_those_of_the_draws():
    start, model = model_of("full")
    draws, log_likelihood = drawn(start, model, 4)
    expected = [draws.mixture(s).log_prob(load_data("faithful")).sum() for s in range(len(draws))]
    np.testing.assert_allclose(log_likelihood.ravel(), expected, rtol=1e-12)
