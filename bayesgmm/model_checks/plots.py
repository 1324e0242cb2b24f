"""Figures of model checks: predictive distributions, LOO-PIT, departures from a Gaussian mixture, outliers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgmm._common import Array, shown
from bayesgmm.model_checks.gaussianity import uniform_differences
from bayesgmm.model_checks.goodness import GRID
from bayesgmm.plots import COLOURS, INK, ClusterFigure, n_bins

_MOST_FEATURES = 5
_PANEL = (2.6, 2.1)  # inches
_BLUE, _RED = COLOURS[0], "#c0392b"
_SMALL = 8.5
_BAND = 0.95
_SIMULATED = 500  # samples of uniform values that give the band its width
_SMALLEST = 1e-12


def draw_check(
    pit: pd.DataFrame,
    gaussianity: pd.DataFrame,
    *,
    X: Array,
    predicted: Array,
    departures: Array,
    transforms: Array,
    p_value: float,
    left_out: bool,
) -> Figure:
    """Above each feature, data and predicted data; below, how its LOO-PIT differs from uniform; last, departures."""
    features = [str(name) for name in pit.columns[:-1]][:_MOST_FEATURES]
    n = max(len(features) + 1, 3)
    height = 3 * _PANEL[1] + 0.6
    figure: Figure = ClusterFigure(figsize=(max(_PANEL[0] * n, 8.5), height), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[2, 1.1])[:, 0]
    panels = above.subplots(2, len(features) + 1, squeeze=False)
    for j, name in enumerate(features):
        _draw_density(panels[0, j], X[:, j], predicted[:, :, j], name)
        _draw_pit(panels[1, j], pit[name].to_numpy(), transforms[:, j], name)
    panels[0, -1].axis("off")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    panels[0, -1].legend(handles, labels, loc="center", frameon=False, fontsize=_SMALL)
    _draw_pit(panels[1, -1], pit["density"].to_numpy(), _of_uniform(len(pit)), "density")
    what = "LOO-PIT" if left_out else "PIT"
    panels[1, 0].set_ylabel(f"{what}: ECDF − uniform", fontsize=_SMALL)
    panels[0, 0].set_ylabel("density", fontsize=_SMALL)
    row = below.subplots(1, len(gaussianity), squeeze=False)[0]
    for i, (panel, name) in enumerate(zip(row, gaussianity.index, strict=True)):
        _draw_departure(panel, departures[:, i], gaussianity.iloc[i], str(name))
    below.suptitle(
        f"Departures from a Gaussian mixture, beside refitted replicates: p = {shown(p_value, 'p')}", fontsize=10
    )
    return figure


def _draw_density(panel: Axes, data: Array, predicted: Array, name: str) -> None:
    low, high = np.quantile(np.concatenate([data, predicted.ravel()]), [0.001, 0.999])
    low, high = min(low, data.min()), max(high, data.max())
    edges = np.linspace(low, high, 1 + min(40, max(12, n_bins(data))))
    heights = np.array([np.histogram(y, edges, density=True)[0] for y in predicted])
    lower, middle, upper = np.quantile(heights, [0.5 - 0.5 * _BAND, 0.5, 0.5 + 0.5 * _BAND], axis=0)
    label = f"{100 * _BAND:g} % of predicted data"
    panel.stairs(upper, edges, baseline=lower, fill=True, color=_BLUE, alpha=0.3, linewidth=0, label=label)
    panel.stairs(middle, edges, baseline=None, color=_BLUE, linewidth=1.0, label="their median")
    panel.stairs(np.histogram(data, edges, density=True)[0], edges, color=INK, linewidth=1.5, label="data")
    panel.set_title(name, fontsize=_SMALL + 1)
    panel.set_yticks([])
    _finish(panel)


def _draw_pit(panel: Axes, u: Array, transforms: Array, name: str) -> None:
    """Difference of the ECDF from uniform, with a simultaneous 95 % band of replicates (replicate, value)."""
    lower, upper = _band(transforms)
    panel.fill_between(GRID, lower, upper, color=_BLUE, alpha=0.22, linewidth=0)
    panel.plot(GRID, uniform_differences(u[:, None], GRID)[0], color=INK, linewidth=1.2)
    panel.axhline(0.0, color="#999999", linewidth=0.6)
    panel.set_xlim(0, 1)
    panel.set_xlabel(name, fontsize=_SMALL)
    _finish(panel)


def _band(curves: Array) -> tuple[Array, Array]:
    """Simultaneous 95 % band of curves."""
    mean, sd = curves.mean(axis=0), np.maximum(curves.std(axis=0), 1e-12)
    reach = np.quantile((np.abs(curves - mean) / sd)[:, 1:-1].max(axis=1), _BAND)
    return mean - reach * sd, mean + reach * sd


def _of_uniform(n: int) -> Array:
    """ECDF differences of independent uniform samples, (sample, value)."""
    u = np.random.default_rng(0).random((n, _SIMULATED))
    return uniform_differences(u, GRID)


def _draw_departure(panel: Axes, values: Array, row: "pd.Series[float]", name: str) -> None:
    panel.hist(values, bins=24, color=_BLUE, alpha=0.45, linewidth=0)
    unusual = row["p"] <= 0.05
    panel.axvline(row["observed"], color=_RED if unusual else INK, linewidth=1.8)
    panel.set_title(f"{name}, p = {shown(row['p'], 'p')}", fontsize=_SMALL)
    panel.set_yticks([])
    _finish(panel)


def draw_outliers(table: pd.DataFrame, X: Array, *, features: Sequence[str], ax: Axes | None) -> Figure:
    """Ordered tail probabilities against those expected; the first two features with outliers marked."""
    if ax is not None:
        _draw_tails(ax, table)
        return ax.get_figure(root=True)  # type: ignore[return-value]
    figure: Figure = ClusterFigure(figsize=(9.2, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_tails(left, table)
    _draw_rows(right, table, X, features)
    return figure


def _draw_tails(panel: Axes, table: pd.DataFrame) -> None:
    tail, flagged = (table[name].to_numpy() for name in ("tail_probability", "outlier"))
    order = tail.argsort(kind="stable")
    expected = (np.arange(len(tail)) + 0.5) / len(tail)
    floored = np.maximum(tail[order], _SMALLEST)
    panel.plot(expected, expected, color="#999999", linewidth=0.8, zorder=1)
    for mask, style in ((~flagged[order], _style(INK, 10)), (flagged[order], _style(_RED, 24))):
        panel.scatter(expected[mask], floored[mask], **style)
    panel.set(xscale="log", yscale="log", xlabel="expected of rows of the model", ylabel="tail probability")
    _finish(panel)


def _draw_rows(panel: Axes, table: pd.DataFrame, X: Array, names: Sequence[str]) -> None:
    flagged = table["outlier"].to_numpy()
    several = X.shape[1] > 1
    y = X[:, 1] if several else table["score"].to_numpy()
    label = f"outliers ({flagged.sum()})"
    panel.scatter(X[~flagged, 0], y[~flagged], **_style(INK, 10))
    panel.scatter(X[flagged, 0], y[flagged], **_style(_RED, 24), label=label)
    panel.set(xlabel=names[0], ylabel=names[1] if several else "score")
    if flagged.any():
        panel.legend(fontsize=_SMALL, frameon=False, loc="best")
    _finish(panel)


def _style(colour: str, area: float) -> dict[str, Any]:
    return {"color": colour, "s": area, "alpha": 0.7, "linewidths": 0}


def _finish(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=_SMALL - 1)
