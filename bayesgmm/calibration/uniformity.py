r"""Is a sample uniform? Simultaneous bands of its distribution function, and p-values, both exact.

The counts :math:`c_j` of n values up to :math:`z_j = j / 100` are binomial. Of all j the least probable one is the
statistic,

.. math:: g = \min_j \min\{P(C_j \le c_j), P(C_j \ge c_j)\},

and the band has the same g at every j (Säilynoja, Bürkner & Vehtari 2022, Statistics and Computing 32). Their recursion
for the probability that all counts lie between bounds is exact; as counts of a Poisson process, given that n events
have occurred, every step is a convolution with the same kernel.
"""

import math

import numpy as np
from scipy.stats import binom, poisson

from bayesgmm._common import Array, IntArray

CELLS = 100
AT: Array = np.arange(1, CELLS) / CELLS
_BISECTIONS = 60


def counts_up_to(values: Array) -> IntArray:
    """How many of some values between 0 and 1 are at most z, for every z of `AT`."""
    return np.searchsorted(np.sort(values), AT, side="right")


def p_value(values: Array) -> float:
    """Probability that as many uniform values would have a point as improbable as the least probable of these."""
    n, counts = len(values), counts_up_to(values)
    least = np.minimum(binom.cdf(counts, n, AT), binom.sf(counts - 1, n, AT)).min()
    return max(0.0, 1.0 - _inside(*_bounds(float(least), n), n))  # rounding


def band(n: int, probability: float) -> tuple[IntArray, IntArray]:
    """The narrowest counts at `AT` between which all those of n uniform values are with at least this probability."""
    low, high = -700.0, 0.0  # log g
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if _inside(*_bounds(math.exp(middle), n), n) >= probability:
            low = middle
        else:
            high = middle
    return _bounds(math.exp(low), n)


def _bounds(g: float, n: int) -> tuple[IntArray, IntArray]:
    """Counts (point,) whose tail probabilities are both above g: the smallest and the largest."""
    counts = np.arange(n + 1)[:, None]
    ordinary = np.minimum(binom.cdf(counts, n, AT), binom.sf(counts - 1, n, AT)) > g
    none = ~ordinary.any(axis=0)
    lower, upper = ordinary.argmax(axis=0), n - ordinary[::-1].argmax(axis=0)
    return np.where(none, n + 1, lower), np.where(none, -1, upper)


def _inside(lower: IntArray, upper: IntArray, n: int) -> float:
    """Probability that the counts of n uniform values lie between bounds (point,), these included."""
    counts = np.arange(n + 1)
    step = poisson.pmf(counts, n / CELLS)
    reached = step
    for low, high in zip(lower, upper, strict=True):
        reached = np.where((counts >= low) & (counts <= high), reached, 0.0)
        reached = np.convolve(reached, step)[: n + 1]
    return float(reached[n] / poisson.pmf(n, n))
