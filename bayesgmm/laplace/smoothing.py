r"""Pareto-smoothed importance weights, when they are good enough, and draws resampled by them.

**Sign.** `arviz_stats.base.array_stats.psislw` takes log-*likelihoods*, the negatives of log ratios, and negates them
inside: with the ratios themselves it smooths the weights of the inverse ratios, and k-hat is theirs.
"""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from bayesgmm._common import Array, IntArray

MAX_K_HAT = 0.7  # Vehtari et al. 2024: above it more draws hardly help
MIN_EFFECTIVE_SHARE = 0.1  # 400 of 4,000: below it means are off by more than a fifth of a standard deviation


@dataclass(frozen=True)
class Smoothed:
    """Importance weights of proposals.

    Attributes
    ----------
    weights : (proposal,)
        Smoothed; they sum to one.
    k_hat : float
        Shape of the tail of the ratios.
    log_mean, log_mean_se : float
        Log of the mean of the ratios as they are, and its standard error.
    """

    weights: Array
    k_hat: float
    log_mean: float
    log_mean_se: float

    @classmethod
    def of(cls, log_ratios: Array) -> "Smoothed":
        """Of log ratios (proposal,), up to a constant in all that is about weights."""
        log_weights, k_hat = array_stats.psislw(-log_ratios)  # see this module
        raw = np.exp(log_ratios - log_ratios.max())
        error = raw.std() / (raw.mean() * np.sqrt(len(raw)))
        log_mean = float(logsumexp(log_ratios) - np.log(len(log_ratios)))
        return cls(np.exp(log_weights - logsumexp(log_weights)), float(k_hat), log_mean, float(error))

    @property
    def effective_size(self) -> float:
        """Effective number of proposals (Kish)."""
        return float(1.0 / np.square(self.weights).sum())

    @property
    def is_good(self) -> bool:
        """Whether k-hat is at most 0.7 and a tenth of the proposals are effective."""
        return self.k_hat <= MAX_K_HAT and self.effective_size >= MIN_EFFECTIVE_SHARE * len(self.weights)


def resampled_in_order(weights: Array, n: int, *, rng: np.random.Generator) -> IntArray:
    """Numbers of ``n`` proposals, systematically resampled in proportion to their weights, in their order.

    Copies of a proposal stand next to each other. Proposals are independent, so that autocorrelation of the draws comes
    from copies only, and sums up to what uneven weights cost: effective sample sizes and Monte Carlo standard errors of
    chains, as ArviZ computes them, hold for these draws, which in random order would seem independent.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.laplace import resampled_in_order
    >>> resampled_in_order(np.array([0.125, 0.5, 0.25, 0.125]), 8, rng=np.random.default_rng(0)).tolist()
    [0, 1, 1, 1, 1, 2, 2, 3]
    """
    places = (np.arange(n) + rng.random()) / n * weights.sum()
    return np.minimum(np.searchsorted(weights.cumsum(), places, side="right"), len(weights) - 1)
