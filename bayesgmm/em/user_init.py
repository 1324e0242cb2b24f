"""User-supplied initialization: parameters, and labels of all or some rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, Covariances, IntArray, Means, PerRow, Responsibilities, Rows, Weights
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import CovarianceFamily, Mixture
from bayesgmm.priors import Model
from bayesgmm.validation import as_finite

UNKNOWN = -1  # the label of a row without one, as in sklearn.semi_supervised
_LABELS_SHOWN = 5


class UserInit(NamedTuple):
    """Checked parameters that the user gave; None where none was given."""

    weights: Weights | None = None
    means: Means | None = None
    precisions: Covariances | None = None


def checked_parameters(
    weights: ArrayLike | None,
    means: ArrayLike | None,
    precisions: ArrayLike | None,
    *,
    model: Model,
) -> UserInit:
    """Parameters to start from, in scikit-learn's shapes for the model.

    Raises
    ------
    InputError
        In scikit-learn's words, if a shape is wrong or values are no weights or no precisions.
    """
    shape = (model.n_components, model.n_features)
    return UserInit(
        _checked_weights(weights, shape[0]),
        _of_shape(means, shape, parameter="means_init", name="means"),
        _checked_precisions(precisions, shape, model.family),
    )


def _of_shape(value: ArrayLike | None, shape: tuple[int, ...], *, parameter: str, name: str) -> Array | None:
    if value is None:
        return None
    array = as_finite(value, name=parameter)
    if array.shape != shape:
        raise InputError(
            expected=f"{parameter} with shape {shape}",
            got=f"shape {array.shape}",
            sentence=f"The parameter '{name}' should have the shape of {shape}, but got {array.shape} ({parameter}).",
        )
    return array


def _checked_weights(value: ArrayLike | None, n_components: int) -> Weights | None:
    weights = _of_shape(value, (n_components,), parameter="weights_init", name="weights")
    if weights is None:
        return None
    if weights.min() <= 0 or weights.max() > 1:
        raise InputError(
            expected="weights_init positive, at most one", got=f"values from {weights.min():.5f} to {weights.max():.5f}"
        )
    if abs(weights.sum() - 1.0) > 1e-6:
        total = f"sum(weights) = {weights.sum():.5f}"
        raise InputError(
            expected="weights_init with sum one",
            got=total,
            sentence=f"The parameter 'weights' should be normalized, but got {total} (weights_init).",
        )
    return weights


def _checked_precisions(
    value: ArrayLike | None, shape: tuple[int, int], family: CovarianceFamily
) -> Covariances | None:
    name = f"{family.name} precision"
    precisions = _of_shape(value, family.covariances_shape(*shape), parameter="precisions_init", name=name)
    if precisions is None:
        return None
    matrices = family.as_matrices
    try:
        family.factors(precisions, shape[1])
        symmetric = not matrices or _symmetric(precisions)
        trouble = "" if symmetric else "not symmetric"
    except np.linalg.LinAlgError as error:
        trouble = str(error)
    if trouble:
        kind = "symmetric, positive-definite" if matrices else "positive"
        raise InputError(
            expected=f"precisions_init {kind}",
            got=trouble,
            sentence=f"The parameter '{name}' should be {kind} (precisions_init): {trouble}.",
        )
    return precisions


def _symmetric(matrices: Array) -> bool:
    """Whether entries agree with their mirror images to a hundred-thousandth, where the diagonal is one."""
    roots = np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1))
    gaps = np.abs(matrices - np.swapaxes(matrices, -1, -2))
    return bool((gaps <= 1e-5 * roots[..., :, None] * roots[..., None, :]).all())


def with_parameters(start: Mixture, given: UserInit) -> Mixture:
    """The start with whatever parameters the user gave."""
    if all(value is None for value in given):
        return start
    covariances = start.covariances
    if given.precisions is not None:
        covariances = np.linalg.inv(given.precisions) if start.family.as_matrices else 1.0 / given.precisions
    weights = start.weights if given.weights is None else given.weights
    means = start.means if given.means is None else given.means
    return Mixture(weights, means, covariances, start.covariance_type)


def checked_labels(value: ArrayLike, n_rows: int, n_components: int) -> IntArray:
    """Labels (obs,) in 0 .. K-1, or -1 for rows without one.

    Raises
    ------
    InputError
        If the shape is wrong, values are other than those, no row has a label, or a component that no label
        names is left without a row.
    """
    labels = np.asarray(value)
    expected = f"labels_init with shape ({n_rows},), integers from 0 to {n_components - 1}, -1 for unknown"
    if labels.shape != (n_rows,):
        raise InputError(expected=expected, got=f"shape {labels.shape}")
    strange = sorted({str(label) for label in labels.tolist() if label not in range(UNKNOWN, n_components)})
    if strange:
        got = ", ".join(strange[:_LABELS_SHOWN])
        hint = "Code them, for instance with sklearn.preprocessing.LabelEncoder or pandas.factorize."
        raise InputError(expected=expected, got=got, hint=hint)
    known = np.unique(labels[labels != UNKNOWN])
    if len(known) == 0:
        raise InputError(expected="labels_init that knows at least one row", got="-1 only", hint="Leave it out.")
    n_unknown = int((labels == UNKNOWN).sum())
    if len(known) + n_unknown < n_components:
        raise InputError(
            expected=f"rows for each of {n_components} components",
            got=f"labels_init with {len(known)} labels and {n_unknown} unknown rows",
            hint="Ask for fewer components, or mark rows as unknown (-1).",
        )
    return labels.astype(np.int64)


def every_label_known(labels: ArrayLike, n_components: int) -> bool:
    """Whether each component has a row of its own, so that all starts are the same."""
    return bool(np.isin(np.arange(n_components), np.asarray(labels)).all())


def labelled_shares(
    X: Rows, labels: IntArray, n_components: int, *, row_weights: PerRow, rng: np.random.Generator
) -> Responsibilities:
    """Shares of rows for a first M-step: known rows in their component, the others in none.

    Components that no label names pick a row each among the others, as k-means++ does, far from every
    centre so far; the other rows then go to the nearest centre, old or new.
    """
    shares = np.equal.outer(labels, np.arange(n_components)).astype(np.float64)
    named = shares.sum(axis=0) > 0
    if named.all():
        return shares
    open_rows = np.flatnonzero(labels == UNKNOWN)
    centres = np.full((n_components, X.shape[1]), np.inf)
    centres[named] = (shares.T @ X)[named] / shares.sum(axis=0)[named, None]
    for k in np.flatnonzero(~named):
        centres[k] = X[_far_row(X, centres, open_rows, row_weights=row_weights, rng=rng)]
    nearest = _squared_distances(X[open_rows], centres).argmin(axis=1)
    shares[open_rows, nearest] = 1.0
    return shares


def _far_row(
    X: Rows, centres: Means, open_rows: IntArray, *, row_weights: PerRow, rng: np.random.Generator
) -> np.int64:
    """One of the open rows, with a chance in proportion to its squared distance from the nearest centre."""
    chances = _squared_distances(X[open_rows], centres).min(axis=1) * row_weights[open_rows]
    total = chances.sum()
    return rng.choice(open_rows, p=chances / total if total > 0 else None)


def _squared_distances(X: Rows, centres: Means) -> Array:
    """(obs, cluster); infinite to a centre that is not there yet."""
    there = np.isfinite(centres).all(axis=1)
    distances = np.full((len(X), len(centres)), np.inf)
    for k in np.flatnonzero(there):
        distances[:, k] = ((X - centres[k]) ** 2).sum(axis=1)
    return distances
