"""Coordinates in which the posterior is close to a standard normal: centred at the mode, scaled by the information."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from bayesgmm._common import Array
from bayesgmm.data import Data, SourceData
from bayesgmm.log_posterior.by_blocks import BlockLogPosterior
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.log_weights import SparseWeights
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture import Mixture
from bayesgmm.priors import ResolvedPrior

DENSE_LIMIT = 500  # above so many coordinates the information is taken component by component
_SMALLEST_INFORMATION = 1e-2  # in units of the centre: keeps a flat or saddle direction within ten units
_NEWTON = 2  # steps over all rows, a pass each
_STEP = 1e-4  # central differences of an exact gradient, error about 1e-8 relative


def whitened_log_posterior(
    data: Data, prior: ResolvedPrior, centre: Mixture, pool: Executor | None = None
) -> LogPosterior | BlockLogPosterior:
    r"""The log posterior in coordinates whitened by the observed information at its mode.

    With H the negative Hessian at the mode in the coordinates around ``centre``, q = mode + A y with
    :math:`A A^\top = H^{-1}`: dense up to `DENSE_LIMIT` coordinates, above that by components. Directions
    in which H is not clearly positive keep a bounded scale. For rows of a source, H is that of the sample, with the
    weights with which it stands for all, and Newton steps over all rows lead to their mode.
    """
    if isinstance(data, SourceData):
        return _of_source(data, prior, centre, pool)
    plain = LogPosterior(data, prior, Coordinates.around(centre, SparseWeights.of(prior, data.total)))
    mode = _mode_from(plain)
    bounds = plain.coordinates.component_bounds()
    if plain.n_dim <= DENSE_LIMIT:
        bounds = np.array([0, plain.n_dim])
    blocks = [_scale(_information(plain, mode, slice(i, j))) for i, j in pairwise(bounds)]
    return LogPosterior(data, prior, plain.coordinates.whitened(mode, blocks))


def _of_source(data: SourceData, prior: ResolvedPrior, centre: Mixture, pool: Executor | None) -> BlockLogPosterior:
    around_sample = whitened_log_posterior(data.sample, prior, centre).coordinates
    origin = np.zeros(around_sample.n_dim)
    found = BlockLogPosterior(data, prior, replace(around_sample, shift=origin), pool)
    value, gradient = found(origin)
    for _ in range(_NEWTON):
        moved = replace(found, coordinates=replace(found.coordinates, shift=found.coordinates.inner(gradient)))
        highest, (value, gradient) = value, moved(origin)
        if not value > highest:
            break
        found = moved
    return found


def _mode_from(log_posterior: LogPosterior) -> Array:
    """The mode in unconstrained coordinates, Jacobian included, near the centre."""
    found = minimize(_loss(log_posterior), np.zeros(log_posterior.n_dim), jac=True, method="L-BFGS-B")
    return found.x if np.isfinite(found.fun) else np.zeros(log_posterior.n_dim)


def _loss(log_posterior: LogPosterior) -> Callable[[Array], tuple[float, Array]]:
    """What a point has less than the centre: the minimiser's tolerance, relative to it, knows no units of the data."""
    highest = log_posterior(np.zeros(log_posterior.n_dim))[0]

    def objective(point: Array) -> tuple[float, Array]:
        value, gradient = log_posterior(point)
        return highest - value, -gradient

    return objective


def _information(log_posterior: LogPosterior, point: Array, block: slice) -> Array:
    """Negative Hessian of one block of coordinates, by central differences of the gradient."""
    size = block.stop - block.start
    information = np.empty((size, size))
    for row, index in enumerate(range(block.start, block.stop)):
        step = np.zeros(len(point))
        step[index] = _STEP
        difference = log_posterior(point - step)[1] - log_posterior(point + step)[1]
        information[row] = difference[block] / (2.0 * _STEP)
    return 0.5 * (information + information.T)


def _scale(information: Array) -> Array:
    """A lower triangular A with A Aᵀ the inverse information, eigenvalues kept away from zero."""
    values, vectors = np.linalg.eigh(information)
    inverse = (vectors / np.maximum(np.abs(values), _SMALLEST_INFORMATION)) @ vectors.T
    return np.linalg.cholesky(inverse)
