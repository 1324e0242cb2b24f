"""Estimators of rows with missing values: what they accept and refuse, and what they say of such rows."""

import arviz_stats as azs
import numpy as np
import pandas as pd
import polars as pl
import pytest
from incomplete_cases import log_joint, without_some
from matplotlib.collections import LineCollection
from monte_carlo import bound
from reference import load_data
from scipy.special import logsumexp, softmax

from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    Prior,
    check_model,
    compare,
    load,
    log_evidence,
    loo,
    plot_components,
    plot_similarity,
    select_components,
)
from bayesgmm.data import IncompleteData
from bayesgmm.exceptions import InputError

NAMES = ["eruptions", "waiting"]


@pytest.fixture(scope="module", name="X")
def rows():
    return without_some(load_data("faithful"), 0.15)


@pytest.fixture(scope="module")
def em(X):
    return GaussianMixture(2, random_state=0, missing="marginalize").fit(X)


@pytest.fixture(scope="module")
def bayes(X):
    settings = {"draws": 500, "random_state": 1, "progress": False}
    return BayesianGaussianMixture(2, missing="marginalize", **settings).fit(pd.DataFrame(X, columns=NAMES))


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_by_default_an_error_names_columns_counts_and_the_parameter(X, estimator):
    n = int(np.isnan(X[:, 1]).sum())
    with pytest.raises(InputError, match=rf"{n} missing in 'waiting'.*missing='marginalize'"):
        estimator(2).fit(pd.DataFrame(X, columns=NAMES))
    assert not estimator(2).__sklearn_tags__().input_tags.allow_nan
    assert estimator(2, missing="marginalize").__sklearn_tags__().input_tags.allow_nan


@pytest.mark.parametrize(
    "form", [pd.DataFrame, lambda X: pd.DataFrame(X).astype("Float64"), pl.DataFrame, np.ndarray.tolist]
)
def test_the_form_of_the_data_does_not_matter(X, em, form):
    other = GaussianMixture(2, random_state=0, missing="marginalize").fit(form(X))
    np.testing.assert_array_equal(other.means_, em.means_)
    assert other.bic() == em.bic()


def test_all_that_is_said_of_rows_is_of_what_was_observed(X, em):
    joint = np.array([log_joint(em.mixture_, x) for x in X])
    density = logsumexp(joint, axis=1)
    np.testing.assert_allclose(em.score_samples(X), density, rtol=1e-12)
    np.testing.assert_allclose(em.predict_proba(X), softmax(joint, axis=1), atol=1e-12)
    np.testing.assert_array_equal(em.predict(X), joint.argmax(axis=1))
    assert em.score(X) == pytest.approx(density.mean())
    assert em.bic() == em.bic(X) == pytest.approx(-2.0 * density.sum() + em.n_parameters() * np.log(len(X)))


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_complete_rows_give_the_same_fit_to_the_last_bit(estimator):
    settings = {"random_state": 0} | (
        {} if estimator is GaussianMixture else {"draws": 20, "tune": 20, "chains": 1, "progress": False}
    )
    rows = load_data("faithful")[:100]
    fits = [estimator(1, missing=missing, **settings) for missing in ("error", "marginalize")]
    with np.errstate(all="ignore"):
        one, two = (fit.fit(rows) for fit in fits)
    np.testing.assert_array_equal(one.means_, two.means_)
    np.testing.assert_array_equal(one.covariances_, two.covariances_)


@pytest.mark.parametrize("prior", ["weakly_informative", "fraley_raftery"])
@pytest.mark.parametrize("standardize", [False, True])
def test_priors_are_scaled_by_what_was_observed(X, prior, standardize):
    settings = {"prior": prior, "standardize": standardize, "random_state": 0}
    fit = GaussianMixture(2, missing="marginalize", **settings).fit(X)
    whole = GaussianMixture(2, **settings).fit(load_data("faithful"))
    np.testing.assert_allclose(np.diagonal(fit.prior_.scale), np.diagonal(whole.prior_.scale), rtol=0.2)
    np.testing.assert_allclose(fit.means_, whole.means_, rtol=0.05)


@pytest.mark.parametrize("make", [Prior.malsiner_walli, Prior.weakly_informative])
def test_priors_of_complete_rows_are_as_before(make):
    rows = load_data("faithful")
    of_rows, of_data = make(rows), make(IncompleteData(rows))
    np.testing.assert_allclose(of_data.mean, of_rows.mean, rtol=1e-12)
    np.testing.assert_allclose(of_data.scale, of_rows.scale, rtol=1e-12)


def test_rows_and_columns_without_a_value_are_errors(X, em):
    empty = X.copy()
    empty[[3, 40]] = np.nan
    for call in (em.fit, em.predict):
        with pytest.raises(InputError, match=r"none in 2 of 272 rows: 3, 40 \(counted from 0\)"):
            call(empty)
    empty = pd.DataFrame(X, columns=NAMES)
    empty["waiting"] = np.nan
    with pytest.raises(InputError, match="none in 'waiting'"):
        GaussianMixture(2, missing="marginalize").fit(empty.dropna(how="all"))
    with pytest.raises(InputError, match="infinite in 'x0'"):
        GaussianMixture(2, missing="marginalize").fit(np.where(np.isnan(X), np.inf, X))


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_rows_not_in_memory_are_refused(estimator, tmp_path, X):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    with pytest.raises(InputError, match="rows in memory with missing='marginalize'"):
        estimator(2, missing="marginalize").fit(path)


def test_plots_leave_out_rows_that_lack_a_value_and_say_how_many(X, em, bayes):
    n_missing = int(np.isnan(X).any(axis=1).sum())
    for figure in (em.plot(X).viz["figure"].item(), plot_components(bayes).viz["figure"].item()):
        (panel,) = figure.axes
        assert f"{n_missing} of {len(X)} rows lack a value" in panel.get_title()
        drawn = sum(len(each.get_offsets()) for each in panel.collections if not isinstance(each, LineCollection))
        assert drawn == len(X) - n_missing
    bayes.plot()
    figure = plot_similarity(bayes, max_rows=40, num_samples=40).viz["figure"].item()
    assert np.isfinite(figure.axes[0].get_images()[0].get_array()).all()


def test_reports_count_missing_values(X, em, tmp_path):
    em.report(tmp_path / "em.html", X)
    text = (tmp_path / "em.html").read_text(encoding="utf-8")
    assert f"Missing from these rows are {np.isnan(X).sum()} values" in text
    assert "could not be generated" not in text


def test_fits_of_incomplete_rows_are_compared(X, em, bayes):
    found = compare(em, bayes, X, bootstrap=0, folds=2, progress=False)
    assert found.partitions.ari > 0.9
    assert np.isfinite(found.predictive["elpd"].to_numpy(dtype=float)).all()
    with pytest.raises(InputError, match="rows with other values"):
        compare(em, bayes, np.where(np.isnan(X), 0.0, X), bootstrap=0, progress=False)


def test_what_needs_complete_rows_says_so(X, bayes):
    with pytest.raises(InputError, match="complete rows"):
        check_model(bayes)
    with pytest.raises(InputError, match="missing='marginalize'"):
        select_components(X, 2)


def test_models_are_compared(X, em):
    found = select_components(X, [1, 2], "full", missing="marginalize", random_state=0, progress=False)
    assert found.winner.n_components == 2
    np.testing.assert_allclose(found.best.bic(), em.bic(), rtol=1e-6)


def test_standard_errors_are_those_of_what_was_observed(X, em):
    errors, whole = em.standard_errors(X), np.isnan(X).any(axis=1)
    complete = GaussianMixture(2, random_state=0).fit(X[~whole]).standard_errors(X[~whole])
    assert np.square(errors.means / complete.means).mean() < 1.0  # rows that lack a value count too
    assert np.isfinite(em.bootstrap(X, n_replicates=3, progress=False).standard_errors.means).all()


@pytest.mark.draws
@pytest.mark.parametrize("settings", [{"inference": "gibbs"}, {"inference": "laplace"}])
def test_other_samplers_draw_from_the_same_posterior(X, bayes, settings):
    fit = BayesianGaussianMixture(2, missing="marginalize", draws=500, random_state=2, progress=False, **settings)
    one, other = (each.posterior_["posterior"] for each in (fit.fit(X), bayes))
    scores = []
    for name in ("weights", "means", "covariances"):
        pairs = (each[name].to_numpy().reshape(*each[name].shape[:2], -1) for each in (one, other))
        for a, b in zip(*(np.moveaxis(each, -1, 0) for each in pairs), strict=True):
            scores.append((a.mean() - b.mean()) / np.hypot(azs.mcse(a), azs.mcse(b)))
    assert np.abs(scores).max() < bound(len(scores))
    assert fit.posterior_.attrs["converged"]


@pytest.mark.draws
def test_evidence_and_model_are_of_what_was_observed(X, bayes):
    found = log_evidence(bayes, random_state=1)
    assert found.se < 0.1
    assert found.findings == ()
    model = bayes.model
    assert sum(np.isfinite(model[f"X_{i}"].get_value()).sum() for i in range(3)) == np.isfinite(X).sum()


@pytest.mark.draws
def test_a_posterior_of_what_was_observed(X, em, bayes):
    np.testing.assert_allclose(bayes.means_, em.means_, rtol=0.05)
    np.testing.assert_array_equal(bayes.posterior_["observed_data"]["y"], X)
    assert bayes.diagnose().verdict == "converged"
    assert bayes.loo().elpd == pytest.approx(em.log_likelihood_, rel=0.03)
    assert "The mixture found has 2 clusters in 272 rows" in str(bayes)
    assert np.isnan(bayes.to_arviz()["observed_data"]["waiting"]).sum() == np.isnan(X[:, 1]).sum()


def test_log_likelihoods_of_draws_are_marginal(X, bayes):
    tree = bayes.to_arviz(groups=["posterior", "log_likelihood"])
    own = bayes._draws().mixture(7)
    found = tree["log_likelihood"]["waiting"].isel(chain=0, draw=7)
    np.testing.assert_allclose(found, [logsumexp(log_joint(own, x)) for x in X], rtol=1e-10)


def test_a_saved_posterior_takes_such_rows(X, bayes, tmp_path):
    bayes.save(tmp_path / "fit.nc")
    again = load(tmp_path / "fit.nc")
    rows = pd.DataFrame(X, columns=NAMES)
    assert again.missing == "marginalize"
    np.testing.assert_array_equal(again.predict_proba(rows), bayes.predict_proba(rows))


def test_results_in_files_are_those_in_memory(X, em, bayes, tmp_path):
    rows = pd.DataFrame(X, columns=NAMES)
    for name, fit, data, rtol in (("em", em, X, 1e-12), ("bayes", bayes, rows, 0.05)):  # a posterior by some draws
        path = tmp_path / f"{name}.parquet"
        fit.score_samples_to(path, data)
        np.testing.assert_allclose(pd.read_parquet(path)["log_density"], fit.score_samples(data), rtol=rtol)


def test_a_marginal_posterior_keeps_the_rows_that_say_something(X, bayes):
    waiting = bayes.marginal("waiting")
    seen = X[~np.isnan(X[:, 1]), 1:]
    np.testing.assert_array_equal(waiting["observed_data"]["y"], seen)
    assert np.isfinite(loo(waiting).elpd)
