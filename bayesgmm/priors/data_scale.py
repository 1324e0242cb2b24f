"""Location and scale of weighted data, from which default priors are set.

Whatever is judged is judged after scaling each feature to unit variance, so that units do not matter.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, IntArray, PerRow, Rows
from bayesgmm.data import Data, IncompleteData
from bayesgmm.exceptions import InputError, SingularDataWarning, warn_user
from bayesgmm.priors.incomplete_moments import observed_moments
from bayesgmm.validation import as_rows, as_sample_weight

MOST_FEATURES = 5_000  # of a prior: its matrices have D x D numbers, 200 MB each
_USABLE_CONDITION = 1e10
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)  # range of a feature that is constant, relative to its values
OF_CONSTANT = 1e-12  # variance of a constant feature, relative to its squared value


def counted_rows(X: ArrayLike | Data, sample_weight: ArrayLike | None) -> tuple[Rows, PerRow]:
    """The rows that count, NaN where `Data` lack values, and how often each does."""
    X = X.entries if isinstance(X, Data) else as_rows(X)
    if X.shape[1] > MOST_FEATURES:
        raise InputError(
            expected=f"at most {MOST_FEATURES:,} features: a prior holds matrices of features x features",
            got=f"{X.shape[1]:,}",
            hint="GaussianMixture without a prior takes more with covariance_type 'diag' or 'spherical'.",
        )
    v = as_sample_weight(sample_weight, len(X))
    return (X, np.ones(len(X))) if v is None else (X[v > 0], v[v > 0])


def constant_features(X: Rows) -> IntArray:
    """Which features are the same in all rows, but for rounding errors."""
    return np.flatnonzero(_ranges(X) <= _ROUNDING * np.fmax.reduce(np.abs(X)))


def _ranges(X: Rows) -> Array:
    """Largest less smallest of the values of each feature."""
    return np.asarray(np.fmax.reduce(X) - np.fmin.reduce(X))


def feature_variances(X: Rows, row_weights: PerRow | None = None) -> Array:
    r"""Variances of the features (feature,), divided by the total weight, none of them zero.

    A constant feature has none to measure with: :math:`10^{-12} \max x^2` stands for it, 1 if all its values are zero.
    """
    if row_weights is not None:
        X, row_weights = X[row_weights > 0], row_weights[row_weights > 0]
    variances: Array = np.average(
        np.square(X - np.average(X, axis=0, weights=row_weights)), axis=0, weights=row_weights
    )
    constant = constant_features(X)
    variances[constant] = _stand_ins(X[:, constant])
    return variances


def _stand_ins(constant: Rows) -> Array:
    largest = np.fmax.reduce(np.square(constant))
    return np.where(largest > 0, OF_CONSTANT * largest, 1.0)


def warn_of_constant_features(constant: IntArray, names: Sequence[str] | None = None) -> None:
    """A `SingularDataWarning` that names constant features; none if there are none."""
    if len(constant) == 0:
        return
    which = ", ".join(f"column {j}" if names is None else repr(str(names[j])) for j in constant)
    warn_user(
        f"Constant: {which}. What does not vary tells no clusters apart, and has no scale of its own: a variance of "
        "1e-12 of its squared value (1 for zeros) is assumed. Consider dropping it.",
        SingularDataWarning,
    )


def column_ranges(X: Rows) -> Array:
    """Range of each column (feature,); a constant one is an error."""
    constant = constant_features(X)
    if len(constant):
        raise InputError(
            expected="columns that vary", got=f"column {constant[0]} constant", hint="Drop constant columns."
        )
    return _ranges(X)


def column_medians(X: Rows, row_weights: PerRow) -> Array:
    """Medians of the columns (feature,); rows with weights as if they were repeated."""
    if (missing := np.isnan(X)).any():
        known = zip(X.T, ~missing.T, strict=True)
        return np.concatenate([column_medians(x[here, None], row_weights[here]) for x, here in known])
    order = np.argsort(X, axis=0)
    reached, half = np.cumsum(row_weights[order], axis=0), 0.5 * row_weights.sum()
    lower, upper = (reached < half).sum(axis=0), (reached <= half).sum(axis=0)
    rows = np.stack([lower, np.minimum(upper, len(X) - 1)])
    return np.take_along_axis(X, np.take_along_axis(order, rows, axis=0), axis=0).mean(axis=0)


def moments(X: Rows, row_weights: PerRow, *, names: Sequence[str] | None = None) -> tuple[Array, Array]:
    """Mean and sample covariance of rows that all count, made usable, with a warning, if the covariance is singular.

    Constant features get the variance that `feature_variances` has; after that the correlations get the smallest ridge
    that makes them usable, if they need one.
    """
    n, constant = row_weights.sum(), constant_features(X)
    if n <= 1 or len(constant) == X.shape[1]:
        hint = "Give a prior with numbers of your own."
        raise InputError(expected="data that vary", got=f"{n:g} identical rows", hint=hint)
    warn_of_constant_features(constant, names)
    if np.isnan(X).any():
        return _observed(X, row_weights, constant)
    mean = np.average(X, axis=0, weights=row_weights)
    deviation = (X - mean) * np.sqrt(row_weights / (n - 1.0))[:, None]
    deviation[:, constant] = 0.0
    cov = deviation.T @ deviation
    cov[constant, constant] = _stand_ins(X[:, constant])
    ridge = _ridge(np.delete(deviation, constant, axis=1))
    return mean, cov if ridge <= 0 else cov + np.diag(ridge * np.diagonal(cov))


def _observed(X: Rows, row_weights: PerRow, constant: IntArray) -> tuple[Array, Array]:
    """The same of rows with missing values: a normal distribution fitted to what was observed."""
    mean, cov = observed_moments(IncompleteData(X, row_weights))
    n = row_weights.sum()
    cov *= n / (n - 1.0)
    cov[constant, :] = cov[:, constant] = 0.0
    cov[constant, constant] = _stand_ins(X[:, constant])
    sd = np.sqrt(np.diagonal(cov))
    ridge = _ridge_of(*np.linalg.eigvalsh(cov / np.outer(sd, sd))[[0, -1]])
    return mean, cov + np.diag(max(ridge, 0.0) * np.diagonal(cov))


def _ridge(deviation: Rows) -> float:
    """What the diagonal of the correlations must gain to be usable; a warning if that is anything."""
    n_rows, n_features = deviation.shape
    unit = deviation / np.sqrt(np.square(deviation).sum(axis=0))
    if n_rows <= n_features:  # deviations from the mean: as many directions as rows less one
        smallest, largest = 0.0, np.linalg.eigvalsh(unit @ unit.T)[-1]
    else:
        smallest, largest = np.linalg.eigvalsh(unit.T @ unit)[[0, -1]]
    return _ridge_of(smallest, largest)


def _ridge_of(smallest: float, largest: float) -> float:
    """From the extreme eigenvalues of the correlations."""
    ridge = float(largest / _USABLE_CONDITION - smallest)
    if ridge > 0:
        warn_user(
            f"The covariance of the data is singular; a ridge of {ridge:.1e} of each variance was added to the prior's "
            "scale. Linearly dependent columns, or fewer rows than columns, cannot tell clusters apart in all "
            "directions: consider dropping columns.",
            SingularDataWarning,
        )
    return ridge
