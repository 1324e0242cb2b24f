"""What makes the end of a start a spike, or no mixture at all: collapsed, emptied and ill-defined components."""

import numpy as np

from bayesgmm.algorithms.em import EMResult
from bayesgmm.ground.kernel import DIAGONAL, FULL
from bayesgmm.ground.mixture import Mixture
from bayesgmm.words.arrays import Array

COLLAPSED = 1e-3  # smallest eigenvalue of a component over that of the data's covariance
EMPTIED = 1e-3  # rows' worth of weight of a component whose covariance is shared
_ROUNDING = 1e-14  # an eigenvalue below this times the largest of its covariance is rounding error of a zero
_NOTHING = 1e-60  # so is a variance below this times the largest of its column


def collapsed_or_emptied(run: EMResult, spread: Array, floor: float) -> bool:
    """Whether a run without a prior is degenerate, given the covariance of its data and `EMSettings.reg_covar`."""
    mixture = run.mixture
    fewest = EMPTIED if mixture.family.shared else mixture.n_features + 1.0
    emptied = mixture.n_components > 1 and run.counts.min() < fewest
    return bool(emptied) or collapsed(mixture, spread, floor)


def collapsed(mixture: Mixture, spread: Array, floor: float) -> bool:
    """Whether a covariance shrank to almost nothing beside that of the data, or to the floor."""
    if mixture.family.residual == FULL and _clearly_wide(mixture, spread, floor):
        return False
    variances, of_data = smallest_variances(mixture), _variances_of_data(mixture, spread)
    narrow = variances < COLLAPSED * np.maximum(of_data, floor)
    at_floor = (variances <= 1.001 * floor) & (of_data > floor)
    return bool(narrow.any() or at_floor.any())


def _clearly_wide(mixture: Mixture, spread: Array, floor: float) -> bool:
    """Whether bounds on the eigenvalues say so: 1 / |L^-1|^2 from below, the smallest variance of data from above."""
    bound = 1.0 / (mixture.precision_factors**2).sum(axis=(1, 2)).max()
    return bool(bound > max(COLLAPSED * np.diagonal(spread).min(), 1.001 * floor))


def smallest_variances(mixture: Mixture) -> Array:
    """The variances (block, direction) that must not collapse: of full covariances the smallest eigenvalue."""
    if mixture.family.residual == FULL:
        blocks = mixture.covariances.reshape(-1, mixture.n_features, mixture.n_features)
        return np.linalg.eigvalsh(blocks)[:, :1]
    return mixture.factors[:, 0, :] ** 2


def _variances_of_data(mixture: Mixture, spread: Array) -> Array:
    """What `smallest_variances` are measured against, (direction,)."""
    if mixture.family.residual == FULL:
        return np.linalg.eigvalsh(spread)[:1]
    variances: Array = np.diagonal(spread)
    return variances if mixture.family.residual == DIAGONAL else variances.mean(keepdims=True)


def ill_defined(mixture: Mixture) -> bool:
    """Whether a covariance is zero in a direction, but for rounding errors."""
    if not np.isfinite(mixture.means).all():
        return True
    if mixture.family.residual == FULL:
        blocks = mixture.covariances.reshape(-1, mixture.n_features, mixture.n_features)
        values = np.linalg.eigvalsh(blocks)
        return bool((values[:, 0] <= _ROUNDING * values.max()).any())
    return bool((smallest_variances(mixture) <= _NOTHING * np.ptp(mixture.means) ** 2).any())
