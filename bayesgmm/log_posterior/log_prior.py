"""Log prior: its value, and the pseudo-data it adds to the sums over rows."""

import math

from bayesgmm._common import Array
from bayesgmm._compiled import allocation_free
from bayesgmm.mixture import FULL
from bayesgmm.priors import add_mean_scale, add_outer, add_scale, add_variance_terms, to_factor


@allocation_free
def add_mean_prior(residual, at, prior):  # type: ignore[no-untyped-def]
    """Add the pseudo-data of the means to the sums at a point; returns their log density less constants."""
    n_components, n_features = at.means.shape
    value, offset, product = 0.0, at.offset, at.product
    for k in range(n_components):
        g = min(k, at.factors.shape[0] - 1)
        for d in range(n_features):
            offset[d] = prior.mean[k, d] - at.means[k, d]
        if prior.kappa[k] > 0.0:
            to_factor(residual, at.precision_factors, g, offset, product, False)
            add_outer(residual, prior.kappa[k], product, product, at.second[g])
            value -= at.log_det[g]
            for d in range(n_features):
                value -= 0.5 * prior.kappa[k] * product[d] ** 2
                at.first[k, d] += prior.kappa[k] * product[d]
        elif prior.mean_precision.shape[0] > 0:
            value -= 0.5 * _pull(prior.mean_precision, k, offset, product)
            to_factor(residual, at.factors, g, product, offset, True)
            for d in range(n_features):
                at.first[k, d] += offset[d]
    return value


@allocation_free
def _pull(precision, k, offset, pull):  # type: ignore[no-untyped-def]
    """Write precision @ offset into ``pull``; returns the quadratic form."""
    square = 0.0
    for i in range(offset.shape[0]):
        total = 0.0
        for j in range(offset.shape[0]):
            total += precision[k, i, j] * offset[j]
        square += total * offset[i]
        pull[i] = total
    return square


@allocation_free
def add_covariance_prior(residual, at, prior):  # type: ignore[no-untyped-def]
    """Add the prior's pseudo-data to the second moments at a point; returns their log density less constants."""
    if prior.scale_count.shape[0] > 0 or prior.variance_terms.shape[0] > 0:
        return _add_other_covariance_prior(residual, at, prior)
    value, prec = 0.0, at.precision_factors
    for g in range(prec.shape[0]):
        before = _trace(at.second[g])
        add_scale(residual, prec, g, prior.scale, at.second[g])
        value -= 0.5 * (_trace(at.second[g]) - before) + prior.exponent[g] * _power(residual, prec, g, at.log_det)
    return value


@allocation_free
def _add_other_covariance_prior(residual, at, prior):  # type: ignore[no-untyped-def]
    """The same for a scale that is integrated out, or a prior on variances and correlations."""
    value, prec = 0.0, at.precision_factors
    for g in range(prec.shape[0]):
        value -= prior.exponent[g] * _power(residual, prec, g, at.log_det)
        if prior.variance_terms.shape[0] > 0:
            value += add_variance_terms(at.factors[g], prior.variance_terms[0], at.second[g])
    if prior.scale_count.shape[0] > 0:
        value -= 0.5 * prior.scale_count[0] * add_mean_scale(residual, prec, prior, at.second)
    return value


@allocation_free
def _power(residual, prec, g, log_det):  # type: ignore[no-untyped-def]
    """log |L| for full residuals; the sum of the free log standard deviations for the others."""
    if residual == FULL:
        return log_det[g]
    total = 0.0
    for j in range(prec.shape[2]):
        total -= math.log(prec[g, 0, j])
    return total


@allocation_free
def _trace(second: Array) -> float:
    total = 0.0
    if second.shape[0] == 1:
        for j in range(second.shape[1]):
            total += second[0, j]
        return total
    for i in range(second.shape[0]):
        total += second[i, i]
    return total
