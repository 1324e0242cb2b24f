"""Pairs plot: components below the diagonal, marginal densities on it."""

import textwrap
from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_plots import PlotCollection
from arviz_plots.visuals import fill_between_y, hist, line_xy
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bayesgmm.plots._canvas import (
    Canvas,
    Pen,
    Visuals,
    backend_of,
    cells,
    cells_of,
    finish,
    html_lines,
    limits,
    many_lines,
    points,
    visual_settings,
)
from bayesgmm.plots._data import Shown, shown
from bayesgmm.plots._docs import documented
from bayesgmm.plots._features import Features, View, view_of
from bayesgmm.plots._style import MOST_FEATURES
from bayesgmm.plots.components import (
    ROWS,
    WITH_LEGEND,
    checked_band,
    drawn_ellipses,
    ellipse_title,
    mean_ellipses,
    noise_told,
    sized,
    weight_labels,
)
from bayesgmm.plots.density import (
    CELLS,
    ONE_FEATURE,
    Band,
    band_data,
    clustered_rows,
    curves,
    draw_noise,
    hist_data,
    line_data,
    row_data,
)
from bayesgmm.posterior import NO_NAMES, Names, Posterior

_DIAGONAL_POINTS = 201
_WIDTH, _LEAST_SIDE = 7.0, 1.4  # inches
_LINE, _LETTERS = 0.17, 90  # inches and letters of a line of the title
_NAME_WIDTH = 18  # letters in a line of a feature's name
_PAIRS: dict[str, dict[str, Any]] = {
    "hist": ONE_FEATURE["hist"],
    "band": ONE_FEATURE["band"],
    "density": {**ONE_FEATURE["mean"], "width": 2.2},
    "components": {"width": 1.2},
    "rows": {**ROWS, "size": 9},
    "cells": CELLS,
    "draws": {"width": 0.5, "alpha": 0.3},
    "mean": {"width": 1.6},
}


@documented
def plot_pairs(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    names: Names = NO_NAMES,
    features: Features = None,
    num_samples: int = 400,
    n_draws: int = 20,
    mass: float = 0.9,
    ci_prob: float | None = None,
    ci_kind: str | None = None,
    force: bool = False,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    visuals: Visuals | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    r"""Pairs plot: rows and ellipses below the diagonal, marginal densities on it.

    Panels below the diagonal are those of `plot_components`. Diagonal panels show the histogram, the posterior mean of
    the marginal density with its pointwise credible band, and the posterior means of the weighted components.

    Parameters
    ----------
    {posterior} {X}
        More than 5,000 are binned.
    {names}
    features : two or more names or positions, or "discriminant", optional
        By default all; of more than five, those that separate the components best, the best one first. "discriminant":
        linear combinations of all features, see `plot_components`.
    {num_samples} {n_draws} {mass} {ci_prob, ci_kind} {force} {plot_collection}
        Its grid has the dimensions ``row`` and ``column``, both with the names of the features.
    {backend} {visuals}
        Below the diagonal: ``rows`` or ``cells``, ``draws``, ``mean``; on it: ``hist``, ``band``, ``density``,
        ``components``; ``legend``, ``xlabel``, ``ylabel``, ``title``.
    {pc_kwargs}

    {returns}

    Raises
    ------
    InputError
        Unknown features, visuals or backend, fewer than two features or more than ArviZ's rcParams
        ``plot.max_subplots`` allow, or numbers out of range.
    NotIdentifiedError
        The components are not identified.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import plot_pairs
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, (50, 3)), rng.normal(3, 1, (50, 3))])
    >>> mu = np.array([[-3.0] * 3, [3.0] * 3]) + rng.normal(0, 0.1, (4, 100, 2, 3))
    >>> draws = {"w": np.full((4, 100, 2), 0.5), "mu": mu, "sd": np.ones((4, 100, 2))}
    >>> collection = plot_pairs(draws, X, names={"weights": "w", "means": "mu", "sds": "sd"})
    >>> dict(collection.viz["plot"].sizes)
    {'row': 3, 'column': 3}
    """
    canvas = Canvas(None, plot_collection, backend, pc_kwargs).checked()
    band = checked_band(mass, n_draws, ci_prob, ci_kind)
    sample = shown(posterior, X, names=names, num_samples=num_samples, force=force)
    view = view_of(sample, features, _most_panels(features, sample.names), least=2)
    settings = visual_settings(visuals, sized(_PAIRS, sample) | WITH_LEGEND)
    densities = f"densities: mean and {band.prob:.0%} credible band"
    title = view.title(
        f"{ellipse_title(mass, min(n_draws, sample.n_samples))}; {densities}", *noise_told(sample), width=_LETTERS
    )
    with canvas.style():
        pen = _open_grid(view.sample, view.chosen, canvas, settings)
        _draw_diagonal(pen, view, mass, band)
        _draw_triangle(pen, view.sample, view.chosen, mass, n_draws)
        _label_grid(pen, view.sample, view.chosen)
        pen.legend(canvas, weight_labels(sample), **_corner(pen, canvas, title))
        if settings["title"] is not False:
            pen.pc.add_title(title if canvas.name == "matplotlib" else html_lines(title), **settings["title"])
        finish(pen.pc)
    return pen.pc


def _most_panels(features: Features, names: list[str]) -> int:
    """The most features to show: five by default, and else as many as ArviZ's rcParams allow panels."""
    allowed = rcParams["plot.max_subplots"]
    most = len(names) if allowed is None else isqrt(allowed)
    return min(most, MOST_FEATURES) if features is None else most


# ---- the grid of panels


def _open_grid(sample: Shown, chosen: Sequence[int], canvas: Canvas, settings: dict[str, Any]) -> Pen:
    """A square grid of panels, one row and one column for each feature."""
    n, side = len(chosen), max(_LEAST_SIDE, _WIDTH / len(chosen))
    coords = _grid_coords(sample, chosen) | {"cluster": np.arange(sample.mean.n_components)}
    values = np.zeros([len(values) for values in coords.values()])
    data = xr.Dataset({"pairs": (tuple(coords), values)}, coords)
    return Pen(canvas.open(data, rows=["row"], cols=["column"], size=(side * n, side * n + 0.2)), settings)


def _corner(pen: Pen, canvas: Canvas, title: str) -> dict[str, Any]:
    """Position of the legend: the empty corner above the diagonal."""
    if canvas.name != "matplotlib" or not canvas.own_figure:
        return {}
    height = pen.pc.get_viz("figure").get_size_inches()[1]
    return {"loc": "upper right", "bbox_to_anchor": (0.99, 1.0 - _LINE * (title.count("\n") + 2) / height)}


def _grid_coords(sample: Shown, chosen: Sequence[int]) -> dict[str, Any]:
    names = [sample.names[j] for j in chosen]
    return {"row": names, "column": names}


def _on_grid(sample: Shown, chosen: Sequence[int], parts: dict[tuple[int, int], xr.DataArray]) -> xr.DataArray:
    """Data of single panels as one array (row, column, ...), NaN for panels without data."""
    first = next(iter(parts.values()))
    values = np.full((len(chosen), len(chosen), *first.shape), np.nan)
    for place, part in parts.items():
        values[place] = part.to_numpy()
    return xr.DataArray(
        values, dims=("row", "column", *first.dims), coords={**_grid_coords(sample, chosen), **first.coords}
    )


def _draw_triangle(pen: Pen, sample: Shown, chosen: Sequence[int], mass: float, n_draws: int) -> None:
    pairs = {(r, c): (chosen[c], chosen[r]) for r in range(len(chosen)) for c in range(r)}
    _draw_rows(pen, sample, chosen, pairs)
    drawn = {at: drawn_ellipses(sample, pair, mass, n_draws) for at, pair in pairs.items()}
    means = {at: mean_ellipses(sample, pair, mass) for at, pair in pairs.items()}
    pen.draw("draws", many_lines, _on_grid(sample, chosen, drawn), "marker")
    pen.draw("mean", line_xy, _on_grid(sample, chosen, means), "marker")


def _draw_rows(pen: Pen, sample: Shown, chosen: Sequence[int], pairs: dict[tuple[int, int], tuple[int, int]]) -> None:
    """Rows one by one or, if there are many, counted in cells."""
    if not sample.many:
        labels, n = sample.labels, sample.n_clusters
        rows = {at: clustered_rows(sample.X[:, i], sample.X[:, j], labels, n) for at, (i, j) in pairs.items()}
        pen.draw("rows", points, _on_grid(sample, chosen, rows))
        every = {at: row_data(sample.X[:, i], sample.X[:, j]) for at, (i, j) in pairs.items()}
        draw_noise(pen, _on_grid(sample, chosen, every), labels)
    elif pen.visuals["rows"] is not False:
        counted = {at: cells_of(sample.rows[:, i], sample.rows[:, j]) for at, (i, j) in pairs.items()}
        pen.draw("cells", cells, _on_grid(sample, chosen, counted))


def _draw_diagonal(pen: Pen, view: View, mass: float, band: Band) -> None:
    sample, chosen = view.sample, view.chosen
    found = {(k, k): curves(sample, j, band, n_points=_DIAGONAL_POINTS) for k, j in enumerate(chosen)}
    hists = {(k, k): hist_data(sample.rows[:, j]) for k, j in enumerate(chosen)}
    n_bins = max(data.sizes["bin"] for data in hists.values())
    bands = {at: band_data(curve.at, curve.bounds) for at, curve in found.items()}
    means = {at: line_data(curve.at, curve.mean) for at, curve in found.items()}
    components = {at: line_data(curve.at, curve.components, "cluster") for at, curve in found.items()}
    pen.draw("hist", hist, _on_grid(sample, chosen, {at: _padded(data, n_bins) for at, data in hists.items()}))
    pen.draw("band", fill_between_y, _on_grid(sample, chosen, bands))
    pen.draw("density", line_xy, _on_grid(sample, chosen, means))
    pen.draw("components", line_xy, _on_grid(sample, chosen, components), "marker")
    tops = [
        1.1 * max(float(np.max(found[k, k].bounds)), float(hists[k, k].sel(plot_axis="histogram").max()))
        for k in range(len(chosen))
    ]
    _frame_grid(pen, view, mass, tops)


def _padded(data: xr.DataArray, n_bins: int) -> xr.DataArray:
    """A histogram padded with empty bins, so that all have the same number."""
    more = n_bins - data.sizes["bin"]
    edge = data.sel(plot_axis="right_edges").to_numpy()[-1]
    values = np.hstack([data.to_numpy(), np.tile([[0.0], [edge], [edge]], more)])
    return xr.DataArray(values, dims=data.dims, coords=data.coords)


def _frame_grid(pen: Pen, view: View, mass: float, tops: Sequence[float]) -> None:
    """Axis limits of the panels on and below the diagonal."""
    sample, chosen = view.sample, view.chosen
    ranges = [view.limits(j, mass) for j in chosen]
    n = len(chosen)
    across = {(r, c): ranges[c] for r in range(n) for c in range(r + 1)}
    upwards = {(r, c): (0.0, tops[r]) if r == c else ranges[r] for r, c in across}
    for kind, bounds in (("xlim", across), ("ylim", upwards)):
        parts = {at: xr.DataArray(np.array(pair), dims="bound") for at, pair in bounds.items()}
        pen.arrange(limits, _on_grid(sample, chosen, parts), kind=kind)


def _label_grid(pen: Pen, sample: Shown, chosen: Sequence[int]) -> None:
    """Axis labels and tick labels at the outer edges only; no axes above the diagonal."""
    n = len(chosen)
    for r, c in np.ndindex(n, n):
        target = pen.pc.get_viz("plot", row=sample.names[chosen[r]], column=sample.names[chosen[c]])
        if c > r:
            backend_of(target).remove_axis(target, axis="both")
            continue
        if isinstance(target, Axes):
            target.locator_params(nbins=4)
        if r == c:
            backend_of(target).remove_axis(target, axis="y")
        _label_panel(target, pen, x=sample.names[chosen[c]] if r == n - 1 else "", axis="x")
        _label_panel(target, pen, x=sample.names[chosen[r]] if c == 0 < r else "", axis="y")


def _label_panel(target: Any, pen: Pen, *, x: str, axis: str) -> None:
    settings = pen.visuals[f"{axis}label"]
    if not x:
        backend_of(target).set_ticklabel_visibility(target, axis=axis, visible=False)
    elif settings is not False:
        lines = textwrap.wrap(x, _NAME_WIDTH)[:2]
        getattr(backend_of(target), f"{axis}label")("\n".join(lines), target, **settings)
