"""Where data lie and how far they spread, rows with weights as if they were repeated: the numbers of priors."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.words.arrays import Array, PerRow
from bayesgmm.words.checks import as_rows, as_sample_weight
from bayesgmm.words.errors import InputError

_USABLE_CONDITION = 1e10


def counted_rows(X: ArrayLike, sample_weight: ArrayLike | None) -> tuple[Array, Array]:
    """The rows that count, and how often each does."""
    X = as_rows(X)
    v = as_sample_weight(sample_weight, len(X))
    return (X, np.ones(len(X))) if v is None else (X[v > 0], v[v > 0])


def column_ranges(X: Array) -> Array:
    """Range of each column (feature,); a constant one is an error."""
    ranges: Array = np.ptp(X, axis=0)
    if ranges.min() <= 0:
        raise InputError(
            expected="columns that vary", got=f"column {int(ranges.argmin())} constant", hint="Drop constant columns."
        )
    return ranges


def column_medians(X: Array, row_weights: Array) -> Array:
    """Medians of the columns (feature,); rows with weights as if they were repeated."""
    order = np.argsort(X, axis=0)
    reached, half = np.cumsum(row_weights[order], axis=0), 0.5 * row_weights.sum()
    lower, upper = (reached < half).sum(axis=0), (reached <= half).sum(axis=0)
    rows = np.stack([lower, np.minimum(upper, len(X) - 1)])
    return np.take_along_axis(X, np.take_along_axis(order, rows, axis=0), axis=0).mean(axis=0)


def moments(X: Array, row_weights: PerRow | None) -> tuple[Array, Array]:
    """Mean and sample covariance, with the smallest ridge that makes it usable if it is singular."""
    v = np.ones(len(X)) if row_weights is None else row_weights
    n = v.sum()
    mean = np.average(X, axis=0, weights=v)
    deviation = X - mean
    cov = (deviation * v[:, None]).T @ deviation / (n - 1.0) if n > 1 else np.zeros((X.shape[1],) * 2)
    return mean, _usable(cov, f"{n:g} identical rows")


def _usable(cov: Array, rows: str) -> Array:
    """The covariance, with a ridge if it is singular."""
    variances = np.diagonal(cov)
    if variances.max() <= 0:
        raise InputError(expected="data that vary", got=rows, hint="Give a prior with numbers of your own.")
    scale = np.sqrt(np.where(variances > 1e-14 * variances.max(), variances, variances.max()))
    correlation = cov / np.outer(scale, scale)
    eigenvalues = np.linalg.eigvalsh(correlation)
    ridge = eigenvalues[-1] / _USABLE_CONDITION - eigenvalues[0]
    if ridge <= 0:
        return cov
    warnings.warn(
        f"The covariance of the data is singular; a ridge of {ridge:.1e} of each variance was added to the prior's "
        "scale. Constant or linearly dependent columns carry no information: consider dropping them.",
        stacklevel=4,
    )
    return cov + ridge * np.diag(scale**2)
