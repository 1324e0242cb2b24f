"""Memberships, predictive densities and predictive draws of a posterior, for observed or new rows.

Draws pass through the pointwise kernel one by one and rows in blocks, so that memory stays bounded.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_stats.base import array_stats

from bayesgmm._common import Array, IntArray, PerRow, Responsibilities, Rows
from bayesgmm._compiled import Signature
from bayesgmm.mixture import Draws, densities, pointwise
from bayesgmm.posterior import CLUSTER, OBS
from bayesgmm.validation import check_number, check_option, check_whole

_BLOCK_VALUES = 20_000_000  # memberships held at once: 160 MB
_BLOCK_DENSITIES = 4_000_000  # log densities held at once: 32 MB
_NO_RESPONSIBILITIES = np.empty((0, 0))
_ARGUMENTS = Signature("rows (n,d), log scales (s,k), means (s,k,d), precision factors (s,block,row,column)")
_INTERVALS = {"eti": array_stats.eti, "hdi": array_stats.hdi}


def mean_memberships(draws: Draws, X: Rows) -> Responsibilities:
    """Posterior probability of each label for each row, averaged over draws, (obs, cluster)."""
    total = np.zeros((draws.weights.shape[1], len(X)))
    for _, resp in each_draw(draws, X, with_memberships=True):
        total += resp
    return (total / len(draws)).T


def membership_intervals(
    draws: Draws, X: Rows, *, ci_prob: float | None = None, ci_kind: str | None = None
) -> xr.Dataset:
    """Mean, standard deviation and interval of each row's membership probabilities.

    Parameters
    ----------
    draws : Draws
    X : (obs, feature)
    ci_prob, ci_kind : float, {"eti", "hdi"}, optional
        ArviZ's rcParams ``stats.ci_prob`` (0.89) and ``stats.ci_kind`` (equal-tailed) by default.

    Returns
    -------
    xarray.Dataset
        ``mean``, ``sd`` and ``ci`` (with a dimension ``ci_bound``: lower, upper) over (obs, cluster).
    """
    interval = functools.partial(interval_function(ci_kind), prob=interval_probability(ci_prob))
    n_clusters = draws.weights.shape[1]
    size = max(1, _BLOCK_VALUES // (len(draws) * n_clusters))
    parts = [_summary(draws, np.asfortranarray(X[i : i + size]), interval) for i in range(0, len(X), size)]
    mean, sd, bounds = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    data = {"mean": ((OBS, CLUSTER), mean), "sd": ((OBS, CLUSTER), sd), "ci": ((OBS, CLUSTER, "ci_bound"), bounds)}
    coords = {OBS: np.arange(len(X)), CLUSTER: np.arange(n_clusters), "ci_bound": ["lower", "upper"]}
    return xr.Dataset(data, coords)


def _summary(draws: Draws, X: Rows, interval: Callable[[Array], Array]) -> tuple[Array, Array, Array]:
    """Mean and standard deviation (obs, cluster) and interval (obs, cluster, bound) of memberships."""
    sampled = sampled_memberships(draws, X)
    return sampled.mean(axis=-1), sampled.std(axis=-1), interval(sampled)


def blocks_of_rows(draws: Draws, X: Rows) -> Iterator[Rows]:
    """Rows in blocks whose memberships under all draws can be held at once."""
    size = max(1, _BLOCK_VALUES // draws.weights.size)
    return (np.asfortranarray(X[i : i + size]) for i in range(0, len(X), size))


def sampled_memberships(draws: Draws, X: Rows) -> Array:
    """Memberships (obs, cluster, sample) under all draws at once."""
    sampled = np.empty((len(X), draws.weights.shape[1], len(draws)))
    for s, (_, resp) in enumerate(each_draw(draws, X, with_memberships=True)):
        sampled[..., s] = resp.T
    return sampled


def interval_over_draws(ci_prob: float | None, ci_kind: str | None) -> Callable[[Array], Array]:
    """A function from (..., sample) to bounds (..., lower and upper); by default of ArviZ's rcParams."""
    return functools.partial(interval_function(ci_kind), prob=interval_probability(ci_prob))


def interval_probability(ci_prob: float | None) -> float:
    """A checked interval probability, by default ArviZ's."""
    prob = rcParams["stats.ci_prob"] if ci_prob is None else ci_prob
    check_number(least=0.0, most=1.0, ci_prob=prob)
    return float(prob)


def interval_function(ci_kind: str | None) -> Callable[..., Array]:
    """The function of a checked kind of interval, by default ArviZ's."""
    kind = rcParams["stats.ci_kind"] if ci_kind is None else ci_kind
    check_option(_INTERVALS, ci_kind=kind)
    return _INTERVALS[kind]


def log_predictive_density(draws: Draws, X: Rows) -> PerRow:
    """log of the density of each row averaged over draws, (obs,)."""
    running = np.full(len(X), -np.inf)
    for log_density, _ in each_draw(draws, X, with_memberships=False):
        running = np.logaddexp(running, log_density)
    return running - np.log(len(draws))


def log_densities(draws: Draws, X: Rows) -> Array:
    """Log density of each row under each draw, (sample, obs)."""
    X, values = np.asfortranarray(X), np.empty((len(draws), len(X)))
    for own, (log_density, _) in zip(values, each_draw(draws, X, with_memberships=False), strict=True):
        own[:] = log_density
    return values


def blocks_of_densities(draws: Draws, X: Rows) -> Iterator[tuple[int, Array]]:
    """For each block, the number of rows so far, and its log densities (obs, sample) under all draws."""
    size = max(1, _BLOCK_DENSITIES // len(draws))
    for i in range(0, len(X), size):
        values = log_densities(draws, X[i : i + size])
        yield min(i + size, len(X)), np.ascontiguousarray(values.T)


def predictive_sample(draws: Draws, n: int, *, rng: np.random.Generator) -> tuple[Rows, IntArray]:
    """Rows from the posterior predictive distribution, each from a different draw, and their labels."""
    check_whole(n_samples=n)
    which = rng.integers(len(draws), size=n)
    labels = draws.labels(which, rng=rng)
    return draws.rows(which, labels, rng.standard_normal((n, draws.means.shape[2]))), labels


def each_draw(draws: Draws, X: Rows, *, with_memberships: bool) -> Iterator[tuple[PerRow, Array]]:
    """Log density (obs,) and memberships (cluster, obs) under each draw; the buffers are reused."""
    residual = draws.family.residual
    _ARGUMENTS.check(X.shape, *(array.shape for array in (draws.log_scale, draws.means, draws.precision_factors)))
    log_density = np.empty(len(X))
    resp = np.empty((draws.weights.shape[1], len(X))) if with_memberships else _NO_RESPONSIBILITIES
    far = len(X) > 0
    for s in range(len(draws)):
        parameters = draws.log_scale[s], draws.means[s], draws.precision_factors[s]
        if far:  # of one draw, of all: they are of one posterior
            far = densities(residual, X.T, *parameters, log_density, resp)
        else:
            pointwise(residual, X.T, *parameters, log_density, resp)
        yield log_density, resp
