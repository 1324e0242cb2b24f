"""Samplers of the same posterior density: how it is explored, and by whom it is evaluated.

``gibbs`` is blocked Gibbs sampling (see `bayesgmm.inference.gibbs`). Of NUTS there are two engines: ``native`` samples
the compiled log posterior in whitened coordinates around the EM solution, refreshes the radius of each draw (see
`bayesgmm.inference.refresh`) and imports neither PyMC nor PyTensor; ``pymc`` samples the model that `build_model`
returns. Both start their chains at draws of the normal approximation at the EM solution.
"""

import threading
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


def _sample_pymc(problem: Problem, settings: SamplerSettings, rng: np.random.Generator) -> Sampled:
    from bayesgmm.inference.engine_pymc import sample_pymc  # PyMC is imported only when it is asked for

    return sample_pymc(problem, settings, rng)


ENGINES: dict[str, Engine] = {"native": sample_native, "pymc": _sample_pymc}
INFERENCES = {"nuts": "NUTS", "gibbs": "Gibbs sampling"}
SAMPLERS = {**INFERENCES, "jumps": "Gibbs sampling with jumps"}


def sampler_name(tree: xr.DataTree) -> str:
    """What a posterior was sampled by."""
    return SAMPLERS[str(tree.attrs.get("sampler", tree.attrs.get("inference", "nuts")))]


def sampler_of(inference: str, engine: str) -> Engine:
    """The sampler that a user names."""
    if inference == "nuts":
        return ENGINES[engine]
    if engine != "native":
        raise InputError(
            expected='engine="native" with inference="gibbs", which evaluates no density of PyMC\'s', got=f"{engine!r}"
        )
    return sample_gibbs
