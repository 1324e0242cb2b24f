"""Columns of dataframes (pandas, polars, pyarrow, ...) as numbers; errors name the columns."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np

from bayesgmm._common import Array, listed, quoted
from bayesgmm.exceptions import InputError

REMEDY_FOR_GAPS = (
    "Fits with missing='marginalize' take what was observed of such rows, and impute(X) of such a fit completes them. "
    "Or leave out those rows (X.dropna(), or X[np.isfinite(X).all(axis=1)] of an array) or columns."
)
_ROWS_SHOWN = 5
_CATEGORIES = "Categories are not supported: leave such columns out, or fit the rows of each category separately."


def frame_of(X: Any) -> nw.DataFrame | None:
    """X as a narwhals frame, or None if it is not a dataframe."""
    try:
        frame = nw.from_native(X, pass_through=True)
        if isinstance(frame, nw.DataFrame):
            _check_distinct(frame.columns)
    except Exception as error:  # narwhals raises its own and the library's errors, mostly for duplicate names
        raise InputError(expected="a dataframe with distinct column names", got=_one_line(error)) from error
    if isinstance(frame, nw.LazyFrame):
        raise InputError(
            expected="a dataframe in memory", got="a lazy one", hint="Call .collect() or .compute() first."
        )
    return frame if isinstance(frame, nw.DataFrame) else None


def named_column(X: Any) -> Any:
    """A series with a name as a dataframe of one column; anything else as it is."""
    if isinstance(X, np.ndarray | list | tuple | nw.LazyFrame):
        return X
    series = nw.from_native(X, series_only=True, pass_through=True)
    named = isinstance(series, nw.Series) and isinstance(series.name, str) and series.name
    return series.to_frame().to_native() if named else X


def _check_distinct(names: Sequence[str]) -> None:
    doubled = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    if doubled:
        raise ValueError(f"{quoted(doubled)} more than once")


def chosen_names(available: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """The requested columns, or all."""
    if columns is None:
        return list(available)
    unknown = [name for name in columns if name not in available]
    if unknown:
        raise InputError(
            expected=f"columns among {quoted(available)}", got=f"{quoted(unknown)}, which the data do not have"
        )
    doubled = {name for name in columns if list(columns).count(name) > 1}
    if doubled:
        raise InputError(expected="each column once", got=f"{quoted(sorted(doubled))} more than once")
    return list(columns)


def numeric_columns(frame: nw.DataFrame, names: Sequence[str]) -> Array:
    """Columns as a matrix (obs, feature), NaN for missing entries; the error names all that are not numeric.

    Single precision is kept if all columns have it; everything else becomes double.
    """
    columns = {name: _as_float(frame.get_column(name)) for name in names}
    bad = {name: frame.get_column(name) for name, values in columns.items() if values is None}
    if bad:
        numeric = [name for name in columns if name not in bad]
        described = listed([f"'{name}' ({_kind(column)})" for name, column in bad.items()])
        raise InputError(
            expected="numeric columns only",
            got=f"{described}, not numeric",
            hint=(f"Choose among the numeric ones: {quoted(numeric)}. " if numeric else "No column is numeric. ")
            + ("Use .astype(float) if true and false are 1 and 0." if _all_flags(bad) else _CATEGORIES),
            alternatives=numeric,
        )
    kept = [values for values in columns.values() if values is not None]
    rows = np.empty((len(frame), len(names)), np.result_type(*kept), order="F")
    for j, values in enumerate(kept):
        rows[:, j] = values
    return rows


def with_values(frame: nw.DataFrame, rows: Array) -> Any:
    """A dataframe of the same library, names and index with other values."""
    backend = frame.implementation
    columns = zip(frame.columns, rows.T, strict=True)
    series = [nw.new_series(name, np.ascontiguousarray(own), nw.Float64, backend=backend) for name, own in columns]
    return frame.with_columns(*series).to_native()


def _as_float(column: nw.Series) -> Array | None:
    """A column as floats with NaN where entries are missing, or None if it is not numeric."""
    if not (column.dtype.is_numeric() or column.dtype in (nw.Object, nw.Unknown)):
        return None
    try:
        if column.dtype.is_numeric() and not column.dtype.is_decimal():
            kind = nw.Float32 if column.dtype == nw.Float32 else nw.Float64
            return np.asarray(column.cast(kind).to_numpy(), dtype=np.float32 if kind == nw.Float32 else np.float64)
        return numbers_of(column.to_list())
    except (TypeError, ValueError, OverflowError):
        return None


def numbers_of(values: Sequence[Any]) -> Array:
    """Python objects as float64: numbers of any kind, NaN for missing values; TypeError for anything else."""
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Any) -> float:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return float("nan")
    if isinstance(value, str | bytes | bool | np.bool_ | complex | np.complexfloating | np.datetime64 | np.timedelta64):
        raise TypeError(f"an entry must be a real number, not {value!r}")
    try:
        return float(value)
    except OverflowError:  # a whole number of any length
        return float("inf")


def _all_flags(columns: dict[str, nw.Series]) -> bool:
    return all(column.dtype == nw.Boolean for column in columns.values())


def _kind(column: nw.Series) -> str:
    """Description of a column that is not numeric, for the error message."""
    example = next(
        (value for value in column.head(1_000).to_list() if isinstance(value, str) and not _is_number(value)), None
    )
    dtype = str(column.dtype).partition("(")[0].lower()
    return dtype if example is None else f"text such as {example[:20]!r}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True


def refuse_gaps(rows: Array, names: Sequence[str], *, gaps: bool = False) -> None:
    """Raise if any value is missing or infinite, with counts per column; with ``gaps`` if a row lacks all values."""
    missing, infinite = np.isnan(rows).sum(axis=0), np.isinf(rows).sum(axis=0)
    if gaps and not infinite.any():
        _refuse_empty_rows(rows)
        return
    if not (missing.any() or infinite.any()):
        return
    counts = [f"{n} missing in '{name}'" for n, name in zip(missing, names, strict=True) if n]
    counts += [f"{n} infinite in '{name}'" for n, name in zip(infinite, names, strict=True) if n]
    n_bad = int((~np.isfinite(rows)).any(axis=1).sum())
    found = f"{listed(counts)} ({n_bad} of {len(rows)} rows affected)"
    kinds = " and ".join(kind for kind, there in (("NaN", missing), ("infinity", infinite)) if there.any())
    raise InputError(
        expected="data without missing or infinite values",
        got=found,
        sentence=f"Input contains {kinds}: {found}.",
        hint=REMEDY_FOR_GAPS,
    )


def _refuse_empty_rows(rows: Array) -> None:
    empty = np.flatnonzero(np.isnan(rows).all(axis=1))
    if len(empty):
        shown = ", ".join(map(str, empty[:_ROWS_SHOWN])) + (", ..." if len(empty) > _ROWS_SHOWN else "")
        raise InputError(
            expected="at least one observed value in each row",
            got=f"none in {len(empty)} of {len(rows)} rows: {shown} (counted from 0)",
            hint="Leave them out: X.dropna(how='all'), or X[~np.isnan(X).all(axis=1)] of an array.",
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
