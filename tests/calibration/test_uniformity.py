"""Bands and p-values of uniform samples: against sums over all outcomes, and by simulation."""

from itertools import product
from math import comb

import numpy as np
import pytest
from monte_carlo import binomial_range
from scipy.stats import binom

from bayesgmm.calibration import uniformity
from bayesgmm.calibration.uniformity import AT, band, counts_up_to, p_value


def probability_of(cells):
    """Of the numbers of values in cells of equal width: multinomial."""
    n, left, ways = sum(cells), sum(cells), 1
    for cell in cells:
        ways *= comb(left, cell)
        left -= cell
    return ways / len(cells) ** n


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_p_value_is_the_sum_over_all_outcomes_that_are_as_improbable(n, monkeypatch):
    points = np.array([0.25, 0.5, 0.75])
    monkeypatch.setattr(uniformity, "CELLS", 4)
    monkeypatch.setattr(uniformity, "AT", points)
    outcomes = [cells for cells in product(range(n + 1), repeat=4) if sum(cells) == n]
    least = {}
    for cells in outcomes:
        counts = np.cumsum(cells)[:3]
        least[cells] = np.minimum(binom.cdf(counts, n, points), binom.sf(counts - 1, n, points)).min()
    for cells in outcomes:
        values = np.repeat(np.arange(4) / 4 + 0.1, cells)
        want = sum(probability_of(other) for other in outcomes if least[other] <= least[cells] * (1 + 1e-12))
        assert p_value(values) == pytest.approx(want, abs=1e-12)


@pytest.mark.draws
def test_p_values_of_uniform_samples_are_uniform():
    rng = np.random.default_rng(0)
    p = np.array([p_value(rng.random(80)) for _ in range(2_000)])
    for level in (0.05, 0.3, 0.7):
        low, high = binomial_range(len(p), level)
        assert low - 0.01 * len(p) <= (p <= level).sum() <= high  # p-values are discrete: at most their level


@pytest.mark.draws
@pytest.mark.parametrize("probability", [0.5, 0.95])
def test_a_band_holds_curves_with_its_probability(probability):
    rng, n = np.random.default_rng(1), 60
    lower, upper = band(n, probability)
    curves = np.stack([counts_up_to(rng.random(n)) for _ in range(2_000)])
    held = ((curves >= lower) & (curves <= upper)).all(axis=1).sum()
    low, high = binomial_range(2_000, probability)
    assert low <= held <= high + 0.01 * 2_000


@pytest.mark.parametrize("probability", [0.9, 0.99996])
def test_a_curve_leaves_the_band_where_its_p_value_is_small(probability):
    rng, n = np.random.default_rng(2), 300
    lower, upper = band(n, probability)
    outside = []
    for power in np.linspace(0.4, 1.6, 40):
        values = rng.random(n) ** power
        counts = counts_up_to(values)
        outside.append(bool(((counts < lower) | (counts > upper)).any()))
        assert outside[-1] == (p_value(values) < 1.0 - probability)
    assert 0 < sum(outside) < 40


def test_counts_are_those_of_the_distribution_function():
    values = np.array([0.005, 0.01, 0.5, 0.995])
    want = [(values <= z).sum() for z in AT]
    np.testing.assert_array_equal(counts_up_to(values), want)
