"""Components of a mixture with their posterior uncertainty: ellipses in two features, densities in one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.visuals import line_xy
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bayesgmm._common import Array
from bayesgmm.plots._canvas import Canvas, Pen, Visuals, finish, many_lines, visual_settings
from bayesgmm.plots._data import Shown, shown
from bayesgmm.plots._docs import documented
from bayesgmm.plots._features import Features, View, view_of
from bayesgmm.plots._style import ellipse_outlines, shrinkage
from bayesgmm.plots.density import (
    CELLS,
    LABELS,
    ONE_FEATURE,
    Band,
    band_data,
    clustered_rows,
    credible_band,
    curves,
    draw_curves,
    draw_rows,
    line_data,
)
from bayesgmm.posterior import NO_NAMES, Names, Posterior, draws_of
from bayesgmm.validation import check_number, check_whole

ROWS: dict[str, Any] = {"size": 16, "alpha": 0.55, "edgecolor": "white", "width": 0.3}
_ELLIPSES: dict[str, dict[str, Any]] = {
    "rows": ROWS,
    "cells": CELLS,
    "draws": {"width": 0.6, "alpha": 0.3},
    "mean": {"width": 2.2},
}
_DENSITIES: dict[str, dict[str, Any]] = {
    "hist": ONE_FEATURE["hist"],
    "band": {"alpha": 0.3},
    "mean": {"width": 1.8},
    "rug": {"marker": "|", "size": 40, "alpha": 0.7},
}
WITH_LEGEND: dict[str, dict[str, Any]] = {"legend": {}, **LABELS}


@documented
def plot_components(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    names: Names = NO_NAMES,
    features: Features = None,
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
    r"""Data and components with their posterior uncertainty: ellipses in two features, densities in one.

    Two features: for each component the ellipse of radius :math:`\sqrt{\chi^2_2(mass)}` around its mean, with
    probability content ``mass``; thin for posterior draws, thick for the posterior means of :math:`\mu_k` and
    :math:`\Sigma_k`. One: the posterior mean of :math:`w_k N(x \mid \mu_k, \sigma_k^2)` and its pointwise credible
    band.

    Draws are relabelled first by `bayesgmm.relabel`, unless that was done before.

    Parameters
    ----------
    {posterior} {X}
        More than 5,000 are binned.
    {names} {features} {num_samples} {n_draws} {mass} {ci_prob, ci_kind} {force} {ax} {plot_collection} {backend}
    {visuals}
        Two features: ``rows`` or ``cells``, ``draws``, ``mean``; one: ``hist``, ``band``, ``mean``, ``rug``; both:
        ``legend``, ``xlabel``, ``ylabel``, ``title``.
    {pc_kwargs}

    {returns}

    Raises
    ------
    InputError
        Unknown features, visuals or backend, more than two features, or numbers out of range.
    NotIdentifiedError
        The components are not identified.

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
    '90% ellipses: posterior mean (thick), 50 draws (thin)'
    """
    canvas = Canvas(ax, plot_collection, backend, pc_kwargs).checked()
    band = checked_band(mass, n_draws, ci_prob, ci_kind)
    sample = shown(posterior, X, names=names, num_samples=num_samples, force=force)
    view = view_of(sample, features, 2)
    one = len(view.chosen) == 1
    settings = visual_settings(visuals, (_DENSITIES if one else sized(_ELLIPSES, sample)) | WITH_LEGEND)
    with canvas.style():
        pen = _densities(view, band, canvas, settings) if one else _ellipses(view, mass, canvas, settings, n_draws)
        pen.legend(canvas, weight_labels(sample))
        finish(pen.pc)
    return pen.pc


# ---- checks


def checked_band(mass: float, n_draws: int, ci_prob: float | None, ci_kind: str | None) -> Band:
    """The credible band, after a check of all these numbers."""
    check_number(least=0.0, most=1.0, mass=mass)
    check_whole(least=0, n_draws=n_draws)
    return credible_band(ci_prob, ci_kind)


def sized(visuals: dict[str, dict[str, Any]], sample: Shown) -> dict[str, dict[str, Any]]:
    """Settings with marker sizes scaled by the number of rows."""
    rows = visuals["rows"]
    return {**visuals, "rows": {**rows, "size": rows["size"] * shrinkage(len(sample.X))}}


# ---- components as data for the visuals


def weight_labels(sample: Shown) -> list[str]:
    """Each cluster with the posterior mean of its weight."""
    return [f"{k}  ({weight:.2f})" for k, weight in enumerate(sample.weights)]


def noise_told(sample: Shown) -> list[str]:
    """What rows of noise are drawn as, for a title; nothing without noise."""
    drawn = "" if sample.many else "grey rows are noise, "
    return [f"{drawn}weight of noise {sample.noise_weight:.2f}"] if sample.noise_weight else []


def mean_ellipses(sample: Shown, pair: Sequence[int], mass: float) -> xr.DataArray:
    """Ellipses (cluster, plot_axis, point) of the posterior means."""
    outlines = ellipse_outlines(sample.mean.means, sample.mean.full_covariances, pair, mass)
    return xr.DataArray(outlines, dims=("cluster", "plot_axis", "point"), coords=_cluster_coords(outlines))


def drawn_ellipses(sample: Shown, pair: Sequence[int], mass: float, n_draws: int) -> xr.DataArray:
    """Ellipses (cluster, plot_axis, sample, point) of draws, evenly spaced over all chains."""
    draws = draws_of(sample.tree).thinned(n_draws)
    outlines = ellipse_outlines(draws.means, draws.covariances, pair, mass).transpose(1, 2, 0, 3)
    return xr.DataArray(outlines, dims=("cluster", "plot_axis", "sample", "point"), coords=_cluster_coords(outlines))


def _cluster_coords(values: Array) -> dict[str, Any]:
    return {"cluster": np.arange(len(values)), "plot_axis": ["x", "y"]}


def ellipse_title(mass: float, n_draws: int) -> str:
    """Title of a panel with ellipses."""
    return f"{mass:.0%} ellipses: posterior mean" + (f" (thick), {n_draws} draws (thin)" if n_draws else "")


# ---- a single panel


def _ellipses(view: View, mass: float, canvas: Canvas, settings: dict[str, Any], n_draws: int) -> Pen:
    sample, chosen = view.sample, view.chosen
    x, y = (sample.X[:, j] for j in chosen)
    mean = mean_ellipses(sample, chosen, mass)
    pen = Pen(canvas.open(mean.to_dataset(name="mean")), settings)
    draw_rows(pen, sample, chosen, clustered_rows(x, y, sample.labels, len(mean)))
    pen.draw("draws", many_lines, drawn_ellipses(sample, chosen, mass, n_draws), "marker")
    pen.draw("mean", line_xy, mean, "marker")
    title = view.title(ellipse_title(mass, min(n_draws, sample.n_samples)), *noise_told(sample))
    pen.label(sample.names[chosen[0]], sample.names[chosen[1]], title)
    pen.frame(*(view.limits(j, mass) for j in chosen))
    return pen


def _densities(view: View, band: Band, canvas: Canvas, settings: dict[str, Any]) -> Pen:
    found = curves(view.sample, view.chosen[0], band)
    mean = line_data(found.at, found.components, "cluster")
    bounds = band_data(found.at, found.component_bounds, "cluster")
    title = f"Weighted components: posterior mean and {band.prob:.0%} credible band"
    title = "\n".join([title, *noise_told(view.sample)])
    return draw_curves(view, canvas, settings, mean=mean, bounds=bounds, title=title)
