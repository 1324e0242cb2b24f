"""Head of a report: the short summary, and a figure of the clusters that it describes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bayesgmm._common import Array, IntArray, listed, shown
from bayesgmm.overview import SURE, Overview, RowClusters
from bayesgmm.report.figures import Picture, svg_of
from bayesgmm.style import CLUSTERS, DATA, GREY, INK

_MOST_SHOWN, _MOST_FEATURES = 1_000, 10  # rows and features
_SIZE = (4.0, 3.4)  # inches: two stand side by side
_LETTERS = 22


@dataclass(frozen=True)
class Head:
    """What a report opens with.

    Attributes
    ----------
    overview : Overview
    picture : Picture
    """

    overview: Overview
    picture: Picture

    def html(self) -> str:
        """Summary and figure as HTML."""
        return f'<section id="answer">{self.overview.html()}{self.picture.html()}</section>'


def head_of(overview: Overview, rows: RowClusters, names: Sequence[str]) -> Head:
    """The head of a report: the summary, and a figure of its clusters over the features with these names."""
    apart = np.array([cluster.apart for cluster in overview.clusters])
    shares = np.array([cluster.share for cluster in overview.clusters])
    telling = np.argsort(-(shares @ apart**2), kind="stable")  # by the variance between clusters
    panels = [svg_of(*_rows(rows, names, telling))]
    if len(overview.clusters) > 1:
        panels.insert(0, svg_of(_profiles(overview, apart, names, telling)))
    alt = f"Means of the clusters beside those of all rows, and rows by cluster over {listed(names[:2])}"
    return Head(overview, Picture("".join(panels), alt))


# ---- what sets clusters apart


def _profiles(overview: Overview, apart: Array, names: Sequence[str], telling: IntArray) -> Figure:
    shown_features = telling[:_MOST_FEATURES]
    height = max(_SIZE[1], 1.2 + 0.3 * len(shown_features))
    figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
    panel = figure.subplots()
    y = np.arange(len(shown_features))
    panel.axvline(0.0, color=INK, linewidth=0.8)
    panel.hlines(y, apart[:, shown_features].min(axis=0), apart[:, shown_features].max(axis=0), color=GREY, zorder=1)
    for k, cluster in enumerate(overview.clusters):
        panel.scatter(apart[k, shown_features], y, s=130, color=_colour(k), zorder=2)
        for j, x in enumerate(apart[k, shown_features]):
            panel.annotate(cluster.name, (x, j), ha="center", va="center", fontsize=8, color=_on(_colour(k)), zorder=3)
    panel.set_yticks(y, [_short(names[j]) for j in shown_features])
    panel.set_ylim(len(y) - 0.4, -0.6)
    panel.set_title("Means of the clusters", fontsize=10, loc="left")
    panel.set_xlabel("from the mean of all rows, in their sd")
    _bare(panel)
    return figure


# ---- rows


def _rows(rows: RowClusters, names: Sequence[str], telling: IntArray) -> tuple[Figure, dict[str, list[str]]]:
    """Rows over the two features that separate clusters best, uncertain ones hollow; and what they are called."""
    some = slice(None, None, -(-len(rows.which) // _MOST_SHOWN))
    X, labels, proba, numbers = rows.X[some], rows.labels[some], rows.proba[some], rows.which[some]
    figure = Figure(figsize=_SIZE, layout="constrained")
    panel = figure.subplots()
    x = X[:, telling[0]]
    y = X[:, telling[1]] if len(telling) > 1 else labels + 0.3 * np.sin(7.0 * np.arange(len(X)))
    titles = {}
    for k in np.unique(labels):
        for sure in (True, False):
            chosen = (labels == k) & ((proba >= SURE) == sure)
            if chosen.any():
                gid = f"rows-{k if k >= 0 else 'noise'}-{'sure' if sure else 'unsure'}"
                face = _colour(k) if sure else "none"
                panel.scatter(x[chosen], y[chosen], s=22, facecolors=face, edgecolors=_colour(k), gid=gid)
                each = zip(numbers[chosen], proba[chosen], strict=True)
                called = f"cluster {k}" if k >= 0 else "noise"
                titles[gid] = [f"row {n}: {called}, probability {shown(float(p), '.2f')}" for n, p in each]
    panel.set_xlabel(_short(names[telling[0]]))
    panel.set_ylabel(_short(names[telling[1]]) if len(telling) > 1 else "cluster")
    if len(telling) == 1:
        panel.set_yticks(np.unique(labels))
    panel.set_title(f"Rows by cluster (hollow: probability below {shown(SURE, 'share')})", fontsize=10, loc="left")
    _bare(panel)
    return figure, titles


def _colour(k: int) -> str:
    return DATA if k < 0 else CLUSTERS[int(k) % len(CLUSTERS)]


def _on(colour: str) -> str:
    """Ink for a number on a colour: no grey, which would follow the page."""
    red, green, blue = to_rgb(colour)
    return "#010203" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.35 else "#fffffe"


def _short(name: str) -> str:
    """The beginning of a name, such that matplotlib does not take it for mathematics."""
    return (name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…").replace("$", r"\$")


def _bare(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
