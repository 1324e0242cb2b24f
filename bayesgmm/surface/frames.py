"""Data from outside: dataframes of any kind (pandas, polars, pyarrow, ...) and arrays become rows and feature names."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np

from bayesgmm.words.arrays import Array, Rows
from bayesgmm.words.checks import as_rows
from bayesgmm.words.errors import InputError

_NAMES_SHOWN = 5


class NotNumericError(InputError):
    """Columns that are not numeric; carries the names of those that are."""

    def __init__(self, described: Sequence[str], numeric: Sequence[str]) -> None:
        self.numeric = list(numeric)
        hint = f"Choose among the numeric ones: {_listed(numeric)}." if numeric else "No column is numeric."
        super().__init__(expected="numeric columns only", got=f"{_shortened(described)}, not numeric", hint=hint)


class Table(NamedTuple):
    """Checked data: rows (obs, feature), stored feature-major, and the names of their features."""

    rows: Rows
    feature_names: list[str]


def read_table(X: Any, *, columns: Sequence[str] | None = None) -> Table:
    """Rows and feature names of a dataframe or an array.

    Parameters
    ----------
    X : dataframe or array-like, (obs, feature)
        A dataframe that narwhals knows (pandas, polars, pyarrow, modin, cuDF) keeps its column names; the
        features of anything else are called ``x0``, ``x1``, ...
    columns : sequence of str, optional
        The features to use, in this order; all of them by default.

    Raises
    ------
    InputError
        A column is unknown, named twice or not numeric; values are missing or infinite; the shape is wrong.

    Examples
    --------
    >>> import pandas as pd
    >>> read_table(pd.DataFrame({"length": [1, 2], "width": [0.5, 0.7]}), columns=["width"])
    Table(rows=array([[0.5], [0.7]]), feature_names=['width'])
    >>> read_table([[1.0, 2.0]]).feature_names
    ['x0', 'x1']
    """
    frame = _eager_frame(X)
    if frame is None:
        rows = as_rows(X)
        return _picked(Table(rows, [f"x{j}" for j in range(rows.shape[1])]), columns)
    names = _chosen(frame.columns, columns)
    if 0 in (len(frame), len(names)):
        raise InputError(expected="a table with at least one row and one column", got=f"shape {frame.shape}")
    rows = np.empty((len(frame), len(names)), order="F")
    for j, values in enumerate(_numeric_columns(frame, names).values()):
        rows[:, j] = values
    _refuse_gaps(rows, names)
    return Table(rows, [str(name) for name in names])


def _eager_frame(X: Any) -> nw.DataFrame | None:
    """X as a narwhals frame, or None for what is no dataframe."""
    try:
        frame = nw.from_native(X, pass_through=True)
    except Exception as error:  # narwhals raises its own and the library's errors, for doubled names above all
        raise InputError(expected="a dataframe with distinct column names", got=_one_line(error)) from error
    if isinstance(frame, nw.LazyFrame):
        raise InputError(
            expected="a dataframe in memory", got="a lazy one", hint="Call .collect() or .compute() first."
        )
    return frame if isinstance(frame, nw.DataFrame) else None


def _chosen(available: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """The columns to use: those asked for, or all."""
    if columns is None:
        return list(available)
    unknown = [name for name in columns if name not in available]
    if unknown:
        raise InputError(
            expected=f"columns among {_listed(available)}", got=f"{_listed(unknown)}, which the data do not have"
        )
    doubled = {name for name in columns if list(columns).count(name) > 1}
    if doubled:
        raise InputError(expected="each column once", got=f"{_listed(sorted(doubled))} more than once")
    return list(columns)


def _picked(table: Table, columns: Sequence[str] | None) -> Table:
    if columns is None:
        return table
    names = _chosen(table.feature_names, columns)
    return Table(np.asfortranarray(table.rows[:, [table.feature_names.index(name) for name in names]]), names)


def _numeric_columns(frame: nw.DataFrame, names: Sequence[str]) -> Mapping[str, Array]:
    """Every column as float64, missing entries as NaN; all columns that are not numeric are named at once."""
    columns = {name: _as_float(frame.get_column(name)) for name in names}
    bad = {name: frame.get_column(name) for name, values in columns.items() if values is None}
    if bad:
        described = [f"'{name}' ({_kind(column)})" for name, column in bad.items()]
        numeric = [name for name in columns if name not in bad]
        raise NotNumericError(described, numeric)
    return {name: values for name, values in columns.items() if values is not None}


def _as_float(column: nw.Series) -> Array | None:
    """A column as float64 with NaN where entries are missing, or None if it is not numeric."""
    if not (column.dtype.is_numeric() or column.dtype == nw.Object):
        return None
    try:
        if column.dtype.is_numeric() and not column.dtype.is_decimal():
            return np.asarray(column.cast(nw.Float64).to_numpy(), dtype=np.float64)
        return np.array([np.nan if value is None else value for value in column.to_list()], dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _kind(column: nw.Series) -> str:
    """What a column that is not numeric holds, for the error message."""
    example = next(
        (value for value in column.head(1_000).to_list() if isinstance(value, str) and not _is_number(value)), None
    )
    dtype = str(column.dtype).lower()
    return dtype if example is None else f"text such as {example[:20]!r}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True


def _refuse_gaps(rows: Array, names: Sequence[str]) -> None:
    """Raise if any value is missing or infinite, with the count of each column."""
    missing, infinite = np.isnan(rows).sum(axis=0), np.isinf(rows).sum(axis=0)
    if not (missing.any() or infinite.any()):
        return
    told = [f"{n} missing in '{name}'" for n, name in zip(missing, names, strict=True) if n]
    told += [f"{n} infinite in '{name}'" for n, name in zip(infinite, names, strict=True) if n]
    n_bad = int((~np.isfinite(rows)).any(axis=1).sum())
    raise InputError(
        expected="data without missing or infinite values",
        got=f"{_shortened(told)} ({n_bad} of {len(rows)} rows affected)",
        hint="Drop or impute those rows first.",
    )


def _listed(names: Sequence[str]) -> str:
    return _shortened([f"'{name}'" for name in names])


def _shortened(items: Sequence[str]) -> str:
    """Items joined by commas; beyond a handful, how many more there are."""
    more = len(items) - _NAMES_SHOWN
    return ", ".join(items[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
