"""Sampling until figures of convergence are fine: smaller steps against divergences, and further draws.

Chains that disagree because they are short go on: they are judged after so many draws, after as many more, and so on up
to a limit, and all draws are kept. Chains that stay in different modes are not helped by more of the same.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr

from bayesgmm.diagnostics import DEGENERATE, DIVERGENCES, NOT_MIXED, Diagnosis
from bayesgmm.exceptions import InterruptedWarning, SamplingError, warn_user
from bayesgmm.inference.engines import Engine, Sampled
from bayesgmm.inference.mode_search import Exploration
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture import Draws

type Judged = tuple[xr.DataTree, Diagnosis]


def sample_enough(
    explored: Exploration,
    asked: Engine,
    settings: SamplerSettings,
    rng: np.random.Generator,
    *,
    most: int,
    careful: float | None,
    judge: Callable[[Sampled], Judged],
) -> Judged:
    """The posterior and its diagnosis, after as many draws as it takes.

    Parameters
    ----------
    explored : Exploration
    asked : callable
        The sampler that the user asked for.
    settings : SamplerSettings
        With the number of draws after which chains are first judged.
    rng : Generator
    most : int
        Draws a chain at most.
    careful : float or None
        ``target_accept`` of a second run if the first has too many divergences.
    judge : callable
        The posterior of draws, and its diagnosis.
    """
    sampled = explored.sample(asked, settings, rng)
    judged = judge(sampled)
    try:
        if careful is not None and judged[1].verdict == DIVERGENCES and _may_go_on(sampled, settings):
            settings = replace(_anew(settings, rng), target_accept=careful, tune=2 * settings.tune)
            again = explored.sample(asked, settings, rng)
            judged, sampled = judge(again), again
        while _is_short(judged[1]) and sampled[1].n_draws < most and _may_go_on(sampled, settings):
            n = min(sampled[1].n_draws, most - sampled[1].n_draws)
            further = replace(_anew(settings, rng), draws=n, tune=max(1, settings.tune // 2))
            more = explored.going_on(sampled[0]).sample(asked, further, rng)
            if len(more[1].chains) < len(sampled[1].chains):  # interrupted: a part of the chains
                break
            longer = _joined(sampled, more)
            judged, sampled = judge(longer), longer
    except (KeyboardInterrupt, SamplingError) as error:
        message = f"Sampling ended with {sampled[1].n_draws} draws of each chain, before more were made: {error}."
        warn_user(message, InterruptedWarning)
    return judged


def _is_short(found: Diagnosis) -> bool:
    """Whether it is only draws that are missing: chains are not mixed, and do not stay in different modes."""
    return found.verdict in (NOT_MIXED, DEGENERATE) and not found.figures.is_mixed


def _may_go_on(sampled: Sampled, settings: SamplerSettings) -> bool:
    return not sampled[1].interrupted and time.monotonic() < settings.until


def _anew(settings: SamplerSettings, rng: np.random.Generator) -> SamplerSettings:
    return replace(settings, seed=int(rng.integers(2**63)))


def _joined(first: Sampled, second: Sampled) -> Sampled:
    """The draws of each chain, followed by those that it made later."""
    (draws, run), (more, later) = first, second
    n_chains, n = run.stats["lp"].shape
    order = np.concatenate(
        [
            np.arange(n_chains * n).reshape(n_chains, n),
            n_chains * n + np.arange(len(more)).reshape(n_chains, -1),
        ],
        axis=1,
    )
    return Draws.joined([draws, more])[order.ravel()], run.followed_by(later)
