"""Imputation beside conditional mixtures, and intervals that cover."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from incomplete_cases import problem, without_some
from reference import load_data

from bayesgmm import BayesianGaussianMixture, GaussianMixture, Mixture, impute
from bayesgmm.exceptions import InputError


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_means_and_bounds_are_those_of_conditional_mixtures(covariance_type):
    mixture, data = problem(covariance_type, n_rows=30)
    found = impute(mixture, data.entries, ci_prob=0.8)
    for x, mean, lower, upper in zip(data.entries, found.mean, found.lower, found.upper, strict=True):
        seen, gaps = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        for filled in (mean, lower, upper):
            np.testing.assert_array_equal(filled[seen], x[seen])
        if len(gaps):
            given = mixture.condition({int(j): [x[j]] for j in seen})
            np.testing.assert_allclose(mean[gaps], given.mean[0], rtol=1e-9)
            np.testing.assert_allclose(lower[gaps], given.quantiles([0.1])[0, :, 0], rtol=1e-7)
            np.testing.assert_allclose(upper[gaps], given.quantiles([0.9])[0, :, 0], rtol=1e-7)


@pytest.mark.draws
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_draws_have_the_conditional_moments(covariance_type):
    mixture, data = problem(covariance_type, n_rows=6)
    found = impute(mixture, data.entries, n_draws=20_000, random_state=0)
    for i, x in enumerate(data.entries):
        seen, gaps = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        np.testing.assert_array_equal(found.draws[:, i, seen], np.broadcast_to(x[seen], (20_000, len(seen))))
        if len(gaps):
            given, drawn = mixture.condition({int(j): [x[j]] for j in seen}), found.draws[:, i][:, gaps]
            deviations = (drawn.mean(axis=0) - given.mean[0]) / given.sd[0]
            assert np.abs(deviations).max() < 5.0 / np.sqrt(20_000)
            scale = np.outer(given.sd[0], given.sd[0])
            np.testing.assert_allclose(
                np.cov(drawn.T).reshape(scale.shape) / scale, given.covariance[0] / scale, atol=0.08
            )


def test_rows_come_back_in_their_form():
    rows = pd.DataFrame({"length": [1.0, None, 3.0], "width": [2.0, 5.0, None]}, index=["a", "b", "c"])
    mixture = Mixture([1.0], [[2.0, 4.0]], [[[1.0, 0.5], [0.5, 1.0]]])
    found = impute(mixture, rows)
    assert found.mean.index.tolist() == ["a", "b", "c"]
    assert found.mean.columns.tolist() == ["length", "width"]
    assert found.mean.loc["b", "length"] == pytest.approx(2.5)
    assert isinstance(impute(mixture, pl.DataFrame(rows)).lower, pl.DataFrame)
    assert isinstance(impute(mixture, rows.to_numpy()).upper, np.ndarray)
    complete = rows.fillna(0.0)
    pd.testing.assert_frame_equal(impute(mixture, complete).mean, complete)


def test_other_features_and_empty_rows_are_errors():
    mixture = Mixture([1.0], [[2.0, 4.0]], [[[1.0, 0.5], [0.5, 1.0]]])
    with pytest.raises(InputError, match="2 features"):
        impute(mixture, np.ones((3, 3)))
    with pytest.raises(InputError, match=r"none in 1 of 2 rows: 1 \(counted from 0\)"):
        impute(mixture, [[1.0, 2.0], [np.nan, np.nan]])


@pytest.mark.draws
def test_completed_data_sets_of_a_posterior_differ_by_its_draws():
    rows = without_some(load_data("faithful"), 0.1)
    settings = {"draws": 500, "random_state": 1, "progress": False}
    fit = BayesianGaussianMixture(2, missing="marginalize", **settings).fit(rows)
    found, gaps = fit.impute(rows, n_draws=30, random_state=0), np.isnan(rows)
    assert np.isfinite(found.draws).all()
    assert ((found.lower < found.mean) & (found.mean < found.upper))[gaps].all()
    errors = found.draws.mean(axis=0) - found.mean
    assert np.abs(errors[gaps] / (found.upper - found.lower)[gaps]).max() < 5.0 / np.sqrt(30)


def removed(rows, mechanism, rng):
    """The second of two features lost at random, or more often where the first is large."""
    chance = {"MCAR": np.full(len(rows), 0.3), "MAR": 0.6 / (1.0 + np.exp(-2.0 * rows[:, 0]))}[mechanism]
    lost = rows.copy()
    lost[rng.random(len(rows)) < chance, 1] = np.nan
    return lost


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize("mechanism", ["MCAR", "MAR"])
def test_intervals_cover_if_values_are_missing_at_random(mechanism):
    truth = Mixture([0.4, 0.6], [[-1.5, 0.0], [1.5, 2.0]], [[[1.0, 0.6], [0.6, 1.0]], [[0.7, -0.4], [-0.4, 1.2]]])
    covered, n, settings = 0, 0, {"draws": 500, "progress": False}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rows = truth.sample(250, rng=rng)[0]
        seen = removed(rows, mechanism, rng)
        fit = BayesianGaussianMixture(2, missing="marginalize", random_state=seed, **settings).fit(seen)
        found, gaps = fit.impute(seen, ci_prob=0.8), np.isnan(seen)
        covered += int(((found.lower <= rows) & (rows <= found.upper))[gaps].sum())
        n += int(gaps.sum())
    assert abs(covered / n - 0.8) < 4.0 * np.sqrt(0.8 * 0.2 / n)


@pytest.mark.slow
@pytest.mark.draws
def test_deleting_rows_is_biased_where_marginalizing_is_not():
    truth, rng = Mixture([1.0], [[0.0, 0.0]], [[[1.0, 0.8], [0.8, 1.0]]]), np.random.default_rng(0)
    rows = truth.sample(20_000, rng=rng)[0]
    seen = removed(rows, "MAR", rng)
    kept = GaussianMixture(1, missing="marginalize").fit(seen).means_[0, 1]
    assert abs(kept) < 0.03
    assert seen[~np.isnan(seen).any(axis=1), 1].mean() < -0.1
