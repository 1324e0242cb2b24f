"""Validate draws of a mixture's parameters: errors count the draws at fault by chain."""

from typing import Any

import numpy as np

from bayesgmm._common import Array, listed
from bayesgmm.exceptions import InputError

_ROUNDING = 1e-5  # what single precision leaves of a sum to one, or of symmetry


def as_draws(values: Any, name: str) -> Array:
    """A float64 array (chain, draw, ...) without NaN or infinity, at least one draw."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(expected=f"{name} to be numeric", got=str(error)) from error
    if array.size == 0:
        raise InputError(expected=f"at least one draw of {name}", got=f"shape {array.shape}")
    _refuse(
        ~np.isfinite(array),
        expected=f"{name} without missing or infinite values",
        got="such values",
        hint="These are draws, not rows: omit that chain, or truncate all chains to the draws that they share.",
    )
    return array


def check_weights(weights: Array, name: str) -> Array:
    """Weights (chain, draw, cluster), not negative, with a sum of one."""
    hint = "Take np.exp of logarithms; divide counts or unnormalised weights by their sum."
    _refuse(weights < 0, expected=f"{name} that are not negative", hint=hint)
    total = weights.sum(axis=-1)
    first = total.flat[np.abs(total - 1.0).argmax()]
    _refuse(np.abs(total - 1.0) > _ROUNDING, expected=f"{name} that sum to one", got=f"sums as {first:.4g}", hint=hint)
    return weights


def check_positive(scales: Array, name: str) -> Array:
    """Scales above zero."""
    _refuse(scales <= 0, expected=f"{name} above zero", hint="Take np.exp of logarithms.")
    return scales


def check_definite(matrices: Array, name: str) -> Array:
    """Matrices (..., feature, feature), symmetric and positive definite, for any units of features."""
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    _refuse(diagonal <= 0, expected=f"{name} with a positive diagonal")
    scale = np.sqrt(diagonal)
    unit = matrices / scale[..., :, None] / scale[..., None, :]
    _refuse(np.abs(unit - np.swapaxes(unit, -1, -2)) > _ROUNDING, expected=f"symmetric {name}")
    try:
        np.linalg.cholesky(unit)
    except np.linalg.LinAlgError:
        definite = np.linalg.eigvalsh(unit)[..., 0] > unit.shape[-1] * np.finfo(np.float64).eps
        _refuse(~definite, expected=f"positive definite {name}")
    return matrices


def check_unit_diagonal(correlations: Array, name: str) -> Array:
    """Correlations (..., feature, feature), with ones on the diagonal."""
    diagonal = np.diagonal(correlations, axis1=-2, axis2=-1)
    _refuse(
        np.abs(diagonal - 1.0) > _ROUNDING,
        expected=f"correlations of diagonal one from {name}, as scales are given too",
        hint="Of covariances, or of their factors, leave the scales out of names.",
    )
    return correlations


def lower_triangles(factors: Array, name: str) -> Array:
    """Factors L, (..., feature, feature), of matrices L Lᵀ; of upper triangles U, with UᵀU, the transposes."""
    above, below = np.triu(factors, 1).any(axis=(-1, -2)), np.tril(factors, -1).any(axis=(-1, -2))
    hint = "Covariances themselves are named by the key covariances."
    _refuse(above & below.any(), expected=f"triangular {name}", hint=hint)
    _refuse(np.diagonal(factors, axis1=-2, axis2=-1) == 0, expected=f"{name} without zeros on the diagonal")
    return np.swapaxes(factors, -1, -2) if above.any() else factors


def _refuse(bad: np.ndarray, *, expected: str, got: str = "others", hint: str = "") -> None:
    """Raise an error if anything in (chain, draw, ...) is bad."""
    if not bad.any():
        return
    counts, n_draws = bad.reshape(*bad.shape[:2], -1).any(axis=2).sum(axis=1), bad.shape[1]
    chains = np.flatnonzero(counts)
    affected = listed(f"{counts[c]} of {n_draws} draws of chain {c}" for c in chains)
    raise InputError(expected=expected, got=f"{got} in {affected}", hint=hint)
