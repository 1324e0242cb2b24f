r"""The evidence by tempering: particles from the prior are moved by Gibbs sweeps as the likelihood is raised.

With the densities of rows given their labels to the power b, from 0, the prior, to 1, the posterior,

.. math:: p_b(\theta) \propto p(\theta) \prod_i \sum_k w_k N(x_i \mid \mu_k, \Sigma_k)^b,

all conditional distributions keep their form. From one power to the next, particles get the ratio of these densities as
weights, are resampled in proportion and moved by sweeps (Del Moral, Doucet & Jasra 2006). The product of the mean
weights is an unbiased estimate of the evidence. Powers follow from the weights' effective size.

Draws of the posterior are not needed, nor a labelling: at low powers particles pass between all of them, and fill and
empty components. So it holds where bridge sampling from draws fails: with more components than clusters. Where clusters
are far apart, few particles may be near them when they begin to count, or none: then it comes out low, and its standard
error does not tell. Being unbiased, it exceeds the evidence by t nats with a probability of at most exp(-t).
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import joblib
import numpy as np
from numba import types

from bayesgmm._common import Array, IntArray, Progress, in_threads
from bayesgmm._compiled import OUT_1, OUT_2, OUT_3, allocation_free, linked, record_type
from bayesgmm.data import Data
from bayesgmm.exceptions import SamplingError
from bayesgmm.gibbs.sweep import (
    CHAIN,
    OUT_4,
    PRIOR,
    ROWS,
    Point,
    Sweeps,
    evaluate,
    sweep,
    total_log_density,
    write_multiple,
)
from bayesgmm.mixture import COMPONENT, COVARIANCE, Mixture
from bayesgmm.priors import SMALLEST_WEIGHT, Model, draw_mixtures

PARTICLES, SWEEPS_A_POWER = 1_000, 20
_EFFECTIVE = 0.7  # share of the particles that weights leave effective, from a power to the next
_PARTS = 8  # of the particles, moved in threads; their number is fixed, so that draws do not depend on the machine
_FIRST, _STEP = 1e-8, 1e-5  # powers, and shares of one, over which slopes are taken
_HALVINGS = 60
_SHARES, _DECADES = 100, 10.0  # of progress; the first power is about exp(-10)


@dataclass(frozen=True)
class Tempered:
    """An evidence by tempering.

    Attributes
    ----------
    log_z, se : float
        Log evidence and its standard error, from the ancestors of the last particles (Lee & Whiteley 2018), and at
        least that of the weights if particles were independent.
    n_powers : int
    """

    log_z: float
    se: float
    n_powers: int


def tempered_evidence(
    data: Data,
    model: Model,
    *,
    rng: np.random.Generator,
    n_particles: int = PARTICLES,
    n_sweeps: int = SWEEPS_A_POWER,
    callback: Progress | None = None,
) -> Tempered:
    """The log evidence of a model that `refusal` accepts, see this module.

    Parameters
    ----------
    data : Data
    model : Model
        With a prior.
    rng : Generator
    n_particles : int
        The standard error falls with its root.
    n_sweeps : int
        Of every particle at every power. Too few leave particles behind: the estimate comes out low.
    callback : callable, optional
        Called as ``callback(done, total)``, by the logarithm of the power.

    Raises
    ------
    SamplingError
        A covariance was singular to rounding error.

    References
    ----------
    Del Moral, Doucet & Jasra (2006), J. R. Statist. Soc. B 68; Lee & Whiteley (2018), Biometrika 105.
    """
    sweeps, particles = Sweeps(data, model), _prior_particles(model, n_particles, rng=rng)
    first = Mixture(
        particles.weights[0] / particles.weights[0].sum(),
        particles.means[0],
        model.family.covariances(particles.factors[0], *particles.means.shape[1:]),
        model.family.name,
    )
    edges = np.linspace(0, n_particles, _PARTS + 1).astype(int).tolist()
    parts = [slice(*each) for each in pairwise(edges)]
    chains, generators = [sweeps.chain(first) for _ in parts], rng.spawn(len(parts))

    def log_likelihoods(power: float, n: int = 0) -> Array:
        """Of all particles at a power, after so many sweeps."""
        values = np.empty(n_particles)

        def part(p: int, stop: threading.Event) -> threading.Event:
            own = Point(*(array[parts[p]] for array in particles))
            _moved(*sweeps.kernel, generators[p], sweeps.rows, sweeps.prior, chains[p], own, power, n, values[parts[p]])
            return stop

        if in_threads(part, range(len(parts)), n_workers=joblib.cpu_count())[0].is_set():
            raise KeyboardInterrupt
        if not np.isfinite(values).all():
            raise SamplingError("tempering left the numbers: a covariance was singular to rounding error")
        return values

    power, log_z, variance, n_powers = 0.0, 0.0, 0.0, 0
    now, ancestors = np.zeros(n_particles), np.arange(n_particles)
    while power < 1.0:
        after = min(1.0, power + _longest_step(log_likelihoods, power, now))
        log_weights = log_likelihoods(after) - now
        weights = np.exp(log_weights - log_weights.max())
        log_z += float(log_weights.max()) + math.log(weights.mean())
        variance += float(weights.var() / weights.mean() ** 2) / n_particles
        chosen = rng.choice(n_particles, size=n_particles, p=weights / weights.sum())
        particles = Point(*(np.ascontiguousarray(array[chosen]) for array in particles))
        power, ancestors, n_powers = after, ancestors[chosen], n_powers + 1
        now = log_likelihoods(power, n_sweeps)
        if callback is not None:
            callback(int(_SHARES * max(0.0, 1.0 + math.log(power) / _DECADES)), _SHARES)
    return Tempered(log_z, math.sqrt(max(variance, _variance_by_ancestors(ancestors, n_powers))), n_powers)


def _longest_step(log_likelihoods: Callable[[float], Array], power: float, now: Array) -> float:
    """A step of the power that leaves enough particles effective, taking log-likelihoods as linear in it."""
    small = _STEP * power or _FIRST
    slopes = (log_likelihoods(power + small) - now) / small
    low, high = 0.0, 1.0 - power
    if _effective_share(high * slopes) >= _EFFECTIVE:
        return high
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _effective_share(middle * slopes) >= _EFFECTIVE else (low, middle)
    return low


def _effective_share(log_weights: Array) -> float:
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights @ weights) / len(weights))


def _variance_by_ancestors(ancestors: IntArray, n_powers: int) -> float:
    """Relative variance of the estimate: how much more often than by chance two particles have one ancestor."""
    n = len(ancestors)
    together = float(np.square(np.bincount(ancestors) / n).sum())
    return 1.0 - (n / (n - 1.0)) ** (n_powers + 1) * (1.0 - together)


def _prior_particles(model: Model, n: int, *, rng: np.random.Generator) -> Point:
    prior, one = model.required_prior, model.family.parametrisation
    weights, means, covariances = draw_mixtures(prior, n, rng=rng)
    precision_factors = prior.precision_factors(covariances)
    drawn = prior.hyperparameters_given(weights, precision_factors, rng=rng)
    concentration = np.broadcast_to(prior.concentration, weights.shape)
    if "prior_concentration" in drawn:
        concentration = np.broadcast_to(drawn["prior_concentration"][:, None], weights.shape)
    scale = np.broadcast_to(prior.scale, (n, *prior.scale.shape))
    if "prior_scale" in drawn:
        scale = np.broadcast_to(one.blocks(drawn["prior_scale"])[:, None], scale.shape)
    weights = np.maximum(weights, SMALLEST_WEIGHT)
    arrays = (weights, means, one.inverse(precision_factors), precision_factors, concentration, scale)
    return Point(*(np.array(array, order="C") for array in arrays))


_POINTS = record_type(Point, OUT_2, OUT_3, OUT_4, OUT_4, OUT_2, OUT_4)


@linked(
    types.void(COVARIANCE, COMPONENT, types.npy_rng, ROWS, PRIOR, CHAIN, _POINTS, types.float64, types.int64, OUT_1)
)
def _moved(covariance, component, rng, rows, prior, chain, particles, power, n_sweeps, values):  # type: ignore[no-untyped-def]
    """Log-likelihoods of particles at a power, after sweeps that move them."""
    for i in range(values.shape[0]):
        own = Point(
            particles.weights[i],
            particles.means[i],
            particles.factors[i],
            particles.precision_factors[i],
            particles.concentration[i],
            particles.scale[i],
        )
        _copy(own, chain.at)
        evaluate(covariance, component, rows, chain, power)
        for _ in range(n_sweeps):
            sweep(covariance, component, rng, rows, prior, chain, power)
        values[i] = total_log_density(rows, chain)
        if n_sweeps:
            _copy(chain.at, own)


@allocation_free
def _copy(point, copy):  # type: ignore[no-untyped-def]
    write_multiple(1.0, point.weights, copy.weights)
    write_multiple(1.0, point.means, copy.means)
    write_multiple(1.0, point.factors, copy.factors)
    write_multiple(1.0, point.precision_factors, copy.precision_factors)
    write_multiple(1.0, point.concentration, copy.concentration)
    write_multiple(1.0, point.scale, copy.scale)
