"""Every plot of every kind of posterior: drawn, with labels that can be read, inside of the figure."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

import bayesgmm
from bayesgmm.exceptions import InputError
from bayesgmm.plots._canvas import cells_of
from bayesgmm.plots._style import bin_edges

NAMES = {"weights": "w", "means": "mu", "sds": "sigma"}
PLOTS = [name for name in bayesgmm.__all__ if name.startswith("plot_")]


def posterior_of(n_rows: int, n_features: int, n_clusters: int) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Rows and somebody's draws near the truth, as arrays with names of their own."""
    rng = np.random.default_rng(0)
    centres = 8.0 * np.arange(n_clusters)[:, None] + rng.normal(0.0, 2.0, (n_clusters, n_features))
    X = centres[np.arange(n_rows) * n_clusters // n_rows] + rng.normal(size=(n_rows, n_features))
    w = rng.dirichlet(np.full(n_clusters, 500.0), size=(2, 15))
    mu = centres + rng.normal(0.0, 0.1, (2, 15, n_clusters, n_features))
    sigma = np.exp(rng.normal(0.0, 0.05, (2, 15, n_clusters, n_features)))
    frame = pd.DataFrame(X, columns=[f"measurement {j}" for j in range(n_features)])
    return frame, {"w": w, "mu": mu, "sigma": sigma}


INPUTS = {
    "one feature": posterior_of(60, 1, 2),
    "two features": posterior_of(60, 2, 2),
    "twenty features": posterior_of(60, 20, 3),
    "twelve components": posterior_of(120, 2, 12),
    "many rows": posterior_of(20_000, 2, 2),
}


def figure_of(drawn: Any) -> Figure:
    return drawn.viz["figure"].item() if hasattr(drawn, "viz") else drawn


def texts_of(figure: Figure) -> list[Text]:
    """Every text that is drawn: titles, labels, ticks within the limits of their axes, legends."""
    figure.draw_without_rendering()
    found = [*figure.texts, *(text for legend in figure.legends for text in (*legend.get_texts(), legend.get_title()))]
    for panel in (panel for panel in figure.axes if panel.axison):
        found += [panel.title, panel.xaxis.label, panel.yaxis.label, *panel.texts]
        for axis, (low, high) in ((panel.xaxis, sorted(panel.get_xlim())), (panel.yaxis, sorted(panel.get_ylim()))):
            ticks = axis.get_major_ticks() if axis.get_visible() else []
            found += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


@pytest.mark.parametrize(
    "kind",
    [*("one feature", "twenty features", "many rows"), pytest.param("twelve components", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_takes_every_posterior_and_can_be_read(name: str, kind: str) -> None:
    X, draws = INPUTS[kind]
    plot: Callable[..., Any] = getattr(bayesgmm, name)
    if name == "plot_pairs" and kind == "one feature":
        with pytest.raises(InputError, match="two features or more"):
            plot(draws, X, names=NAMES)
        return
    figure = figure_of(plot(draws, X, names=NAMES))
    assert figure.get_size_inches()[0] <= 7.5
    shown = texts_of(figure)
    assert len(shown) > 5
    assert min(text.get_fontsize() for text in shown) >= 8.0
    inside = figure.bbox.padded(2.0)
    for text in shown:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0, text
        assert box.x1 <= inside.x1, text
        assert inside.y0 <= box.y0, text
        assert box.y1 <= inside.y1, text
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(panel.get_window_extent()) for panel in figure.axes if panel.axison)
        assert not any(box.overlaps(title.get_window_extent()) for title in _titles(figure))


def _titles(figure: Figure) -> list[Text]:
    titles = [panel.title for panel in figure.axes if panel.axison and panel.get_title()]
    return titles + ([figure._suptitle] if figure.get_suptitle() else [])


@pytest.mark.parametrize("name", ["plot_components", "plot_density", "plot_clusters", "plot_pairs"])
def test_many_rows_are_all_counted(name: str) -> None:
    X, draws = INPUTS["many rows"]
    figure = figure_of(getattr(bayesgmm, name)(draws, X, names=NAMES))
    meshes = [mesh for panel in figure.axes for mesh in panel.collections if isinstance(mesh, QuadMesh)]
    assert [mesh.get_array().sum() for mesh in meshes] == [len(X)]
    titles = [figure.get_suptitle(), *(panel.get_title() for panel in figure.axes)]
    assert "20,000 rows, binned" in "\n".join(titles)


def test_a_figure_that_shows_some_rows_says_how_many() -> None:
    X, draws = INPUTS["many rows"]
    figure = figure_of(bayesgmm.plot_membership_uncertainty(draws, X, names=NAMES))
    assert figure.get_suptitle() == "5,000 of 20,000 rows"


def test_ambient_settings_are_ours_in_our_figures_and_theirs_on_their_axes() -> None:
    X, draws = INPUTS["two features"]
    with plt.style.context("dark_background"):
        own = figure_of(bayesgmm.plot_components(draws, X, names=NAMES))
        _, ax = plt.subplots()
        bayesgmm.plot_components(draws, X, names=NAMES, ax=ax)
    assert own.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert own.axes[0].xaxis.label.get_color() == bayesgmm.style.INK
    assert ax.get_facecolor() == (0.0, 0.0, 0.0, 1.0)
    assert ax.xaxis.label.get_color() == "white"


# ---- bins


def test_bins_of_rounded_values_hold_as_many_different_ones_each() -> None:
    X = np.round(np.random.default_rng(0).normal(130.0, 0.4, 200), 1)
    edges = bin_edges(X)
    steps = np.diff(edges) / 0.1
    np.testing.assert_allclose(steps, np.round(steps[0]))
    np.testing.assert_allclose((edges[0] - X.min()) / 0.1, -0.5)
    assert edges[-1] >= X.max() + 0.04
    assert np.histogram(X, edges)[0].sum() == 200
    combed = np.histogram(X, bins=60)[0]
    assert (combed[20:40] == 0).any()  # what bins that do not know of the rounding look like
    low, high = np.quantile(X, [0.1, 0.9])
    inner = edges[(edges > low) & (edges < high)]
    assert (np.histogram(X, inner)[0] > 0).all()


def test_bins_of_other_values_are_equal_and_cover_them() -> None:
    X = np.random.default_rng(0).normal(size=500)
    edges = bin_edges(X)
    np.testing.assert_allclose([edges[0], edges[-1]], [X.min(), X.max()])
    assert 10 <= len(edges) <= 61


def test_cells_count_every_row_of_rounded_values_too() -> None:
    rng = np.random.default_rng(0)
    x, y = np.round(rng.normal(size=5_001), 1), rng.normal(size=5_001)
    counted = cells_of(x, y)
    counts = counted.sel(plot_axis="count")
    assert float(counts.sum()) == 5_001
    centres = counted.sel(plot_axis="x").to_numpy()[:, 0]
    assert set(np.round(centres[counts.to_numpy().any(axis=1)], 6)) == set(np.unique(x))
