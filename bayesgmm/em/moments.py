"""Mean and covariance of the data, constant features, and variance floors."""

from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np

from bayesgmm._common import Array, Columns, Factors, IntArray, PerRow, Responsibilities, Rows
from bayesgmm.data import Block, IncompleteData, SourceData
from bayesgmm.mixture import FAMILIES, CovarianceFamily, Equivariance, Mixture, column_statistics
from bayesgmm.priors import OF_CONSTANT, PseudoData, constant_features, observed_moments, separate_moments

type RegCovar = float | Array | None
"""A smallest eigenvalue in squared units of the data, smallest variances (feature,), or a share of the data's own."""

RELATIVE_RANK = 1e-10  # directions with less than this share of the largest variance are rounding errors
_MAYBE_CONSTANT = 1e-10  # standard deviation over mean, from which on it is worth looking
_SMALLEST = 1e-300


class Moments(NamedTuple):
    """Mean (feature,) and covariance of data, divided by the total weight.

    The covariance is a matrix (feature, feature), or variances (1, feature) for families that look at nothing else.
    Features that do not vary beyond rounding have variance zero.
    """

    mean: Array
    covariance: Array

    @property
    def variances(self) -> Array:
        """Variance of each feature, (feature,)."""
        return np.diagonal(self.covariance) if len(self.covariance) == len(self.mean) else self.covariance[0]


def moments_of(
    blocks: Iterable[Block | tuple[Columns, PerRow]], family: CovarianceFamily = FAMILIES["full"]
) -> Moments:
    """Mean and covariance of rows, maximum likelihood: the kernel's sums for one component in the middle.

    Those of a source were found when it was read first.

    Examples
    --------
    >>> from bayesgmm.data import Data
    >>> from bayesgmm.em import moments_of
    >>> moments_of(Data.of([[0.0], [2.0], [7.0]], row_weights=[1, 1, 0]))
    Moments(mean=array([1.]), covariance=array([[1.]]))
    """
    if isinstance(blocks, SourceData):
        return _summarised(blocks, family)
    if isinstance(blocks, IncompleteData):
        return _observed(blocks, family)
    counted = [(x, weights if len(weights) else np.ones(x.shape[1])) for x, weights, *_ in blocks]
    total = sum(weights.sum() for _, weights in counted)
    mean = reduce(add, (x @ (weights / total) for x, weights in counted))
    d = len(mean)
    seen = family.unrestricted
    unit = seen.parametrisation.uncorrelated(np.ones(d))[None]
    middle = Mixture.from_checked(seen, np.ones(1), mean[None], unit, unit, unit, np.zeros(1))
    second = reduce(add, (column_statistics(x, middle, weights).second[0] for x, weights in counted))
    moments = Moments(mean, second / total)
    return _without_rounding(moments, _constant(moments, counted))


def shared_moments(X: Rows, shares: Responsibilities, pseudo: PseudoData, moments: Moments) -> tuple[Array, ...]:
    """Weights, means and covariance matrices of rows shared out (obs, cluster), the scales of pseudo-data added."""
    counts, centred = shares.sum(axis=0), X - moments.mean
    means = (shares.T @ centred) / np.maximum(counts, _SMALLEST)[:, None]
    found = pseudo.scale.copy()
    for k, mean in enumerate(means):
        apart = centred - mean
        found[k] += (apart * shares[:, k, None]).T @ apart
    found /= (counts + pseudo.exponent)[:, None, None]
    weights = counts + pseudo.concentration - 1.0
    return weights / weights.sum(), moments.mean + means, found


def _observed(data: IncompleteData, family: CovarianceFamily) -> Moments:
    """Those of a normal distribution fitted to what was observed."""
    if family.parametrisation.correlated:
        moments = Moments(*observed_moments(data))
    else:
        mean, variances = separate_moments(data)
        moments = Moments(mean, variances[None])
    return _without_rounding(moments, constant_features(data.entries[data.weights > 0]))


def _summarised(data: SourceData, family: CovarianceFamily) -> Moments:
    """Those of the first pass over the rows of a source."""
    summary = data.summary
    covariance = summary.scatter / summary.n_rows
    if not family.parametrisation.correlated and len(covariance) == len(summary.mean):
        covariance = np.diagonal(covariance)[None].copy()
    ranges = np.stack([summary.lowest, summary.highest])
    return _without_rounding(Moments(summary.mean, covariance), constant_features(ranges))


def _without_rounding(moments: Moments, constant: IntArray) -> Moments:
    """Moments in which constant features have variance zero."""
    moments.covariance[:, constant] = 0.0
    if len(moments.covariance) == len(moments.mean):
        moments.covariance[constant] = 0.0
    return moments


def _constant(moments: Moments, blocks: list[tuple[Columns, PerRow]]) -> IntArray:
    """Which features do not vary beyond rounding."""
    size = np.abs(moments.mean)
    candidates = np.flatnonzero(np.sqrt(moments.variances) <= _MAYBE_CONSTANT * size)
    if len(candidates) == 0:
        return candidates
    seen = np.concatenate([x[candidates][:, weights > 0] for x, weights in blocks], axis=1)
    return candidates[constant_features(seen.T)]


def variance_floors(reg_covar: RegCovar, moments: Moments, family: CovarianceFamily) -> Array:
    r"""Smallest variances (feature,): covariances keep :math:`\Sigma \succeq diag(f)`.

    By default :math:`10^{-11}` of each feature's own variance, which follows any change of its unit; for spherical
    families of the mean variance. A constant feature has no variance to go by and gets :math:`10^{-12} x^2`, or
    1 if it is zero. A number is the same floor for all, in squared units of the data.

    Examples
    --------
    >>> from bayesgmm.data import Data
    >>> from bayesgmm.em import moments_of
    >>> from bayesgmm.em.moments import variance_floors
    >>> from bayesgmm.mixture import covariance_family
    >>> data = Data.of([[0.0, 5.0], [2e6, 5.0]])
    >>> variance_floors(None, moments_of(data), covariance_family("full"))
    array([1.0e+01, 2.5e-11])
    """
    if reg_covar is not None:
        return np.full(len(moments.mean), reg_covar, dtype=np.float64)
    variances = moments.variances
    if not family.equivariance & Equivariance.SCALES:
        variances = np.full(len(variances), variances.mean())
    squares = np.where(variances == 0, moments.mean, 0.0) ** 2
    of_constant = np.where(squares > 0, OF_CONSTANT * squares, 1.0)
    shares = family.parametrisation.smallest_share * variances
    return np.maximum(np.where(variances > 0, shares, of_constant), _SMALLEST)


def inverse_scales(moments: Moments) -> Array:
    """One over each feature's standard deviation, (feature,); zero for a constant feature, which is left out."""
    sd = np.sqrt(moments.variances)
    return 1.0 / np.where(sd > 0, sd, np.inf)


def principal_directions(moments: Moments) -> tuple[Array, Array]:
    """Principal variances (direction,), ascending, and directions (feature, direction) of the scaled features.

    Only directions in which the data vary: their number is the rank of the covariance, judged where every feature has
    unit variance. Rows times a direction have its variance.
    """
    unit = inverse_scales(moments)
    values, vectors = np.linalg.eigh(moments.covariance * np.outer(unit, unit))
    kept = values > max(RELATIVE_RANK * values[-1], 0.0)
    return values[kept], unit[:, None] * vectors[:, kept]


def covariance_factor(moments: Moments, family: CovarianceFamily, floors: Array) -> Factors:
    """Factor (1, rows, columns) of the covariance of the data in the family, lifted where it is singular."""
    variances = np.maximum(np.maximum(moments.variances, floors), _SMALLEST)
    if not family.parametrisation.correlated:
        return np.sqrt(family.parametrisation.uncorrelated(variances))[None]
    sizes = np.sqrt(variances)
    values, vectors = np.linalg.eigh(moments.covariance / np.outer(sizes, sizes))
    lifted = (vectors * np.maximum(values, RELATIVE_RANK * max(values[-1], 1.0))) @ vectors.T
    return sizes[:, None] * family.parametrisation.starting_factors(lifted[None])
