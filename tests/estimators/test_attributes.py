"""A mixture set through an estimator's fitted attributes, without a fit."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as Theirs

from bayesgmm import GaussianMixture, Mixture, check_model, outlier_scores
from bayesgmm.estimators._attributes import Attributes, precisions_of
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import FAMILIES

NAMES = ("weights_", "means_", "covariances_", "precisions_cholesky_")
FOUR = sorted({family.name for family in FAMILIES.values() if family.in_scikit_learn})
SIX = sorted({family.name for family in FAMILIES.values()})


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0.0, 1.0, (60, 2)), rng.normal(7.0, 2.0, (40, 2))])


def fitted(family: str, rows: np.ndarray) -> GaussianMixture:
    return GaussianMixture(2, covariance_type=family, n_init=2, random_state=0).fit(rows)


def reloaded(fit: GaussianMixture, *names: str) -> GaussianMixture:
    """An estimator that was never fitted, with some attributes of one that was."""
    new = GaussianMixture(2, covariance_type=fit.covariance_type, random_state=0)
    for name in names:
        setattr(new, name, getattr(fit, name).copy())
    return new


def test_one_standard_normal() -> None:
    g = GaussianMixture(1)
    g.weights_, g.means_, g.covariances_, g.precisions_cholesky_ = (
        np.ones(1),
        np.zeros((1, 2)),
        np.eye(2)[None],
        np.eye(2)[None],
    )
    assert np.isfinite(g.sample(3)[0]).all()
    assert g.score_samples(np.zeros((1, 2)))[0] == pytest.approx(-np.log(2 * np.pi))
    assert g.n_features_in_ == 2


@pytest.mark.parametrize("family", SIX)
@pytest.mark.parametrize("names", [NAMES, NAMES[:3], (*NAMES[:2], NAMES[3])], ids=["all", "covariances", "precisions"])
def test_everything_is_as_after_the_fit(family, names, rows) -> None:
    fit = fitted(family, rows)
    new = reloaded(fit, *names)
    for ask in ("predict", "predict_proba", "score_samples", "score", "aic", "bic", "icl"):
        np.testing.assert_allclose(getattr(new, ask)(rows), getattr(fit, ask)(rows), rtol=1e-9)
    np.testing.assert_allclose(new.sample(5)[0], fit.sample(5)[0], rtol=1e-7)
    assert new.n_parameters() == fit.n_parameters()
    np.testing.assert_allclose(new.standard_errors(rows).means, fit.standard_errors(rows).means, rtol=1e-6)
    assert new.n_features_in_ == 2
    with pytest.raises(InputError, match="3 features"):
        new.predict(np.zeros((1, 3)))


@pytest.mark.parametrize("family", FOUR)
def test_attributes_of_scikit_learn_s_fit_are_taken(family, rows) -> None:
    theirs = Theirs(2, covariance_type=family, random_state=0).fit(rows)
    new = reloaded(theirs, *NAMES)
    np.testing.assert_allclose(new.score_samples(rows), theirs.score_samples(rows), rtol=1e-9)
    assert new.bic(rows) == pytest.approx(theirs.bic(rows))


def test_functions_take_it_and_it_can_be_pickled(rows) -> None:
    new = reloaded(fitted("full", rows), *NAMES)
    assert outlier_scores(new, rows, random_state=0, progress=False).table.shape[0] == 100
    assert check_model(new, rows, n_replicates=39, random_state=0, progress=False).p_value > 0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(new)).predict(rows), new.predict(rows))
    new.fit(rows[:, :1])
    assert new.predict(rows[:, :1]).shape == (100,)


def test_nothing_set_is_not_fitted() -> None:
    for ask in (lambda g: g.predict(np.zeros((2, 2))), lambda g: g.sample(), lambda g: g.bic(), lambda g: g.mixture_):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            ask(GaussianMixture(2))
    failed = GaussianMixture(2)
    with pytest.raises(InputError):
        failed.fit(np.full((5, 2), np.nan))
    with pytest.raises(NotFittedError):
        failed.predict(np.zeros((2, 2)))


def test_criteria_of_the_fit_s_rows_need_a_fit(rows) -> None:
    fit = fitted("full", rows)
    with pytest.raises(InputError, match=r"without a fit.*Pass X"):
        reloaded(fit, *NAMES).bic()
    fit.bic()
    fit.means_ = fit.means_ + 1.0  # other parameters than those whose log-likelihood is known
    with pytest.raises(InputError, match="Pass X"):
        fit.bic()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means_": None}, "without means_"),
        ({"covariances_": None, "precisions_cholesky_": None}, "without covariances_ or precisions_cholesky_"),
        ({"weights_": np.ones(1)}, r"shapes \(1,\) and \(2, 2\)"),
        ({"weights_": np.ones((2, 1)) / 2}, r"shapes \(2, 1\) and"),
        ({"weights_": np.array([0.5, 0.1])}, "weights_ that are positive and sum to one"),
        ({"weights_": np.array([1.5, -0.5])}, "weights_ that are positive and sum to one"),
        ({"weights_": np.array([np.nan, 1.0])}, "weights_ without missing"),
        ({"means_": np.zeros(2)}, r"means_ with shape \(cluster, feature\)"),
        ({"means_": [["a", "b"], ["c", "d"]]}, "means_ to be numeric"),
        ({"means_": np.zeros((2, 3))}, r"covariances_ with shape \(2, 3, 3\) for covariance_type 'full'"),
        ({"covariances_": np.ones((2, 2))}, r"covariances_ with shape \(2, 2, 2\)"),
        ({"precisions_cholesky_": np.ones((2, 2))}, r"precisions_cholesky_ with shape \(2, 2, 2\)"),
        ({"precisions_cholesky_": np.zeros((2, 2, 2)), "covariances_": None}, "positive definite"),
        ({"covariances_": -np.stack([np.eye(2)] * 2), "precisions_cholesky_": None}, "positive definite"),
        ({"covariances_": np.stack([np.eye(2)] * 2)}, "belong to covariances_.*del model.precisions_cholesky_"),
    ],
)
def test_attributes_that_disagree_are_told(changes, message, rows) -> None:
    new = reloaded(fitted("full", rows), *NAMES)
    for name, value in changes.items():
        delattr(new, name) if value is None else setattr(new, name, value)
    with pytest.raises(InputError, match=message):
        new.predict(rows)


@pytest.mark.parametrize("family", FOUR[:3])
def test_covariances_of_a_small_feature_that_disagree_are_told(family, rows) -> None:
    """Entries are measured by the standard deviations of their own features."""
    new = reloaded(fitted(family, rows * [1e6, 1e-6]), *NAMES)
    new.predict(rows)
    new.covariances_ = new.covariances_.copy()
    new.covariances_[..., 1] *= 2.0
    with pytest.raises(InputError, match="belong to covariances_"):
        new.predict(rows)


def test_names_of_columns_are_checked_after_a_fit_and_forgotten_with_other_features(rows) -> None:
    frame = pd.DataFrame(rows, columns=["a", "b"])
    fit = GaussianMixture(2, n_init=2, random_state=0).fit(frame)
    with pytest.raises(InputError, match="feature names"):
        fit.predict(frame[["b", "a"]])
    fit.means_ = fit.means_ + 0.1  # the same features: names stay
    assert list(fit.feature_names_in_) == ["a", "b"]
    fit.predict(frame)
    one = fitted("full", rows[:, :1])
    for name in NAMES:
        setattr(fit, name, getattr(one, name))
    np.testing.assert_allclose(fit.score_samples(rows[:, :1]), one.score_samples(rows[:, :1]))
    assert not hasattr(fit, "feature_names_in_")


@pytest.mark.parametrize("family", SIX)
def test_there_and_back(family, rows) -> None:
    mixture = fitted(family, rows).mixture_
    back = Attributes(mixture.weights, mixture.means, None, precisions_of(mixture)[1]).mixture(family)
    assert isinstance(back, Mixture)
    np.testing.assert_allclose(back.covariances, mixture.covariances, rtol=1e-9)
