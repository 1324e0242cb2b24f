"""Posterior density: of one feature with its credible band, of two as contours of highest-density regions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_plots import PlotCollection
from arviz_plots.visuals import fill_between_y, hist, line_xy
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bayesgmm._common import Array, IntArray, listed
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.plots._canvas import Canvas, Pen, Visuals, cells, cells_of, contours, finish, points, visual_settings
from bayesgmm.plots._data import Shown, noise_densities, shown, weighted_densities
from bayesgmm.plots._docs import documented
from bayesgmm.plots._features import Features, View, view_of
from bayesgmm.plots._style import bin_edges, limits_of, observed
from bayesgmm.posterior import NO_NAMES, Names, Posterior, draws_of
from bayesgmm.prediction import interval_function, interval_probability, log_predictive_density
from bayesgmm.style import DATA, GREY, POSTERIOR
from bayesgmm.validation import check_number

_RUG = -0.035  # position of the rows below a density, as a share of the panel's height
_GRID_1D, _GRID_2D = 401, 120
_WIDER = 0.5  # margin of a grid of two features, in ranges of the rows
HDI_PROBS = (0.25, 0.5, 0.75, 0.95)

LABELS: dict[str, dict[str, Any]] = {"xlabel": {}, "ylabel": {}, "title": {}}
ONE_FEATURE: dict[str, dict[str, Any]] = {
    "hist": {"color": GREY, "edgecolor": "white"},
    "band": {"color": POSTERIOR, "alpha": 0.3},
    "mean": {"color": POSTERIOR, "width": 1.6},
    "rug": {"color": DATA, "marker": "|", "size": 40, "alpha": 0.6},
}
CELLS: dict[str, Any] = {"cmap": "Greys"}
_TWO_FEATURES: dict[str, dict[str, Any]] = {
    "regions": {"cmap": "Blues", "alpha": 0.6},
    "cells": CELLS,
    "rows": {"color": DATA, "size": 9, "alpha": 0.7, "width": 0.0},
    "contours": {"color": POSTERIOR, "alpha": 1.0},
}


@documented
def plot_density(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    names: Names = NO_NAMES,
    features: Features = None,
    num_samples: int = 400,
    ci_prob: float | None = None,
    ci_kind: str | None = None,
    hdi_probs: Sequence[float] = HDI_PROBS,
    ax: Axes | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    visuals: Visuals | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    r"""Posterior density of one feature with a credible band, or of two as contours; invariant under label switching.

    One feature: the posterior mean of :math:`f(x) = \sum_k w_k N(x \mid \mu_k, \sigma_k^2)`, the pointwise interval of
    :math:`f(x)` over draws, a histogram and a rug of the rows. Two: the posterior mean of the density, with contours
    around the highest-density regions of probability ``hdi_probs`` (Hyndman 1996).

    Parameters
    ----------
    {posterior} {X}
        More than 5,000 are binned.
    {names} {features}
        The others are integrated out.
    {num_samples} {ci_prob, ci_kind}
    hdi_probs : sequence of float
        Probabilities of the regions inside the contours.
    {ax} {plot_collection} {backend} {visuals}
        One feature: ``hist``, ``band``, ``mean``, ``rug``; two: ``regions``, ``contours``, ``rows`` or ``cells``; both:
        ``xlabel``, ``ylabel``, ``title``.
    {pc_kwargs}

    {returns}

    Raises
    ------
    InputError
        Unknown features, visuals or backend, more than two features, or numbers out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import plot_density
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, 50), rng.normal(3, 1, 50)])[:, None]
    >>> mu = np.array([-3.0, 3.0]) + rng.normal(0, 0.1, (4, 100, 2))
    >>> draws = {"w": np.full((4, 100, 2), 0.5), "mu": mu, "sd": np.ones((4, 100, 2))}
    >>> collection = plot_density(draws, X, names={"weights": "w", "means": "mu", "sds": "sd"})
    >>> collection.viz["figure"].item().axes[0].get_title()
    'Posterior mean and 89% credible band\nbars: histogram of the rows'
    """
    canvas = Canvas(ax, plot_collection, backend, pc_kwargs).checked()
    band = credible_band(ci_prob, ci_kind)
    probs = _checked_probs(hdi_probs)
    sample = shown(posterior, X, names=names, num_samples=num_samples, labelled=False, force=True)
    view = view_of(sample, features, 2)
    one = len(view.chosen) == 1
    settings = visual_settings(visuals, (ONE_FEATURE if one else _TWO_FEATURES) | LABELS)
    with canvas.style():
        return _one_feature(view, band, canvas, settings) if one else _two_features(view, probs, canvas, settings)


def _checked_probs(probs: Sequence[float]) -> list[float]:
    """Probabilities of regions, the largest region first."""
    several = list(probs) if isinstance(probs, Iterable) else [probs, probs]
    if not several or len(set(several)) < len(several):
        raise InputError(expected="several hdi_probs, distinct", got=f"{probs!r}")
    for prob in several:
        check_number(least=0.0, most=1.0, hdi_probs=prob)
    return sorted(several, reverse=True)


# ---- one feature


@dataclass(frozen=True)
class Band:
    """A pointwise credible band: its probability, and whether equal-tailed or of highest density."""

    prob: float
    kind: str

    def __call__(self, sampled: Array) -> Array:
        """Lower and upper bounds (..., 2) of draws along the first axis."""
        return interval_function(self.kind)(np.moveaxis(sampled, 0, -1), prob=self.prob)


def credible_band(ci_prob: float | None, ci_kind: str | None) -> Band:
    """A band of checked probability and kind; by default those of ArviZ's rcParams."""
    band = Band(interval_probability(ci_prob), str(ci_kind or rcParams["stats.ci_kind"]))
    interval_function(band.kind)
    return band


@dataclass(frozen=True)
class Curves:
    """Densities of one feature.

    Attributes
    ----------
    at : (point,)
    mean : (point,)
        Posterior mean of the mixture's density.
    bounds : (point, 2)
    components : (cluster, point)
        Posterior means of weight times density.
    component_bounds : (cluster, point, 2)
    """

    at: Array
    mean: Array
    bounds: Array
    components: Array
    component_bounds: Array


def curves(sample: Shown, j: int, band: Band, *, n_points: int = _GRID_1D) -> Curves:
    """Densities of feature j over the range of the rows with a margin."""
    at = np.linspace(*limits_of(sample.rows[:, j]), n_points)
    draws = draws_of(sample.tree)
    components = weighted_densities(draws, [j], at[:, None])
    density = components.sum(axis=1) + noise_densities(draws, [j], at[:, None])
    return Curves(at, density.mean(axis=0), band(density), components.mean(axis=0), band(components))


def line_data(x: Array, y: Array, *dims: str) -> xr.DataArray:
    """A line for ArviZ's visuals: (*dims, plot_axis, point) from y (*dims, point) and x (point,)."""
    values = np.stack([np.broadcast_to(x, y.shape), y], axis=-2)
    return _data(values, *dims, "plot_axis", "point", plot_axis=["x", "y"])


def band_data(x: Array, bounds: Array, *dims: str) -> xr.DataArray:
    """A band for ArviZ's visuals from bounds (*dims, point, 2)."""
    values = np.stack([np.broadcast_to(x, bounds.shape[:-1]), bounds[..., 0], bounds[..., 1]], axis=-2)
    return _data(values, *dims, "kwarg", "point", kwarg=["x", "y_bottom", "y_top"])


def hist_data(x: Array) -> xr.DataArray:
    """A histogram of density for ArviZ's visuals."""
    heights, edges = np.histogram(observed(x), bins=bin_edges(x), density=True)
    axes = ["histogram", "left_edges", "right_edges"]
    return _data(np.stack([heights, edges[:-1], edges[1:]]), "plot_axis", "bin", plot_axis=axes)


def row_data(x: Array, y: Array) -> xr.DataArray:
    """Points (plot_axis, obs)."""
    return _data(np.stack([x, y]), "plot_axis", "obs", plot_axis=["x", "y"])


def clustered_rows(x: Array, y: Array, labels: IntArray, n_clusters: int) -> xr.DataArray:
    """Points (cluster, plot_axis, obs), NaN for rows of other clusters."""
    mine = (labels == np.arange(n_clusters)[:, None])[:, None, :]
    return _data(np.where(mine, np.stack([x, y]), np.nan), "cluster", "plot_axis", "obs", plot_axis=["x", "y"])


def _data(values: Array, *dims: str, **coords: list[str]) -> xr.DataArray:
    every = {"cluster": np.arange(values.shape[dims.index("cluster")])} if "cluster" in dims else {}
    return xr.DataArray(values, dims=dims, coords={**every, **coords})


def _one_feature(view: View, band: Band, canvas: Canvas, settings: dict[str, Any]) -> PlotCollection:
    found = curves(view.sample, view.chosen[0], band)
    mean, bounds = line_data(found.at, found.mean), band_data(found.at, found.bounds)
    title = f"Posterior mean and {band.prob:.0%} credible band"
    pen = draw_curves(view, canvas, settings, mean=mean, bounds=bounds, title=title)
    finish(pen.pc)
    return pen.pc


def draw_curves(
    view: View,
    canvas: Canvas,
    settings: dict[str, Any],
    *,
    mean: xr.DataArray,
    bounds: xr.DataArray,
    title: str,
) -> Pen:
    """Histogram and rug of a feature, densities and credible bands; by cluster if the densities are."""
    sample, j = view.sample, view.chosen[0]
    x, histogram = sample.X[:, j], hist_data(sample.rows[:, j])
    top = max(1.05 * float(histogram.sel(plot_axis="histogram").max()), 1.1 * float(bounds.sel(kwarg="y_top").max()))
    height, ignored = np.full(len(x), _RUG * top), ["marker"] if "cluster" in mean.dims else []
    rug = clustered_rows(x, height, sample.labels, mean.sizes["cluster"]) if ignored else row_data(x, height)
    pen = Pen(canvas.open(mean.to_dataset(name="mean")), settings)
    pen.draw("hist", hist, histogram)
    if not sample.many:
        pen.draw("rug", points, rug)
        if ignored:
            draw_noise(pen, row_data(x, height), sample.labels, "rug")
    pen.draw("band", fill_between_y, bounds, *ignored)
    pen.draw("mean", line_xy, mean, *ignored)
    pen.label(sample.names[j], "density", view.title(title, "bars: histogram of the rows"))
    pen.frame(limits_of(sample.rows[:, j]), (0.0 if sample.many else 2 * _RUG * top, top))
    return pen


# ---- two features


def density_grid(sample: Shown, chosen: Sequence[int]) -> xr.DataArray:
    """Posterior mean density of two features (x, y), on a grid with a wide margin."""
    axes = [_wide_grid(sample.rows[:, j]) for j in chosen]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    draws = draws_of(sample.tree)
    density = np.exp(log_predictive_density(draws.components.marginal(chosen), Data(at)))
    if draws.noise is not None and draws.noise_weight is not None:
        density += draws.noise_weight.mean() * draws.noise.density_of(chosen, at)
    values = density.reshape(_GRID_2D, _GRID_2D)
    return xr.DataArray(values, dims=("x", "y"), coords=dict(zip(("x", "y"), axes, strict=True)))


def _wide_grid(x: Array) -> Array:
    x = observed(x)
    margin = _WIDER * float(np.ptp(x)) or 1.0
    return np.linspace(x.min() - margin, x.max() + margin, _GRID_2D)


def hdi_levels(density: xr.DataArray, probs: Sequence[float]) -> Array:
    """Density levels of the highest-density regions of the given probabilities, by summing over cells."""
    area = float(np.prod([density[axis][1] - density[axis][0] for axis in ("x", "y")]))
    descending = np.sort(density.to_numpy().ravel())[::-1]
    mass = np.cumsum(descending) * area
    return descending[np.minimum(np.searchsorted(mass, probs), len(mass) - 1)]


def draw_rows(pen: Pen, sample: Shown, pair: Sequence[int], rows: xr.DataArray) -> None:
    """Rows one by one, those of noise in grey where rows are clustered, or, if there are many, counted in cells."""
    if not sample.many:
        pen.draw("rows", points, rows)
        if "cluster" in rows.dims:
            x, y = (sample.X[:, j] for j in pair)
            draw_noise(pen, row_data(x, y), sample.labels)
    elif pen.visuals["rows"] is not False:
        pen.draw("cells", cells, cells_of(*(sample.rows[:, j] for j in pair)))


def draw_noise(pen: Pen, rows: xr.DataArray, labels: IntArray, name: str = "rows") -> None:
    """Rows (..., plot_axis, obs) that are noise, in grey."""
    noise = labels < 0
    if not noise.any() or pen.visuals[name] is False:
        return
    style = {**pen.visuals[name], "color": DATA, "marker": "|" if pen.visuals[name].get("marker") == "|" else "x"}
    style = {key: value for key, value in style.items() if key != "edgecolor"} | {"width": 1.0}
    Pen(pen.pc, {"noise": style}).draw("noise", points, rows.where(xr.DataArray(noise, dims="obs")))


def _two_features(view: View, probs: list[float], canvas: Canvas, settings: dict[str, Any]) -> PlotCollection:
    sample, chosen = view.sample, view.chosen
    i, j = chosen
    density = density_grid(sample, chosen)
    *levels, top = np.unique([*hdi_levels(density, probs), float(density.max())])
    pen = Pen(canvas.open(density.to_dataset(name="density")), settings)
    if levels:  # none if an outlier makes the grid so wide that the clusters fall between its points
        pen.draw("regions", contours, density, levels=np.array([*levels, top]), kind="contourf")
    draw_rows(pen, sample, chosen, row_data(sample.X[:, i], sample.X[:, j]))
    if levels:
        pen.draw("contours", contours, density, levels=np.array(levels), kind="contour")
    regions = f"{listed(f'{100 * prob:.3g}' for prob in sorted(probs))}% regions"
    pen.label(sample.names[i], sample.names[j], view.title(f"Posterior mean density: {regions}"))
    pen.frame(limits_of(sample.rows[:, i]), limits_of(sample.rows[:, j]))
    finish(pen.pc)
    return pen.pc
