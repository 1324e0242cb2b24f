"""Starts from labels of all rows, of some rows, and of some components only."""

import numpy as np
import pytest
from em_cases import one_start
from reference import load_data

from bayesgmm.data.blocks import Data
from bayesgmm.em.initialization import Initialisation, checked_labels, every_label_known, labelled_shares
from bayesgmm.exceptions import InputError


def rng():
    return np.random.default_rng(0)


def start(X, labels, n_components=3):
    return one_start(Data.of(X), n_components, rng=rng(), initialisation=Initialisation(labels=labels))


def test_known_rows_make_the_first_m_step_alone():
    X, labels = load_data("iris"), np.repeat([2, 0, 1], 50)
    whole = start(X, labels)
    np.testing.assert_allclose(whole.means, [X[50:100].mean(axis=0), X[100:].mean(axis=0), X[:50].mean(axis=0)])
    some = np.where(np.arange(150) % 10 == 0, labels, -1)
    known = X[::10]
    np.testing.assert_allclose(
        start(X, some).means, [known[5:10].mean(axis=0), known[10:].mean(axis=0), known[:5].mean(axis=0)]
    )


def test_components_without_a_label_start_far_from_the_others():
    X = np.array([[0.0], [0.1], [5.0], [5.1], [5.2]])
    shares = labelled_shares(X, np.array([0, -1, -1, -1, -1]), 2, row_weights=np.ones(5), rng=rng())
    np.testing.assert_array_equal(shares, [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]])
    assert not every_label_known([0, -1, -1], 2)
    assert every_label_known([0, -1, 1], 2)


def test_a_row_without_weight_is_not_picked():
    X = np.array([[0.0], [1.0], [50.0]])
    shares = labelled_shares(X, np.array([0, -1, -1]), 2, row_weights=np.array([1.0, 1.0, 0.0]), rng=rng())
    np.testing.assert_array_equal(shares, [[1, 0], [0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 1], r"shape \(4,\), integers from 0 to 1"),
        ([0, 1, 2, -1], "got 2"),
        ([0, 1, -2, -1], "got -2"),
        (["a", "b", "a", "b"], "got a, b.*LabelEncoder"),
        ([0.0, 1.0, 0.5, np.nan], "got 0.5, nan"),
        ([-1, -1, -1, -1], "at least one row"),
        ([0, 0, 0, 0], "rows for each of 2 components"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        checked_labels(labels, 4, 2)
