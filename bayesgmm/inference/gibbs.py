r"""Gibbs sampling of the posterior, a second method beside NUTS; a sweep is described in `bayesgmm.gibbs.sweep`.

It needs no gradient, no coordinates and no step size, so that it checks NUTS. Neighbouring draws are as much alike as
EM is slow: the autocorrelation of a parameter is the fraction of information on it that the unknown labels take away
(Liu, Wong & Kong 1994; `StandardErrors.missing` estimates it). A draw is therefore the last of several sweeps.
"""

import math
import threading
import time
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np

from bayesgmm._common import Array, in_threads, progress_bar
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError, InterruptedWarning, SamplingError, warn_user
from bayesgmm.gibbs import SWEEPS, BlockSweeps, Chain, Kept, Point, Sweeps, refusal
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import TOO_SHORT, SamplerSettings, Trace
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.priors import Model

_INTERRUPTED = "interrupted before the first draw"
_ROUND = 0.1  # seconds after which chains wait for each other, and Ctrl-C is heard


def check_gibbs(model: Model, data: Data) -> None:
    """Raise `InputError` unless every block has a known distribution given the others."""
    if (refused := refusal(model, data)) is not None:
        raise InputError(expected=refused[0], got=refused[1], hint='Use inference="nuts".')


def sample_gibbs(problem: Problem, settings: SamplerSettings, rng: np.random.Generator) -> tuple[Draws, Trace]:
    """Draw from the posterior; chains begin at their starts, or all at the mode, with labels of their own.

    ``lp`` of the statistics is the log of likelihood times prior, hyperparameters that have a prior integrated out, in
    natural coordinates.

    Parameters
    ----------
    problem : Problem
        With a prior, family and weights that `check_gibbs` accepts.
    settings : SamplerSettings
        What is about trajectories is not used.
    rng : Generator

    Returns
    -------
    Draws, Trace
        After Ctrl-C, or when the time has ended, the draws made so far, the same number of each chain.

    Raises
    ------
    SamplingError
        The time ended before the first draw after warm-up, or a covariance was singular to rounding error.
    KeyboardInterrupt
        Ctrl-C came before it.

    References
    ----------
    Diebolt & Robert (1994); Liu, Wong & Kong (1994), Biometrika 81, 27-40; Neal (2003), Annals of Statistics 31.
    """
    if problem.on_sample is not problem:
        return _of_blocks(problem, settings, rng)
    began, sweeps = time.perf_counter(), Sweeps(problem.data, problem.model)
    chains = [sweeps.chain(start) for start in _starts(problem, settings)]
    kept, generators = [Kept.room(chain, settings.draws) for chain in chains], rng.spawn(settings.chains)
    total, done, size, interrupted = settings.tune + settings.draws, 0, 1, False
    series = settings.kept_draws
    for part in series:
        part.restore(chains, kept, first=done - settings.tune)
        done, generators, began = part.done, part.generators, time.perf_counter() - part.seconds
    written = done

    def go_on(c: int, stop: threading.Event) -> threading.Event:
        sweeps.run(generators[c], chains[c], kept[c], first=done - settings.tune, n=size)
        return stop

    with progress_bar("Gibbs sampling", show=settings.progress) as move:
        while done < total and not interrupted:
            size, round_began = min(size, total - done), time.monotonic()
            stop = in_threads(go_on, range(settings.chains), n_workers=settings.n_cores)[0]
            done += size
            if move is not None:
                move(settings.chains * done, settings.chains * total)
            interrupted = stop.is_set() or (time.monotonic() >= settings.until and done < total)
            if series.wait == 0.0 or done == total or interrupted:
                new = slice(max(written - settings.tune, 0), max(done - settings.tune, 0))
                made = [Kept(*(array[new] for array in own)) for own in kept]
                at, seconds = [chain.at for chain in chains], time.perf_counter() - began
                series.append(_Part(made, at, generators, done, seconds))
                written = done
            size = max(1, math.ceil(size * min(2.0, _ROUND / max(time.monotonic() - round_began, 1e-9))))
    if done - settings.tune < 1 and stop.is_set():
        raise KeyboardInterrupt(_INTERRUPTED)
    return _result(kept, done - settings.tune, problem, settings, interrupted=interrupted, began=began)


def _of_blocks(problem: Problem, settings: SamplerSettings, rng: np.random.Generator) -> tuple[Draws, Trace]:
    """Of rows that are not in memory: all chains in one pass, which Ctrl-C and the clock end after any block."""
    began, data = time.perf_counter(), problem.data
    sweeps = BlockSweeps(data, problem.model, _starts(problem, settings), rng=rng, pool=problem.pool)
    kept = [Kept.room(chain, settings.draws) for chain in sweeps.chains]
    total, n_known, by_user = settings.tune + settings.draws, 0, False
    series, next_draw = settings.kept_draws, -settings.tune
    for part in series:
        part.restore(sweeps.chains, kept, first=n_known)
        n_known, next_draw, sweeps.generators = (
            n_known + len(part.made[0].weights),
            part.done - settings.tune,
            part.generators,
        )
        began = time.perf_counter() - part.seconds
    sweeps.n_sweeps, written = SWEEPS * (next_draw + settings.tune), n_known
    if next_draw > 0:
        sweeps.keep(kept, next_draw - 1)

    def check() -> None:
        if time.monotonic() >= settings.until:
            raise SamplingError(TOO_SHORT)

    def complete(s: int, log_likelihoods: Array) -> None:
        for own, value in zip(kept, log_likelihoods, strict=True):
            own.log_likelihood[s] = value

    try:
        with progress_bar("Gibbs sampling", show=settings.progress) as move:
            for s in range(next_draw, settings.draws):
                before = sweeps.draw(check)
                if s > 0:
                    complete(s - 1, before)
                    n_known = s
                if s >= 0:
                    sweeps.keep(kept, s)
                if series.wait == 0.0:
                    made = [Kept(*(array[written:n_known] for array in own)) for own in kept]
                    at, seconds = [chain.at for chain in sweeps.chains], time.perf_counter() - began
                    series.append(_Part(made, at, sweeps.generators, s + settings.tune + 1, seconds))
                    written = n_known
                if move is not None:
                    move(settings.chains * (s + settings.tune + 1), settings.chains * total)
        complete(settings.draws - 1, sweeps.log_likelihoods(check))
        n_known = settings.draws
    except KeyboardInterrupt:
        by_user = True
    except SamplingError:  # the time has ended
        pass
    if n_known < 1 and by_user:
        raise KeyboardInterrupt(_INTERRUPTED)
    return _result(kept, n_known, problem, settings, interrupted=n_known < settings.draws, began=began)


def _starts(problem: Problem, settings: SamplerSettings) -> list[Mixture]:
    """One for each chain."""
    return list(islice(cycle(problem.chain_starts or (problem.start,)), settings.chains))


def _result(
    kept: list[Kept], n_draws: int, problem: Problem, settings: SamplerSettings, *, interrupted: bool, began: float
) -> tuple[Draws, Trace]:
    """The draws made, with a warning if they are fewer than asked for."""
    if n_draws < 1:
        raise SamplingError(TOO_SHORT)
    if interrupted and n_draws < settings.draws:
        message = f"Sampling was interrupted: kept {n_draws} of {settings.draws} draws of each chain."
        warn_user(message, InterruptedWarning)
    draws, lp = _joined(kept, n_draws, problem)
    if not np.isfinite(lp).all():
        raise SamplingError("Gibbs sampling left the numbers: a covariance was singular to rounding error")
    nothing, seconds = np.zeros(settings.chains, dtype=np.int64), time.perf_counter() - began
    return draws, Trace({}, {"lp": lp}, nothing, np.arange(settings.chains), interrupted, seconds)


class _Part(NamedTuple):
    """Draws of every chain, where it was after them, and how many and how long there had been then, warm-up too."""

    made: list[Kept]
    at: list[Point]
    generators: list[np.random.Generator]
    done: int
    seconds: float

    def restore(self, chains: list[Chain], kept: list[Kept], *, first: int) -> None:
        """Put chains and draws back as they were; the first draw has the number ``first``, or those before are none."""
        for own, made in zip(kept, self.made, strict=True):
            for array, values in zip(own, made, strict=True):
                array[max(first, 0) :][: len(values)] = values
        for chain, point in zip(chains, self.at, strict=True):
            for array, values in zip(chain.at, point, strict=True):
                array[:] = values


def _joined(kept: list[Kept], n_draws: int, problem: Problem) -> tuple[Draws, Array]:
    """All draws, chains end to end, and their log densities (chain, draw)."""
    made = (np.stack([array[:n_draws] for array in each]) for each in zip(*kept, strict=True))
    weights, means, factors, log_likelihood = made
    draws = Draws.of_factors(weights, means, factors, family=problem.start.family).end_to_end()
    log_prior = problem.model.required_prior.log_density_of(draws)
    return draws, log_likelihood + log_prior.reshape(log_likelihood.shape)
