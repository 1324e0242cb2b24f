"""A normal density in unconstrained coordinates as the proposal of bridge sampling.

For families whose covariances have no conjugate density given the allocations of the rows.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import solve_triangular

from bayesgmm._common import Array, Factors
from bayesgmm.log_posterior import Coordinates
from bayesgmm.mixture import LOG_2PI, Draws

_WIDER = 1.05  # than the draws, in standard deviations: a proposal should have the longer tails


@dataclass(frozen=True)
class NormalProposal:
    """Mixture parameters whose unconstrained coordinates are normal, in the labels of the draws that it follows.

    Attributes
    ----------
    coordinates : Coordinates
    mean : (n_dim,)
    factor : (n_dim, n_dim)
        Lower Cholesky factor of the covariance.
    """

    coordinates: Coordinates
    mean: Array
    factor: Factors

    @classmethod
    def following(cls, draws: Draws) -> Self:
        """The proposal with mean and covariance of some draws."""
        coordinates = Coordinates.around(draws.mixture(0))
        points = coordinates.points(draws)
        covariance = np.cov(points, rowvar=False).reshape(points.shape[1], -1)
        ridge = 1e-10 * np.diag(np.maximum(np.diagonal(covariance), np.finfo(np.float64).tiny))
        return cls(coordinates, points.mean(axis=0), _WIDER * np.linalg.cholesky(covariance + ridge))

    def sample(self, n: int, *, rng: np.random.Generator) -> Draws:
        """Draw ``n`` points."""
        return self.coordinates.parameters(self.mean + rng.standard_normal((n, len(self.mean))) @ self.factor.T)

    def log_density(self, draws: Draws) -> Array:
        """Log density of each draw, in the free parameters of the family, (draw,)."""
        points = self.coordinates.points(draws)
        z = solve_triangular(self.factor, (points - self.mean).T, lower=True)
        with np.errstate(over="ignore"):  # of a point however far away, where there is no density
            squares = np.square(z).sum(axis=0)
        log_density = -0.5 * (squares + len(z) * LOG_2PI) - np.log(np.diagonal(self.factor)).sum()
        return np.asarray(log_density - self.coordinates.log_jacobian(points))
