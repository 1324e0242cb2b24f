"""Drawing on ArviZ's PlotCollection: panels, colours of clusters, visuals."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_plots import PlotCollection
from arviz_plots.plot_collection import backend_from_object
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D

from bayesgmm._common import Array
from bayesgmm.exceptions import InputError
from bayesgmm.plots._style import plain_axes, rounding_unit
from bayesgmm.posterior import CLUSTER
from bayesgmm.style import CLUSTERS, INK, context

type Visuals = Mapping[str, Mapping[str, Any] | bool]

BACKENDS = ("matplotlib", "plotly")
_PANEL = (6.4, 4.4)  # inches
_IN_A_COLUMN = 16  # entries of a legend
_CELLS = 120  # along an axis, of binned rows
_FAINT = 50.0  # times the largest count: the count of a black cell
_OVERLAY = "overlay_cluster"  # an aesthetic of its own makes ArviZ draw clusters one by one
_PANELS = ("part", "row", "column")  # dimensions that figures have panels for
_TEXTS = ("xlabel", "ylabel", "title")
_MARKERS = ("C0", "C2", "C5", "C4")  # ArviZ's names, for every backend; of matplotlib's those with an edge


@dataclass(frozen=True)
class Canvas:
    """Target of a figure: one of an axes, a PlotCollection, or a backend with its settings."""

    ax: Axes | None = None
    plot_collection: PlotCollection | None = None
    backend: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own_figure(self) -> bool:
        """Whether a new figure is made."""
        return self.ax is None and self.plot_collection is None

    def checked(self, known: Sequence[str] = BACKENDS) -> "Canvas":
        """Itself, if the target is consistent and the backend is known and installed."""
        if self.ax is not None and (self.plot_collection is not None or self.backend not in (None, "matplotlib")):
            raise InputError(
                expected="either ax, of matplotlib, or plot_collection, or backend", got="more than one of them"
            )
        if not (self.own_figure or not self.settings):
            raise InputError(
                expected="settings of a PlotCollection with a figure of its own",
                got=f"{', '.join(self.settings)} with a figure given",
            )
        if self.name not in known:
            raise InputError(expected=f"a backend among {', '.join(known)}", got=f"{self.name!r}")
        try:
            import_module(f"arviz_plots.backend.{self.name}")
        except ModuleNotFoundError as error:
            raise InputError(
                expected="a backend that is installed",
                got=f"{self.name!r} without {error.name}",
                hint=f'pip install "arviz-plots[{self.name}]" brings it.',
            ) from error
        return self

    @property
    def name(self) -> str:
        """The backend drawn on."""
        if self.plot_collection is not None:
            return str(self.plot_collection.backend)
        return "matplotlib" if self.ax is not None else str(self.backend or rcParams["plot.backend"])

    def style(self) -> AbstractContextManager[None]:
        """Of figures made here: this package's; axes and collections that are given have the user's."""
        return context() if self.own_figure and self.name == "matplotlib" else nullcontext()

    def open(
        self,
        data: xr.Dataset,
        *,
        cols: Sequence[str] = (),
        rows: Sequence[str] = (),
        size: tuple[float, float] = _PANEL,
        **figure_settings: Any,
    ) -> PlotCollection:
        """The collection to draw on: one panel, or one for each of the coordinates in rows and columns.

        If ``data`` have clusters, these are distinguished by colour and, beyond ten, by marker.
        """
        if self.plot_collection is not None:
            return _with_clusters(self.plot_collection, data)
        settings = {**self.settings, **self._aesthetics(data)}
        if self.ax is not None:
            return PlotCollection(data, _around(self.ax), backend="matplotlib", **settings)
        figure = _figure_settings(self.name, size) | figure_settings | dict(settings.pop("figure_kwargs", {}))
        make = PlotCollection.grid if rows else PlotCollection.wrap
        layout = {"rows": list(rows)} if rows else {}
        return make(data, cols=list(cols), backend=self.name, figure_kwargs=figure, **layout, **settings)

    def _aesthetics(self, data: xr.Dataset) -> dict[str, Any]:
        """The user's aesthetics, completed by ours for clusters."""
        aes = dict(self.settings.get("aes", {}))
        values: dict[str, Any] = {}
        for key, of_clusters in cluster_aesthetics(data.sizes.get(CLUSTER, 0)).items():
            if aes.setdefault(key, [CLUSTER]) == [CLUSTER]:
                values[key] = self.settings.get(key, of_clusters)
        if CLUSTER in data.dims:
            aes[_OVERLAY] = [CLUSTER]
        return {"aes": aes, **values}


def cluster_aesthetics(n_clusters: int) -> dict[str, list[str]]:
    """Colour and, beyond ten clusters, marker of each."""
    if n_clusters == 0:
        return {}
    aesthetics = {"color": [CLUSTERS[k % len(CLUSTERS)] for k in range(n_clusters)]}
    if n_clusters > len(CLUSTERS):
        aesthetics["marker"] = [_MARKERS[k // len(CLUSTERS) % len(_MARKERS)] for k in range(n_clusters)]
    return aesthetics


def _with_clusters(pc: PlotCollection, data: xr.Dataset) -> PlotCollection:
    """The user's collection; clusters get colours if no aesthetic distinguishes them."""
    if CLUSTER not in data.dims:
        return pc
    mapped = {dim for key in pc.aes_set for dim in pc.aes[key].dataset.dims}
    values: dict[str, list[Any]] = {_OVERLAY: list(range(data.sizes[CLUSTER]))}
    if CLUSTER not in mapped:
        ours = cluster_aesthetics(data.sizes[CLUSTER])
        values |= {key: ours[key] for key in ours if key not in pc.aes_set}
    for key, of_clusters in values.items():
        pc.update_aes_from_dataset(key, xr.Dataset({"mapping": (CLUSTER, of_clusters)}, {CLUSTER: data[CLUSTER]}))
    return pc


def _around(ax: Axes) -> xr.DataTree:
    """The ``viz`` tree of a PlotCollection, for one axes."""
    if not isinstance(ax, Axes):
        raise InputError(expected="ax, a matplotlib axes", got=type(ax).__name__, hint="Or pass plot_collection.")
    figure, panel = np.empty((), dtype=object), np.empty((), dtype=object)
    figure[()], panel[()] = ax.get_figure(root=True), ax
    return xr.DataTree(xr.Dataset({"figure": figure, "plot": panel, "row_index": 0, "col_index": 0}))


def _figure_settings(backend: str, size: tuple[float, float]) -> dict[str, Any]:
    if backend == "matplotlib":
        return {"figsize": size, "layout": "constrained"}
    return {"figsize": (100 * size[0], 100 * size[1]), "figsize_units": "dots"}


# ---- settings of visuals


def visual_settings(visuals: Visuals | None, defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Keyword arguments of every visual, the user's over ours; False for those omitted."""
    given = visuals or {}
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise InputError(expected=f"visuals among {', '.join(defaults)}", got=", ".join(unknown))
    return {name: _merged(given.get(name, True), default) for name, default in defaults.items()}


def _merged(given: Mapping[str, Any] | bool, default: Mapping[str, Any]) -> dict[str, Any] | bool:
    if given is False:
        return False
    return dict(default) if given is True else {**default, **given}


# ---- drawing


@dataclass(frozen=True)
class Pen:
    """Draws named visuals on a collection, with the user's settings."""

    pc: PlotCollection
    visuals: Mapping[str, Any]

    def draw(self, name: str, visual: Callable[..., Any], data: xr.DataArray, *ignored: str, **extra: Any) -> None:
        """One visual on every panel; for every cluster too, if the data have clusters."""
        settings = self.visuals[name]
        if settings is False:
            return
        has_clusters = CLUSTER in data.dims
        unused = set(ignored) | {key for key in self.pc.aes_set if not has_clusters and self._of_clusters(key)}
        if self.pc.backend == "matplotlib" and name not in _TEXTS:
            extra["zorder"] = 2  # ArviZ's own for most visuals: later ones lie on top of earlier ones
        ignored_here = self.pc.aes_set & unused
        self.pc.map(
            visual, name, data=self._in_panels(data).rename(name), ignore_aes=ignored_here, **{**extra, **settings}
        )

    def arrange(self, visual: Callable[..., Any], data: xr.DataArray, **settings: Any) -> None:
        """Change every panel by its own data, without drawing."""
        data = self._in_panels(data).rename("arrangement")
        self.pc.map(visual, data=data, store_artist=False, ignore_aes="all", **settings)

    def label(self, x: str | list[str], y: str | list[str], title: str | list[str], **coords: list[str]) -> None:
        """Axis labels and title of a single panel, or of one for each coordinate."""
        for name, text in (("xlabel", x), ("ylabel", y), ("title", title)):
            self.draw(name, _text, xr.DataArray(text, dims=list(coords), coords=coords), kind=name)

    def frame(self, x: tuple[float, float], y: tuple[float, float], **coords: list[str]) -> None:
        """Axis limits of a single panel, or of one for each coordinate."""
        for kind, bounds in (("xlim", x), ("ylim", y)):
            self.arrange(limits, xr.DataArray(list(bounds), dims="bound").expand_dims(coords), kind=kind)

    def _in_panels(self, data: xr.DataArray) -> xr.DataArray:
        """Data with the panels of the collection."""
        missing = [dim for dim in _PANELS if dim in data.dims and dim not in self.pc.facet_dims]
        if any(data.sizes[dim] > 1 for dim in missing):
            raise InputError(
                expected=f"a plot_collection with panels for {' and '.join(missing)}",
                got=f"one with panels for {', '.join(map(str, self.pc.facet_dims)) or 'nothing'}",
            )
        return data.squeeze(missing, drop=True)

    def _of_clusters(self, key: str) -> bool:
        return CLUSTER in self.pc.aes[key].dataset.dims

    def legend(self, canvas: Canvas, labels: Sequence[str], **ours: Any) -> None:
        """Draw the legend of clusters, once: in the axes if given, else outside the panels."""
        settings = self.visuals["legend"]
        of_clusters = [key for key in ("color", "marker") if key in self.pc.aes_set and self._of_clusters(key)]
        if settings is False or "legend" in self.pc.viz.children or not of_clusters:
            return
        style = {"title": "cluster (weight)"} | self._legend_style(len(labels)) | ours | settings
        if canvas.ax is None:
            self.pc.add_legend(CLUSTER, aes=of_clusters, labeller=_Labels(labels), **style)
            return
        mapped = (self.pc.get_aes_kwargs(["color"], "mapping", {CLUSTER: k}) for k in range(len(labels)))
        handles = [
            Line2D([], [], label=label, **style["visual_kwargs"], **m) for label, m in zip(labels, mapped, strict=True)
        ]
        style = style | {"frameon": True, "loc": "best"} | settings
        style.pop("visual_kwargs")
        canvas.ax.legend(handles=handles, **style)

    def _legend_style(self, n: int) -> dict[str, Any]:
        """Lines where the figure has lines of clusters, markers where it has their rows."""
        if self.pc.backend != "matplotlib":
            return {}
        drawn = [name for name in ("mean", "components") if name in self.pc.viz.children]
        line: dict[str, Any] = {"linewidth": 2.0} if drawn else {"linestyle": ""}
        if "rows" in self.pc.viz.children:
            line |= {"marker": "o", "markersize": 5.0}
        return {"alignment": "left", "ncols": 1 + (n - 1) // _IN_A_COLUMN, "visual_kwargs": line}


class _Labels:
    """Labels of clusters for a legend, with ArviZ's interface of a labeller."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = list(labels)

    def sel_to_str(self, sel: Mapping[str, Any], isel: Mapping[str, int]) -> str:
        """The label at a position."""
        return self._labels[int(isel[CLUSTER])]


def finish(pc: PlotCollection) -> None:
    """Apply the axes style of this package to matplotlib panels."""
    if pc.backend != "matplotlib":
        return
    for panel in panels(pc):
        plain_axes(panel)


def panels(pc: PlotCollection) -> list[Any]:
    """Every panel of a collection."""
    plots = pc.viz["plot"]
    arrays = plots.dataset.data_vars.values() if isinstance(plots, xr.DataTree) else [plots]
    return [panel for array in arrays for panel in array.to_numpy().ravel()]


# ---- visuals: functions of data and a panel, as PlotCollection.map calls them


def backend_of(target: Any) -> Any:
    """ArviZ's drawing functions for a panel."""
    return import_module(f"arviz_plots.backend.{backend_from_object(target, return_module=False)}")


def many_lines(da: xr.DataArray, target: Any, **settings: Any) -> Any:
    """Lines (plot_axis, sample, point); translucent one by one in matplotlib."""
    x, y = (da.sel(plot_axis=axis).transpose("sample", "point").to_numpy() for axis in ("x", "y"))
    kept = ~np.isnan(x[:, 0])
    x, y = x[kept], y[kept]
    if isinstance(target, Axes):
        style: dict[str, Any] = {"color": INK, "width": 0.6, "alpha": 0.35} | settings
        lines = LineCollection(
            list(np.stack([x, y], axis=-1)),
            colors=style["color"],
            linewidths=style["width"],
            alpha=style["alpha"],
            zorder=style.get("zorder", 2),
        )
        return target.add_collection(lines, autolim=False)
    gap = np.full((len(x), 1), np.nan)
    return backend_of(target).line(np.hstack([x, gap]).ravel(), np.hstack([y, gap]).ravel(), target, **settings)


def points(da: xr.DataArray, target: Any, **settings: Any) -> Any:
    """Points (plot_axis, obs), NaN for those of other panels or clusters. ``size`` may be an axis."""
    values = da.transpose("plot_axis", "obs").to_numpy()
    values = values[:, ~np.isnan(values).any(axis=0)]
    axes = dict(zip(da["plot_axis"].to_numpy().tolist(), values, strict=True))
    if "size" in axes:
        settings["size"] = axes["size"]
    return backend_of(target).scatter(axes["x"], axes["y"], target, **settings)


def cells_of(x: Array, y: Array) -> xr.DataArray:
    """Rows counted in cells: the cells' centres and counts (plot_axis, cell_x, cell_y), as many for any rows."""
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    edges = [_cell_edges(values) for values in (x, y)]
    counts = np.histogram2d(x, y, bins=edges)[0]
    centres = np.meshgrid(*((each[1:] + each[:-1]) / 2 for each in edges), indexing="ij")
    return xr.DataArray(
        np.stack([*centres, counts]), dims=("plot_axis", "cell_x", "cell_y"), coords={"plot_axis": ["x", "y", "count"]}
    )


def _cell_edges(x: Array) -> Array:
    """Edges of cells over all values; of rounded ones, cells hold the same number of different values each."""
    unit = rounding_unit(x)
    if not unit:
        return np.histogram_bin_edges(x, bins=_CELLS)
    per_cell = -(-(int(np.round(np.ptp(x) / unit)) + 1) // _CELLS)
    edges: Array = x.min() + unit * (per_cell * np.arange(_CELLS + 1) - 0.5)
    return edges


def cells(da: xr.DataArray, target: Any, *, cmap: str, **settings: Any) -> Any:
    """Cells (plot_axis, cell_x, cell_y) coloured by the logarithm of their counts; empty ones are not drawn."""
    x, y, counts = (da.sel(plot_axis=name).transpose("cell_x", "cell_y").to_numpy() for name in ("x", "y", "count"))
    if np.isnan(counts).all():
        return None
    if isinstance(target, Axes):
        norm = LogNorm(0.3, _FAINT * counts.max())  # one row is visible, and lines over many are too
        filled = np.ma.masked_equal(counts, 0.0)
        return target.pcolormesh(x, y, filled, cmap=cmap, norm=norm, shading="nearest", rasterized=True, **settings)
    target.add_heatmap(x=x[:, 0], y=y[0], z=np.log10(np.where(counts > 0, counts, np.nan)).T, colorscale=cmap)
    return target.figure.data[-1]


def contours(da: xr.DataArray, target: Any, levels: Array, *, kind: str, **settings: Any) -> Any:
    """Lines (``contour``) or regions (``contourf``) between levels of a density (x, y), as one object."""
    x, y, values = da["x"].to_numpy(), da["y"].to_numpy(), da.transpose("x", "y").to_numpy()
    drawn = np.empty((), dtype=object)
    drawn[()] = getattr(backend_of(target), kind)(x, y, values, target, levels=levels, **settings)
    return drawn


def _text(da: xr.DataArray, target: Any, *, kind: str, **settings: Any) -> Any:
    """Axis label or title () of a panel."""
    text = str(da.item())
    return getattr(backend_of(target), kind)(text if isinstance(target, Axes) else html_lines(text), target, **settings)


def html_lines(text: str) -> str:
    """Text with line breaks as Plotly has them."""
    return text.replace("\n", "<br>")


def limits(da: xr.DataArray, target: Any, *, kind: str) -> Any:
    """Limits (bound,) of an axis, ``xlim`` or ``ylim``."""
    return getattr(backend_of(target), kind)(tuple(da.to_numpy().tolist()), target)
