"""The search, against every partition there is, and its bookkeeping against counting afresh."""

import numpy as np
import pytest

from bayesgmm.partitions import salso as module
from bayesgmm.partitions.partition_losses import canonical_labels, contingency_table, expected_loss, losses
from bayesgmm.partitions.salso import SalsoSettings, mean_loss, new_state, run_once, salso

CASES = [("vi", 1.0), ("vi", 0.5), ("vi", 1.6), ("binder", 1.0), ("binder", 0.4), ("binder", 1.5), ("omari", 1.0)]


def all_partitions(n):
    """Every partition of n items, canonical."""
    partitions = [[0]]
    for _ in range(n - 1):
        partitions = [[*labels, k] for labels in partitions for k in range(max(labels) + 2)]
    return np.array(partitions, dtype=np.int32)


def noisy_draws(rng, n, n_draws=40, n_clusters=3, noise=0.5):
    truth = rng.integers(n_clusters, size=n)
    drawn = rng.integers(n_clusters, size=(n_draws, n))
    return canonical_labels(np.where(rng.random((n_draws, n)) < noise, drawn, truth))


def test_there_are_as_many_partitions_as_bell_says():
    assert [len(all_partitions(n)) for n in range(1, 9)] == [1, 2, 5, 15, 52, 203, 877, 4140]


@pytest.mark.parametrize(("loss", "a"), CASES)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_best_of_all_partitions_is_found(loss, a, n):
    partitions = all_partitions(n)
    for seed in range(3):
        draws = noisy_draws(np.random.default_rng([seed, n]), n)
        least = min(expected_loss(draws, labels, loss=loss, a=a) for labels in partitions)
        found = salso(draws, SalsoSettings(loss=loss, a=a, max_clusters=n), rng=np.random.default_rng(seed))
        assert found.expected_loss == pytest.approx(least, abs=1e-9)
        assert found.expected_loss == pytest.approx(expected_loss(draws, found.labels, loss=loss, a=a), abs=1e-12)
        np.testing.assert_array_equal(found.labels, canonical_labels(found.labels))
        assert 1 <= found.n_best <= 16


@pytest.mark.parametrize(("loss", "a"), CASES)
def test_no_more_clusters_than_allowed(loss, a):
    partitions = all_partitions(6)
    allowed = partitions[partitions.max(axis=1) < 2]
    draws = noisy_draws(np.random.default_rng(1), 6, n_clusters=4, noise=0.2)
    least = min(expected_loss(draws, labels, loss=loss, a=a) for labels in allowed)
    found = salso(draws, SalsoSettings(loss=loss, a=a, max_clusters=2), rng=np.random.default_rng(0))
    assert found.labels.max() < 2
    assert found.expected_loss == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("loss", ["vi", "binder", "omari"])
def test_counts_kept_along_the_way_equal_counts_made_afresh(loss):
    draws = noisy_draws(np.random.default_rng(2), 25, n_draws=11, n_clusters=5)
    settings = SalsoSettings(loss=loss, max_clusters=7)
    state = new_state(draws, settings)
    rng = np.random.default_rng(3)
    for _ in range(3):
        run_once(state, settings, rng)
        labels = state.labels.astype(np.int32)
        np.testing.assert_array_equal(state.sizes, np.bincount(labels, minlength=state.width))
        counts = state.counts.reshape(-1, state.width)
        fresh = np.concatenate([contingency_table(draw, labels) for draw in draws])
        np.testing.assert_array_equal(counts[:, : fresh.shape[1]], fresh)
        assert counts.sum() == fresh.sum()
        np.testing.assert_array_equal(state.gains, state.steps[state.counts].astype(np.float32))


@pytest.mark.parametrize(("loss", "a"), CASES)
def test_differences_of_the_running_loss_are_those_of_the_expected_loss(loss, a):
    draws = noisy_draws(np.random.default_rng(4), 20)
    settings = SalsoSettings(loss=loss, a=a, max_clusters=6)
    state = new_state(draws, settings)
    measured = []
    for seed in range(3):
        module._clear(state)
        labels = noisy_draws(np.random.default_rng(seed + 10), 20, n_draws=1)[0]
        module._assign(state, labels.astype(np.int64))
        measured.append((mean_loss(state), expected_loss(draws, labels, loss=loss, a=a)))
    running, expected = np.array(measured).T
    scale = {"vi": 20.0, "binder": 400.0, "omari": 1.0}[loss]
    np.testing.assert_allclose(np.diff(running) / scale, np.diff(expected), atol=1e-10)


@pytest.mark.parametrize(("loss", "a"), CASES)
def test_what_a_move_is_said_to_cost_is_what_it_costs(loss, a):
    draws = noisy_draws(np.random.default_rng(5), 15)
    state = new_state(draws, SalsoSettings(loss=loss, a=a, max_clusters=5))
    module._clear(state)
    labels = noisy_draws(np.random.default_rng(6), 15, n_draws=1, n_clusters=4)[0]
    module._assign(state, labels.astype(np.int64))
    for i in range(15):
        (module._score_additive if state.additive else module._score_rand)(state, i, 5)
        moved = np.repeat(labels[None], 5, axis=0)
        moved[:, i] = range(5)
        scale = {"vi": 15.0, "binder": 225.0, "omari": 1.0}[loss]
        costs = [scale * expected_loss(draws, labels, loss=loss, a=a) for labels in moved]
        np.testing.assert_allclose(state.scores[:5] - state.scores[0], np.subtract(costs, costs[0]), atol=1e-5)


def test_the_same_seed_gives_the_same_search():
    draws = noisy_draws(np.random.default_rng(7), 60, n_clusters=6)
    settings = SalsoSettings(max_clusters=8)
    first, second = (salso(draws, settings, rng=np.random.default_rng(0)) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.run_losses, second.run_losses)


def test_clear_clusters_are_found_by_every_run_and_no_draw_is_better():
    draws = noisy_draws(np.random.default_rng(8), 200, n_clusters=5, noise=0.15)
    found = salso(draws, SalsoSettings(max_clusters=8), rng=np.random.default_rng(0))
    truth = noisy_draws(np.random.default_rng(8), 200, n_clusters=5, noise=0.0)[0]
    np.testing.assert_array_equal(found.labels, truth)
    assert found.expected_loss < min(losses(draws, draw).mean() for draw in draws)


def test_a_start_is_never_made_worse():
    draws = noisy_draws(np.random.default_rng(9), 50, n_clusters=4)
    start = draws[:1]
    found = salso(draws, SalsoSettings(n_runs=0, max_clusters=6), rng=np.random.default_rng(0), starts=start)
    assert len(found.run_losses) == 1
    assert found.expected_loss <= expected_loss(draws, start[0])
