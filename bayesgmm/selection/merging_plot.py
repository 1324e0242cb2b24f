"""Figure of the entropy while components are merged."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bayesgmm._common import Array
from bayesgmm.plots import ClusterFigure
from bayesgmm.selection.entropy import straight_line
from bayesgmm.style import CLUSTERS, DATA, INK, context

_LABELS = {"clusters": "number of clusters", "rows": "rows merged, cumulated"}


class Curve(NamedTuple):
    """Entropies of 1, 2, ... clusters, what they are drawn against, and where the elbow is (None: nowhere)."""

    against: str
    x: Array
    entropies: Array
    n_occupied: int
    elbow: int | None


def draw_entropies(curves: Sequence[Curve], ax: Axes | None) -> Figure:
    """One panel a curve, with the two lines that meet at the elbow."""
    with context() if ax is None else nullcontext():
        if ax is None:
            figure: Figure = ClusterFigure(figsize=(3.2 * len(curves) + 0.8, 3.2), layout="constrained")
            panels = list(figure.subplots(1, len(curves), squeeze=False, sharey=True)[0])
        else:
            found = ax.get_figure(root=True)
            figure, panels = found, [ax]  # type: ignore[assignment]
        for panel, curve in zip(panels, curves, strict=True):
            _draw(panel, curve)
        panels[0].set_ylabel("entropy (nats)")
    return figure


def _draw(panel: Axes, curve: Curve) -> None:
    x, y, n = curve.x, curve.entropies, curve.elbow
    panel.plot(x, y, "o-", color=CLUSTERS[0], linewidth=1.2, markersize=5, gid="entropy", zorder=3)
    if n is not None and n < curve.n_occupied:
        for part in (slice(0, n), slice(n - 1, curve.n_occupied)):
            panel.plot(x[part], straight_line(x[part], y[part]), "--", color=DATA, linewidth=1.0, gid="line", zorder=2)
    if n is not None:
        ring = {"marker": "o", "markersize": 15, "markerfacecolor": "none", "markeredgecolor": INK}
        label = f"{n} cluster{'s' if n > 1 else ''}"
        panel.plot(x[n - 1], y[n - 1], linestyle="none", label=label, gid="elbow", zorder=4, **ring)  # type: ignore[arg-type]
        panel.legend(loc="upper left")
    if curve.against == "clusters":
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        for k, at in enumerate(zip(x, y, strict=True), start=1):
            panel.annotate(str(k), at, textcoords="offset points", xytext=(6, -10), fontsize=8, color=INK)
    panel.set_xlabel(_LABELS[curve.against])
    panel.spines[["top", "right"]].set_visible(False)
