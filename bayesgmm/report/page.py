"""Page of a report: sections as one self-contained HTML file without scripts or network access."""

import base64
import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

import pandas as pd

from bayesgmm._common import folded, listing, paragraph, table
from bayesgmm.io import write_whole
from bayesgmm.report.figures import Picture
from bayesgmm.report.head import Head

_MOST_UNFOLDED = 12  # rows of a table that is shown without a click


@dataclass(frozen=True)
class Table:
    """Text in rows under headings; the first column names the rows.

    Attributes
    ----------
    caption : str
    headings : sequence of str
    rows : sequence of sequences of str
    frame : DataFrame, optional
        The same in all digits, for the CSV file that the page offers; by default it has the text.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    frame: pd.DataFrame | None = None

    def turned(self) -> "Table":
        """Rows as columns, for a table that is wider than long."""
        (what, *names), *others = zip(self.headings, *self.rows, strict=True)
        return Table(self.caption, ("", *(f"{what} {name}" for name in names)), others, self.frame)

    @property
    def csv(self) -> str:
        """The table as a CSV file."""
        if self.frame is not None:
            return str(self.frame.to_csv())
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.headings, *self.rows])
        return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title : str
    sentences : tuple of str
        What was found, two sentences or a few more.
    picture : Picture, optional
    tables : tuple of Table
    notes : tuple of str
        What else there is to know, one sentence each.
    code : tuple of str
        Blocks of code.
    """

    title: str
    sentences: tuple[str, ...]
    picture: Picture | None = None
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    code: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Target of links."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def html(self) -> str:
        """The section as HTML, escaped."""
        parts = [f"<h2>{escape(self.title)}</h2>", paragraph(" ".join(self.sentences)), listing(self.notes)]
        parts += [self.picture.html()] if self.picture else []
        parts += [_table(each) for each in self.tables]
        parts += [f'<pre tabindex="0"><code>{escape(block)}</code></pre>' for block in self.code]
        return f'<section id="{self.anchor}">{"".join(parts)}</section>'


def page(title: str, subtitle: str, sections: Sequence[Section], head: Head | None = None) -> str:
    """The whole document: the answer, if there is one, and the sections that lead to it."""
    links = "".join(f'<a href="#{section.anchor}">{escape(section.title)}</a>' for section in sections)
    return Template(_PAGE).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=_STYLE,
        links=links,
        answer="" if head is None else head.html(),
        sections="\n".join(section.html() for section in sections),
    )


def save_page(text: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the document; a file that fails half way leaves the old one untouched.

    Raises
    ------
    InputError
        As `check_target`.
    """
    write_whole(path, [text.encode()], overwrite=overwrite)


def _table(shown: Table) -> str:
    """The table and its file; a long one is folded."""
    content = table(shown.headings, shown.rows, labelled=True) + _download(shown)
    if len(shown.rows) > _MOST_UNFOLDED:
        return folded(f"{shown.caption} ({len(shown.rows):,} rows)", content)
    return f"<h3>{escape(shown.caption)}</h3>{content}"


def _download(shown: Table) -> str:
    data = base64.b64encode(shown.csv.encode()).decode("ascii")
    name = re.sub(r"[^a-z0-9]+", "-", shown.caption.lower()).strip("-") or "table"
    return f'<a class="file" download="{name}.csv" href="data:text/csv;base64,{data}">Download as CSV</a>'


_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --band: #f6f8fa; --link: #0550ae; --posterior: #20507a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #11151a; --ink: #e6edf3; --soft: #9aa7b4; --line: #3a434d; --band: #1b2128; --link: #79b8ff;
    --posterior: #6ea6d8; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header, main, footer { max-width: 54rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 1.5rem; }
h1 { margin: 0; font-size: 1.8rem; line-height: 1.2; }
h2 { margin: 0 0 .5rem; font-size: 1.3rem; }
h3 { margin: 1rem 0 .3rem; font-size: 1rem; }
p { margin: .4rem 0; }
header p, footer, summary, h3 { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: .6rem 0; border-bottom: 1px solid var(--line); }
a { color: var(--link); }
section { padding: 1.4rem 0; border-bottom: 1px solid var(--line); }
figure { display: flex; flex-wrap: wrap; justify-content: center; margin: 1rem 0; gap: 1rem; }
figure svg { max-width: 100%; height: auto; color: var(--ink); }
figure .narrow { display: none; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; }
pre { padding: .7rem; background: var(--band); border: 1px solid var(--line); border-radius: .4rem;
  font-size: .85rem; line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
#answer table { width: 100%; }
#answer td { white-space: nowrap; }
#answer td:last-child, #answer th:last-child { text-align: left; white-space: normal; }
.file { display: inline-block; margin-top: .4rem; font-size: .875rem; }
summary { cursor: pointer; margin: .6rem 0; }
footer { padding-top: 1rem; padding-bottom: 2rem; font-size: .875rem; }
@media screen and (max-width: 46rem) {
  figure .wide { display: none; }
  figure .narrow { display: block; }
}
@media (max-width: 46rem) {
  thead { display: none; }
  table, tbody, tr, td, tbody th { display: block; border: 0; overflow-wrap: anywhere; }
  tr { border-bottom: 1px solid var(--line); padding: .3rem 0; }
  td, th:first-child, #answer td:last-child { text-align: left; padding: .05rem 0; }
  td::before, #answer tbody th::before { content: attr(data-of) " "; color: var(--soft); }
}
@media print {
  :root { --ground: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb; --band: #f6f8fa;
    --posterior: #20507a; }
  nav, .file { display: none; }
  body { font-size: 10pt; }
  header, main { max-width: none; padding: 0; }
  figure, table, pre, li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  figure svg { max-height: 16cm; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
}
"""

# The policy lets a browser load nothing but what stands in the file.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p>$subtitle</p>
</header>
<main>
$answer
<nav aria-label="Sections">$links</nav>
$sections
</main>
</body>
</html>
"""
