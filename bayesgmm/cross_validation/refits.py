"""Exact leave-one-out posteriors by refits without single rows."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from joblib import effective_n_jobs

from bayesgmm._common import Array, IntArray, Progress, in_threads
from bayesgmm.data import Data, refuse_labelled
from bayesgmm.evidence import MIXED, bridge, combine_modes
from bayesgmm.exceptions import InputError
from bayesgmm.inference import Problem, SamplerSettings, Trace, sample_native
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.noise import refuse_noise
from bayesgmm.posterior import (
    data_of,
    draws_of,
    model_of,
    posterior_tree,
    prior_from_json,
    prior_to_json,
    start_mixture,
)
from bayesgmm.prediction import log_densities
from bayesgmm.priors import Prior

_CHAINS = 4
_USABLE_WEIGHT = 1e-100  # a chain cannot start where a weight has vanished


def problem_of(tree: xr.DataTree, prior: Prior | None = None, data: Data | None = None) -> Problem:
    """The problem that a posterior was sampled from: rows, prior, and starting points.

    Raises
    ------
    InputError
        If the prior is neither given nor stored with the posterior, or rows of the fit have labels.
    """
    refuse_labelled(tree, "refits and moment matching")
    refuse_noise(tree, "moment matching and refits")
    model_of(tree).component.check_gaussian("moment matching and refits")
    if prior is None and "prior" not in tree.attrs:
        raise InputError(expected="a prior", got="none", hint="Pass the prior of the model as prior=.")
    prior = prior_from_json(str(tree.attrs["prior"])) if prior is None else prior
    data = data_of(tree, data, all_for="refits and moment matching")
    if "constant_data" in tree.children and "em_weights" in tree["constant_data"]:
        return Problem(data, prior, start_mixture(tree))
    draws = draws_of(tree)
    best = int((log_densities(draws, data) @ data.weights).argmax())
    (likeliest,) = mixtures_of(draws, [best])
    return Problem(data, prior, likeliest).at_optimum(likeliest)


def mixtures_of(draws: Draws, which: Sequence[int] | IntArray) -> list[Mixture]:
    """Some of the draws."""
    return [draws.mixture(s) for s in which]


@dataclass(frozen=True)
class Refit:
    """Leave-one-out result of a row from draws without it.

    Attributes
    ----------
    elpd : float
        Its log predictive density given the others.
    se : float
        Monte Carlo standard error of that.
    r_hat : float
        R-hat of its log density.
    """

    elpd: float
    se: float
    r_hat: float


@dataclass(frozen=True)
class Refits:
    """Refits of some rows.

    Attributes
    ----------
    asked : (refit,) array of int
        The rows to refit.
    rows : array of int
        Those that were refitted: all, unless the work was interrupted.
    found : list of Refit
        One for each of ``rows``.
    """

    asked: IntArray
    rows: IntArray
    found: list[Refit]

    @property
    def interrupted(self) -> bool:
        """Whether some rows were not reached."""
        return len(self.rows) < len(self.asked)


@dataclass(frozen=True, kw_only=True)
class RefitSettings:
    """Settings of refits.

    Attributes
    ----------
    r_eff : float
        Effective draws per draw of the posterior with all rows.
    seed : int
        Each row has its own random stream: results do not depend on which others are refitted.
    cores : int, optional
        All by default.
    """

    r_eff: float
    seed: int
    cores: int | None = None


def refit_rows(
    tree: xr.DataTree,
    problem: Problem,
    which: IntArray,
    *,
    settings: RefitSettings,
    callback: Progress | None = None,
) -> Refits:
    r"""Refit without each of some rows, several in parallel.

    With draws :math:`\theta^s` given all rows and :math:`\theta^t` given all but row i, the bridge between the two
    posteriors (Meng & Wong 1996) solves

    .. math:: p(x_i \mid x_{-i}) = E_{-i}\left[\frac{l^t}{s_1 l^t + s_2\, p(x_i \mid x_{-i})}\right] \Big/
        E\left[\frac{1}{s_1 l^s + s_2\, p(x_i \mid x_{-i})}\right], \quad l = p(x_i \mid \theta):

    the mean of :math:`l^t` alone would depend on the few draws that are wide enough for an outlier.

    Chains start at draws of the posterior with all rows, in coordinates around the optimum that EM reaches from the
    old start. If they stay in several modes, these are weighted (see `bayesgmm.combine_modes`).

    Parameters
    ----------
    tree : DataTree
    problem : Problem
        See `problem_of`.
    which : array of int
        One copy of each is left out; equal rows share a refit.
    settings : RefitSettings
    callback : callable, optional
        Called as ``callback(refits done, refits)``; a true return value stops.
    """
    if not len(which):
        return Refits(which, which, [])
    _, first, same = np.unique(problem.data.take(which).entries, axis=0, return_index=True, return_inverse=True)
    n_cores = effective_n_jobs(-1 if settings.cores is None else settings.cores)
    n_workers, draws = min(n_cores, len(first)), draws_of(tree)

    def run(row: int, stop: threading.Event) -> Refit | None:
        if stop.is_set():
            return None
        return refit_without(draws, problem, row, settings=settings, cores=n_cores // n_workers)

    found = in_threads(run, which[first].tolist(), n_workers=n_workers, callback=callback)
    pairs = [(row, found[i]) for row, i in zip(which, same.ravel(), strict=True)]
    return Refits(which, np.array([row for row, r in pairs if r], dtype=np.int64), [r for _, r in pairs if r])


def refit_without(draws: Draws, problem: Problem, row: int, *, settings: RefitSettings, cores: int) -> Refit:
    """Draw from the posterior without one copy of a row, and bridge to the posterior with it."""
    rng = np.random.default_rng([settings.seed, row])
    others = without(problem, row)
    others = others.at_optimum(others.start)
    nuts = SamplerSettings(
        seed=int(rng.integers(2**63)), draws=ceil(len(draws) / _CHAINS), chains=_CHAINS, cores=cores, progress=False
    )
    drawn = sample_native(replace(others, chain_starts=_chain_starts(draws, rng)), nuts, rng)
    own, fitted = problem.data.take(slice(row, row + 1)), _tree(*drawn, others)
    values = _densities(fitted, own)
    r_hat = float(array_stats.rhat(values, chain_axis=0, draw_axis=1))
    if r_hat > MIXED:
        combined = combine_modes(fitted, random_state=int(rng.integers(2**31)))
        if combined is not fitted:
            values, r_hat = _densities(combined, own), 1.0
    of_draws, effective = log_densities(draws, own).ravel(), settings.r_eff * len(draws)
    found = bridge(of_draws, values.ravel(), effective_size=lambda _: effective)
    return Refit(found.log_z, found.se, r_hat)


def without(problem: Problem, row: int) -> Problem:
    """The problem without one copy of a row; equal rows are merged."""
    weights = problem.data.weights.copy()
    weights[row] -= 1.0
    return replace(problem, data=problem.data.with_weights(weights).distinct())


def _chain_starts(draws: Draws, rng: np.random.Generator) -> tuple[Mixture, ...]:
    """Draws of the posterior with all rows; none if a weight is zero in all of them."""
    usable = np.flatnonzero(draws.weights.min(axis=-1) > _USABLE_WEIGHT)
    return tuple(mixtures_of(draws, rng.choice(usable, _CHAINS))) if len(usable) else ()


def _tree(draws: Draws, run: Trace, problem: Problem) -> xr.DataTree:
    return posterior_tree(
        draws,
        {"lp": run.stats["lp"]},
        X=np.ascontiguousarray(problem.data.entries),
        feature_names=[f"x{j}" for j in range(problem.data.shape[1])],
        start=problem.start,
        attributes={"covariance_type": problem.start.covariance_type, "prior": prior_to_json(problem.prior)},
        row_weights=problem.data.row_weights,
    )


def _densities(tree: xr.DataTree, row: Data) -> Array:
    """Log densities (chain, draw) of one row."""
    sizes = tree["posterior"].sizes
    return log_densities(draws_of(tree), row).reshape(sizes["chain"], sizes["draw"])
