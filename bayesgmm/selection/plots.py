"""Figure of criteria against the number of components, one line per covariance family."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import nan
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bayesgmm._common import Array
from bayesgmm.plots import ClusterFigure
from bayesgmm.selection.criteria import STANDARD_ERRORS, Criterion
from bayesgmm.style import CLUSTERS, INK, MARKERS, context

_HOLLOW: dict[str, Any] = {"markersize": 5, "markerfacecolor": "white"}  # of degenerate fits
_MOST, _WIDTH, _HEIGHT = 4.2, 6.2, 3.4  # inches: the widest panel, all panels, and their height
_REACH = 3.0  # the range shown, from the best value, in units of the median model's distance from it
_DODGE = 0.06  # of one component, from family to family
_MARGIN = 0.06  # of the range shown


@dataclass(frozen=True)
class Column:
    """A criterion to draw: which model is best by it, and the standard errors of the others' distances from that."""

    criterion: Criterion
    winner: tuple[Any, ...]
    errors: Mapping[Any, float]


def draw_selection(table: pd.DataFrame, columns: Sequence[Column], ax: Axes | None) -> Figure:
    """One panel a criterion: its values in the table, the best one ringed, degenerate fits hollow.

    Models far worse than the others are outside of the panel, which says how many.

    Parameters
    ----------
    table : DataFrame
        Of a `Selection`.
    columns : sequence of Column
    ax : matplotlib axes, optional
        Where to draw a single criterion.
    """
    with context() if ax is None else nullcontext():
        return _draw(table, columns, ax)


def _draw(table: pd.DataFrame, columns: Sequence[Column], ax: Axes | None) -> Figure:
    if ax is None:
        width = min(_MOST, _WIDTH / len(columns)) * len(columns) + 1.2
        figure: Figure = ClusterFigure(figsize=(width, _HEIGHT), layout="constrained")
        panels = list(figure.subplots(1, len(columns), squeeze=False)[0])
    else:
        found = ax.get_figure(root=True)
        figure, panels = found, [ax]  # type: ignore[assignment]
    for panel, column in zip(panels, columns, strict=True):
        _draw_column(panel, table, column)
    handles: list[Artist] = list(panels[0].get_legend_handles_labels()[0])
    if table["degenerate"].any():
        handles.append(Line2D([], [], linestyle="none", marker="o", color=INK, label="degenerate", **_HOLLOW))
    if ax is None:
        figure.legend(handles=handles, loc="outside right upper", alignment="left")
    else:
        ax.legend(handles=handles, frameon=True, framealpha=0.85)
    return figure


def _draw_column(panel: Axes, table: pd.DataFrame, column: Column) -> None:
    criterion, values = column.criterion, table[column.criterion.name].to_dict()
    families = list(table.reset_index("n_components").index.unique())  # names, or pairs with that of the component
    dodge = _DODGE if criterion.bayesian else 0.0  # so that bars do not hide each other
    for number, name in enumerate(families):
        rows = table.xs(name)
        parts = (name,) if isinstance(name, str) else name
        errors = [STANDARD_ERRORS * column.errors.get((*parts, k), nan) for k in rows.index]
        line = _Line(
            rows.index.to_numpy() + dodge * number,
            rows[criterion.name].to_numpy(dtype=np.float64),
            np.array(errors),
            rows["degenerate"].to_numpy(dtype=bool),
        )
        _draw_line(panel, line, ", ".join(parts), number)
    best = values[column.winner]
    ring: dict[str, Any] = {"marker": "o", "markersize": 15, "markerfacecolor": "none", "markeredgecolor": INK}
    *family, k = column.winner
    x = k + dodge * families.index(family[0] if len(family) == 1 else tuple(family))
    panel.plot([x], [best], linestyle="none", label="best", gid="best", zorder=5, clip_on=False, **ring)
    if not criterion.bayesian:
        _show_the_best(panel, np.array(list(values.values()), dtype=np.float64), best, criterion)
    panel.set_xlabel("number of components K")
    panel.set_ylabel(f"{criterion.label} ({criterion.direction})")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.ticklabel_format(axis="y", scilimits=(-3, 6), useOffset=False, useMathText=True)
    panel.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True)
class _Line:
    """One family: where it is drawn, half the length of bars (NaN: none), which fits are degenerate."""

    x: Array
    y: Array
    errors: Array
    hollow: NDArray[np.bool_]


def _draw_line(panel: Axes, line: _Line, label: str, number: int) -> None:
    """The values of one family as a line, degenerate fits hollow; bars where there are standard errors."""
    colour, marker = CLUSTERS[number % len(CLUSTERS)], MARKERS[number % len(MARKERS)]
    of_line: dict[str, Any] = {"color": colour, "linewidth": 1.2, "marker": marker, "markersize": 5, "zorder": 3}
    panel.plot(line.x, line.y, label=label, gid=label, **of_line)
    if line.hollow.any():
        at = line.x[line.hollow], line.y[line.hollow]
        panel.plot(*at, marker, color=colour, linestyle="none", gid=f"degenerate {label}", zorder=4, **_HOLLOW)
    if np.isfinite(line.errors).any():
        bars: dict[str, Any] = {"fmt": "none", "ecolor": colour, "elinewidth": 1.0, "capsize": 2.5, "zorder": 2}
        panel.errorbar(line.x, line.y, yerr=line.errors, **bars)


def _show_the_best(panel: Axes, values: Array, best: float, criterion: Criterion) -> None:
    """Axis limits that resolve the better models, where poor ones would take most of the range."""
    behind = criterion.loss(1.0) * (values - best)
    behind = behind[np.isfinite(behind)]
    reach = _REACH * float(np.median(behind))
    outside = int((behind > reach).sum())
    if reach <= 0 or behind.max() < 2.0 * reach:
        return
    ahead = max(-float(behind.min()), 0.0)
    ends = np.array([-ahead - _MARGIN * reach, reach])
    panel.set_ylim(*sorted(best + criterion.loss(1.0) * ends))
    text = f"{outside} of {len(behind)} models are worse than shown"
    panel.set_title("\n".join(wrap(text, 30)), fontsize=8, loc="right", color=INK)
