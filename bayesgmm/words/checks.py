"""Border validators: they turn user input into clean arrays or raise `InputError` before any work."""

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.words.arrays import Array, IntArray, PerRow, Rows
from bayesgmm.words.errors import InputError

_MANY = 10_000  # numbers
_SYMMETRIC = 1e-8  # difference of mirrored correlations


def as_rows(X: ArrayLike, *, n_features: int | None = None, name: str = "X") -> Rows:
    """A finite float64 matrix (obs, feature), stored feature-major as the kernel reads it."""
    X = as_finite(X, name=name)
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(
            expected=f"{name} with shape (obs, feature), at least one of each",
            got=f"shape {X.shape}",
            hint="A single feature is a column: reshape it with X.reshape(-1, 1)." if X.ndim == 1 else "",
        )
    if n_features is not None and X.shape[1] != n_features:
        raise InputError(expected=f"{name} with {n_features} features", got=f"{X.shape[1]}")
    return np.asfortranarray(X)


def as_finite(value: ArrayLike, *, name: str) -> Array:
    """A float64 array without NaN or infinity."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(expected=f"{name} to be numeric", got=str(error)) from error
    if not all_finite(array):
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(
            expected=f"{name} without missing or infinite values",
            got=f"{bad} of {array.size} values missing or infinite",
            hint="Drop or impute those rows first.",
        )
    return array


def all_finite(array: Array) -> bool:
    """Whether all are finite; that a sum of many is finite, and so are they, takes less time to see."""
    if array.size >= _MANY:
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(array.sum()):
                return True
    return bool(np.isfinite(array).all())


def as_row_weights(weights: ArrayLike | None, n_rows: int, *, name: str = "row_weights") -> PerRow | None:
    """Non-negative frequency weights (obs,), or None."""
    if weights is None:
        return None
    array = as_finite(weights, name=name)
    if array.shape != (n_rows,) or array.min() < 0 or array.sum() == 0:
        raise InputError(
            expected=f"{name} of shape ({n_rows},), non-negative, not all zero",
            got=f"shape {array.shape}, minimum {array.min() if array.size else 'none'}",
        )
    return np.ascontiguousarray(array)


def as_positive(value: ArrayLike, *, name: str) -> Array:
    """A float64 array of finite values above zero."""
    array = as_finite(value, name=name)
    if array.size == 0 or array.min() <= 0:
        raise InputError(expected=f"{name} > 0", got=f"{value}")
    return array


def as_covariance(value: ArrayLike, *, n_features: int, name: str) -> Array:
    """Symmetric positive definite matrices (..., D, D); a scalar is read as a 1 x 1 matrix when D = 1."""
    array = as_finite(value, name=name)
    if n_features == 1 and array.ndim < 2:
        array = array.reshape((*array.shape, 1, 1))
    if array.shape[-2:] != (n_features, n_features):
        raise InputError(expected=f"{name} with shape (..., {n_features}, {n_features})", got=f"shape {array.shape}")
    if not _positive_definite(array):
        raise InputError(expected=f"{name} symmetric positive definite", got="a matrix that is not")
    return array


def _positive_definite(matrices: Array) -> bool:
    """Whether matrices (..., D, D) are, judged by their correlations, so that the units of features do not matter."""
    variances = np.diagonal(matrices, axis1=-2, axis2=-1)
    if variances.size == 0 or variances.min() <= 0:
        return False
    sds = np.sqrt(variances)
    correlations = matrices / sds[..., :, None] / sds[..., None, :]
    if np.abs(correlations - np.swapaxes(correlations, -1, -2)).max() > _SYMMETRIC:
        return False
    try:
        pivots = np.diagonal(np.linalg.cholesky(correlations), axis1=-2, axis2=-1)
    except np.linalg.LinAlgError:
        return False
    return bool((pivots**2).min() > matrices.shape[-1] * np.finfo(np.float64).eps)  # else zero but for rounding


def check_components(n_components: int, n_rows: int) -> None:
    """At least one component and no more components than rows."""
    if not (isinstance(n_components, int | np.integer) and n_components >= 1):
        raise InputError(expected="n_components an integer, at least 1", got=f"{n_components}")
    if n_components > n_rows:
        raise InputError(
            expected="n_samples >= n_components",
            got=f"n_components = {n_components}, n_samples = {n_rows}",
            hint="Ask for fewer components or bring more rows.",
        )


def copies_of_rows(n_rows: int, weights: PerRow | None, *, why: str = "") -> IntArray:
    """The row of each copy (copy,): rows as often as their weights say, which must be whole numbers."""
    if weights is None:
        return np.arange(n_rows)
    fractions = weights[weights != np.round(weights)]
    if len(fractions):
        raise InputError(expected="weights that are whole numbers", got=f"{fractions[0]}", hint=why)
    return np.repeat(np.arange(n_rows), weights.astype(np.int64))
