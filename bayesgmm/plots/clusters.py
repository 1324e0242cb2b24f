"""Clusters by EM and of the posterior in one figure, built without pyplot and its global state."""

import textwrap
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from arviz_base import rcParams
from arviz_stats.base import array_stats
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike
from scipy.stats import norm

from bayesgmm._common import Array
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.noise import noise_of
from bayesgmm.plots._canvas import cells, cells_of
from bayesgmm.plots._data import Shown, noise_densities, shown
from bayesgmm.plots._docs import documented
from bayesgmm.plots._features import Features, View, view_of
from bayesgmm.plots._style import (
    MOST_FEATURES,
    ClusterFigure,
    bin_edges,
    ellipse_outlines,
    observed,
    plain_axes,
    shrinkage,
)
from bayesgmm.posterior import NO_NAMES, Names, Posterior, draws_of, start_mixture
from bayesgmm.style import CLUSTERS, DATA, EM, GREY, INK, MARKERS, POSTERIOR, context
from bayesgmm.validation import check_number, check_whole

_SMALLEST, _LARGEST = 14.0, 90.0  # area of a marker, in square points, at no and at full uncertainty
_TALLEST = 1.8  # height of a density panel, as a multiple of the band
_HEADING = "heading"
_IN_A_COLUMN = 12  # clusters in a legend
_NOT_IDENTIFIED = "The components are not identified: means over draws mix several of them."


@dataclass(frozen=True)
class _Scene:
    """Input of every panel: draws and rows in the features shown, and EM's mixture, if there is one."""

    view: View
    em: Mixture | None
    n_draws: int
    mass: float

    @property
    def sample(self) -> Shown:
        return self.view.sample

    @property
    def names(self) -> list[str]:
        return self.sample.names

    @cached_property
    def uncertainty(self) -> Array:
        """1 - the largest mean membership probability of each row."""
        return 1.0 - self.sample.memberships.max(axis=1)

    @cached_property
    def draws(self) -> Draws:
        """Those shown as ellipses."""
        return draws_of(self.sample.tree).thinned(self.n_draws)


# ---- public function


@documented
def plot_clusters(
    fit: Posterior,
    X: ArrayLike | None = None,
    *,
    em: Any = None,
    names: Names = NO_NAMES,
    features: Features = None,
    num_samples: int = 400,
    n_draws: int = 30,
    mass: float = 0.9,
    ax: Axes | None = None,
) -> Figure:
    r"""Data, clusters by EM and of the posterior, and the uncertainty of each row's assignment.

    Two features: a scatter plot with, for each component, the ellipse of probability content ``mass`` (radius
    :math:`\sqrt{\chi^2_2(mass)}`): EM dashed, posterior mean solid, ``n_draws`` posterior draws thin. One
    feature: histogram, posterior density with its credible band, EM's density dashed. More: a pairs plot of both.
    Colour shows the most probable component (noise is grey), marker size the uncertainty
    :math:`1 - \max_k P(z_i = k)`. If the components are not identified, the title says so.

    Parameters
    ----------
    fit : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        Draws from this package, PyMC, NumPyro or Stan; see `bayesgmm.posterior.mixture_posterior`. They are relabelled
        first by `bayesgmm.relabel`, unless that was done before.
    {X}
        More than 5,000 are binned.
    em : GaussianMixture or Mixture, optional
        The EM solution to show; by default the one that started the chains of a fit of this package.
    {names}
    features : sequence of names or positions, or "discriminant", optional
        By default all; of more than five, those that separate the components best, the best one first. "discriminant":
        linear combinations of all features, see `plot_components`. The title says what is not shown.
    {num_samples} {n_draws} {mass} {ax}
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
    sample = shown(fit, X, names=names, num_samples=num_samples, force=True)
    view = view_of(sample, features, MOST_FEATURES if features is None else len(sample.names))
    if ax is not None and len(view.chosen) > 2:
        raise InputError(
            expected="one or two features with ax", got=f"{len(view.chosen)}", hint="Name them: features=['a', 'b']."
        )
    scene = _Scene(view, _em_mixture(em, view), n_draws, mass)
    if len(view.chosen) > 2:
        with context():
            return _pairs_figure(scene)
    with context() if ax is None else nullcontext():
        return _single_figure(scene, ax)


def _em_mixture(em: Any, view: View) -> Mixture | None:
    """The EM solution given, or the one stored with a fit of this package; in the features shown."""
    tree = view.whole.tree
    stored = "constant_data" in tree.children and "em_weights" in tree["constant_data"]
    mixture = getattr(em, "mixture_", em) if em is not None else start_mixture(tree) if stored else None
    if mixture is None:
        return None
    if not isinstance(mixture, Mixture) or mixture.means.shape[1] != len(view.whole.names):
        raise InputError(
            expected=f"em a fitted GaussianMixture or a Mixture, of {len(view.whole.names)} features",
            got=type(em).__name__,
        )
    return view.projected(mixture)


# ---- figures


def _single_figure(scene: _Scene, ax: Axes | None) -> Figure:
    """One or two features in a single panel."""
    shown = scene.view.chosen
    if ax is None:
        figure: Figure = ClusterFigure(figsize=(7.2, 4.6), layout="constrained")
        panel = figure.add_subplot()
    else:
        found = ax.get_figure(root=True)
        figure, panel = found, ax  # type: ignore[assignment]
    _draw_panel(panel, scene, shown)
    panel.set_title(_title(scene))
    handles = _legend_handles(scene, ellipses=len(shown) == 2, density=len(shown) == 1)
    if ax is None:
        legend = figure.legend(handles=handles, loc="outside right upper", ncols=_columns(scene), **_LEGEND)
    else:
        legend = panel.legend(handles=handles, loc="best", frameon=True, framealpha=0.85)
    _embolden(legend, handles)
    return figure


def _title(scene: _Scene, **settings: Any) -> str:
    """What is not shown, and whether the components can be told apart."""
    return scene.view.title(*([] if scene.view.whole.identified else [_NOT_IDENTIFIED]), **settings)


def _columns(scene: _Scene) -> int:
    """Of a legend."""
    return 1 + (scene.sample.n_clusters > _IN_A_COLUMN)


def _pairs_figure(scene: _Scene) -> Figure:
    """Pairs below the diagonal, single features on it, the legend in the empty corner if it fits there."""
    shown = scene.view.chosen
    n = len(shown)
    side = max(1.4, 6.9 / n)
    figure = ClusterFigure(figsize=(side * n + 0.4, side * n + 0.4), layout="constrained")
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
    title = _title(scene, width=90)
    if title:
        figure.suptitle(title)
    handles = _legend_handles(scene, ellipses=True, density=True)
    fits = n > 4 or scene.sample.n_clusters <= 4
    top = 1.0 - 0.17 * (title.count("\n") + 1.5 if title else 0.0) / figure.get_size_inches()[1]
    corner = {"loc": "upper right", "bbox_to_anchor": (1.0, top), "ncols": 1 + (scene.sample.n_clusters > 4)}
    place: dict[str, Any] = corner if fits else {"loc": "outside right upper", "ncols": _columns(scene)}
    legend = figure.legend(handles=handles, **place, **_LEGEND)
    legend.set_in_layout(not fits)
    _embolden(legend, handles)
    return figure


_LEGEND: dict[str, Any] = {"alignment": "left", "handlelength": 2.2}


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
        panel.locator_params(nbins=4)


# ---- two features


def _draw_pair(panel: Axes, scene: _Scene, i: int, j: int, *, compact: bool) -> None:
    """Rows and ellipses of features i (across) and j (up)."""
    sample = scene.sample
    if sample.many:
        cells(cells_of(sample.rows[:, i], sample.rows[:, j]), panel, cmap="Greys", zorder=1)
    else:
        _draw_rows(panel, scene, sample.X[:, i], sample.X[:, j], compact=compact)
    draws = ellipse_outlines(scene.draws.means, scene.draws.covariances, (i, j), scene.mass)
    mean = _ellipses(sample.mean, (i, j), scene.mass)
    for k in range(sample.n_clusters):
        lines = list(draws[:, k].transpose(0, 2, 1))
        spread = LineCollection(lines, colors=_colour(k), linewidths=0.6, alpha=0.35, zorder=3, gid=f"draws {k}")
        panel.add_collection(spread, autolim=False)
        panel.plot(*mean[k], **_mean_style(k, compact))
    for outline in _ellipses(scene.em, (i, j), scene.mass) if scene.em else ():
        panel.plot(*outline, **_EM_STYLE)
    panel.set_xlim(*scene.view.limits(i, scene.mass))
    panel.set_ylim(*scene.view.limits(j, scene.mass))
    panel.set_xlabel(_wrapped(scene.names[i], compact))
    panel.set_ylabel(_wrapped(scene.names[j], compact))


def _ellipses(mixture: Mixture, pair: Sequence[int], mass: float) -> Array:
    """Outlines (cluster, 2, point)."""
    return ellipse_outlines(mixture.means, mixture.full_covariances, pair, mass)


def _draw_rows(panel: Axes, scene: _Scene, x: Array, y: Array, *, compact: bool) -> None:
    """Rows by label, those of noise below; the uncertain ones larger and on top."""
    shrink = (0.45 if compact else 1.0) * shrinkage(len(x))
    for k in range(-1 if scene.sample.noise_weight else 0, scene.sample.n_clusters):
        mine = np.flatnonzero(scene.sample.labels == k)
        mine = mine[np.argsort(scene.uncertainty[mine])]
        panel.scatter(
            x[mine],
            y[mine],
            s=shrink * marker_area(scene.uncertainty[mine]),
            color=_colour(k),
            marker=_marker(k),
            alpha=0.65,
            **(_OF_NOISE if k < 0 else _OF_CLUSTERS),
            zorder=2,
            gid=f"rows {k}",
            rasterized=len(x) > 2_000,
        )


_OF_CLUSTERS: dict[str, Any] = {"linewidths": 0.3, "edgecolors": "white"}
_OF_NOISE: dict[str, Any] = {"linewidths": 0.8}


def marker_area(uncertainty: Array) -> Array:
    """Area of a marker by its uncertainty, constant from 0.5 on."""
    return _SMALLEST + (_LARGEST - _SMALLEST) * np.minimum(uncertainty / 0.5, 1.0)


# ---- one feature


def _draw_density(panel: Axes, scene: _Scene, j: int, *, compact: bool) -> None:
    """Histogram, posterior density with band, components, EM's density; rows as a strip below."""
    x, limits = observed(scene.sample.rows[:, j]), scene.view.limits(j, scene.mass)
    panel.hist(x, bins=bin_edges(x).tolist(), density=True, color=GREY, edgecolor="white", linewidth=0.5, zorder=1)
    at = np.linspace(*limits, 201 if compact else 401)
    band = draws_of(scene.sample.tree).thinned(200 if compact else 1_000)
    spread = _sd(band, j)
    components = band.weights[:, :, None] * norm.pdf(at, band.means[:, :, j, None], spread[:, :, None])
    density = components.sum(axis=1) + noise_densities(band, [j], at[:, None])
    lower, upper = array_stats.eti(density.T, rcParams["stats.ci_prob"]).T
    panel.fill_between(at, lower, upper, color=POSTERIOR, alpha=0.3, linewidth=0, zorder=3, gid="band")
    panel.plot(at, density.mean(axis=0), color=POSTERIOR, linewidth=2.0, zorder=4, gid="density")
    for k, curve in enumerate(components.mean(axis=0)):
        panel.plot(at, curve, color=_colour(k), linewidth=1.2, zorder=4, gid=f"component {k}")
    if scene.em:
        panel.plot(at, _marginal_density(scene.em, j, at), **_EM_STYLE)
    top = min(panel.get_ylim()[1], _TALLEST * float(upper.max()))  # a degenerate component of EM's may exceed the panel
    if not scene.sample.many:
        _draw_rows(panel, scene, scene.sample.X[:, j], np.full(len(scene.sample.X), -0.05 * top), compact=True)
    panel.axhline(0.0, color=INK, linewidth=0.6)
    panel.set_xlim(*limits)
    panel.set_ylim(0.0 if scene.sample.many else -0.1 * top, top)
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
    noise, weight = noise_of(mixture)
    return density if noise is None else density + weight * noise.density_of([j], at[:, None])


# ---- styles


_EM_STYLE: dict[str, Any] = {"color": EM, "linewidth": 1.3, "linestyle": (0, (4, 2.5)), "zorder": 5, "gid": "em"}


def _mean_style(k: int, compact: bool) -> dict[str, Any]:
    return {"color": _colour(k), "linewidth": 1.5 if compact else 2.0, "zorder": 4, "gid": f"mean {k}"}


def _colour(k: int) -> str:
    """Of a cluster, or -1 for noise."""
    return DATA if k < 0 else CLUSTERS[k % len(CLUSTERS)]


def _marker(k: int) -> str:
    return "x" if k < 0 else MARKERS[k // len(CLUSTERS) % len(MARKERS)]


def _wrapped(name: str, compact: bool) -> str:
    return "\n".join(textwrap.wrap(name, 15 if compact else 48)[:2])


def _legend_handles(scene: _Scene, *, ellipses: bool, density: bool) -> list[Any]:
    """Clusters, line styles and marker sizes, in three groups with headings."""
    handles: list[Any] = [_heading("cluster (weight)")]
    for k, weight in enumerate(scene.sample.weights):
        style = {"color": _colour(k), "marker": _marker(k), "linewidth": 2.0, "markersize": 5}
        handles.append(_entry(f"{k}  ({weight:.2f})", **style))
    if scene.sample.noise_weight:
        style = {"color": _colour(-1), "marker": _marker(-1), "linestyle": "", "markersize": 5}
        handles.append(_entry(f"noise  ({scene.sample.noise_weight:.2f})", **style))
    handles.append(_heading(f"\n{scene.mass:.0%} ellipses" if ellipses else "\ndensity"))
    if ellipses:
        handles.append(_entry("posterior mean", color=DATA, linewidth=2.0))
        handles.append(_entry("posterior draws", color=DATA, linewidth=0.6))
    if density:
        handles.append(_entry("posterior density" if ellipses else "posterior", color=POSTERIOR, linewidth=2.0))
        handles.append(Patch(color=POSTERIOR, alpha=0.3, linewidth=0, label=f"{rcParams['stats.ci_prob']:.0%} band"))
        handles.append(Patch(color=GREY, linewidth=0, label="histogram"))
    if scene.em:
        handles.append(_entry("EM", **{**_EM_STYLE, "gid": None}))
    return handles if scene.sample.many else handles + _size_handles()


def _size_handles() -> list[Any]:
    """Marker sizes, with a heading."""
    handles = [_heading("\nassignment uncertainty")]
    for value in (0.0, 0.25, 0.5):
        size = float(np.sqrt(marker_area(np.array([value]))[0]))
        dot = {"color": DATA, "marker": "o", "linestyle": "", "markersize": size, "markeredgecolor": "white"}
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
