"""What priors take from data."""

import numpy as np
import pytest

from bayesgmm.ground.data_scale import column_medians, column_ranges, counted_rows
from bayesgmm.words.errors import InputError


def test_medians_of_weighted_rows_are_those_of_repeated_rows():
    rng = np.random.default_rng(0)
    for n in range(1, 12):
        X, times = rng.normal(size=(n, 3)).round(1), rng.integers(0, 4, n)
        times[0] += 1
        rows, v = counted_rows(X, times)
        np.testing.assert_array_equal(column_medians(rows, v), np.median(X.repeat(times, axis=0), axis=0))
        np.testing.assert_array_equal(column_medians(X, np.ones(n)), np.median(X, axis=0))


def test_a_constant_column_has_no_range():
    np.testing.assert_array_equal(column_ranges(np.array([[0.0, 1.0], [3.0, -1.0]])), [3.0, 2.0])
    with pytest.raises(InputError, match="column 1"):
        column_ranges(np.array([[0.0, 1.0], [3.0, 1.0]]))
