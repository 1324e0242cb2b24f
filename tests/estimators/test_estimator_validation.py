"""The short way through the border gives what scikit-learn's gives."""

import numpy as np
import pandas as pd
import pytest

from bayesgmm import GaussianMixture
from bayesgmm.estimators._validation import validated

X = np.random.default_rng(0).normal(size=(30, 2))


def test_a_plain_array_comes_back_as_it_is() -> None:
    model = GaussianMixture()
    assert validated(model, X, reset=True, min_samples=2) is X
    assert model.n_features_in_ == 2
    assert validated(model, X) is X


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.where(X == X[3, 1], np.nan, X), "contains NaN"),
        (X[:, :1], "1 features, but GaussianMixture is expecting 2"),
        (X[:0], "minimum of 1 is required"),
        (X.ravel(), "Expected 2D array"),
    ],
)
def test_what_is_wrong_is_told_by_scikit_learn(rows, message) -> None:
    model = GaussianMixture(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match=message):
        model.predict(rows)


def test_names_of_columns_are_kept_and_forgotten() -> None:
    model = GaussianMixture(2, random_state=0).fit(pd.DataFrame(X, columns=["a", "b"]))
    with pytest.warns(UserWarning, match="valid feature names"):
        model.predict(X)
    assert not hasattr(model.fit(X), "feature_names_in_")


def test_other_types_are_converted() -> None:
    model = GaussianMixture(2, random_state=0).fit(X)
    assert validated(model, X.astype(np.int64)).dtype == np.float64
    assert validated(model, X.tolist()).dtype == np.float64
