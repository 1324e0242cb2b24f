"""`GaussianMixture` beside scikit-learn's, method by method, and as an estimator among estimators."""

import pickle
import time
import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
import polars as pl
import pytest
from em_cases import PRIORS
from reference import SCIKIT_LEARNS, load_data
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture as Theirs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from bayesgmm import GaussianMixture, Mixture, Prior
from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.local_search import EFFORTS
from bayesgmm.exceptions import InputError, InterruptedWarning


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SingularDataWarning")  # as few rows as columns
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.FewRowsWarning")
@parametrize_with_checks([GaussianMixture(), GaussianMixture(covariance_type="spherical")])
def test_scikit_learn_accepts_it_as_an_estimator(estimator, check):
    check(estimator)


def pair(X, covariance_type, n_components=3):
    """Ours, fitted, and scikit-learn's with the same parameters."""
    ours = GaussianMixture(n_components, covariance_type=covariance_type, n_init=3, random_state=0).fit(X)
    theirs = Theirs(n_components, covariance_type=covariance_type, random_state=0)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "n_features_in_"):
        setattr(theirs, name, getattr(ours, name))
    return ours, theirs


@pytest.mark.parametrize("name", ["iris", "galaxies"])
@pytest.mark.parametrize("covariance_type", SCIKIT_LEARNS)
def test_every_method_equals_scikit_learn(covariance_type, name):
    X = load_data(name)
    ours, theirs = pair(X, covariance_type)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    for method in ("score", "aic", "bic"):
        assert getattr(ours, method)(X) == pytest.approx(getattr(theirs, method)(X), rel=1e-10)
    assert ours.n_parameters() == theirs._n_parameters()
    for ours_drawn, theirs_drawn in zip(ours.sample(50), theirs.sample(50), strict=True):
        assert ours_drawn.shape == theirs_drawn.shape
        assert ours_drawn.dtype.kind == theirs_drawn.dtype.kind


@pytest.mark.parametrize("covariance_type", SCIKIT_LEARNS)
def test_attributes_have_scikit_learns_shapes_and_meaning(covariance_type):
    X = load_data("iris")
    ours = GaussianMixture(3, covariance_type=covariance_type, n_init=2, random_state=0).fit(X)
    theirs = Theirs(3, covariance_type=covariance_type, random_state=0).fit(X)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape, name
    rebuilt = {
        "full": lambda u: u @ np.swapaxes(u, -1, -2),
        "tied": lambda u: u @ u.T,
        "diag": np.square,
        "spherical": np.square,
    }[covariance_type](ours.precisions_cholesky_)
    np.testing.assert_allclose(rebuilt, ours.precisions_, rtol=1e-10)
    if covariance_type in ("full", "tied"):
        np.testing.assert_array_equal(ours.precisions_cholesky_, np.triu(ours.precisions_cholesky_))
        product = ours.precisions_ @ ours.covariances_
        np.testing.assert_allclose(product, np.broadcast_to(np.eye(4), product.shape), atol=1e-8)
    assert type(ours.converged_) is bool
    assert ours.converged_
    assert ours.lower_bound_ == pytest.approx(ours.score(X), rel=1e-12)
    assert len(ours.lower_bounds_) == ours.n_iter_ == len(ours.history_) - 1
    assert ours.log_likelihood_ == ours.objective_ == pytest.approx(ours.score(X) * 150)


@pytest.mark.parametrize("name", ["tied_diag", "tied_spherical"])
def test_families_that_scikit_learn_does_not_have_come_as_full_matrices(name):
    """scikit-learn's full type then computes the same from them."""
    X = load_data("iris")
    ours = GaussianMixture(3, covariance_type=name, n_init=3, random_state=0).fit(X)
    theirs = Theirs(3)
    for attribute in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        setattr(theirs, attribute, getattr(ours, attribute))
    assert ours.covariances_.shape == ours.precisions_.shape == (3, 4, 4)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-10)
    np.testing.assert_allclose(ours.precisions_ @ ours.covariances_, [np.eye(4)] * 3, atol=1e-12)
    again = GaussianMixture(
        3, covariance_type=name, weights_init=ours.weights_, means_init=ours.means_, precisions_init=ours.precisions_
    ).fit(X)
    assert again.n_iter_ < 5
    assert again.log_likelihood_ == pytest.approx(ours.log_likelihood_, abs=1e-3)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("VVV", "full"),
        ("EEE", "tied"),
        ("VVI", "diag"),
        ("VII", "spherical"),
        ("EEI", "tied_diag"),
        ("EII", "tied_spherical"),
    ],
)
def test_mclusts_codes_are_accepted(code, name):
    X = load_data("faithful")
    ours, same = (GaussianMixture(2, covariance_type=c, n_init=1, random_state=0).fit(X) for c in (code, name))
    np.testing.assert_array_equal(ours.covariances_, same.covariances_)


@pytest.mark.parametrize(("code", "name"), [("V", "full"), ("E", "tied")])
def test_univariate_codes(code, name):
    X = load_data("galaxies")
    ours, same = (GaussianMixture(3, covariance_type=c, random_state=0).fit(X) for c in (code, name))
    np.testing.assert_array_equal(ours.covariances_, same.covariances_)
    with pytest.raises(InputError, match="one feature"):
        GaussianMixture(2, covariance_type=code).fit(load_data("faithful"))


def test_criteria_of_the_training_rows_need_no_rows():
    X = load_data("faithful")
    fit = GaussianMixture(2, random_state=0).fit(X)
    assert fit.bic() == pytest.approx(2322.192, abs=0.01)
    for method in ("aic", "bic", "icl"):
        assert getattr(fit, method)() == pytest.approx(getattr(fit, method)(X), rel=1e-12)
    assert fit.icl() > fit.bic() > fit.aic()


def test_fit_predict_labels_are_those_of_predict():
    X = load_data("iris")
    model = GaussianMixture(3, random_state=0)
    np.testing.assert_array_equal(model.fit_predict(X), model.predict(X))


@pytest.mark.parametrize("name", [name for name in PRIORS if name != "none"])
def test_a_prior_makes_the_fit_maximum_a_posteriori(name):
    X = load_data("faithful")
    prior = PRIORS[name](X)
    fit = GaussianMixture(2, prior=prior, random_state=0, tol=1e-10).fit(X)
    free = GaussianMixture(2, random_state=0, tol=1e-10).fit(X)
    sparse = np.log(fit.weights_).sum() if prior.concentration < 1 else 0.0
    assert fit.objective_ == pytest.approx(fit.log_likelihood_ + prior.log_prob(fit.mixture_) + sparse)
    assert fit.log_likelihood_ < free.log_likelihood_
    assert fit.objective_ > free.log_likelihood_ + prior.log_prob(free.mixture_) + sparse
    assert fit.prior_ is prior
    assert free.prior_ is None


def test_priors_by_name_take_their_numbers_from_the_data():
    X = load_data("faithful")
    fit = GaussianMixture(3, covariance_type="tied", prior="fraley_raftery", random_state=0, tol=1e-10).fit(X)
    assert fit.log_likelihood_ == pytest.approx(-1126.427, abs=1e-3)
    np.testing.assert_array_equal(fit.prior_.scale, Prior.fraley_raftery(X, 3).scale)
    weak = GaussianMixture(2, prior="weakly_informative", random_state=0).fit(X)
    np.testing.assert_array_equal(weak.prior_.scale, Prior.weakly_informative(X).scale)


def test_starts_are_recorded():
    fit = GaussianMixture(3, random_state=0).fit(load_data("iris"))
    starts = fit.starts_
    assert starts.objectives[starts.best] == fit.objective_
    assert starts.n_best_reached in (5, 6)  # then the race is over; starts follow each other in pairs
    assert 5 <= starts.n_starts == len(starts.kinds)
    assert starts.completed.all()
    assert 0.0 <= starts.share_met_once < 1.0
    assert GaussianMixture(3, n_init=7, random_state=0).fit(load_data("iris")).starts_.n_starts == 7


@pytest.mark.parametrize("init_params", ["k-means++", "kmeans", "random", "random_from_data"])
def test_same_seed_same_fit(init_params):
    X = load_data("iris")
    model = GaussianMixture(3, init_params=init_params, random_state=7, n_init=2)
    np.testing.assert_array_equal(model.fit(X).means_, clone(model).set_params(n_jobs=2).fit(X).means_)
    state = np.random.RandomState(7)
    GaussianMixture(2, random_state=state, n_init=1).fit(X)
    assert state.randint(2**31) != np.random.RandomState(7).randint(2**31)  # a given generator moves on


def test_sample_weight_is_repetition():
    X = load_data("galaxies")
    v = np.arange(82) % 3
    means = [[10.0], [20.0], [33.0]]
    ours = GaussianMixture(3, means_init=means, tol=1e-10).fit(X, sample_weight=v)
    repeated = GaussianMixture(3, means_init=means, tol=1e-10).fit(np.repeat(X, v, axis=0))
    np.testing.assert_allclose(ours.means_, repeated.means_, rtol=1e-9)
    assert ours.bic() == pytest.approx(repeated.bic(), rel=1e-10)
    assert ours.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=1e-10)


@pytest.mark.parametrize("init_params", ["k-means++", "kmeans", "random_from_data", "random"])
@pytest.mark.parametrize("name", ["galaxies", "iris"])
def test_weighted_and_repeated_rows_start_and_end_alike(name, init_params):
    """From random starts of any kind, to the last bit, in any order."""
    X = load_data(name)
    rng = np.random.default_rng(3)
    v = rng.integers(0, 4, len(X))
    model = GaussianMixture(3, init_params=init_params, n_init=3, random_state=0)
    weighted = clone(model).fit(X, sample_weight=v)
    repeated = clone(model).fit(rng.permutation(np.repeat(X, v, axis=0)))
    for attribute in ("weights_", "means_", "covariances_"):
        np.testing.assert_array_equal(getattr(weighted, attribute), getattr(repeated, attribute))
    np.testing.assert_array_equal(weighted.starts_.objectives, repeated.starts_.objectives)
    for method in ("aic", "bic", "icl"):
        assert getattr(weighted, method)() == pytest.approx(getattr(repeated, method)(), rel=1e-12)


@pytest.mark.parametrize("prior", ["weakly_informative", "fraley_raftery"])
def test_priors_by_name_take_their_numbers_from_weighted_rows(prior):
    X = load_data("faithful")
    v = np.arange(272) % 3
    model = GaussianMixture(2, prior=prior, random_state=0, n_init=2)
    weighted, repeated = clone(model).fit(X, sample_weight=v), clone(model).fit(np.repeat(X, v, axis=0))
    np.testing.assert_allclose(weighted.prior_.scale, repeated.prior_.scale, rtol=1e-12)
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-9)
    assert weighted.objective_ == pytest.approx(repeated.objective_, rel=1e-12)


@pytest.mark.parametrize("weights", [[1.0], -np.ones(272), np.zeros(272), np.full(272, np.nan), np.ones((272, 1)), "a"])
def test_bad_weights_are_refused(weights):
    with pytest.raises(InputError, match="sample_weight"):
        GaussianMixture(2).fit(load_data("faithful"), sample_weight=weights)


def test_weights_that_make_fewer_rows_than_components_are_refused():
    weights = np.zeros(272)
    weights[[3, 5]] = 1.0
    with pytest.raises(InputError, match="n_components"):
        GaussianMixture(3).fit(load_data("faithful"), sample_weight=weights)


def test_given_parameters_are_the_start():
    X = load_data("faithful")
    given = {"weights_init": [0.4, 0.6], "means_init": [[4.0, 80.0], [2.0, 50.0]]}
    model = GaussianMixture(2, **given, precisions_init=[np.diag([4.0, 0.02])] * 2, max_iter=0).fit(X)
    np.testing.assert_allclose(model.means_, given["means_init"])
    np.testing.assert_allclose(model.weights_, given["weights_init"])
    np.testing.assert_allclose(model.covariances_, [np.diag([0.25, 50.0])] * 2)
    assert model.n_iter_ == 0


def test_running_out_of_steps_warns():
    X = load_data("faithful")
    with pytest.warns(ConvergenceWarning, match="max_iter=1,"):
        fit = GaussianMixture(3, max_iter=1, random_state=0).fit(X)
    assert not fit.converged_


def test_warm_start_goes_on_from_the_last_solution():
    X = load_data("faithful")
    model = GaussianMixture(3, max_iter=3, warm_start=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        first = model.fit(X).objective_
        second = model.fit(X)
    assert second.history_[0] == pytest.approx(first)
    assert second.objective_ > first
    assert second.starts_.n_starts == 1
    model.set_params(max_iter=1000).fit(X)
    assert model.converged_


def test_an_interrupted_fit_says_so(monkeypatch):
    import bayesgmm.estimators.gaussian_mixture as module

    monkeypatch.setattr(module, "progress_of_starts", lambda **_: nullcontext(lambda index, state: True))
    with pytest.warns(InterruptedWarning, match="best mixture"):
        fit = GaussianMixture(2, random_state=0).fit(load_data("faithful"))
    assert fit.starts_.interrupted
    assert np.isfinite(fit.log_likelihood_)


def test_verbose_shows_starts_and_steps(capsys):
    X = load_data("faithful")
    GaussianMixture(3, n_init=2, random_state=0).fit(X)
    assert capsys.readouterr().out == ""
    GaussianMixture(3, n_init=2, random_state=0, verbose=1).fit(X)
    assert capsys.readouterr().out == "Start 0\nStart 1\n"
    first = {"weights_init": [0.2, 0.3, 0.5], "prior": "weakly_informative"}  # no search goes before
    GaussianMixture(3, n_init=1, init_params="k-means++", random_state=0, verbose=2, **first).fit(X)
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].startswith("Start 0, step 10: objective -11")


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_dataframes_give_feature_names(make):
    X = load_data("faithful")
    frame = make({"eruptions": X[:, 0], "waiting": X[:, 1]})
    fit = GaussianMixture(2, random_state=0, n_init=2).fit(frame)
    assert list(fit.feature_names_in_) == ["eruptions", "waiting"]
    np.testing.assert_array_equal(fit.predict(frame), fit.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        fit.predict(pd.DataFrame({"waiting": X[:, 1], "eruptions": X[:, 0]}))


def test_it_works_in_pipelines_and_searches():
    X = load_data("iris")
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(n_init=2, random_state=0)).fit(X)
    assert pipeline.predict(X).shape == (150,)
    model = GaussianMixture(n_init=2, random_state=0, covariance_type="tied")
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=3).fit(load_data("faithful"))
    assert search.best_params_ == {"n_components": 2}


def test_a_fit_survives_pickling():
    X = load_data("faithful")
    fit = GaussianMixture(2, random_state=0, prior=Prior.weakly_informative(X)).fit(X)
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.predict_proba(X), fit.predict_proba(X))
    assert again.bic() == fit.bic()


def test_the_mixture_is_the_currency():
    X = load_data("faithful")
    fit = GaussianMixture(2, random_state=0).fit(X)
    assert isinstance(fit.mixture_, Mixture)
    np.testing.assert_array_equal(fit.mixture_.log_prob(X), fit.score_samples(X))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 300}, "n_components"),
        ({"covariance_type": "EEI?"}, "covariance_type"),
        ({"init_params": "magic"}, "init_params"),
        ({"tol": -1.0}, "tol"),
        ({"prior": "flat"}, "prior"),
        ({"n_components": 2, "means_init": [[0.0, 1.0]]}, "means_init"),
        ({"prior": Prior.weakly_informative([[0.0], [1.0]])}, "2 features"),
    ],
)
def test_bad_settings_are_refused_before_any_work(settings, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**settings).fit(load_data("faithful"))


def test_bad_rows_are_refused():
    X = load_data("faithful")
    with pytest.raises(ValueError, match="NaN"):
        GaussianMixture().fit(np.where(X > 5.0, np.nan, X))
    with pytest.raises(NotFittedError):
        GaussianMixture().predict(X)
    with pytest.raises(InputError, match="Invalid value for 'n_samples': 0"):
        GaussianMixture().fit(X).sample(0)


def groups(n_rows):
    rng = np.random.default_rng(0)
    return rng.normal(0.0, 3.0, (4, 3))[rng.integers(4, size=n_rows)] + rng.normal(size=(n_rows, 3))


def test_starts_on_many_rows_are_compared_on_some_and_the_best_go_on():
    fit = GaussianMixture(4, random_state=0).fit(groups(110_000))
    starts = fit.starts_
    assert starts.completed[starts.best]
    assert starts.objectives[starts.best] == fit.objective_ == pytest.approx(fit.score(groups(110_000)) * 110_000)
    ten = GaussianMixture(4, random_state=1, n_init=3).fit(groups(110_000))
    assert fit.log_likelihood_ == pytest.approx(ten.log_likelihood_, abs=0.05)
    assert ten.starts_.completed.all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # such groups leave a ridge
def test_starts_that_raced_out_are_told_and_lie_below_the_kept_one():
    rng = np.random.default_rng(0)  # two of the groups overlap so much that starts on a part of the rows disagree
    X = rng.normal(0.0, 3.0, (4, 3))[rng.integers(4, size=90_000)] + rng.normal(size=(90_000, 3))
    found = [GaussianMixture(4, random_state=seed).fit(X).starts_ for seed in range(4)]
    out = [(starts, ~starts.completed) for starts in found if not starts.completed.all()]
    assert out
    for starts, raced_out in out:
        assert (starts.objectives[raced_out] < starts.objectives[starts.best]).all()
        assert not starts.converged[raced_out].any()
        assert starts.n_best_reached <= starts.completed.sum()


def test_the_default_tolerance_is_in_nats():
    """However many rows there are: another thousand steps gain less than a hundredth."""
    X = groups(30_000)
    fit = GaussianMixture(4, random_state=0).fit(X)
    onwards = run_em(Data.of(X), fit.mixture_, settings=EMSettings(tol=0.0))
    assert onwards.log_likelihood - fit.log_likelihood_ < 1e-2


def test_a_loose_tolerance_is_kept_as_a_promise_and_not_as_a_goal():
    X = load_data("iris")
    loose = GaussianMixture(3, tol=1e-1, n_init=1, random_state=0).fit(X)
    assert loose.converged_
    assert loose.log_likelihood_ == pytest.approx(-180.1855, abs=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        few = GaussianMixture(3, tol=1e-12, max_iter=2, n_init=1, random_state=0).fit(X)
        assert not few.converged_
        assert GaussianMixture(3, tol=1.0, max_iter=3, n_init=1, random_state=0).fit(X).converged_


def test_thorough_fits_make_more_starts():
    X = load_data("iris")
    standard, thorough = (GaussianMixture(3, effort=effort, random_state=0).fit(X) for effort in EFFORTS)
    assert thorough.starts_.n_best_reached >= 10 > standard.starts_.n_best_reached
    assert thorough.log_likelihood_ == pytest.approx(standard.log_likelihood_, abs=1e-3)


@pytest.mark.parametrize("n_init", ["auto", 200])
def test_a_fit_ends_when_its_time_is_over(n_init):
    X = groups(400_000)
    began = time.monotonic()
    with pytest.warns(InterruptedWarning, match="max_seconds"):
        fit = GaussianMixture(4, random_state=0, n_init=n_init, max_seconds=0.1).fit(X)
    assert time.monotonic() - began < 10.0  # generous: a busy machine, code to compile
    assert np.isfinite(fit.score(X[:100]))
    assert fit.starts_.interrupted


@pytest.mark.parametrize("wrong", [{"n_init": "many"}, {"n_init": 0}, {"effort": "none"}, {"max_seconds": 0.0}])
def test_wrong_settings_of_the_race_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        GaussianMixture(2, **wrong).fit(load_data("iris"))


def test_number_of_components_may_be_of_a_small_integer_type():
    X = load_data("iris")
    found, expected = (GaussianMixture(k, random_state=0).fit(X) for k in (np.int8(2), 2))
    np.testing.assert_array_equal(found.means_, expected.means_)
