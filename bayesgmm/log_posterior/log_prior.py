"""Log prior: its value, and the pseudo-data it adds to the sums over rows."""

from bayesgmm._compiled import allocation_free
from bayesgmm.priors import add_mean_scale, add_variance_terms


@allocation_free
def add_mean_prior(covariance, at, prior):  # type: ignore[no-untyped-def]
    """Add the pseudo-data of the means to the sums at a point; returns their log density less constants."""
    n_components, n_features = at.means.shape
    value, offset, product = 0.0, at.offset, at.product
    for k in range(n_components):
        g = min(k, at.factors.shape[0] - 1)
        for d in range(n_features):
            offset[d] = prior.mean[k, d] - at.means[k, d]
        if prior.kappa[k] > 0.0:
            covariance.multiply(at.precision_factors[g], offset, product)
            covariance.add_outer(prior.kappa[k], product, product, at.second[g])
            value -= at.log_det[g]
            for d in range(n_features):
                value -= 0.5 * prior.kappa[k] * product[d] ** 2
                at.first[k, d] += prior.kappa[k] * product[d]
        elif prior.mean_precision.shape[0] > 0:
            value -= 0.5 * _pull(prior.mean_precision, k, offset, product)
            covariance.multiply_transposed(at.factors[g], product, offset)
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
def add_covariance_prior(covariance, at, prior):  # type: ignore[no-untyped-def]
    """Add the prior's pseudo-data to the second moments at a point; returns their log density less constants."""
    if prior.scale_count.shape[0] > 0 or prior.variance_terms.shape[0] > 0:
        return _add_other_covariance_prior(covariance, at, prior)
    value, prec = 0.0, at.precision_factors
    for g in range(prec.shape[0]):
        before = covariance.trace(at.second[g])
        covariance.add_scale(prec[g], prior.scale[g], at.second[g])
        value -= 0.5 * (covariance.trace(at.second[g]) - before) + prior.exponent[g] * covariance.log_free_sds(prec[g])
    return value


@allocation_free
def _add_other_covariance_prior(covariance, at, prior):  # type: ignore[no-untyped-def]
    """The same for a scale that is integrated out, or a prior on variances and correlations."""
    value, prec = 0.0, at.precision_factors
    for g in range(prec.shape[0]):
        value -= prior.exponent[g] * covariance.log_free_sds(prec[g])
        if prior.variance_terms.shape[0] > 0:
            value += add_variance_terms(at.factors[g], prior.variance_terms[0], at.second[g])
    if prior.scale_count.shape[0] > 0:
        value -= 0.5 * prior.scale_count[0] * add_mean_scale(covariance, prec, prior, at.second)
    return value
