"""How far a Monte Carlo answer may lie from the truth.

Errors are compared with their own standard errors. A right answer is refused once in a million seeds: ten times less
often than the one in 100,000 that a test may cost, since standard errors are estimates themselves.
"""

import arviz_stats as azs
from scipy.stats import binom, chi2, norm

from bayesgmm._common.arrays import Array

FALSE_ALARM = 1e-6


def bound(n: int = 1) -> float:
    """What the largest of ``n`` absolute z-scores stays below (Bonferroni); 4.9 for one."""
    return float(norm.isf(FALSE_ALARM / (2.0 * n)))


def z_score(draws: Array, truth: float) -> float:
    """Error of the mean of draws (chain, draw) in Monte Carlo standard errors."""
    return float((draws.mean() - truth) / azs.mcse(draws))


def binomial_range(n: int, p: float) -> tuple[float, float]:
    """Between what numbers a count of ``n`` events of probability ``p`` lies."""
    low, high = binom.interval(1.0 - FALSE_ALARM, n, p)
    return float(low), float(high)


def chi_square_range(n: int) -> tuple[float, float]:
    """Between what numbers the sum of ``n`` squared independent z-scores lies."""
    low, high = chi2.interval(1.0 - FALSE_ALARM, n)
    return float(low), float(high)
