"""The first M-step: from responsibilities or labels to a mixture."""

from dataclasses import replace

import numpy as np
from numba import types

from bayesgmm._common import Factors, Means, Responsibilities, Rows
from bayesgmm._compiled import IN_1, IN_2, OUT_2, linked
from bayesgmm.em.m_step import m_step
from bayesgmm.em.moments import Moments, RegCovar, covariance_factor, variance_floors
from bayesgmm.mixture import COVARIANCE, SUMS, CovarianceFamily, Equivariance, Mixture, Statistics, Sums
from bayesgmm.priors import Model, PseudoData


def mild_pseudo_data(moments: Moments, model: Model) -> PseudoData:
    """What keeps a component with one row or none usable: D + 1 pseudo-rows of scatter, a pseudo-row of weight."""
    k, d, one = model.n_components, model.n_features, model.family.parametrisation
    rows, blocks = d + 1.0, model.family.n_blocks(k)
    cov = moments.covariance if one.correlated else one.uncorrelated(moments.variances) * one.width(d)
    scale = np.repeat((cov * (rows / k ** (2.0 / d)))[None], blocks, axis=0)
    exponent = np.full(blocks, rows * one.width(d))
    nothing = replace(model, prior=None).pseudo_data
    return nothing._replace(concentration=np.full(k, 2.0), exponent=exponent, scale=scale)


def first_step(
    X: Rows,
    shares: Responsibilities,
    pseudo: PseudoData,
    *,
    moments: Moments,
    family: CovarianceFamily,
    reg_covar: RegCovar = None,
) -> Mixture:
    """The M-step from rows already shared out.

    Sums are taken about the means of the shares, in units of the standard deviations of the data. A component
    without rows stays at the mean of the data.

    Parameters
    ----------
    X : (obs, feature)
    shares : (obs, cluster)
        How much of each row each component takes, row weights included.
    pseudo : PseudoData
    moments : Moments
        Of the data.
    family : CovarianceFamily
    reg_covar : float, (feature,), optional
        As in `EMSettings`.
    """
    d, k = X.shape[1], shares.shape[1]
    floors = variance_floors(reg_covar, moments, family)
    sd = np.sqrt(np.maximum(moments.variances, floors if floors.all() else np.finfo(np.float64).tiny))
    if not family.equivariance & Equivariance.SCALES:
        sd = np.full(d, np.sqrt((sd**2).mean()))
    means, sums = np.zeros((k, d)), Sums.empty((k, d), family.block_shape(d))
    x, shares = np.ascontiguousarray(X.T), np.ascontiguousarray(shares)
    _share_sums(family.parametrisation, x, shares, moments.mean, sd, means, sums)
    counts, first, second = sums
    factor = family.parametrisation.uncorrelated(sd)[None]
    if family.parametrisation.correlated and len(pseudo.mean_precision):
        # The covariance given which the means are taken; that of the data, for it follows every map of the rows.
        factor = covariance_factor(moments, family, floors)
        whiten = np.linalg.inv(factor[0]) * sd
        first, second = first @ whiten.T, whiten @ second @ whiten.T
    statistics = Statistics(0.0, counts, np.ascontiguousarray(first), np.ascontiguousarray(second))
    return m_step(statistics, _unit(means, factor, family), pseudo, floor=floors)[0]


def _unit(means: Means, factor: Factors, family: CovarianceFamily) -> Mixture:
    """Equal components with one factor (1, rows, columns): the coordinates of the sums."""
    k, d = means.shape
    factors, precisions = (np.empty((family.n_blocks(k), *family.block_shape(d))) for _ in range(2))
    factors[:], precisions[:] = factor, family.precision_factors(factor)
    # The M-step reads neither weights, covariances nor log scales, only their shapes.
    unread, covariances = np.ones(k), np.ones(family.covariances_shape(k, d))
    return Mixture.from_checked(family, unread, means, covariances, factors, precisions, unread)


@linked(types.void(COVARIANCE, IN_2, IN_2, IN_1, IN_1, OUT_2, SUMS))
def _share_sums(covariance, x, shares, centre, sd, means, sums):  # type: ignore[no-untyped-def]
    """Add counts and means of the shares, then first and second moments about them in units of ``sd``."""
    counts, first, second = sums
    n_features, n_rows = x.shape
    n_components = shares.shape[1]
    z = np.empty(n_features)
    for i in range(n_rows):
        for k in range(n_components):
            share = shares[i, k]
            if share != 0.0:
                counts[k] += share
                for d in range(n_features):
                    means[k, d] += share * (x[d, i] - centre[d])
    for k in range(n_components):
        for d in range(n_features):
            means[k, d] = centre[d] + (means[k, d] / counts[k] if counts[k] > 0.0 else 0.0)
    for i in range(n_rows):
        for k in range(n_components):
            share = shares[i, k]
            if share == 0.0:
                continue
            for d in range(n_features):
                z[d] = (x[d, i] - means[k, d]) / sd[d]
                first[k, d] += share * z[d]
            covariance.add_outer(share, z, z, second[k])
