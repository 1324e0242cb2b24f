"""Similarities in the order of the partition, and rows as uncertain as they are."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from pretend_posterior import em_fit, pretend_posterior

from bayesgmm import (
    estimate_partition,
    membership_uncertainty,
    plot_membership_uncertainty,
    plot_similarity,
    similarity_matrix,
)
from bayesgmm.datasets import load_galaxies, load_old_faithful
from bayesgmm.exceptions import InputError
from bayesgmm.plots.partition import partition_order
from bayesgmm.style import CLUSTERS

FAITHFUL, GALAXIES = load_old_faithful(), load_galaxies()


@pytest.fixture(scope="module")
def faithful():
    return pretend_posterior(FAITHFUL, em_fit(FAITHFUL, 2))


@pytest.fixture(scope="module")
def galaxies():
    return pretend_posterior(GALAXIES, em_fit(GALAXIES, 2))


def image_of(pc):
    return pc.viz["image"]["image"].item().get_array().data


# ---- similarity


def test_the_image_is_the_similarity_in_the_order_of_the_partition(galaxies) -> None:
    expected = similarity_matrix(galaxies).to_numpy()
    clusters = estimate_partition(galaxies, random_state=0).labels
    image = image_of(plot_similarity(galaxies, partition=clusters))
    order, sizes = partition_order(expected, clusters.astype(int))
    np.testing.assert_allclose(image, expected[np.ix_(order, order)])
    assert sorted(order.tolist()) == list(range(len(GALAXIES)))
    ends = np.cumsum(sizes)
    for end in ends[:-1]:
        assert len(set(clusters[order[:end]]) & set(clusters[order[end:]])) == 0


def test_squares_lie_around_the_clusters() -> None:
    pc = plot_similarity([[0, 1, 0, 1, 1], [0, 1, 0, 1, 1]])
    squares = [path.vertices for path in pc.viz["borders"]["borders"].item().get_paths()]
    assert [(square.min(), square.max()) for square in squares] == [(-0.5, 2.5), (2.5, 4.5)]
    np.testing.assert_array_equal(image_of(pc), np.kron(np.eye(2), np.ones((3, 3)))[:5, :5])
    names = [text.get_text() for text in pc.viz["figure"].item().legends[0].get_texts()]
    assert names == ["0  (2)", "1  (3)"]


def test_similar_clusters_are_neighbours_and_the_surest_rows_come_first() -> None:
    matrix = np.array([[1.0, 0.0, 0.4, 0.9], [0.0, 1.0, 0.0, 0.0], [0.4, 0.0, 1.0, 0.3], [0.9, 0.0, 0.3, 1.0]])
    matrix[0, 0] = 1.1
    order, sizes = partition_order(matrix, np.array([0, 1, 2, 0]))
    assert order.tolist() == [0, 3, 2, 1]
    assert sizes.tolist() == [2, 1, 1]


def test_of_many_rows_some_are_shown(faithful) -> None:
    pc = plot_similarity(faithful, max_rows=50)
    assert image_of(pc).shape == (50, 50)
    again = plot_similarity(faithful, max_rows=50)
    np.testing.assert_array_equal(image_of(pc), image_of(again))
    assert "50 rows, 2 estimated clusters" in pc.viz["plot"].item().get_title()


def test_a_partition_of_all_rows_follows_those_shown(faithful) -> None:
    short = (FAITHFUL["eruptions"] < 3.1).to_numpy().astype(int)
    image = image_of(plot_similarity(faithful, partition=short, max_rows=60))
    assert image.shape == (60, 60)
    assert image[:3, :3].min() > 0.9
    assert image[:3, -3:].max() < 0.5


def test_a_similarity_in_axes_of_ones_own(galaxies) -> None:
    figure = Figure()
    ax = figure.subplots()
    plot_similarity(galaxies, ax=ax, visuals={"colorbar": False, "borders": False, "bars": False})
    assert figure.axes == [ax]
    assert len(ax.images) == 1
    assert not ax.collections


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"partition": [0, 1]}, "a partition of 272 rows"),
        ({"max_rows": 0}, "max_rows an integer, at least 1"),
        ({"num_samples": 0}, "num_samples an integer, at least 1"),
        ({"visuals": {"rows": {}}}, "visuals among image, borders, bars, colorbar"),
        ({"backend": "bokeh"}, "backend among matplotlib, plotly"),
    ],
)
def test_wrong_requests_for_similarity_are_refused(faithful, settings, expected) -> None:
    with pytest.raises(InputError, match=expected):
        plot_similarity(faithful, **settings)


def test_plotly_draws_the_same_matrix(galaxies) -> None:
    pytest.importorskip("arviz_plots.backend.plotly", reason="plotly is optional", exc_type=ImportError)
    theirs = plot_similarity(galaxies, backend="plotly").viz["image"]["image"].item()
    np.testing.assert_allclose(theirs.z, image_of(plot_similarity(galaxies)))


# ---- memberships


def test_sizes_follow_the_uncertainty_and_colours_the_label(faithful) -> None:
    pc = plot_membership_uncertainty(faithful)
    split = membership_uncertainty(faithful)
    for part in ("overlap", "parameters"):
        clouds = [pc.viz["rows"]["rows"].sel(part=part, cluster=k).item() for k in range(2)]
        rows = np.concatenate([cloud.get_offsets().data for cloud in clouds])
        sizes = np.concatenate([cloud.get_sizes() for cloud in clouds])
        order, ours = np.lexsort(FAITHFUL.to_numpy().T), np.lexsort(rows.T)
        np.testing.assert_array_equal(rows[ours], FAITHFUL.to_numpy()[order])
        expected = 10 + 210 * split[part].to_numpy() / np.log(2)
        distinct = ~FAITHFUL.duplicated(keep=False).to_numpy()
        np.testing.assert_allclose(sizes[ours][distinct[order]], expected[order][distinct[order]], rtol=1e-9)
        assert [to_hex(cloud.get_facecolor()[0]) for cloud in clouds] == list(CLUSTERS[:2])


def test_titles_and_legends_say_what_is_shown(faithful) -> None:
    pc = plot_membership_uncertainty(faithful)
    titles = [panel.get_title() for panel in pc.viz["plot"].to_numpy()]
    means = membership_uncertainty(faithful)
    assert titles == [f"{part}: mean {float(means[part].mean()):.2g} nats" for part in ("overlap", "parameters")]
    clusters, sizes = pc.viz["figure"].item().legends
    assert clusters.get_title().get_text() == "cluster (weight)"
    assert [text.get_text() for text in sizes.get_texts()] == ["0", "0.35", "0.69"]


def test_one_feature_has_uncertainty_as_its_height(galaxies) -> None:
    pc = plot_membership_uncertainty(galaxies, parts="overlap", ci_prob=0.5)
    split = membership_uncertainty(galaxies, ci_prob=0.5)
    marks = [pc.viz["rows"]["rows"].sel(part="overlap", cluster=k).item().get_offsets().data for k in range(2)]
    heights = np.concatenate(marks)
    heights = heights[np.argsort(heights[:, 0], kind="stable"), 1]
    order = np.argsort(GALAXIES.iloc[:, 0].to_numpy(), kind="stable")
    np.testing.assert_allclose(np.sort(heights), np.sort(split["overlap"].to_numpy()[order]), rtol=1e-9)
    lines = [pc.viz["interval"]["interval"].sel(part="overlap", cluster=k).item().get_segments() for k in range(2)]
    ends = np.concatenate(lines)[:, :, 1]
    assert len(ends) == len(GALAXIES)
    np.testing.assert_allclose(np.sort(ends[:, 1]), np.sort(split["overlap_ci"].to_numpy()[:, 1]), rtol=1e-9)
    assert pc.viz["plot"].item().get_ylim()[1] > ends.max()


def test_new_rows_can_be_shown(faithful) -> None:
    between = [[3.0, 65.0], [1.9, 55.0]]
    pc = plot_membership_uncertainty(faithful, between, parts=["total"])
    clouds = [pc.viz["rows"]["rows"].sel(part="total", cluster=k).item() for k in range(2)]
    assert sum(len(cloud.get_offsets()) for cloud in clouds) == 2


def test_a_single_part_in_axes_of_ones_own(faithful) -> None:
    ax = Figure().subplots()
    plot_membership_uncertainty(faithful, parts="total", ax=ax)
    assert ax.get_title().startswith("total")
    with pytest.raises(InputError, match="one part with ax; got 2"):
        plot_membership_uncertainty(faithful, ax=ax)


@pytest.mark.parametrize("parts", ["entropy", [], ["total", "total"]])
def test_unknown_parts_are_refused(faithful, parts) -> None:
    with pytest.raises(InputError, match="distinct parts among total, overlap, parameters"):
        plot_membership_uncertainty(faithful, parts=parts)


def test_plotly_draws_the_parts(faithful) -> None:
    pytest.importorskip("arviz_plots.backend.plotly", reason="plotly is optional", exc_type=ImportError)
    pc = plot_membership_uncertainty(faithful, backend="plotly")
    assert sum(len(trace.x) for trace in pc.viz["figure"].item().data if trace.mode == "markers") == 2 * len(FAITHFUL)
