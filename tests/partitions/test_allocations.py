"""Labels drawn from memberships, and how many clusters they occupy."""

import arviz_stats as azs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from monte_carlo import bound
from pretend_posterior import em_fit, pretend_posterior
from reference import load_data

from bayesgmm import occupied_clusters, sample_labels
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.partitions.allocations import label_draws
from bayesgmm.posterior.tree import draws_of
from bayesgmm.prediction.densities import mean_memberships

NAMES = {"weights": "w", "means": "mu", "sds": "sd"}


@pytest.fixture(scope="module")
def faithful_tree():
    frame = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
    return pretend_posterior(frame, em_fit(frame, 2))


def two_clusters(chains=2, draws=3_000, sd=1.0):
    """The same draw again and again: clusters at -1 and 1, one of three quarters."""
    shape = (chains, draws)
    return {
        "w": np.tile([0.25, 0.75], (*shape, 1)),
        "mu": np.tile([-1.0, 1.0], (*shape, 1)),
        "sd": np.full(shape, sd),
    }


@pytest.mark.draws
def test_labels_follow_the_memberships():
    rows = [[-2.0], [0.0], [0.4], [30.0]]
    labels = sample_labels(two_clusters(), rows, names=NAMES, random_state=0)
    assert labels.dims == ("chain", "draw", "obs")
    assert labels.dtype == np.int32
    logit = np.log(3.0) + 2.0 * np.ravel(rows)
    expected = 1.0 / (1.0 + np.exp(-logit))
    error = np.sqrt(expected * (1.0 - expected) / 6_000)
    assert (np.abs(labels.mean(["chain", "draw"]) - expected) <= bound(4) * error).all()
    assert (labels[..., 3] == 1).all()


@pytest.mark.draws
def test_rows_are_drawn_independently_given_the_draw():
    labels = sample_labels(two_clusters(), [[-0.5], [-0.5]], names=NAMES, random_state=1).to_numpy().reshape(-1, 2)
    assert abs(np.corrcoef(labels.T)[0, 1]) < bound() / np.sqrt(len(labels))


@pytest.mark.draws
def test_labels_of_one_fit_and_their_seed(faithful_tree):
    first, second, other = (sample_labels(faithful_tree, random_state=seed) for seed in (3, 3, 4))
    assert first.identical(second)
    assert not first.identical(other)
    assert first.shape == (2, 40, 272)
    rows = np.asfortranarray(faithful_tree["observed_data"]["y"].to_numpy())
    memberships = mean_memberships(draws_of(faithful_tree), Data(rows))[:, 1]
    assert np.abs(first.mean(["chain", "draw"]) - memberships).max() < bound(272) * 0.5 / np.sqrt(80)
    new = sample_labels(faithful_tree, [[2.0, 55.0], [4.5, 80.0]], random_state=0)
    assert new.sizes["obs"] == 2


def test_weights_of_zero_draw_no_labels():
    draws = two_clusters() | {"w": np.tile([0.0, 1.0], (2, 3_000, 1))}
    assert (sample_labels(draws, [[-1.0]], names=NAMES, random_state=0) == 1).all()


def test_draws_of_labels_in_any_layout():
    labels = np.array([[[3, 3, 1], [0, 1, 1]], [[5, 6, 7], [2, 2, 2]]])
    expected = [[[0, 0, 1], [0, 1, 1]], [[0, 1, 2], [0, 0, 0]]]
    np.testing.assert_array_equal(label_draws(labels), expected)
    np.testing.assert_array_equal(label_draws(labels.astype(float)), expected)
    np.testing.assert_array_equal(label_draws(labels[0].tolist()), expected[:1])
    turned = xr.DataArray(np.moveaxis(labels, -1, 0), {"row": list("abc")}, ("row", "chain", "draw"))
    np.testing.assert_array_equal(label_draws(turned), expected)
    assert label_draws(turned)["obs"].to_numpy().tolist() == list("abc")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 1], "axes"),
        (np.zeros((1, 1, 2, 2), dtype=int), "axes"),
        (np.zeros((0, 3), dtype=int), "axes"),
        ([[0.5, 1.0]], "whole numbers"),
        ([[np.nan, 1.0]], "whole numbers"),
        ([["a", "b"]], "whole numbers"),
    ],
)
def test_what_is_no_label_is_refused(labels, message):
    with pytest.raises(InputError, match=message):
        label_draws(labels)


@pytest.mark.draws
def test_the_number_of_occupied_clusters_is_binomial_where_it_must_be():
    """Two clusters on top of each other, three rows: all in one with probability 1/4; at least two rows in just one."""
    draws = two_clusters() | {"mu": np.zeros((2, 3_000, 2)), "w": np.full((2, 3_000, 2), 0.5)}
    found = occupied_clusters(draws, [[0.0]] * 3, names=NAMES, random_state=0)
    np.testing.assert_array_equal(found["n_clusters"], [0, 1, 2])
    error = found["mcse"].to_numpy()
    np.testing.assert_allclose(error[1], np.sqrt(0.25 * 0.75 / 6_000), rtol=0.15)
    assert abs(float(found["probability"][1]) - 0.25) < bound() * error[1]
    assert float(found["probability"].sum()) == pytest.approx(1.0)
    two_rows = occupied_clusters(draws, [[0.0]] * 3, min_size=2, names=NAMES, random_state=0)
    np.testing.assert_array_equal(two_rows["probability"], [0.0, 1.0, 0.0])
    assert not two_rows["mcse"].any()


def test_empty_and_small_clusters_are_counted_draw_by_draw():
    labels = np.array([[[0, 0, 0, 1], [0, 0, 1, 1]], [[2, 2, 2, 2], [4, 3, 2, 1]]])
    np.testing.assert_array_equal(occupied_clusters(labels)["probability"], [0, 0.25, 0.5, 0, 0.25])
    np.testing.assert_array_equal(occupied_clusters(labels, min_size=2)["probability"], [0.25, 0.5, 0.25, 0, 0])
    assert np.isnan(occupied_clusters(labels)["mcse"][1])  # two draws a chain tell nothing of errors


@pytest.mark.draws
def test_errors_come_from_the_effective_sample_size_and_see_chains_that_disagree():
    rng = np.random.default_rng(0)
    sticky = np.cumsum(rng.random((2, 500)) < 0.02, axis=1) % 2
    labels = np.stack([np.zeros((2, 500), dtype=int), sticky], axis=-1)
    error = float(occupied_clusters(labels)["mcse"][1])
    expected = azs.mcse(xr.Dataset({"x": (("chain", "draw"), (sticky == 0) * 1.0)}), method="mean")
    assert error == pytest.approx(float(expected["x"]))
    p = float(occupied_clusters(labels)["probability"][1])
    assert error > 3 * np.sqrt(p * (1 - p) / 1_000)
    stuck = np.stack([np.zeros((2, 500), dtype=int), np.repeat([[0], [1]], 500, axis=1)], axis=-1)
    assert float(occupied_clusters(stuck)["mcse"][1]) > 0.1


def test_bad_sizes():
    with pytest.raises(InputError, match="min_size"):
        occupied_clusters([[0, 1]], min_size=0)
