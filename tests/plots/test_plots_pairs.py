"""The triangle of pairs: the right features in every panel."""

from itertools import pairwise

import numpy as np
import pytest
from pretend_posterior import em_fit, pretend_posterior
from scipy.stats import chi2, norm

from bayesgmm import plot_pairs
from bayesgmm.datasets import load_galaxies, load_thyroid
from bayesgmm.exceptions import InputError

THYROID = load_thyroid().select_dtypes("number")
COLUMNS = list(THYROID.columns)


@pytest.fixture(scope="module")
def thyroid():
    return pretend_posterior(THYROID, em_fit(THYROID, 3), draws=15)


@pytest.fixture(scope="module")
def drawn(thyroid):
    return plot_pairs(thyroid, features=COLUMNS[:3], force=True)


def test_ellipses_below_the_diagonal_are_those_of_two_features(thyroid, drawn) -> None:
    means = thyroid["posterior"].mean(("chain", "draw"))
    for r, c in [(1, 0), (2, 0), (2, 1)]:
        line = drawn.viz["mean"]["mean"].sel(row=COLUMNS[r], column=COLUMNS[c], cluster=1).item()
        index = [c, r]
        offset = line.get_xydata() - means["means"].sel(cluster=1).to_numpy()[index]
        inverse = np.linalg.inv(means["covariances"].sel(cluster=1).to_numpy()[np.ix_(index, index)])
        np.testing.assert_allclose(np.einsum("ni,ij,nj->n", offset, inverse, offset), chi2.ppf(0.9, 2), rtol=1e-9)


def test_rows_are_in_the_panel_of_their_features(drawn) -> None:
    panel = drawn.viz["rows"]["rows"].sel(row=COLUMNS[2], column=COLUMNS[0])
    rows = np.concatenate([panel.sel(cluster=k).item().get_offsets().data for k in range(3)])
    assert sorted(rows.tolist()) == sorted(THYROID.to_numpy()[:, [0, 2]].tolist())


def test_the_diagonal_shows_marginal_densities(thyroid, drawn) -> None:
    line = drawn.viz["density"]["density"].sel(row=COLUMNS[1], column=COLUMNS[1]).item()
    draws = {v: thyroid["posterior"][v].to_numpy() for v in ("weights", "means", "covariances")}
    weights, means = (draws[v].reshape(-1, 3, *draws[v].shape[3:]) for v in ("weights", "means"))
    variances = draws["covariances"].reshape(-1, 3, 5, 5)[:, :, 1, 1, None]
    sampled = (weights[:, :, None] * norm.pdf(line.get_xdata(), means[:, :, 1, None], np.sqrt(variances))).sum(axis=1)
    np.testing.assert_allclose(line.get_ydata(), sampled.mean(axis=0), rtol=1e-6, atol=1e-15)
    parts = [
        drawn.viz["components"]["components"].sel(row=COLUMNS[1], column=COLUMNS[1], cluster=k).item().get_ydata()
        for k in range(3)
    ]
    np.testing.assert_allclose(sum(parts), line.get_ydata(), rtol=1e-9, atol=1e-15)


def test_only_outer_panels_are_named_and_none_is_above_the_diagonal(drawn) -> None:
    panels = drawn.viz["plot"].to_numpy()
    visible = np.array([[panel.axison for panel in row] for row in panels])
    np.testing.assert_array_equal(visible, np.tril(np.ones((3, 3), dtype=bool)))
    assert [panel.get_xlabel() for panel in panels[-1]] == COLUMNS[:3]
    assert [panel.get_ylabel() for panel in panels[:, 0]] == ["", *COLUMNS[1:3]]
    assert panels[1, 0].get_xlim() == panels[2, 0].get_xlim() == panels[0, 0].get_xlim()


def test_the_legend_lies_in_the_empty_corner(drawn) -> None:
    figure = drawn.viz["figure"].item()
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert not any(box.overlaps(panel.get_window_extent()) for panel in figure.axes if panel.axison)
    assert not box.overlaps(figure._suptitle.get_window_extent())


def test_five_features_are_shown_and_more_on_request(thyroid) -> None:
    assert plot_pairs(thyroid, force=True, n_draws=0).viz["plot"].sizes == {"row": 5, "column": 5}


def test_long_names_do_not_overlap() -> None:
    frame = THYROID.rename(columns=lambda name: f"{name}, measured in the laboratory")
    figure = plot_pairs(pretend_posterior(frame, em_fit(frame, 1), draws=3)).viz["figure"].item()
    figure.draw_without_rendering()
    panels = np.reshape(figure.axes, (5, 5))
    across = [panel.xaxis.label.get_window_extent() for panel in panels[-1]]
    upwards = [panel.yaxis.label.get_window_extent() for panel in panels[1:, 0]]
    assert all(left.x1 <= right.x0 for left, right in pairwise(across))
    assert all(above.y0 >= below.y1 for above, below in pairwise(upwards))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"features": ["T4"]}, "two features or more; got 1"),
        ({"features": ["T4", "T4"]}, "distinct features"),
        ({"visuals": {"rug": {}}}, "visuals among hist, band, density"),
    ],
)
def test_wrong_requests_are_refused(thyroid, settings, expected) -> None:
    with pytest.raises(InputError, match=expected):
        plot_pairs(thyroid, force=True, **settings)


def test_one_feature_has_no_pairs() -> None:
    with pytest.raises(InputError, match="plot_density"):
        plot_pairs(pretend_posterior(load_galaxies(), em_fit(load_galaxies(), 1), draws=3))


def test_plotly_draws_the_triangle(thyroid) -> None:
    pytest.importorskip("arviz_plots.backend.plotly", reason="plotly is optional", exc_type=ImportError)
    pc = plot_pairs(thyroid, features=COLUMNS[:2], force=True, backend="plotly")
    assert len(pc.viz["figure"].item().data) > 10
