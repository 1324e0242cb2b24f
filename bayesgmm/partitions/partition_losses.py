r"""Partitions of rows: canonical labels, contingency tables, and losses between two partitions.

A partition is a vector of integer labels (obs,); only which rows share one matters. With :math:`n_{ck}` the rows
in cluster c of the *truth* and cluster k of the *estimate*, margins :math:`n_{c\cdot}` and :math:`n_{\cdot k}`, and
two costs, a for separating rows that are together in the truth and b = 2 - a for joining rows that are separate,

=========  ==========================================================================================  ===========
loss       formula                                                                                     f(x)
=========  ==========================================================================================  ===========
vi         (a Σ_c f(n_c.) + b Σ_k f(n_.k) - (a + b) Σ_ck f(n_ck)) / n                                  x log₂ x
binder     (a Σ_c f(n_c.) + b Σ_k f(n_.k) - (a + b) Σ_ck f(n_ck)) / n²                                 x²
omari      1 - adjusted Rand index (Hubert & Arabie 1985)                                              x (x - 1) / 2
=========  ==========================================================================================  ===========

At a = 1 the first is the variation of information in bits (Meilă 2007) and the second 2 / n² times the number of
pairs on which the partitions disagree (Binder 1978). Scales and weights are those of the R package salso
(Dahl, Johnson & Müller 2022); for VI at a = 1 also those of mcclust.ext (Wade & Ghahramani 2018).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from bayesgmm._common import Array, IntArray, PerRow, listed, shown
from bayesgmm.exceptions import InputError
from bayesgmm.validation import check_number, check_option

type Labels = NDArray[np.int32]  # (obs,) or (draw, obs), canonical

COST = 2.0  # a + b
_LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Loss:
    """A row of the table of losses.

    Attributes
    ----------
    name : str
    additive : bool
        Whether the loss is a sum of f over the cells and margins of the contingency table.
    f : callable
        Function of counts that is summed.
    power : int
        The sum is divided by n to this power.
    """

    name: str
    additive: bool
    f: Callable[[Array], Array]
    power: int


_TABLE = (
    Loss("vi", additive=True, f=lambda x: xlogy(x, x) / np.log(2.0), power=1),
    Loss("binder", additive=True, f=np.square, power=2),
    Loss("omari", additive=False, f=lambda x: 0.5 * x * (x - 1.0), power=0),
)
LOSSES = {loss.name: loss for loss in _TABLE}


def find_loss(name: str, a: float = 1.0) -> Loss:
    """Look a loss up, and check its weight.

    Raises
    ------
    InputError
        The name is unknown, ``a`` is outside 0 to 2, or a loss without weights is given one.
    """
    check_option(LOSSES, loss=name)
    check_number(least=0.0, most=COST, closed="both", a=a)
    if not LOSSES[name].additive and a != 1.0:
        raise InputError(expected=f"a = 1 with loss {name!r}, which has no weights", got=f"a = {a!r}")
    return LOSSES[name]


def checked_labels(labels: ArrayLike, *, name: str, n_axes: int = 1, n_rows: int | None = None) -> Labels:
    """Labels 0, 1, ... that compiled code can index by: (obs,) or (draw, obs) of int32, C-contiguous.

    Raises
    ------
    InputError
        The array has other axes, no element, or not ``n_rows`` rows, or holds anything but whole numbers from zero.
    """
    array = np.asarray(labels)
    n = "obs" if n_rows is None else str(n_rows)
    axes = f"({n},)" if n_axes == 1 else f"(draw, {n})"
    if array.ndim != n_axes or array.size == 0 or n_rows not in (None, array.shape[-1]):
        raise InputError(expected=f"{name} with shape {axes}, at least one of each", got=f"shape {array.shape}")
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > _LARGEST:
        values = f"values from {array.min()} to {array.max()}" if array.dtype.kind in "iu" else f"{array.dtype}"
        raise InputError(
            expected=f"{name} of whole numbers 0, 1, ...",
            got=values,
            hint="bayesgmm.partitions.canonical_labels renumbers.",
        )
    return np.ascontiguousarray(array, dtype=np.int32)


def sizes_told(labels: Labels) -> str:
    """Sizes of the clusters in words, the largest first, and of noise."""
    sizes, n_noise = np.bincount(labels[labels >= 0]), int((labels < 0).sum())
    told = listed(map(shown, np.sort(sizes)[::-1]))
    return f"{told} rows and {shown(n_noise)} of noise" if n_noise else f"{told} rows"


def canonical_labels(labels: ArrayLike) -> Labels:
    """Labels renumbered 0, 1, ... by first appearance, along the last axis.

    Parameters
    ----------
    labels : (..., obs) of int

    Returns
    -------
    (..., obs) of int32
        Two partitions are the same if and only if these are equal.

    Raises
    ------
    InputError
        There are no labels, or they are not integers.

    Examples
    --------
    >>> canonical_labels([[7, 7, 2, 7], [0, 1, 0, 2]])
    array([[0, 0, 1, 0],
           [0, 1, 0, 2]], dtype=int32)
    """
    given = np.asarray(labels)
    if given.dtype.kind not in "iub" or given.size == 0:
        raise InputError(expected="labels (..., obs), whole numbers", got=f"shape {given.shape} of {given.dtype}")
    low, high = int(given.min()), int(given.max())
    # a lookup table would be larger than the labels, or they do not fit into it
    if high - low > 10 * given.shape[-1] + 1_000 or high > np.iinfo(np.int64).max:
        given, low = np.unique(given, return_inverse=True)[1].reshape(given.shape), 0
        high = int(given.max())
    rows = np.ascontiguousarray(given.reshape(-1, given.shape[-1]), dtype=np.int64) - low
    return _renumber(rows, high - low + 1).reshape(given.shape)


@njit(cache=True, nogil=True)
def _renumber(rows: IntArray, size: int) -> Labels:
    """Renumber labels below ``size``."""
    new = np.empty(rows.shape, dtype=np.int32)
    seen = np.full(size, -1, dtype=np.int64)  # the last row in which a label was met
    number = np.empty(size, dtype=np.int32)
    for s in range(rows.shape[0]):
        n_clusters = 0
        for i in range(rows.shape[1]):
            label = rows[s, i]
            if seen[label] != s:
                seen[label], number[label] = s, n_clusters
                n_clusters += 1
            new[s, i] = number[label]
    return new


def contingency_table(
    truth: ArrayLike, estimate: ArrayLike, *, weights: PerRow | None = None, shape: Sequence[int] = (1, 1)
) -> NDArray[Any]:
    """Number or total weight of the rows in each pair of clusters, (cluster of truth, cluster of estimate).

    Parameters
    ----------
    truth, estimate : (obs,) of int
        Labels 0, 1, ...
    weights : (obs,), optional
        By default rows are counted.
    shape : pair of int
        Smallest shape of the table.

    Examples
    --------
    >>> contingency_table(np.array([0, 0, 1]), np.array([0, 1, 1]))
    array([[1, 1],
           [0, 1]])
    """
    truth = checked_labels(truth, name="truth")
    estimate = checked_labels(estimate, name="estimate", n_rows=len(truth))
    n, k = (max(least, int(labels.max()) + 1) for least, labels in zip(shape, (truth, estimate), strict=True))
    return np.bincount(truth.astype(np.int64) * k + estimate, weights, minlength=n * k).reshape(n, k)


def losses(draws: Labels, estimate: Labels, *, loss: str = "vi", a: float = 1.0) -> Array:
    """The loss of one estimate if the truth were each of the draws, (draw,).

    Parameters
    ----------
    draws : (draw, obs) of int32
        Labels 0, 1, ...
    estimate : (obs,) of int32
        Labels 0, 1, ...
    loss : {"vi", "binder", "omari"}
    a : float
        From 0 to 2; see the formulas of this module.

    Raises
    ------
    InputError
        The loss is unknown, or labels are invalid or of another number of rows.

    Examples
    --------
    >>> draws = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], dtype=np.int32)
    >>> losses(draws, draws[0], loss="vi")
    array([0., 2.])
    >>> losses(draws, draws[0], loss="binder")
    array([0. , 0.5])
    """
    draws = checked_labels(draws, name="draws", n_axes=2)
    chosen, n = find_loss(loss, a), draws.shape[1]
    estimate = checked_labels(estimate, name="estimate", n_rows=n)
    sums = _sums(draws, estimate, chosen.f(np.arange(n + 1.0)), int(draws.max()) + 1, int(estimate.max()) + 1)
    return _combined(chosen, sums, float(n), a)


def table_loss(counts: Array, *, loss: str = "vi", a: float = 1.0) -> float:
    """The loss of a contingency table, whose counts need not be whole numbers.

    Examples
    --------
    >>> table_loss(np.array([[2.0, 0.0], [0.0, 3.0]]), loss="omari")
    0.0
    >>> round(1.0 - table_loss(np.array([[2.0, 1.0], [0.0, 3.0]]), loss="omari"), 3)  # the adjusted Rand index
    0.324
    """
    chosen = find_loss(loss, a)
    sums = np.array([chosen.f(x).sum() for x in (counts.sum(axis=1), counts.sum(axis=0), counts)])
    return float(_combined(chosen, sums, float(counts.sum()), a))


def _combined(loss: Loss, sums: Array, n: float, a: float) -> Array:
    """The loss from sums (..., 3) of f over the margins and the cells."""
    truth, own, both = sums.T
    if loss.additive:
        return np.maximum(a * truth + (COST - a) * own - COST * both, 0.0) / n**loss.power
    expected = truth * own / (float(loss.f(np.array(n))) or 1.0)
    span = 0.5 * (truth + own) - expected
    equal = span == 0.0  # both are a single cluster, or both are all singletons
    return np.where(equal, 0.0, 1.0 - (both - expected) / np.where(equal, 1.0, span))


@njit(cache=True, nogil=True)
def _sums(draws: Labels, estimate: Labels, f: Array, n_truth: int, n_own: int) -> Array:
    """Sums of f over the margins of a draw, over those of the estimate and over the cells, (draw, 3)."""
    sums = np.zeros((draws.shape[0], 3))
    table = np.empty((n_truth, n_own), dtype=np.int64)
    for s in range(draws.shape[0]):
        table[:] = 0
        for i in range(draws.shape[1]):
            table[draws[s, i], estimate[i]] += 1
        for c in range(n_truth):
            size = 0
            for k in range(n_own):
                size += table[c, k]
                sums[s, 2] += f[table[c, k]]
            sums[s, 0] += f[size]
        for k in range(n_own):
            sums[s, 1] += f[table[:, k].sum()]
    return sums


def expected_loss(draws: Labels, estimate: Labels, *, loss: str = "vi", a: float = 1.0) -> float:
    """The mean of `losses` over draws: the Monte Carlo estimate of the posterior expected loss.

    Examples
    --------
    >>> draws = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], dtype=np.int32)
    >>> expected_loss(draws, draws[0])
    1.0
    """
    return float(losses(draws, estimate, loss=loss, a=a).mean())
