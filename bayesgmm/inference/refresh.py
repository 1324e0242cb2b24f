r"""One independence Metropolis step on the radius of every draw.

In whitened coordinates the posterior of d parameters is close to a standard normal, so that the radius :math:`r = |y|`
of a draw y is close to :math:`\chi_d` and independent of its direction. The step keeps the direction and proposes
:math:`z = r' y / r` with :math:`r' \sim \chi_d`, accepted with probability :math:`\min(1, w(z) / w(y))`, where
:math:`w(y) = p(y) \exp(|y|^2 / 2)` (Tierney 1994; the powers of r in polar coordinates cancel). It leaves the posterior
as it is, so that what follows it is distributed as the draws were.

Trajectories of NUTS hardly change their energy: log densities of neighbours, functions of the radius, are alike, while
directions turn so much that means of parameters are known better than from independent draws. After the step the
radius is nearly independent of the neighbours' and the directions are what they were. It costs one evaluation of the
density a draw. Where the normal approximation is wrong, in other modes and heavy tails, proposals are refused.
"""

import threading
import time
from dataclasses import replace

import numpy as np

from bayesgmm._common import in_threads
from bayesgmm.inference.nuts import PythonTarget, Target
from bayesgmm.inference.settings import POINT, SamplerSettings, Trace
from bayesgmm.log_posterior import FINITE

REFRESHED = "refreshed"  # name of the statistic that says which draws were replaced


def refreshed(run: Trace, target: Target | PythonTarget, settings: SamplerSettings, rng: np.random.Generator) -> Trace:
    """The run with a step on the radius of each draw; it ends at Ctrl-C or ``until``, and the rest stays as it is.

    Log densities follow; the other statistics are those of the trajectories.
    """
    points, lp = run.points.copy(), run.stats["lp"].copy()
    replaced = np.zeros(lp.shape, dtype=bool)

    def step(job: tuple[int, np.random.Generator], stop: threading.Event) -> threading.Event:
        chain, own = job
        if isinstance(target, PythonTarget):
            target.stops.append(stop)
        n_draws, n_dim = points.shape[1:]
        squares, chances = own.chisquare(n_dim, size=(n_draws,)), -own.standard_exponential((n_draws,))
        for s in range(n_draws):
            if stop.is_set() or time.monotonic() >= settings.until:
                break
            y = points[chain, s]
            square = y @ y
            z = y * np.sqrt(squares[s] / square)
            status, value, _ = target(z)
            if status == FINITE and chances[s] < value - lp[chain, s] + 0.5 * (squares[s] - square):
                points[chain, s], lp[chain, s], replaced[chain, s] = z, value, True
        return stop

    stop = in_threads(step, list(enumerate(rng.spawn(len(points)))), n_workers=settings.n_cores)[0]
    values, stats = {**run.values, POINT: points}, {**run.stats, "lp": lp, REFRESHED: replaced}
    return replace(run, values=values, stats=stats, interrupted=run.interrupted or stop.is_set())
