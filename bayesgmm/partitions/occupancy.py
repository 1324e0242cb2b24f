"""Number of occupied components K+ of a sparse finite mixture: its posterior, and mixing of the chains over it."""

from dataclasses import dataclass
from math import isnan

import arviz_stats as azs
import numpy as np

from bayesgmm._common import Array, IntArray, numbered

MAX_R_HAT = 1.05  # of K+: a number of few values, from labels drawn anew for every draw
MIN_ESS = 25  # a chain: K+ = k then has a standard error of 0.05 with four chains
_SHOWN = 0.01  # posterior probability from which a number is named
_LEAST_DRAWS = 4


@dataclass(frozen=True)
class Occupancy:
    """Posterior of the number of occupied components, with convergence diagnostics.

    Attributes
    ----------
    probability : tuple of float
        Posterior probability of 0, 1, ..., K occupied components.
    mcse : tuple of float
        Monte Carlo standard errors; zero for events that never or always occurred.
    r_hat, ess : float
        Of the number itself, NaN with fewer than four draws; a number that never changes has an R-hat of one.
    change_rate : tuple of float
        For each chain the share of steps from draw to draw that change the number.
    """

    probability: tuple[float, ...]
    mcse: tuple[float, ...]
    r_hat: float
    ess: float
    change_rate: tuple[float, ...]

    @property
    def still(self) -> tuple[int, ...]:
        """Chains in which the number never changes."""
        return tuple(chain for chain, rate in enumerate(self.change_rate) if rate == 0.0)

    @property
    def is_certain(self) -> bool:
        """Whether every draw of every chain has the same number."""
        return max(self.probability) == 1.0

    def is_fine(self, n_chains: int) -> bool:
        """Whether the chains agree about the number and change it often, or it is the same in all draws."""
        if self.is_certain:
            return True
        return not self.still and self.r_hat <= MAX_R_HAT and self.ess >= MIN_ESS * n_chains

    @property
    def findings(self) -> list[str]:
        """One sentence each on the posterior and the mixing of K+."""
        numbers = [
            f"{number} ({p:.2f} ± {error:.2f})"
            for number, (p, error) in enumerate(zip(self.probability, self.mcse, strict=True))
            if p >= _SHOWN
        ]
        if self.is_certain:
            number = int(np.argmax(self.probability))
            return [
                f"{number} components are occupied in every draw: the chains never change that number, so the "
                "probabilities of other numbers are unknown; init='spread' starts chains elsewhere."
            ]
        found = [f"Occupied components K+: {', '.join(numbers)}."]
        if self.still:
            where = "all chains" if len(self.still) == len(self.change_rate) else numbered(self.still, "chain")
            found.append(
                f"K+ does not change within {where}: the shares above reflect where chains started, not the posterior."
            )
        else:
            least, most = min(self.change_rate), max(self.change_rate)
            found.append(f"K+ changes within every chain, in {least:.0%} to {most:.0%} of the steps.")
        if isnan(self.r_hat) or self.r_hat > MAX_R_HAT or self.ess < MIN_ESS * len(self.change_rate):
            found.append(f"R-hat of K+ is {self.r_hat:.3f}, its effective sample size {self.ess:.0f}: increase draws.")
        return found


def occupancy(n_occupied: IntArray, most: int) -> Occupancy:
    """Summarise the number of occupied components of each draw (chain, draw), and the number of components."""
    indicators = (n_occupied == np.arange(most + 1)[:, None, None]).astype(np.float64)
    values, enough = n_occupied.astype(np.float64), n_occupied.shape[1] >= _LEAST_DRAWS
    constant = np.ptp(values) == 0.0
    r_hat = discrete_r_hat(_two(values)) if enough or constant else np.nan
    stuck = not constant and np.ptp(_two(values), axis=1).max() == 0.0  # no variance within any chain
    ess = float(azs.ess(values)) if enough and not constant and not stuck else float(len(values) if stuck else np.nan)
    change_rate = (np.diff(n_occupied, axis=1) != 0).mean(axis=1) if n_occupied.shape[1] > 1 else np.zeros(len(values))
    return Occupancy(
        tuple(indicators.mean(axis=(1, 2)).tolist()),
        tuple(monte_carlo_errors(indicators).tolist()),
        r_hat,
        ess,
        tuple(np.asarray(change_rate).tolist()),
    )


def discrete_r_hat(values: Array) -> float:
    """Rank-normalised split R-hat (Vehtari et al. 2021) of counts or indicators (chain, draw).

    The larger of bulk and folded (distances from the median) R-hat. Either is infinite if all half chains are constant
    and differ, and one if all values are equal, as are the distances of an indicator that is one in half of the draws.
    """
    if np.ptp(values) > 0.0 and np.ptp(values, axis=1).max() == 0.0:
        return np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [float(azs.rhat(values, method=method)) for method in ("z_scale", "folded")]
    return max(1.0 if isnan(part) else part for part in parts)


def _two(values: Array) -> Array:
    """A single chain split in halves, because R-hat needs two chains."""
    half = values.shape[1] // 2
    return values if len(values) > 1 or half < _LEAST_DRAWS else values[0, : 2 * half].reshape(2, half)


def monte_carlo_errors(indicators: Array) -> Array:
    """Monte Carlo standard errors of means of series (quantity, chain, draw), by effective sample size."""
    errors = np.zeros(len(indicators))
    for j in np.flatnonzero(np.ptp(indicators, axis=(1, 2)) > 0):
        enough = indicators.shape[2] >= _LEAST_DRAWS
        errors[j] = float(azs.mcse(indicators[j], method="mean")) if enough else np.nan
    return errors
