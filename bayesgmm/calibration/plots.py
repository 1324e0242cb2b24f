"""Figure of ranks: how their distribution functions differ from uniform, and how far they may."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bayesgmm._common import Array, IntArray
from bayesgmm.calibration.uniformity import AT, band, counts_up_to
from bayesgmm.exceptions import InputError
from bayesgmm.plots import ClusterFigure
from bayesgmm.style import INK, POSTERIOR, context

_PANEL = (1.85, 1.7)  # inches
_ACROSS, _LEAST = 4, 5.0  # panels in a row; inches, for the legend
_INNER = 0.95
_SHADES = (0.15, 0.35)


def draw_calibration(ranks: xr.Dataset, quantities: str | Sequence[str] | None, *, limit: float) -> Figure:
    """A panel for every variable, a curve for each of its quantities; bands of probability 0.95 and 1 - limit."""
    known = [str(name) for name in ranks]
    chosen = known if quantities is None else [quantities] if isinstance(quantities, str) else list(quantities)
    if not chosen or not set(chosen) <= set(known):
        raise InputError(expected=f"quantities among {', '.join(known)}", got=f"{quantities!r}")
    with context():
        return _draw_panels(ranks, chosen, limit)


def _draw_panels(ranks: xr.Dataset, chosen: Sequence[str], limit: float) -> Figure:
    across = min(_ACROSS, len(chosen))
    down = ceil(len(chosen) / across)
    figure = ClusterFigure(figsize=(max(_PANEL[0] * across, _LEAST), _PANEL[1] * down + 0.7), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    bands = [_edges(ranks.sizes["simulation"], probability) for probability in (1.0 - limit, _INNER)]
    for panel, name in zip(panels.ravel(), chosen, strict=False):
        _draw(panel, ranks[name], bands)
        panel.set_title(name)
    for panel in panels.ravel()[len(chosen) :]:
        panel.set_axis_off()
    for panel in panels.ravel()[max(0, len(chosen) - across) : len(chosen)]:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("rank of the truth")
    for row in panels:
        row[0].set_ylabel("ECDF minus\nuniform")
    labels = "the verdict: all curves stay inside with probability 0.999", f"{_INNER:.0%} of curves stay inside"
    handles = [Patch(color=POSTERIOR, alpha=alpha, label=label) for alpha, label in zip(_SHADES, labels, strict=True)]
    figure.legend(handles=handles, loc="outside lower left", ncols=1 + (across > 2))
    return figure


def _draw(panel: Axes, ranks: xr.DataArray, bands: Sequence[tuple[Array, Array]]) -> None:
    at = np.concatenate([[0.0], AT, [1.0]])
    for (lower, upper), alpha in zip(bands, _SHADES, strict=True):
        panel.fill_between(at, lower, upper, color=POSTERIOR, alpha=alpha, linewidth=0)
    panel.axhline(0.0, color=INK, linewidth=0.6)
    values = ranks.transpose("simulation", ...).to_numpy()
    for column in values.reshape(len(values), -1).T:
        panel.plot(at, _difference(counts_up_to(column), len(column)), color=INK, linewidth=0.9, alpha=0.8)
    panel.set_xlim(0.0, 1.0)


def _edges(n: int, probability: float) -> tuple[Array, Array]:
    lower, upper = band(n, probability)
    return _difference(lower, n), _difference(upper, n)


def _difference(counts: IntArray, n: int) -> Array:
    """Shares less z at 0, `AT` and 1."""
    return np.concatenate([[0.0], counts / n - AT, [0.0]])
