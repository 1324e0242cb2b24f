"""Samplers of the same posterior density: how it is explored, and by whom it is evaluated.

``gibbs`` is blocked Gibbs sampling (see `bayesgmm.inference.gibbs`). Of NUTS there are two engines: ``native`` samples
the compiled log posterior in whitened coordinates around the EM solution, refreshes the radius of each draw (see
`bayesgmm.inference.refresh`) and imports neither PyMC nor PyTensor; ``pymc`` samples the model that `build_model`
returns. Both start their chains at draws of the normal approximation at the EM solution. ``laplace`` draws from that
approximation itself and corrects it by importance sampling (see `bayesgmm.laplace`).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr

from bayesgmm._common import PATIENCE, progress_bar
from bayesgmm.exceptions import InputError
from bayesgmm.inference.gibbs import sample_gibbs
from bayesgmm.inference.nuts import PythonTarget, Target, sample_nuts
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.refresh import refreshed
from bayesgmm.inference.settings import SamplerSettings, Trace
from bayesgmm.laplace import approximate, resampled
from bayesgmm.log_posterior import BlockLogPosterior, Gathered, c_log_posterior
from bayesgmm.mixture import Draws

type Sampled = tuple[Draws, Trace]  # draws in the engine's labels, and the record of the run
type Engine = Callable[[Problem, SamplerSettings, np.random.Generator], Sampled]


def sample_native(problem: Problem, settings: SamplerSettings, rng: np.random.Generator) -> Sampled:
    """Sample the compiled log posterior."""
    target = _target(problem, settings)
    if isinstance(target, PythonTarget):
        settings = replace(settings, cores=settings.chains)  # all at once, so that their points can be gathered
    run = sample_nuts(target, problem.starting_points(settings.chains, rng), settings)
    if settings.refresh and not run.interrupted:  # who interrupts wants an end
        with progress_bar("Refreshing radii", show=settings.progress, patience=PATIENCE):
            run = refreshed(run, target, settings, rng)
    return problem.parameters(run.points).end_to_end(), run


def _target(problem: Problem, settings: SamplerSettings) -> Target | PythonTarget:
    density = problem.log_posterior
    if isinstance(density, BlockLogPosterior):
        stops = [threading.Event()]  # of this run
        evaluate = replace(density, halted=lambda: any(stop.is_set() for stop in stops)).at
        return PythonTarget(density.n_dim, Gathered(evaluate, settings.chains), stops)
    function = c_log_posterior(*problem.start.kernel)
    return Target(density.n_dim, function.address, density.header, keep=(function, density))


def sample_laplace(problem: Problem, settings: SamplerSettings, rng: np.random.Generator) -> Sampled:
    """Draw from Laplace approximations at the starts of the chains, or at the mode, in proportion to their evidences.

    Chains are parts of one sequence of draws, in which copies of a proposal are neighbours. ``lp`` of the statistics is
    the log posterior density in the coordinates of the optimum.

    Raises
    ------
    SamplingError
        The approximation is not good enough, or the time ended.
    """
    began, optima = time.perf_counter(), problem.chain_starts or (problem.start,)
    shape = settings.chains, settings.draws
    n, workers = settings.chains * settings.draws, settings.cores
    found = approximate(
        problem.data,
        problem.model,
        optima,
        n,
        rng=rng,
        n_workers=workers,
        until=settings.until,
        progress=settings.progress,
    )
    chosen = resampled(found, n, rng=rng)
    stats = {"lp": chosen.log_densities, "mode": chosen.optimum, "proposal": chosen.proposal}
    nothing, seconds = np.zeros(settings.chains, dtype=np.int64), time.perf_counter() - began
    run = Trace(
        {},
        {name: values.reshape(shape) for name, values in stats.items()},
        nothing,
        np.arange(settings.chains),
        interrupted=False,
        seconds=seconds,
        approximations=found,
    )
    return chosen.draws[np.arange(n).reshape(shape)].end_to_end(), run


def _sample_pymc(problem: Problem, settings: SamplerSettings, rng: np.random.Generator) -> Sampled:
    from bayesgmm.inference.engine_pymc import sample_pymc  # PyMC is imported only when it is asked for

    return sample_pymc(problem, settings, rng)


ENGINES: dict[str, Engine] = {"native": sample_native, "pymc": _sample_pymc}
INFERENCES = {"nuts": "NUTS", "gibbs": "Gibbs sampling", "laplace": "Laplace approximation"}
_OWN = {"gibbs": sample_gibbs, "laplace": sample_laplace}  # which evaluate no density of PyMC's
SAMPLERS = {**INFERENCES, "jumps": "Gibbs sampling with jumps"}


def sampler_name(tree: xr.DataTree) -> str:
    """What a posterior was sampled by."""
    return SAMPLERS[str(tree.attrs.get("sampler", tree.attrs.get("inference", "nuts")))]


def sampler_of(inference: str, engine: str) -> Engine:
    """The sampler that a user names."""
    if inference == "nuts":
        return ENGINES[engine]
    if engine != "native":
        expected = f'engine="native" with inference="{inference}", which evaluates no density of PyMC\'s'
        raise InputError(expected=expected, got=f"{engine!r}")
    return _OWN[inference]
