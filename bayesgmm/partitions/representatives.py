"""Representative partitions: several weighted centres of a posterior of partitions."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import PATIENCE, Array, IntArray, counted, progress_bar
from bayesgmm.exceptions import InputError
from bayesgmm.partitions.allocations import RandomState, flat_draws, label_draws
from bayesgmm.partitions.partition_losses import Labels, find_loss, losses, sizes_told
from bayesgmm.partitions.salso import SalsoSettings, salso
from bayesgmm.posterior import NO_NAMES, Names, Posterior
from bayesgmm.validation import check_flag, check_number, check_whole, generator_of

MIN_DROP = 0.1
_N_STARTS = 3
_N_RUNS = 4  # of SALSO, for each centre, beside one from the centre before
_MAX_ROUNDS = 20


@dataclass(frozen=True, repr=False)
class RepresentativePartitions:
    """Partitions that represent a posterior, the most probable first.

    Attributes
    ----------
    labels : (partition, obs) of int32
        Each by first appearance.
    weights : (partition,)
        Share of draws nearest to each.
    expected_losses : (partition,)
        Mean loss of these draws.
    expected_loss : float
        Mean loss of a draw to the nearest partition.
    nearest : (draw,)
        The partition nearest to each draw, chains end to end.
    loss_by_number : (number,)
        ``expected_loss`` with 1, 2, ... partitions, up to the largest number tried.
    loss : str
    """

    __module__ = "bayesgmm.partitions"

    labels: Labels
    weights: Array
    expected_losses: Array
    expected_loss: float
    nearest: IntArray
    loss_by_number: Array
    loss: str

    def __repr__(self) -> str:
        parts = [
            f"{weight:.0%} of the draws near one of {sizes_told(labels)}"
            for weight, labels in zip(self.weights, self.labels, strict=True)
        ]
        return f"{counted(len(parts), 'partition')}: {'; '.join(parts)}"


@dataclass(frozen=True)
class _Centres:
    """Centres (partition, obs) and the loss of every draw to each, (draw, partition)."""

    labels: Labels
    distances: Array

    @property
    def nearest(self) -> IntArray:
        return self.distances.argmin(axis=1)

    @property
    def expected_loss(self) -> float:
        return float(self.distances.min(axis=1).mean())


def representative_partitions(
    labels_or_posterior: Posterior | ArrayLike,
    X: ArrayLike | None = None,
    *,
    n: int | None = None,
    max_n: int = 5,
    min_drop: float = MIN_DROP,
    loss: str = "vi",
    random_state: RandomState = None,
    names: Names = NO_NAMES,
    progress: bool = True,
) -> RepresentativePartitions:
    r"""Represent a posterior of partitions by a few of them with weights.

    .. math:: \min_{c_1, \dots, c_L} \frac1S \sum_s \min_l d(c_s, c_l)

    is solved as k-medoids is: draws are assigned to the nearest centre and SALSO recomputes each centre, until no
    assignment changes; the best of three starts is kept, one of which is the solution with one centre fewer. Unless
    ``n`` is given, centres are added as long as one more lowers the mean loss by ``min_drop`` times that of a single
    centre.

    Parameters
    ----------
    labels_or_posterior : posterior, or array of int (draw, obs) or (chain, draw, obs)
        Draws of the partition, as in `estimate_partition`.
    X : (obs, feature), optional
    n : int, optional
        Number of partitions.
    max_n : int
        Largest number tried if ``n`` is not given.
    min_drop : float
        Between 0 and 1.
    loss : {"vi", "binder"}
        The distance d.
    random_state : int or Generator, optional
    names : mapping, optional
    progress : bool
        Show a progress bar in a terminal or notebook.

    Returns
    -------
    RepresentativePartitions

    Raises
    ------
    InputError
        A setting is out of range, or the first argument is neither labels nor a posterior.

    References
    ----------
    Similar to WASABI: Balocchi & Wade 2025, arXiv 2506.16295.

    Examples
    --------
    >>> from bayesgmm import representative_partitions
    >>> draws = [[0, 0, 0, 1, 1, 1]] * 6 + [[0, 0, 0, 0, 0, 0]] * 4
    >>> both = representative_partitions(draws, random_state=0)
    >>> both.labels.tolist(), both.weights.tolist()
    ([[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]], [0.6, 0.4])
    """
    _check(n, max_n, min_drop, loss)
    check_flag(progress=progress)
    rng = generator_of(random_state)
    draws = flat_draws(label_draws(labels_or_posterior, X, random_state=rng, names=names))
    path: list[_Centres] = []
    most = max_n if n is None else n
    with progress_bar("Partitions, at most", show=progress, patience=PATIENCE) as move:
        for centres in islice(_growing(draws, loss, rng), most):
            path.append(centres)
            if n is None and _brings_little(path, min_drop):
                break
            if move is not None:
                move(len(path), most)
    chosen = path[-2] if n is None and _brings_little(path, min_drop) else path[-1]
    return _described(chosen, np.array([centres.expected_loss for centres in path]), loss)


def _check(n: int | None, max_n: int, min_drop: float, loss: str) -> None:
    find_loss(loss)
    if loss == "omari":
        raise InputError(expected="loss 'vi' or 'binder', which are metrics", got=f"{loss!r}")
    check_whole(max_n=max_n)
    check_whole(optional=True, n=n)
    check_number(least=0.0, most=1.0, min_drop=min_drop)


def _brings_little(path: list[_Centres], min_drop: float) -> bool:
    """Whether the last centre lowers the loss by less than a share of the loss with a single one."""
    if len(path) == 1:
        return False
    drop = path[-2].expected_loss - path[-1].expected_loss
    return drop < min_drop * path[0].expected_loss or drop == 0.0


def _growing(draws: Labels, loss: str, rng: np.random.Generator) -> Iterator[_Centres]:
    """The best centres found: one, two, and so on."""
    none = np.empty((0, draws.shape[1]), dtype=np.int32)
    best = _converged(draws, _seeded(draws, none, 1, loss, rng), loss, rng)
    for n in count(2):
        yield best
        starts = [best.labels] + [none] * (_N_STARTS - 1)
        candidates = [_converged(draws, _seeded(draws, start, n, loss, rng), loss, rng) for start in starts]
        best = min(candidates, key=lambda centres: centres.expected_loss)


def _seeded(draws: Labels, centres: Labels, n: int, loss: str, rng: np.random.Generator) -> Labels:
    """The given centres and further draws, n in all, chosen as in k-means++: distant draws are more probable."""
    while len(centres) < n:
        distances = _distances(draws, centres, loss).min(axis=1) if len(centres) else np.ones(len(draws))
        total = distances.sum()
        p = distances / total if total > 0.0 else None
        centres = np.concatenate([centres, draws[[rng.choice(len(draws), p=p)]]])
    return centres


def _distances(draws: Labels, centres: Labels, loss: str) -> Array:
    return np.stack([losses(draws, centre, loss=loss) for centre in centres], axis=1)


def _converged(draws: Labels, seeds: Labels, loss: str, rng: np.random.Generator) -> _Centres:
    """Recompute centres and reassign draws, in turn, until no assignment changes."""
    centres = _Centres(seeds, _distances(draws, seeds, loss))
    for _ in range(_MAX_ROUNDS):
        sides = centres.nearest
        labels = np.array([_centre_of(draws[sides == j], seed, loss, rng) for j, seed in enumerate(centres.labels)])
        centres = _Centres(labels, _distances(draws, labels, loss))
        if np.array_equal(centres.nearest, sides):
            break
    return centres


def _centre_of(draws: Labels, before: Labels, loss: str, rng: np.random.Generator) -> Labels:
    """The partition with the least expected loss over some draws, or the one before if that is better."""
    if len(draws) == 0:
        return before
    limit = max(int(draws.max()), int(before.max())) + 1
    settings = SalsoSettings(loss=loss, n_runs=_N_RUNS, max_clusters=limit)
    return salso(draws, settings, rng=rng, starts=before[None]).labels


def _described(centres: _Centres, path: Array, loss: str) -> RepresentativePartitions:
    nearest, n = centres.nearest, len(centres.labels)
    counts = np.bincount(nearest, minlength=n)
    order = np.argsort(-counts, kind="stable")
    rank = order.argsort()
    least = centres.distances.min(axis=1)
    within = np.bincount(nearest, weights=least, minlength=n) / np.maximum(counts, 1)
    weights = counts / len(nearest)
    return RepresentativePartitions(
        centres.labels[order], weights[order], within[order], centres.expected_loss, rank[nearest], path, loss
    )
