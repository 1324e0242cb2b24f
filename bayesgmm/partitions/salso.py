r"""SALSO (Dahl, Johnson & Müller 2022): the partition with the least expected loss over draws of partitions.

A run starts from a sequential allocation of the items in random order, or from labels at random; then single items
move to the cluster where the expected loss is least, in sweeps, until a whole sweep moves none; then up to ten
*zealous* attempts each destroy a cluster, reallocate its items, sweep again, and are kept if the loss is lower. The
best of several runs is kept.

Cost of a move. For the losses that are sums of f over the contingency tables, putting item i in cluster k changes
the expected loss, up to a constant and a factor, by

.. math:: b\,[f(n_k + 1) - f(n_k)] - (a + b)\,\mathrm{mean}_s [f(n_{ks} + 1) - f(n_{ks})]

with :math:`n_{ks}` the rows of cluster k in the cluster of draw s that holds i. So the steps
:math:`f(n + 1) - f(n)` of every cell are kept next to the counts, a row (cluster) for each draw and each of its
clusters: comparing all clusters for an item adds one such row per draw, in vectors, and only a move writes. The
steps are kept in single precision, which affects the search only; reported losses, by which the best run is chosen,
are exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm._common import Array, IntArray
from bayesgmm._compiled import LANES, load_single, store, zeros
from bayesgmm.exceptions import InputError
from bayesgmm.partitions.partition_losses import (
    COST,
    Labels,
    canonical_labels,
    checked_labels,
    expected_loss,
    find_loss,
)

N_RUNS, N_ZEALOUS, P_SEQUENTIAL = 16, 10, 0.5  # Dahl, Johnson & Müller 2022, and the defaults of their package
_MAX_SWEEPS = 1_000  # each sweep lowers the loss, so that none comes near
_MOST_LABELS = 20_000_000  # that runs read: a thousand draws of 20,000 rows
_TOLERANCE = 1e-11  # a difference of the mean loss, in units of f: below it two losses are the same
_NO_STARTS = np.empty((0, 0), dtype=np.int32)

_compiled = {"cache": True, "nogil": True, "error_model": "numpy"}


@dataclass(frozen=True, kw_only=True)
class SalsoSettings:
    """Settings of a search.

    Attributes
    ----------
    loss : {"vi", "binder", "omari"}
    a : float
        See `bayesgmm.partitions.partition_losses`.
    n_runs : int
    max_clusters : int
        Largest number of clusters; memory grows with it.
    n_zealous : int
        Largest number of clusters destroyed and reallocated at the end of a run.
    """

    loss: str = "vi"
    a: float = 1.0
    n_runs: int = N_RUNS
    max_clusters: int
    n_zealous: int = N_ZEALOUS


@dataclass(frozen=True)
class SalsoResult:
    """The best partition found.

    Attributes
    ----------
    labels : (obs,) of int32
        By first appearance.
    expected_loss : float
    run_losses : (run,)
        Expected loss that each run ended at.
    """

    labels: Labels
    expected_loss: float
    run_losses: Array

    @property
    def n_best(self) -> int:
        """Number of runs that ended at the least loss, up to rounding."""
        return int(np.isclose(self.run_losses, self.run_losses.min(), rtol=1e-9, atol=1e-12).sum())


def salso(
    draws: Labels,
    settings: SalsoSettings,
    *,
    rng: np.random.Generator,
    starts: Labels = _NO_STARTS,
    callback: Callable[[int, int], object] | None = None,
) -> SalsoResult:
    """Search for the partition with the least expected loss over draws.

    Of more than 20 million labels, the runs read evenly spaced draws with as many; their results are compared by all.

    Parameters
    ----------
    draws : (draw, obs) of int32
        Labels 0, 1, ...
    settings : SalsoSettings
    rng : Generator
    starts : (start, obs) of int32, optional
        Partitions within ``max_clusters`` from which further runs start.
    callback : callable, optional
        Called as ``callback(runs done, runs)``.

    Returns
    -------
    SalsoResult

    Raises
    ------
    InputError
        Draws or starts are not valid labels, there is neither a run nor a start, or ``max_clusters`` is zero.

    Examples
    --------
    >>> draws = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]], dtype=np.int32)
    >>> best = salso(draws, SalsoSettings(max_clusters=2), rng=np.random.default_rng(0))
    >>> best.labels.tolist(), best.n_best
    ([0, 0, 0, 1, 1], 16)
    """
    draws = checked_labels(draws, name="draws", n_axes=2)
    starts = checked_starts(starts, settings, draws.shape[1])
    state = new_state(draws[:: -(-draws.size // _MOST_LABELS)], settings)
    found: list[Labels] = []
    for start in (*[None] * settings.n_runs, *starts):
        found.append(run_once(state, settings, rng, start))
        if callback is not None:
            callback(len(found), settings.n_runs + len(starts))
    measured = [expected_loss(draws, labels, loss=settings.loss, a=settings.a) for labels in found]
    best = int(np.argmin(measured))
    return SalsoResult(found[best], measured[best], np.array(measured))


def checked_starts(starts: Labels, settings: SalsoSettings, n_rows: int) -> Labels:
    """Partitions within ``max_clusters``, or none if there are runs without them."""
    if settings.max_clusters < 1 or settings.n_runs + len(starts) < 1:
        raise InputError(
            expected="max_clusters of at least one, and a run or a start",
            got=f"max_clusters = {settings.max_clusters}, n_runs = {settings.n_runs}, {len(starts)} starts",
        )
    if len(starts) == 0:
        return starts
    starts = checked_labels(starts, name="starts", n_axes=2, n_rows=n_rows)
    if starts.max() >= settings.max_clusters:
        raise InputError(expected=f"starts with labels below {settings.max_clusters}", got=f"{starts.max()}")
    return starts


class State(NamedTuple):
    """A partition under construction and its contingency tables with all draws.

    A *row* is a cluster of a draw; those of the first draw come first.
    """

    additive: bool
    own_cost: float  # b
    max_clusters: int
    width: int  # max_clusters, rounded up to whole vectors
    rows: NDArray[np.int32]  # (obs, draw): the row that holds each item
    f: Array  # (obs + 1,)
    steps: Array  # (obs + 1,): f(x + 1) - f(x)
    labels: IntArray  # (obs,): -1 while not allocated
    sizes: IntArray  # (width,)
    counts: NDArray[np.int32]  # (row * width,)
    gains: NDArray[np.float32]  # (row * width,): steps of the counts
    scores: Array  # (width,): scratch
    order: IntArray  # (obs,): scratch
    row_sizes: IntArray  # (row,): allocated items; this and the next two serve the adjusted Rand index alone
    pairs: Array  # (draw, 2): pairs together in the draw, and together in both
    own_pairs: Array  # (1,): pairs together in the partition


def new_state(draws: Labels, settings: SalsoSettings) -> State:
    """State without allocated items."""
    loss, (n_draws, n) = find_loss(settings.loss, settings.a), draws.shape
    width = -(-settings.max_clusters // LANES) * LANES
    f = loss.f(np.arange(n + 2.0))
    ends = (draws.max(axis=1) + 1).cumsum(dtype=np.int32)
    n_rows = int(ends[-1])
    return State(
        additive=loss.additive,
        own_cost=COST - settings.a,
        max_clusters=settings.max_clusters,
        width=width,
        rows=np.ascontiguousarray(draws.T + np.append(np.int32(0), ends[:-1])),
        f=f[:-1],
        steps=np.diff(f).astype(np.float32).astype(np.float64),  # what `gains` can hold
        labels=np.full(n, -1),
        sizes=np.zeros(width, dtype=np.int64),
        counts=np.empty(n_rows * width, dtype=np.int32),
        gains=_aligned(n_rows * width),
        scores=np.empty(width),
        order=np.arange(n),
        row_sizes=np.zeros(n_rows, dtype=np.int64),
        pairs=np.zeros((n_draws, 2)),
        own_pairs=np.zeros(1),
    )


def _aligned(n: int) -> NDArray[np.float32]:
    """An empty array that starts at a cache line, so that no vector straddles two."""
    room = np.empty(n + 16, dtype=np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + n]


def run_once(state: State, settings: SalsoSettings, rng: np.random.Generator, start: Labels | None = None) -> Labels:
    """One run from a random start or from a given partition."""
    _clear(state)
    state.order[:] = rng.permutation(len(state.order))
    if start is None and rng.random() < P_SEQUENTIAL:
        _allocate(state, state.order)
    else:
        _assign(state, rng.integers(settings.max_clusters, size=len(state.labels)) if start is None else start)
    _sweep_until_none_moves(state, rng)
    _be_zealous(state, settings.n_zealous, rng)
    return canonical_labels(state.labels)


@njit(**_compiled)
def _clear(state: State) -> None:
    state.labels[:] = -1
    state.sizes[:] = 0
    state.counts[:] = 0
    state.gains[:] = state.steps[0]
    state.row_sizes[:] = 0
    state.pairs[:] = 0.0
    state.own_pairs[:] = 0.0


@njit(**_compiled)
def _put(state: State, i: int, k: int) -> None:
    """Assign an unassigned item to a cluster."""
    for s in range(state.rows.shape[1]):
        row = state.rows[i, s]
        place = row * state.width + k
        count = state.counts[place]
        state.counts[place] = count + 1
        state.gains[place] = state.steps[count + 1]
        if not state.additive:
            state.pairs[s, 0] += state.row_sizes[row]
            state.pairs[s, 1] += count
            state.row_sizes[row] += 1
    state.own_pairs[0] += state.sizes[k]
    state.sizes[k] += 1
    state.labels[i] = k


@njit(**_compiled)
def _take(state: State, i: int) -> None:
    """Remove an item from its cluster."""
    k = state.labels[i]
    for s in range(state.rows.shape[1]):
        row = state.rows[i, s]
        place = row * state.width + k
        count = state.counts[place] - 1
        state.counts[place] = count
        state.gains[place] = state.steps[count]
        if not state.additive:
            state.row_sizes[row] -= 1
            state.pairs[s, 0] -= state.row_sizes[row]
            state.pairs[s, 1] -= count
    state.sizes[k] -= 1
    state.own_pairs[0] -= state.sizes[k]
    state.labels[i] = -1


@njit(**_compiled)
def _assign(state: State, labels: IntArray) -> None:
    for i in range(len(labels)):
        if state.labels[i] != labels[i]:
            if state.labels[i] >= 0:
                _take(state, i)
            _put(state, i, labels[i])


@njit(**_compiled)
def _add_rows(gains, rows, width, first, scores):  # type: ignore[no-untyped-def]
    """Sums of the steps of one vector of clusters over the rows that hold an item; two chains hide the latency."""
    even, odd = zeros(LANES), zeros(LANES)
    n = len(rows) // 2 * 2
    for s in range(0, n, 2):
        even = even + load_single(LANES, gains, rows[s] * width + first)
        odd = odd + load_single(LANES, gains, rows[s + 1] * width + first)
    if n < len(rows):
        even = even + load_single(LANES, gains, rows[n] * width + first)
    store(scores, first, even + odd)


@njit(**_compiled)
def _score_additive(state: State, i: int, n_labels: int) -> None:
    n_draws, own, rows = state.rows.shape[1], state.labels[i], state.rows[i]
    for first in range(0, n_labels, LANES):
        _add_rows(state.gains, rows, state.width, first, state.scores)
    if own >= 0:
        sum_of_steps = 0.0
        for s in range(n_draws):
            sum_of_steps += state.steps[state.counts[rows[s] * state.width + own] - 1]
        state.scores[own] = sum_of_steps
    for k in range(n_labels):
        size = state.sizes[k] - (k == own)
        state.scores[k] = state.own_cost * state.steps[size] - COST * state.scores[k] / n_draws


@njit(**_compiled)
def _one_minus_rand(both: float, truth: float, own: float, total: float) -> float:
    """One minus the adjusted Rand index from pairs together in both, in the draw, in the partition, and in all."""
    expected = truth * (own / total)
    span = 0.5 * (truth + own) - expected
    return 1.0 - (both - expected) / span if span > 0.0 else 0.0


@njit(**_compiled)
def _score_rand(state: State, i: int, n_labels: int) -> None:
    n_draws, own, rows = state.rows.shape[1], state.labels[i], state.rows[i]
    inside = 1 if own >= 0 else 0
    n = state.sizes.sum() + 1 - inside
    total = max(0.5 * n * (n - 1), 1.0)
    own_pairs = state.own_pairs[0] - (state.sizes[own] - 1 if inside else 0)
    state.scores[:n_labels] = 0.0
    for s in range(n_draws):
        place = rows[s] * state.width
        truth = state.pairs[s, 0] + (0 if inside else state.row_sizes[rows[s]])
        both = state.pairs[s, 1] - (state.counts[place + own] - 1 if inside else 0)
        for k in range(n_labels):
            more, size = state.counts[place + k] - (k == own), state.sizes[k] - (k == own)
            state.scores[k] += _one_minus_rand(both + more, truth, own_pairs + size, total) / n_draws


@njit(**_compiled)
def _best_cluster(state: State, i: int) -> int:
    """The cluster of least cost for an item: its own, another, or the first empty one."""
    own, empty, n_labels = state.labels[i], -1, 0
    for k in range(state.max_clusters):
        if state.sizes[k] > 0:
            n_labels = k + 1
        elif empty < 0:
            empty = k
    n_labels = max(n_labels, empty + 1)
    if state.additive:
        _score_additive(state, i, n_labels)
    else:
        _score_rand(state, i, n_labels)
    best = own
    for k in range(n_labels):
        allowed = state.sizes[k] > 0 or k == empty
        if allowed and (best < 0 or state.scores[k] < state.scores[best] - _TOLERANCE):
            best = k
    return best


@njit(**_compiled)
def _allocate(state: State, items: IntArray) -> None:
    """Assign unassigned items to their clusters of least cost, one after the other."""
    for i in items:
        _put(state, i, _best_cluster(state, i))


def _sweep_until_none_moves(state: State, rng: np.random.Generator) -> None:
    """Sweep over the items in random order; between sweeps Ctrl-C is heard."""
    for _ in range(_MAX_SWEEPS):
        rng.shuffle(state.order)
        if not _sweep(state):
            return


@njit(**_compiled)
def _sweep(state: State) -> bool:
    """Move each item in turn to its cluster of least cost; whether any moved."""
    moved = False
    for i in state.order:
        k = _best_cluster(state, i)
        if k != state.labels[i]:
            _take(state, i)
            _put(state, i, k)
            moved = True
    return moved


@njit(**_compiled)
def mean_loss(state: State) -> float:
    """The expected loss in units of f, up to a constant of the draws."""
    n_draws, n = state.rows.shape[1], len(state.labels)
    if state.additive:
        own, both = 0.0, 0.0
        for k in range(state.max_clusters):
            own += state.f[state.sizes[k]]
        for count in state.counts:
            both += state.f[count]
        return state.own_cost * own - COST * both / n_draws
    total, loss = max(0.5 * n * (n - 1), 1.0), 0.0
    for s in range(n_draws):
        loss += _one_minus_rand(state.pairs[s, 1], state.pairs[s, 0], state.own_pairs[0], total)
    return loss / n_draws


@njit(**_compiled)
def _remove(state: State, items: IntArray) -> None:
    for i in items:
        _take(state, i)


def _be_zealous(state: State, n_attempts: int, rng: np.random.Generator) -> None:
    """Destroy clusters one by one and reallocate their items; keep improvements."""
    loss = mean_loss(state)
    for k in rng.permutation(np.nonzero(state.sizes)[0])[:n_attempts]:
        before = state.labels.copy()
        items = rng.permutation(np.nonzero(before == k)[0])
        _remove(state, items)
        _allocate(state, items)
        if abs(mean_loss(state) - loss) <= _TOLERANCE:  # the same partition again, or it was emptied before
            continue
        _sweep_until_none_moves(state, rng)
        attempt = mean_loss(state)
        if attempt < loss - _TOLERANCE:
            loss = attempt
        else:
            _assign(state, before)
