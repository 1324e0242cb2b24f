"""Components of a mixture on the data: ellipses or densities, with what the posterior leaves open."""

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
from scipy.stats import chi2

from bayesgmm.bayes.adapter import NO_NAMES, Names, Posterior
from bayesgmm.bayes.predict import interval_function, interval_probability
from bayesgmm.surface.plots import CIRCLE, limits_of
from bayesgmm.surface.plots_canvas import (
    Canvas,
    Pen,
    Visuals,
    backend_of,
    chosen_features,
    finish,
    frame_x,
    frame_y,
    many_lines,
    points,
    visual_settings,
)
from bayesgmm.surface.plots_density import (
    ONE_FEATURE,
    RUG,
    TITLE,
    Band,
    band_data,
    curves,
    draw_labels,
    frame,
    hist_data,
    line_data,
)
from bayesgmm.surface.plots_sample import Shown, shown
from bayesgmm.words.arrays import Array, IntArray
from bayesgmm.words.errors import InputError

_MOST_FEATURES, _DIAGONAL_POINTS = 5, 201
_ROWS: dict[str, Any] = {"size": 16, "alpha": 0.55, "edgecolor": "white", "width": 0.3}
_ELLIPSES: dict[str, dict[str, Any]] = {"rows": _ROWS, "draws": {"width": 0.6, "alpha": 0.3}, "mean": {"width": 2.2}}
_DENSITIES: dict[str, dict[str, Any]] = {
    "hist": ONE_FEATURE["hist"],
    "band": {"alpha": 0.3},
    "mean": {"width": 1.8},
    "rug": {"marker": "|", "size": 40, "alpha": 0.7},
}
_PAIRS: dict[str, dict[str, Any]] = {
    "hist": ONE_FEATURE["hist"],
    "band": ONE_FEATURE["band"],
    "density": {**ONE_FEATURE["mean"], "width": 2.2},
    "components": {"width": 1.2},
    "rows": {**_ROWS, "size": 9},
    "draws": {"width": 0.5, "alpha": 0.3},
    "mean": {"width": 1.6},
}
_LABELS: dict[str, dict[str, Any]] = {"legend": {}, "xlabel": {}, "ylabel": {}, "title": TITLE}


def plot_components(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    names: Names = NO_NAMES,
    features: Sequence[str | int] | str | int | None = None,
    num_samples: int = 400,
    n_draws: int = 50,
    mass: float = 0.9,
    ci_prob: float | None = None,
    ci_kind: str | None = None,
    force: bool = False,
    ax: Axes | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    visuals: Visuals | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    r"""Rows, and the components with their posterior spread: ellipses of two features, densities of one.

    Two features: for each component the ellipse of radius :math:`\sqrt{\chi^2_2(mass)}` around its mean, which holds
    ``mass`` of it; thin for posterior draws, thick for the posterior means of :math:`\mu_k` and :math:`\Sigma_k`.
    One: the posterior mean of :math:`w_k N(x \mid \mu_k, \sigma_k^2)` and its pointwise credible band.

    Draws are put in the same labels first by `bayesgmm.relabel`, unless that was done.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        Draws of anybody's mixture, see `bayesgmm.bayes.adapter.mixture_posterior`.
    X : (obs, feature), optional
        The rows; by default those kept with a fit of this package. At most 5,000 are drawn, evenly spaced.
    names : mapping, optional
        What the posterior calls its variables, for example ``{"weights": "w", "means": "mu", "sds": "sigma"}``.
    features : one or two names or positions, optional
        By default the first two.
    num_samples : int
        Draws to compute with, evenly spaced within chains.
    n_draws : int
        Posterior draws shown as ellipses.
    mass : float
        Probability that each ellipse holds, between 0 and 1.
    ci_prob, ci_kind : float, {"eti", "hdi"}, optional
        Of the band; ArviZ's rcParams ``stats.ci_prob`` (0.89) and ``stats.ci_kind`` (equal-tailed) by default.
    force : bool
        Draw components that are not identified.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.
    plot_collection : PlotCollection, optional
        Where to draw, as in ArviZ, for example what `plot_density` gave.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
        By default ArviZ's rcParams ``plot.backend``.
    visuals : mapping of str to mapping or bool, optional
        Settings of each visual, or False to leave it out. Two features: ``rows``, ``draws``, ``mean``; one: ``hist``,
        ``band``, ``mean``, ``rug``; both: ``legend``, ``xlabel``, ``ylabel``, ``title``.
    **pc_kwargs
        Settings of the `PlotCollection`, as ``figure_kwargs``.

    Returns
    -------
    PlotCollection

    Raises
    ------
    InputError
        Unknown features, visuals or backend, more than two features, or numbers out of range.
    NotIdentifiedError
        The components cannot be told apart.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import plot_components
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, (50, 2)), rng.normal(3, 1, (50, 2))])
    >>> mu = np.array([[-3.0, -3.0], [3.0, 3.0]]) + rng.normal(0, 0.1, (4, 100, 2, 2))
    >>> draws = {"w": np.full((4, 100, 2), 0.5), "mu": mu, "sd": np.ones((4, 100, 2))}
    >>> collection = plot_components(draws, X, names={"weights": "w", "means": "mu", "sds": "sd"})
    >>> collection.viz["figure"].item().axes[0].get_title()
    '90% ellipses: posterior mean and 50 draws'
    """
    canvas = Canvas(ax, plot_collection, backend, pc_kwargs).checked()
    band = _checked_band(mass, n_draws, ci_prob, ci_kind)
    sample = shown(posterior, X, names=names, num_samples=num_samples, force=force)
    chosen = chosen_features(features, sample.names, 2)
    settings = visual_settings(visuals, (_DENSITIES if len(chosen) == 1 else _ELLIPSES) | _LABELS)
    if len(chosen) == 1:
        pen = _densities(sample, chosen[0], band, canvas, settings)
    else:
        pen = _ellipses(sample, chosen, mass, canvas, settings, n_draws)
    pen.legend(canvas, weight_labels(sample))
    finish(pen.pc)
    return pen.pc


def plot_pairs(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    names: Names = NO_NAMES,
    features: Sequence[str | int] | None = None,
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
    r"""All pairs of features: rows and ellipses below the diagonal, the marginal density on it.

    Below the diagonal as in `plot_components`. On it the histogram, the posterior mean of the marginal density with
    its pointwise credible band, and the posterior means of the weighted components.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        Draws of anybody's mixture, see `bayesgmm.bayes.adapter.mixture_posterior`.
    X : (obs, feature), optional
        The rows; by default those kept with a fit of this package. At most 5,000 are drawn, evenly spaced.
    names : mapping, optional
        What the posterior calls its variables, for example ``{"weights": "w", "means": "mu", "sds": "sigma"}``.
    features : two or more names or positions, optional
        By default the first five.
    num_samples : int
        Draws to compute with, evenly spaced within chains.
    n_draws : int
        Posterior draws shown as ellipses.
    mass : float
        Probability that each ellipse holds, between 0 and 1.
    ci_prob, ci_kind : float, {"eti", "hdi"}, optional
        Of the band; ArviZ's rcParams ``stats.ci_prob`` (0.89) and ``stats.ci_kind`` (equal-tailed) by default.
    force : bool
        Draw components that are not identified.
    plot_collection : PlotCollection, optional
        Where to draw, as in ArviZ: a grid with the dimensions ``row`` and ``column``, features' names both.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
        By default ArviZ's rcParams ``plot.backend``.
    visuals : mapping of str to mapping or bool, optional
        Settings of each visual, or False to leave it out: ``rows``, ``draws``, ``mean``; ``hist``, ``band``,
        ``density``, ``components``; ``legend``, ``xlabel``, ``ylabel``, ``title``.
    **pc_kwargs
        Settings of the `PlotCollection`, as ``figure_kwargs``.

    Returns
    -------
    PlotCollection

    Raises
    ------
    InputError
        Unknown features, visuals or backend, fewer than two features or more than ArviZ's rcParams
        ``plot.max_subplots`` allow, or numbers out of range.
    NotIdentifiedError
        The components cannot be told apart.

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
    band = _checked_band(mass, n_draws, ci_prob, ci_kind)
    sample = shown(posterior, X, names=names, num_samples=num_samples, force=force)
    chosen = _several(features, sample.names)
    settings = visual_settings(visuals, _PAIRS | _LABELS)
    pen = _open_grid(sample, chosen, canvas, settings)
    _draw_diagonal(pen, sample, chosen, band)
    _draw_triangle(pen, sample, chosen, mass, n_draws)
    _label_grid(pen, sample, chosen)
    pen.legend(canvas, weight_labels(sample), **_corner(canvas))
    if settings["title"] is not False:
        pen.pc.add_title(
            f"{_ellipse_title(mass, n_draws)}; densities: mean and {band.prob:.0%} credible band", **settings["title"]
        )
    finish(pen.pc)
    return pen.pc


# ---- checks


def _checked_band(mass: float, n_draws: int, ci_prob: float | None, ci_kind: str | None) -> Band:
    if not (0.0 < mass < 1.0 and n_draws >= 0):
        raise InputError(expected="0 < mass < 1 and n_draws >= 0", got=f"mass = {mass}, n_draws = {n_draws}")
    band = Band(interval_probability(ci_prob), str(ci_kind or rcParams["stats.ci_kind"]))
    interval_function(band.kind)
    return band


def _several(features: Sequence[str | int] | None, names: list[str]) -> list[int]:
    """Positions of two or more features, as many as ArviZ allows panels for."""
    allowed = rcParams["plot.max_subplots"]
    most = len(names) if allowed is None else isqrt(allowed)
    chosen = chosen_features(features, names, min(most, _MOST_FEATURES) if features is None else most)
    if len(chosen) < 2:
        raise InputError(expected="two features or more", got=f"{len(chosen)}", hint="plot_density shows one.")
    return chosen


# ---- components as data for the visuals


def weight_labels(sample: Shown) -> list[str]:
    """Each cluster with the posterior mean of its weight."""
    return [f"{k}  ({weight:.2f})" for k, weight in enumerate(sample.mean.weights)]


def clustered_rows(x: Array, y: Array, labels: IntArray, n_clusters: int) -> xr.DataArray:
    """Points (cluster, plot_axis, obs), NaN where a row belongs to another cluster."""
    mine = (labels == np.arange(n_clusters)[:, None])[:, None, :]
    values = np.where(mine, np.stack([x, y]), np.nan)
    dims = ("cluster", "plot_axis", "obs")
    return xr.DataArray(values, dims=dims, coords={"cluster": np.arange(n_clusters), "plot_axis": ["x", "y"]})


def ellipse_outlines(means: Array, covariances: Array, pair: Sequence[int], mass: float) -> Array:
    """Outlines (..., 2, point) of the ellipses of two features that hold a probability."""
    index = list(pair)
    chol = np.linalg.cholesky(covariances[..., index, :][..., index])
    offsets = np.sqrt(chi2.ppf(mass, 2)) * chol @ CIRCLE.T
    outlines: Array = means[..., index, None] + offsets
    return outlines


def mean_ellipses(sample: Shown, pair: Sequence[int], mass: float) -> xr.DataArray:
    """Ellipses (cluster, plot_axis, point) of the posterior means."""
    outlines = ellipse_outlines(sample.mean.means, sample.mean.full_covariances, pair, mass)
    return xr.DataArray(outlines, dims=("cluster", "plot_axis", "point"), coords=_cluster_coords(outlines))


def drawn_ellipses(sample: Shown, pair: Sequence[int], mass: float, n_draws: int) -> xr.DataArray:
    """Ellipses (cluster, plot_axis, sample, point) of draws, evenly spaced over all chains."""
    draws = sample.tree["posterior"].to_dataset()
    means, covariances = (draws[v].to_numpy().reshape(-1, *draws[v].shape[2:]) for v in ("means", "covariances"))
    kept = np.unique(np.linspace(0, len(means) - 1, min(n_draws, len(means))).round().astype(int))
    outlines = ellipse_outlines(means[kept], covariances[kept], pair, mass).transpose(1, 2, 0, 3)
    return xr.DataArray(outlines, dims=("cluster", "plot_axis", "sample", "point"), coords=_cluster_coords(outlines))


def _cluster_coords(values: Array) -> dict[str, Any]:
    return {"cluster": np.arange(len(values)), "plot_axis": ["x", "y"]}


def _ellipse_title(mass: float, n_draws: int) -> str:
    return f"{mass:.0%} ellipses: posterior mean" + (f" and {n_draws} draws" if n_draws else "")


# ---- a single panel


def _ellipses(
    sample: Shown, chosen: Sequence[int], mass: float, canvas: Canvas, settings: dict[str, Any], n_draws: int
) -> Pen:
    x, y = (sample.X[:, j] for j in chosen)
    mean = mean_ellipses(sample, chosen, mass)
    pen = Pen(canvas.open(mean.to_dataset(name="mean")), settings)
    pen.draw("rows", points, clustered_rows(x, y, sample.labels, len(mean)))
    pen.draw("draws", many_lines, drawn_ellipses(sample, chosen, mass, n_draws), "marker")
    pen.draw("mean", line_xy, mean, "marker")
    draw_labels(pen, sample.names[chosen[0]], sample.names[chosen[1]], _ellipse_title(mass, n_draws))
    frame(pen, limits_of(x), limits_of(y))
    return pen


def _densities(sample: Shown, j: int, band: Band, canvas: Canvas, settings: dict[str, Any]) -> Pen:
    x, found = sample.X[:, j], curves(sample, j, band)
    mean = line_data(found.at, found.components, "cluster")
    pen = Pen(canvas.open(mean.to_dataset(name="mean")), settings)
    top = max(1.05 * float(hist_data(x).sel(plot_axis="histogram").max()), 1.1 * float(found.component_bounds.max()))
    pen.draw("hist", hist, hist_data(x))
    pen.draw("rug", points, clustered_rows(x, np.full(len(x), RUG * top), sample.labels, len(found.components)))
    pen.draw("band", fill_between_y, band_data(found.at, found.component_bounds, "cluster"), "marker")
    pen.draw("mean", line_xy, mean, "marker")
    title = f"Weighted components: posterior mean and {band.prob:.0%} credible band"
    draw_labels(pen, sample.names[j], "density", title)
    frame(pen, limits_of(x), (2 * RUG * top, top))
    return pen


# ---- pairs


def _open_grid(sample: Shown, chosen: Sequence[int], canvas: Canvas, settings: dict[str, Any]) -> Pen:
    """A square of panels, features down and across."""
    n, side = len(chosen), max(1.6, 7.0 / len(chosen))
    coords = _grid_coords(sample, chosen) | {"cluster": np.arange(sample.mean.n_components)}
    values = np.zeros([len(values) for values in coords.values()])
    data = xr.Dataset({"pairs": (tuple(coords), values)}, coords)
    return Pen(canvas.open(data, rows=["row"], cols=["column"], size=(side * n, side * n + 0.2)), settings)


def _corner(canvas: Canvas) -> dict[str, Any]:
    """The place of a legend in the empty corner of a triangle."""
    if canvas.name != "matplotlib" or not canvas.own_figure:
        return {}
    return {"loc": "upper right", "bbox_to_anchor": (0.99, 0.94)}


def _grid_coords(sample: Shown, chosen: Sequence[int]) -> dict[str, Any]:
    names = [sample.names[j] for j in chosen]
    return {"row": names, "column": names}


def _on_grid(sample: Shown, chosen: Sequence[int], parts: dict[tuple[int, int], xr.DataArray]) -> xr.DataArray:
    """Data of single panels as one array (row, column, ...), NaN where a panel has none."""
    first = next(iter(parts.values()))
    values = np.full((len(chosen), len(chosen), *first.shape), np.nan)
    for place, part in parts.items():
        values[place] = part.to_numpy()
    return xr.DataArray(
        values, dims=("row", "column", *first.dims), coords={**_grid_coords(sample, chosen), **first.coords}
    )


def _draw_triangle(pen: Pen, sample: Shown, chosen: Sequence[int], mass: float, n_draws: int) -> None:
    labels, n_clusters = sample.labels, sample.mean.n_components
    pairs = {(r, c): (chosen[c], chosen[r]) for r in range(len(chosen)) for c in range(r)}
    rows = {at: clustered_rows(sample.X[:, i], sample.X[:, j], labels, n_clusters) for at, (i, j) in pairs.items()}
    drawn = {at: drawn_ellipses(sample, pair, mass, n_draws) for at, pair in pairs.items()}
    means = {at: mean_ellipses(sample, pair, mass) for at, pair in pairs.items()}
    pen.draw("rows", points, _on_grid(sample, chosen, rows))
    pen.draw("draws", many_lines, _on_grid(sample, chosen, drawn), "marker")
    pen.draw("mean", line_xy, _on_grid(sample, chosen, means), "marker")


def _draw_diagonal(pen: Pen, sample: Shown, chosen: Sequence[int], band: Band) -> None:
    found = {(k, k): curves(sample, j, band, n_points=_DIAGONAL_POINTS) for k, j in enumerate(chosen)}
    hists = {(k, k): hist_data(sample.X[:, j]) for k, j in enumerate(chosen)}
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
    _frame_grid(pen, sample, chosen, tops)


def _padded(data: xr.DataArray, n_bins: int) -> xr.DataArray:
    """A histogram with empty bins at its end, so that all have the same number."""
    more = n_bins - data.sizes["bin"]
    edge = data.sel(plot_axis="right_edges").to_numpy()[-1]
    values = np.hstack([data.to_numpy(), np.tile([[0.0], [edge], [edge]], more)])
    return xr.DataArray(values, dims=data.dims, coords=data.coords)


def _frame_grid(pen: Pen, sample: Shown, chosen: Sequence[int], tops: Sequence[float]) -> None:
    """Limits of every panel that has something in it."""
    limits = [limits_of(sample.X[:, j]) for j in chosen]
    n = len(chosen)
    across = {(r, c): limits[c] for r in range(n) for c in range(r + 1)}
    upwards = {(r, c): (0.0, tops[r]) if r == c else limits[r] for r, c in across}
    for visual, bounds in ((frame_x, across), (frame_y, upwards)):
        parts = {at: xr.DataArray(np.array(pair), dims="bound") for at, pair in bounds.items()}
        data = _on_grid(sample, chosen, parts).rename("limits")
        pen.pc.map(visual, data=data, store_artist=False, ignore_aes="all")


def _label_grid(pen: Pen, sample: Shown, chosen: Sequence[int]) -> None:
    """Names and numbers at the outer edges only; no frame where there is no panel."""
    n = len(chosen)
    for r, c in np.ndindex(n, n):
        target = pen.pc.get_viz("plot", row=sample.names[chosen[r]], column=sample.names[chosen[c]])
        if c > r:
            backend_of(target).remove_axis(target, axis="both")
            continue
        if r == c:
            backend_of(target).remove_axis(target, axis="y")
        _label_panel(target, pen, x=sample.names[chosen[c]] if r == n - 1 else "", axis="x")
        _label_panel(target, pen, x=sample.names[chosen[r]] if c == 0 < r else "", axis="y")


def _label_panel(target: Any, pen: Pen, *, x: str, axis: str) -> None:
    settings = pen.visuals[f"{axis}label"]
    if not x:
        backend_of(target).set_ticklabel_visibility(target, axis=axis, visible=False)
    elif settings is not False:
        getattr(backend_of(target), f"{axis}label")(x, target, **settings)
