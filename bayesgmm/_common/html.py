"""Text and tables as HTML, every word escaped: what notebooks show of records, and what reports are made of."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Protocol

_DIGITS = 5  # significant ones of a number in a notebook's table


class Frame(Protocol):
    """What a table needs of a DataFrame, so that this floor imports no pandas."""

    columns: Any
    index: Any

    def itertuples(self, index: bool = True, name: str | None = None) -> Iterable[tuple[Any, ...]]:
        """Rows, the index first."""
        ...


def paragraph(text: str) -> str:
    """One paragraph; a line break stays one."""
    return f"<p>{'<br>'.join(map(escape, text.splitlines()))}</p>"


def listing(items: Sequence[str]) -> str:
    """A list of sentences; nothing if there are none."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, n_names: int = 1) -> str:
    """A table whose first ``n_names`` columns name the rows, in a box that scrolls by itself.

    Examples
    --------
    >>> table(["feature", "mean"], [["<script>", "1.5"]]).count("&lt;script&gt;")
    1
    """
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(f"<tr>{''.join(_cells(row, n_names))}</tr>" for row in rows)
    return f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[str], n_names: int) -> Iterable[str]:
    for position, text in enumerate(row):
        yield f'<th scope="row">{escape(text)}</th>' if position < n_names else f"<td>{escape(text)}</td>"


def frame_table(frame: Frame) -> str:
    """A DataFrame as a table, numbers with five significant digits."""
    names = [str(name) if name is not None else "" for name in frame.index.names]
    rows = [_flat(row) for row in frame.itertuples(index=True, name=None)]
    return table(
        [*names, *map(str, frame.columns)], [[shown(cell) for cell in row] for row in rows], n_names=len(names)
    )


def _flat(row: Sequence[Any]) -> list[Any]:
    """A row whose first entry is its name, of one part or of several."""
    first, *rest = row
    return [*first, *rest] if isinstance(first, tuple) else [first, *rest]


def shown(value: Any) -> str:
    """A cell of a table: five significant digits, whole numbers whole, a dash where there is nothing.

    Examples
    --------
    >>> shown(-1130.2641), shown(272), shown(float("nan")), shown(True), shown("full")
    ('-1130.3', '272', '–', 'yes', 'full')
    """
    if value is None or value != value:
        return "–"
    if isinstance(value, str):
        return value
    if str(value) in ("True", "False"):
        return "yes" if value else "no"
    if isinstance(value, int) or (hasattr(value, "dtype") and value.dtype.kind in "iu"):
        return f"{int(value):,}"
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def folded(summary: str, content: str) -> str:
    """Content that a click unfolds."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
