"""What priors take from data."""

import numpy as np
import pytest

from bayesgmm.exceptions import InputError
from bayesgmm.priors.data_scale import column_medians, column_ranges, constant_features, counted_rows, feature_variances


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


def test_variances_of_features_are_above_zero_whatever_the_column():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    X = np.c_[x, 1e-150 * x, 1e9 + x, np.full(50, -2e3), np.zeros(50), np.where(x > 0, 0.1 + 0.2, 0.3)]
    np.testing.assert_array_equal(constant_features(X), [3, 4, 5])
    want = [x.var(), 1e-300 * x.var(), x.var(), 4e-6, 1.0, 1e-12 * 0.09]
    np.testing.assert_allclose(feature_variances(X), want, rtol=1e-6)
    times = rng.integers(0, 3, 50)
    repeated = X.repeat(times, axis=0)
    np.testing.assert_allclose(feature_variances(X, times.astype(float)), feature_variances(repeated), rtol=1e-6)
