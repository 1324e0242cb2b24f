"""Pareto smoothed importance sampling from the posterior to leave-one-out posteriors, in blocks of rows."""

import json
from dataclasses import dataclass, replace
from typing import Self

import arviz_stats as azs
import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from bayesgmm._common import Array, IntArray, PerRow, Progress
from bayesgmm.data import Data
from bayesgmm.evidence import is_resampled
from bayesgmm.mixture import Draws
from bayesgmm.posterior import SAMPLE_DIMS, draws_of
from bayesgmm.prediction import blocks_of_densities, log_densities

_ROWS_COMPARED = 20


@dataclass(frozen=True)
class Pointwise:
    """Pointwise leave-one-out results, (obs,) each.

    Attributes
    ----------
    elpd
        Log predictive density of the row given the others.
    pareto_k
        Shape of the tail of its importance ratios.
    lpd
        Log predictive density of the row given all rows.
    """

    elpd: PerRow
    pareto_k: PerRow
    lpd: PerRow

    def changed(self, rows: IntArray, *, elpd: PerRow, pareto_k: PerRow) -> Self:
        """A copy with other results for some rows."""
        new_elpd, new_k = self.elpd.copy(), self.pareto_k.copy()
        new_elpd[rows], new_k[rows] = elpd, pareto_k
        return replace(self, elpd=new_elpd, pareto_k=new_k)

    def above(self, limit: float) -> IntArray:
        """The rows whose k is above a limit."""
        return np.flatnonzero(~(self.pareto_k <= limit))

    def __getitem__(self, which: IntArray) -> "Pointwise":
        return Pointwise(self.elpd[which], self.pareto_k[which], self.lpd[which])


def smoothed_rows(
    draws: Draws, data: Data, *, shape: tuple[int, int], r_eff: float, callback: Progress | None = None
) -> Pointwise:
    """Results of all rows; log densities are held in blocks of rows.

    Parameters
    ----------
    draws : Draws
    data : Data
    shape : (chains, draws of each)
    r_eff : float
        Relative efficiency, effective draws per draw; the lower, the longer the smoothed tail.
    callback : callable, optional
        Called as ``callback(rows done, rows)``.
    """
    parts, n_done = [], 0
    for values in blocks_of_densities(draws, data):
        parts.append(_smoothed(values.reshape(-1, *shape), r_eff))
        n_done += len(values)
        if callback is not None:
            callback(n_done, data.shape[0])
    elpd, k, p = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Pointwise(elpd, k, elpd + p)


def _smoothed(values: Array, r_eff: float) -> tuple[Array, Array, Array]:
    """elpd, k and p for log densities (obs, chain, draw)."""
    flat = values.reshape(len(values), -1)
    try:
        log_weights, k = array_stats.psislw(flat, r_eff=r_eff, axis=1)
    except ValueError:  # somewhere the largest ratios are all the same
        elpd, k, p = np.array([_smoothed_row(row, r_eff) for row in values]).T
        return elpd, k, p
    elpd = _log_sums(log_weights + flat)
    return elpd, k, _log_sums(flat) - np.log(flat.shape[1]) - elpd


def _log_sums(values: Array) -> PerRow:
    """log of the sum of exp over draws (obs, draw); `array_stats.loo` takes them row by row, at twice the cost."""
    highest = values.max(axis=1)
    return np.asarray(highest + np.log(np.exp(values - highest[:, None]).sum(axis=1)))


def _smoothed_row(values: Array, r_eff: float) -> tuple[float, float, float]:
    """The same for one row (chain, draw); raw ratios and infinite k if the tail is constant."""
    try:
        elpd, k, p = array_stats.loo(values, chain_axis=0, draw_axis=1, r_eff=r_eff)
    except ValueError:
        elpd, k = np.log(values.size) - logsumexp(-values), np.inf
        p = logsumexp(values) - np.log(values.size) - elpd
    return float(elpd), float(k), float(p)


def largest_r_hat(draws: Draws, data: Data, *, shape: tuple[int, int]) -> float:
    """The largest R-hat of the log densities of some rows: a label-invariant check that the chains agree."""
    some = np.unique(np.linspace(0, data.shape[0] - 1, _ROWS_COMPARED).astype(np.int64))
    values = log_densities(draws, data.take(some)).T.reshape(-1, *shape)
    with np.errstate(invalid="ignore"):  # all draws the same
        r_hats = array_stats.rhat(values, chain_axis=1, draw_axis=2)
    return float(np.nanmax(r_hats, initial=1.0))


def good_k(n_samples: int) -> float:
    """The largest k that is reliable with this number of draws (Vehtari et al. 2024, section 3.2.4)."""
    return min(1.0 - 1.0 / np.log10(n_samples), 0.7)


def relative_efficiency(tree: xr.DataTree) -> float:
    """Effective draws per draw.

    For chains as sampled this is ArviZ's rule, the mean over all parameters of the effective sample size of their
    means. Resampled draws are in random order and seem independent: for them it is the effective size of the modes'
    samples (see `bayesgmm.evidence.mode_mean`).
    """
    posterior = tree["posterior"].to_dataset()
    n = posterior.sizes["chain"] * posterior.sizes["draw"]
    if is_resampled(tree):
        return _of_modes(json.loads(str(tree.attrs["modes"])), n)
    if posterior.sizes["chain"] == 1:
        return 1.0
    compact = draws_of(tree).compact.reshape(*posterior["weights"].shape[:2], -1)  # zeros never vary
    draws = posterior.drop_vars(["covariances", "variances"], errors="ignore").assign(
        compact=((*SAMPLE_DIMS, "entry"), compact)
    )
    sizes = azs.ess(draws, method="mean")
    mean = np.hstack([sizes[name].to_numpy().ravel() for name in sizes.data_vars]).mean()
    return float(mean / n) if np.isfinite(mean) else 1.0


def _of_modes(record: list[dict[str, float]], n: int) -> float:
    used = [(mode["weight"], mode["effective_size"]) for mode in record if mode["weight"] > 0]
    return float(1.0 / (1.0 + sum(weight**2 * n / size for weight, size in used)))
