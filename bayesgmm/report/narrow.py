"""Figures laid out again for narrow screens: panels below one another, legends below them, long texts in lines."""

from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

_WIDTH = 3.5  # inches: with a margin, the text of a page on a phone
_LINE, _LETTER = 0.17, 0.58  # inches of a line of a legend or title; width of a letter, in font sizes
_HANDLE = 10  # letters for which the handle of a legend's entry has room, and what separates columns
_FEWEST = 8  # letters of a line
_NAME = 20  # letters of a tick's name


def is_narrow(figure: Figure) -> bool:
    """Whether a figure fits a narrow screen as it stands."""
    return float(figure.get_figwidth()) <= _WIDTH


def make_narrow(figure: Figure) -> None:
    """Lay a figure out again, as wide as the text on a phone, with letters as large as before."""
    width, height = figure.get_size_inches()
    panels = [panel for panel in figure.axes if panel.get_subplotspec() is not None]
    if _is_triangle(panels):
        height *= _WIDTH / width
        _shrink(panels, _WIDTH / width)
    elif panels[0].get_aspect() != "auto":
        height *= _WIDTH / width
    else:
        height = height * _in_fewer_columns(figure, panels) + max(map(_wrap_names, panels))
    _label_last_row(figure, panels)
    figure.set_size_inches(_WIDTH, height)
    lines = sum(_legend_below(figure, legend) for legend in list(figure.legends)) + _wrap_texts(figure, panels)
    figure.set_size_inches(_WIDTH, height + _LINE * lines)


# ---- panels


def _columns(panels: list[Axes]) -> int:
    return int(panels[0].get_subplotspec().get_gridspec().ncols)  # type: ignore[union-attr]


def _rows(panels: list[Axes]) -> int:
    return int(panels[0].get_subplotspec().get_gridspec().nrows)  # type: ignore[union-attr]


def _is_triangle(panels: list[Axes]) -> bool:
    """Whether panels are those of pairs of features, which keep their places: the second of the first row is empty."""
    first = [panel for panel in panels if panel.axison and panel.get_visible()][:2]
    return _columns(panels) > 1 and all(panel.get_subplotspec().colspan.start == 0 for panel in first)  # type: ignore[union-attr]


def _shrink(panels: list[Axes], share: float) -> None:
    """Fewer ticks and smaller points, for smaller panels."""
    for panel in panels:
        panel.locator_params(nbins=2)
        for points in panel.collections:
            if isinstance(points, PathCollection):
                points.set_sizes(points.get_sizes() * share)


def _in_fewer_columns(figure: Figure, panels: list[Axes]) -> float:
    """Panels about as wide as before, in reading order; by how much higher the figure is."""
    before = _rows(panels)
    shown = [panel for panel in panels if panel.axison and panel.get_visible()]
    columns = min(_columns(panels), 1 if len(shown) < 4 else 2)
    rows = -(-len(shown) // columns)
    for panel in [panel for panel in panels if panel not in shown]:
        panel.remove()
        panels.remove(panel)
    places = GridSpec(rows, columns, figure=figure)
    for i, panel in enumerate(shown):
        panel.set_subplotspec(places[i // columns, i % columns])
    return float(rows / before)


# ---- texts


def _label_last_row(figure: Figure, panels: list[Axes]) -> None:
    """A name that the horizontal axes have in common, below the last ones: legends take its place."""
    name = figure.get_supxlabel()
    if name:
        figure.supxlabel("")
        for panel in panels[-(len(panels) % _columns(panels) or _columns(panels)) :]:
            panel.set_xlabel(name)


def _legend_below(figure: Figure, legend: Legend) -> int:
    """The same legend below the panels; how many lines it takes."""
    texts, title = legend.get_texts(), legend.get_title()
    labels = [text.get_text() for text in texts]
    longest = max(map(len, labels))
    columns = max(1, min(_letters(texts[0], _WIDTH) // (longest + _HANDLE), len(labels)))
    style: dict[str, Any] = {
        "title": title.get_text() or None,
        "ncols": columns,
        "alignment": "left",
        "frameon": legend.get_frame_on(),
        "prop": texts[0].get_fontproperties(),
        "title_fontproperties": title.get_fontproperties(),
    }
    legend.remove()
    handles = [handle for handle in legend.legend_handles if handle is not None]
    below = figure.legend(handles, labels, loc="outside lower left", **style)
    for old, new in zip(texts, below.get_texts(), strict=True):
        new.set_fontweight(old.get_fontweight())
    return -(-sum(1 + label.count("\n") for label in labels) // columns) + bool(title.get_text())


def _wrap_texts(figure: Figure, panels: list[Axes]) -> int:
    """Titles and names of axes in lines that fit; how many more lines there are."""
    figure.draw_without_rendering()  # which gives panels their widths
    more = [0] * _rows(panels)  # a row of panels is as high as the highest
    for panel in panels:
        place, row = panel.get_window_extent(), panel.get_subplotspec().rowspan.start  # type: ignore[union-attr]
        texts = [panel.xaxis.label, *(child for child in panel.get_children() if isinstance(child, Text))]
        more[row] = max(more[row], *(_wrap(text, place.width / figure.dpi) for text in texts))
        _wrap(panel.yaxis.label, place.height / figure.dpi)
    return sum(more) + sum(_wrap(text, _WIDTH) for text in figure.texts)


def _wrap_names(panel: Axes) -> float:
    """Names along the vertical axis in lines; inches that these need in addition."""
    labels = panel.get_yticklabels() if isinstance(panel.yaxis.get_major_locator(), FixedLocator) else []
    if all(len(label.get_text()) <= _NAME for label in labels):
        return 0.0
    weights = [label.get_fontweight() for label in labels]
    names = [_lines(label.get_text(), _NAME) for label in labels]
    panel.set_yticks(panel.get_yticks(), names, fontsize=labels[0].get_fontsize())
    for label, weight in zip(panel.get_yticklabels(), weights, strict=True):
        label.set_fontweight(weight)
    return _LINE * len(names) * max(name.count("\n") for name in names)


def _wrap(text: Text, width: float) -> int:
    """The text in lines that are no wider; how many more they are."""
    before = text.get_text()
    text.set_text(_lines(before, _letters(text, width)))
    return text.get_text().count("\n") - before.count("\n")


def _lines(text: str, most: int) -> str:
    """Lines of a text in lines of fewer letters."""
    return "\n".join(part for line in text.split("\n") for part in wrap(line, max(most, _FEWEST)) or [line])


def _letters(text: Text, width: float) -> int:
    """How many letters of a text stand in so many inches."""
    return int(72.0 * width / (_LETTER * float(text.get_fontsize())))
