"""The similarity matrix against its definition."""

import numpy as np
import pandas as pd
import pytest
from monte_carlo import FALSE_ALARM
from pretend_posterior import em_fit, pretend_posterior
from reference import load_data
from scipy.stats import binom

from bayesgmm import sample_labels, similarity_matrix
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.partitions import similarity
from bayesgmm.posterior.tree import draws_of
from bayesgmm.prediction.densities import sampled_memberships


@pytest.fixture(scope="module")
def faithful_tree():
    frame = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
    return pretend_posterior(frame, em_fit(frame, 2))


def test_the_matrix_is_the_mean_product_of_memberships(faithful_tree):
    rows = np.asfortranarray(faithful_tree["observed_data"]["y"].to_numpy())
    sampled = sampled_memberships(draws_of(faithful_tree), Data(rows))
    expected = np.einsum("iks,jks->ij", sampled, sampled) / sampled.shape[-1]
    np.fill_diagonal(expected, 1.0)
    matrix = similarity_matrix(faithful_tree)
    assert matrix.dims == ("obs", "obs_bis")
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    np.testing.assert_array_equal(matrix, matrix.T)


def test_blocks_of_draws_give_the_same(faithful_tree, monkeypatch):
    whole = similarity_matrix(faithful_tree)
    monkeypatch.setattr(similarity, "_BLOCK_VALUES", 7 * 2 * 272)  # seven draws a block, three in the last
    told = []
    np.testing.assert_allclose(
        similarity_matrix(faithful_tree, callback=lambda *at: told.append(at)), whole, atol=1e-12
    )
    assert told[0] == (7, 80)
    assert told[-1] == (80, 80)


@pytest.mark.draws
def test_drawn_labels_agree_within_their_error(faithful_tree):
    exact = similarity_matrix(faithful_tree, rows=np.arange(0, 272, 4)).to_numpy()
    labels = sample_labels(faithful_tree, random_state=0)
    drawn = similarity_matrix(labels, rows=np.arange(0, 272, 4)).to_numpy()
    low, high = binom.interval(1.0 - FALSE_ALARM / exact.size, 80, exact)
    assert np.abs(drawn - exact).max() > 0.0
    assert ((low / 80 - 1e-9 <= drawn) & (drawn <= high / 80 + 1e-9)).all()


def test_labels_that_mean_something_else_in_every_draw_change_nothing():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=(2, 25, 12))
    expected = np.mean([np.equal.outer(z, z) for z in labels.reshape(-1, 12)], axis=0)
    switched = np.argsort(rng.random((2, 25, 4)), axis=-1)
    np.testing.assert_allclose(similarity_matrix(labels), expected, atol=1e-12)
    np.testing.assert_allclose(similarity_matrix(np.take_along_axis(switched, labels, axis=-1)), expected, atol=1e-12)


def test_some_rows_only(faithful_tree):
    whole = similarity_matrix(faithful_tree)
    part = similarity_matrix(faithful_tree, rows=[5, 2, 100])
    assert part["obs"].to_numpy().tolist() == [5, 2, 100]
    np.testing.assert_allclose(part, whole.to_numpy()[np.ix_([5, 2, 100], [5, 2, 100])], atol=1e-12)
    drawn = similarity_matrix(faithful_tree, rows=30, random_state=0)
    ids = drawn["obs"].to_numpy()
    assert len(set(ids)) == 30
    assert (np.diff(ids) > 0).all()
    np.testing.assert_allclose(drawn, whole.sel(obs=ids, obs_bis=ids), atol=1e-12)


def test_a_matrix_that_does_not_fit_is_refused_before_any_work(faithful_tree):
    with pytest.raises(InputError, match=r"rows=100 .*max_memory") as caught:
        similarity_matrix(faithful_tree, max_memory=8 * 100**2)
    assert "272 rows" in caught.value.got
    assert similarity_matrix(faithful_tree, rows=100, max_memory=8 * 100**2, random_state=0).shape == (100, 100)
    with pytest.raises(InputError, match="which need"):
        similarity_matrix(np.broadcast_to(np.zeros(1, dtype=int), (1, 100_000)))


@pytest.mark.parametrize("rows", [0, 273, [-1], [272], [[1]], [0.5], []])
def test_rows_that_do_not_exist(faithful_tree, rows):
    with pytest.raises(InputError, match="rows"):
        similarity_matrix(faithful_tree, rows=rows)
