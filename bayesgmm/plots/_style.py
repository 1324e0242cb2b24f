"""What all figures share: thinned rows, axis limits, bins, ellipses, figures that notebooks show."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import chi2, iqr

from bayesgmm._common import Array, IntArray, Rows

MOST_FEATURES, MOST_ROWS = 5, 5_000
_ROUNDING = 1e-3  # error of a difference between rounded values, in their unit
_CIRCLE = np.column_stack([f(np.linspace(0.0, 2.0 * np.pi, 121)) for f in (np.cos, np.sin)])


class ClusterFigure(Figure):
    """A matplotlib figure that a notebook shows when a cell returns it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def plain_axes(panel: Axes) -> None:
    """Hide the upper and right spines; write powers of ten as such."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.ticklabel_format(scilimits=(-3, 5), useMathText=True)


def evenly_spaced(n: int, most: int) -> IntArray:
    """At most ``most`` of the indices 0, ..., n - 1, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def thinned_rows(X: Rows, most: int = MOST_ROWS) -> Rows:
    """At most ``most`` rows, see `thinned_index`."""
    return np.asfortranarray(X if len(X) <= most else X[thinned_index(len(X), most)])


def thinned_index(n: int, most: int = MOST_ROWS) -> IntArray:
    """At most ``most`` of n rows, one at random from each stretch of equal length, so that no period is missed."""
    step = -(-n // most)
    if step == 1:
        return np.arange(n)
    starts = np.arange(0, n, step)
    return np.minimum(starts + np.random.default_rng(0).integers(0, step, len(starts)), n - 1)


def observed(x: Array) -> Array:
    """The values that are not missing."""
    missing = np.isnan(x)
    return x[~missing] if missing.any() else x


def shrinkage(n_rows: int) -> float:
    """Factor for the area of markers, smaller for many rows."""
    return float(np.clip(np.sqrt(400 / n_rows), 0.2, 1.0))


def limits_of(x: Array) -> tuple[float, float]:
    """Axis limits: the range of the data and a margin; ellipses may extend beyond them."""
    x = observed(x)
    margin = 0.08 * float(np.ptp(x)) or 1.0
    return float(x.min()) - margin, float(x.max()) + margin


def bin_edges(x: Array) -> Array:
    """Edges of a histogram's bins, which hold the same number of values of rounded data each.

    The width is that of the Freedman-Diaconis rule, bounded: separated clusters widen its bins, ties narrow them.
    """
    x = observed(x)
    fewest, most = min(2 * np.sqrt(len(x)), 40), 60
    width = 2.0 * float(iqr(x)) / np.cbrt(len(x))
    wanted = np.clip(np.ceil(np.ptp(x) / width) if width > 0 else fewest, fewest, most)
    unit = rounding_unit(x)
    if not unit:
        return np.histogram_bin_edges(x, bins=int(wanted))
    n_units = int(np.round(np.ptp(x) / unit)) + 1
    per_bin = max(1, int(np.round(n_units / wanted)))
    edges: Array = x.min() + unit * (per_bin * np.arange(-(-n_units // per_bin) + 1) - 0.5)
    return edges


def rounding_unit(x: Array) -> float:
    """The unit that values with many ties were rounded to; 0 if they were not."""
    some = thinned_rows(observed(x))
    values = np.unique(some)
    if not 1 < len(values) < len(some) / 2:
        return 0.0
    unit = float(np.diff(values).min())
    steps = np.diff(values) / unit
    return unit if np.abs(steps - steps.round()).max() < _ROUNDING else 0.0


def ellipse_outlines(means: Array, covariances: Array, pair: Sequence[int], mass: float) -> Array:
    """Outlines (..., 2, point) of the ellipses of two features that have this probability content."""
    index = list(pair)
    chol = np.linalg.cholesky(covariances[..., index, :][..., index])
    offsets = np.sqrt(chi2.ppf(mass, 2)) * chol @ _CIRCLE.T
    outlines: Array = means[..., index, None] + offsets
    return outlines
