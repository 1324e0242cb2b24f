"""Draws of mixtures from a prior, hyperparameters first."""

import numpy as np

from bayesgmm._common import Array, Covariances, Means, Weights
from bayesgmm.priors.hyperpriors import Separation
from bayesgmm.priors.resolved import ResolvedPrior

_SMALLEST = 1e-300  # a gamma variable that is zero in double precision


def draw_mixtures(prior: ResolvedPrior, n: int, *, rng: np.random.Generator) -> tuple[Weights, Means, Covariances]:
    """Draws of weights (draw, cluster), means (draw, cluster, feature) and full covariance matrices.

    Sparse weights are drawn as logarithms of gamma variables, so that they do not vanish all together.
    """
    prior.family.for_posterior()
    blocks = _covariances(prior, n, rng)
    covariances = np.broadcast_to(blocks, (n, len(prior.mean), *blocks.shape[2:])).copy()
    return _weights(prior, n, rng), _means(prior, covariances, rng), covariances


def _weights(prior: ResolvedPrior, n: int, rng: np.random.Generator) -> Weights:
    shape: Array = np.broadcast_to(prior.concentration, (n, len(prior.concentration)))
    if prior.concentration_prior is not None:
        law = prior.concentration_prior
        shape = np.broadcast_to(rng.gamma(law.shape, 1.0 / law.rate, (n, 1)), shape.shape)
    shape = np.maximum(shape, _SMALLEST)
    # log of a gamma variable of small shape: gamma(a) = gamma(a + 1) U^(1/a)
    log_gamma = np.log(rng.standard_gamma(shape + 1.0)) - rng.standard_exponential(shape.shape) / shape
    weights = np.exp(log_gamma - log_gamma.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _means(prior: ResolvedPrior, covariances: Covariances, rng: np.random.Generator) -> Means:
    conjugate = prior.kappa > 0
    spread = covariances / np.where(conjugate, prior.kappa, 1.0)[:, None, None]
    if not conjugate.all():
        spread = np.where(conjugate[:, None, None], spread, np.linalg.inv(prior.mean_precision))
    noise = rng.standard_normal(covariances.shape[:3])
    return np.asarray(prior.mean + (np.linalg.cholesky(spread) @ noise[..., None])[..., 0])


def _covariances(prior: ResolvedPrior, n: int, rng: np.random.Generator) -> Covariances:
    """Full matrices (draw, block, feature, feature)."""
    g, d = len(prior.dof), prior.mean.shape[1]
    if prior.separation is not None:
        return _separated(prior.separation, (n, g), rng)
    one, scale = prior.family.parametrisation, _scales(prior, n, rng)
    scale = np.broadcast_to(scale, (n, g, *scale.shape[2:]))
    return one.matrices(one.draw_factors(np.broadcast_to(prior.dof, (n, g)), scale, rng), d)


def _scales(prior: ResolvedPrior, n: int, rng: np.random.Generator) -> Array:
    """Scales (draw or 1, block or 1, rows, columns) in the shape of the family."""
    law = prior.scale_prior
    if law is None:
        return prior.scale[None]
    one = prior.family.parametrisation
    scale = one.blocks(law.scale)
    return one.draw_wisharts(np.full(n, law.dof), np.broadcast_to(scale, (n, *scale.shape)), rng)[:, None]


def _separated(law: Separation, shape: tuple[int, int], rng: np.random.Generator) -> Covariances:
    sds = np.sqrt(law.variance_scale / rng.standard_gamma(law.variance_shape, (*shape, len(law.variance_shape))))
    factor = _lkj_factors(law.eta, (*shape, sds.shape[-1]), rng)
    correlations = factor @ np.swapaxes(factor, -1, -2)
    return np.asarray(sds[..., :, None] * correlations * sds[..., None, :])


def _lkj_factors(eta: float, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Cholesky factors of LKJ correlations by the onion method (Lewandowski, Kurowicka & Joe 2009, section 3.2)."""
    d = shape[-1]
    factor = np.zeros((*shape, d))
    factor[..., 0, 0] = 1.0
    for k in range(1, d):
        share = rng.beta(0.5 * k, eta + 0.5 * (d - 1 - k), shape[:-1])
        direction = rng.standard_normal((*shape[:-1], k))
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        factor[..., k, :k] = np.sqrt(share)[..., None] * direction
        factor[..., k, k] = np.sqrt(1.0 - share)
    return factor
