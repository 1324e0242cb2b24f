"""Gibbs sampling of rows that may be anywhere: labels are drawn block by block, and only sums over them are kept."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from bayesgmm._common import Array
from bayesgmm.data import Block, Data, Handle, ReusedBuffer, in_order
from bayesgmm.gibbs.sweep import (
    SWEEPS,
    Chain,
    Kept,
    Point,
    Rows,
    compiled_prior,
    draw_labels,
    draw_parameters,
    point_at,
)
from bayesgmm.mixture import Component, Mixture, Parametrisation
from bayesgmm.priors import Model

_NO_COUNTS = np.empty(0, dtype=np.int64)
_rows, _log_density, _memberships = ReusedBuffer(), ReusedBuffer(), ReusedBuffer()


class BlockSweeps:
    """As `Sweeps`, of several chains at once: a sweep of all of them is one pass over the rows.

    The labels of every block have a generator of their own in each sweep: draws do not depend on threads.

    Parameters
    ----------
    data : Data
        Rows without weights.
    model : Model
        With a prior that `refusal` accepts.
    starts : sequence of Mixture
        One a chain.
    rng : Generator
    pool : concurrent.futures.Executor, optional
    """

    def __init__(
        self,
        data: Data,
        model: Model,
        starts: Sequence[Mixture],
        *,
        rng: np.random.Generator,
        pool: Executor | None = None,
    ) -> None:
        self.data, self.pool = data, pool
        self.kernel, self.prior = (model.family.parametrisation, model.component), compiled_prior(model.required_prior)
        self.chains = [Chain.room(point_at(start, model), 0) for start in starts]
        self.generators, self.seed, self.n_sweeps = rng.spawn(len(starts)), int(rng.integers(2**63)), 0

    def draw(self, check: Callable[[], None]) -> Array:
        """One draw of each chain, the last of `SWEEPS` sweeps; returns log-likelihoods where the chains were before.

        Parameters
        ----------
        check : callable
            Called after each block; what it raises ends the draw.
        """
        first, *_ = [self._sweep(check) for _ in range(SWEEPS)]
        return first

    def log_likelihoods(self, check: Callable[[], None]) -> Array:
        """Those where the chains are, (chain,)."""
        return self._sums(check)[:, 0]

    def keep(self, kept: Sequence[Kept], s: int) -> None:
        """Write where the chains are to draws of this number, but for the log-likelihoods."""
        for chain, own in zip(self.chains, kept, strict=True):
            own.weights[s], own.means[s], own.factors[s] = chain.at.weights, chain.at.means, chain.at.factors

    def _sweep(self, check: Callable[[], None]) -> Array:
        sums = self._sums(check)
        for chain, rng, own in zip(self.chains, self.generators, sums, strict=True):
            place = 1
            for array in (chain.counts, chain.first, chain.second):
                array[...] = own[place : place + array.size].reshape(array.shape)
                place += array.size
            draw_parameters(self.kernel[0], rng, self.prior, chain, 1.0)
        self.n_sweeps += 1
        return sums[:, 0]

    def _sums(self, check: Callable[[], None]) -> Array:
        """Log-likelihood, counts, first and second moments end to end, of each chain, (chain, number)."""
        task = LabelSums(self.kernel, tuple(chain.at for chain in self.chains), (self.seed, self.n_sweeps))
        found: Array | None = None
        for part in in_order(task.of_handle, list(enumerate(self.data.handles)), self.pool):
            check()
            found = part if found is None else found + part
        assert found is not None  # noqa: S101  there are rows
        return found


@dataclass(frozen=True)
class LabelSums:
    """A task: labels of the rows of a handle are drawn at the points of several chains, and summed over.

    Attributes
    ----------
    kernel : tuple
    points : tuple of Point
    key : tuple of int
        Of the random numbers of this sweep.
    """

    kernel: tuple[Parametrisation, Component]
    points: tuple[Point, ...]
    key: tuple[int, int]

    def of_handle(self, numbered: tuple[int, Handle]) -> Array:
        """Sums over the rows of a handle of this number, (chain, number)."""
        number, handle = numbered
        return reduce(add, (self._of_block(block, (number, part)) for part, block in enumerate(handle.read())))

    def _of_block(self, block: Block, place: tuple[int, int]) -> Array:
        (d, n), k = block.columns.shape, len(self.points[0].weights)
        by_row = _rows.array((n, d))
        np.copyto(by_row, block.columns.T)
        rows, room = Rows(block.columns, by_row, _NO_COUNTS), (_log_density.array((n,)), _memberships.array((k, n)))
        found = []
        for c, point in enumerate(self.points):
            own = Chain.room(point, 0)._replace(log_density=room[0], memberships=room[1])
            draw_labels(*self.kernel, np.random.default_rng([*self.key, c, *place]), rows, own)
            found.append(np.concatenate([[own.log_density.sum()], own.counts, own.first.ravel(), own.second.ravel()]))
        return np.stack(found)
