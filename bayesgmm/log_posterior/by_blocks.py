"""The log posterior of rows that may be anywhere: sums over their blocks, then compiled prior and gradient.

A point costs a pass over the rows, and several points cost one pass too. Where several threads ask for one point each,
as chains of NUTS do, their points are therefore gathered.
"""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesgmm._common import Array, Factors, Means, Weights
from bayesgmm.data import Block, Data, total
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture import Component, Parametrisation, Sums, add_rows
from bayesgmm.priors import ResolvedPrior

_PATIENCE, _SHARE = 5e-3, 0.1  # seconds, and share of a pass, that points wait for those of other threads


@dataclass(frozen=True)
class SumsAt:
    """A task: log-likelihood, counts, moments and others of a block, end to end, under several mixtures.

    Attributes
    ----------
    kernel : tuple
    log_scale, means, precision_factors : (mixture, ...)
    """

    kernel: tuple[Parametrisation, Component]
    log_scale: Weights
    means: Means
    precision_factors: Factors

    def __call__(self, block: Block) -> Array:
        """Those of one block, (mixture, number)."""
        (n, k, d), shape, n_sums = self.means.shape, self.precision_factors.shape[2:], self.kernel[1].n_sums
        of_means, of_blocks = 1 + k, 1 + k + k * d  # where they begin
        others = of_blocks + k * math.prod(shape)
        found = np.zeros((n, others + k * n_sums))
        for own, *at in zip(found, self.log_scale, self.means, self.precision_factors, strict=True):
            moments = own[of_means:of_blocks].reshape(k, d), own[of_blocks:others].reshape(k, *shape)
            sums = Sums(own[1:of_means], *moments, own[others:].reshape(n_sums, k))
            log_scale = at[0]
            if len(block.allowed):
                log_scale = log_scale.copy()
                log_scale[:k][~block.allowed] = -np.inf
            rows = block.columns, block.row_weights, block.patterns
            own[0] = add_rows(*self.kernel, *rows, log_scale, *at[1:], sums)
        return found


@dataclass(frozen=True)
class BlockLogPosterior:
    """As `LogPosterior`, for rows that may be anywhere; every call is a pass over them.

    Attributes
    ----------
    data : Data
    prior : ResolvedPrior
    coordinates : Coordinates
    pool : concurrent.futures.Executor, optional
        Threads among which blocks are shared out. The results are the same without.
    halted : callable
        Asked after each block; once it is true, passes end with `HaltedError`.
    """

    data: Data
    prior: ResolvedPrior
    coordinates: Coordinates
    pool: Executor | None = None
    halted: Callable[[], bool] = lambda: False

    def __call__(self, point: Array) -> tuple[float, Array]:
        """Value and gradient at one point (n_dim,)."""
        values, gradients = self.at(np.asarray(point, dtype=np.float64)[None])
        return float(values[0]), gradients[0]

    def at(self, points: Array) -> tuple[Array, Array]:
        """Values (point,) and gradients (point, n_dim) at several points in one pass.

        Raises
        ------
        HaltedError
        """
        values, gradients = np.full(len(points), np.nan), np.full(points.shape, np.nan)
        placed = {i: at for i, point in enumerate(points) if (at := self._placed(point)) is not None}
        if placed:
            task = SumsAt(self.coordinates.centre.kernel, *map(np.stack, zip(*placed.values(), strict=True)))
            sums = total(task, self.data, self.pool, halted=self.halted)
            for i, own in zip(placed, sums, strict=True):
                values[i], gradients[i] = self._given(points[i], own)
        return values, gradients

    def _given(self, point: Array, sums: Array) -> tuple[float, Array]:
        """Value and gradient at a point, given the sums over rows there."""
        return self._around_sums.given(point, sums)

    def _placed(self, point: Array) -> tuple[Array, Array, Array] | None:
        """The mixture at a point, as the kernel reads it; none so far out that a factor has no inverse.

        Of one point alone: products with several at once are rounded otherwise.
        """
        try:
            with np.errstate(all="ignore"):  # far out: not finite, as compiled code has it
                return self.coordinates.parameters(point).terms(...)
        except np.linalg.LinAlgError:
            return None

    @property
    def n_dim(self) -> int:
        """Number of coordinates."""
        return self.coordinates.n_dim

    @cached_property
    def _around_sums(self) -> LogPosterior:
        """Prior and Jacobian: that of no rows."""
        return LogPosterior(self._no_rows, self.prior, self.coordinates)

    @property
    def _no_rows(self) -> Data:
        return Data(np.empty((0, self.data.shape[1]), order="F"))


type Evaluate = Callable[[Array], tuple[Array, Array]]  # points to values and gradients


class Gathered:
    """A density of one point, asked for by several threads, that is evaluated at the points of all of them at once.

    The first thread to come waits for the others, as many as there were in the last pass, but not for long, evaluates
    the points of all, and so on. What a thread gets does not depend on the others.
    """

    def __init__(self, evaluate: Evaluate, n_threads: int) -> None:
        self._evaluate, self._expected = evaluate, n_threads
        self._changed = threading.Condition()
        self._waiting: list[_Asked] = []
        self._is_busy, self._seconds = False, 0.0

    def __call__(self, point: Array) -> tuple[float, Array]:
        """Value and gradient at one point; errors of the evaluation are raised in every thread that waits for it."""
        own = _Asked(point)
        with self._changed:
            self._waiting.append(own)
            self._changed.notify_all()
            latest = time.monotonic() + max(_PATIENCE, _SHARE * self._seconds)
            while own.found is None and own.error is None:
                left = latest - time.monotonic()
                if self._is_busy or own not in self._waiting:
                    self._changed.wait()
                elif len(self._waiting) < self._expected and left > 0.0:
                    self._changed.wait(left)
                else:
                    self._evaluate_all()
        if own.error is not None:
            raise own.error
        assert own.found is not None  # noqa: S101  the loop ended
        return own.found

    def _evaluate_all(self) -> None:
        """Evaluate the points that wait, and give up the lock meanwhile."""
        asked, self._waiting, self._is_busy = self._waiting, [], True
        self._changed.release()
        began = time.monotonic()
        try:
            values, gradients = self._evaluate(np.stack([each.point for each in asked]))
            for each, value, gradient in zip(asked, values, gradients, strict=True):
                each.found = float(value), gradient
        except Exception as error:
            for each in asked:
                each.error = error
        finally:
            self._changed.acquire()
            self._seconds = time.monotonic() - began
            self._expected = len(asked) + len(self._waiting)
            self._is_busy = False
            self._changed.notify_all()


@dataclass(eq=False)
class _Asked:
    """A point that a thread asked for, and what it gets."""

    point: Array
    found: tuple[float, Array] | None = None
    error: Exception | None = None
