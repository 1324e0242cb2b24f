"""Figures show what they claim: the right artists at the right places, and names that can be read."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from pretend_posterior import em_fit, pretend_posterior
from scipy.stats import chi2

from bayesgmm import GaussianMixture, Mixture, relabel
from bayesgmm.datasets import load_galaxies, load_old_faithful, load_thyroid
from bayesgmm.exceptions import InputError
from bayesgmm.plots._data import thinned_tree
from bayesgmm.plots._features import discriminants
from bayesgmm.plots.clusters import plot_clusters
from bayesgmm.posterior.tree import draws_of, mean_mixture
from bayesgmm.style import CLUSTERS

FAITHFUL = load_old_faithful()
THYROID = load_thyroid().select_dtypes("number")


def posterior_of(frame: pd.DataFrame, n_components: int, covariance_type: str = "full"):
    return pretend_posterior(frame, em_fit(frame, n_components, covariance_type), draws=25)


@pytest.fixture(scope="module")
def faithful():
    return posterior_of(FAITHFUL, 2)


def by_gid(panel, gid: str) -> list:
    return [artist for artist in panel.get_children() if artist.get_gid() == gid]


def texts(figure: Figure) -> list[str]:
    return [text.get_text().strip() for text in figure.legends[0].get_texts()]


def assert_holds(outline: np.ndarray, mixture, k: int, mass: float) -> None:
    """Every point of an outline has the Mahalanobis distance of the ellipse that holds this mass."""
    offset = outline - mixture.means[k]
    distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(mixture.full_covariances[k]), offset)
    np.testing.assert_allclose(distance, chi2.ppf(mass, 2), rtol=1e-9)


def test_ellipses_hold_the_mass_they_say(faithful) -> None:
    panel = plot_clusters(faithful, mass=0.5).axes[0]
    em, mean = em_fit(FAITHFUL, 2), mean_mixture(faithful)
    for k, line in enumerate(by_gid(panel, "em")):
        assert_holds(line.get_xydata(), em, k, 0.5)
        assert line.is_dashed()
    for k in range(2):
        (line,) = by_gid(panel, f"mean {k}")
        assert_holds(line.get_xydata(), mean, k, 0.5)
        assert not line.is_dashed()
    assert len(by_gid(panel, "em")) == 2


def test_the_spread_is_made_of_draws(faithful) -> None:
    panel = plot_clusters(faithful, n_draws=7).axes[0]
    (spread,) = by_gid(panel, "draws 1")
    centres = np.array([path.vertices[:-1].mean(axis=0) for path in spread.get_paths()])
    drawn = faithful["posterior"]["means"].sel(cluster=1).to_numpy().reshape(-1, 2)
    assert len(centres) == 7
    assert all(np.isclose(drawn, centre, rtol=1e-9).all(axis=1).any() for centre in centres)
    assert by_gid(plot_clusters(faithful, n_draws=0).axes[0], "draws 1")[0].get_paths() == []


def test_rows_carry_label_and_uncertainty(faithful) -> None:
    panel = plot_clusters(faithful).axes[0]
    clouds = [by_gid(panel, f"rows {k}")[0] for k in range(2)]
    assert sum(len(cloud.get_offsets()) for cloud in clouds) == len(FAITHFUL)
    assert clouds[0].get_offsets()[:, 0].max() < 3.2 < clouds[1].get_offsets()[:, 0].max()
    points = np.concatenate([cloud.get_offsets() for cloud in clouds])
    sizes = np.concatenate([cloud.get_sizes() for cloud in clouds])
    proba = em_fit(FAITHFUL, 2).responsibilities(points)
    between = 1 - proba.max(axis=1)
    np.testing.assert_array_equal(points[sizes.argmax()], points[between.argmax()])
    assert sizes[between < 1e-6].max() < 0.5 * sizes.max()


def test_axes_are_named_and_show_the_data(faithful) -> None:
    panel = plot_clusters(faithful).axes[0]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("eruptions", "waiting")
    for (low, high), column in zip((panel.get_xlim(), panel.get_ylim()), FAITHFUL, strict=True):
        values = FAITHFUL[column]
        assert values.min() - 0.1 * np.ptp(values) < low < values.min()
        assert values.max() < high < values.max() + 0.1 * np.ptp(values)


def test_the_legend_explains_every_mark(faithful) -> None:
    shares = faithful["posterior"]["weights"].mean(("chain", "draw")).to_numpy()
    entries = texts(plot_clusters(faithful))
    assert entries[1:3] == [f"{k}  ({shares[k]:.2f})" for k in range(2)]
    assert "90% ellipses" in entries
    assert {"posterior mean", "posterior draws", "EM"} <= set(entries)
    assert entries[-3:] == ["0", "0.25", "0.5"]


def test_weights_in_the_legend_are_those_of_all_draws(faithful) -> None:
    for posterior in (faithful, relabel(faithful, progress=False)):
        assert texts(plot_clusters(posterior, num_samples=2))[1:3] == texts(plot_clusters(posterior))[1:3]


def test_a_mixture_of_ones_own_takes_the_place_of_em(faithful) -> None:
    other = em_fit(FAITHFUL, 2, "spherical")
    (first, _) = by_gid(plot_clusters(faithful, em=other).axes[0], "em")
    assert_holds(first.get_xydata(), other, 0, 0.9)


# ---- one feature


def test_one_feature_shows_densities_that_integrate_to_one() -> None:
    posterior = posterior_of(load_galaxies(), 3)
    panel = plot_clusters(posterior).axes[0]
    (density,), (em,) = by_gid(panel, "density"), by_gid(panel, "em")
    for line in (density, em):
        assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(1.0, abs=0.05)
    assert sum(bar.get_height() * bar.get_width() for bar in panel.patches) == pytest.approx(1.0)
    parts = sum(by_gid(panel, f"component {k}")[0].get_ydata() for k in range(3))
    np.testing.assert_allclose(parts, density.get_ydata(), rtol=1e-9)
    expected = np.exp(em_fit(load_galaxies(), 3).log_prob(em.get_xdata()[:, None]))
    np.testing.assert_allclose(em.get_ydata(), expected, rtol=1e-9)
    assert panel.get_xlabel() == "velocity_kms"
    assert "89% band" in texts(panel.figure)


def test_the_band_holds_the_density() -> None:
    panel = plot_clusters(posterior_of(load_galaxies(), 1)).axes[0]
    (band,), (density,) = by_gid(panel, "band"), by_gid(panel, "density")
    at, values = density.get_data()
    outline = band.get_paths()[0].vertices
    peak = at[values.argmax()]
    heights = outline[np.isclose(outline[:, 0], peak), 1]
    assert heights.min() < values.max() < heights.max()


def test_a_spike_of_em_does_not_flatten_the_panel() -> None:
    posterior = posterior_of(load_galaxies(), 2)
    spike = Mixture([0.5, 0.5], [[20000.0], [25000.0]], [[[1.0]], [[1e6]]])
    panel = plot_clusters(posterior, em=spike).axes[0]
    (band,) = by_gid(panel, "band")
    assert panel.get_ylim()[1] < 2 * band.get_paths()[0].vertices[:, 1].max()
    assert -0.15 * panel.get_ylim()[1] < panel.get_ylim()[0] < 0


def test_other_rows_can_be_shown(faithful) -> None:
    panel = plot_clusters(faithful, FAITHFUL.head(5), em=GaussianMixture(2, random_state=0).fit(FAITHFUL)).axes[0]
    points = np.concatenate([by_gid(panel, f"rows {k}")[0].get_offsets() for k in range(2)])
    assert sorted(points.tolist()) == sorted(FAITHFUL.head(5).to_numpy().tolist())


# ---- several features


def test_more_features_make_a_triangle_of_pairs() -> None:
    figure = plot_clusters(posterior_of(THYROID, 3, "diag"))
    panels = np.array(figure.axes).reshape(5, 5)
    visible = np.array([[panel.axison for panel in row] for row in panels])
    np.testing.assert_array_equal(visible, np.tril(np.ones((5, 5), dtype=bool)))
    assert [panel.get_xlabel() for panel in panels[-1]] == list(THYROID.columns)
    assert [panel.get_ylabel() for panel in panels[1:, 0]] == list(THYROID.columns)[1:]
    assert all(len(by_gid(panels[3, 1], f"mean {k}")) == 1 for k in range(3))
    assert by_gid(panels[2, 2], "density")


@pytest.mark.parametrize("features", [["T3", "T4"], [2, 1]])
def test_features_are_chosen_by_name_or_position(features) -> None:
    figure = plot_clusters(posterior_of(THYROID, 2), features=features)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("T3", "T4")
    (outline,) = by_gid(figure.axes[0], "em")[:1]
    em = em_fit(THYROID, 2)
    np.testing.assert_allclose(outline.get_xydata()[:-1].mean(axis=0), em.means[0, [2, 1]], rtol=1e-9)


def test_of_six_features_the_figure_shows_the_five_that_separate_and_names_the_sixth() -> None:
    noise = np.random.default_rng(0).normal(size=len(THYROID))
    figure = plot_clusters(posterior_of(THYROID.assign(noise=noise)[["noise", *THYROID.columns]], 3, "diag"))
    panels = np.array(figure.axes).reshape(5, 5)
    assert {panel.get_xlabel() for panel in panels[-1]} == {*THYROID.columns}
    assert figure.get_suptitle() == "5 features of 6 that separate the clusters best; not shown: noise"


def test_discriminants_of_em_are_those_of_the_posterior() -> None:
    tree = posterior_of(THYROID, 3, "diag")
    figure = plot_clusters(tree, features="discriminant")
    panel = figure.axes[0]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("discriminant 1", "discriminant 2")
    axes = discriminants(draws_of(thinned_tree(tree, 400)), 2)
    (outline,) = by_gid(panel, "em")[:1]
    np.testing.assert_allclose(
        outline.get_xydata()[:-1].mean(axis=0), (em_fit(THYROID, 3, "diag").means @ axes)[0], rtol=1e-9
    )


# ---- posteriors from elsewhere


def test_draws_from_elsewhere_have_no_em_and_may_be_switched(faithful) -> None:
    arrays = {key: faithful["posterior"][key].to_numpy().copy() for key in ("weights", "means", "covariances")}
    for values in arrays.values():
        values[:, ::2] = values[:, ::2, ::-1]
    arrays["w"] = arrays.pop("weights")
    figure = plot_clusters(arrays, FAITHFUL, names={"weights": "w"})
    ours = plot_clusters(faithful)
    for k in range(2):
        (theirs,), (expected,) = (by_gid(each.axes[0], f"mean {k}") for each in (figure, ours))
        np.testing.assert_allclose(theirs.get_xydata(), expected.get_xydata(), rtol=1e-9)
    assert by_gid(figure.axes[0], "em") == []
    assert "EM" not in texts(figure)
    assert "EM" in texts(plot_clusters(arrays, FAITHFUL, names={"weights": "w"}, em=em_fit(FAITHFUL, 2)))


def test_components_that_cannot_be_told_apart_are_said_to_be_so() -> None:
    rng = np.random.default_rng(0)
    draws = {
        "weights": np.full((2, 40, 2), 0.5),
        "means": 0.3 * rng.normal(size=(2, 40, 2, 2)),
        "sds": np.ones((2, 40)),
    }
    figure = plot_clusters(draws, rng.normal(size=(60, 2)), names={"sds": "sds"})
    assert "not identified" in figure.axes[0].get_title()


@pytest.mark.parametrize(("n_features", "n_components"), [(1, 10), (2, 10), (3, 10), (5, 2)])
def test_no_text_overlaps_another(n_features, n_components) -> None:
    frame = THYROID.iloc[:, :n_features].rename(columns=lambda name: f"{name}, measured in the laboratory")
    figure = plot_clusters(posterior_of(frame, n_components, "spherical"))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 - 1 <= legend.x0
    assert legend.x1 <= figure.bbox.x1 + 1
    assert figure.bbox.y0 - 1 <= legend.y0
    labels = [label for panel in figure.axes if panel.axison for label in (panel.xaxis.label, panel.yaxis.label)]
    boxes = [label.get_window_extent() for label in labels if label.get_text() and label.get_visible()]
    boxes += [panel.get_window_extent() for panel in figure.axes if panel.axison]
    assert not any(legend.overlaps(box) for box in boxes)
    named = [label.get_window_extent() for panel in figure.axes[-n_features:] for label in [panel.xaxis.label]]
    assert all(left.x1 <= right.x0 for left, right in pairwise(named))


def test_many_rows_are_counted_in_cells() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(12_000, 2)), columns=["a", "b"])
    figure = plot_clusters(pretend_posterior(frame, em_fit(frame, 1), draws=2))
    (panel,) = figure.axes
    (counted,) = [mesh for mesh in panel.collections if isinstance(mesh, QuadMesh)]
    assert counted.get_array().sum() == 12_000
    assert counted.get_rasterized()
    assert by_gid(panel, "rows 0") == []
    assert panel.get_title() == "12,000 rows, binned"
    assert "assignment uncertainty" not in texts(figure)


# ---- manners


def test_an_axes_of_ones_own_is_used(faithful) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot_clusters(faithful, ax=right) is figure
    assert by_gid(right, "em")
    assert not by_gid(left, "em")
    assert right.get_legend() is not None


def test_colours_of_ten_clusters_are_distinct() -> None:
    assert len(set(CLUSTERS)) == 10
    figure = plot_clusters(posterior_of(FAITHFUL, 12, "spherical"))
    marks = {(h.get_color(), h.get_marker()) for h in figure.legends[0].legend_handles[1:13]}
    assert len(marks) == 12


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"features": ["height"]}, "among eruptions, waiting; got"),
        ({"features": []}, "distinct features"),
        ({"features": ["waiting", 1]}, "distinct features"),
        ({"mass": 1.0}, "mass between 0 and 1"),
        ({"n_draws": -1}, "n_draws an integer, at least 0"),
    ],
)
def test_wrong_requests_are_refused(faithful, settings, expected) -> None:
    with pytest.raises(InputError, match=expected):
        plot_clusters(faithful, **settings)


def test_one_axes_cannot_hold_a_triangle() -> None:
    with pytest.raises(InputError, match="one or two features with ax; got 5"):
        plot_clusters(posterior_of(THYROID, 1), ax=Figure().subplots())


def test_notebooks_get_a_picture_and_no_global_figure(faithful) -> None:
    assert plot_clusters(faithful)._repr_png_().startswith(b"\x89PNG")
    assert plt.get_fignums() == []
