"""Split-merge moves: exact posteriors, from wherever a chain starts, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from exact_posterior import draws_given_labels
from mode_cases import CONJUGATE, LEFT, RIGHT, THREE_GROUPS, exact_log_evidences
from monte_carlo import bound, z_score

from bayesgmm.data import Data
from bayesgmm.gibbs import Kept, Sweeps
from bayesgmm.inference.gibbs import sample_gibbs
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture import Draws, Mixture, covariance_family
from bayesgmm.prediction import each_draw
from bayesgmm.priors import Model, Prior
from bayesgmm.split_merge import Moves, can_move
from bayesgmm.split_merge.moves import _pair

SETTINGS = SamplerSettings(seed=1, draws=400, tune=50, progress=False)
PAIRS = ((3, 4), (5, 6))  # together in one of the modes each


def together(draws, X, pairs):
    """Probabilities (draw, pair) that two rows lie together."""
    resp = np.stack([resp.copy() for _, resp in each_draw(draws, Data.of(X), with_memberships=True)])
    return np.stack([(resp[:, :, i] * resp[:, :, j]).sum(axis=1) for i, j in pairs], axis=1)


@pytest.mark.draws
@pytest.mark.parametrize("label", [LEFT, RIGHT])
def test_two_modes_have_their_weights_by_enumeration(label):
    rng = np.random.default_rng(1)
    allocations, log_z = exact_log_evidences(THREE_GROUPS, CONJUGATE, 2)
    p = np.exp(log_z - np.logaddexp.reduce(log_z))
    given = draws_given_labels(THREE_GROUPS, CONJUGATE, np.array([label]), 2, rng=rng)
    start = Draws(**given, family=covariance_family("full")).mixture(0)
    problem = Problem(Data.of(THREE_GROUPS), CONJUGATE, start, chain_starts=(start,))
    moves = Moves(problem.data, problem.model, every=1)
    draws, _ = sample_gibbs(problem, SETTINGS, rng, moves=moves)
    series = together(draws, THREE_GROUPS, PAIRS).reshape(4, -1, len(PAIRS))
    for each, (i, j) in zip(np.moveaxis(series, -1, 0), PAIRS, strict=True):
        truth = p[allocations[:, i] == allocations[:, j]].sum()
        assert abs(z_score(each, truth)) < bound(2 * 2)


@pytest.mark.draws
@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
@pytest.mark.parametrize("prior", ["weakly_informative", "malsiner_walli"])
def test_chains_equal_those_of_plain_gibbs_sampling(covariance_type, prior):
    """With a component too many, which plain sweeps of few rows fill and empty, and sampled hyperparameters."""
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(12, 2)), rng.normal(size=(12, 2)) + np.array([2.5, 0.0])])
    own = {
        "weakly_informative": Prior.weakly_informative(X),
        "malsiner_walli": Prior.malsiner_walli(X, concentration=0.8),
    }[prior]
    covariances = covariance_family(covariance_type).compress(np.broadcast_to(np.cov(X.T), (3, 2, 2)))
    start = Mixture(np.full(3, 1 / 3), X[[0, 10, 20]], covariances, covariance_type)
    problem = Problem(Data.of(X), own, start)
    plain = sample_gibbs(problem, replace(SETTINGS, draws=3_000), rng)
    moved = sample_gibbs(problem, SETTINGS, rng, moves=Moves(problem.data, problem.model, every=2))
    for a, b in zip(quantities(*plain), quantities(*moved), strict=True):
        assert abs(z_between(a, b)) < bound(6 * 4)


def quantities(draws, run):
    smallest = draws.weights.min(axis=1)
    overall = np.einsum("sk,skd->sd", draws.weights, draws.means)
    return [run.stats["lp"], smallest.reshape(4, -1), overall[:, 0].reshape(4, -1), (smallest < 0.02).reshape(4, -1)]


def z_between(a, b):
    """Difference of two means in its Monte Carlo error."""
    errors = [(each.mean() - 1e9) / z_score(each.astype(float), 1e9) for each in (a, b)]
    return (a.mean() - b.mean()) / np.hypot(*errors)


@pytest.mark.draws
def test_an_empty_component_is_filled_where_sweeps_do_not():
    """Of three groups of four features two are one component at first, and the third has none of the rows."""
    rng = np.random.default_rng(2)
    centres = np.repeat([[0.0], [4.0], [8.0]], 4, axis=1)
    X = np.concatenate([rng.normal(size=(60, 4)) + centre for centre in centres])
    model = Model.of("full", 3, 4, prior=Prior.weakly_informative(X))
    merged = np.cov(X[60:].T)
    covariances = np.stack([np.eye(4), merged, 0.1 * np.eye(4)])
    start = Mixture(
        np.array([0.33, 0.66, 0.01]), np.stack([centres[0], 0.5 * (centres[1] + centres[2]), X[0]]), covariances
    )
    sweeps, moves = Sweeps(Data.of(X), model), Moves(Data.of(X), model)
    chain = sweeps.chain(start)
    kept = Kept.room(chain, 1)
    for _ in range(60):
        sweeps.run(rng, chain, kept, first=0, n=1)
        moves.step(chain, rng)
    sweeps.run(rng, chain, kept, first=0, n=1)
    assert kept.weights.min() > 0.2


def test_the_pair_is_that_of_two_rows_or_has_the_smallest_component():
    counts = np.array([5, 1, 7, 2])
    assert _pair(2, 0, counts) == (0, 2)
    assert _pair(2, 2, counts) == (1, 2)
    assert _pair(1, 1, counts) == (1, 3)


def test_moves_need_alike_components_with_covariances_of_their_own_and_rows_that_count_once():
    X = np.random.default_rng(0).normal(size=(20, 2))
    prior, data = Prior.weakly_informative(X), Data.of(X)
    assert can_move(Model.of("full", 2, 2, prior=prior), data)
    assert not can_move(Model.of("tied", 2, 2, prior=prior), data)
    assert not can_move(Model.of("full", 1, 2, prior=prior), data)
    assert not can_move(Model.of("full", 2, 2, prior=replace(prior, mean=np.array([[0.0, 0.0], [1.0, 1.0]]))), data)
    assert not can_move(Model.of("full", 2, 2, prior=prior), Data(X, np.full(20, 2.0)))
