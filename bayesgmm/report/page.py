"""Page of a report: sections as one self-contained HTML file without scripts or network access."""

import base64
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

from bayesgmm._common import folded, listing, paragraph, table
from bayesgmm.io import write_whole

_DPI = 130
_MOST_UNFOLDED = 12  # rows of a table that is shown without a click


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, and what it shows in words, for those who cannot see it."""

    png: bytes
    alt: str


@dataclass(frozen=True)
class Table:
    """Text in rows under headings; the first column names the rows."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


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
        parts += [_image(self.picture)] if self.picture else []
        parts += [_table(each) for each in self.tables]
        parts += [f'<pre tabindex="0"><code>{escape(block)}</code></pre>' for block in self.code]
        return f'<section id="{self.anchor}">{"".join(parts)}</section>'


def picture_of(drawn: Any, alt: str) -> Picture:
    """The PNG of a matplotlib figure or of an ArviZ PlotCollection, which is closed."""
    collection = hasattr(drawn, "viz")
    figure = drawn.viz["figure"].item() if collection else drawn
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", bbox_inches="tight")
    if collection:
        from matplotlib.pyplot import close

        close(figure)
    return Picture(buffer.getvalue(), alt)


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole document."""
    links = "".join(f'<a href="#{section.anchor}">{escape(section.title)}</a>' for section in sections)
    return Template(_PAGE).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=_STYLE,
        links=links,
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


def _image(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    shown = f'<img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}">'
    return f'<figure tabindex="0">{shown}</figure>'


def _table(shown: Table) -> str:
    content = table(shown.headings, shown.rows)
    if len(shown.rows) > _MOST_UNFOLDED:
        return folded(f"{shown.caption} ({len(shown.rows):,} rows)", content)
    return f"<h3>{escape(shown.caption)}</h3>{content}"


# Figures keep a light ground of their own: their colours were chosen to stay apart on it.
_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --band: #f6f8fa; --link: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #11151a; --ink: #e6edf3; --soft: #9aa7b4; --line: #3a434d; --band: #1b2128; --link: #79b8ff; }
  figure { filter: brightness(.88); }
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
figure { margin: 1rem 0; padding: .5rem; overflow-x: auto; background: #ffffff; border: 1px solid var(--line);
  border-radius: .4rem; }
img { display: block; max-width: 100%; min-width: 28rem; max-height: 36rem; height: auto;
  margin: 0 auto; object-fit: contain; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; }
pre { overflow-x: auto; padding: .7rem; background: var(--band); border: 1px solid var(--line); border-radius: .4rem;
  font-size: .85rem; line-height: 1.45; overflow-wrap: normal; }
summary { cursor: pointer; margin: .6rem 0; }
footer { padding-top: 1rem; padding-bottom: 2rem; font-size: .875rem; }
@media print { nav { display: none; } section { break-inside: avoid; } }
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
<nav aria-label="Sections">$links</nav>
</header>
<main>
$sections
</main>
</body>
</html>
"""
