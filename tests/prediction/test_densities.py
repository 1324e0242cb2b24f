"""What a posterior says about rows, against a plain loop over draws."""

import numpy as np
import pandas as pd
import pytest
from arviz_base import rc_context
from pretend_posterior import em_fit, pretend_posterior
from reference import FAMILIES, load_data
from scipy.special import logsumexp

from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.posterior.tree import draws_of, in_family
from bayesgmm.prediction import densities as predict
from bayesgmm.prediction.densities import (
    log_predictive_density,
    mean_memberships,
    membership_intervals,
    predictive_sample,
)

ROWS = np.asfortranarray([[2.0, 55.0], [3.0, 65.0], [3.2, 70.0], [4.5, 80.0], [40.0, 800.0], [3.1, 68.0]])


@pytest.fixture(scope="module", params=FAMILIES)
def tree(request):
    frame = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
    return pretend_posterior(frame, em_fit(frame, 2, request.param), draws=30)


def mixtures(tree) -> list[Mixture]:
    """Every draw as a mixture, chains end to end."""
    posterior, family = tree["posterior"], covariance_family(tree.attrs["covariance_type"])
    names = ("weights", "means", "covariances")
    stacks = [posterior[name].to_numpy().reshape(-1, *posterior[name].shape[2:]) for name in names]
    return [in_family(Mixture(w, m, c, "full"), family) for w, m, c in zip(*stacks, strict=True)]


def memberships(tree):
    return np.array([mixture.responsibilities(ROWS) for mixture in mixtures(tree)])


def test_mean_memberships(tree):
    got = mean_memberships(draws_of(tree), Data(ROWS))
    np.testing.assert_allclose(got, memberships(tree).mean(axis=0), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=1e-12)


def test_log_predictive_density(tree):
    per_draw = np.array([mixture.log_prob(ROWS) for mixture in mixtures(tree)])
    expected = logsumexp(per_draw, axis=0) - np.log(len(per_draw))
    np.testing.assert_allclose(log_predictive_density(draws_of(tree), Data(ROWS)), expected, rtol=1e-11)


def test_intervals(tree):
    found = membership_intervals(draws_of(tree), Data(ROWS), ci_prob=0.8, ci_kind="eti")
    sampled = memberships(tree)
    assert found["ci"].dims == ("obs", "cluster", "ci_bound")
    assert found["ci_bound"].to_numpy().tolist() == ["lower", "upper"]
    np.testing.assert_allclose(found["mean"], sampled.mean(axis=0), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found["sd"], sampled.std(axis=0), rtol=1e-8, atol=1e-12)
    bounds = np.quantile(sampled, [0.1, 0.9], axis=0)
    np.testing.assert_allclose(found["ci"], np.moveaxis(bounds, 0, -1), rtol=1e-9, atol=1e-13)


def test_highest_density_intervals_are_no_longer_than_equal_tailed_ones(tree):
    draws = draws_of(tree)
    length = {}
    for kind in ("eti", "hdi"):
        ci = membership_intervals(draws, Data(ROWS), ci_prob=0.8, ci_kind=kind)["ci"]
        length[kind] = ci.sel(ci_bound="upper") - ci.sel(ci_bound="lower")
    assert (length["hdi"] <= length["eti"] + 0.02).all()
    assert float(length["hdi"].sum()) < float(length["eti"].sum())


def test_arviz_settings_are_the_default(tree):
    draws = draws_of(tree)
    expected = membership_intervals(draws, Data(ROWS), ci_prob=0.5, ci_kind="hdi")
    with rc_context({"stats.ci_prob": 0.5, "stats.ci_kind": "hdi"}):
        assert membership_intervals(draws, Data(ROWS)).identical(expected)


def test_blocks_of_rows_give_the_same(tree, monkeypatch):
    draws = draws_of(tree)
    whole = membership_intervals(draws, Data(ROWS))
    monkeypatch.setattr(predict, "_BLOCK_VALUES", 4 * len(draws))  # two rows a block
    assert membership_intervals(draws, Data(ROWS)).identical(whole)


@pytest.mark.parametrize("settings", [{"ci_prob": 0.0}, {"ci_prob": 1.5}, {"ci_kind": "normal"}])
def test_bad_intervals(tree, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        membership_intervals(draws_of(tree), Data(ROWS), **settings)


def test_predictive_draws_have_the_moments_of_the_predictive_distribution(tree):
    n = 200_000
    rows, labels = predictive_sample(draws_of(tree), n, rng=np.random.default_rng(0))
    assert rows.shape == (n, 2)
    components = mixtures(tree)
    weights = np.mean([m.weights for m in components], axis=0)
    assert np.abs(np.bincount(labels) / n - weights).max() < 4 * 0.5 / np.sqrt(n)
    mean = np.mean([m.weights @ m.means for m in components], axis=0)
    second = np.mean(
        [
            np.einsum("k,kij->ij", m.weights, m.full_covariances + m.means[:, :, None] * m.means[:, None, :])
            for m in components
        ],
        axis=0,
    )
    sd = np.sqrt(np.diag(second) - mean**2)
    assert np.abs((rows.mean(axis=0) - mean) / sd).max() < 4 / np.sqrt(n)
    products = (rows[:, :, None] * rows[:, None, :]).reshape(n, 4)
    z = (products.mean(axis=0) - second.ravel()) / (products.std(axis=0) / np.sqrt(n))
    assert np.abs(z).max() < 4.5


def test_rows_to_draw_must_be_asked_for(tree):
    with pytest.raises(InputError, match="n_samples an integer, at least 1"):
        predictive_sample(draws_of(tree), 0, rng=np.random.default_rng(0))


def test_a_weight_that_rounds_to_zero(tree):
    emptied = tree.copy(deep=True)
    emptied["posterior"]["weights"][:, 0] = [1.0, 0.0]
    draws = draws_of(emptied)
    assert np.isfinite(draws.log_scale).all()
    assert np.isfinite(mean_memberships(draws, Data(ROWS))).all()
    assert np.isfinite(log_predictive_density(draws, Data(ROWS))).all()
