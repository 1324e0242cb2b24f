"""Rows put together: sums of weights, an order of their own, and rows that differ left alone."""

import numpy as np
import pytest
from reference import load_data

from bayesgmm.data.unique_rows import distinct_rows


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", ["iris", "faithful", "galaxies", "thyroid"])
def test_equal_rows_and_their_weights_are_numpys(name):
    X = load_data(name)
    v = rng().integers(0, 4, len(X)).astype(float)
    rows, weights = distinct_rows(np.asfortranarray(X), v)
    unique, inverse = np.unique(X[v > 0], axis=0, return_inverse=True)
    order = np.lexsort(rows.T[::-1])
    np.testing.assert_array_equal(rows[order], unique)
    np.testing.assert_array_equal(weights[order], np.bincount(inverse.ravel(), v[v > 0]))
    assert rows.flags.f_contiguous


def test_weighted_and_repeated_rows_come_out_the_same_in_any_order():
    X, v = load_data("iris"), rng().integers(0, 4, 150)
    wanted, weights = distinct_rows(X, v.astype(float))
    repeated = np.repeat(X, v, axis=0)
    for rows in (repeated, repeated[::-1], rng(1).permutation(repeated)):
        got, own = distinct_rows(rows)
        np.testing.assert_array_equal(got, wanted)
        np.testing.assert_array_equal(own, weights)


@pytest.mark.parametrize(("scales", "offset"), [([1e-12, 1.0, 1e12], 0.0), ([1.0, 2.0, 1.0], 2.0**28)])
def test_units_do_not_change_the_order(scales, offset):
    X = np.round(rng().normal(size=(400, 3)), 1)
    (wanted, counts), (rows, weights) = distinct_rows(X), distinct_rows(X * scales + offset)
    np.testing.assert_array_equal(rows, wanted * scales + offset)
    np.testing.assert_array_equal(weights, counts)
    assert len(rows) == len(np.unique(X, axis=0))


@pytest.mark.parametrize("weights", [None, np.ones(50)])
def test_rows_that_differ_keep_their_order(weights):
    X = rng().normal(size=(50, 2))
    rows, own = distinct_rows(X, weights)
    np.testing.assert_array_equal(rows, X)
    assert own is None


def test_zeros_of_either_sign_are_equal_and_constant_columns_do_no_harm():
    rows, weights = distinct_rows(np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0]]))
    assert rows.shape == (1, 2)
    np.testing.assert_array_equal(weights, [3.0])
    rows, weights = distinct_rows(np.zeros((4, 1)), np.array([0.5, 0.25, 0.0, 0.25]))
    assert rows.shape == (1, 1)
    assert weights is None  # the sum is one
