"""Files at the border: a CSV or Parquet file becomes a checked table, and output appears whole or not at all."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from bayesgmm.surface.frames import read_table
from bayesgmm.words.errors import InputError

OUTPUT_FILES = {
    "posterior.nc": "all draws; arviz.from_netcdf and bayesgmm.load open it",
    "estimates.csv": "the table, every digit",
    "memberships.csv": "each row's cluster and its probabilities",
    "clusters.png": "the figure",
}
REPORT_FILE = {"report.html": "everything on one page, for a browser"}
SELECTION_FILES = {
    "selection.csv": "the table, every digit",
    "selection.png": "the figure",
}
_OTHER_SEPARATORS = (";", "\t")
_PARQUET = b"PAR1"  # what every Parquet file begins and ends with
_PARQUET_ENDINGS = (".parquet", ".pq")


def read_file(
    path: str | os.PathLike[str], *, columns: Sequence[str] | None = None, header: bool | None = None
) -> pd.DataFrame:
    """A CSV or Parquet file as float64 columns without gaps.

    A file that begins as Parquet files do, or has their ending, is read as one; any other by `read_csv`, which
    tells parameters and errors. ``header`` means nothing to a Parquet file, which always has names.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(
            expected="a CSV or Parquet file", got=f"{'a folder' if source.is_dir() else 'no file'} at {source}"
        )
    if source.suffix.lower() in _PARQUET_ENDINGS or _begins_with(source, _PARQUET):
        return _checked(_parquet(source), columns)
    return read_csv(source, columns=columns, header=header)


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


def _checked(frame: pd.DataFrame, columns: Sequence[str] | None) -> pd.DataFrame:
    table = read_table(frame, columns=None if columns is None else _separate(columns, list(frame.columns)))
    return pd.DataFrame(table.rows, columns=pd.Index(table.feature_names))


def read_csv(
    path: str | os.PathLike[str], *, columns: Sequence[str] | None = None, header: bool | None = None
) -> pd.DataFrame:
    """A CSV file as float64 columns without gaps.

    Parameters
    ----------
    path : str or path
        Separated by commas, semicolons or tabs, UTF-8, compressed or not (by its ending).
    columns : sequence of str, optional
        Columns to use; an entry may also be several names with commas between them. All by default.
    header : bool, optional
        Whether the first line holds column names. By default it does, and a first line of numbers is an
        error. Without names the columns are ``x0``, ``x1``, ...

    Raises
    ------
    InputError
        The file is missing, empty or no CSV file; a column is unknown or not numeric; values are missing.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(expected="a CSV file", got=f"{'a folder' if source.is_dir() else 'no file'} at {source}")
    frame = _parsed(source, ",", header)
    for separator in _OTHER_SEPARATORS:
        if len(frame.columns) == 1 and _first_line_has(separator, frame):
            frame = _parsed(source, separator, header)
    if header is None and all(_is_number(str(name)) for name in frame.columns):
        raise InputError(
            expected=f"column names in the first line of {source}",
            got=f"numbers only ({', '.join(map(str, frame.columns[:5]))})",
            hint="Say --no-header if there are no names, --header if these are names.",
        )
    return _checked(frame, columns)


def _parsed(source: Path, separator: str, header: bool | None) -> pd.DataFrame:
    """The file as pandas reads it; its errors become one line."""
    try:
        frame = pd.read_csv(
            source,
            sep=separator,
            header=None if header is False else 0,
            skipinitialspace=True,
            encoding="utf-8-sig",
            low_memory=False,
        )
    except pd.errors.EmptyDataError:
        raise InputError(expected="a CSV file with data", got=f"the empty file {source}") from None
    except (pd.errors.ParserError, UnicodeError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(expected="a CSV file", got=f"{source}, which cannot be read as one ({reason})") from error
    names = [f"x{j}" for j in range(frame.shape[1])] if header is False else [str(n).strip() for n in frame.columns]
    return frame.set_axis(names, axis="columns")


def _first_line_has(separator: str, frame: pd.DataFrame) -> bool:
    first = [*frame.columns, *frame.iloc[:1, 0]]
    return any(isinstance(value, str) and separator in value for value in first)


def _is_number(name: str) -> bool:
    """Whether a column name is a number, doubled or not: pandas calls a second ``3.6`` ``3.6.1``."""
    try:
        float(re.sub(r"(?<=\d)\.\d+$", "", name))
    except ValueError:
        return False
    return True


def _separate(columns: Iterable[str], available: Sequence[str]) -> list[str]:
    """Single names: an entry that is no column itself is split at its commas."""
    names: list[str] = []
    for entry in columns:
        names += [entry] if entry in available else [part.strip() for part in entry.split(",") if part.strip()]
    return names


@contextmanager
def staged_output(folder: str | os.PathLike[str], names: Iterable[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder to write files into, which move to ``folder`` together when the block ends well.

    If it does not, what was in ``folder`` before is untouched, and a new ``folder`` is removed again.

    Raises
    ------
    InputError
        One of the files is there already and ``overwrite`` is false, or the folder cannot be written to.
    """
    target = Path(folder)
    present = [name for name in names if (target / name).exists()]
    if present and not overwrite:
        raise InputError(
            expected="a new output folder",
            got=f"{target}, which holds {', '.join(present)}",
            hint="Name another with --output, or say --overwrite.",
        )
    is_new = not target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=target))
    except OSError as error:
        raise InputError(expected="a folder to write to", got=f"{target} ({error.strerror})") from error
    try:
        yield stage
        for path in stage.iterdir():
            path.replace(target / path.name)
        is_new = False
    finally:
        shutil.rmtree(stage)
        if is_new:
            target.rmdir()
