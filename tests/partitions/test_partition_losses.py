"""Losses between partitions, against their definitions and scikit-learn's metrics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from bayesgmm.exceptions import InputError
from bayesgmm.partitions.partition_losses import (
    canonical_labels,
    checked_labels,
    contingency_table,
    expected_loss,
    losses,
    table_loss,
)

COSTS = (0.0, 0.5, 1.0, 1.7)
in_any_time = settings(deadline=None)  # the first example may compile


@st.composite
def pairs_of_partitions(draw):
    n = draw(st.integers(1, 12))
    labels = st.lists(st.integers(0, 4), min_size=n, max_size=n)
    return tuple(canonical_labels(draw(labels)) for _ in range(2))


def by_pairs(truth, estimate, a):
    """Binder's loss from its definition: ordered pairs, costs a and 2 - a."""
    together = (np.equal.outer(labels, labels) for labels in (truth, estimate))
    in_truth, in_estimate = together
    missed, invented = (in_truth & ~in_estimate).sum(), (~in_truth & in_estimate).sum()
    return (a * missed + (2.0 - a) * invented) / len(truth) ** 2


def by_entropies(truth, estimate, a):
    """(2 - a) H(truth | estimate) + a H(estimate | truth) in bits, by way of mutual information."""
    shared = mutual_info_score(truth, estimate)
    entropy_truth, entropy_estimate = mutual_info_score(truth, truth), mutual_info_score(estimate, estimate)
    bits = ((2.0 - a) * (entropy_truth - shared) + a * (entropy_estimate - shared)) / np.log(2.0)
    return max(bits, 0.0)


@in_any_time
@given(pairs_of_partitions(), st.sampled_from(COSTS))
def test_binder_counts_pairs(pair, a):
    truth, estimate = pair
    assert losses(truth[None], estimate, loss="binder", a=a) == pytest.approx([by_pairs(truth, estimate, a)])


@in_any_time
@given(pairs_of_partitions(), st.sampled_from(COSTS))
def test_variation_of_information_is_made_of_entropies(pair, a):
    truth, estimate = pair
    got = losses(truth[None], estimate, loss="vi", a=a)[0]
    assert got == pytest.approx(by_entropies(truth, estimate, a), abs=1e-12)


@in_any_time
@given(pairs_of_partitions())
def test_omari_is_one_minus_the_adjusted_rand_index(pair):
    truth, estimate = pair
    got = losses(truth[None], estimate, loss="omari")[0]
    assert got == pytest.approx(1.0 - adjusted_rand_score(truth, estimate), abs=1e-12)


@in_any_time
@given(pairs_of_partitions(), pairs_of_partitions().map(lambda pair: pair[0]), st.sampled_from(["vi", "binder"]))
def test_equal_costs_give_a_metric(pair, other, loss):
    x, y = pair
    z = np.resize(other, len(x)).astype(np.int32)

    def distance(p, q):
        return losses(p[None], q, loss=loss)[0]

    assert distance(x, y) == pytest.approx(distance(y, x), abs=1e-12)
    assert distance(x, x) == pytest.approx(0.0, abs=1e-12)
    assert (distance(x, y) < 1e-9) == np.array_equal(x, y)
    assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-12


def test_which_error_a_weighs():
    apart, together = np.array([[0, 1]], dtype=np.int32), np.array([[0, 0]], dtype=np.int32)
    for loss in ("vi", "binder"):
        assert losses(together, apart[0], loss=loss, a=2.0)[0] > 0.0
        assert losses(apart, together[0], loss=loss, a=2.0)[0] == 0.0


def test_every_draw_has_its_loss_and_their_mean_is_expected():
    rng = np.random.default_rng(0)
    draws = canonical_labels(rng.integers(4, size=(30, 15)))
    for loss in ("vi", "binder", "omari"):
        each = [losses(draw[None], draws[3], loss=loss)[0] for draw in draws]
        np.testing.assert_allclose(losses(draws, draws[3], loss=loss), each, atol=1e-12)
        assert expected_loss(draws, draws[3], loss=loss) == pytest.approx(np.mean(each))


@in_any_time
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.permutations(range(7)))
def test_canonical_labels_know_partitions_only(labels, names):
    canonical = canonical_labels(labels)
    renamed = canonical_labels([1_000_000 * names[label + 3] for label in labels])  # too far apart for a table
    np.testing.assert_array_equal(canonical, renamed)
    np.testing.assert_array_equal(np.equal.outer(canonical, canonical), np.equal.outer(labels, labels))
    assert np.unique(canonical, return_index=True)[1].tolist() == sorted(np.unique(canonical, return_index=True)[1])


@in_any_time
@given(pairs_of_partitions(), st.sampled_from([("vi", 1.0), ("vi", 0.5), ("binder", 1.7), ("omari", 1.0)]))
def test_the_loss_of_a_contingency_table_is_that_of_its_partitions(pair, loss):
    truth, estimate = pair
    got = table_loss(contingency_table(truth, estimate), loss=loss[0], a=loss[1])
    assert got == pytest.approx(losses(truth[None], estimate, loss=loss[0], a=loss[1])[0], abs=1e-12)


def test_rows_may_have_weights():
    labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]).T
    halves = contingency_table(*labels, weights=np.array([3.5, 0.5, 1.0, 4.0]), shape=(2, 3))
    np.testing.assert_array_equal(halves, [[3.5, 0.5, 0.0], [1.0, 4.0, 0.0]])
    copies = np.repeat(labels, [7, 1, 2, 8], axis=1)
    assert 1.0 - table_loss(2.0 * halves, loss="omari") == pytest.approx(adjusted_rand_score(*copies))
    assert table_loss(halves) == pytest.approx(by_entropies(*copies, a=1.0))


def test_contingency_table_has_the_sizes_as_margins():
    truth, estimate = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 1])
    table = contingency_table(truth, estimate)
    np.testing.assert_array_equal(table, [[1, 1], [0, 1], [2, 1]])
    np.testing.assert_array_equal(table.sum(axis=1), np.bincount(truth))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"loss": "rand"}, "loss one of"), ({"a": 2.1}, "from 0 to 2"), ({"loss": "omari", "a": 0.5}, "no weights")],
)
def test_unknown_losses_and_weights(settings, message):
    labels = np.zeros((1, 3), dtype=np.int32)
    with pytest.raises(InputError, match=message):
        losses(labels, labels[0], **settings)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([-128, 127, -128, 0], dtype=np.int8),
        np.array([0, 255, 0, 1], dtype=np.uint8),
        np.array([2**63, 2**63 + 5, 2**63, 2**63 + 1], dtype=np.uint64),
        np.array([-(2**63), 2**63 - 1, -(2**63), 0]),
        np.array([7, 1, 7, 3], dtype=">i2"),
        np.arange(8)[[6, 4, 6, 5]],
    ],
    ids=lambda labels: labels.dtype.name,
)
def test_canonical_labels_of_any_whole_numbers(labels):
    np.testing.assert_array_equal(canonical_labels(labels), [0, 1, 0, 2])
    np.testing.assert_array_equal(canonical_labels(np.repeat(labels, 2)[::2]), [0, 1, 0, 2])


def test_checked_labels_are_what_compiled_code_reads():
    for labels in ([[0, 1], [1, 0]], np.array([[0, 1], [1, 0]], dtype=">u8"), np.array([[0, 1], [1, 0]]).T):
        found = checked_labels(labels, name="draws", n_axes=2, n_rows=2)
        assert found.dtype == np.int32
        assert found.dtype.isnative
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, [[0, 1], [1, 0]])
