"""K+, the number of occupied components: its shares, whether chains change it, and what is said of it."""

import numpy as np
import pytest
from monte_carlo import bound

from bayesgmm.partitions.occupancy import discrete_r_hat, occupancy


def moving(seed=0, shape=(4, 1_000)):
    return np.random.default_rng(seed).choice([3, 4, 5], p=[0.5, 0.4, 0.1], size=shape)


@pytest.mark.draws
def test_chains_that_change_it():
    found = occupancy(moving(), 6)
    p = np.array([0.5, 0.4, 0.1])
    assert (np.abs(found.probability[3:6] - p) < bound(3) * np.sqrt(p * (1 - p) / 4_000)).all()
    assert sum(found.probability) == pytest.approx(1.0)
    assert found.mcse[3] == pytest.approx(np.sqrt(0.25 / 4_000), rel=0.2)
    assert found.mcse[0] == 0.0
    assert found.r_hat < 1.01
    assert found.ess > 2_000
    # a change has probability .58, two in a row .35: the variance of a rate of changes is .271 / n
    assert np.abs(np.subtract(found.change_rate, 0.58)).max() < bound(4) * np.sqrt(0.271 / 1_000)
    assert found.is_fine(4)
    said = " ".join(found.findings)
    assert "3 (0.5" in said
    assert "changes within every chain" in said


def test_chains_that_stay_where_they_started():
    found = occupancy(np.repeat([[3], [3], [4], [5]], 500, axis=1), 6)
    assert found.r_hat == np.inf
    assert found.still == (0, 1, 2, 3)
    assert not found.is_fine(4)
    assert "does not change within all chains" in " ".join(found.findings)


def test_one_chain_that_stays_is_named():
    numbers = moving()
    numbers[2] = 3
    found = occupancy(numbers, 6)
    assert found.still == (2,)
    assert not found.is_fine(4)
    assert "does not change within chain 2" in " ".join(found.findings)


def test_the_same_number_in_every_draw():
    found = occupancy(np.full((4, 200), 2), 3)
    assert found.is_certain
    assert found.is_fine(4)
    assert found.probability == (0.0, 0.0, 1.0, 0.0)
    assert "never change" in found.findings[0]


@pytest.mark.draws
def test_few_draws_and_one_chain():
    short = occupancy(np.array([[1, 2, 1], [2, 2, 1]]), 2)
    assert np.isnan(short.r_hat)
    assert not short.is_fine(2)
    single = occupancy(moving(shape=(1, 1_000)), 6)
    assert single.r_hat < 1.05
    drifting = occupancy(np.repeat([[3, 5]], 200, axis=1), 6)
    assert drifting.r_hat > 1.5


def test_an_indicator_of_half_the_draws_has_an_r_hat():
    """All draws are as far from the median, which is no division by zero."""
    rng = np.random.default_rng(1)
    mixed = rng.permuted(np.tile([0.0, 1.0], (4, 50)), axis=1)
    assert discrete_r_hat(mixed) == pytest.approx(1.0, abs=0.1)
    assert discrete_r_hat(np.repeat(np.tile([1.0, 0.0], (4, 1)), 40, axis=1)) > 1.5
    assert discrete_r_hat(np.repeat([[0.0], [1.0]], 10, axis=1)) == np.inf
    assert discrete_r_hat(np.ones((4, 10))) == 1.0
