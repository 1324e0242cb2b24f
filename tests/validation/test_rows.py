"""Dataframes of any kind and arrays become the same checked rows; what is wrong is named."""

from decimal import Decimal

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bayesgmm.exceptions import InputError
from bayesgmm.validation.rows import read_table

FRAME = pd.DataFrame({"length": [1, 2, 3], "width": [0.5, 0.7, 0.9]})


@pytest.mark.parametrize("convert", [lambda f: f, pa.Table.from_pandas], ids=["pandas", "pyarrow"])
def test_frames_give_their_values_and_names(convert) -> None:
    table = read_table(convert(FRAME))
    np.testing.assert_array_equal(table.rows, [[1, 0.5], [2, 0.7], [3, 0.9]])
    assert table.rows.dtype == np.float64
    assert table.rows.T.flags.c_contiguous  # the layout the kernel reads
    assert table.feature_names == ["length", "width"]


@pytest.mark.parametrize("X", [[[1, 0.5], [2, 0.7]], np.array([[1, 0.5], [2, 0.7]])])
def test_arrays_get_numbered_names(X) -> None:
    table = read_table(X)
    np.testing.assert_array_equal(table.rows, [[1, 0.5], [2, 0.7]])
    assert table.feature_names == ["x0", "x1"]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1.0, 2.0], dtype="float32"),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series([1, 2], dtype="uint8"),
        pd.Series([1.0, 2], dtype=object),
        pd.Series([Decimal(1), Decimal(2)], dtype=object),
        pd.Series([Decimal(1), Decimal(2)], dtype=pd.ArrowDtype(pa.decimal128(3, 1))),
        pd.Series([1, 2], dtype=pd.ArrowDtype(pa.int8())),
    ],
    ids=lambda s: str(s.dtype),
)
def test_every_kind_of_number_is_a_number(values) -> None:
    np.testing.assert_array_equal(read_table(pd.DataFrame({"a": values})).rows, [[1.0], [2.0]])


def test_columns_select_and_order() -> None:
    for data in (FRAME, pa.Table.from_pandas(FRAME)):
        table = read_table(data, columns=["width", "length"])
        assert table.feature_names == ["width", "length"]
        np.testing.assert_array_equal(table.rows[:, 0], FRAME["width"])
    assert read_table(FRAME.to_numpy(), columns=["x1"]).rows.tolist() == [[0.5], [0.7], [0.9]]


def test_a_column_left_out_may_hold_anything() -> None:
    frame = FRAME.assign(site=["a", "b", None])
    assert read_table(frame, columns=["length", "width"]).rows.shape == (3, 2)


def test_names_that_are_not_strings_become_strings() -> None:
    assert read_table(pd.DataFrame([[1.0, 2.0]])).feature_names == ["0", "1"]


@pytest.mark.parametrize(
    ("X", "columns", "expected"),
    [
        (FRAME.assign(site=["a", "b", "c"]), None, r"'site' \(text such as 'a'\), not numeric.*'length' and 'width'"),
        (FRAME.assign(day=pd.to_datetime(["2020"] * 3)), None, r"'day' \(datetime"),
        (FRAME.assign(flag=[True, False, True]), None, r"'flag' \(boolean\), not numeric"),
        (FRAME.assign(size=["1", "2", "<3"]), None, r"'size' \(text such as '<3'\)"),
        (pa.table({"a": ["x"]}), None, r"'a' \(text such as 'x'\), not numeric\. No column is numeric"),
        (FRAME.assign(width=[0.5, None, None]), None, r"2 missing in 'width' \(2 of 3 rows"),
        (
            FRAME.assign(length=[1, 2, None], width=[0.5, np.inf, 1]),
            None,
            "1 missing in 'length' and 1 infinite in 'width'",
        ),
        (pa.table({"a": [1, None, 3]}), None, r"1 missing in 'a' \(1 of 3 rows"),
        (FRAME, ["length", "height"], r"columns among 'length' and 'width'; got 'height'"),
        (FRAME, ["length", "length"], "'length' more than once"),
        (FRAME.head(0), None, r"0 sample\(s\) \(shape=\(0, 2\)\) while a minimum of 1"),
        (FRAME[[]], None, r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), None, "distinct column names"),
        ([1.0, 2.0], None, "reshape"),
        ([["a"]], None, "numeric"),
        (FRAME.to_numpy(), ["length"], "'x0' and 'x1'"),
    ],
)
def test_what_is_wrong_is_named(X, columns, expected) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        read_table(X, columns=columns)
    assert "\n" not in str(caught.value)


def test_long_lists_of_names_are_cut() -> None:
    frame = pd.DataFrame({f"c{j}": ["text"] for j in range(50)})
    with pytest.raises(InputError, match="and 45 more"):
        read_table(frame)


def test_a_lazy_frame_is_refused() -> None:
    with pytest.raises(InputError, match="lazy"):
        read_table(nw.from_native(FRAME).lazy())
