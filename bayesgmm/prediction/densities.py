"""Memberships, predictive densities and predictive draws of a posterior, for observed or new rows.

Draws pass through the pointwise kernel one by one and rows in blocks, so that memory stays bounded.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_stats.base import array_stats
from numpy.typing import NDArray

from bayesgmm._common import Array, IntArray, PerRow, Responsibilities, Rows
from bayesgmm._compiled import Signature
from bayesgmm.data import Block, Data
from bayesgmm.mixture import Draws, densities, pointwise_rows
from bayesgmm.posterior import CLUSTER, OBS
from bayesgmm.validation import check_number, check_option, check_whole

_BLOCK_VALUES = 20_000_000  # memberships held at once: 160 MB
_BLOCK_DENSITIES = 4_000_000  # log densities held at once: 32 MB
_NO_RESPONSIBILITIES = np.empty((0, 0))
_ARGUMENTS = Signature("rows (n,d), log scales (s,k), means (s,k,d), precision factors (s,block,row,column)")
_INTERVALS = {"eti": array_stats.eti, "hdi": array_stats.hdi}


def mean_probabilities(draws: Draws, data: Data) -> Responsibilities:
    """`mean_memberships`, with a last column of noise where draws have it."""
    return _with_noise(draws, mean_memberships(draws, data), axis=1)


def _with_noise(draws: Draws, resp: Array, *, axis: int) -> Array:
    """Memberships with noise behind the components, on their axis, where draws have it."""
    if draws.noise is None:
        return resp
    return np.concatenate([resp, np.maximum(1.0 - resp.sum(axis=axis, keepdims=True), 0.0)], axis=axis)


def group_memberships(draws: Draws, data: Data) -> Iterator[Array]:
    """Memberships (group, obs) under each draw: components, and noise as one more group where draws have it."""
    for _, resp in each_draw(draws, data, with_memberships=True):
        yield _with_noise(draws, resp, axis=0)


def most_probable(draws: Draws, proba: Responsibilities) -> IntArray:
    """The most probable cluster of each row, (obs,), -1 for noise, given `mean_probabilities`."""
    found = proba.argmax(axis=1)
    return np.where(found == draws.weights.shape[1], -1, found)


def mean_memberships(draws: Draws, data: Data) -> Responsibilities:
    """Posterior probability of each label for each row, averaged over draws, (obs, cluster)."""
    total = np.zeros((draws.weights.shape[1], data.shape[0]))
    for _, resp in each_draw(draws, data, with_memberships=True):
        total += resp
    return (total / len(draws)).T


def membership_intervals(
    draws: Draws, data: Data, *, ci_prob: float | None = None, ci_kind: str | None = None
) -> xr.Dataset:
    """Mean, standard deviation and interval of each row's membership probabilities.

    Parameters
    ----------
    draws : Draws
    data : Data
    ci_prob, ci_kind : float, {"eti", "hdi"}, optional
        ArviZ's rcParams ``stats.ci_prob`` (0.89) and ``stats.ci_kind`` (equal-tailed) by default.

    Returns
    -------
    xarray.Dataset
        ``mean``, ``sd`` and ``ci`` (with a dimension ``ci_bound``: lower, upper) over (obs, cluster).
    """
    interval = functools.partial(interval_function(ci_kind), prob=interval_probability(ci_prob))
    parts = [_summary(draws, piece, interval) for piece in pieces_in_memory(draws, data)]
    mean, sd, bounds = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    found = {"mean": ((OBS, CLUSTER), mean), "sd": ((OBS, CLUSTER), sd), "ci": ((OBS, CLUSTER, "ci_bound"), bounds)}
    coords = {OBS: np.arange(len(mean)), CLUSTER: np.arange(mean.shape[1]), "ci_bound": ["lower", "upper"]}
    return xr.Dataset(found, coords)


def _summary(draws: Draws, data: Data, interval: Callable[[Array], Array]) -> tuple[Array, Array, Array]:
    """Mean and standard deviation (obs, cluster) and interval (obs, cluster, bound) of memberships."""
    sampled = sampled_memberships(draws, data)
    return sampled.mean(axis=-1), sampled.std(axis=-1), interval(sampled)


def pieces_in_memory(draws: Draws, data: Data) -> Iterator[Data]:
    """Rows in pieces whose memberships under all draws can be held at once."""
    return data.pieces(max(1, _BLOCK_VALUES // draws.weights.size))


def sampled_groups(draws: Draws, data: Data) -> Array:
    """`sampled_memberships`, with noise as one more group where draws have it."""
    return _with_noise(draws, sampled_memberships(draws, data), axis=1)


def sampled_memberships(draws: Draws, data: Data) -> Array:
    """Memberships (obs, cluster, sample) under all draws at once."""
    sampled = np.empty((data.shape[0], draws.weights.shape[1], len(draws)))
    for s, (_, resp) in enumerate(each_draw(draws, data, with_memberships=True)):
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


def log_predictive_density(draws: Draws, data: Data) -> PerRow:
    """log of the density of each row averaged over draws, (obs,)."""
    running = np.full(data.shape[0], -np.inf)
    for log_density, _ in each_draw(draws, data, with_memberships=False):
        running = np.logaddexp(running, log_density)
    return running - np.log(len(draws))


def log_densities(draws: Draws, data: Data) -> Array:
    """Log density of each row under each draw, (sample, obs)."""
    values = np.empty((len(draws), data.shape[0]))
    for own, (log_density, _) in zip(values, each_draw(draws, data, with_memberships=False), strict=True):
        own[:] = log_density
    return values


def blocks_of_densities(draws: Draws, data: Data) -> Iterator[Array]:
    """Log densities (obs, sample) under all draws, some rows at a time."""
    for piece in data.pieces(max(1, _BLOCK_DENSITIES // len(draws))):
        yield np.ascontiguousarray(log_densities(draws, piece).T)


def predictive_sample(draws: Draws, n: int, *, rng: np.random.Generator) -> tuple[Rows, IntArray]:
    """Rows from the posterior predictive distribution, each from a different draw, and their labels, -1 for noise."""
    check_whole(n_samples=n)
    which = rng.integers(len(draws), size=n)
    labels = draws.labels(which, rng=rng)
    return rows_of(draws, which, labels, rng.standard_normal((n, draws.means.shape[2])), rng=rng), labels


def rows_of(draws: Draws, which: IntArray | int, labels: IntArray, z: Rows, *, rng: np.random.Generator) -> Rows:
    """Rows of components by `Draws.rows`, and those labelled -1 uniform in the box of noise."""
    rows, noisy = draws.rows(which, labels, draws.stretches(which, labels, rng) * z), labels < 0
    if draws.noise is not None and noisy.any():
        rows[noisy] = draws.noise.sample(int(noisy.sum()), rng=rng)
    return rows


def each_draw(draws: Draws, data: Data, *, with_memberships: bool) -> Iterator[tuple[PerRow, Array]]:
    """Log density (obs,) and memberships (cluster, obs) under each draw; the buffers are reused.

    With noise, memberships of a row sum to the probability that it is none.
    """
    rows, order = data.together
    back = order.argsort()
    for parts in zip(*(_of_block(draws, block, with_memberships) for block in rows), strict=True):
        log_densities, resp = zip(*parts, strict=True)
        one = parts[0] if len(parts) == 1 else (np.concatenate(log_densities), np.hstack(resp))
        yield one if rows is data else (one[0][back], one[1][:, back] if with_memberships else one[1])


def _of_block(draws: Draws, block: Block, with_memberships: bool) -> Iterator[tuple[PerRow, Array]]:
    inside = None if draws.noise is None else draws.noise.holds(block.columns)
    if inside is None or inside.all():
        return _of_rows(draws, block, with_memberships)
    return _joined(draws, block, inside, with_memberships)


def _joined(
    draws: Draws, block: Block, inside: NDArray[np.bool_], with_memberships: bool
) -> Iterator[tuple[PerRow, Array]]:
    """The same of rows of which some lie outside the box of noise."""
    parts = [
        (some, _of_rows(own, block._replace(columns=np.ascontiguousarray(block.columns[:, some])), with_memberships))
        for some, own in ((inside, draws), (~inside, draws.components))
    ]
    for _ in range(len(draws)):
        log_density = np.empty(block.n_rows)
        resp = np.empty((draws.weights.shape[1], block.n_rows)) if with_memberships else _NO_RESPONSIBILITIES
        for some, found in parts:
            log_density[some], shares = next(found)
            if with_memberships:
                resp[:, some] = shares
        yield log_density, resp


def _of_rows(draws: Draws, block: Block, with_memberships: bool) -> Iterator[tuple[PerRow, Array]]:
    kernel, columns, n_rows = draws.kernel, block.columns, block.n_rows
    arrays = draws.log_scale, draws.means, draws.precision_factors
    k, allowed = draws.weights.shape[1], None
    if len(block.allowed):
        allowed = draws.log_scale.copy()
        allowed[:, :k][:, ~block.allowed] = -np.inf
    _ARGUMENTS.check(columns.T.shape, arrays[0][:, :k].shape, *(array.shape for array in arrays[1:]))
    log_density = np.empty(n_rows)
    resp = np.empty((draws.n_terms, n_rows)) if with_memberships else _NO_RESPONSIBILITIES
    far, incomplete = n_rows > 0, len(block.patterns.members) > 0
    for s in range(len(draws)):
        parameters = draws.terms(s)
        parameters = parameters if allowed is None else (allowed[s], *parameters[1:])
        if far or incomplete:  # far of one draw, of all: they are of one posterior
            far = densities(*kernel, columns, *parameters, log_density, resp, patterns=block.patterns)
        else:
            pointwise_rows(*kernel, columns, block.patterns, *parameters, log_density, resp)
        yield log_density, resp[:k]
