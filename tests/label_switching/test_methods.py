"""Relabelling of draws: costs by hand, permutations undone, searches that stop, and the verdict."""

import json
from dataclasses import asdict
from itertools import permutations as all_orders

import numpy as np
import pytest

from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.label_switching import methods as relabelling
from bayesgmm.label_switching.identifiability import (
    Relabelling,
    clarity,
    margin_of,
    relabelled,
    share_without_permutation,
)
from bayesgmm.label_switching.methods import (
    METHODS,
    Options,
    component_features,
    log_scores,
    membership_sweep,
    permutations,
    pivot_scores,
    pivotal_units,
    pra_costs,
    relabelling_method,
    stephens_costs,
    wasserstein,
)
from bayesgmm.label_switching.search import Memberships, assign, descend, identity, share_agreeing
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.draws import Draws
from bayesgmm.mixture.mixture import Mixture

CENTRES = np.array([[-6.0, 0.0], [0.0, 5.0], [6.0, -1.0]])
CHOICES = [(method, Options()) for method in METHODS] + [
    ("ordering", Options(by="weight")),
    ("optimal-assignment", Options(divergence="wasserstein")),
]
NAMES = [f"{method} {options.by} {options.divergence}" for method, options in CHOICES]


def memberships_of(weights, means, covariances, X) -> Memberships:
    """Memberships of rows under draws with full covariances."""
    draws = Draws(weights, means, covariances, family=covariance_family("full"))
    return Memberships(draws, Data.of(X))


def separated(n_draws=60, seed=0):
    """Draws around three clusters far apart, in one order of labels."""
    rng = np.random.default_rng(seed)
    X = np.concatenate([rng.normal(c, 1.0, (n, 2)) for c, n in zip(CENTRES, (20, 30, 50), strict=True)])
    weights = rng.dirichlet([200.0, 300.0, 500.0], n_draws)
    means = CENTRES + rng.normal(0.0, 0.2, (n_draws, 3, 2))
    covariances = np.exp(rng.normal(0.0, 0.1, (n_draws, 3, 1, 1))) * np.eye(2)
    return weights, means, covariances, X


def shuffled(weights, means, covariances, X, *, seed=1):
    """The same draws in random labels, and the permutations that undo it."""
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(weights.shape[1]), (len(weights), 1)), axis=1)
    moved = memberships_of(weights, means, covariances, X).draws.reordered(order)
    return memberships_of(*moved.arrays, X), order.argsort(axis=1)


# ---- costs by hand


def test_stephens_costs_by_hand():
    p = np.array([[0.9, 0.0], [0.1, 1.0]])  # (component, row)
    q = np.array([[0.8, 0.3], [0.2, 0.7]])
    own = 0.9 * np.log(0.9 / 0.8), 0.1 * np.log(0.1 / 0.2) + np.log(1 / 0.7)
    other = 0.9 * np.log(0.9 / 0.2), 0.1 * np.log(0.1 / 0.8) + np.log(1 / 0.3)
    np.testing.assert_allclose(stephens_costs(p, log_scores(q)), [[own[0], other[0]], [other[1], own[1]]])


def test_a_mean_membership_of_zero_costs_much_but_not_infinity():
    p = np.array([[1.0], [0.0]])
    costs = stephens_costs(p, log_scores(p))
    np.testing.assert_allclose(costs, [[0.0, 100 * np.log(10)], [0.0, 0.0]], atol=1e-12)


def test_ecr_agreement_by_hand():
    pivot = np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.9]])
    p = np.array([[0.2, 0.3, 0.6], [0.8, 0.7, 0.4]])
    np.testing.assert_allclose(p @ pivot_scores(pivot).T, [[0.5, 0.6], [1.5, 0.4]])
    assert assign(-p @ pivot_scores(pivot).T, np.arange(2)).tolist() == [1, 0]


def test_pra_by_hand():
    features = np.array([[[1.0, 2.0], [-1.0, 0.0]], [[-1.0, 1.0], [2.0, 2.0]]])
    costs = pra_costs(features, features[0])
    np.testing.assert_allclose(costs[1], [[-1.0, -1.0], [-6.0, 2.0]])
    assert assign(costs[1], np.arange(2)).tolist() == [1, 0]


def test_wasserstein_by_hand():
    reference = Mixture([0.5, 0.5], [[0.0, 0.0], [3.0, 0.0]], [np.eye(2), np.diag([4.0, 9.0])])
    costs = wasserstein(reference, reference.weights, reference.means, reference.covariances)
    np.testing.assert_allclose(costs, [[0.0, 9 + 1 + 4], [9 + 1 + 4, 0.0]], atol=1e-12)


def test_wasserstein_of_covariances_that_do_not_commute():
    from scipy.linalg import sqrtm

    one, two = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    root = sqrtm(one)
    want = np.trace(one + two - 2 * sqrtm(root @ two @ root))
    got = wasserstein(Mixture([1.0], [[0.0, 0.0]], [one]), np.ones(1), np.zeros((1, 2)), two[None])
    np.testing.assert_allclose(got, [[want]])


def test_the_margin_is_that_of_all_permutations():
    rng = np.random.default_rng(0)
    for k in (2, 3, 5):
        costs = rng.normal(size=(k, k))
        totals = {order: costs[list(order), range(k)].sum() for order in all_orders(range(k))}
        for used in ([*range(k)], list(min(totals, key=totals.get))):
            other = min(total for order, total in totals.items() if order != tuple(used))
            np.testing.assert_allclose(margin_of(costs, np.array(used)), other - totals[tuple(used)])
    assert margin_of(np.zeros((1, 1)), np.array([0])) == np.inf


def test_ties_keep_what_was_there():
    assert assign(np.ones((3, 3)), np.array([2, 0, 1])).tolist() == [2, 0, 1]
    assert assign(np.ones((3, 3)) - np.eye(3) * 1e-3, np.array([2, 0, 1])).tolist() == [0, 1, 2]


def test_agreement_leaves_global_labels_aside():
    one = np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1]])
    assert share_agreeing(one, one[:, [2, 0, 1]]) == 1.0
    other = one.copy()
    other[0] = [1, 0, 2]
    assert share_agreeing(one, other) == 0.75


# ---- methods


@pytest.mark.parametrize(("method", "options"), CHOICES, ids=NAMES)
def test_draws_permuted_at_random_are_restored(method, options):
    moved, back = shuffled(*separated())
    found = permutations(moved, method, options, None)
    np.testing.assert_array_equal(found.permutation, back)


@pytest.mark.parametrize(("method", "options"), CHOICES, ids=NAMES)
def test_a_second_call_changes_nothing(method, options):
    rng = np.random.default_rng(3)
    weights, means, covariances, X = separated(80)
    means[::3] *= 0.3  # components that overlap, so that permutations are open to doubt
    weights[::5] = [0.001, 0.499, 0.5]
    moved, _ = shuffled(weights, means, covariances * rng.uniform(0.5, 4.0, (80, 3, 1, 1)), X)
    for reference in (None, Mixture([0.2, 0.3, 0.5], CENTRES[::-1], [np.eye(2)] * 3)):
        reference = None if method == "ordering" else reference
        first = permutations(moved, method, options, reference)
        again = memberships_of(*moved.draws.reordered(first.permutation).arrays, X)
        np.testing.assert_array_equal(
            permutations(again, method, options, reference).permutation, identity(again.draws)
        )


@pytest.mark.parametrize("method", [name for name in METHODS if name != "ordering"])
def test_labels_follow_the_reference(method):
    moved, back = shuffled(*separated())
    reference = Mixture([0.5, 0.2, 0.3], CENTRES[[2, 0, 1]], [np.eye(2)] * 3)
    np.testing.assert_array_equal(permutations(moved, method, Options(), reference).permutation, back[:, [2, 0, 1]])


@pytest.mark.parametrize("method", ["stephens", "ecr-iterative"])
def test_some_rows_choose_the_start_among_many(method, monkeypatch):
    weights, means, covariances, X = separated()
    moved, back = shuffled(weights, means, covariances, X)
    whole = permutations(moved, method, Options(), None)
    monkeypatch.setattr(relabelling, "_ENOUGH_ROWS", 20)
    found = permutations(moved, method, Options(), None)
    np.testing.assert_array_equal(found.permutation, back)
    np.testing.assert_allclose(found.cost, whole.cost)
    again = memberships_of(*moved.draws.reordered(found.permutation).arrays, X)
    np.testing.assert_array_equal(permutations(again, method, Options(), None).permutation, identity(again.draws))


def test_stephens_is_the_best_of_all_permutations():
    rng = np.random.default_rng(4)
    weights, means, covariances, X = (a[:5] if i < 3 else a[::8] for i, a in enumerate(separated()))
    moved, _ = shuffled(weights, means * 0.3 + rng.normal(0, 0.5, means.shape), covariances * 3, X)
    resp = np.array([p.copy() for _, p in moved])

    def loss(orders):
        p = np.array([own[list(order)] for own, order in zip(resp, orders, strict=True)])
        return (p * np.log(p / p.mean(axis=0))).sum()

    first = (0, 1, 2)
    orders = list(all_orders(range(3)))
    lowest = min(loss((first, *rest)) for rest in _products(orders, 4))
    found = permutations(moved, "stephens", Options(), None)
    np.testing.assert_allclose(loss(found.permutation), lowest, rtol=1e-10)
    np.testing.assert_allclose(clarity(moved, found.permutation).loss.sum(), lowest, rtol=1e-10)


def _products(choices, n):
    if n == 0:
        return [()]
    return [(one, *rest) for one in choices for rest in _products(choices, n - 1)]


def test_a_sweep_is_what_numpy_makes_of_all_memberships_at_once():
    moved, _ = shuffled(*separated(7))
    resp = np.array([p.copy() for _, p in moved])
    scores = log_scores(resp.mean(axis=0))
    tables = -np.einsum("tji,ki->tjk", resp, scores)
    step = membership_sweep(moved, log_scores, scores, identity(moved.draws))
    best = np.array([assign(table, np.arange(3)) for table in tables])
    np.testing.assert_array_equal(step.proposed, best)
    np.testing.assert_allclose(step.cost, np.einsum("tkk->", tables))
    mean = np.take_along_axis(resp, best[..., None], axis=1).mean(axis=0)
    np.testing.assert_allclose(step.reference, log_scores(mean))


def test_pivotal_units_by_the_full_co_clustering_matrix():
    sampled = memberships_of(*separated(9))
    resp = np.array([p.copy() for _, p in sampled])
    together = np.einsum("tki,tkj->ij", resp, resp)
    groups = resp[0].argmax(axis=0)
    want = []
    for k in range(3):
        score = together[:, groups == k].sum(axis=1) - together[:, groups != k].sum(axis=1)
        want.append(np.where(groups == k, score, -np.inf).argmax())
    units = pivotal_units(sampled, resp[0])
    best = [together[unit][groups == k].sum() - together[unit][groups != k].sum() for k, unit in enumerate(units)]
    np.testing.assert_allclose(
        best, [together[u][groups == k].sum() - together[u][groups != k].sum() for k, u in enumerate(want)]
    )


def test_a_descent_stops_where_nothing_is_gained():
    calls = []

    def sweep(reference, permutation):
        calls.append(reference)
        return type(
            "Step",
            (),
            {"cost": [3.0, 2.0, 2.0][reference], "proposed": permutation[:, ::-1], "reference": reference + 1},
        )

    found = descend(sweep, np.array([[0, 1]]), 0)
    assert (found.cost, found.n_sweeps, calls) == (2.0, 2, [0, 1, 2])
    assert found.permutation.tolist() == [[1, 0]]


def test_an_unknown_method():
    with pytest.raises(InputError, match="'stephens'"):
        relabelling_method("kmeans")


# ---- the verdict


def verdict(sampled, method="stephens") -> Relabelling:
    return relabelled(sampled, method, options=Options(), reference=None)[2]


@pytest.mark.draws
@pytest.mark.parametrize("method", METHODS)
def test_separated_components_are_identified(method):
    record = verdict(shuffled(*separated())[0], method)
    assert record.identified
    assert not record.findings
    assert (record.unclear_share, record.no_permutation_share, record.agreement) == (0.0, 0.0, 1.0)
    assert record.clash_share == (0.0 if method == "pivotal-units" else None)
    assert Relabelling(**json.loads(json.dumps(asdict(record)))) == record


@pytest.mark.draws
def test_components_that_wander_are_not():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(50, 1))
    means = rng.normal(0.0, 0.5, (200, 2, 1))
    record = verdict(memberships_of(np.full((200, 2), 0.5), means, np.ones((200, 2, 1, 1)), X))
    assert not record.identified
    assert record.findings


@pytest.mark.draws
def test_components_apart_by_their_variances_are_identified():
    rng = np.random.default_rng(6)
    X = np.concatenate([rng.normal(0, 1, 100), rng.normal(0, 10, 100)])[:, None]
    means = rng.normal(0.0, 0.2, (100, 2, 1))
    variances = np.exp(rng.normal(0.0, 0.1, (100, 2))) * [1.0, 100.0]
    moved, _ = shuffled(rng.dirichlet([100, 100], 100), means, variances[..., None, None], X)
    for method in ("stephens", "optimal-assignment", "ecr-iterative"):
        assert verdict(moved, method).identified, method


def test_one_component():
    rng = np.random.default_rng(7)
    sampled = memberships_of(
        np.ones((9, 1)), rng.normal(size=(9, 1, 2)), np.tile(np.eye(2), (9, 1, 1, 1)), np.zeros((4, 2))
    )
    for method in METHODS:
        permutation, margin, record = relabelled(sampled, method, options=Options(), reference=None)
        assert not permutation.any()
        assert np.isinf(margin).all()
        assert record.identified


def test_draws_that_never_move():
    weights, means, covariances, X = (a[:1].repeat(9, axis=0) if i < 3 else a for i, a in enumerate(separated()))
    moved, back = shuffled(weights, means, covariances, X)
    for method in METHODS:
        np.testing.assert_array_equal(permutations(moved, method, Options(), None).permutation, back)
    assert verdict(moved).identified


def test_share_without_permutation_by_hand():
    features = np.array([[[0.0], [9.0]], [[0.1], [9.1]], [[9.2], [9.3]], [[9.0], [0.0]]])
    order = np.array([[0, 1], [0, 1], [0, 1], [1, 0]])
    assert share_without_permutation(features, order) == 0.25


def test_features_do_not_depend_on_labels_or_units():
    weights, means, covariances, X = separated()
    features = component_features(memberships_of(weights, means, covariances, X).draws)
    scaled = component_features(memberships_of(weights, means * 7 + 3, covariances * 49, X).draws)
    np.testing.assert_allclose(scaled, features, atol=1e-10)
    assert features.shape == (60, 3, 4)
