"""Data: rows in blocks, the weights that travel with them, distinct rows and subsets."""

import numpy as np
import pytest

from bayesgmm.data.blocks import ROWS_PER_BLOCK, Data
from bayesgmm.exceptions import InputError


def test_blocks_hold_every_row_once_with_its_weight():
    X = np.arange(2.0 * (ROWS_PER_BLOCK + 3)).reshape(-1, 2)
    weights = np.arange(len(X), dtype=float)
    data = Data.of(X, weights)
    assert [block.columns.shape[1] for block in data] == [ROWS_PER_BLOCK, 3]
    np.testing.assert_array_equal(np.concatenate([block.columns for block in data], axis=1).T, X)
    np.testing.assert_array_equal(np.concatenate([block.row_weights for block in data]), weights)
    assert all(block.columns.flags.c_contiguous for block in data)
    assert data.total == weights.sum()


def test_without_weights_every_row_counts_once():
    data = Data.of([[1.0], [2.0]])
    assert data.total == 2.0
    assert [block.row_weights.size for block in data] == [0]
    np.testing.assert_array_equal(data.weights, [1.0, 1.0])


def test_other_weights_copy_no_row():
    data = Data.of(np.random.default_rng(0).normal(size=(ROWS_PER_BLOCK + 10, 1)))
    other = data.with_weights(np.full(ROWS_PER_BLOCK + 10, 2.0))
    assert all(one.columns is two.columns for one, two in zip(data, other, strict=True))
    assert other.total == 2.0 * (ROWS_PER_BLOCK + 10)
    assert [len(block.row_weights) for block in other] == [ROWS_PER_BLOCK, 10]


def test_equal_rows_become_one():
    data = Data.of([[3.0], [5.0], [3.0]], [1.0, 1.0, 2.0])
    distinct = data.distinct()
    assert dict(zip(distinct.rows[:, 0], distinct.weights, strict=True)) == {3.0: 3.0, 5.0: 1.0}
    assert distinct.distinct().total == data.total
    different = Data.of([[3.0], [5.0]])
    assert different.distinct() is different


def test_data_are_checked_where_they_are_made():
    with pytest.raises(InputError, match="missing"):
        Data.of([[np.nan]])
    with pytest.raises(InputError, match="row_weights of shape"):
        Data.of([[1.0]], [1.0, 2.0])


@pytest.mark.draws
def test_a_subset_of_weighted_rows_stands_for_all() -> None:
    """A row that stands for many counts for many; no row much more or less than it should."""
    rng = np.random.default_rng(0)
    X, weights = rng.normal(size=(400, 2)), rng.integers(1, 60, 400).astype(np.float64)
    some = Data.of(X, weights).subset(300, rng=rng)
    assert len(some.rows) <= 300
    assert some.total == pytest.approx(weights.sum())
    each = weights.sum() / 300
    row_of = {tuple(row): weight for row, weight in zip(X, weights, strict=True)}
    for row, weight in zip(some.rows, some.weights, strict=True):
        assert abs(weight - row_of[tuple(row)]) <= each + 1e-9
    assert Data.of(X).subset(400, rng=rng).rows.shape == X.shape


def test_pieces_are_the_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesgmm.data.blocks.ROWS_PER_BLOCK", 23)
    rng = np.random.default_rng(0)
    data = Data(rng.standard_normal((60, 2)), rng.random(60))
    pieces = list(data.pieces(10))
    assert [piece.shape[0] for piece in pieces] == [10, 10, 3, 10, 10, 3, 10, 4]
    np.testing.assert_array_equal(np.vstack([piece.rows for piece in pieces]), data.rows)
    np.testing.assert_array_equal(np.concatenate([piece.weights for piece in pieces]), data.row_weights)
    taken = data.take(np.array([50, 3]))
    np.testing.assert_array_equal(taken.rows, data.rows[[50, 3]])
    np.testing.assert_array_equal(taken.weights, data.weights[[50, 3]])
