"""Figures as SVG inside a page: their greys follow the page's colours, points may tell what they are."""

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayesgmm.report.narrow import is_narrow, make_narrow
from bayesgmm.style import POSTERIOR

_MANY = 5  # elements of one style that share it
_DPI = 110  # of parts with so many elements that they are drawn as images
_MOST_POINTS, _MOST_SIZES, _MOST_CORNERS = 1_500, 100, 500
_MOST_IN_ALL = 1_000  # points of their own sizes, in all panels
_POINTS_PER_PIXEL = 0.75
NO_TITLES: Mapping[str, Sequence[str]] = {}


@dataclass(frozen=True)
class Picture:
    """A figure as SVG, and what it shows in words, for those who cannot see it.

    Attributes
    ----------
    svg : str
        An ``<svg>`` element, or several that stand side by side where there is room.
    alt : str
    """

    svg: str
    alt: str

    def html(self) -> str:
        """The figure as an element of a page."""
        return f'<figure role="img" aria-label="{escape(self.alt)}">{self.svg}</figure>'


def picture_of(drawn: Any, alt: str) -> Picture:
    """A matplotlib figure, or ArviZ PlotCollection, as SVG; the figure of the latter is closed."""
    if not hasattr(drawn, "viz"):
        return Picture(svg_of(drawn), alt)
    from matplotlib.pyplot import close

    figure = drawn.viz["figure"].item()
    picture = Picture(svg_of(figure), alt)
    close(figure)
    return picture


def svg_of(figure: Figure, titles: Mapping[str, Sequence[str]] = NO_TITLES) -> str:
    """The ``<svg>`` element of a figure; of one wider than a phone two, of which a page shows the one that fits.

    Parameters
    ----------
    figure : Figure
        A wide one is laid out again.
    titles : mapping
        From the gid of a scatter plot to what its points are called, shown where the pointer rests on one.
    """
    if is_narrow(figure):
        return _svg(figure, titles)
    wide = _svg(figure, titles, "wide")
    make_narrow(figure)
    return wide + _svg(figure, NO_TITLES, "narrow")  # a finger does not rest on a point


def _svg(figure: Figure, titles: Mapping[str, Sequence[str]], screen: str = "any") -> str:
    """The drawing of a figure as it stands, with the class of its screen."""
    artists: list[Any] = figure.findobj(lambda artist: isinstance(artist, Collection | Line2D))
    crowded = sum(np.size(artist.get_offsets()) for artist in artists if _is_sized(artist)) > 2 * _MOST_IN_ALL
    for artist in artists:
        artist.set_rasterized(_is_dense(artist) or (crowded and _is_sized(artist)))
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "bayesgmm", "path.simplify_threshold": 0.5}):
        figure.savefig(buffer, format="svg", dpi=_DPI, transparent=True, bbox_inches="tight", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"(\.\d\d)\d+", r"\1", svg)  # hundredths of a point are enough
    svg = re.sub(r"\n(?=[LCQz])", "", svg)  # of paths: a line for each point
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for gid, texts in titles.items():
        svg = _with_titles(svg, gid, texts)
    return _fitting(_with_shared_styles(_with_own_ids(_in_page_colours(svg))), screen)


def _is_sized(artist: Any) -> bool:
    """Whether these are points of different sizes, which are written one by one."""
    return isinstance(artist, PathCollection) and len(artist.get_sizes()) > 1


def _is_dense(artist: Any) -> bool:
    """Whether there is so much to draw that an image is smaller; what is grey has to follow the page's colours."""
    if isinstance(artist, QuadMesh):
        return True  # between cells that are drawn one by one, the ground shows
    if isinstance(artist, Line2D):
        return np.size(artist.get_xydata()) > 2 * _MOST_CORNERS and len(set(to_rgb(artist.get_color()))) > 1
    if isinstance(artist, PathCollection):  # one marker for all points is written once
        return np.size(artist.get_offsets()) > 2 * (_MOST_SIZES if _is_sized(artist) else _MOST_POINTS)
    return sum(len(path.vertices) for path in artist.get_paths()) > _MOST_CORNERS


def _with_titles(svg: str, gid: str, texts: Sequence[str]) -> str:
    """Points with titles: uses of one marker, or the outline of a single point."""
    start = svg.index(f'<g id="{gid}">')
    margin = svg[svg.rindex("\n", 0, start) : start]
    end = svg.index(f"{margin}</g>", start)
    start += svg[start:end].find("</defs>") + 1  # behind the marker, if there is one
    names = iter(texts)
    named = re.sub(
        r"<(use|path) ([^>]*?)/>",
        lambda found: f"<{found[1]} {found[2]}><title>{escape(next(names))}</title></{found[1]}>",
        svg[start:end],
    )
    return svg[:start] + named + svg[end:]


def _in_page_colours(svg: str) -> str:
    """Greys as mixtures of the page's ink and ground, which follow its light or dark scheme; our dark blue too."""

    def mixed(found: re.Match[str]) -> str:
        if found[2] == POSTERIOR.removeprefix("#"):
            return f"{found[1]}: var(--posterior)"
        level = int(found[2][:2], 16)
        if len({found[2][i : i + 2] for i in (0, 2, 4)}) > 1:
            return found[0]
        ink = round(100 * (1 - level / 255))
        return f"{found[1]}: color-mix(in srgb, var(--ink) {ink}%, var(--ground))"

    return re.sub(r"(fill|stroke): #([0-9a-f]{6})", mixed, svg)


def _with_shared_styles(svg: str) -> str:
    """Styles that many elements have, as bars of a histogram, written once; their names come from what they say."""
    uses = Counter(re.findall(r' style="([^"]*)"', svg))
    names = {style: f"s{sha256(style.encode()).hexdigest()[:8]}" for style, n in uses.items() if n >= _MANY}
    if not names:
        return svg
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    svg = re.sub(
        r' style="([^"]*)"', lambda found: f' class="{names[found[1]]}"' if found[1] in names else found[0], svg
    )
    return svg.replace("<defs>", f"<style>{rules}</style><defs>", 1)


def _with_own_ids(svg: str) -> str:
    """Ids that no other figure of the page has."""
    own = "f" + sha256(svg.encode()).hexdigest()[:8]
    return re.sub(r'(\bid="|href="#|url\(#)', lambda found: found[1] + own, svg)


def _fitting(svg: str, screen: str) -> str:
    """In its own width, or as wide as there is room."""
    head, body = svg.split(">", 1)
    width = float(re.search(r'viewBox="\S+ \S+ (\S+) ', head)[1]) / _POINTS_PER_PIXEL  # type: ignore[index]
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    return f'{head} aria-hidden="true" class="{screen}" style="width: {width:.0f}px" fill="var(--ink)">{body}'
