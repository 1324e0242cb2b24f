"""PyMC engine: samples the PyMC model itself, the specification of the native engine."""

from collections.abc import Mapping

import numpy as np
import nutpie
import pymc as pm
import pytensor
from pytensor.compile.mode import Mode

from bayesgmm._common import Array
from bayesgmm.inference.nuts import sample_model
from bayesgmm.inference.problem import Problem, weights_refused
from bayesgmm.inference.settings import SamplerSettings, Trace
from bayesgmm.mixture import Draws
from bayesgmm.pymc_model import build_model

INTERPRETED = Mode(linker="py", optimizer=None)  # a few calls: compiling would cost more


def sample_pymc(problem: Problem, settings: SamplerSettings, rng: np.random.Generator) -> tuple[Draws, Trace]:
    """Sample the PyMC model by nutpie, from the starting points of the native engine."""
    if problem.data.row_weights is not None:
        raise weights_refused()
    points = problem.parameters(problem.starting_points(settings.chains, rng))
    starts = dict(zip(("weights", "means", "covariances"), points.arrays, strict=True))
    k, family = problem.model.n_components, problem.model.family
    hyper = problem.model.required_prior.model_variables_given(points.weights, points.precision_factors, rng=rng)
    model = build_model(
        problem.data.entries,
        k,
        covariance_type=family.name,
        prior=problem.prior,
        missing="marginalize",
        labels=problem.data.allowed,
    )
    shapes = {name: values.shape[1:] for name, values in starts.items()}
    compiled = nutpie.compile_pymc_model(model, var_names=list(shapes))
    run = sample_model(compiled, unconstrained_points(model, starts | hyper), settings, shapes)
    return Draws(*(run.values[name] for name in starts), family=family).end_to_end(), run


def unconstrained_points(model: pm.Model, parameters: Mapping[str, Array]) -> Array:
    """Points (chain, n_dim) of a model's free variables, in its own order, from constrained values (chain, ...)."""
    inputs, outputs = [], []
    for variable in model.free_RVs:
        value = variable.type(variable.name)
        transform = model.rvs_to_transforms[variable]
        inputs.append(value)
        outputs.append(value if transform is None else transform.forward(value, *variable.owner.inputs))
    forward = pytensor.function(inputs, outputs, mode=INTERPRETED)
    chains = zip(*(parameters[variable.name] for variable in model.free_RVs), strict=True)
    return np.stack([np.concatenate([np.ravel(part) for part in forward(*values)]) for values in chains])
