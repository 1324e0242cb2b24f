"""The border of both estimators: scikit-learn's checks, and none of their cost for a plain array that passes them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import validate_data

from bayesgmm.words.arrays import Array
from bayesgmm.words.checks import all_finite


def validated(
    estimator: Any,
    X: ArrayLike,
    *,
    dtypes: tuple[type, ...] = (np.float64,),
    reset: bool = False,
    min_samples: int = 1,
) -> Array:
    """Rows as `sklearn.utils.validation.validate_data` returns them, which is what checks all but plain arrays."""
    if isinstance(X, np.ndarray) and _plain(X, dtypes, min_samples) and _expected(estimator, X, reset=reset):
        estimator.n_features_in_ = X.shape[1]
        return X
    return validate_data(estimator, X, dtype=list(dtypes), reset=reset, ensure_min_samples=min_samples)


def _plain(X: Array, dtypes: tuple[type, ...], min_samples: int) -> bool:
    return (
        type(X) is np.ndarray
        and X.dtype in dtypes
        and X.ndim == 2
        and X.shape[0] >= min_samples
        and X.shape[1] > 0
        and all_finite(X)
    )


def _expected(estimator: Any, X: Array, *, reset: bool) -> bool:
    """Whether the columns are those of the fit, without names, or there was none that would have to be forgotten."""
    if hasattr(estimator, "feature_names_in_"):
        return False
    return reset or X.shape[1] == estimator.n_features_in_
