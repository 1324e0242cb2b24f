"""Components on the data: ellipses and densities are those of the draws, whatever their labels were."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from pretend_posterior import em_fit, pretend_posterior
from scipy.stats import chi2, norm

from bayesgmm import plot_components, plot_density
from bayesgmm.datasets import load_galaxies, load_old_faithful, load_thyroid
from bayesgmm.exceptions import InputError, NotIdentifiedError
from bayesgmm.style import CLUSTERS

FAITHFUL, GALAXIES = load_old_faithful(), load_galaxies()
TRIPLE = ("weights", "means", "covariances")
NAMES = {"weights": "w", "means": "mu", "covariances": "sigma"}


@pytest.fixture(scope="module")
def faithful():
    return pretend_posterior(FAITHFUL, em_fit(FAITHFUL, 2))


@pytest.fixture(scope="module")
def galaxies():
    return pretend_posterior(GALAXIES, em_fit(GALAXIES, 3))


def own_arrays(tree, *, switched: bool = False):
    """The draws as somebody's arrays, every second one with its labels turned round if asked for."""
    draws = {own: tree["posterior"][name].to_numpy().copy() for name, own in zip(TRIPLE, NAMES.values(), strict=True)}
    if switched:
        for values in draws.values():
            values[:, ::2] = values[:, ::2, ::-1]
    return draws


def panel_of(pc):
    return pc.viz["figure"].item().axes[0]


def distances(outline, mean, covariance):
    offset = outline - mean
    return np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)


def test_thick_ellipses_are_those_of_the_posterior_means(faithful) -> None:
    pc = plot_components(faithful, mass=0.5)
    means = faithful["posterior"].mean(("chain", "draw"))
    for k in range(2):
        line = pc.viz["mean"]["mean"].sel(cluster=k).item()
        expected = means["means"].sel(cluster=k).to_numpy(), means["covariances"].sel(cluster=k).to_numpy()
        np.testing.assert_allclose(distances(line.get_xydata(), *expected), chi2.ppf(0.5, 2), rtol=1e-9)
        assert line.get_color() == CLUSTERS[k]


def test_thin_ellipses_are_those_of_draws(faithful) -> None:
    pc = plot_components(faithful, n_draws=7)
    paths = pc.viz["draws"]["draws"].sel(cluster=1).item().get_paths()
    centres = np.array([path.vertices[:-1].mean(axis=0) for path in paths])
    drawn = faithful["posterior"]["means"].sel(cluster=1).to_numpy().reshape(-1, 2)
    assert len(centres) == 7
    assert all(np.isclose(drawn, centre, rtol=1e-9).all(axis=1).any() for centre in centres)
    assert "7 draws" in panel_of(pc).get_title()


def test_rows_have_the_colour_of_their_cluster(faithful) -> None:
    pc = plot_components(faithful)
    clouds = [pc.viz["rows"]["rows"].sel(cluster=k).item().get_offsets().data for k in range(2)]
    assert clouds[0][:, 0].max() < 3.2 < clouds[1][:, 0].max()
    drawn = np.concatenate(clouds).tolist()
    assert sorted(drawn) == sorted(FAITHFUL.to_numpy().tolist())
    assert (panel_of(pc).get_xlabel(), panel_of(pc).get_ylabel()) == ("eruptions", "waiting")


@pytest.mark.parametrize("switched", [False, True])
def test_labels_of_somebody_elses_draws_are_put_right_first(faithful, switched) -> None:
    draws = own_arrays(faithful, switched=switched)
    pc = plot_components(draws, FAITHFUL, names=NAMES)
    expected = plot_components(faithful)
    for k in range(2):
        ours, theirs = (each.viz["mean"]["mean"].sel(cluster=k).item().get_xydata() for each in (pc, expected))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_array_equal(draws["mu"], own_arrays(faithful, switched=switched)["mu"])
    assert panel_of(pc).get_xlabel() == "eruptions"
    plain = plot_components(draws, FAITHFUL.to_numpy(), names=NAMES, n_draws=1_000)
    assert panel_of(plain).get_xlabel() == "x0"
    assert "80 draws (thin)" in panel_of(plain).get_title()


def test_components_that_cannot_be_told_apart_are_refused_unless_forced() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    draws = {"weights": np.full((2, 40, 2), 0.5), "means": 0.3 * rng.normal(size=(2, 40, 2, 2)), "sd": np.ones((2, 40))}
    with pytest.raises(NotIdentifiedError, match="plot_density"):
        plot_components(draws, X, names={"sds": "sd"})
    assert plot_components(draws, X, names={"sds": "sd"}, force=True).viz["mean"]["mean"].sizes == {"cluster": 2}


# ---- one feature


@pytest.mark.parametrize("kind", ["eti", "hdi"])
def test_bands_hold_the_draws_of_a_weighted_component(galaxies, kind) -> None:
    pc = plot_components(galaxies, ci_prob=0.5, ci_kind=kind)
    draws = galaxies["posterior"]
    at, mean = pc.viz["mean"]["mean"].sel(cluster=1).item().get_data()
    weights, means, variances = (draws[name].sel(cluster=1).to_numpy().reshape(-1, 1) for name in TRIPLE)
    sampled = weights * norm.pdf(at, means, np.sqrt(variances))
    np.testing.assert_allclose(mean, sampled.mean(axis=0), rtol=1e-6)
    outline = pc.viz["band"]["band"].sel(cluster=1).item().get_paths()[0].vertices
    place = 200
    bounds = np.unique(outline[np.isclose(outline[:, 0], at[place], rtol=1e-12), 1])
    inside = np.mean((sampled[:, place] >= bounds[0]) & (sampled[:, place] <= bounds[-1]))
    assert inside == pytest.approx(0.5, abs=0.05)
    if kind == "eti":
        np.testing.assert_allclose(bounds, np.quantile(sampled[:, place], [0.25, 0.75]), rtol=0.02)
    assert "50% credible band" in panel_of(pc).get_title()


def test_a_feature_of_many_is_a_marginal() -> None:
    thyroid = load_thyroid().select_dtypes("number")
    tree = pretend_posterior(thyroid, em_fit(thyroid, 2), draws=10)
    pc = plot_components(tree, features="T4", force=True)
    at, mean = pc.viz["mean"]["mean"].sel(cluster=0).item().get_data()
    j = list(thyroid.columns).index("T4")
    draws = {name: tree["posterior"][name].sel(cluster=0).to_numpy() for name in TRIPLE}
    means, variances = draws["means"][..., j].reshape(-1, 1), draws["covariances"][..., j, j].reshape(-1, 1)
    expected = (draws["weights"].reshape(-1, 1) * norm.pdf(at, means, np.sqrt(variances))).mean(axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-6, atol=1e-12)
    assert panel_of(pc).get_xlabel() == "T4"


# ---- manners


def test_axes_of_ones_own_are_used(faithful) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    pc = plot_components(faithful, ax=right)
    assert pc.viz["figure"].item() is figure
    assert right.lines
    assert not left.lines
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["0  (0.36)", "1  (0.64)"]
    assert plt.get_fignums() == []


def test_components_can_be_laid_over_another_plot(faithful) -> None:
    pc = plot_density(faithful)
    n_lines = len(panel_of(pc).lines)
    again = plot_components(faithful, plot_collection=pc, visuals={"rows": False, "title": False})
    assert again is pc
    assert len(panel_of(pc).lines) == n_lines + 2
    assert panel_of(pc).lines[-1].get_color() == CLUSTERS[1]
    assert "rows" in pc.viz.children  # those of the density
    assert len(pc.viz["figure"].item().legends) == 1


def test_visuals_are_left_out_or_changed(faithful) -> None:
    pc = plot_components(faithful, visuals={"draws": False, "mean": {"width": 5, "color": "black"}, "legend": False})
    assert "draws" not in pc.viz.children
    line = pc.viz["mean"]["mean"].sel(cluster=0).item()
    assert (line.get_linewidth(), line.get_color()) == (5, "black")
    assert pc.viz["figure"].item().legends == []


def test_settings_reach_the_collection(faithful) -> None:
    pc = plot_components(faithful, figure_kwargs={"figsize": (3, 2)}, aes={"linestyle": ["cluster"]}, color=["r", "b"])
    assert pc.viz["figure"].item().get_size_inches().tolist() == [3, 2]
    lines = [pc.viz["mean"]["mean"].sel(cluster=k).item() for k in range(2)]
    assert [line.get_color() for line in lines] == ["r", "b"]
    assert lines[0].get_linestyle() != lines[1].get_linestyle()


def test_more_than_ten_clusters_differ_in_their_markers() -> None:
    tree = pretend_posterior(FAITHFUL, em_fit(FAITHFUL, 12, "spherical"), draws=5)
    pc = plot_components(tree, force=True, n_draws=0)
    assert len(set(zip(*(pc.aes[key]["mapping"].to_numpy() for key in ("color", "marker")), strict=True))) == 12
    assert all(line.get_marker() in ("None", None) for line in panel_of(pc).lines)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"features": ["height"]}, "among eruptions, waiting"),
        ({"mass": 1.0}, "mass between 0 and 1"),
        ({"n_draws": -1}, "n_draws an integer, at least 0"),
        ({"num_samples": 0}, "num_samples an integer, at least 1"),
        ({"ci_prob": 2.0}, "ci_prob between 0 and 1"),
        ({"ci_kind": "best"}, "ci_kind one of"),
        ({"visuals": {"colour": {}}}, "visuals among rows, cells, draws, mean"),
        ({"backend": "gnuplot"}, "backend among matplotlib, plotly; got 'gnuplot'"),
        ({"ax": Figure().subplots(), "backend": "plotly"}, "either ax"),
        ({"ax": Figure().subplots(), "figure_kwargs": {}}, "figure of its own"),
        ({"ax": Figure()}, "a matplotlib axes; got Figure"),
    ],
)
def test_wrong_requests_are_refused(faithful, settings, expected) -> None:
    with pytest.raises(InputError, match=expected):
        plot_components(faithful, **settings)


def test_more_than_two_features_are_pointed_to_pairs() -> None:
    thyroid = load_thyroid().select_dtypes("number")
    tree = pretend_posterior(thyroid, em_fit(thyroid, 1), draws=3)
    with pytest.raises(InputError, match="at most 2 features; got 3"):
        plot_components(tree, features=[0, 1, 2])


def test_plotly_draws_the_same_ellipses(faithful) -> None:
    pytest.importorskip("arviz_plots.backend.plotly", reason="plotly is optional", exc_type=ImportError)
    theirs = plot_components(faithful, backend="plotly").viz["mean"]["mean"].sel(cluster=0).item()
    ours = plot_components(faithful).viz["mean"]["mean"].sel(cluster=0).item()
    np.testing.assert_allclose(np.column_stack([theirs.x, theirs.y]), ours.get_xydata())


def test_a_backend_that_is_not_installed_is_named(faithful, monkeypatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("no", name="plotly")

    monkeypatch.setattr("bayesgmm.plots._canvas.import_module", missing)
    with pytest.raises(InputError, match=r"'plotly' without plotly. pip install \"arviz-plots\[plotly\]\""):
        plot_components(faithful, backend="plotly")
