"""Both estimators as scikit-learn's users meet them: its checks, and its tools around them."""

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from reference import load_data
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Theirs
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from bayesgmm import BayesianGaussianMixture, GaussianMixture

# The data of the checks are no mixtures, and the chains too short, on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SingleBestStartWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DegeneracyWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning"),
    pytest.mark.filterwarnings("ignore:The covariance of the data is singular:UserWarning"),
]
SHORT = {"draws": 8, "tune": 20, "chains": 2, "init": "best", "n_init": 2, "progress": False}
short = BayesianGaussianMixture(2, random_state=0, **SHORT)
quick = GaussianMixture(2, n_init=2, random_state=0)
both = pytest.mark.parametrize("model", [quick, short], ids=["em", "nuts"])


@parametrize_with_checks([BayesianGaussianMixture(**SHORT)])
def test_scikit_learn_accepts_the_sampled_one_as_an_estimator(estimator, check):
    check(estimator)


def fitted(model, X):
    return clone(model).fit(X)


@both
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_may_be_read_only_and_in_any_order(model, order):
    X = load_data("faithful")
    frozen = np.array(X, order=order)
    frozen.setflags(write=False)
    np.testing.assert_array_equal(fitted(model, frozen).means_, fitted(model, X).means_)
    np.testing.assert_array_equal(fitted(model, frozen[::2]).means_, fitted(model, X[::2]).means_)


@both
def test_rows_may_be_on_disk(model, tmp_path):
    X = load_data("faithful")
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    np.testing.assert_array_equal(fitted(model, mapped).means_, fitted(model, X).means_)


@both
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_dataframes_of_either_kind(model, make):
    X = load_data("faithful")
    frame = make({"eruptions": X[:, 0], "waiting": X[:, 1].astype(int)})
    fit = fitted(model, frame)
    assert fit.feature_names_in_.tolist() == ["eruptions", "waiting"]
    np.testing.assert_array_equal(fit.predict(frame), fitted(model, X).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        fit.predict(frame.rename({"waiting": "wait"}) if make is pl.DataFrame else frame.rename(columns=str.upper))


@both
def test_copies_by_pickle_joblib_and_clone(model, tmp_path):
    X = load_data("faithful")
    fit = fitted(model, X)
    joblib.dump(fit, tmp_path / "fit.joblib")
    for again in (pickle.loads(pickle.dumps(fit)), joblib.load(tmp_path / "fit.joblib")):
        np.testing.assert_array_equal(again.predict_proba(X), fit.predict_proba(X))
    assert not hasattr(clone(fit), "means_")
    assert clone(fit).get_params() == model.get_params()


@pytest.mark.draws
@both
def test_pipelines_searches_and_scores(model):
    X = load_data("faithful")
    pipeline = make_pipeline(StandardScaler(), clone(model)).fit(X)
    assert set(pipeline.predict(X)) == {0, 1}
    assert pipeline.score(X) == pytest.approx(pipeline.score_samples(X).mean())
    scores = cross_val_score(clone(model), X, cv=2)
    np.testing.assert_allclose(scores, cross_val_score(Theirs(2, random_state=0), X, cv=2), atol=0.3)


def test_a_search_may_score_by_bic():
    X = load_data("faithful")
    settings = {"n_components": [1, 2, 3], "covariance_type": ["full", "tied"]}
    ours, theirs = (
        GridSearchCV(m, settings, scoring=lambda model, rows: -model.bic(rows), cv=2).fit(X)
        for m in (GaussianMixture(n_init=1, random_state=0), Theirs(random_state=0))
    )
    assert ours.best_params_ == theirs.best_params_
    with joblib.parallel_config(backend="threading"):
        search = GridSearchCV(quick, {"n_components": [1, 2]}, cv=2, n_jobs=2).fit(X)
    assert search.best_params_ == {"n_components": 2}


def test_set_output_has_nothing_to_set_as_in_scikit_learn():
    assert not hasattr(Theirs(), "set_output")
    assert not hasattr(GaussianMixture(), "set_output")
    pipeline = make_pipeline(StandardScaler(), clone(quick)).set_output(transform="pandas")
    frame = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
    assert pipeline.fit(frame)[-1].feature_names_in_.tolist() == ["eruptions", "waiting"]


# ---- EM: float32, parameters set by hand, warm starts, labels


def test_float32_rows_are_fitted_in_double_precision_and_answered_in_single():
    X = load_data("iris")
    fit = GaussianMixture(3, random_state=0).fit(X.astype(np.float32))
    names = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
    assert {getattr(fit, name).dtype for name in names} == {np.dtype(np.float32)}
    assert fit.score_samples(X.astype(np.float32)).dtype == fit.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert fit.score_samples(X).dtype == np.float64
    assert fit.log_likelihood_ == pytest.approx(GaussianMixture(3, random_state=0).fit(X).log_likelihood_, abs=1e-3)
    assert fit.mixture_.means.dtype == np.float64


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_a_mixture_may_be_set_by_hand(covariance_type):
    """The way in which scripts keep a fit of scikit-learn's as arrays."""
    X = load_data("iris")
    theirs = Theirs(3, covariance_type=covariance_type, random_state=0).fit(X)
    ours = GaussianMixture(3, covariance_type=covariance_type)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(ours, name, getattr(theirs, name))
    ours.n_features_in_ = 4
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-8)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.bic(X) == pytest.approx(theirs.bic(X))
    fit = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    before = fit.score(X)
    fit.means_ = fit.means_ + 1.0
    assert fit.score(X) < before - 1.0
    np.testing.assert_array_equal(fit.mixture_.means, fit.means_)


@both
def test_a_warm_start_needs_the_same_kind_of_mixture(model):
    X = load_data("iris")
    model = clone(model).set_params(warm_start=True).fit(X)
    assert model.fit(X).n_iter_ <= 2
    for settings in ({"n_components": 3}, {"covariance_type": "diag"}):
        assert len(model.set_params(**settings).fit(X).weights_) == model.n_components
    assert model.fit(X[:, :2]).means_.shape == (3, 2)


def test_labels_of_some_rows_name_the_components():
    X, species = load_data("iris"), np.repeat([2, 0, 1], 50)
    labels = np.where(np.arange(150) % 10 == 0, species, -1)
    fit = GaussianMixture(3, labels_init=labels, random_state=0).fit(X)
    assert fit.starts_.n_starts == 1
    assert np.mean(fit.predict(X) == species) > 0.95
    np.testing.assert_array_equal(fit.means_[:, 0].argsort(), [2, 0, 1])
    given = GaussianMixture(3, labels_init=labels, weights_init=[0.2, 0.3, 0.5], max_iter=0).fit(X)
    np.testing.assert_allclose(given.weights_, [0.2, 0.3, 0.5])


def test_a_label_of_one_component_leaves_the_others_to_the_starts():
    X = load_data("iris")
    labels = np.full(150, -1)
    labels[:5] = 1
    fit = GaussianMixture(3, labels_init=labels, n_init=4, random_state=0).fit(X)
    assert fit.starts_.n_starts == 4
    assert (fit.predict(X[:50]) == 1).all()
    with pytest.raises(ValueError, match=r"labels_init with shape \(149,\)"):
        fit.fit(X[1:])


def test_given_starts_do_not_change_and_ties_of_scikit_learns_names_hold():
    X = load_data("faithful")
    given = [[2.0, 50.0], [4.0, 80.0]]
    for init_params in ("kmeans", "k-means++", "random", "random_from_data"):
        model = GaussianMixture(2, init_params=init_params, means_init=given, n_init=3, random_state=0).fit(X)
        assert model.starts_.n_starts == 1
        assert model.means_init is given
    with pytest.warns(ConvergenceWarning, match="Best performing initialization did not converge"):
        GaussianMixture(3, max_iter=1, n_init=1, random_state=0).fit(X)
