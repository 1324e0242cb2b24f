"""Whether the chains can be believed: R-hat, effective sample size and divergences, by ArviZ."""

import warnings
from dataclasses import dataclass

import arviz_stats as azs
import numpy as np
import xarray as xr

from bayesgmm.words.errors import SamplingWarning

MAX_R_HAT = 1.01  # Vehtari et al. 2021
MIN_ESS_PER_CHAIN = 100  # likewise: below it R-hat and ESS are not to be trusted themselves


@dataclass(frozen=True)
class Convergence:
    """The worst figures over the log density and all weights, means and covariances.

    Attributes
    ----------
    max_r_hat : float
        NaN with fewer than two chains or four draws.
    min_ess_bulk, min_ess_tail : float
    n_chains, n_divergences : int
    """

    max_r_hat: float
    min_ess_bulk: float
    min_ess_tail: float
    n_chains: int
    n_divergences: int

    @property
    def findings(self) -> list[str]:
        """What is wrong and what to try, one sentence each; empty if nothing is."""
        found = []
        if self.n_divergences:
            found.append(
                f"Divergent transitions, {self.n_divergences}: raise target_accept (0.95) and look where they are."
            )
        if self.max_r_hat > MAX_R_HAT:
            found.append(
                f"R-hat {self.max_r_hat:.3f} is above {MAX_R_HAT}: the chains disagree. Modes may be many, labels may "
                "be switching, or components may not be identified: try fewer components, a stronger prior, more draws."
            )
        least = min(self.min_ess_bulk, self.min_ess_tail)
        if np.isnan(least):
            found.append("Too few draws to tell whether the chains converged: take more.")
        if least < MIN_ESS_PER_CHAIN * self.n_chains:
            found.append(f"Effective sample size {least:.0f} is below {MIN_ESS_PER_CHAIN} per chain: take more draws.")
        return found


def convergence(tree: xr.DataTree) -> Convergence:
    """The convergence figures of a posterior, over every parameter and the log density."""
    values = _varying(tree["posterior"].to_dataset().assign(lp=tree["sample_stats"]["lp"]))
    n_chains, n_divergences = values.sizes["chain"], int(tree["sample_stats"]["diverging"].sum())
    if values.sizes["scalar"] == 0:  # a single draw: nothing can be told
        return Convergence(np.nan, np.nan, np.nan, n_chains, n_divergences)
    ess_bulk, ess_tail = (float(azs.ess(values, method=method).min()) for method in ("bulk", "tail"))
    return Convergence(float(azs.rhat(values).max()), ess_bulk, ess_tail, n_chains, n_divergences)


def _varying(draws: xr.Dataset) -> xr.DataArray:
    """All scalars that vary, side by side: structural zeros and the weight of a single component have no R-hat."""
    columns = np.concatenate(
        [
            variable.transpose("chain", "draw", ...).to_numpy().reshape(*_shape(draws), -1)
            for variable in draws.values()
        ],
        axis=2,
    )
    return xr.DataArray(columns[:, :, np.ptp(columns, axis=(0, 1)) > 0], dims=("chain", "draw", "scalar"))


def _shape(draws: xr.Dataset) -> tuple[int, int]:
    return draws.sizes["chain"], draws.sizes["draw"]


def warn_if_unconverged(tree: xr.DataTree) -> None:
    """Warn with every finding there is."""
    findings = convergence(tree).findings
    if findings:
        warnings.warn(" ".join(findings), SamplingWarning, stacklevel=3)
