"""Validators of parameters: checked values, or an `InputError` before any work."""

from collections.abc import Collection, Iterable
from math import inf
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, IntArray, PerRow
from bayesgmm.exceptions import InputError
from bayesgmm.validation.rows import LARGEST, as_finite

LARGEST_COUNT = 2**31 - 1  # of anything: what compiled code and libraries below take for sure
_INTERVALS = {
    "neither": "between {:g} and {:g}",
    "left": "at least {:g}, below {:g}",
    "right": "above {:g}, at most {:g}",
    "both": "from {:g} to {:g}",
}
_MOST_SHOWN = 60  # characters of a value
_SYMMETRIC = 1e-8  # difference of mirrored correlations


def as_positive(value: ArrayLike, *, name: str, most_axes: int | None = None) -> Array:
    """A float64 array of positive, moderate values, with at most the given number of axes."""
    array = as_finite(value, name=name)
    if array.size == 0 or array.min() <= 0:
        raise InputError(expected=f"{name} > 0", got=told(value))
    if array.max() > LARGEST**2:
        raise InputError(expected=f"{name} at most {LARGEST**2:.0e}", got=f"{array.max():.3g}")
    if most_axes is not None and array.ndim > most_axes:
        raise InputError(expected=f"{name} a number, or one for each component", got=f"shape {array.shape}")
    return array


def as_covariance(value: ArrayLike, *, n_features: int, name: str) -> Array:
    """Symmetric positive definite matrices (..., D, D); a scalar is read as a 1 x 1 matrix when D = 1."""
    array = as_finite(value, name=name)
    if n_features == 1 and array.ndim < 2:
        array = array.reshape((*array.shape, 1, 1))
    if array.shape[-2:] != (n_features, n_features):
        raise InputError(expected=f"{name} with shape (..., {n_features}, {n_features})", got=f"shape {array.shape}")
    if np.abs(array).max() > LARGEST**2 or not _positive_definite(array):
        expected = f"{name} symmetric positive definite, with entries of at most {LARGEST**2:.0e}"
        raise InputError(expected=expected, got="a matrix that is not")
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


def check_components(n_components: Any, n_rows: int, *, weighted: bool = False) -> None:
    """Check for at least one component and no more than rows, or than their total weight."""
    check_whole(n_components=n_components)
    if n_components > n_rows:
        raise InputError(
            expected="n_samples >= n_components",
            got=f"n_components = {n_components}, n_samples = {n_rows}" + (" (the sum of sample_weight)" * weighted),
            hint="Use fewer components or more rows."
            if not weighted
            else "sample_weight counts observations: multiply it by the number that a unit stands for.",
        )


def check_whole(*, least: int = 1, most: int = LARGEST_COUNT, optional: bool = False, **values: Any) -> None:
    """Check integers by name; booleans are refused. ``optional`` allows None."""
    for name, value in values.items():
        if optional and value is None:
            continue
        if not _is_a(Integral, value) or not least <= value <= most:
            none = " or None" if optional else ""
            upto = f", at most {most}," if most < LARGEST_COUNT else ""
            expected = f"{name} an integer, at least {least}{upto}{none}"
            raise InputError(expected=expected, got=told(value))


def check_number(
    *, least: float = -inf, most: float = inf, closed: str = "neither", optional: bool = False, **values: Any
) -> None:
    """Check real numbers in an interval that is closed at ``"left"``, ``"right"``, ``"both"`` ends or ``"neither"``."""
    inside = {
        "neither": lambda value: least < value < most,
        "left": lambda value: least <= value < most,
        "right": lambda value: least < value <= most,
        "both": lambda value: least <= value <= most,
    }[closed]
    for name, value in values.items():
        if not ((optional and value is None) or (_is_a(Real, value) and inside(value))):
            bounds = _INTERVALS[closed].format(least, most) if most < inf else f"above {least:g}, finite"
            raise InputError(expected=f"{name} {bounds}{' or None' * optional}", got=told(value))


def check_jobs(n_jobs: Any) -> None:
    """Check a number of threads as in joblib: None, at least 1, or -1 and below, which count from all cores."""
    if n_jobs is not None and not (_is_a(Integral, n_jobs) and n_jobs != 0 and abs(n_jobs) <= LARGEST_COUNT):
        raise InputError(expected="n_jobs at least 1, at most -1 (all cores), or None", got=told(n_jobs))


def generator_of(random_state: Any) -> np.random.Generator:
    """``numpy.random.default_rng`` of None, an integer or a generator."""
    try:
        if isinstance(random_state, bool | np.bool_):
            raise TypeError
        return np.random.default_rng(random_state)
    except (TypeError, ValueError):
        raise InputError(
            expected="random_state a whole number of at least 0, a numpy.random.Generator or None",
            got=told(random_state),
        ) from None


def check_option(options: Collection[str], **values: Any) -> None:
    """Check names against the known ones."""
    for name, value in values.items():
        if not (isinstance(value, str) and value in options):
            raise InputError(expected=f"{name} one of {', '.join(map(repr, options))}", got=told(value))


def check_type(kind: type, *, optional: bool = False, **values: Any) -> None:
    """Check the class of objects by name. ``optional`` allows None."""
    for name, value in values.items():
        if not (isinstance(value, kind) or (optional and value is None)):
            raise InputError(expected=f"{name} of type {kind.__name__}{' or None' * optional}", got=told(value))


def texts(given: Any, name: str) -> list[str]:
    """One text or several, as a list."""
    if isinstance(given, str):
        return [given]
    several = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(each, str) for each in several):
        raise InputError(expected=f"{name} a text or several", got=told(given))
    return several


def check_flag(**values: Any) -> None:
    """Check booleans by name."""
    for name, value in values.items():
        if not isinstance(value, bool | np.bool_):
            raise InputError(expected=f"{name} True or False", got=told(value))


def _is_a(kind: type, value: object) -> bool:
    """Whether a value is a number of a kind and not a boolean."""
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


def told(value: object) -> str:
    """A value for a message, shortened if long, with its type where that may be the error."""
    text = " ".join(repr(value).split())
    text = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
    return text if isinstance(value, str | int | float | None) else f"{text}, of type {type(value).__name__}"


def copies_of_rows(n_rows: int, weights: PerRow | None, *, why: str = "") -> IntArray:
    """The row of each copy (copy,): rows repeated by their weights, which must be integers."""
    if weights is None:
        return np.arange(n_rows)
    fractions = weights[weights != np.round(weights)]
    if len(fractions):
        raise InputError(expected="weights that are whole numbers", got=f"{fractions[0]}", hint=why)
    return np.repeat(np.arange(n_rows), weights.astype(np.int64))
