"""Mean and covariance of rows with missing values: one normal distribution, by EM on what was observed."""

import numpy as np

from bayesgmm._common import Array
from bayesgmm.data import Block, Data, total
from bayesgmm.mixture import FAMILIES, Mixture, Statistics, column_statistics

_MOST_STEPS, _GAIN = 1_000, 1e-9  # of EM, and the gain per row at which it ends
_RIDGE = 1e-10  # of unit variances: features may depend on each other


def observed_moments(data: Data) -> tuple[Array, Array]:
    """Maximum likelihood mean (feature,) and covariance (feature, feature), given what was observed.

    Features that do not vary have variance zero.

    References
    ----------
    Dempster, Laird & Rubin 1977, 4.1.1; Little & Rubin 2019, 11.2.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.data import IncompleteData
    >>> from bayesgmm.priors.incomplete_moments import observed_moments
    >>> mean, covariance = observed_moments(IncompleteData(np.array([[0.0, 1.0], [2.0, 3.0], [4.0, np.nan]])))
    >>> mean.round(3), covariance.round(3)
    (array([2., 3.]), array([[2.667, 2.667],
           [2.667, 2.667]]))
    """
    centre, variances = separate_moments(data)
    scale = np.sqrt(np.where(variances > 0.0, variances, 1.0))
    unit = type(data)((data.entries - centre) / scale, data.row_weights)
    d, last = len(centre), -np.inf
    mean, covariance = np.zeros(d), np.diag(np.where(variances > 0.0, 1.0, 0.0))
    for _ in range(_MOST_STEPS):
        factor = np.linalg.cholesky(covariance + _RIDGE * np.eye(d))
        found = _e_step(unit, mean, factor)
        if found.log_likelihood - last <= _GAIN * data.total:
            break
        last, shift = found.log_likelihood, found.first[0] / found.counts[0]
        moment = found.second[0] / found.counts[0] - np.outer(shift, shift)
        mean, covariance = mean + factor @ shift, factor @ moment @ factor.T
    return centre + scale * mean, covariance * np.outer(scale, scale) * np.outer(variances > 0.0, variances > 0.0)


def separate_moments(data: Data) -> tuple[Array, Array]:
    """Mean and variance of what was observed of each feature, (feature,)."""
    observed = ~np.isnan(data.entries)
    weights = observed * data.weights[:, None]
    counts, known = weights.sum(axis=0), np.where(observed, data.entries, 0.0)
    mean = (weights * known).sum(axis=0) / counts
    variances: Array = (weights * np.square(np.where(observed, known - mean, 0.0))).sum(axis=0) / counts
    return mean, variances


def _e_step(data: Data, mean: Array, factor: Array) -> Statistics:
    covariance, inverse = factor @ factor.T, np.linalg.inv(factor)[None]
    log_scale = np.array([np.log(np.diagonal(inverse[0])).sum() - 0.5 * len(mean) * np.log(2.0 * np.pi)])
    family, one = FAMILIES["full"], np.ones(1)
    normal = Mixture.from_checked(family, one, mean[None], covariance[None], factor[None], inverse, log_scale)

    def of_block(block: Block) -> Statistics:
        return column_statistics(block.columns, normal, block.row_weights, block.patterns)

    found: Statistics = total(of_block, data)
    return found
