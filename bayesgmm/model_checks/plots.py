"""Figures of model checks: predictive distributions, LOO-PIT, departures from a Gaussian mixture, outliers."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from bayesgmm._common import Array, counted, listed, shown
from bayesgmm.model_checks.gaussianity import uniform_differences
from bayesgmm.model_checks.goodness import GRID
from bayesgmm.plots import ClusterFigure, bin_edges
from bayesgmm.style import CLUSTERS, DATA, INK, POSTERIOR, context

_MOST_FEATURES = 5
_ACROSS, _WIDTH, _HEIGHT = 3, 7.4, 1.5  # panels in a row; inches, of the figure and of a panel
_RED = CLUSTERS[2]
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
    apart: bool = False,
) -> list[Figure]:
    """Above each feature, data and predicted data; below, how its LOO-PIT differs from uniform; last, departures.

    In one figure, or each of the three ``apart``.
    """
    every = [str(name) for name in pit.columns[:-1]]
    features = _least_uniform(pit, every)
    rows = [-(-n // _ACROSS) for n in (len(features), len(features) + 1, len(gaussianity))]
    with context():
        figures, (first, second, third) = _parts(rows, apart=apart)
        panels = _panels(first, len(features))
        for panel, name in zip(panels, features, strict=True):
            j = every.index(name)
            _draw_density(panel, X[:, j], predicted[:, :, j], name)
        first.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        left = [name for name in every if name not in features]
        note = f"; not shown: {listed(left)}" if left else ""
        first.suptitle(f"Rows and predicted rows, density of each feature{note}")
        for panel, name in zip(_panels(second, len(features) + 1), [*features, "density"], strict=True):
            band = _of_uniform(len(pit)) if name == "density" else transforms[:, every.index(name)]
            _draw_pit(panel, pit[name].to_numpy(), band, name)
        what = "Leave-one-out probability" if left_out else "Probability"
        second.suptitle(f"{what} integral transforms: ECDF minus uniform, with a {_BAND:.0%} band")
        for i, (panel, name) in enumerate(zip(_panels(third, len(gaussianity)), gaussianity.index, strict=True)):
            _draw_departure(panel, departures[:, i], gaussianity.iloc[i], str(name))
        third.suptitle(f"Departures from a Gaussian mixture, beside refitted replicates: p = {shown(p_value, 'p')}")
    return figures


def _parts(rows: Sequence[int], *, apart: bool) -> tuple[list[Figure], Sequence[Figure | SubFigure]]:
    """Figures, and the parts of one, or these figures themselves, for so many rows of panels."""
    ratios = [n + more for n, more in zip(rows, (0.3, 0.2, 0.2), strict=True)]
    if apart:
        figures: list[Figure] = [
            ClusterFigure(figsize=(_WIDTH, _HEIGHT * ratio + 0.3), layout="constrained") for ratio in ratios
        ]
        return figures, figures
    figure: Figure = ClusterFigure(figsize=(_WIDTH, _HEIGHT * sum(rows) + 1.6), layout="constrained")
    return [figure], list(figure.subfigures(3, 1, squeeze=False, height_ratios=ratios).ravel())


def _least_uniform(pit: pd.DataFrame, features: list[str]) -> list[str]:
    """All features or, of many, those whose transforms are least uniform, in their order."""
    worst = [np.abs(uniform_differences(pit[name].to_numpy()[:, None], GRID)).max() for name in features]
    kept = sorted(np.argsort(-np.array(worst), kind="stable")[:_MOST_FEATURES])
    return [features[j] for j in kept]


def _panels(figure: Figure | SubFigure, n: int) -> list[Axes]:
    """Panels in rows."""
    across = min(_ACROSS, n)
    grid = figure.subplots(-(-n // across), across, squeeze=False).ravel()
    for panel in grid[n:]:
        panel.set_axis_off()
    return list(grid[:n])


def _draw_density(panel: Axes, data: Array, predicted: Array, name: str) -> None:
    low, high = np.quantile(np.concatenate([data, predicted.ravel()]), [0.001, 0.999])
    low, high = min(low, data.min()), max(high, data.max())
    edges = _edges(data, low, high)
    heights = np.array([np.histogram(y, edges, density=True)[0] for y in predicted])
    lower, middle, upper = np.quantile(heights, [0.5 - 0.5 * _BAND, 0.5, 0.5 + 0.5 * _BAND], axis=0)
    label = f"{_BAND:.0%} of predicted rows"
    panel.stairs(upper, edges, baseline=lower, fill=True, color=POSTERIOR, alpha=0.3, linewidth=0, label=label)
    panel.stairs(middle, edges, baseline=None, color=POSTERIOR, linewidth=1.0, label="their median")
    panel.stairs(np.histogram(data, edges, density=True)[0], edges, color=INK, linewidth=1.3, label="rows")
    panel.set_xlabel(name)
    panel.set_yticks([])
    _finish(panel)


def _edges(data: Array, low: float, high: float) -> Array:
    """Edges of the histogram of the rows, continued over the range of predicted ones."""
    edges = bin_edges(data)
    width = edges[1] - edges[0]
    before, after = (max(0, int(np.ceil(gap / width))) for gap in (edges[0] - low, high - edges[-1]))
    return edges[0] + width * np.arange(-before, len(edges) + after)


def _draw_pit(panel: Axes, u: Array, transforms: Array, name: str) -> None:
    """Difference of the ECDF from uniform, with a simultaneous 95 % band of replicates (replicate, value)."""
    lower, upper = _band(transforms)
    panel.fill_between(GRID, lower, upper, color=POSTERIOR, alpha=0.22, linewidth=0)
    panel.plot(GRID, uniform_differences(u[:, None], GRID)[0], color=INK, linewidth=1.2)
    panel.axhline(0.0, color=INK, linewidth=0.6)
    panel.set_xlim(0, 1)
    panel.set_xlabel(name)
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
    panel.hist(values, bins=24, color=POSTERIOR, alpha=0.45, linewidth=0)
    unusual = row["p"] <= 0.05
    panel.axvline(row["observed"], color=_RED if unusual else INK, linewidth=1.8)
    panel.set_title(f"{name}, p = {shown(row['p'], 'p')}")
    panel.set_yticks([])
    _finish(panel)


def draw_outliers(table: pd.DataFrame, X: Array, *, features: Sequence[str], ax: Axes | None) -> Figure:
    """Ordered tail probabilities against those expected; the first two features with outliers marked."""
    if ax is not None:
        _draw_tails(ax, table)
        return ax.get_figure(root=True)  # type: ignore[return-value]
    with context():
        figure: Figure = ClusterFigure(figsize=(_WIDTH, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_tails(left, table)
        _draw_rows(right, table, X, features)
    return figure


def _draw_tails(panel: Axes, table: pd.DataFrame) -> None:
    tail, flagged = (table[name].to_numpy() for name in ("tail_probability", "outlier"))
    order = tail.argsort(kind="stable")
    expected = (np.arange(len(tail)) + 0.5) / len(tail)
    floored = np.maximum(tail[order], _SMALLEST)
    panel.plot(expected, expected, color=INK, linewidth=0.6, zorder=1)
    for mask, style in ((~flagged[order], _style(DATA, 10)), (flagged[order], _style(_RED, 24))):
        panel.scatter(expected[mask], floored[mask], **style)
    panel.set(xscale="log", yscale="log", xlabel="tail probability expected under the model", ylabel="tail probability")
    _finish(panel)


def _draw_rows(panel: Axes, table: pd.DataFrame, X: Array, names: Sequence[str]) -> None:
    flagged = table["outlier"].to_numpy()
    i, j = _most_extreme(X, flagged)
    several = X.shape[1] > 1
    y = X[:, j] if several else table["score"].to_numpy()
    panel.scatter(X[~flagged, i], y[~flagged], **_style(DATA, 10))
    panel.scatter(X[flagged, i], y[flagged], **_style(_RED, 24))
    panel.set(xlabel=names[i], ylabel=names[j] if several else "score")
    of = f"; {len(names) - 2} of {len(names)} features not shown" if len(names) > 2 else ""
    panel.set_title("\n".join(wrap(f"{counted(int(flagged.sum()), 'outlier')} in red{of}", 44)))
    _finish(panel)


def _most_extreme(X: Array, flagged: NDArray[np.bool_]) -> tuple[int, int]:
    """The two features in which outliers are farthest from the median, in their spread; both of two, in their order."""
    if X.shape[1] < 3 or not flagged.any():
        return 0, min(1, X.shape[1] - 1)
    spread = np.maximum(X.std(axis=0), np.finfo(float).tiny)
    reach = (np.abs(X[flagged] - np.median(X, axis=0)) / spread).mean(axis=0)
    first, second = np.argsort(-reach, kind="stable")[:2]
    return int(first), int(second)


def _style(colour: str, area: float) -> dict[str, Any]:
    return {"color": colour, "s": area, "alpha": 0.7, "linewidths": 0}


def _finish(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
