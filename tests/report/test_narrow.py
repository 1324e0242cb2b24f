"""Figures laid out for a phone: as wide as its text, letters as large as before, nothing left out."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from bayesgmm.report.figures import svg_of
from bayesgmm.report.narrow import is_narrow, make_narrow

PHONE = 0.75 * (390 - 32)  # points that a column of text has on a phone 390 pixels wide


@pytest.fixture
def grid() -> Figure:
    """Five panels in rows of three, a legend at the side, long texts."""
    figure = Figure(figsize=(7.4, 5.0), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for k, panel in enumerate(panels[:5]):
        panel.plot([0, 1], [k, 0], label=f"line {k}")
        panel.set_title(f"panel {k}, which has a long title")
        panel.set_xlabel("a name that is longer than the panel is wide")
    panels[5].set_axis_off()
    figure.suptitle("one line of a title, as long as a page is wide, and a few words more than there is room for")
    figure.legend(loc="outside right upper", title="lines")
    return figure


@pytest.fixture
def pairs() -> Figure:
    """Pairs of four features: a triangle of panels."""
    figure = Figure(figsize=(7.3, 7.3), layout="constrained")
    for (i, j), panel in np.ndenumerate(figure.subplots(4, 4)):
        if j > i:
            panel.set_axis_off()
        panel.scatter([0, 1, 2], [1, 0, 1], s=[9, 16, 25])
        panel.set_xlabel(f"feature {j}")
    return figure


def widths(svg: str) -> list[float]:
    return [float(width) for width in re.findall(r'viewBox="\S+ \S+ (\S+) ', svg)]


@pytest.mark.parametrize("name", ["grid", "pairs"])
def test_a_wide_figure_has_a_drawing_for_phones(name, request) -> None:
    svg = svg_of(request.getfixturevalue(name))
    assert re.findall(r'class="(wide|narrow|any)"', svg) == ["wide", "narrow"]
    wide, narrow = widths(svg)
    assert narrow < PHONE < wide
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:\w+ )*([\d.]+)px", svg)]
    assert min(sizes) * min(1.0, PHONE / narrow) >= 8.0


def test_a_small_figure_is_drawn_once() -> None:
    figure = Figure(figsize=(3.2, 2.6), layout="constrained")
    figure.subplots().plot([0, 1])
    assert is_narrow(figure)
    assert 'class="any"' in svg_of(figure)


def test_panels_keep_their_order_and_texts(grid) -> None:
    make_narrow(grid)
    assert is_narrow(grid)
    grid.draw_without_rendering()
    places = [panel.get_window_extent() for panel in grid.axes]
    assert len(places) == 5
    assert places[0].y0 == pytest.approx(places[1].y0)
    assert places[0].y0 > places[2].y1
    assert [panel.get_title().split(",")[0] for panel in grid.axes] == [f"panel {k}" for k in range(5)]
    assert [text.get_text() for text in grid.legends[0].get_texts()] == [f"line {k}" for k in range(5)]
    assert grid.legends[0].get_title().get_text() == "lines"
    assert grid.legends[0].get_window_extent().y1 < places[4].y0
    assert grid.get_suptitle().replace("\n", " ").endswith("more than there is room for")


def test_pairs_keep_their_places(pairs) -> None:
    before = [panel.get_subplotspec().num1 for panel in pairs.axes]
    make_narrow(pairs)
    assert [panel.get_subplotspec().num1 for panel in pairs.axes] == before
    assert pairs.get_figheight() == pytest.approx(pairs.get_figwidth(), rel=0.2)


def test_names_of_rows_stand_in_lines_and_stay_bold() -> None:
    figure = Figure(figsize=(5.6, 2.0), layout="constrained")
    panel = figure.subplots()
    panel.set_yticks([0, 1], ["covariances[0, a long name, another]", "short"])
    panel.get_yticklabels()[0].set_fontweight("bold")
    make_narrow(figure)
    names = panel.get_yticklabels()
    assert [name.get_text() for name in names] == ["covariances[0, a\nlong name, another]", "short"]
    assert [name.get_fontweight() for name in names] == ["bold", "normal"]
    assert figure.get_figheight() > 2.0


def test_a_name_in_common_stands_below_the_last_panels(grid) -> None:
    grid.supxlabel("rank")
    make_narrow(grid)
    assert not grid.get_supxlabel()
    assert [panel.get_xlabel() == "rank" for panel in grid.axes] == [False] * 4 + [True]
