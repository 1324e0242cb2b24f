"""Labels of some rows: which components each may come from, errors, blocks of rows with the same ones."""

import warnings

import numpy as np
import pytest

from bayesgmm.data import Data, allowed_components, refuse_labelled, warn_of_labels
from bayesgmm.exceptions import InputError, LabelWarning

T, F = True, False


def test_numbers_and_masks_say_the_same() -> None:
    mask = allowed_components([0, -1, 2, 1], 4, 3)
    np.testing.assert_array_equal(mask, [[T, F, F], [T, T, T], [F, F, T], [F, T, F]])
    np.testing.assert_array_equal(allowed_components(mask, 4, 3), mask)
    np.testing.assert_array_equal(allowed_components([0.0, -1.0], 2, 1), [[T], [T]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels with shape \(3,\), integers from 0 to 1.*got int64 with shape \(2,\)"),
        ([0, 1, 2], "got 2"),
        ([0, 1, 0.5], r"got 0\.5"),
        (["a", "b", "a"], "LabelEncoder"),
        ([0, 1, np.nan], "got nan"),
        ([True, False, True], "got bool with shape"),
        (np.ones((3, 2), dtype=int), r"got int64 with shape \(3, 2\)"),
        ([[T, F], [F, F], [T, T]], "a component for each row.*none for row 1"),
        ([0, 0, 0], "a row for each component.*none for component 1"),
    ],
)
def test_other_labels_are_refused(labels, message) -> None:
    with pytest.raises(InputError, match=message):
        allowed_components(labels, 3, 2)


def test_y_that_looks_like_labels_is_named() -> None:
    with pytest.warns(LabelWarning, match="y is not read"):
        warn_of_labels(np.array([-1, 0, 1, -1]), 2)


@pytest.mark.parametrize(
    "y", [None, [0, 1, 1], [-1, -1], [-1, 0, 2], [-2, 0, 1], np.array([-1.0, 0.5]), ["a", "b"], [], np.array([True])]
)
def test_other_y_is_ignored_in_silence(y) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_labels(y, 2)


def test_rows_of_a_block_may_come_from_the_same_components() -> None:
    X, labels = np.arange(6.0)[:, None], [1, -1, 0, 1, -1, 0]
    mask = allowed_components(labels, 6, 2)
    data = Data(X, np.arange(1.0, 7.0)).labelled(mask)
    found = {tuple(block.allowed): (block.columns[0].tolist(), block.row_weights.tolist()) for block in data}
    assert found == {(T, F): ([2, 5], [3, 6]), (): ([1, 4], [2, 5]), (F, T): ([0, 3], [1, 4])}
    rows = data.rows[:, 0].astype(int)
    np.testing.assert_array_equal(data.labels, np.array(labels)[rows])
    np.testing.assert_array_equal(data.take([5, 0]).allowed, data.allowed[[5, 0]])
    assert data.distinct() is data
    pieces = list(data.pieces(4))
    assert [piece.rows.ravel().tolist() for piece in pieces] == [[2, 5, 0, 3], [1, 4]]
    np.testing.assert_array_equal(np.concatenate([piece.allowed for piece in pieces]), data.allowed)
    own_order = Data(X, None, mask)
    together, order = own_order.together
    np.testing.assert_array_equal(together.rows, X[order])
    np.testing.assert_array_equal(together.allowed, data.allowed)
    assert own_order.unweighted().allowed is not None
    assert Data(X).together[0].rows is X
    again = data.with_weights(np.ones(6))
    assert [tuple(block.allowed) for block in again] == [tuple(block.allowed) for block in data]
    assert Data(X).labels.tolist() == [-1] * 6


def test_what_knows_of_no_labels_refuses_them() -> None:
    class Fit:
        n_labelled_ = 3

    with pytest.raises(InputError, match=r"a fit without labels for a report.*3 labelled rows"):
        refuse_labelled(Fit(), "a report")
    refuse_labelled(object(), "a report")
