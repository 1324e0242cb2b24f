r"""The log posterior of a mixture with uniform noise: one coordinate more, and one term more in the pass over the rows.

Given that a row is no noise, components have the prior and the coordinates that they have without it. The weight
:math:`w_0` of noise has a Beta(a, b) distribution, and as coordinate its logit less that at EM's solution, in units of
about a posterior standard deviation. With :math:`n_0` expected rows of noise out of N,

.. math:: \frac{\partial \log p}{\partial\, logit\, w_0} = n_0 - N w_0 + a (1 - w_0) - b w_0 .
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesgmm._common import Array
from bayesgmm.data import Data
from bayesgmm.log_posterior.by_blocks import BlockLogPosterior
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.log_posterior.whitening import whitened_log_posterior
from bayesgmm.mixture import Draws, Mixture, row_memberships
from bayesgmm.noise import NOISE_PRIOR, NoisyMixture, log_noise_prior
from bayesgmm.priors import ResolvedPrior


@dataclass(frozen=True)
class NoisyCoordinates:
    """A map between mixtures with noise and points, whose last coordinate is that of noise.

    Attributes
    ----------
    centre : NoisyMixture
    of_components : Coordinates
    scale : float
        Of the logit of the weight of noise.
    """

    centre: NoisyMixture
    of_components: Coordinates
    scale: float

    @property
    def n_dim(self) -> int:
        """Number of coordinates."""
        return self.of_components.n_dim + 1

    def log_shares(self, t: Array) -> tuple[Array, Array]:
        """log w0 and log(1 - w0)."""
        logit = _logit(self.centre) + self.scale * t
        return -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)

    def point(self, mixture: Mixture) -> Array:
        """The point (n_dim,) of a mixture."""
        return np.append(
            self.of_components.point(mixture.components), (_logit(mixture) - _logit(self.centre)) / self.scale
        )

    def parameters(self, points: Array) -> Draws:
        """Mixtures at points (..., n_dim), with the same leading axes."""
        log_noise, _ = self.log_shares(points[..., -1])
        return self.of_components.parameters(points[..., :-1]).with_noise(self.centre.noise, np.exp(log_noise))


def _logit(mixture: Mixture) -> float:
    share = float(mixture.weights.sum())
    return math.log1p(-share) - math.log(share)


@dataclass(frozen=True)
class NoisyLogPosterior(BlockLogPosterior):
    """As `BlockLogPosterior`, in `NoisyCoordinates`."""

    coordinates: NoisyCoordinates  # type: ignore[assignment]  # which have what is asked of coordinates

    def _given(self, point: Array, sums: Array) -> tuple[float, Array]:
        """Value and gradient from the sums of components, and what noise adds."""
        (k, d), place = self.coordinates.centre.means.shape, self.coordinates
        counts, first = sums[1 : k + 2], sums[k + 2 : k + 2 + (k + 1) * d]
        second = sums[k + 2 + (k + 1) * d :]
        own = np.concatenate([sums[:1], counts[:k], first[: k * d], second[: len(second) // (k + 1) * k]])
        value, gradient = self._around_sums.given(point[:-1], own)
        log_noise, log_rest = place.log_shares(point[-1])
        (a, b), noise, rest = NOISE_PRIOR, float(np.exp(log_noise)), float(np.exp(log_rest))
        jacobian = float(log_noise + log_rest) + math.log(place.scale)
        value += log_noise_prior(float(log_noise), float(log_rest)) + jacobian
        slope = counts[k] * rest - counts[:k].sum() * noise + a * rest - b * noise
        return value, np.append(gradient, place.scale * slope)

    @cached_property
    def _around_sums(self) -> LogPosterior:
        return LogPosterior(self._no_rows, self.prior, self.coordinates.of_components)


def noisy_log_posterior(data: Data, prior: ResolvedPrior, centre: NoisyMixture) -> NoisyLogPosterior:
    """The log posterior with noise, components whitened by rows weighted with what is no noise at EM's solution."""
    no_noise = 1.0 - row_memberships(data, centre)[:, -1]
    counted = data.weights * no_noise
    kept = np.flatnonzero(counted)
    around = whitened_log_posterior(data.with_weights(counted).take(kept), prior, centre.components)
    n_noise = max(float((data.weights * (1.0 - no_noise)).sum()), 0.0) + NOISE_PRIOR[0]
    scale = 1.0 / math.sqrt(n_noise * (1.0 - n_noise / (data.total + sum(NOISE_PRIOR))))
    return NoisyLogPosterior(data, prior, NoisyCoordinates(centre, around.coordinates, scale))
