"""Search for permutations of labels: draws with their memberships, assignment, and sweeps from several starts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from bayesgmm._common import Array, Covariances, IntArray, Means, Move, PerRow, Weights
from bayesgmm.data import Data
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.prediction import each_draw

MAX_SWEEPS = 100
ROUNDING = 1e-8  # least gain of a step, relative to the cost
_TIE = 1e-10  # least gain of another permutation of one draw, relative to the largest cost of that draw
_QUANTILES = (1.0, 0.5, 0.1)  # of the log-likelihood: draws that start a search
TINY = np.finfo(np.float64).tiny

_DRAWS_A_MOVE = 50  # of the progress bar


@dataclass(frozen=True)
class Memberships:
    """Log densities (obs,) and memberships (cluster, obs) of rows, draw by draw: each pass computes them again.

    Attributes
    ----------
    draws : Draws
    data : Data
    move : callable, optional
        Moves a progress bar.
    alike : (cluster,) integers, optional
        Components with the same number may change places; all may by default.
    """

    draws: Draws
    data: Data
    move: Move | None = None
    alike: IntArray | None = None

    def __iter__(self) -> Iterator[tuple[PerRow, Array]]:
        for done, one in enumerate(each_draw(self.draws, self.data, with_memberships=True), start=1):
            yield one  # overwritten by the next
            if self.move is not None and done % _DRAWS_A_MOVE == 0:
                self.move(done, len(self.draws))

    def of_draw(self, sample: int) -> Array:
        """Memberships (cluster, obs) of one draw."""
        return next(each_draw(self.draws[sample : sample + 1], self.data, with_memberships=True))[1]

    def of_rows(self, rows: IntArray) -> "Memberships":
        """The same draws, and some of the rows."""
        return replace(self, data=self.data.take(rows))

    @cached_property
    def log_likelihood(self) -> Array:
        """Log-likelihood of every draw, (sample,)."""
        return np.array([log_density.sum() for log_density, _ in self])

    @cached_property
    def pivots(self) -> IntArray:
        """The draw of the highest log-likelihood, then draws at lower quantiles of it."""
        order = self.log_likelihood.argsort()
        found = [int(order[round(q * (len(order) - 1))]) for q in _QUANTILES]
        return np.array(list(dict.fromkeys(found)))


def identity(draws: Draws) -> IntArray:
    """The permutations (sample, cluster) that change nothing."""
    return np.broadcast_to(np.arange(draws.weights.shape[1]), draws.weights.shape).copy()


def mean_mixture(draws: Draws, permutation: IntArray) -> Mixture:
    """Means of weights, means and covariances over draws in other labels."""
    return mixture_of(*draws.reordered(permutation).average)


def mixture_of(weights: Weights, means: Means, covariances: Covariances) -> Mixture:
    """A mixture of full covariances whose weights may have rounded to zero."""
    positive = np.maximum(weights, TINY)
    return Mixture(positive / positive.sum(), means, covariances)


@dataclass(frozen=True)
class Found:
    """Result of a relabelling method.

    Attributes
    ----------
    permutation : (sample, cluster) integers
        The component that takes each label.
    cost : float
        The method's own.
    n_sweeps : int
        Passes over the draws from the best start.
    clash_share : float, optional
        Pivotal units only: share of draws in which two pivots belong to one component.
    """

    permutation: IntArray
    cost: float
    n_sweeps: int = 1
    clash_share: float | None = None


# ---- assignment


def among_alike(costs: Array, alike: IntArray | None) -> Array:
    """Costs (..., component, label), infinite where a component may not take a label; all may by default."""
    return costs if alike is None else np.where(alike[:, None] == alike, costs, np.inf)


def assign(cost: Array, kept: IntArray, alike: IntArray | None = None) -> IntArray:
    """The component of each label at the lowest total cost (component, label); ``kept`` unless another is better."""
    labels = np.arange(len(cost))
    best = linear_sum_assignment(among_alike(cost, alike).T)[1]
    gain = cost[kept, labels].sum() - cost[best, labels].sum()
    return best if gain > _TIE * np.abs(cost).max() else kept


def assign_all(costs: Array, kept: IntArray, alike: IntArray | None = None) -> IntArray:
    """`assign` for every draw, (sample, cluster)."""
    return np.array([assign(cost, own, alike) for cost, own in zip(costs, kept, strict=True)])


def total_cost(costs: Array, permutation: IntArray) -> float:
    """Sum over draws and labels."""
    return float(np.take_along_axis(costs, permutation[:, None, :], axis=1).sum())


# ---- search: sweeps from several starts


@dataclass(frozen=True)
class Sweep:
    """One pass over all draws: cost of the given permutations, better ones, and the reference that these imply."""

    cost: float
    proposed: IntArray
    reference: Any


type Sweeper = Callable[[Any, IntArray], Sweep]  # from a reference and permutations


type Start = tuple[IntArray, Any]  # permutations, and the reference they imply


def better(cost: float, than: float) -> bool:
    """Lower by more than rounding."""
    return not np.isfinite(than) or cost < than - ROUNDING * (1.0 + abs(than))


def descend(sweep: Sweeper, permutation: IntArray, reference: Any) -> Found:
    """Sweep until nothing changes or nothing is gained."""
    found = Found(permutation, np.inf, 0)
    for n in range(1, MAX_SWEEPS + 1):
        step = sweep(reference, permutation)
        if not better(step.cost, found.cost):
            break
        found = Found(permutation, step.cost, n)
        if np.array_equal(step.proposed, permutation):
            break
        permutation, reference = step.proposed, step.reference
    return found


def search(sweep: Sweeper, starts: list[Start]) -> Found:
    """The best of several descents; the first start wins ties, and a start equal to an earlier one is left out."""
    found = descend(sweep, *starts[0])
    seen: list[IntArray] = []
    for permutation, reference in starts[1:]:
        if any(share_agreeing(permutation, other) == 1.0 for other in seen):
            continue
        seen.append(permutation)
        other = descend(sweep, permutation, reference)
        found = other if better(other.cost, found.cost) else found
    return found


def share_agreeing(one: IntArray, other: IntArray) -> float:
    """Share of draws with the same permutation, up to one relabelling of all draws."""
    between = np.take_along_axis(other.argsort(axis=1), one, axis=1)
    return float(np.unique(between, axis=0, return_counts=True)[1].max() / len(one))
