"""Classification: discriminant analysis as SciPy and scikit-learn compute it, probabilities over draws, the border."""

import pickle

import numpy as np
import pandas as pd
import pytest
from reference import load_data
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from bayesgmm import BayesianGaussianMixture, GaussianMixture, MixtureClassifier, Prior
from bayesgmm.exceptions import InputError

X, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]
SAMPLED = {"draws": 100, "tune": 100, "random_state": 0, "progress": False}


@parametrize_with_checks([MixtureClassifier()])
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SingleBestStartWarning")
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DegeneracyWarning")
@pytest.mark.filterwarnings("ignore:The covariance of the data is singular:UserWarning")
def test_scikit_learn_accepts_it_as_a_classifier(estimator, check) -> None:
    check(estimator)


def test_one_gaussian_a_class_is_discriminant_analysis() -> None:
    """Quadratic and linear, but that maximum likelihood divides scatters by counts, not by counts less one."""
    full = MixtureClassifier().fit(X, SPECIES)
    joint = [
        np.log(1 / 3) + multivariate_normal(X[SPECIES == c].mean(axis=0), np.cov(X[SPECIES == c].T, ddof=0)).logpdf(X)
        for c in range(3)
    ]
    np.testing.assert_allclose(full.predict_proba(X).T, np.exp(joint - logsumexp(joint, axis=0)), atol=1e-8)
    linear = LinearDiscriminantAnalysis(solver="lsqr").fit(X, SPECIES)  # with scatters over counts
    tied = MixtureClassifier(covariance_type="tied").fit(X, SPECIES)
    np.testing.assert_allclose(tied.predict_proba(X), linear.predict_proba(X), atol=1e-8)
    np.testing.assert_array_equal(full.predict(X), QuadraticDiscriminantAnalysis().fit(X, SPECIES).predict(X))


@pytest.mark.parametrize(
    ("family", "errors"), [("VEV", 3), ("EEE", 3), ("VVV", 3), ("EEI", 6), ("VVI", 6)], ids=lambda value: str(value)
)
def test_training_errors_of_iris(family, errors) -> None:
    """mclust's EDDA takes VEV by BIC, with three of 150 rows in another class."""
    fit = MixtureClassifier(covariance_type=family).fit(X, NAMES)
    assert np.count_nonzero(fit.predict(X) != NAMES) == errors


def test_several_components_of_a_class_are_a_mixture_of_each() -> None:
    """With full covariances nothing is shared: the fit is that of each class by itself, weighed by its share."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    rows = np.concatenate([centre + rng.normal(size=(50, 2)) for centre in centres])
    y = np.repeat(["b", "a", "a", "b"], 50)[:190]
    rows = rows[:190]
    fit = MixtureClassifier(2, random_state=0).fit(rows, y)
    assert fit.class_of_component_.tolist() == [0, 0, 1, 1]
    joint = []
    for name in fit.classes_:
        own = GaussianMixture(2, random_state=0).fit(rows[y == name])
        joint.append(np.log((y == name).mean()) + own.score_samples(rows))
    np.testing.assert_allclose(fit.predict_proba(rows).T, np.exp(joint - logsumexp(joint, axis=0)), atol=1e-6)
    assert fit.score(rows, y) == 1.0
    by_class = MixtureClassifier({"a": 2, "b": 3}, random_state=0)
    assert by_class._sizes(np.array(["a", "b"])).tolist() == [2, 3]
    one = MixtureClassifier(1, covariance_type="tied").fit(rows, y)
    assert one.score(rows, y) < 0.8


def test_weights_count_rows() -> None:
    counts = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = MixtureClassifier().fit(X, SPECIES, sample_weight=counts)
    repeated = MixtureClassifier().fit(np.repeat(X, counts, axis=0), np.repeat(SPECIES, counts))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-8)


@pytest.mark.draws
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")
@pytest.mark.parametrize("inference", ["nuts", "gibbs"])
def test_probabilities_are_means_over_draws(inference) -> None:
    """Of each draw by SciPy, with both samplers; new rows are not labelled."""
    fit = MixtureClassifier(inference=inference, **SAMPLED).fit(X[::2], NAMES[::2])
    assert isinstance(fit.estimator_, BayesianGaussianMixture)
    posterior, total = fit.estimator_.posterior_["posterior"], np.zeros((3, 75))
    arrays = [posterior[name].to_numpy().reshape(400, 3, *shape) for name, shape in _SHAPES.items()]
    for weights, means, covariances in zip(*arrays, strict=True):
        parts = zip(weights, means, covariances, strict=True)
        joint = np.array([np.log(w) + multivariate_normal(m, c).logpdf(X[1::2]) for w, m, c in parts])
        total += np.exp(joint - logsumexp(joint, axis=0))
    np.testing.assert_allclose(fit.predict_proba(X[1::2]), total.T / 400, atol=1e-8)
    np.testing.assert_array_equal(fit.estimator_.labels_, SPECIES[::2])


_SHAPES = {"weights": (), "means": (4,), "covariances": (4, 4)}


@pytest.mark.draws
def test_few_rows_make_probabilities_of_a_posterior_less_extreme() -> None:
    few = np.arange(0, 150, 10)
    common = {"prior": Prior.weakly_informative(X), "covariance_type": "diag"}
    sampled = MixtureClassifier(inference="gibbs", **common, **SAMPLED).fit(X[few], SPECIES[few])
    point = MixtureClassifier(**common).fit(X[few], SPECIES[few])
    others = np.setdiff1d(np.arange(150), few)
    assert sampled.predict_proba(X[others]).max(axis=1).mean() < point.predict_proba(X[others]).max(axis=1).mean()
    assert sampled.score(X[others], SPECIES[others]) > 0.8


def test_scikit_learns_tools() -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), MixtureClassifier())
    search = GridSearchCV(model, {"mixtureclassifier__covariance_type": ["VEV", "EII"]}, cv=3).fit(frame, NAMES)
    assert search.best_params_ == {"mixtureclassifier__covariance_type": "VEV"}
    assert search.best_estimator_[-1].feature_names_in_.tolist() == list("abcd")
    assert cross_val_predict(MixtureClassifier(), X, NAMES, method="predict_proba", cv=3).shape == (150, 3)
    fit = MixtureClassifier({"setosa": 1, "versicolor": 1, "virginica": 1}).fit(frame, NAMES)
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.predict_proba(frame), fit.predict_proba(frame))
    assert clone(fit).get_params() == fit.get_params()
    with pytest.raises(ValueError, match="feature names"):
        fit.predict(frame.rename(columns=str.upper))


@pytest.mark.parametrize(
    ("settings", "y", "message"),
    [
        ({}, None, "requires y to be passed"),
        ({}, SPECIES[:-1], "a class for each of 150 rows; got y of 149"),
        ({}, SPECIES + 0.5, "continuous"),
        ({}, np.where(SPECIES == 0, np.nan, SPECIES), "missing or infinite values in y"),
        ({"n_components": [1, 2]}, SPECIES, "one of at least 1 for each of 3 classes"),
        ({"n_components": [1, 2, 0]}, SPECIES, "one of at least 1 for each of 3 classes"),
        ({"n_components": {0: 1, 1: 2}}, SPECIES, "one of at least 1 for each of 3 classes"),
        ({"n_components": True}, SPECIES, "n_components"),
        ({"covariance_type": "VEV", "inference": "nuts"}, SPECIES, "VEV"),
        ({"inference": "laplace"}, SPECIES, "inference"),
    ],
)
def test_what_cannot_be_fitted_is_refused(settings, y, message) -> None:
    with pytest.raises(InputError, match=message):
        MixtureClassifier(**settings).fit(X, y)


def test_rows_with_missing_values_are_refused() -> None:
    with pytest.raises(InputError, match="missing"):
        MixtureClassifier().fit(np.where(X == X[0, 0], np.nan, X), SPECIES)


def test_old_faithful_in_two_classes_needs_no_names() -> None:
    rows = load_data("faithful")
    fit = MixtureClassifier().fit(rows, rows[:, 0] > 3.0)
    assert fit.classes_.tolist() == [False, True]
    assert fit.score(rows, rows[:, 0] > 3.0) > 0.99
