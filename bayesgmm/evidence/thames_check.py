r"""THAMES of one mode of a mixture posterior, a check that shares only the draws with bridge sampling.

Its space gives every component coordinates of its own: :math:`y_k = \log w_k + t` with an added
:math:`t \sim N(0, 1)`, which changes no evidence and frees the weights of their sum, :math:`\mu_k`, and the Cholesky
factor of :math:`\Sigma_k` with the logs of its diagonal. Relabelling then permutes blocks of coordinates.
"""

from dataclasses import dataclass

import numpy as np

from bayesgmm._common import Array, Covariances
from bayesgmm.evidence.mode_weights import (
    Inside,
    Target,
    effective_size,
    halves,
    n_evaluations,
    within_mode_size,
)
from bayesgmm.evidence.proposal import best_mixture, in_labels_of
from bayesgmm.evidence.thames_estimator import Blocks, Thames, thames
from bayesgmm.mixture import CovarianceFamily, Draws

_MOST_UNIFORM = 2_000
_LOG_2, _LOG_2PI = np.log(2.0), np.log(2.0 * np.pi)


def mode_thames(inside: Inside, points: Draws, log_joint: Array, *, target: Target, rng: np.random.Generator) -> Thames:
    """The evidence of one mode: half of the draws define ellipsoid and region, the others give the mean.

    NaN for a mode with too few draws.
    """
    space = _Space(target.model.family, target.model.n_features)
    own, values = points[inside.own], log_joint[inside.own]
    if target.model.exchangeable:
        own = in_labels_of(best_mixture(own, values), own)
    blocks = space.blocks(own, rng)
    fitted, kept = halves(own.chain)
    if len(fitted) <= blocks.flat.shape[1] + 1:  # no ellipsoid
        return Thames(np.nan, np.inf, 0.0, np.nan)
    values = values + space.log_jacobian(blocks)
    at_most = within_mode_size(own, log_joint[inside.own])

    def log_density(at: Blocks) -> Array:
        proposed = space.points(at)
        log_likelihood, counted = inside.evaluate(proposed, target.data)
        total = log_likelihood + target.log_prior(proposed) + space.log_jacobian(at)
        return np.where(counted, total, -np.inf)

    return thames(
        blocks[fitted],
        blocks[kept],
        log_densities=(values[fitted], values[kept]),
        log_density=log_density,
        effective_size=lambda series: min(at_most, effective_size(series, own.chain[kept])),
        rng=rng,
        symmetric=target.model.exchangeable,
        n_uniform=n_evaluations(target, _MOST_UNIFORM),
    )


@dataclass(frozen=True)
class _Space:
    """Transform between mixtures and blocks of coordinates."""

    family: CovarianceFamily
    n_features: int

    def blocks(self, points: Draws, rng: np.random.Generator) -> Blocks:
        """Coordinates of mixtures; t is drawn."""
        logs = np.log(np.maximum(points.weights, np.finfo(np.float64).tiny)) + rng.standard_normal((len(points), 1))
        own = [logs[..., None], points.means]
        entries = self._entries(points.covariances[:, :1] if self.family.shared else points.covariances)
        if self.family.shared:
            return Blocks(entries[:, 0], np.concatenate(own, axis=2))
        return Blocks(np.empty((len(points), 0)), np.concatenate([*own, entries], axis=2))

    def points(self, blocks: Blocks) -> Draws:
        """Mixtures at coordinates; by factors, as products of those of far points are singular to rounding error."""
        d, logs = self.n_features, blocks.own[..., 0]
        weights = np.exp(logs - np.logaddexp.reduce(logs, axis=1)[:, None])
        entries = blocks.shared[:, None] if self.family.shared else blocks.own[..., 1 + d :]
        factors = self.family.parametrisation.unpack(entries, d)
        return Draws.of_factors(weights, blocks.own[..., 1 : 1 + d].copy(), factors, family=self.family)

    def log_jacobian(self, blocks: Blocks) -> Array:
        """Log density of t plus log Jacobian of the transform of weights and covariances, (point,)."""
        logs = blocks.own[..., 0]
        t = np.logaddexp.reduce(logs, axis=1)
        total = (logs - t[:, None]).sum(axis=1) - 0.5 * (t**2 + _LOG_2PI)
        entries = blocks.shared[:, None] if self.family.shared else blocks.own[..., 1 + self.n_features :]
        powers = self.family.parametrisation.volume_powers(self.n_features)
        return total + (entries @ powers + np.count_nonzero(powers) * _LOG_2).sum(axis=1)

    def _entries(self, covariances: Covariances) -> Array:
        """Packed factors (..., coordinate)."""
        one = self.family.parametrisation
        return one.pack(one.factors(one.blocks(covariances)))
