"""Estimates of a partition and balls around them, on posteriors small enough to enumerate."""

import numpy as np
import pandas as pd
import pytest
from pretend_posterior import em_fit, pretend_posterior
from reference import load_data
from sklearn.metrics import adjusted_rand_score

from bayesgmm import credible_ball, estimate_partition, partition_loss, sample_labels
from bayesgmm.exceptions import InputError
from bayesgmm.partitions.partition_losses import expected_loss

CENTRE = [0, 0, 0, 0, 1, 1, 1, 1]
ONE_OFF = [0, 0, 0, 1, 1, 1, 1, 1]
MERGED = [0] * 8
SPLIT = [0, 0, 2, 2, 1, 1, 1, 1]
FAR = [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.fixture(scope="module")
def faithful_tree():
    frame = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
    return pretend_posterior(frame, em_fit(frame, 2))


def test_an_estimate_from_labels_of_any_name():
    draws = np.array([CENTRE] * 5 + [ONE_OFF] * 2 + [SPLIT])
    estimate = estimate_partition(10 * draws + 3, random_state=0)
    np.testing.assert_array_equal(estimate.labels, CENTRE)
    assert estimate.n_clusters == 2
    assert estimate.n_runs == 16
    assert 1 <= estimate.n_best <= 16
    assert estimate.expected_loss == pytest.approx(np.mean(partition_loss(draws, CENTRE)))


def test_the_weight_of_errors_moves_the_number_of_clusters():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 10)
    draws = np.where(rng.random((60, 30)) < 0.35, rng.integers(3, size=(60, 30)), truth)
    few, many = (estimate_partition(draws, loss="binder", a=a, random_state=0).n_clusters for a in (1.9, 0.2))
    assert few < many
    assert estimate_partition(draws, a=0.2, max_clusters=2, random_state=0).n_clusters <= 2


@pytest.mark.parametrize("loss", ["vi", "binder", "omari"])
def test_an_estimate_from_a_posterior_beats_every_draw(faithful_tree, loss):
    estimate = estimate_partition(faithful_tree, loss=loss, random_state=0)
    labels = sample_labels(faithful_tree, random_state=np.random.default_rng(0)).to_numpy().reshape(80, 272)
    assert estimate.expected_loss == pytest.approx(expected_loss(labels, estimate.labels, loss=loss))
    assert estimate.expected_loss <= min(np.mean(partition_loss(labels, draw, loss=loss)) for draw in labels)
    assert estimate.n_clusters == 2
    again = estimate_partition(faithful_tree, loss=loss, random_state=0)
    np.testing.assert_array_equal(estimate.labels, again.labels)


def test_losses_of_one_and_of_many():
    assert partition_loss(CENTRE, MERGED) == pytest.approx(1.0)
    assert partition_loss(CENTRE, CENTRE) == 0.0
    draws = np.array([[CENTRE, MERGED], [SPLIT, FAR]])
    each = [[partition_loss(z, ONE_OFF, loss="omari") for z in chain] for chain in draws]
    np.testing.assert_allclose(partition_loss(draws, ONE_OFF, loss="omari"), each)
    assert each[1][0] == pytest.approx(1.0 - adjusted_rand_score(SPLIT, ONE_OFF))
    assert isinstance(partition_loss(CENTRE, FAR), float)


def enumerated():
    """Twenty draws: distances 0, 0.5, about 0.95, 1 and 2 bits from the centre."""
    return np.array([CENTRE] * 10 + [SPLIT] * 4 + [ONE_OFF] * 3 + [MERGED] * 2 + [FAR])


def test_a_ball_by_hand():
    distances = [partition_loss(z, CENTRE) for z in (SPLIT, ONE_OFF, MERGED, FAR)]
    assert distances == sorted(distances)
    assert distances[::2] == pytest.approx([0.5, 1.0])
    ball = credible_ball(CENTRE, enumerated(), prob=0.95)
    assert ball.radius == pytest.approx(1.0)
    assert ball.coverage == pytest.approx(0.95)
    np.testing.assert_array_equal(ball.horizontal, [MERGED])
    np.testing.assert_array_equal(ball.upper, [MERGED])
    np.testing.assert_array_equal(ball.lower, [[0, 0, 1, 1, 2, 2, 2, 2]])
    assert (ball.upper_loss, ball.lower_loss) == pytest.approx((1.0, 0.5))


def test_a_smaller_ball_and_the_whole_posterior():
    ball = credible_ball(CENTRE, enumerated(), prob=0.8)
    assert ball.radius == pytest.approx(partition_loss(ONE_OFF, CENTRE))
    np.testing.assert_array_equal(ball.horizontal, [ONE_OFF])
    np.testing.assert_array_equal(ball.upper, [ONE_OFF])  # two clusters, as the centre, but farther away
    assert credible_ball(CENTRE, enumerated(), prob=0.5).radius == 0.0
    whole = credible_ball(CENTRE, enumerated(), prob=1.0)
    np.testing.assert_array_equal(whole.horizontal, [FAR])
    assert whole.coverage == 1.0


def test_all_that_are_equally_far_are_given_once():
    draws = np.array([CENTRE, [0, 0, 2, 2, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 2, 2], [5, 5, 5, 5, 1, 1, 2, 2]])
    ball = credible_ball(estimate_partition(draws[:1], random_state=0), draws, prob=1.0)
    np.testing.assert_array_equal(ball.lower, [[0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 2, 2]])


def test_a_ball_from_a_posterior(faithful_tree):
    estimate = estimate_partition(faithful_tree, random_state=0)
    ball = credible_ball(estimate, faithful_tree, random_state=0)
    assert ball.coverage >= 0.95
    assert ball.horizontal.shape[1] == 272
    assert 0.0 < ball.radius < 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "rand"}, "loss one of"),
        ({"a": -1.0}, "a from 0 to 2"),
        ({"n_runs": 0}, "n_runs"),
        ({"max_clusters": 0}, "max_clusters"),
        ({"n_zealous": -1}, "n_zealous"),
    ],
)
def test_bad_settings_of_an_estimate(settings, message):
    with pytest.raises(InputError, match=message):
        estimate_partition(enumerated(), **settings)


def test_bad_balls():
    with pytest.raises(InputError, match="prob"):
        credible_ball(CENTRE, enumerated(), prob=0.0)
    with pytest.raises(InputError, match="labels of 8 rows"):
        credible_ball(CENTRE[:5], enumerated())
