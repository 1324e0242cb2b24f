"""Missing values in Gibbs sampling: drawn given labels and what was observed, before the rest goes on as ever."""

import numpy as np
import pytest
from exact_posterior import updated
from incomplete_cases import log_joint, problem
from monte_carlo import bound

from bayesgmm import Prior
from bayesgmm.data import Data, IncompleteData
from bayesgmm.gibbs import Kept, Sweeps
from bayesgmm.gibbs.sweep import draw_labels
from bayesgmm.mixture import Mixture, row_densities, row_memberships
from bayesgmm.priors import Model

N_REPEATS = 1_500


def sweeps_of(name, data, mixture):
    prior = Prior.weakly_informative(np.random.default_rng(0).normal(size=(30, mixture.n_features)))
    return Sweeps(data, Model.of(name, mixture.n_components, mixture.n_features, prior=prior))


def expected_moments(mixture, data):
    """Counts, and moments about the means of components, expected given what was observed, with explicit inverses."""
    k, d = mixture.means.shape
    counts, first, second = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    for x, n in zip(data.entries, data.weights, strict=True):
        o, joint = ~np.isnan(x), log_joint(mixture, x)
        resp = n * np.exp(joint - np.logaddexp.reduce(joint))
        for j, (mu, sigma) in enumerate(zip(mixture.means, mixture.full_covariances, strict=True)):
            slopes = sigma[:, o] @ np.linalg.inv(sigma[np.ix_(o, o)])
            mean = slopes @ (x[o] - mu[o])
            counts[j] += resp[j]
            first[j] += resp[j] * mean
            second[j] += resp[j] * (np.outer(mean, mean) + sigma - slopes @ sigma[o])
    return counts, first, second


@pytest.mark.draws
@pytest.mark.parametrize("name", ["full", "tied", "diag"])
def test_counts_and_moments_of_completed_rows_are_those_expected(name) -> None:
    mixture, data = problem(name, n_rows=12, d=4, k=2)
    data = IncompleteData(data.entries, np.arange(12) % 3 + 1.0)
    sweeps, rng = sweeps_of(name, data, mixture), np.random.default_rng(1)
    chain, found = sweeps.chain(mixture), []
    for _ in range(N_REPEATS):
        draw_labels(*sweeps.kernel, rng, sweeps.rows, chain)
        found.append(np.concatenate([chain.counts, chain.first.ravel(), chain.second.ravel()]))
    np.testing.assert_allclose(chain.memberships.T, row_memberships(data, mixture), atol=1e-12)
    np.testing.assert_allclose(chain.log_density, row_densities(data, mixture), rtol=1e-10)
    counts, first, second = expected_moments(mixture, data)
    family, one = mixture.family, mixture.family.parametrisation
    second = second.sum(axis=0, keepdims=True) if family.shared else second
    blocks = np.stack([one.blocks(each) * one.width(4) for each in second])
    if family.parametrisation.correlated:  # the lower triangle is what counts
        used = np.broadcast_to(np.tri(4, dtype=bool), blocks.shape)
    else:
        used = np.ones(blocks.shape, dtype=bool)
    keep = np.concatenate([np.ones(counts.size + first.size, dtype=bool), used.ravel()])
    drawn = np.array(found)[:, keep]
    expected = np.concatenate([counts, first.ravel(), blocks.ravel()])[keep]
    z = (drawn.mean(axis=0) - expected) / (drawn.std(axis=0) / np.sqrt(N_REPEATS))
    assert np.abs(z).max() < bound(len(z))


def monotone_rows():
    """Rows of which the second feature is missing in some, and their prior."""
    rng = np.random.default_rng(3)
    X = rng.multivariate_normal([1.0, -1.0], [[1.0, 0.8], [0.8, 1.0]], 16)
    X[9:, 1] = np.nan
    prior = Prior.normal_inverse_wishart(mean=[0.0, 0.0], kappa=0.5, dof=5.0, scale=[[1.0, 0.2], [0.2, 1.0]])
    return X, prior


def posterior_means(X, prior):
    """Of a normal distribution, with a monotone pattern: of the first feature, and of the second by regression."""
    whole = X[~np.isnan(X).any(axis=1)]
    _, mean, _, scale = updated(prior, np.array(float(len(whole))), whole.sum(axis=0), whole.T @ whole)
    first = (prior.kappa * prior.mean[0] + X[:, 0].sum()) / (prior.kappa + len(X))
    return np.array([first, mean[1] + scale[1, 0] / scale[0, 0] * (first - mean[0])])


@pytest.mark.draws
def test_the_posterior_of_a_monotone_pattern_is_exact() -> None:
    X, prior = monotone_rows()
    sweeps = Sweeps(IncompleteData(X), Model.of("full", 1, 2, prior=prior))
    chain = sweeps.chain(Mixture([1.0], [[0.0, 0.0]], [np.eye(2)]))
    kept = Kept.room(chain, 20_000)
    sweeps.run(np.random.default_rng(1), chain, kept, first=-200, n=20_200)
    batches = kept.means[:, 0].reshape(200, 100, 2).mean(axis=1)
    z = (batches.mean(axis=0) - posterior_means(X, prior)) / (batches.std(axis=0) / np.sqrt(199.0))
    assert np.abs(z).max() < bound(2)


def test_complete_rows_are_drawn_as_before_to_the_last_bit() -> None:
    X = np.random.default_rng(0).normal(size=(20, 4))
    mixture, _ = problem("full", n_rows=2, d=4, k=2)
    runs = []
    for data in (Data(np.asfortranarray(X)), IncompleteData(X)):
        sweeps = sweeps_of("full", data, mixture)
        chain = sweeps.chain(mixture)
        kept = Kept.room(chain, 5)
        sweeps.run(np.random.default_rng(2), chain, kept, first=0, n=5)
        runs.append(kept)
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
