"""Calibration of class probabilities by `MixtureClassifier` beside scikit-learn's quadratic discriminant analysis.

Run `uv run python benchmarks/classifier.py`. Data sets of scikit-learn: iris, wine, and the ten means of the breast
cancer data, standardized within folds. Probabilities are of rows left out, by stratified folds, the same for all lines.
Log loss is the mean of -log p of the class; Brier the mean squared distance of the probabilities from it, 0 to 2;
calibration error the mean over ten groups of equal size, by the largest probability, of the distance between its mean
and the share of right classes; errors are rows whose most probable class is wrong. The family by BIC is chosen within
each fold among the fourteen. Posteriors are by Gibbs sampling, with `Prior.weakly_informative` of the rows.
"""

import argparse
import warnings
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bayesgmm import MixtureClassifier
from bayesgmm._common.arrays import Array, IntArray
from bayesgmm.mixture import FAMILIES

N_GROUPS = 10


class ByBIC(ClassifierMixin, BaseEstimator):
    """One Gaussian a class, of the family with the lowest BIC."""

    def fit(self, X: Array, y: IntArray) -> "ByBIC":
        fits = [MixtureClassifier(covariance_type=name, random_state=0).fit(X, y) for name in FAMILIES]
        self.best_ = min(fits, key=lambda fit: fit.estimator_.bic())
        self.classes_ = self.best_.classes_
        return self

    def predict_proba(self, X: Array) -> Array:
        return self.best_.predict_proba(X)


def data_sets() -> dict[str, tuple[Array, IntArray]]:
    """Rows and classes by name."""
    cancer = load_breast_cancer()
    return {
        "iris, 150 x 4": load_iris(return_X_y=True),
        "wine, 178 x 13": load_wine(return_X_y=True),
        "breast cancer, 569 x 10": (cancer.data[:, :10], cancer.target),
    }


def methods(draws: int) -> dict[str, Any]:
    """Classifiers by name."""
    sampled = {"inference": "gibbs", "draws": draws, "random_state": 0, "progress": False}
    return {
        "QDA of scikit-learn": QuadraticDiscriminantAnalysis(),
        "EM, full": MixtureClassifier(random_state=0),
        "EM, family by BIC": ByBIC(),
        "EM, full, two components a class": MixtureClassifier(2, random_state=0),
        "posterior, full": MixtureClassifier(**sampled),
        "posterior, diag": MixtureClassifier(covariance_type="diag", **sampled),
    }


def calibration_error(probabilities: Array, y: IntArray) -> float:
    """Mean distance of the largest probability from the share of right classes, over groups of equal size."""
    order = probabilities.max(axis=1).argsort()
    confidence, right = probabilities.max(axis=1)[order], (probabilities.argmax(axis=1) == y)[order]
    groups = zip(*(np.array_split(values, N_GROUPS) for values in (confidence, right)), strict=True)
    return float(np.mean([abs(own.mean() - hits.mean()) for own, hits in groups]))


def row(name: str, probabilities: Array, y: IntArray, seconds: float) -> str:
    """A line of the table."""
    own = probabilities[np.arange(len(y)), y]
    log_loss = -np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean()
    brier = np.square(probabilities - np.eye(probabilities.shape[1])[y]).sum(axis=1).mean()
    wrong = np.count_nonzero(probabilities.argmax(axis=1) != y)
    error = calibration_error(probabilities, y)
    return f"| {name} | {log_loss:.3f} | {brier:.3f} | {error:.3f} | {wrong} | {seconds:.1f} |"


def timed(call: Callable[[], Array]) -> tuple[float, Array]:
    begun = process_time()
    result = call()
    return process_time() - begun, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two folds of iris, few draws")
    quick = parser.parse_args().quick
    folds = StratifiedKFold(2 if quick else 10, shuffle=True, random_state=0)
    for name, (X, y) in list(data_sets().items())[: 1 if quick else None]:
        print(f"{name}\n\n| | log loss | Brier | calibration error | errors | s |\n|---|---|---|---|---|---|")
        for method, classifier in methods(100 if quick else 500).items():
            model = make_pipeline(StandardScaler(), classifier)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the tables tell how good the fits are
                seconds, found = timed(lambda m=model: cross_val_predict(m, X, y, cv=folds, method="predict_proba"))  # noqa: B023
            print(row(method, found, y, seconds), flush=True)
        print()


if __name__ == "__main__":
    main()
