"""Settings and draws of a run of NUTS."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import joblib
import numpy as np
from numpy.typing import NDArray

from bayesgmm._common import Array, IntArray
from bayesgmm.exceptions import InputError
from bayesgmm.io import Pieces, Series
from bayesgmm.laplace import Approximation

Adaptation = Literal["diag", "draw_diag", "low_rank"]

TOO_SHORT = "max_seconds ended before the first draw after warm-up: allow more seconds, or ask for a smaller tune"
POINT = "point"  # the name under which unconstrained points are stored


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """Settings of a run of NUTS.

    Parameters
    ----------
    seed : int
        Below 2**64. The same seed gives the same draws, whatever ``cores``.
    draws, tune : int
        Draws kept and draws of warm-up, per chain; at least one of each.
    chains : int
        Number of chains.
    cores : int, optional
        Chains that run at the same time; by default as many as the machine allows.
    target_accept : float
        Mean acceptance rate that the step size aims at, between 0 and 1.
    max_depth : int
        A draw costs at most 2**max_depth gradients.
    adaptation : {"diag", "draw_diag", "low_rank"}
        Mass matrix: diagonal from draws and gradients, diagonal from draws, or diagonal plus low rank.
    refresh : bool
        Take a step on the radius of each draw, see `bayesgmm.inference.refresh`.
    until : float
        Time of `time.monotonic` at which the run ends with the draws made so far.
    progress : bool
        Show nutpie's progress bars in a terminal or notebook; elsewhere nothing is shown.
    kept : Pieces, optional
        Of a checkpoint, to which draws are written as they come.

    Raises
    ------
    InputError
        A setting is outside its range.

    Examples
    --------
    >>> SamplerSettings(seed=1, chains=2).tune
    400
    >>> SamplerSettings(seed=1, tune=0)
    Traceback (most recent call last):
    ...
    bayesgmm.exceptions.InputError: Expected tune an integer >= 1; got 0.
    """

    seed: int
    draws: int = 1000
    tune: int = 400
    chains: int = 4
    cores: int | None = None
    target_accept: float = 0.8
    max_depth: int = 10
    adaptation: Adaptation = "diag"
    refresh: bool = True
    progress: bool = True
    until: float = math.inf
    kept: Pieces | None = None

    def __post_init__(self) -> None:
        for name in ("draws", "tune", "chains", "cores", "max_depth"):
            value = getattr(self, name)
            if not (_is_integer(value) and value >= 1) and not (name == "cores" and value is None):
                raise InputError(expected=f"{name} an integer >= 1", got=f"{value!r}")
        if not (_is_integer(self.seed) and 0 <= self.seed < 2**64):
            raise InputError(expected="seed an integer from 0 to 2**64 - 1", got=f"{self.seed!r}")
        if not 0.0 < self.target_accept < 1.0:
            raise InputError(expected="target_accept between 0 and 1", got=f"{self.target_accept!r}")
        if self.adaptation not in get_args(Adaptation):
            raise InputError(expected=f"adaptation one of {get_args(Adaptation)}", got=f"{self.adaptation!r}")

    @property
    def n_cores(self) -> int:
        """Chains that run at the same time."""
        return min(self.chains, self.cores or joblib.cpu_count())

    @property
    def kept_draws(self) -> Series:
        """Parts of the draws of this run, which its seed tells from others of the same fit."""
        return Series(self.kept, f"draws {self.seed}")


@dataclass(frozen=True)
class Trace:
    """Draws of NUTS after warm-up.

    Attributes
    ----------
    values : dict of ndarray, shape (chain, draw, ...)
        Stored variables by name.
    stats : dict of ndarray, shape (chain, draw)
        Sample statistics by ArviZ's names: `lp`, `diverging`, `energy`, `n_steps`, `tree_depth`,
        `reached_max_treedepth`, `acceptance_rate`, `step_size`, and a few of nutpie's own.
    n_gradients : ndarray of int64, shape (chain,)
        Leapfrog steps of each chain, warm-up included: one gradient each.
    chains : ndarray of int64, shape (chain,)
        Rows of ``starts`` that the chains began at; all of them unless the run was interrupted.
    interrupted : bool
        Whether Ctrl-C, or the time, ended the run early.
    seconds : float
        Wall time of the run.
    approximations : tuple of bayesgmm.laplace.Approximation
        Of draws of Laplace approximations, those at the optima; the statistic ``mode`` tells of which a draw is.
    """

    values: dict[str, Array]
    stats: dict[str, NDArray[Any]]
    n_gradients: IntArray
    chains: IntArray
    interrupted: bool
    seconds: float
    approximations: tuple[Approximation, ...] = ()

    @property
    def n_draws(self) -> int:
        """Draws of each chain."""
        return int(self.stats["lp"].shape[1])

    def followed_by(self, later: Self) -> Self:
        """The run and one that went on from its last draws."""
        return replace(
            self,
            values={name: np.concatenate([own, later.values[name]], axis=1) for name, own in self.values.items()},
            stats={name: np.concatenate([own, later.stats[name]], axis=1) for name, own in self.stats.items()},
            n_gradients=self.n_gradients + later.n_gradients,
            interrupted=later.interrupted,
            seconds=self.seconds + later.seconds,
        )

    @property
    def points(self) -> Array:
        """The unconstrained points (chain, draw, n_dim) of a run on a `Target`."""
        return self.values[POINT]


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
