"""A few partitions that stand for many."""

import numpy as np
import pytest

from bayesgmm import estimate_partition, partition_loss, representative_partitions
from bayesgmm.exceptions import InputError
from bayesgmm.partitions.partition_losses import canonical_labels

pytestmark = pytest.mark.draws

FIRST, SECOND, THIRD = np.repeat([0, 1, 2], 20), np.repeat([0, 1], 30), np.tile([0, 1, 2], 20)


def around(centre, n, rng, noise=0.05):
    return np.where(rng.random((n, len(centre))) < noise, rng.integers(3, size=(n, len(centre))), centre)


def test_modes_are_found_with_their_weights():
    rng = np.random.default_rng(0)
    draws = np.concatenate([around(THIRD, 60, rng), around(FIRST, 90, rng), around(SECOND, 50, rng)])
    found = representative_partitions(draws, random_state=0)
    np.testing.assert_array_equal(found.labels, [FIRST, THIRD, SECOND])
    np.testing.assert_allclose(found.weights, [0.45, 0.3, 0.25])
    np.testing.assert_array_equal(found.nearest, np.repeat([1, 0, 2], [60, 90, 50]))
    distances = np.stack([partition_loss(draws, centre) for centre in found.labels])
    assert found.expected_loss == pytest.approx(distances.min(axis=0).mean())
    assert found.expected_loss == pytest.approx(found.weights @ found.expected_losses)
    assert (np.diff(found.loss_by_number) < 0).all()


def test_one_mode_needs_one_centre():
    draws = around(FIRST, 150, np.random.default_rng(1), noise=0.15)
    found = representative_partitions(draws, random_state=0)
    np.testing.assert_array_equal(found.labels, [FIRST])
    assert found.weights.tolist() == [1.0]
    assert found.expected_loss == pytest.approx(estimate_partition(draws, random_state=0).expected_loss)


def test_as_many_as_asked_for():
    draws = around(FIRST, 60, np.random.default_rng(2), noise=0.15)
    found = representative_partitions(draws, n=3, random_state=0)
    assert found.labels.shape == (3, 60)
    assert found.loss_by_number.shape == (3,)
    assert found.weights.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(found.labels, canonical_labels(found.labels))
    again = representative_partitions(draws, n=3, random_state=0)
    np.testing.assert_array_equal(found.labels, again.labels)


def test_no_more_than_allowed_and_one_partition_alone():
    rng = np.random.default_rng(3)
    draws = np.concatenate([around(centre, 20, rng) for centre in (FIRST, SECOND, THIRD)])
    assert len(representative_partitions(draws, max_n=2, random_state=0).labels) == 2
    same = representative_partitions(np.tile(FIRST, (10, 1)), random_state=0)
    assert same.labels.shape == (1, 60)
    assert same.expected_loss == 0.0


@pytest.mark.parametrize("settings", [{"n": 0}, {"max_n": 0}, {"min_drop": 1.0}, {"loss": "omari"}, {"loss": "rand"}])
def test_bad_settings(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        representative_partitions([[0, 1], [0, 0]], **settings)
