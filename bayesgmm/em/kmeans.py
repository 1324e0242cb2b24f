"""k-means in compiled code: centres by greedy k-means++, then Lloyd's steps, on columns as the kernel reads them.

scikit-learn's functions check more than these take on a thousand rows.
"""

import math

import numpy as np
from numba import types

from bayesgmm._common import Array, Columns, IntArray, PerRow, Rows
from bayesgmm._compiled import IN_1, IN_2, OUT_2, compiled, linked

_BLOCK = 256  # rows whose distances are held at a time


def k_means_plus_plus(X: Rows, n_clusters: int, row_weights: PerRow, *, rng: np.random.Generator) -> Array:
    """Centres (cluster, feature), rows far from each other: the best of 2 + log K candidates each time.

    A candidate is a row, with a chance in proportion to its weight and its squared distance from the nearest
    centre so far; the best one leaves the least sum of squared distances (Arthur & Vassilvitskii 2007). Where
    there are fewer distinct rows than centres some centres are in one place.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.em.kmeans import k_means_plus_plus
    >>> X = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> np.sort(k_means_plus_plus(X, 2, np.ones(4), rng=np.random.default_rng(0)), axis=0).round()
    array([[0.],
           [5.]])
    """
    chances = rng.random((n_clusters, 2 + int(math.log(n_clusters))))
    centres = np.empty((n_clusters, X.shape[1]))
    _pick_centres(_columns(X), row_weights, chances, centres)
    return centres


def lloyd(X: Rows, centres: Array, row_weights: PerRow, *, most_steps: int, few: int = 0) -> tuple[Array, IntArray]:
    """Centres moved to the means of their rows, again and again, and the nearest centre of each row.

    It ends after a step in which no more than ``few`` rows change their centre. A centre without rows stays.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.em.kmeans import lloyd
    >>> X = np.array([[0.0], [1.0], [5.0], [7.0]])
    >>> centres, labels = lloyd(X, X[:2], np.ones(4), most_steps=10)
    >>> centres.tolist(), labels.tolist()
    ([[0.5], [6.0]], [0, 0, 1, 1])
    """
    moved, labels = np.array(centres, order="C"), np.full(len(X), -1)
    _iterate(_columns(X), row_weights, most_steps, few, moved, labels)
    return moved, labels


def nearest_labels(X: Rows, centres: Array) -> IntArray:
    """The nearest centre of each row, (obs,)."""
    labels = np.full(len(X), -1)
    _iterate(_columns(X), np.empty(0), 0, 0, np.array(centres, order="C"), labels)
    return labels


def _columns(X: Rows) -> Columns:
    return np.ascontiguousarray(X.T)


@compiled
def _square_distances(x, start, size, centre, squares):  # type: ignore[no-untyped-def]
    """Write the squared distances of a block of rows from one centre."""
    for i in range(size):
        squares[i] = 0.0
    for d in range(x.shape[0]):
        place = centre[d]
        column = x[d, start : start + size]
        for i in range(size):
            difference = column[i] - place
            squares[i] += difference * difference


@compiled
def _assign(x, centres, labels):  # type: ignore[no-untyped-def]
    """Give each row to its nearest centre, the first of equals; returns how many changed theirs."""
    n_rows, n_changed = x.shape[1], 0
    squares, best = np.empty(_BLOCK), np.empty(_BLOCK)
    nearest = np.empty(_BLOCK, dtype=np.int64)
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        for i in range(size):
            best[i], nearest[i] = math.inf, 0
        for k in range(centres.shape[0]):
            _square_distances(x, start, size, centres[k], squares)
            for i in range(size):
                closer = squares[i] < best[i]
                nearest[i] = k if closer else nearest[i]
                best[i] = squares[i] if closer else best[i]
        for i in range(size):
            n_changed += 1 if nearest[i] != labels[start + i] else 0
            labels[start + i] = nearest[i]
    return n_changed


@compiled
def _to_means(x, row_weights, labels, centres):  # type: ignore[no-untyped-def]
    """Move every centre that has rows to their mean."""
    held, sums = np.zeros(centres.shape[0]), np.zeros(centres.shape)
    for i in range(x.shape[1]):
        held[labels[i]] += row_weights[i]
    for d in range(x.shape[0]):
        for i in range(x.shape[1]):
            sums[labels[i], d] += row_weights[i] * x[d, i]
    for k in range(centres.shape[0]):
        if held[k] > 0.0:
            for d in range(x.shape[0]):
                centres[k, d] = sums[k, d] / held[k]


@linked(types.void(IN_2, IN_1, types.int64, types.int64, OUT_2, types.int64[::1]))
def _iterate(x, row_weights, most_steps, few, centres, labels):  # type: ignore[no-untyped-def]
    _assign(x, centres, labels)
    for _ in range(most_steps):
        _to_means(x, row_weights, labels, centres)
        if _assign(x, centres, labels) <= few:
            break


@compiled
def _row_at(chances, total, target):  # type: ignore[no-untyped-def]
    """The row at which the running total of chances passes a share of the total."""
    running, last = 0.0, 0
    for i in range(chances.shape[0]):
        if chances[i] > 0.0:
            running += chances[i]
            last = i
            if running > target * total:
                break
    return last


@compiled
def _with_centre(x, row_weights, centre, nearest, after):  # type: ignore[no-untyped-def]
    """Write the weighted squared distances with one more centre, and return their sum."""
    n_rows, total = x.shape[1], 0.0
    squares = np.empty(_BLOCK)
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        _square_distances(x, start, size, centre, squares)
        for i in range(size):
            after[start + i] = min(nearest[start + i], row_weights[start + i] * squares[i])
            total += after[start + i]
    return total


@linked(types.void(IN_2, IN_1, IN_2, OUT_2))
def _pick_centres(x, row_weights, chances, centres):  # type: ignore[no-untyped-def]
    n_features, n_rows = x.shape
    nearest, after, best = np.full(n_rows, math.inf), np.empty(n_rows), np.empty(n_rows)
    centre = np.empty(n_features)
    total = 0.0
    for k in range(centres.shape[0]):
        least = math.inf
        for candidate in range(chances.shape[1] if k > 0 else 1):
            # The first centre, and any where all rows are centres already, by weight alone.
            mass = nearest if total > 0.0 else row_weights
            row = _row_at(mass, total if total > 0.0 else row_weights.sum(), chances[k, candidate])
            for d in range(n_features):
                centre[d] = x[d, row]
            left = _with_centre(x, row_weights, centre, nearest, after)
            if candidate == 0 or left < least:
                least = left
                for d in range(n_features):
                    centres[k, d] = centre[d]
                best, after = after, best
        nearest, best = best, nearest
        total = least
