"""The normal approximation at a mode of the posterior, in the sampler's coordinates, by Newton's method.

A pass over the rows, wherever they are, gives value, gradient and information (`bayesgmm.laplace.expansion`). Newton
steps lead from a mixture near the mode, the end of EM, to a centre within a posterior standard deviation; the last
step needs no further pass. At 10^6 rows and more EM's end may be far from the mode, as posterior standard deviations
shrink like the root of the number of rows: of more than 100,000 rows the steps before the last take the gradient of
all, at the cost of an E-step, with the information of some.
"""

from dataclasses import dataclass, replace

import numpy as np

from bayesgmm._common import Array, one_blas_thread
from bayesgmm.data import Data, threads_for
from bayesgmm.exceptions import SamplingError
from bayesgmm.laplace.expansion import Expansion, likelihood_expansion, likelihood_gradient
from bayesgmm.log_posterior import Coordinates, LogPosterior, SparseWeights
from bayesgmm.mixture import LOG_2PI, Draws, Mixture
from bayesgmm.priors import ResolvedPrior

_NEAR = 1.0  # posterior standard deviations from the mode at which the last step is taken
_SOME_ROWS = 100_000  # whose information stands for that of all until the mode is near
_MOST_STEPS = 30
_LONGEST = 1.0  # step of a coordinate, in units of the centre: standard deviations of a component, logarithms
_STEP = 1e-4  # central differences of the prior's exact gradient
_SMALLEST = 1e-8  # information in units of the centre, below which a direction is flat or there is no maximum


@dataclass(frozen=True)
class NormalApproximation:
    """A normal distribution in the sampler's coordinates: points y are standard normal.

    Attributes
    ----------
    coordinates : Coordinates
        Whitened: y = 0 is the mode up to the error of a Newton step.
    likelihood : Expansion
        Of the log-likelihood of all rows around the centre, q = 0.
    prior : ResolvedPrior
    log_mass : float
        Log of the integral of likelihood times prior around the mode by this approximation alone.
    """

    coordinates: Coordinates
    likelihood: Expansion
    prior: ResolvedPrior
    log_mass: float

    @property
    def mixture(self) -> Mixture:
        """At the mode."""
        return self.parameters(np.zeros((1, self.coordinates.n_dim))).mixture(0)

    def parameters(self, points: Array) -> Draws:
        """Mixtures at points (..., n_dim)."""
        return self.coordinates.parameters(points)


def normal_approximation(data: Data, prior: ResolvedPrior, start: Mixture) -> NormalApproximation:
    """That at the mode near a mixture.

    Raises
    ------
    SamplingError
        There is no maximum near the start.
    """
    weights, rows = SparseWeights.of(prior, data.total), data.subset(_SOME_ROWS, rng=np.random.default_rng(0))
    with one_blas_thread(), threads_for(data, None) as pool:
        for _ in range(_MOST_STEPS):
            around = Coordinates.around(start, weights)
            likelihood = likelihood_expansion(rows, around, pool if rows is data else None)
            if rows is not data:
                likelihood = replace(likelihood, gradient=likelihood_gradient(data, around, pool))
            of_prior = _prior_expansion(around, prior)
            scale, is_maximum = _scale(likelihood.information + of_prior.information)
            whitened_slope = scale.T @ (likelihood.gradient + of_prior.gradient)
            distance, step = float(np.linalg.norm(whitened_slope)), scale @ whitened_slope
            is_near = is_maximum and distance <= _NEAR
            if is_near and rows is data:
                height = likelihood.value + of_prior.value + 0.5 * distance**2
                log_volume = 0.5 * len(step) * LOG_2PI + float(np.log(np.diagonal(scale)).sum())
                return NormalApproximation(around.whitened(step, [scale]), likelihood, prior, height + log_volume)
            step *= _LONGEST / max(_LONGEST, np.abs(step).max())
            start, rows = around.parameters(step[None]).mixture(0), data if is_near else rows
    raise SamplingError(
        "The Laplace approximation found no maximum of the posterior density near EM's solution: a component has too "
        'few rows, or several coincide. Use inference="nuts", or fewer components.'
    )


def _prior_expansion(around: Coordinates, prior: ResolvedPrior) -> Expansion:
    """Of the log prior with the Jacobian of the coordinates."""
    nobody = Data(np.asfortranarray(around.centre.means[:1]), np.zeros(1))  # a row that does not count
    density, steps = LogPosterior(nobody, prior, around), _STEP * np.eye(around.n_dim)
    value, gradient = density(np.zeros(around.n_dim))
    information = np.stack([density(-step)[1] - density(step)[1] for step in steps]) / (2.0 * _STEP)
    return Expansion(value, gradient, 0.5 * (information + information.T))


def _scale(information: Array) -> tuple[Array, bool]:
    """A lower triangular A with A Aᵀ the inverse information, and whether this is positive; else eigenvalues are."""
    values, vectors = np.linalg.eigh(information)
    root = (vectors / np.sqrt(np.maximum(np.abs(values), _SMALLEST))).T
    lower = np.linalg.qr(root, mode="r").T
    return lower * np.sign(np.diagonal(lower)), bool(values[0] > _SMALLEST)
