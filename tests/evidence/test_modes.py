"""Modes of a posterior: found where there are some, and weighed as exact enumeration weighs them."""

import numpy as np
import pytest
from em_cases import best_fit
from mode_cases import CONJUGATE, LEFT, OTHERWISE, RIGHT, THREE_GROUPS, exact_log_evidences, sampled, stuck_chains
from monte_carlo import bound
from scipy.special import logsumexp

from bayesgmm.data.blocks import Data
from bayesgmm.evidence.mode_weights import Target, effective_size, in_proportion, inside_of, pool, weigh_modes
from bayesgmm.evidence.modes import COMPARED, Mode, Modes, Sample, evaluate, find_modes
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.draws import Draws
from bayesgmm.partitions.partition_losses import losses
from bayesgmm.priors.model import Model
from bayesgmm.priors.prior import Prior


def target_of(X, prior):
    return Target(Data.of(X), Model.of("full", 2, X.shape[1], prior=prior))


def test_evidence_of_a_single_mode_equals_enumeration():
    X = np.array([0.0, 0.4, -0.3, 3.0, 3.5, 2.6, 1.4])[:, None]
    prior = Prior.normal_inverse_wishart(concentration=1.5, mean=[1.0], kappa=0.3, dof=4.0, scale=[[1.0]])
    em, _ = best_fit(Data.of(X), 2, rng=np.random.default_rng(0), prior=prior)
    points = sampled(X, prior, [em.mixture] * 2, draws=1500)
    whole = Modes((Mode(np.zeros(7, np.int32), 1, len(points), [0, 1], 0.0),), np.zeros(len(points), int), 1.0)
    (mode,) = weigh_modes(whole, points, target_of(X, prior), rng=np.random.default_rng(0)).modes
    exact = logsumexp(exact_log_evidences(X, prior, 2)[1])
    assert mode.bridge.se < 0.05
    assert abs(mode.bridge.log_z - exact) < bound() * mode.bridge.se
    assert mode.weight == 1.0


@pytest.fixture(scope="module")
def two_modes():
    """Three groups of rows and K = 2: unequally many draws of the one mode and the other."""
    return stuck_chains()


def test_chains_in_two_real_modes_are_told_apart(two_modes):
    modes = find_modes(two_modes, Data.of(THREE_GROUPS), rng=np.random.default_rng(0))
    assert modes.separate
    assert modes.r_hat > 1.5
    assert len(modes.modes) == 2
    for labels in (LEFT, RIGHT):
        ((m, own),) = [
            (m, mode)
            for m, mode in enumerate(modes.modes)
            if losses(mode.centre[None], np.array(labels, np.int32))[0] == 0.0
        ]
        assert own.chains == ([0] if labels is LEFT else [1, 2])
        np.testing.assert_array_equal(np.unique(two_modes.chain[modes.labels == m]), own.chains)
    assert sum(mode.n_draws for mode in modes.modes) == len(two_modes)


def test_weights_of_modes_equal_enumeration(two_modes):
    """However many chains stayed in each."""
    modes = find_modes(two_modes, Data.of(THREE_GROUPS), rng=np.random.default_rng(0))
    weighed = weigh_modes(modes, two_modes, target_of(THREE_GROUPS, CONJUGATE), rng=np.random.default_rng(0))
    allocations, log_z = exact_log_evidences(THREE_GROUPS, CONJUGATE, 2)
    distances = [losses(allocations.astype(np.int32), mode.centre) for mode in weighed.modes]
    nearest = np.argmin(distances, axis=0)
    share = np.exp(log_z - logsumexp(log_z))
    for m, mode in enumerate(weighed.modes):
        want = share[nearest == m].sum()
        assert 0.05 < want < 0.95
        assert mode.weight_se < 0.02
        assert abs(mode.weight - want) < bound(2) * mode.weight_se + OTHERWISE
    assert sum(mode.weight for mode in weighed.modes) == pytest.approx(1.0)


def test_samples_have_the_right_mean_within_a_mode_whatever_the_chains_did(two_modes):
    """Draws of a mode of which the half with larger weights was thrown away: proposals put it right."""
    modes = find_modes(two_modes, Data.of(THREE_GROUPS), rng=np.random.default_rng(0))
    target = target_of(THREE_GROUPS, CONJUGATE)
    heavy = two_modes.weights.max(axis=1)
    rng = np.random.default_rng(0)
    kept = np.flatnonzero((heavy < np.median(heavy)) | (rng.random(len(heavy)) < 0.2))
    biased = weigh_modes(Modes(modes.modes, modes.labels[kept], 2.0), two_modes[kept], target, rng=rng)
    whole = weigh_modes(modes, two_modes, target, rng=rng)
    for m, (one, other) in enumerate(zip(biased.modes, whole.modes, strict=True)):
        means = [sample.weights @ sample.points.weights.max(axis=1) for sample in (one.sample, other.sample)]
        wrong = heavy[kept][modes.labels[kept] == m].mean()
        assert abs(means[0] - means[1]) < 0.35 * abs(wrong - means[1])


def test_one_mode_is_one_mode():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, 60), rng.normal(6, 1, 40)])[:, None]
    prior = Prior.weakly_informative(X)
    em, _ = best_fit(Data.of(X), 2, rng=rng, prior=prior)
    modes = find_modes(sampled(X, prior, [em.mixture] * 3, draws=200), Data.of(X), rng=rng)
    assert not modes.separate
    assert modes.modes[0].n_draws == 600
    assert modes.modes[0].n_clusters == 2


@pytest.mark.draws
def test_of_many_rows_random_ones_tell_modes_apart():
    """Three groups of rows, the smallest a hundredth of them, that chains join to the one or to the other."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, 7_000), rng.normal(10, 1, 100), rng.normal(20, 1, 2_900)])[:, None]
    means = np.array([[0.0, 15.0], [5.0, 20.0]])[np.repeat([0, 1], 100)] + rng.normal(0, 0.01, (200, 2))
    points = Draws(
        np.full((200, 2), 0.5),
        means[..., None],
        np.array([[1.0, 25.0], [25.0, 1.0]])[np.repeat([0, 1], 100), :, None, None],
        family=covariance_family("full"),
        chain=np.repeat([0, 1], 100),
    )
    modes = find_modes(points, Data.of(X), rng=rng)
    assert len(modes.compared) == len(np.unique(modes.compared)) == COMPARED < len(X)
    np.testing.assert_array_equal(modes.labels, modes.labels[0] ^ points.chain)
    for mode in modes.modes:
        assert mode.centre.shape == (len(X),)
        assert len(np.unique(mode.centre[7_000:7_100])) == 1
    assert modes.log_likelihood is None  # not needed yet
    proposed, inside = inside_of(modes, 0).evaluate(points, Data.of(X))
    np.testing.assert_allclose(proposed, evaluate(points, Data.of(X), [])[0], rtol=1e-12)
    np.testing.assert_array_equal(inside, modes.labels == 0)


def wandering(places, *, chains_of, sd):
    """Draws of two-feature mixtures whose means wander about a place of each chain's own."""
    rng = np.random.Generator(np.random.PCG64(0))
    chain = np.repeat(np.arange(len(chains_of)), 100)
    means = np.array(places)[np.array(chains_of)[chain]] + rng.normal(0, sd, (len(chain), *np.shape(places[0])))
    k = means.shape[1]
    return Draws(
        np.full((len(chain), k), 1 / k),
        means,
        np.broadcast_to(np.eye(2), (len(chain), k, 2, 2)),
        family=covariance_family("full"),
        chain=chain,
    )


@pytest.mark.parametrize("chains_of", [(0, 1, 2, 3), (0, 1, 1, 2), (0, 0, 0, 0)])
def test_chains_that_lie_apart_are_modes_where_partitions_form_no_clear_groups(chains_of):
    rng = np.random.Generator(np.random.PCG64(0))
    X, places = rng.uniform(0, 10, (300, 2)), rng.uniform(0, 10, (4, 6, 2))
    points = wandering(places, chains_of=chains_of, sd=1.0)
    assert not find_modes(points, Data.of(X), rng=rng, mixed=1.2).separate  # silhouettes alone see one mode
    modes = find_modes(points, Data.of(X), rng=rng, mixed=1.2, by_chain=True)
    assert len(modes.modes) == len(set(chains_of))
    shares = [np.bincount(np.array(chains_of)[points.chain], modes.labels == m) for m in range(len(modes.modes))]
    assert {int(share.argmax()) for share in shares} == set(chains_of)  # each has most of its draws of one place


def test_of_few_rows_likelihoods_come_with_the_modes():
    """Two groups of rows and two chains, each with both components at one of them."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, 200), rng.normal(10, 1, 100), rng.normal(20, 1, 200)])[:, None]
    means = np.array([[0.0, 15.0], [5.0, 20.0]])[np.repeat([0, 1], 100)] + rng.normal(0, 0.01, (200, 2))
    variances = np.array([[1.0, 25.0], [25.0, 1.0]])[np.repeat([0, 1], 100), :, None, None]
    family, chain = covariance_family("full"), np.repeat([0, 1], 100)
    points = Draws(np.full((200, 2), 0.5), means[..., None], variances, family=family, chain=chain)
    modes = find_modes(points, Data.of(X), rng=rng)
    assert modes.separate
    np.testing.assert_allclose(modes.log_likelihood, evaluate(points, Data.of(X), [])[0], rtol=1e-12)
    inside = modes.log_likelihood[modes.labels == 0]
    assert inside.min() <= modes.modes[0].mean_log_likelihood <= inside.max()


def test_a_mode_far_below_gets_no_weight():
    """Two groups far apart; one chain's draws are replaced by mixtures that put all rows together."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, 100), rng.normal(30, 1, 100)])[:, None]
    prior = Prior.weakly_informative(X)
    em, _ = best_fit(Data.of(X), 2, rng=rng, prior=prior)
    good = sampled(X, prior, [em.mixture] * 2, draws=200)
    n = 200
    bad = Draws(
        np.tile([0.99, 0.01], (n, 1)),
        np.stack([rng.normal(15, 0.1, n), rng.normal(60, 1.0, n)], axis=1)[..., None],
        np.stack([rng.normal(230, 1, n), np.full(n, 1.0)], axis=1)[..., None, None],
        family=covariance_family("full"),
        chain=np.full(n, 2),
    )
    points = Draws.joined([good, bad])
    modes = weigh_modes(find_modes(points, Data.of(X), rng=rng), points, target_of(X, prior), rng=rng)
    assert [mode.weight for mode in modes.modes if mode.chains == [2]] == [0.0]
    assert [mode.weight for mode in modes.modes if mode.chains == [0, 1]] == [1.0]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_mode_of_a_few_draws_cannot_be_weighed(two_modes, n):
    few = two_modes[np.flatnonzero((two_modes.chain > 0) | (np.arange(len(two_modes)) < n))]
    centres = [np.array(labels, np.int32) for labels in (LEFT, RIGHT)]
    found = tuple(Mode(c, 2, m, [], 0.0) for c, m in zip(centres, (n, len(few) - n), strict=True))
    modes = Modes(found, (few.chain > 0).astype(int), 2.0)
    weighed = weigh_modes(modes, few, target_of(THREE_GROUPS, CONJUGATE), rng=np.random.default_rng(0))
    assert [mode.weight for mode in weighed.modes] == [0.0, 1.0]


def test_effective_size_of_chains_that_disagree_is_small():
    rng = np.random.default_rng(0)
    chain = np.repeat([0, 1, 2], [300, 100, 200])
    series = rng.normal(size=600)
    assert effective_size(series, chain) > 300
    assert effective_size(series + 3.0 * (chain == 1), chain) < 60
    assert effective_size(np.ones(600), chain) == 600


def test_pools_have_every_mode_in_its_share():
    rng = np.random.default_rng(0)

    def mode(value, weight):
        arrays = np.full((50, 1), value), np.zeros((50, 1, 1)), np.ones((50, 1, 1, 1))
        points = Draws(*arrays, family=covariance_family("full"), chain=np.zeros(50, dtype=np.int64))
        sample = Sample(points, np.full(50, 0.02), np.arange(50), 50.0)
        return Mode(np.zeros(3, np.int32), 1, 50, [0], 0.0, weight=weight, sample=sample)

    modes = Modes((mode(0.0, 0.3), mode(1.0, 0.7), mode(2.0, 0.0)), np.zeros(0, int), np.inf)
    pooled = pool(modes, 1000, rng=rng)
    np.testing.assert_allclose(np.bincount(pooled.mode) / 1000, [0.3, 0.7], atol=0.0011)
    np.testing.assert_array_equal(pooled.points.weights[:, 0], pooled.mode)
    assert np.abs(np.diff(pooled.mode)).sum() > 300  # in random order
    counts = np.bincount(pooled.source[pooled.mode == 1], minlength=50)
    assert set(counts) <= {14}


@pytest.mark.parametrize(
    ("labels", "weights", "want"),
    [
        (np.random.default_rng(0).integers(0, 2, (2, 100)), (0.5, 0.5), True),  # both chains move freely
        ([[0] * 100, [1] * 100], (0.5, 0.5), False),  # each stays in its own
        ([[0] * 100, [0] * 100], (0.9, 0.1), False),  # a mode found by exploratory chains only
        ([[0] * 100, [0] * 100], (0.995, 0.005), True),  # and that does not matter
        ([[0] * 100, [1] * 100], (1.0, 0.0), False),  # a chain where there is no weight
    ],
)
def test_when_chains_stand_in_proportion_as_they_are(labels, weights, want):
    modes = tuple(Mode(np.zeros(3, np.int32), 1, 100, [0], 0.0, weight=weight) for weight in weights)
    exploratory = [0] * 20 + [1] * 20
    chain = np.repeat([0, 1, 2], [100, 100, 40])
    found = Modes(modes, np.concatenate([*labels, exploratory]), 2.0)
    assert in_proportion(found, chain, 2) is want
