"""Densities in figures are those of the draws: mean, band, and regions that hold what they say."""

import numpy as np
import pytest
from pretend_posterior import em_fit, pretend_posterior
from scipy.stats import multivariate_normal, norm

from bayesgmm import plot_density
from bayesgmm.datasets import load_galaxies, load_old_faithful
from bayesgmm.exceptions import InputError

FAITHFUL, GALAXIES = load_old_faithful(), load_galaxies()


@pytest.fixture(scope="module")
def galaxies():
    return pretend_posterior(GALAXIES, em_fit(GALAXIES, 3))


@pytest.fixture(scope="module")
def faithful():
    return pretend_posterior(FAITHFUL, em_fit(FAITHFUL, 2))


def panel_of(pc):
    return pc.viz["figure"].item().axes[0]


def test_mean_and_band_are_those_of_the_draws(galaxies) -> None:
    pc = plot_density(galaxies)
    at, mean = pc.viz["mean"]["mean"].item().get_data()
    draws = galaxies["posterior"]
    weights, means, variances = (
        draws[name].to_numpy().reshape(-1, 3, 1) for name in ("weights", "means", "covariances")
    )
    sampled = (weights * norm.pdf(at, means, np.sqrt(variances))).sum(axis=1)
    np.testing.assert_allclose(mean, sampled.mean(axis=0), rtol=1e-6)
    assert np.trapezoid(mean, at) == pytest.approx(1.0, abs=0.05)
    outline = pc.viz["band"]["band"].item().get_paths()[0].vertices
    for place in (60, 200, 300):
        bounds = np.unique(outline[np.isclose(outline[:, 0], at[place], rtol=1e-12), 1])
        np.testing.assert_allclose(bounds[[0, -1]], np.quantile(sampled[:, place], [0.055, 0.945]), rtol=0.05)


def test_the_histogram_is_a_density_and_every_row_has_its_mark(galaxies) -> None:
    pc = plot_density(galaxies)
    outline = pc.viz["hist"]["hist"].item().get_paths()[0].vertices
    heights = np.histogram(GALAXIES, bins=np.unique(outline[:, 0]), density=True)[0]
    assert outline[:, 1].max() == pytest.approx(heights.max())
    marks = pc.viz["rug"]["rug"].item().get_offsets()
    assert sorted(marks[:, 0].tolist()) == sorted(GALAXIES.iloc[:, 0].tolist())
    assert marks[:, 1].max() < 0
    assert panel_of(pc).get_ylim()[0] < marks[:, 1].min()
    assert panel_of(pc).get_ylim()[1] > heights.max()


def test_switched_labels_change_nothing(galaxies) -> None:
    draws = {name: galaxies["posterior"][name].to_numpy().copy() for name in ("weights", "means", "covariances")}
    for values in draws.values():
        values[:, ::2] = values[:, ::2, ::-1]
    lines = [
        plot_density(posterior, GALAXIES).viz["mean"]["mean"].item().get_ydata() for posterior in (draws, galaxies)
    ]
    np.testing.assert_allclose(*lines, rtol=1e-9)


def test_regions_of_one_normal_have_the_known_levels() -> None:
    X = np.random.default_rng(0).normal(size=(400, 2)) @ [[1.0, 0.4], [0.0, 0.8]]
    covariance = np.cov(X, rowvar=False)
    draws = {"weights": np.ones((1, 5, 1)), "means": np.tile(X.mean(axis=0), (1, 5, 1, 1))}
    draws["covariances"] = np.tile(covariance, (1, 5, 1, 1, 1))
    pc = plot_density(draws, X, hdi_probs=[0.5, 0.9, 0.25])
    peak = multivariate_normal(X.mean(axis=0), covariance).pdf(X.mean(axis=0))
    drawn = pc.viz["contours"]["contours"].item()
    np.testing.assert_allclose(drawn.levels, peak * (1 - np.array([0.9, 0.5, 0.25])), rtol=0.02)
    assert "25, 50 and 90% regions" in panel_of(pc).get_title()
    inside = drawn.get_paths()[1].contains_points(X).mean()
    assert inside == pytest.approx(0.5, abs=0.06)


def test_two_features_show_all_rows(faithful) -> None:
    pc = plot_density(faithful)
    marks = pc.viz["rows"]["rows"].item().get_offsets().data
    np.testing.assert_array_equal(marks, FAITHFUL.to_numpy())
    assert (panel_of(pc).get_xlabel(), panel_of(pc).get_ylabel()) == ("eruptions", "waiting")


def test_features_change_places(faithful) -> None:
    pc = plot_density(faithful, features=["waiting", "eruptions"], visuals={"regions": False})
    assert panel_of(pc).get_xlabel() == "waiting"
    np.testing.assert_array_equal(pc.viz["rows"]["rows"].item().get_offsets().data, FAITHFUL.to_numpy()[:, ::-1])
    assert "regions" not in pc.viz.children


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"hdi_probs": [0.5, 1.0]}, "hdi_probs between 0 and 1"),
        ({"hdi_probs": []}, "hdi_probs"),
        ({"ci_prob": 0.0}, "ci_prob between 0 and 1"),
        ({"features": ["a"]}, "among eruptions, waiting"),
        ({"visuals": {"band": {}}}, "visuals among regions, cells, rows, contours"),
    ],
)
def test_wrong_requests_are_refused(faithful, settings, expected) -> None:
    with pytest.raises(InputError, match=expected):
        plot_density(faithful, **settings)


def test_rows_are_needed() -> None:
    draws = {"weights": np.ones((1, 5, 1)), "means": np.zeros((1, 5, 1)), "sd": np.ones((1, 5))}
    with pytest.raises(InputError, match="the rows X"):
        plot_density(draws, names={"sds": "sd"})


def test_plotly_draws_both_kinds(galaxies, faithful) -> None:
    pytest.importorskip("arviz_plots.backend.plotly", reason="plotly is optional", exc_type=ImportError)
    theirs = plot_density(galaxies, backend="plotly").viz["mean"]["mean"].item()
    ours = plot_density(galaxies).viz["mean"]["mean"].item()
    np.testing.assert_allclose(theirs.y, ours.get_ydata())
    assert {trace.type for trace in plot_density(faithful, backend="plotly").viz["figure"].item().data} >= {"contour"}
