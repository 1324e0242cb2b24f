"""Clusters by EM and by NUTS in one figure, built without pyplot and its global state."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_stats.base import array_stats
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import norm

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.plots._docs import documented
from bayesgmm.plots._style import (
    COLOURS,
    GREY,
    INK,
    ClusterFigure,
    ellipse_outlines,
    limits_of,
    n_bins,
    plain_axes,
    positions_of,
    shrinkage,
    thinned_rows,
)
from bayesgmm.posterior import data_of, draws_of, mean_mixture, start_mixture
from bayesgmm.prediction import mean_memberships
from bayesgmm.validation import check_number, check_whole

_MARKERS = "osD^vP"  # one more for every ten components
_MOST_EVALUATIONS = 4_000_000
_SMALLEST, _LARGEST = 14.0, 90.0  # area of a marker, in square points, at no and at full uncertainty
_TALLEST = 1.8  # height of a density panel, as a multiple of the band
_HEADING = "heading"


@dataclass(frozen=True)
class _Scene:
    """Input of every panel: rows, their labels and uncertainty, and the mixtures."""

    X: Array  # (obs, feature)
    labels: IntArray  # (obs,)
    uncertainty: Array  # (obs,), 1 - the largest mean membership probability
    names: list[str]
    em: Mixture
    mean: Mixture
    draws: Draws  # the draws shown
    all_draws: Draws
    mass: float

    @property
    def n_components(self) -> int:
        return self.em.n_components


# ---- public function


@documented
def plot_clusters(
    fit: Any,
    X: Any = None,
    *,
    em: Any = None,
    features: Sequence[str | int] | None = None,
    n_draws: int = 30,
    mass: float = 0.9,
    ax: Axes | None = None,
) -> Figure:
    r"""Data, clusters by EM and by NUTS, and the uncertainty of each row's assignment.

    Two features: a scatter plot with, for each component, the ellipse of probability content ``mass`` (radius
    :math:`\sqrt{\chi^2_2(mass)}`): EM dashed, posterior mean solid, ``n_draws`` posterior draws thin. One
    feature: histogram, posterior density with its credible band, EM's density dashed. More: a pairs plot of both.
    Colour shows the most probable component, marker size the uncertainty :math:`1 - \max_k P(z_i = k)`.

    Parameters
    ----------
    fit : BayesianGaussianMixture or DataTree
        A fitted estimator, or its ``posterior_``.
    X : dataframe or array, (obs, feature), optional
        Rows to show; by default those stored with the fit. At most 5,000 are drawn, evenly spaced.
    em : GaussianMixture or Mixture, optional
        The EM solution to show; by default the one that started the chains.
    features : sequence of names or positions, optional
        By default the first five.
    {n_draws} {mass} {ax}
        Only for one or two features.

    Returns
    -------
    matplotlib.figure.Figure
        Independent of pyplot; ``figure.savefig(path)`` writes it. The probability of the credible band is ArviZ's
        rcParam ``stats.ci_prob`` (0.89).

    Raises
    ------
    InputError
        Unknown features, ``ax`` given for more than two, or numbers out of range.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture
    >>> from bayesgmm.datasets import load_old_faithful
    >>> from bayesgmm.plots import plot_clusters
    >>> model = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> figure = plot_clusters(model)
    >>> figure.axes[0].get_xlabel()
    'eruptions'
    """
    check_number(least=0.0, most=1.0, mass=mass)
    check_whole(least=0, n_draws=n_draws)
    tree = getattr(fit, "posterior_", fit)
    if not isinstance(tree, xr.DataTree) or "observed_data" not in tree.children:
        raise InputError(expected="a fitted BayesianGaussianMixture, or its posterior_", got=type(fit).__name__)
    shown = positions_of(features, [str(name) for name in tree["observed_data"]["feature"].to_numpy()])
    if ax is not None and len(shown) > 2:
        raise InputError(
            expected="one or two features with ax", got=f"{len(shown)}", hint="Name them: features=['a', 'b']."
        )
    rows = data_of(tree, X).rows
    mixture = start_mixture(tree) if em is None else getattr(em, "mixture_", em)
    if not isinstance(mixture, Mixture):
        raise InputError(expected="em a fitted GaussianMixture or a Mixture", got=type(em).__name__)
    scene = _scene(tree, rows, mixture, n_draws=n_draws, mass=mass)
    if len(shown) > 2:
        return _pairs_figure(scene, shown)
    return _single_figure(scene, shown, ax)


def _scene(tree: xr.DataTree, rows: Array, em: Mixture, *, n_draws: int, mass: float) -> _Scene:
    """Labels, uncertainty and draws, computed once for all panels."""
    X = thinned_rows(rows)
    draws = draws_of(tree)
    members = mean_memberships(draws.thinned(_MOST_EVALUATIONS // len(X)), Data(X))
    return _Scene(
        X=X,
        labels=members.argmax(axis=1),
        uncertainty=1.0 - members.max(axis=1),
        names=[str(name) for name in tree["observed_data"]["feature"].to_numpy()],
        em=em,
        mean=mean_mixture(tree),
        draws=draws.thinned(n_draws),
        all_draws=draws,
        mass=mass,
    )


# ---- figures


def _single_figure(scene: _Scene, shown: Sequence[int], ax: Axes | None) -> Figure:
    """One or two features in a single panel."""
    if ax is None:
        figure: Figure = ClusterFigure(figsize=(7.2, 4.6), layout="constrained")
        panel = figure.add_subplot()
    else:
        found = ax.get_figure(root=True)
        figure, panel = found, ax  # type: ignore[assignment]
    _draw_panel(panel, scene, shown)
    handles = _legend_handles(scene, ellipses=len(shown) == 2, density=len(shown) == 1)
    if ax is None:
        legend = figure.legend(handles=handles, loc="outside right upper", **_LEGEND)
    else:
        legend = panel.legend(handles=handles, loc="best", fontsize=7, framealpha=0.85)
    _embolden(legend, handles)
    return figure


def _pairs_figure(scene: _Scene, shown: Sequence[int]) -> Figure:
    """Pairs below the diagonal, single features on it, the legend in the empty corner."""
    n = len(shown)
    side = max(1.7, 7.6 / n)
    figure = ClusterFigure(figsize=(side * n + 0.6, side * n + 0.4), layout="constrained")
    grid = figure.subplots(n, n, squeeze=False)
    for i, row in enumerate(shown):
        for j, column in enumerate(shown):
            panel = grid[i, j]
            if j > i:
                panel.set_axis_off()
                continue
            _draw_panel(panel, scene, [row] if i == j else [column, row], compact=True)
            _keep_outer_labels(panel, last_row=i == n - 1, first_column=j == 0 and i > 0)
    figure.align_labels()
    handles = _legend_handles(scene, ellipses=True, density=True)
    legend = figure.legend(handles=handles, loc="upper right", ncols=1 + (scene.n_components > 4), **_LEGEND)
    legend.set_in_layout(False)
    _embolden(legend, handles)
    return figure


_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8.5, "alignment": "left", "handlelength": 2.2}


def _keep_outer_labels(panel: Axes, *, last_row: bool, first_column: bool) -> None:
    panel.tick_params(labelbottom=last_row, labelleft=first_column)
    panel.set_xlabel(panel.get_xlabel() if last_row else "")
    panel.set_ylabel(panel.get_ylabel() if first_column else "")


def _draw_panel(panel: Axes, scene: _Scene, shown: Sequence[int], *, compact: bool = False) -> None:
    if len(shown) == 1:
        _draw_density(panel, scene, shown[0], compact=compact)
    else:
        _draw_pair(panel, scene, shown[0], shown[1], compact=compact)
    panel.set_axisbelow(True)
    plain_axes(panel)
    if compact:
        panel.tick_params(labelsize=7.5)
        panel.locator_params(nbins=4)


# ---- two features


def _draw_pair(panel: Axes, scene: _Scene, i: int, j: int, *, compact: bool) -> None:
    """Rows and ellipses of features i (across) and j (up)."""
    _draw_rows(panel, scene, scene.X[:, i], scene.X[:, j], compact=compact)
    draws = ellipse_outlines(scene.draws.means, scene.draws.covariances, (i, j), scene.mass)
    mean, em = (ellipse_outlines(m.means, m.full_covariances, (i, j), scene.mass) for m in (scene.mean, scene.em))
    for k in range(scene.n_components):
        lines = list(draws[:, k].transpose(0, 2, 1))
        spread = LineCollection(lines, colors=_colour(k), linewidths=0.6, alpha=0.35, zorder=3, gid=f"draws {k}")
        panel.add_collection(spread, autolim=False)
        panel.plot(*mean[k], **_mean_style(k, compact))
        panel.plot(*em[k], **_EM_STYLE)
    panel.set_xlim(*limits_of(scene.X[:, i]))
    panel.set_ylim(*limits_of(scene.X[:, j]))
    panel.set_xlabel(_wrapped(scene.names[i], compact))
    panel.set_ylabel(_wrapped(scene.names[j], compact))


def _draw_rows(panel: Axes, scene: _Scene, x: Array, y: Array, *, compact: bool) -> None:
    """Rows by label; the uncertain ones larger and on top."""
    shrink = (0.45 if compact else 1.0) * shrinkage(len(x))
    for k in range(scene.n_components):
        mine = np.flatnonzero(scene.labels == k)
        mine = mine[np.argsort(scene.uncertainty[mine])]
        panel.scatter(
            x[mine],
            y[mine],
            s=shrink * marker_area(scene.uncertainty[mine]),
            color=_colour(k),
            marker=_marker(k),
            alpha=0.65,
            linewidths=0.3,
            edgecolors="white",
            zorder=2,
            gid=f"rows {k}",
            rasterized=len(scene.X) > 2_000,
        )


def marker_area(uncertainty: Array) -> Array:
    """Area of a marker by its uncertainty, constant from 0.5 on."""
    return _SMALLEST + (_LARGEST - _SMALLEST) * np.minimum(uncertainty / 0.5, 1.0)


# ---- one feature


def _draw_density(panel: Axes, scene: _Scene, j: int, *, compact: bool) -> None:
    """Histogram, posterior density with band, components, EM's density; rows as a strip below."""
    x = scene.X[:, j]
    panel.hist(x, bins=n_bins(x), density=True, color=GREY, edgecolor="white", linewidth=0.5, zorder=1)
    at = np.linspace(*limits_of(x), 201 if compact else 401)
    band = scene.all_draws.thinned(200 if compact else 1_000)
    spread = _sd(band, j)
    components = band.weights[:, :, None] * norm.pdf(at, band.means[:, :, j, None], spread[:, :, None])
    density = components.sum(axis=1)
    lower, upper = array_stats.eti(density.T, rcParams["stats.ci_prob"]).T
    panel.fill_between(at, lower, upper, color=INK, alpha=0.2, linewidth=0, zorder=3, gid="band")
    panel.plot(at, density.mean(axis=0), color=INK, linewidth=1.4, zorder=4, gid="density")
    for k, curve in enumerate(components.mean(axis=0)):
        panel.plot(at, curve, color=_colour(k), linewidth=1.4, zorder=4, gid=f"component {k}")
    panel.plot(at, _marginal_density(scene.em, j, at), **_EM_STYLE)
    top = min(panel.get_ylim()[1], _TALLEST * float(upper.max()))  # a degenerate component of EM's may exceed the panel
    _draw_rows(panel, scene, x, np.full(len(x), -0.05 * top), compact=True)
    panel.axhline(0.0, color=INK, linewidth=0.6)
    panel.set_xlim(*limits_of(x))
    panel.set_ylim(-0.1 * top, top)
    panel.set_xlabel(_wrapped(scene.names[j], compact))
    panel.set_ylabel("density")
    if compact:
        panel.yaxis.set_visible(False)
        panel.spines["left"].set_visible(False)


def _sd(draws: Draws, j: int) -> Array:
    """Standard deviation of feature j in every draw and component, (sample, cluster)."""
    return np.sqrt(draws.variances[:, :, j])


def _marginal_density(mixture: Mixture, j: int, at: Array) -> Array:
    sd = np.sqrt(mixture.full_covariances[:, j, j])
    density: Array = mixture.weights @ norm.pdf(at, mixture.means[:, j, None], sd[:, None])
    return density


# ---- styles


_EM_STYLE: dict[str, Any] = {"color": INK, "linewidth": 1.3, "linestyle": (0, (4, 2.5)), "zorder": 5, "gid": "em"}


def _mean_style(k: int, compact: bool) -> dict[str, Any]:
    return {"color": _colour(k), "linewidth": 1.5 if compact else 2.0, "zorder": 4, "gid": f"mean {k}"}


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _marker(k: int) -> str:
    return _MARKERS[k // len(COLOURS) % len(_MARKERS)]


def _wrapped(name: str, compact: bool) -> str:
    return "\n".join(textwrap.wrap(name, 20 if compact else 48)[:2])


def _legend_handles(scene: _Scene, *, ellipses: bool, density: bool) -> list[Any]:
    """Clusters, line styles and marker sizes, in three groups with headings."""
    grey = "#777777"
    handles: list[Any] = [_heading("cluster (weight)")]
    for k, weight in enumerate(scene.mean.weights):
        style = {"color": _colour(k), "marker": _marker(k), "linewidth": 2.0, "markersize": 5}
        handles.append(_entry(f"{k}  ({weight:.2f})", **style))
    handles.append(_heading(f"\n{scene.mass:.0%} ellipses" if ellipses else "\ndensity"))
    if ellipses:
        handles.append(_entry("posterior mean", color=grey, linewidth=2.0))
        handles.append(_entry("posterior draws", color=grey, linewidth=0.6))
    if density:
        handles.append(_entry("posterior density" if ellipses else "posterior", color=INK, linewidth=1.4))
        handles.append(Patch(color=INK, alpha=0.2, linewidth=0, label=f"{rcParams['stats.ci_prob']:.0%} band"))
    handles += [_entry("EM", **{**_EM_STYLE, "gid": None}), _heading("\nassignment uncertainty")]
    for value in (0.0, 0.25, 0.5):
        size = float(np.sqrt(marker_area(np.array([value]))[0]))
        dot = {"color": grey, "marker": "o", "linestyle": "", "markersize": size, "markeredgecolor": "white"}
        handles.append(_entry(f"{value:g}", **dot))
    return handles


def _entry(label: str, **style: Any) -> Line2D:
    return Line2D([], [], label=label, **style)


def _heading(text: str) -> Line2D:
    return _entry(text, linestyle="", gid=_HEADING)


def _embolden(legend: Legend, handles: Sequence[Artist]) -> None:
    """Headings in bold."""
    for handle, text in zip(handles, legend.get_texts(), strict=True):
        if handle.get_gid() == _HEADING:
            text.set_fontweight("bold")
