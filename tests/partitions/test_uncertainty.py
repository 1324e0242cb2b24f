"""Entropy of memberships, split in two: by hand, and against plain NumPy."""

import numpy as np
import pandas as pd
import pytest
from pretend_posterior import em_fit, pretend_posterior
from reference import load_data
from scipy.stats import entropy

from bayesgmm import membership_uncertainty
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.posterior.tree import draws_of
from bayesgmm.prediction import densities as predict
from bayesgmm.prediction.densities import sampled_memberships

NAMES = {"weights": "w", "means": "mu", "sds": "sd"}
ROWS = [[2.0, 55.0], [3.0, 65.0], [3.2, 70.0], [4.5, 80.0], [3.1, 68.0]]


@pytest.fixture(scope="module")
def faithful_tree():
    frame = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
    return pretend_posterior(frame, em_fit(frame, 2))


def weights_alone(*weights):
    """Draws of two clusters on top of each other: the weights are the memberships of every row."""
    shape = (1, len(weights))
    return {"w": np.array([weights]), "mu": np.zeros((*shape, 2)), "sd": np.ones(shape)}


def test_by_hand():
    """Draws (1, 0) and (1/2, 1/2): H(3/4, 1/4) in all, half of log 2 from overlap."""
    split = membership_uncertainty(weights_alone((1.0, 0.0), (0.5, 0.5)), [[0.0]], names=NAMES, ci_prob=0.5)
    total, overlap = 0.75 * np.log(4 / 3) + 0.25 * np.log(4), 0.5 * np.log(2)
    assert split["total"].item() == pytest.approx(total)
    assert split["overlap"].item() == pytest.approx(overlap)
    assert split["parameters"].item() == pytest.approx(total - overlap)
    np.testing.assert_allclose(split["overlap_ci"][0], np.quantile([0.0, np.log(2)], [0.25, 0.75]))
    divergence = [np.log(4 / 3), 0.5 * np.log(2 / 3) + 0.5 * np.log(2)]
    assert np.mean(divergence) == pytest.approx(total - overlap)
    np.testing.assert_allclose(split["parameters_ci"][0], np.quantile(divergence, [0.25, 0.75]))


def test_draws_that_are_sure_but_disagree_are_all_ignorance():
    split = membership_uncertainty(weights_alone((1.0, 0.0), (0.0, 1.0)), [[0.0], [1.0]], names=NAMES)
    np.testing.assert_allclose(split["overlap"], 0.0, atol=1e-12)
    np.testing.assert_allclose(split["parameters"], np.log(2))


def test_against_plain_numpy_for_new_rows(faithful_tree):
    split = membership_uncertainty(faithful_tree, ROWS, ci_prob=0.8, ci_kind="eti")
    sampled = sampled_memberships(draws_of(faithful_tree), Data.of(ROWS))
    mean = sampled.mean(axis=-1)
    each, divergence = entropy(sampled, axis=1), entropy(sampled, mean[..., None], axis=1)
    expected = {"total": entropy(mean, axis=1), "overlap": each.mean(axis=-1), "parameters": divergence.mean(axis=-1)}
    for name, values in expected.items():
        np.testing.assert_allclose(split[name], values, rtol=1e-9, atol=1e-12)
        assert split[f"mean_{name}"].item() == pytest.approx(values.mean())
    for name, values in {"overlap": each, "parameters": divergence}.items():
        bounds = np.quantile(values, [0.1, 0.9], axis=-1).T
        np.testing.assert_allclose(split[f"{name}_ci"], bounds, rtol=1e-9, atol=1e-12)
        averages = np.quantile(values.mean(axis=0), [0.1, 0.9])
        np.testing.assert_allclose(split[f"mean_{name}_ci"], averages, rtol=1e-9)


def test_the_parts_add_up(faithful_tree):
    split = membership_uncertainty(faithful_tree)
    assert split.sizes["obs"] == 272
    np.testing.assert_allclose(split["overlap"] + split["parameters"], split["total"], rtol=1e-12, atol=1e-15)
    assert (split["parameters"] >= 0.0).all()


def test_blocks_of_rows_give_the_same(faithful_tree, monkeypatch):
    whole = membership_uncertainty(faithful_tree, ROWS)
    monkeypatch.setattr(predict, "_BLOCK_VALUES", 2 * 2 * 80)  # two rows a block
    blocked = membership_uncertainty(faithful_tree, ROWS)
    for name in whole:
        np.testing.assert_allclose(blocked[name], whole[name], rtol=1e-12)


def test_bad_intervals(faithful_tree):
    with pytest.raises(InputError, match="ci_prob"):
        membership_uncertainty(faithful_tree, ci_prob=1.0)
