"""Formatting of numbers, lists, tables and sentences for users."""

from collections.abc import Iterable, Sequence
from math import floor, isfinite, log10
from string import Formatter
from typing import Any, Protocol

from bayesgmm._common.html import table

MISSING = "–"
_DIGITS = 5  # significant ones, where nothing else is asked for
_LARGEST_FIXED, _MOST_DECIMALS = 1e7, 6  # beyond, scientific notation
_ROUNDING = 1e-12  # the weight of a single component varies by no more than this
_MOST_NAMED = 5
_UNITS = {
    "count": ",.0f",
    "criterion": ".2f",
    "p": ".2g",
    "probability": ".3f",
    "r_hat": ".3f",
    "share": ".0%",
    "small share": ".1%",
}


def shown(value: Any, unit: str | int = "") -> str:
    """A value as text, in tables and in sentences.

    Parameters
    ----------
    value : object
        A number, or anything else; None and NaN are a dash.
    unit : str or int
        What it is (``"r_hat"``, ``"count"``, ``"probability"``, ``"share"``, ...), a format, or a number of decimals.
        By default five significant digits, and whole numbers whole.

    Examples
    --------
    >>> shown(-1130.2641), shown(2720), shown(float("nan")), shown(True), shown("full")
    ('-1130.3', '2,720', '–', 'yes', 'full')
    >>> shown(1.00312, "r_hat"), shown(1234.5, "count"), shown(0.137, "share"), shown(0.5, "+.1f")
    ('1.003', '1,234', '14%', '+0.5')
    >>> shown(54.4811, 2), shown(0.00001234, 9), shown(123456789.0, 0)
    ('54.48', '1.23e-05', '1.23e+08')
    """
    if value is None or value != value:
        return MISSING
    if isinstance(value, str):
        return value
    if str(value) in ("True", "False"):
        return "yes" if value else "no"
    if isinstance(unit, int):
        fits = abs(value) < _LARGEST_FIXED and unit <= _MOST_DECIMALS
        return f"{value:.{unit}f}" if fits else f"{value:.2e}"
    return format(value, _UNITS.get(unit, unit) or _default_format(value))


def _default_format(value: Any) -> str:
    if isinstance(value, int) or (hasattr(value, "dtype") and value.dtype.kind in "iu"):
        return ","
    return f".{_DIGITS}g" if isinstance(value, float) else ""


def decimals_of(sd: float, *, mean: float = 0.0, mcse: float = 0.0) -> int:
    """Decimals that show two significant digits of the standard deviation, but none below the Monte Carlo error.

    Examples
    --------
    >>> decimals_of(0.0294, mcse=0.0005), decimals_of(0.0294, mcse=0.02), decimals_of(54.1, mcse=0.9)
    (3, 2, 0)
    """
    if not (isfinite(sd) and sd > _ROUNDING * abs(mean)):
        return 3
    decimals = 1 - floor(log10(sd))
    if isfinite(mcse) and mcse > 0:
        decimals = max(min(decimals, -floor(log10(mcse))), decimals - 1)
    return max(decimals, 0)


def with_error(value: float, se: float | None, unit: str | int = "") -> str:
    """An estimate and its standard error, if there is one.

    Examples
    --------
    >>> with_error(-1135.204, 0.031, "criterion"), with_error(2314.3, float("nan"), "criterion")
    ('-1135.20 ± 0.03', '2314.30')
    """
    return shown(value, unit) + ("" if se is None or se != se else f" ± {shown(se, unit)}")


def counted(n: int, singular: str, plural: str = "") -> str:
    """A number and its noun.

    Examples
    --------
    >>> counted(1, "row"), counted(2_000, "row"), counted(2, "optimum", "optima")
    ('1 row', '2,000 rows', '2 optima')
    """
    return f"{shown(n)} {singular if n == 1 else plural or f'{singular}s'}"


def numbered(numbers: Sequence[int], singular: str) -> str:
    """Things by their numbers.

    Examples
    --------
    >>> numbered([3], "chain"), numbered([0, 1, 4], "chain")
    ('chain 3', 'chains 0, 1, 4')
    """
    return f"{singular}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def listed(items: Iterable[str], most: int = _MOST_NAMED) -> str:
    """The first few items, and how many more there are.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed("abcdefgh"), listed(["a"])
    ('a, b and c', 'a, b, c, d, e and 3 more', 'a')
    """
    texts = list(items)
    if len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most:,} more"
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def quoted(names: Iterable[str], most: int = _MOST_NAMED) -> str:
    """`listed`, in quotes."""
    return listed((f"'{name}'" for name in names), most)


class _Sentence(Formatter):
    """`str.format` whose fields are written by `shown`."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return shown(value, format_spec)


def sentence(template: str, /, **values: object) -> str:
    """A template with values, each written by `shown`; its unit stands after the colon.

    Examples
    --------
    >>> sentence("R-hat is at most {worst:r_hat} in {n} draws of {fit!r}.", worst=1.00312, n=4000, fit="em")
    "R-hat is at most 1.003 in 4,000 draws of 'em'."
    """
    return _Sentence().vformat(template, (), values)


class Frame(Protocol):
    """What a table needs of a DataFrame, so that this package imports no pandas."""

    columns: Any
    index: Any

    def itertuples(self, index: bool = True, name: str | None = None) -> Iterable[tuple[Any, ...]]:
        """Rows, the index first."""
        ...


def frame_table(frame: Frame) -> str:
    """A DataFrame as an HTML table, each cell by `shown`."""
    names = [str(name) if name is not None else "" for name in frame.index.names]
    rows = [_flat(row) for row in frame.itertuples(index=True, name=None)]
    return table(
        [*names, *map(str, frame.columns)], [[shown(cell) for cell in row] for row in rows], n_names=len(names)
    )


def _flat(row: Sequence[Any]) -> list[Any]:
    """A row whose first entry is its name, of one part or of several."""
    first, *rest = row
    return [*first, *rest] if isinstance(first, tuple) else [first, *rest]
