"""Duplicate rows merged into weighted ones: a weight of two and a row given twice are the same data."""

from functools import cache

import numpy as np

from bayesgmm._common import Array, PerRow, Rows

_SEED = 0  # of the direction along which rows are sorted


def distinct_rows(X: Rows, row_weights: PerRow | None = None) -> tuple[Rows, PerRow | None]:
    """The different rows, each with the sum of its weights, in an order that depends on their values only.

    Then weighted and repeated rows, in any order, give the same fit to the last bit, random starts included. Units
    and origin of a feature do not change the order. Rows of weight zero are left out. Rows that all differ, of weight
    one each, come back as they are.

    Parameters
    ----------
    X : (obs, feature)
    row_weights : (obs,), optional
        Frequency weights.

    Returns
    -------
    rows, weights
        None instead of weights that are all one.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.data import distinct_rows
    >>> rows, weights = distinct_rows(np.array([[3.0], [5.0], [3.0]]))
    >>> dict(zip(rows[:, 0].tolist(), weights.tolist())) == {3.0: 2.0, 5.0: 1.0}
    True
    """
    if row_weights is not None and not row_weights.all():
        X, row_weights = np.asfortranarray(X[row_weights > 0]), row_weights[row_weights > 0]
    if row_weights is not None and (row_weights == 1.0).all():
        row_weights = None
    along = _along_one_direction(X)
    if row_weights is None and _all_differ(along):
        return X, None
    order = np.argsort(along, kind="stable")
    ordered = X[order]
    first = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    if row_weights is None and first.all():
        return X, None
    weights = np.ones(len(X)) if row_weights is None else row_weights[order]
    totals: PerRow = np.add.reduceat(weights, np.flatnonzero(first))
    return np.asfortranarray(ordered[first]), None if (totals == 1.0).all() else totals


def _all_differ(values: Array) -> bool:
    """Whether no two are equal."""
    in_order = np.sort(values)
    return bool((in_order[1:] != in_order[:-1]).all())


def _along_one_direction(X: Rows) -> Array:
    """A projection of each row, the same to the last bit for equal rows, and different for almost all others."""
    total = np.zeros(len(X))
    for column, slope in zip(X.T, _slopes(X.shape[1]), strict=True):
        lowest = column.min()
        total += (column - lowest) * (slope / max(column.max() - lowest, np.finfo(np.float64).tiny))
    return total


@cache
def _slopes(n_features: int) -> Array:
    return np.random.default_rng(_SEED).uniform(1.0, 2.0, n_features)
