"""Text and tables as escaped HTML, for notebooks and reports."""

from collections.abc import Iterable, Sequence
from html import escape


def paragraph(text: str) -> str:
    """One paragraph; line breaks are kept."""
    return f"<p>{'<br>'.join(map(escape, text.splitlines()))}</p>"


def listing(items: Sequence[str]) -> str:
    """A list of sentences; nothing if there are none."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, n_names: int = 1, labelled: bool = False) -> str:
    """A table whose first ``n_names`` columns name the rows, in a scrollable box.

    With ``labelled`` each cell knows its heading (``data-of``), which a narrow page shows beside it.

    Examples
    --------
    >>> table(["feature", "mean"], [["<script>", "1.5"]]).count("&lt;script&gt;")
    1
    """
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(f"<tr>{''.join(_cells(row, n_names, headings if labelled else ()))}</tr>" for row in rows)
    return f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[str], n_names: int, headings: Sequence[str]) -> Iterable[str]:
    for position, text in enumerate(row):
        of = f' data-of="{escape(headings[position])}"' if headings else ""
        yield f'<th scope="row"{of}>{escape(text)}</th>' if position < n_names else f"<td{of}>{escape(text)}</td>"


def folded(summary: str, content: str) -> str:
    """Collapsible content."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
