"""Read CSV and Parquet files as checked tables; write output folders atomically."""

import csv
import os
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from bayesgmm.exceptions import InputError, warn_user
from bayesgmm.io.posix import holder_of, release_lock, sync_folder, take_lock, undisturbed
from bayesgmm.validation import default_names, read_table

OUTPUT_FILES = {
    "posterior.nc": "all draws; arviz.from_netcdf and bayesgmm.load open it",
    "estimates.csv": "the table, every digit",
    "memberships.csv": "each row's cluster and its probabilities",
    "clusters.png": "the figure",
}
SOURCE_FILES = {
    "posterior.nc": OUTPUT_FILES["posterior.nc"],
    "estimates.csv": OUTPUT_FILES["estimates.csv"],
    "memberships.parquet": OUTPUT_FILES["memberships.csv"],
    "clusters.png": "the figure, of a sample",
}
REPORT_FILE = {"report.html": "everything on one page, for a browser"}
EM_FILES = {
    "fit.nc": "the fit; bayesgmm.load opens it",
    "estimates.csv": "weights, means and covariances, every digit",
    "memberships.parquet": "each row's cluster and its probabilities",
}
SELECTION_FILES = {
    "selection.csv": "the table, every digit",
    "selection.png": "the figure",
}
_SEPARATORS = ("\t", ";", ",")
_WITH_SEPARATORS = re.compile(r"[+-]?\d{1,3}([,.' ]\d{3})+([.,]\d+)?|[+-]?\d*,\d+")
_LOCK, _UNFINISHED, _FINISHED = ".lock", ".unfinished-", ".finished-"
_PARQUET = b"PAR1"  # first and last bytes of Parquet files
_PARQUET_ENDINGS = (".parquet", ".pq")


def read_file(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    header: bool | None = None,
    gaps: bool = False,
) -> pd.DataFrame:
    """A CSV or Parquet file as float64 columns, without missing values unless there may be ``gaps``.

    A file that begins as Parquet files do, or has their ending, is read as one; any other by `read_csv`, which
    describes parameters and errors. ``header`` is ignored for Parquet files, which always have names.
    """
    source = _existing(path, "a CSV or Parquet file")
    if source.suffix.lower() in _PARQUET_ENDINGS or _begins_with(source, _PARQUET):
        frame = _parquet(source)
        return _checked(frame, None if columns is None else _separate(columns, list(frame.columns)), gaps=gaps)
    return read_csv(source, columns=columns, header=header, gaps=gaps)


def _existing(path: str | os.PathLike[str], expected: str) -> Path:
    if not os.path.isfile(path):  # noqa: PTH113  which takes names that no file can have
        kind = "a folder" if os.path.isdir(path) else "no file"  # noqa: PTH112
        raise InputError(expected=expected, got=f"{kind} at {path}")
    return Path(path)


def _begins_with(source: Path, mark: bytes) -> bool:
    try:
        with source.open("rb") as file:
            return file.read(len(mark)) == mark
    except OSError as error:
        raise InputError(expected="a file that can be read", got=f"{source} ({error.strerror})") from error


def _parquet(source: Path) -> pd.DataFrame:
    """The file as pandas reads it; its errors become one line."""
    try:
        frame = pd.read_parquet(source)
    except (ValueError, OSError, NotImplementedError) as error:  # pyarrow's own errors are such
        reason = " ".join(str(error).split())
        raise InputError(expected="a Parquet file", got=f"{source}, which cannot be read as one ({reason})") from error
    return frame.set_axis([str(name).strip() for name in frame.columns], axis="columns")


def _checked(frame: pd.DataFrame, columns: Sequence[str] | None, *, gaps: bool = False) -> pd.DataFrame:
    table = read_table(frame, columns=columns, gaps=gaps)
    return pd.DataFrame(table.rows, columns=pd.Index(table.feature_names))


# ---- CSV


def read_csv(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    header: bool | None = None,
    gaps: bool = False,
) -> pd.DataFrame:
    """A CSV file as float64 columns, without missing values unless there may be gaps.

    Every row must have a field for each column. Numbers have decimal points and no other separators. Columns without
    a name are left out, with a warning, if they are empty or hold row names, as pandas and R write them.

    Parameters
    ----------
    path : str or path
        Separated by commas, semicolons or tabs, UTF-8, compressed or not (by its ending).
    columns : sequence of str, optional
        Columns to use; an entry may also be several names with commas between them. All by default.
    header : bool, optional
        Whether the first line holds column names. By default it does, and a first line of numbers is an
        error. Without names the columns are ``x0``, ``x1``, ...
    gaps : bool
        Whether values may be missing, if each row has one.

    Raises
    ------
    InputError
        The file is missing, empty or no CSV file; rows are longer or shorter than the first line; a column is unknown,
        named twice or not numeric; values are missing.

    Warns
    -----
    UserWarning
        If columns without a name were left out.
    """
    source = _existing(path, "a CSV file")
    lines = _lines(source, 2)
    separator = _separator(lines)
    frame = _parsed(source, separator, header)
    _check_lengths(lines, separator, frame.shape[1], source)
    if frame.iloc[:, -1].isna().any():
        _check_lengths(_lines(source), separator, frame.shape[1], source)
    names = default_names(frame.shape[1]) if header is False else _names_in(source, separator, header)
    wanted = None if columns is None else _separate(columns, names)
    used = _named(frame, names, source) if wanted is None else _named_or_wanted(names, wanted)
    frame = frame.set_axis(names, axis="columns").loc[:, used]
    try:
        return _checked(frame, wanted, gaps=gaps)
    except InputError:
        _refuse_separators(frame if wanted is None else frame[[name for name in frame if name in wanted]])
        raise


def layout_of_csv(path: str) -> tuple[str, list[str]]:
    """The separator of a CSV file, and the names in its first line, empty where a column has none."""
    source = _existing(path, "a CSV file")
    separator = _separator(_lines(source, 2))
    return separator, ["" if _is_unnamed(name) else name for name in _names_in(source, separator, header=None)]


def _names_in(source: Path, separator: str, header: bool | None) -> list[str]:
    first = _parsed(source, separator, header=False, nrows=1, dtype=str, keep_default_na=False)
    names = [str(name).strip() for name in first.iloc[0]]
    _check_names(names, source, header)
    return names


def _lines(source: Path, n: int | None = None) -> list[str]:
    """The first lines, or all, without empty ones."""
    alone = {"sep": "\x1f", "quoting": csv.QUOTE_NONE, "names": ["line"], "dtype": str, "keep_default_na": False}
    lines: list[str] = _pandas_reads(source, header=None, nrows=n, **alone)["line"].to_list()
    if not lines:
        raise InputError(expected="a CSV file with data", got=f"the empty file {source}")
    return lines


def _fields(lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=separator, skipinitialspace=True)
    except csv.Error as error:
        raise InputError(expected="the lines of a CSV file", got=f"others ({error})") from error


def _separator(lines: Sequence[str]) -> str:
    """The separator that splits the first lines into equally many fields, at least two; else the first to occur."""
    for separator in _SEPARATORS:
        counts = {len(row) for row in _fields(lines, separator)}
        if len(counts) == 1 and counts.pop() > 1:
            return separator
    return next((separator for separator in reversed(_SEPARATORS) if separator in lines[0]), ",")


def _parsed(source: Path, separator: str, header: bool | None, **options: Any) -> pd.DataFrame:
    return _pandas_reads(
        source, sep=separator, header=None if header is False else 0, skipinitialspace=True, index_col=False, **options
    )


def _pandas_reads(source: Path, **options: Any) -> pd.DataFrame:
    """The file as pandas reads it; its errors become one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)  # that the first row is too long: `_check_lengths`
            frame: pd.DataFrame = pd.read_csv(source, encoding="utf-8-sig", low_memory=False, **options)
    except pd.errors.EmptyDataError:
        raise InputError(expected="a CSV file with data", got=f"the empty file {source}") from None
    except Exception as error:  # files that are not CSV, or not archives, raise errors of many kinds
        reason = " ".join(str(error).split())
        raise InputError(expected="a CSV file", got=f"{source}, which cannot be read as one ({reason})") from error
    return frame


def _check_lengths(lines: Sequence[str], separator: str, n_fields: int, source: Path) -> None:
    """Raise if a row is shorter or longer than the first, because its columns are ambiguous."""
    for row in _fields(lines, separator):
        if len(row) != n_fields:
            raise InputError(
                expected=f"as many fields in each row of {source} as in its first line, {n_fields}",
                got=f"{len(row)} in {separator.join(row)[:40]!r}",
                hint="A comma within a number separates fields too, and a column of row names needs a name.",
            )


def _check_names(names: Sequence[str], source: Path, header: bool | None) -> None:
    if header is None and all(_is_number(name) for name in names):
        raise InputError(
            expected=f"column names in the first line of {source}",
            got=f"numbers only ({', '.join(names[:5])})",
            hint="Use --no-header if there are no names, --header if these are names.",
        )


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _is_unnamed(name: str) -> bool:
    """Whether a column has no name, or pandas's default for unnamed columns."""
    return not name or re.fullmatch(r"Unnamed: \d+", name) is not None


def _named_or_wanted(names: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    times = Counter(names)
    return [name in wanted or (times[name] == 1 and not _is_unnamed(name)) for name in names]


def _named(frame: pd.DataFrame, names: Sequence[str], source: Path) -> list[bool]:
    """For each column whether it has a name; warns of those without, which must be row names or empty."""
    named = [not _is_unnamed(name) for name in names]
    n_leading = named.index(True) if True in named else len(named)
    unnamed = []
    for j in (j for j, has_name in enumerate(named) if not has_name):
        if frame.iloc[:, j].isna().all():
            unnamed.append(f"column {j + 1} (empty)")
        elif j < n_leading and _are_row_names(frame.iloc[:, j]):
            unnamed.append(f"column {j + 1} (row names: {', '.join(map(str, frame.iloc[:3, j]))}, ...)")
        else:
            raise InputError(
                expected=f"a name for every column of {source}",
                got=f"none for column {j + 1}",
                hint="Name it in the first line, or choose columns by their names with --columns.",
            )
    if unnamed:
        warn_user(f"Left out of {source}, because unnamed: {'; '.join(unnamed)}.", UserWarning)
    return named


def _are_row_names(column: pd.Series) -> bool:
    """Whether values are text, or distinct integers."""
    if not pd.api.types.is_numeric_dtype(column):
        return True
    return bool(pd.api.types.is_integer_dtype(column) and column.is_unique)


def _refuse_separators(frame: pd.DataFrame) -> None:
    """Raise if columns are not numeric because of thousands separators or decimal commas."""
    for name, column in frame.items():
        text = (value for value in column.head(1_000) if isinstance(value, str) and not _is_number(value))
        example = next(text, "")
        if _WITH_SEPARATORS.fullmatch(example.strip()):
            raise InputError(
                expected="numbers with a decimal point and no other separators",
                got=f"{example!r} in '{name}'",
                hint="Write 1234.5 instead of 1,234.5, and 3.14 instead of 3,14.",
            )


def _separate(columns: Iterable[str], available: Sequence[str]) -> list[str]:
    """Single names: an entry that is not a column is split at its commas."""
    names: list[str] = []
    for entry in columns:
        names += [entry] if entry in available else [part.strip() for part in entry.split(",") if part.strip()]
    return names


# ---- output


@contextmanager
def staged_output(folder: str | os.PathLike[str], names: Iterable[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder to write files into, which move to ``folder`` together when the block ends without an error.

    After an error ``folder`` is unchanged, or removed if it was new. A lock excludes other processes. Remains of a
    killed process are removed, or completed if all its files were written.

    Raises
    ------
    InputError
        One of the files exists and ``overwrite`` is false, or is a folder; another process writes to ``folder``, or it
        cannot be written to.
    """
    target = Path(folder)
    with _refused_as_folder(target):
        is_new = not target.exists()
        lock = _lock_in(target)
    try:
        with _refused_as_folder(target):
            _clean(target)
            _check_place(target, names, overwrite=overwrite)
            stage = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=target))
        try:
            yield stage
            _sync(stage)
            with undisturbed():
                _move_in(stage.rename(target / stage.name.replace(_UNFINISHED, _FINISHED)), target)
            is_new = False
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    finally:
        release_lock(target / _LOCK, lock)
        if is_new:
            with suppress(OSError):  # files that others put there meanwhile are kept
                target.rmdir()


@contextmanager
def _refused_as_folder(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(expected="a folder to write to", got=f"{target} ({reason})") from error


def _lock_in(target: Path) -> int:
    while True:
        target.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = take_lock(target / _LOCK)
        except FileNotFoundError:  # a failed process removed its new folder in between
            continue
        if descriptor is None:
            raise InputError(
                expected="an output folder that nothing else writes to",
                got=f"{target}, in which {holder_of(target / _LOCK)} is at work",
                hint="Name another with --output.",
            )
        return descriptor


def _clean(target: Path) -> None:
    """Complete or remove the output of killed processes; the caller holds the lock."""
    for path in target.glob(f"{_FINISHED}*"):
        _move_in(path, target)
    for path in target.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path)


def _check_place(target: Path, names: Iterable[str], *, overwrite: bool) -> None:
    present = [name for name in names if os.path.lexists(target / name)]
    folders = [name for name in present if (target / name).is_dir()]
    if folders:
        raise InputError(
            expected="an output folder for files", got=f"{target}, in which {', '.join(folders)} is a folder"
        )
    if present and not overwrite:
        raise InputError(
            expected="a new output folder",
            got=f"{target}, which holds {', '.join(present)}",
            hint="Name another with --output, or use --overwrite.",
        )


def _sync(stage: Path) -> None:
    """Flush all files of a folder to disk."""
    for path in stage.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    sync_folder(stage)


def _move_in(finished: Path, target: Path) -> None:
    """Move the files of a complete folder; if this is interrupted, the next run continues."""
    for path in finished.iterdir():
        path.replace(target / path.name)
    finished.rmdir()
    sync_folder(target)
