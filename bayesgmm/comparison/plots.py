"""Figure of a comparison: parameters, partitions, memberships, leave-one-out predictive densities."""

from textwrap import wrap
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgmm._common import Array, shown, with_error
from bayesgmm.comparison.agreement import Partitions
from bayesgmm.plots import ClusterFigure
from bayesgmm.style import EM, INK, POSTERIOR, context

_MOST_PARAMETERS = 30
_ROW, _FEWEST, _BELOW, _WIDTH = 0.22, 1.8, 2.4, 7.4  # inches
_LETTERS = 44  # of a line of a parameter's name, which has two at most
_REACH = 8.0  # sd shown to either side
_DODGE = 0.2  # of a row
_FIRST, _SECOND = EM, POSTERIOR
_HOLLOW: dict[str, Any] = {"marker": "s", "markersize": 4.5, "markerfacecolor": "white"}
_FILLED: dict[str, Any] = {"marker": "o", "markersize": 5.0}
_LIGHT, _DARK = "#fffffe", "#222223"  # on cells, which are the same in reports on dark ground: no greys, which turn


class _Compared(Protocol):
    """The part of a `Comparison` that is drawn; the class itself is defined later."""

    @property
    def names(self) -> tuple[str, str]: ...
    @property
    def parameters(self) -> pd.DataFrame: ...
    @property
    def partitions(self) -> Partitions: ...
    @property
    def calibration(self) -> pd.DataFrame: ...
    @property
    def pointwise(self) -> pd.DataFrame: ...
    @property
    def elpd_difference(self) -> float: ...
    @property
    def elpd_difference_se(self) -> float: ...
    @property
    def ci_prob(self) -> float: ...


def draw_comparison(found: _Compared) -> Figure:
    """Parameters in sd of the second fit above; partitions, memberships and rows left out below."""
    table = _shown(found.parameters)
    above = _FEWEST + _ROW * len(table)
    with context():
        figure: Figure = ClusterFigure(figsize=(_WIDTH, above + _BELOW), layout="constrained")
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(above, _BELOW)).ravel()
        _draw_parameters(upper.subplots(), table, found)
        for draw, panel in zip(_OTHERS, lower.subplots(1, len(_OTHERS)), strict=True):
            draw(panel, found)
    return figure


def comparison_panels(found: _Compared, table: pd.DataFrame) -> list[Figure]:
    """The same in figures of their own, with the parameters of a table only."""
    figures: list[Figure] = []
    with context():
        if len(table):
            figures.append(ClusterFigure(figsize=(5.6, 1.4 + _ROW * len(table)), layout="constrained"))
            _draw_parameters(figures[0].subplots(), table, found)
        for draw in _OTHERS:
            figures.append(ClusterFigure(figsize=(3.6, 2.8), layout="constrained"))
            draw(figures[-1].subplots(), found)
    return figures


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Those with the largest differences if there are many, in the order of the table."""
    largest = table[["difference", "difference_lb", "difference_ub"]].abs().max(axis=1)
    keep = largest.sort_values(ascending=False, kind="stable").index[:_MOST_PARAMETERS]
    return table[table.index.isin(keep)]


def _draw_parameters(panel: Axes, table: pd.DataFrame, found: _Compared) -> None:
    first, second = found.names
    spread = f"{second}_sd" if f"{second}_sd" in table else f"{second}_se"
    sd, centre = table[spread].where(table[spread] > 0), table[second]
    y = np.arange(len(table), dtype=np.float64)
    panel.axvline(0.0, color=INK, linewidth=0.6, zorder=1)
    fits = ((first, _FIRST, 1.2, _HOLLOW, -_DODGE), (second, _SECOND, 2.6, _FILLED, 0.0))
    for name, colour, width, marks, shift in fits:
        lower, value, upper = (((table[name + end] - centre) / sd).to_numpy() for end in ("_lb", "", "_ub"))
        panel.hlines(y + shift, lower, upper, color=colour, linewidth=width, zorder=2)
        panel.plot(value, y + shift, color=colour, linestyle="", **marks, label=_title(name, found), zorder=3)
    for name, shift in ((first, _DODGE), (second, 2 * _DODGE)):
        if f"{name}_boot_lb" in table:
            lower, upper = (((table[f"{name}_boot_{end}"] - centre) / sd).to_numpy() for end in ("lb", "ub"))
            colour = _FIRST if name == first else _SECOND
            panel.hlines(
                y + shift, lower, upper, color=colour, linewidth=1.0, linestyle="--", label=f"{name}, bootstrap"
            )
    _frame_parameters(panel, table, found, y=y, spread=spread)


def _title(name: str, found: _Compared) -> str:
    error = "posterior" if f"{name}_sd" in found.parameters else "information"
    return f"{name}, {error}"


def _frame_parameters(panel: Axes, table: pd.DataFrame, found: _Compared, *, y: Array, spread: str) -> None:
    panel.set_yticks(y, ["\n".join(wrap(str(name), _LETTERS)[:2]) for name in table.index], fontsize=8)
    panel.grid(axis="y", linewidth=0.4)
    for text, flag in zip(panel.get_yticklabels(), table["flag"], strict=True):
        text.set_fontweight("bold" if flag else "normal")
    panel.set_ylim(len(table) - 0.4, -0.6)
    low, high = panel.get_xlim()
    panel.set_xlim(max(low, -_REACH), min(high, _REACH))
    _mark_outside(panel, table, found, spread=spread)
    more = len(found.parameters) - len(table)
    panel.set_xlabel(
        "difference from posterior mean, in posterior standard deviations"
        if spread.endswith("_sd")
        else f"difference from the estimate of {found.names[1]}, in standard errors"
    )
    hidden = f"; {more} that differ less are not shown" if more else ""
    panel.set_title(f"Parameters, {shown(found.ci_prob, 'share')} intervals (bold: flagged{hidden})", loc="left")
    panel.figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    _bare(panel)


def _mark_outside(panel: Axes, table: pd.DataFrame, found: _Compared, *, spread: str) -> None:
    """An arrow at the edge for estimates beyond it."""
    low, high = panel.get_xlim()
    for row, value in enumerate(table["difference"]):
        if value > high or value < low:
            edge, sign = (high, 1.0) if value > high else (low, -1.0)
            marker = ">" if sign > 0 else "<"
            panel.plot([edge], [row - _DODGE], marker, color=_FIRST, markersize=6, clip_on=False, zorder=4)


def _draw_cross_table(panel: Axes, found: _Compared) -> None:
    table = found.partitions.cross_table
    counts = table.to_numpy()
    panel.imshow(np.sqrt(counts), cmap="Blues", aspect="auto", vmin=0.0)
    for i, j in np.ndindex(*counts.shape):
        dark = np.sqrt(counts[i, j]) > 0.6 * np.sqrt(counts.max())
        panel.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", color=_LIGHT if dark else _DARK, fontsize=8)
    panel.set_xticks(range(counts.shape[1]), [str(k) for k in table.columns], fontsize=8)
    panel.set_yticks(range(counts.shape[0]), [str(k) for k in table.index], fontsize=8)
    panel.set_xlabel(f"component, {found.names[1]}")
    panel.set_ylabel(f"component, {found.names[0]}")
    ari, vi = (shown(value, "probability") for value in (found.partitions.ari, found.partitions.vi))
    panel.set_title(f"Rows: ARI {ari},\nVI {vi} bits", loc="left")


def _draw_memberships(panel: Axes, found: _Compared) -> None:
    first, second = found.names
    table = found.calibration
    panel.plot([0, 1], [0, 1], color=INK, linewidth=0.6, zorder=1)
    area = 12.0 + 90.0 * np.sqrt(table["n"] / table["n"].max())
    panel.scatter(table[first], table[second], s=area, color=_SECOND, alpha=0.75, edgecolors="none", zorder=2)
    what = str(table.index.name)
    panel.set_xlabel(f"{what}, {first}")
    panel.set_ylabel(f"mean, {second}")
    title = "Memberships\n(area: root of rows)" if what == "membership" else "Pairs of rows\n(area: root of pairs)"
    panel.set_title(title, loc="left")
    _bare(panel)


def _draw_rows_left_out(panel: Axes, found: _Compared) -> None:
    first, second = found.names
    if len(found.pointwise.columns) < 2:
        panel.text(0.5, 0.5, "no leave-one-out predictive density", ha="center", transform=panel.transAxes, fontsize=8)
        panel.set_axis_off()
        return
    a, b = (found.pointwise[name].to_numpy() for name in (first, second))
    panel.axhline(0.0, color=INK, linewidth=0.6, zorder=1)
    panel.plot(b, b - a, ".", color=_SECOND, markersize=4, alpha=0.6, zorder=2, rasterized=len(a) > 5_000)
    panel.set_xlabel(f"log predictive density, {second}")
    panel.set_ylabel(f"difference, {second} − {first}")
    difference = with_error(found.elpd_difference, found.elpd_difference_se, "criterion")
    panel.set_title(f"Rows left out one by one:\ndifference {difference}", loc="left")
    _bare(panel)


_OTHERS = (_draw_cross_table, _draw_memberships, _draw_rows_left_out)


def _bare(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
