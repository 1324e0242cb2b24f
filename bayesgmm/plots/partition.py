"""Plots of the partition: posterior similarity matrix and membership uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import ArrayLike

from bayesgmm._common import Array, IntArray
from bayesgmm.exceptions import InputError
from bayesgmm.partitions import (
    PartitionEstimate,
    RandomState,
    are_labels,
    canonical_labels,
    estimate_partition,
    flat_draws,
    label_draws,
    membership_uncertainty,
    similarity_matrix,
)
from bayesgmm.plots._canvas import (
    Canvas,
    Pen,
    Visuals,
    cluster_aesthetics,
    finish,
    html_lines,
    many_lines,
    points,
    visual_settings,
)
from bayesgmm.plots._data import Shown, shown, thinned_tree
from bayesgmm.plots._docs import documented
from bayesgmm.plots._features import Features, View, view_of
from bayesgmm.plots._style import evenly_spaced, limits_of, shrinkage
from bayesgmm.plots.components import WITH_LEGEND, noise_told, weight_labels
from bayesgmm.plots.density import LABELS, clustered_rows, draw_noise
from bayesgmm.posterior import NO_NAMES, OBS, Names, Posterior, data_of, mixture_posterior
from bayesgmm.style import DATA, INK
from bayesgmm.validation import check_whole, generator_of, texts

_DRAWS_OF_LABELS = 1_000
_GAP = 0.01  # between a similarity matrix and its bars, in its size
_MOST_NAMED = 20  # clusters in a legend
_SMALLEST, _LARGEST = 10.0, 220.0  # area of a marker, in square points, for a label that is certain, and for log K
_SIMILARITY: dict[str, dict[str, Any]] = {
    "image": {"cmap": "Blues"},
    "borders": {"color": INK, "width": 0.8, "alpha": 1.0},
    "bars": {"width": 0.03},  # of the matrix
    "colorbar": {},
    "legend": {},
    **LABELS,
}
_WIDTH, _LETTERS = 6.0, 66  # inches of all parts, letters in a line of the title
_PARTS = ("total", "overlap", "parameters")
_UNCERTAINTY: dict[str, dict[str, Any]] = {
    "rows": {"alpha": 0.65, "edgecolor": "white", "width": 0.3},
    "interval": {"width": 0.8, "alpha": 0.45},
    "sizes": {},
    **WITH_LEGEND,
}


# ---- similarity


@documented
def plot_similarity(
    labels_or_posterior: Posterior | ArrayLike,
    X: ArrayLike | None = None,
    *,
    names: Names = NO_NAMES,
    partition: PartitionEstimate | ArrayLike | None = None,
    max_rows: int = 1_000,
    num_samples: int = _DRAWS_OF_LABELS,
    random_state: RandomState = 0,
    ax: Axes | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    visuals: Visuals | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    r"""Posterior similarity matrix: co-clustering probabilities of all pairs of rows, ordered by a partition.

    The largest cluster comes first, then repeatedly the one most similar to the one before; within a cluster, rows are
    ordered by their mean similarity to it. Squares and bars at the edges mark the clusters, which have the numbers of
    the partition; these are not the numbers of components. Noise is grey. Invariant under label switching.

    Parameters
    ----------
    labels_or_posterior : posterior, or array of int (draw, obs) or (chain, draw, obs)
        See `bayesgmm.similarity_matrix`.
    {X} {names}
    partition : PartitionEstimate or (obs,) of int, optional
        Clusters of all rows; by default `bayesgmm.estimate_partition` of the rows shown.
    max_rows : int
        If there are more rows, a random sample of this size is shown.
    {num_samples}
    random_state : int or Generator, optional
        For the sample of rows and the search for the partition.
    {ax} {plot_collection} {backend} {visuals}
        ``image``, ``borders``, ``bars``, ``colorbar``, ``legend``, ``xlabel``, ``ylabel``, ``title``.
    {pc_kwargs}

    {returns}

    Raises
    ------
    InputError
        The partition is not one of the rows, or unknown visuals or backend, or numbers out of range.

    Examples
    --------
    >>> from bayesgmm import plot_similarity
    >>> collection = plot_similarity([[0, 1, 0, 1, 1], [0, 1, 0, 1, 1], [0, 1, 1, 1, 1]])
    >>> collection.viz["figure"].item().axes[0].get_images()[0].get_array().round(2)[3:].data
    array([[0.  , 0.  , 0.  , 1.  , 0.67],
           [0.33, 0.33, 0.33, 0.67, 1.  ]])
    """
    canvas = Canvas(ax, plot_collection, backend, pc_kwargs).checked()
    settings = visual_settings(visuals, _SIMILARITY)
    check_whole(max_rows=max_rows, num_samples=num_samples)
    rng = generator_of(random_state)
    clusters = None if partition is None else np.asarray(getattr(partition, "labels", partition))
    matrix, clusters = _similarity_of_rows(
        _thinned(labels_or_posterior, X, names, num_samples), clusters, max_rows=max_rows, rng=rng
    )
    order, sizes = partition_order(matrix, np.where(clusters < 0, clusters.max() + 1, clusters))
    blocks = Blocks(sizes, clusters[order][np.cumsum(sizes) - 1])
    with canvas.style():
        return _draw_similarity(matrix[np.ix_(order, order)], blocks, canvas, settings)


def _thinned(given: Posterior | ArrayLike, X: ArrayLike | None, names: Names, num_samples: int) -> Any:
    """Thinned draws of labels (draw, obs), or a thinned posterior with its rows."""
    if are_labels(given):
        draws = flat_draws(label_draws(given))
        return draws[evenly_spaced(len(draws), num_samples)]
    tree = mixture_posterior(given, X, names=names)
    thinned = thinned_tree(tree, num_samples)
    return thinned if X is None else mixture_posterior(thinned, X)


def _similarity_of_rows(
    given: Any, clusters: IntArray | None, *, max_rows: int, rng: np.random.Generator
) -> tuple[Array, IntArray]:
    """Similarities (obs, obs) of the rows shown, and their clusters 0, 1, ..., -1 for noise."""
    data = None if are_labels(given) else data_of(given)
    n = given.shape[1] if data is None else data.shape[0]
    if clusters is not None and clusters.shape != (n,):
        raise InputError(expected=f"a partition of {n} rows, (obs,)", got=f"shape {clusters.shape}")
    index = np.arange(n) if n <= max_rows else np.sort(rng.choice(n, max_rows, replace=False))
    some = given[:, index] if data is None else _of_rows(given, index)
    if clusters is None:
        found = np.asarray(estimate_partition(some, random_state=rng, progress=False).labels, dtype=np.int64)
    else:
        found = np.asarray(clusters[index], dtype=np.int64)
        found[found >= 0] = canonical_labels(found[None, found >= 0])[0] if (found >= 0).any() else 0
    return similarity_matrix(some).to_numpy(), found


def _of_rows(tree: xr.DataTree, index: IntArray) -> xr.DataTree:
    """A posterior with some of its rows."""
    found = tree.copy()
    for group in tree.children:
        dataset = tree[group].to_dataset()
        if OBS in dataset.dims:
            found[group] = xr.DataTree(dataset.isel({OBS: index}))
    return found


def partition_order(matrix: Array, clusters: IntArray) -> tuple[IntArray, IntArray]:
    """Order of rows in which clusters are blocks, similar ones adjacent, and the sizes of the blocks."""
    sizes = np.bincount(clusters)
    members = clusters == np.arange(len(sizes))[:, None]
    to_clusters = matrix @ (members / sizes[:, None]).T  # (obs, cluster), mean similarities
    sequence = _neighbours(members @ to_clusters / sizes[:, None], sizes)
    rank = np.argsort(sequence)[clusters]
    own = to_clusters[np.arange(len(clusters)), clusters]
    return np.lexsort((-own, rank)), sizes[sequence]


def _neighbours(between: Array, sizes: IntArray) -> IntArray:
    """Order of clusters: the largest, then repeatedly the one most similar to the one before; ties by size."""
    left = np.argsort(-sizes, kind="stable").tolist()
    sequence = [left.pop(0)]
    while left:
        sequence.append(left.pop(int(np.argmax(between[sequence[-1], left]))))
    return np.array(sequence)


@dataclass(frozen=True)
class Blocks:
    """Clusters in the order in which they are drawn: how many rows each has, its number in the partition or -1."""

    sizes: IntArray
    numbers: IntArray

    @property
    def ends(self) -> Array:
        """Edges of the blocks, in units of rows."""
        ends: Array = np.concatenate([[0], np.cumsum(self.sizes)]) - 0.5
        return ends

    @property
    def names(self) -> list[str]:
        """Number and size of each."""
        return [
            f"{'noise' if number < 0 else number}  ({size:,})"
            for number, size in zip(self.numbers, self.sizes, strict=True)
        ]

    @property
    def told(self) -> str:
        """How many there are."""
        n = int((self.numbers >= 0).sum())
        return f"{n} estimated clusters" + (" and noise" if n < len(self.sizes) else "")

    @property
    def colours(self) -> list[str]:
        """Of the clusters' numbers."""
        every = cluster_aesthetics(max(int(self.numbers.max()), 0) + 1)["color"]
        return [DATA if number < 0 else every[number] for number in self.numbers]


def block_outlines(ends: Array) -> xr.DataArray:
    """Squares (plot_axis, sample, point) around the blocks on the diagonal, in units of rows."""
    low, high = ends[:-1], ends[1:]
    x, y = np.stack([low, high, high, low, low]), np.stack([low, low, high, high, low])
    return xr.DataArray(np.stack([x.T, y.T]), dims=("plot_axis", "sample", "point"), coords={"plot_axis": ["x", "y"]})


def _draw_similarity(matrix: Array, blocks: Blocks, canvas: Canvas, settings: dict[str, Any]) -> PlotCollection:
    data = xr.DataArray(matrix, dims=("obs", "obs_bis"), name="similarity")
    layout = {"layout": "compressed"} if canvas.name == "matplotlib" else {}  # the one for fixed aspect ratios
    pen = Pen(canvas.open(data.to_dataset(), size=(6.4, 4.9), **layout), settings)
    pen.draw("image", _image, data, bar=settings["colorbar"])
    pen.draw("borders", many_lines, block_outlines(blocks.ends))
    pen.draw("bars", _bars, xr.DataArray(blocks.ends, dims="edge"), blocks=blocks)
    pen.label("rows, by cluster", "", f"Posterior similarity of {len(matrix):,} rows, {blocks.told}")
    if settings["legend"] is not False and canvas.name == "matplotlib":
        _draw_blocks(pen, canvas, blocks)
    return pen.pc


def _bars(da: xr.DataArray, target: Any, *, blocks: Blocks, width: float, zorder: float = 2) -> Any:
    """Bars of the clusters' colours above and left of the matrix instead of ticks; names of clusters in Plotly."""
    ends = da.to_numpy()
    if not isinstance(target, Axes):
        centres = ((ends[:-1] + ends[1:]) / 2).tolist()
        target.update_xaxes(showticklabels=False)
        return target.update_yaxes(
            tickvals=centres,
            ticktext=[name if name.startswith("noise") else f"cluster {name}" for name in blocks.names],
        )
    n, sizes = float(ends[-1] + 0.5), np.diff(ends)
    thick, start = width * n, -0.5 - (_GAP + width) * n
    above = [Rectangle((at, start), size, thick) for at, size in zip(ends, sizes, strict=False)]
    left = [Rectangle((start, at), thick, size) for at, size in zip(ends, sizes, strict=False)]
    target.set(xticks=[], yticks=[], xlim=(start, ends[-1]), ylim=(ends[-1], start))
    target.spines[:].set_visible(False)
    bars = PatchCollection([*above, *left], facecolors=2 * blocks.colours, linewidths=0.0, zorder=zorder)
    return target.add_collection(bars, autolim=False)


def _draw_blocks(pen: Pen, canvas: Canvas, blocks: Blocks) -> None:
    """Legend of the clusters by number: below the matrix if axes are given, else beside it."""
    order = np.argsort(blocks.numbers % (len(blocks.numbers) + 1))[:_MOST_NAMED]  # noise last
    handles = [Patch(color=blocks.colours[k], label=blocks.names[k]) for k in order]
    if len(blocks.sizes) > len(order):
        handles.append(Patch(color="none", label=f"and {len(blocks.sizes) - len(order)} more"))
    style: dict[str, Any] = {"handles": handles, "title": "cluster (rows)", "alignment": "left", "handlelength": 1.0}
    if canvas.own_figure:
        pen.pc.get_viz("figure").legend(**style, loc="outside right upper", **pen.visuals["legend"])
    else:
        panel = pen.pc.get_viz("plot")
        place = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.08), "ncols": 3}
        panel.legend(**style, **{**place, **pen.visuals["legend"]})


def _image(da: xr.DataArray, target: Any, *, cmap: str, bar: dict[str, Any] | bool, zorder: float = 2) -> Any:
    """A matrix of probabilities, the first row on top."""
    label = "co-clustering probability"
    if not isinstance(target, Axes):
        style = {"colorscale": cmap, "zmin": 0.0, "zmax": 1.0, "colorbar": {"title": {"text": label, "side": "right"}}}
        target.add_heatmap(z=da.to_numpy(), showscale=bar is not False, **style)
        target.update_yaxes(autorange="reversed")
        return target.figure.data[-1]
    image = target.imshow(
        da.to_numpy(), cmap=cmap, vmin=0.0, vmax=1.0, interpolation="nearest", aspect="equal", zorder=zorder
    )
    if isinstance(bar, dict):
        target.figure.colorbar(image, ax=target, **{"label": label, "shrink": 0.85, "aspect": 30, **bar})
    return image


# ---- memberships


@documented
def plot_membership_uncertainty(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    names: Names = NO_NAMES,
    features: Features = None,
    parts: Sequence[str] | str = ("overlap", "parameters"),
    num_samples: int = 400,
    ci_prob: float | None = None,
    ci_kind: str | None = None,
    force: bool = False,
    ax: Axes | None = None,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    visuals: Visuals | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    r"""Rows by most probable cluster, with aleatoric and epistemic uncertainty (`bayesgmm.membership_uncertainty`).

    ``overlap``, the expected entropy of the label, is aleatoric and does not shrink with more data; ``parameters``, the
    mutual information of label and parameters, is epistemic and does; ``total`` is their sum. Two features: the area
    of a marker is the uncertainty, from 0 to :math:`\log K` nats. One: its height is, with a credible interval.

    Parameters
    ----------
    {posterior}
        They are relabelled first by `bayesgmm.relabel`, unless that was done before.
    {X}
        New rows are allowed. At most 5,000 are drawn, evenly spaced.
    {names} {features}
        Memberships are computed from all features.
    parts : {"overlap", "parameters", "total"} or a sequence of them
        One panel each.
    {num_samples} {ci_prob, ci_kind} {force} {ax}
        Only for a single part.
    {plot_collection}
        Its panels may have the dimension ``part``.
    {backend} {visuals}
        ``rows``; ``interval`` (one feature); ``sizes``, a legend (two features, matplotlib); ``legend``, ``xlabel``,
        ``ylabel``, ``title``.
    {pc_kwargs}

    {returns}

    Raises
    ------
    InputError
        Unknown features, parts, visuals or backend, several parts with ``ax``, or numbers out of range.
    NotIdentifiedError
        The components are not identified, so labels have no meaning.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import plot_membership_uncertainty
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, (50, 2)), rng.normal(3, 1, (50, 2))])
    >>> mu = np.array([[-3.0, -3.0], [3.0, 3.0]]) + rng.normal(0, 0.1, (4, 100, 2, 2))
    >>> draws = {"w": np.full((4, 100, 2), 0.5), "mu": mu, "sd": np.ones((4, 100, 2))}
    >>> collection = plot_membership_uncertainty(draws, X, names={"weights": "w", "means": "mu", "sds": "sd"})
    >>> collection.viz["plot"]["part"].to_numpy().tolist()
    ['overlap', 'parameters']
    """
    canvas = Canvas(ax, plot_collection, backend, pc_kwargs).checked()
    settings = visual_settings(visuals, _UNCERTAINTY)
    wanted = _checked_parts(parts, ax)
    sample = shown(posterior, X, names=names, num_samples=num_samples, force=force)
    view = view_of(sample, features, 2)
    split = membership_uncertainty(sample.tree, sample.data, ci_prob=ci_prob, ci_kind=ci_kind)
    data = _uncertain_rows(view.sample, split, view.chosen, wanted)
    size = (min(4.6, _WIDTH / len(wanted)) * len(wanted) + 1.4, 3.6)
    with canvas.style():
        pen = Pen(
            canvas.open(data.to_dataset(name="rows"), cols=["part"], size=size, sharex=True, sharey=True), settings
        )
        if len(view.chosen) == 1:
            pen.draw("interval", many_lines, _intervals(view.sample, split, view.chosen[0], wanted), "marker")
        pen.draw("rows", points, data)
        noise = _uncertain_rows(view.sample, split, view.chosen, wanted, every=True)
        draw_noise(pen, noise.isel(cluster=0, drop=True), sample.labels)
        _label_uncertainty(pen, view, split, wanted)
        pen.legend(canvas, weight_labels(sample))
        if len(view.chosen) == 2 and canvas.name == "matplotlib" and canvas.own_figure:
            _draw_sizes(pen, sample)
        title = view.title(*noise_told(sample), width=_LETTERS, binned=False)
        if title and canvas.own_figure and settings["title"] is not False:
            pen.pc.add_title(title if canvas.name == "matplotlib" else html_lines(title))
        finish(pen.pc)
    return pen.pc


def _checked_parts(parts: Sequence[str] | str, ax: Axes | None) -> list[str]:
    wanted = texts(parts, "parts")
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(_PARTS):
        raise InputError(expected=f"distinct parts among {', '.join(_PARTS)}", got=f"{parts!r}")
    if ax is not None and len(wanted) > 1:
        raise InputError(expected="one part with ax", got=f"{len(wanted)}", hint='Name it: parts="total".')
    return wanted


def _uncertain_rows(
    sample: Shown, split: xr.Dataset, chosen: Sequence[int], parts: Sequence[str], *, every: bool = False
) -> xr.DataArray:
    """Points (part, cluster, plot_axis, obs); of two features with an axis for the size of markers.

    With ``every``, all rows as one cluster.
    """
    n_clusters, labels = sample.mean.n_components, sample.labels
    if every:
        n_clusters, labels = 1, np.zeros_like(labels)
    panels = []
    for part in parts:
        values = split[part].to_numpy()
        if len(chosen) == 1:
            panels.append(clustered_rows(sample.X[:, chosen[0]], values, labels, n_clusters))
            continue
        x, y = (sample.X[:, j] for j in chosen)
        rows = clustered_rows(x, y, labels, n_clusters)
        size = xr.DataArray(_size(values, sample), dims="obs").expand_dims(plot_axis=["size"], cluster=n_clusters)
        panels.append(xr.concat([rows, size.assign_coords(cluster=rows["cluster"])], dim="plot_axis"))
    return xr.concat(panels, dim=xr.Variable("part", list(parts)))


def _size(uncertainty: Array, sample: Shown) -> Array:
    """Area of a marker: uncertainty runs from 0 to log K."""
    smallest = _SMALLEST * shrinkage(len(sample.X))
    return smallest + (_LARGEST - smallest) * uncertainty / np.log(max(sample.mean.n_components, 2))


def _intervals(sample: Shown, split: xr.Dataset, j: int, parts: Sequence[str]) -> xr.DataArray:
    """Vertical lines (part, cluster, plot_axis, sample, point), NaN for rows of other clusters; none for the total."""
    x, n_clusters = sample.X[:, j], sample.mean.n_components
    mine = sample.labels == np.arange(n_clusters)[:, None]
    panels = []
    for part in parts:
        bounds = split[f"{part}_ci"].to_numpy() if f"{part}_ci" in split else np.full((len(x), 2), np.nan)
        lines = np.stack([np.repeat(x[:, None], 2, axis=1), bounds])
        panels.append(np.where(mine[:, None, :, None], lines, np.nan))
    coords = {"part": list(parts), "cluster": np.arange(n_clusters), "plot_axis": ["x", "y"]}
    return xr.DataArray(np.stack(panels), dims=("part", "cluster", "plot_axis", "sample", "point"), coords=coords)


def _label_uncertainty(pen: Pen, view: View, split: xr.Dataset, parts: Sequence[str]) -> None:
    sample, chosen = view.sample, view.chosen
    names = [sample.names[j] for j in chosen] + ["uncertainty (nats)"]
    titles = [f"{part}: mean {float(split[part].mean()):.2g} nats" for part in parts]
    pen.label([names[0]] * len(parts), [names[1]] + [""] * (len(parts) - 1), titles, part=list(parts))
    ranges = [limits_of(sample.X[:, j]) for j in chosen]
    if len(chosen) == 1:
        top = max(float(split[name].max()) for name in split if str(name).removesuffix("_ci") in parts)
        ranges.append((-0.04 * top, 1.06 * top))
    pen.frame(*ranges, part=list(parts))


def _draw_sizes(pen: Pen, sample: Shown) -> None:
    """Legend of marker areas."""
    if pen.visuals["sizes"] is False:
        return
    values = np.log(max(sample.mean.n_components, 2)) * np.array([0.0, 0.5, 1.0])
    areas = _size(values, sample)
    style: dict[str, Any] = {"linestyle": "", "marker": "o", "color": INK, "alpha": 0.55, "markeredgecolor": "white"}
    handles = [
        Line2D([], [], **style, markersize=float(np.sqrt(area)), label=f"{value:.2g}")
        for value, area in zip(values, areas, strict=True)
    ]
    legend = {"title": "uncertainty (nats)", "loc": "outside right lower", "alignment": "left"}
    pen.pc.get_viz("figure").legend(handles=handles, **{**legend, **pen.visuals["sizes"]})
