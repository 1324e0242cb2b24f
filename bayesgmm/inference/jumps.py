r"""Gibbs sampling with jumps between modes: one chain that visits all of them.

Between the sweeps of Gibbs sampling a chain may leave for one of m points drawn from a density q of all parameters,
whatever its place: of these and its own point, one is chosen with a probability proportional to p / q (iterated
sampling importance resampling, which leaves the posterior p as it is; Andrieu, Lee & Vihola 2018). So draws of all
modes come in proportion, no mode needs a border or an evidence of its own, and R-hat tells what it tells of any chain.

q is the mean of the densities of the parameters given allocations of the rows (`bayesgmm.evidence.Conditionals`), all
labellings alike, for allocations from every mode that was met. It is adapted before the chains begin: allocations are
drawn anew for points of q resampled in proportion to p / q (population Monte Carlo; Cappe, Guillin, Marin & Robert
2004). A part is always of draws in all places that were met, of those most that q covers least.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesgmm._common import Array, one_blas_thread, progress_bar
from bayesgmm.evidence import Conditionals, Target
from bayesgmm.exceptions import InterruptedWarning, SamplingError, warn_user
from bayesgmm.gibbs import Kept, Point, Sweeps, run_chains
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import TOO_SHORT, SamplerSettings, Trace
from bayesgmm.mixture import Draws, Mixture

JUMPED = "jumped"  # name of the statistic that says which draws came by a jump
_ROUNDS, _PROPOSALS = 4, 1_000  # of adaptation, and points of q in each
_ALLOCATIONS, _KEPT = 200, 0.25  # of q, and the share of them that are of the first draws
_KNOWN, _MOVES = 64, 3  # draws of chains, and places, that q is to cover; draws of sweeps that move them on
_PREFERRED = 4.0  # nats above the mean of p / q from which on places are not preferred any more
_PILOTS, _ENOUGH = 4, 0.1  # short chains, and share of their draws that have to jump
_BURN, _BLOCK = 40, 40  # draws before the first that is kept; draws whose candidates are drawn at once
_CANDIDATES, _MOST_CANDIDATES, _OF_ALL = 4, 12, 128  # points of a jump: at first, at most, and at most times 2^K
_OFTEN, _SELDOM = 0.3, 0.06  # share of draws that are to jump; fewer, and more candidates do not help


@dataclass(frozen=True)
class Jumps:
    """The density q of candidates, with points of it weighted by p / q.

    Attributes
    ----------
    density : Conditionals
    points : Draws
    log_ratio : (point,)
        log p - log q, p the likelihood times the prior.
    share : float
        Share of the draws of short chains that jumped.
    """

    density: Conditionals
    points: Draws
    log_ratio: Array
    share: float = 1.0

    @property
    def weights(self) -> Array:
        """The weights of the points, which sum to one."""
        weights = np.exp(self.log_ratio - self.log_ratio.max())
        normalised: Array = weights / weights.sum()
        return normalised

    @property
    def log_mean(self) -> float:
        """Log of the mean of p / q over the points: the log evidence of what q covers."""
        return float(logsumexp(self.log_ratio)) - math.log(len(self.log_ratio))

    def log_ratio_at(self, draws: Draws, target: Target) -> Array:
        """log p - log q of draws."""
        return target.log_joint(draws) - self.density.log_density(draws)

    def starts(self, n: int, rng: np.random.Generator) -> tuple[Mixture, ...]:
        """``n`` points, resampled by their weights."""
        chosen = rng.choice(len(self.points), size=n, p=self.weights)
        return tuple(self.points.mixture(int(s)) for s in chosen)

    @property
    def usable(self) -> bool:
        """Whether jumps are frequent enough for chains to visit and leave all modes."""
        return self.share >= _ENOUGH


def adapted_jumps(problem: Problem, draws: Draws, places: Draws, *, rng: np.random.Generator) -> Jumps:
    """q from draws of chains in different places, and from one draw in each of many, in whatever proportions."""
    target, sweeps = Target(problem.data, problem.model), Sweeps(problem.data, problem.model)
    known = Draws.joined([draws.thinned(_KNOWN), places.thinned(_KNOWN)])
    found = _jumps(target, _resampled(known, None, _ALLOCATIONS, rng), rng)
    for _ in range(_ROUNDS - 1):
        n_kept = int(_KEPT * _ALLOCATIONS)
        own = _moved(sweeps, _resampled(found.points, found.weights, _ALLOCATIONS - n_kept, rng), rng)
        known = _moved(sweeps, known, rng)
        wanted = np.exp(0.5 * np.clip(found.log_ratio_at(known, target) - found.log_mean, -_PREFERRED, _PREFERRED))
        first = _resampled(known, wanted, n_kept, rng)
        found = _jumps(target, Draws.joined([own, first]), rng)
    walk = _Walk(found, target, sweeps, found.starts(_PILOTS, rng), rng)
    for _ in range(_BURN):
        walk.step()
    return replace(found, share=walk.n_moved / (_PILOTS * _BURN))


def _moved(sweeps: Sweeps, draws: Draws, rng: np.random.Generator) -> Draws:
    """The draws after some sweeps, so that they spread beyond q."""
    return run_chains(sweeps, [draws.mixture(s) for s in range(len(draws))], burn=_MOVES - 1, n=1, rng=rng)[0]


def _resampled(draws: Draws, weights: Array | None, n: int, rng: np.random.Generator) -> Draws:
    """``n`` draws, systematically, in proportion to their weights."""
    cumulative = np.arange(1.0, len(draws) + 1.0) / len(draws) if weights is None else weights.cumsum()
    places = (np.arange(n) + rng.random()) / n * cumulative[-1]
    return draws[np.minimum(np.searchsorted(cumulative, places), len(draws) - 1)]


def _jumps(target: Target, given: Draws, rng: np.random.Generator) -> Jumps:
    density = target.conditionals(given, rng=rng)
    points = density.sample(_PROPOSALS, rng=rng)
    return Jumps(density, points, target.log_joint(points) - density.log_density(points))


def sample_with_jumps(
    jumps: Jumps, problem: Problem, settings: SamplerSettings, rng: np.random.Generator
) -> tuple[Draws, Trace]:
    """Draw from the posterior; a chain begins where it is told, or at a point of q, resampled by its weight.

    Draws are those after a jump or none. Of the settings numbers of chains and draws and the time are used.

    Returns
    -------
    Draws, Trace
        After Ctrl-C, or when the time has ended, the draws made so far.

    Raises
    ------
    SamplingError
        The time ended before the first draw.
    KeyboardInterrupt
        Ctrl-C came before it.

    References
    ----------
    Andrieu, Lee & Vihola (2018), Bernoulli 24, 842-872; Cappe, Guillin, Marin & Robert (2004), J. Comput. Graph.
    Stat. 13, 907-929.
    """
    began = time.perf_counter()
    target, sweeps = Target(problem.data, problem.model), Sweeps(problem.data, problem.model)
    walk = _Walk(jumps, target, sweeps, problem.chain_starts or jumps.starts(settings.chains, rng), rng)
    total, stopped, series = _BURN + settings.draws, False, settings.kept_draws
    kept: list[_Step] = []
    for part in series:
        walk.restore(part)
        kept += part.made
        began = time.perf_counter() - part.seconds
    written = len(kept)
    try:
        with one_blas_thread(), progress_bar("Gibbs sampling with jumps", show=settings.progress) as move:
            for done in range(1 + (_BURN + written if written else 0), total + 1):
                if walk.used == _BLOCK and series.wait == 0.0 and len(kept) > written:
                    series.append(walk.part(kept[written:], time.perf_counter() - began))
                    written = len(kept)
                made = walk.step()
                if done == _BURN:
                    walk.enough_candidates()
                elif done > _BURN:
                    kept.append(made)
                if move is not None:
                    move(settings.chains * done, settings.chains * total)
                if time.monotonic() >= settings.until:
                    break
    except KeyboardInterrupt:
        if not kept:
            raise
        stopped = True
    if not kept:
        raise SamplingError(TOO_SHORT)
    interrupted = stopped or len(kept) < settings.draws
    if interrupted:
        message = f"Sampling was interrupted: kept {len(kept)} of {settings.draws} draws of each chain."
        warn_user(message, InterruptedWarning)
    if len(kept) == settings.draws > written:
        series.append(walk.part(kept[written:], time.perf_counter() - began))
    draws = Draws.joined([points for points, _, _ in kept])
    by_chain = np.arange(len(draws)).reshape(len(kept), settings.chains).T
    draws, stats = (
        draws[by_chain].end_to_end(),
        {
            "lp": np.stack([lp for _, lp, _ in kept], axis=1),
            JUMPED: np.stack([moved for _, _, moved in kept], axis=1),
        },
    )
    nothing, seconds = np.zeros(settings.chains, dtype=np.int64), time.perf_counter() - began
    return draws, Trace({}, stats, nothing, np.arange(settings.chains), interrupted, seconds)


type _Step = tuple[Draws, Array, NDArray[np.bool_]]


class _Part(NamedTuple):
    """Steps, where the chains were after them, before the next candidates, and how long sampling had taken then."""

    made: list[_Step]
    at: list[Point]
    rng: np.random.Generator
    n_candidates: int
    n_moved: int
    seconds: float


class _Walk:
    """Chains side by side, and candidates of their next jumps."""

    def __init__(
        self, jumps: Jumps, target: Target, sweeps: Sweeps, starts: Sequence[Mixture], rng: np.random.Generator
    ) -> None:
        self.jumps, self.target, self.sweeps, self.rng = jumps, target, sweeps, rng
        self.chains = [sweeps.chain(start) for start in starts]
        self.most = int(np.clip(_OF_ALL >> target.model.n_components, 1, _MOST_CANDIDATES))
        self.rooms, self.n_candidates = [Kept.room(chain, 1) for chain in self.chains], min(_CANDIDATES, self.most)
        self.used, self.n_moved = _BLOCK, 0

    def enough_candidates(self) -> None:
        """As many that a certain share of the draws jump, by the share that did; one if hardly any did."""
        share = self.n_moved / (_BURN * len(self.chains))
        n = round(self.n_candidates * _OFTEN / share) if share >= _SELDOM else 1
        self.n_candidates, self.used = int(np.clip(n, 1, self.most)), _BLOCK

    def part(self, made: list[_Step], seconds: float) -> _Part:
        """What a checkpoint keeps after some steps."""
        at = [chain.at for chain in self.chains]
        return _Part(made, at, self.rng, self.n_candidates, self.n_moved, seconds)

    def restore(self, part: _Part) -> None:
        """Go back to where the chains were then; candidates are drawn anew."""
        for chain, point in zip(self.chains, part.at, strict=True):
            for array, values in zip(chain.at, point, strict=True):
                array[:] = values
        self.rng.bit_generator.state = part.rng.bit_generator.state
        self.n_candidates, self.n_moved, self.used = part.n_candidates, part.n_moved, _BLOCK

    def step(self) -> _Step:
        """The next draw of each chain, its log density, and whether it came by a jump."""
        if self.used == _BLOCK:
            self._propose()
        own, log_joint = self._sweep()
        n_chains, n_candidates = len(self.chains), self.n_candidates
        ratio = np.column_stack([log_joint - self.jumps.density.log_density(own), self.log_ratio[self.used]])
        chosen = (ratio + self.rng.gumbel(size=ratio.shape)).argmax(axis=1)
        moved = chosen > 0
        first = self.used * n_chains * n_candidates + np.arange(n_chains) * n_candidates
        candidates = self.candidates[first + np.maximum(chosen - 1, 0)]
        for c in np.flatnonzero(moved):
            self.sweeps.place(self.chains[c], candidates, int(c), rng=self.rng)
        both = Draws.joined([own, candidates])[np.where(moved, n_chains, 0) + np.arange(n_chains)]
        log_joint = np.where(moved, self.log_joint[first + np.maximum(chosen - 1, 0)], log_joint)
        self.used, self.n_moved = self.used + 1, self.n_moved + int(moved.sum())
        return both, log_joint, moved

    def _propose(self) -> None:
        """Candidates of a number of steps."""
        n_chains, n_candidates = len(self.chains), self.n_candidates
        self.candidates = self.jumps.density.sample(_BLOCK * n_chains * n_candidates, rng=self.rng)
        self.log_joint = self.target.log_joint(self.candidates)
        ratio = self.log_joint - self.jumps.density.log_density(self.candidates)
        self.log_ratio, self.used = ratio.reshape(_BLOCK, n_chains, n_candidates), 0

    def _sweep(self) -> tuple[Draws, Array]:
        """The chains' points after sweeps, and their log densities."""
        for chain, room in zip(self.chains, self.rooms, strict=True):
            self.sweeps.run(self.rng, chain, room, first=0, n=1)
        weights, means, factors, log_likelihood = (np.concatenate(each) for each in zip(*self.rooms, strict=True))
        points = Draws.of_factors(weights, means, factors, family=self.sweeps.model.family)
        return points, log_likelihood + self.target.log_prior(points)
