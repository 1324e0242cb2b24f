"""Validators of data: arrays and dataframes as checked rows and weights, or an `InputError` before any work."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgmm._common import Array, PerRow, Rows, quoted
from bayesgmm.exceptions import InputError
from bayesgmm.validation.columns import (
    REMEDY_FOR_GAPS,
    chosen_names,
    frame_of,
    named_column,
    numbers_of,
    numeric_columns,
    refuse_gaps,
    with_values,
)

LARGEST = 1e100  # of data: squares can be summed, and divided by variances down to 1e-100
_LARGEST_TOTAL = 2.0**53  # of weights: the largest range in which double precision represents every integer
_NEAR_ONE = 1e-3
_OF_SOURCES = ("blocks", "n_features", "feature_names", "fingerprint")  # attributes of `bayesgmm.Source`
_REFUSED_KINDS = {
    "b": ("true and false", "Use X.astype(float) if they are 1 and 0."),
    "c": ("complex numbers. Complex data not supported", "Use real and imaginary parts as separate features."),
    "M": ("dates", "Turn them into numbers first, such as days since the first."),
    "m": ("durations", "Turn them into numbers first: X / np.timedelta64(1, 's')."),
    "U": ("text", "Turn it into numbers first, as X.astype(float) does where it spells some."),
    "S": ("text", "Turn it into numbers first, as X.astype(float) does where it spells some."),
    "T": ("text", "Turn it into numbers first, as X.astype(float) does where it spells some."),
    "V": ("records", "Make a table of it first: pandas.DataFrame(X)."),
}


class Table(NamedTuple):
    """Checked data: rows (obs, feature), stored feature-major, and the names of their features."""

    rows: Rows
    feature_names: list[str]


def as_rows(
    X: ArrayLike,
    *,
    n_features: int | None = None,
    features: Sequence[str] | None = None,
    name: str = "X",
    gaps: bool = False,
) -> Rows:
    """A finite float64 matrix (obs, feature), stored feature-major as the kernel reads it.

    Parameters
    ----------
    X : dataframe or array-like, (obs, feature)
    n_features : int, optional
        Required number of features.
    features : sequence of str, optional
        Names of the features of a fit, which the columns of a dataframe must have in the same order.
    name : str
        What the message calls the data.
    gaps : bool
        Whether values may be missing: NaN, at least one value in each row.

    Raises
    ------
    InputError
        If `read_table` refuses the data, or the features are others.
    """
    if is_plain(X):
        rows = X
    else:
        rows, names = read_table(X, name=name, gaps=gaps)
        if features is not None and names != default_names(len(names)):
            _check_names(names, features, name)
    if n_features is not None and rows.shape[1] != n_features:
        raise InputError(expected=f"{name} with {n_features} features", got=f"{rows.shape[1]}")
    return np.asfortranarray(rows, dtype=np.float64)


def in_the_form_of(X: Any, rows: Rows) -> Any:
    """Checked rows as a dataframe like the one they came from, or as an array if they came from anything else."""
    frame = None if isinstance(X, np.ndarray | list | tuple) else frame_of(named_column(X))
    return rows if frame is None else with_values(frame, rows)


def _check_names(names: list[str], features: Sequence[str], name: str) -> None:
    wanted = [str(each) for each in features]
    if wanted in (names, default_names(len(wanted))) or all(each.isdigit() for each in names):
        return
    raise InputError(
        expected=f"{name} with the columns {quoted(wanted)}, in this order",
        got=quoted(names),
        hint="Choose and order the columns of the fit." if set(wanted) <= set(names) else "",
    )


def is_plain(X: object, dtypes: tuple[type, ...] = (np.float64,), *, least_rows: int = 1) -> TypeGuard[Array]:
    """Whether data need no conversion: a two-dimensional array of finite, moderate numbers."""
    return (
        type(X) is np.ndarray
        and X.dtype in dtypes
        and X.ndim == 2
        and X.shape[0] >= least_rows
        and X.shape[1] > 0
        and are_moderate(X)
    )


def read_table(
    X: Any, *, columns: Sequence[str] | None = None, name: str = "X", least_rows: int = 1, gaps: bool = False
) -> Table:
    """Rows and feature names of a dataframe or an array.

    Parameters
    ----------
    X : dataframe or array-like, (obs, feature)
        A dataframe that narwhals knows (pandas, polars, pyarrow, modin, cuDF) keeps its column names, and a series
        with a name is one column; the features of anything else are called ``x0``, ``x1``, ...
    columns : sequence of str, optional
        The features to use, in this order; all of them by default.
    name : str
        What the message calls the data.
    least_rows : int
        Fewest rows allowed.
    gaps : bool
        Whether values may be missing, if each row has one.

    Returns
    -------
    Table
        Rows in double precision, in single precision if all of X is; NaN for missing values.

    Raises
    ------
    InputError
        A column is unknown, named twice or not numeric; values are missing, infinite or beyond 1e100, whose squares
        cannot be summed; the shape is wrong; the data are sparse, masked, complex, dates, text or booleans.

    Examples
    --------
    >>> import pandas as pd
    >>> read_table(pd.DataFrame({"length": [1, 2], "width": [0.5, 0.7]}), columns=["width"])
    Table(rows=array([[0.5], [0.7]]), feature_names=['width'])
    >>> read_table([[1.0, 2.0]]).feature_names
    ['x0', 'x1']
    """
    if is_elsewhere(X):
        raise InputError(
            expected=f"{name} in memory, an array or a dataframe",
            got=f"rows not in memory: {X!r:.60}",
            hint="Take a sample: bayesgmm.open_source(...).sample(100_000).",
        )
    X = named_column(X)
    frame = None if isinstance(X, np.ndarray | list | tuple) else frame_of(X)
    if frame is None:
        rows = as_numbers(X, name=name)
        _check_shape(rows.shape, name, least_rows)
        names = default_names(rows.shape[1])
        if columns is not None:
            chosen = chosen_names(names, columns)
            rows, names = rows[:, [names.index(each) for each in chosen]], chosen
    else:
        names = chosen_names(frame.columns, columns)
        _check_shape((len(frame), len(names)), name, least_rows)
        rows = numeric_columns(frame, names)
        names = [str(each) for each in names]
    if not are_moderate(rows):
        refuse_gaps(rows, names, gaps=gaps)
        _refuse_huge(rows, names, name)
    return Table(np.asfortranarray(rows), names)


def is_elsewhere(X: object) -> bool:
    """Whether X says where rows are: paths, a Zarr array, a Dask collection, or a source (`bayesgmm.Source`)."""
    if isinstance(X, list | tuple):
        return len(X) > 0 and all(isinstance(each, str | os.PathLike) for each in X)
    known = isinstance(X, str | os.PathLike) or is_zarr(X) or is_dask(X)
    return known or all(hasattr(X, name) for name in _OF_SOURCES)


def is_zarr(X: object) -> bool:
    """Whether X is a Zarr array; zarr itself is not imported."""
    return type(X).__module__.partition(".")[0] == "zarr"


def is_dask(X: object) -> bool:
    """Whether X is a Dask collection; dask itself is not imported."""
    return type(X).__module__.partition(".")[0] in ("dask", "dask_expr")


def default_names(n_features: int) -> list[str]:
    """Default names of features."""
    return [f"x{j}" for j in range(n_features)]


def _check_shape(shape: tuple[int, ...], name: str, least_rows: int) -> None:
    """Check rows and columns, with scikit-learn's messages."""
    if len(shape) != 2:
        raise InputError(
            expected=f"{name} with shape (obs, feature)",
            got=f"shape {shape}",
            sentence=f"Expected 2D array, got {len(shape)}D array instead: {name} has shape {shape}.",
            hint="Reshape your data: X[:, None], or X.reshape(-1, 1), if they have a single feature, X[None], or "
            "X.reshape(1, -1), if they are a single row."
            if len(shape) == 1
            else "Rows are observations, columns are features.",
        )
    for n, what, least in ((shape[0], "sample", least_rows), (shape[1], "feature", 1)):
        if n < least:
            raise InputError(
                expected=f"{name} with at least {least} {what}(s)",
                got=f"shape {shape}",
                sentence=f"Found array with {n} {what}(s) (shape={shape}) while a minimum of {least} is required: "
                "at least one row and one column.",
            )


def are_moderate(array: NDArray[Any]) -> bool:
    """Whether all values are finite and at most 1e100 in absolute value, mostly in one pass by a sum of squares."""
    flat = array.ravel(order="K")
    with np.errstate(over="ignore", invalid="ignore"):
        if flat @ flat <= LARGEST**2:
            return True
    return bool(array.size == 0 or max(array.max(), -array.min()) <= LARGEST)


def _refuse_huge(rows: Rows, names: Sequence[str], name: str) -> None:
    largest = np.fmax.reduce(np.abs(rows))
    if np.fmax.reduce(largest) > LARGEST:
        huge = [f"{each}" for each, value in zip(names, largest, strict=True) if value > LARGEST]
        raise InputError(
            expected=f"absolute values below {LARGEST:.0e} in {name}, whose squares can be added",
            got=f"larger ones in {quoted(huge)}, up to {np.fmax.reduce(largest):.3g}",
            hint="Rescale them.",
        )


def as_numbers(value: Any, *, name: str) -> Array:
    """An array of floats, NaN where entries are missing: float32 if the values are, float64 for everything else.

    Raises
    ------
    InputError
        For values that are not real numbers, and for sparse and masked arrays, whose meaning would change silently.
    """
    if type(value) is np.ndarray and value.dtype == np.float64:
        return value.astype(np.float64, copy=False)  # in the byte order of this machine
    if hasattr(value, "nnz") and hasattr(value, "toarray"):
        raise InputError(
            expected=f"{name} as a dense array", got="a sparse one", hint="Use X.toarray(), if that fits into memory."
        )
    if isinstance(value, np.ma.MaskedArray):
        n_masked = int(np.ma.count_masked(value))
        if n_masked:
            raise InputError(
                expected=f"{name} without missing values", got=f"{n_masked} masked values", hint=REMEDY_FOR_GAPS
            )
        value = value.data
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:  # rows of different lengths, arrays on another device
        raise InputError(expected=f"{name} to be numeric", got=" ".join(str(error).split())) from error
    if array.dtype.kind in _REFUSED_KINDS:
        got, hint = _REFUSED_KINDS[array.dtype.kind]
        raise InputError(expected=f"{name} to be numeric", got=got, hint=hint.replace("X", name))
    if array.dtype.kind == "O":
        return _from_objects(array, name)
    with np.errstate(over="ignore"):  # beyond double precision: infinite
        return array.astype(np.float32 if array.dtype == np.float32 else np.float64, copy=False)


def _from_objects(array: NDArray[Any], name: str) -> Array:
    values = array.ravel().tolist()
    try:
        return numbers_of(values).reshape(array.shape)
    except (TypeError, ValueError) as error:
        table = any(isinstance(each, dict) for each in values[:1])
        raise InputError(
            expected=f"{name} to be numeric",
            got=" ".join(str(error).split()),
            hint="Make a table of it first: pandas.DataFrame(X)." if table else "",
        ) from error


def as_finite(value: ArrayLike, *, name: str) -> Array:
    """A float64 array without NaN or infinity."""
    array = as_numbers(value, name=name).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(
            expected=f"{name} without missing or infinite values",
            got=f"{bad} of {array.size} values missing or infinite",
        )
    return array


def as_row_weights(weights: ArrayLike | None, n_rows: int, *, name: str = "row_weights") -> PerRow | None:
    """Non-negative weights (obs,), or None."""
    if weights is None:
        return None
    array = as_finite(weights, name=name)
    if array.shape != (n_rows,):
        raise InputError(
            expected=f"{name} of shape ({n_rows},), one for each row",
            got=f"shape {array.shape}",
            hint=f"Say np.ravel({name})." if array.shape in {(n_rows, 1), (1, n_rows)} else "",
        )
    if array.min() < 0 or array.max() == 0:
        raise InputError(
            expected=f"{name} that are non-negative, not all zero",
            got="weights that are all zero" if array.max() == 0 else f"a smallest one of {array.min():g}",
        )
    total = float(array.sum())
    if total > _LARGEST_TOTAL:
        raise InputError(
            expected=f"{name} with a sum of at most 2**53 = {_LARGEST_TOTAL:.1e}, up to which double precision counts "
            "one by one",
            got=f"{total:.3g}",
            hint=f"Divide them by a common factor: {name} * (len(X) / {name}.sum()) counts as many as there are rows.",
        )
    return np.ascontiguousarray(array)


def as_sample_weight(weights: ArrayLike | None, n_rows: int, *, relative: bool = False) -> PerRow | None:
    """Checked frequency weights (obs,), the number of observations of each row, or None.

    Weights that sum to one are refused, unless only their ratios matter (``relative``): as frequencies they mean that
    all rows together are one observation.
    """
    array = as_row_weights(weights, n_rows, name="sample_weight")
    if array is None or relative or n_rows == 1 or abs(array.sum() - 1.0) > _NEAR_ONE:
        return array
    raise InputError(
        expected="sample_weight that count: how many observations each row stands for",
        got=f"weights of {n_rows} rows that sum to {array.sum():.4g}, as one observation",
        hint="Multiply them by the number of observations behind them, or by the number of rows if that is not known: "
        "sample_weight * len(X).",
    )
