"""Split and merge moves: two components in the place of one that stands for several groups, one for two that share one.

The moves of Ueda et al. 2000, chosen by bounds. Where all other memberships stay as they are, two components in the
place of one raise the log-likelihood at least by what they gain on its share of the rows, and one in the place of two
lowers it at most by what it loses on theirs. Each part of a move costs no more than a pass over the rows of the
components concerned, so that with many components every move is weighed, where a random one seldom succeeds.
"""

import math
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from bayesgmm._common import Array, Columns, IntArray, PerRow, Responsibilities
from bayesgmm.data import Data
from bayesgmm.em.em import EMResult, run_em
from bayesgmm.em.local_search import FEWEST, HEAD_START, TOLERANCE, Cost, SearchData, ShortEM
from bayesgmm.em.m_step import with_scale
from bayesgmm.mixture import LOG_2PI, CovarianceFamily, Mixture, component_of, row_memberships

_UNSURE = 1e-4  # rows that are in one component but for less are left out where components are merged
_SMALL = 0.01  # rows of which a component takes less are left out where it is split
_REGULAR = 1e-13  # smallest variance over that of the data, above rounding errors
_TINY = 1e-300


class Halves(NamedTuple):
    """Two components in the place of one, and the log-likelihood that they gain on its share."""

    gain: float
    mixture: Mixture


class Pair(NamedTuple):
    """Two components, mean and compact covariance of both together, and the log-likelihood that those lose."""

    members: IntArray
    mean: Array
    covariance: Array
    loss: float


class Swap(NamedTuple):
    """A component that is split, and two that are merged."""

    split: int
    halves: Halves
    pair: Pair

    def of(self, mixture: Mixture) -> Mixture:
        """The mixture in which it is done."""
        family, (one, other) = mixture.family, self.pair.members
        weights, means, factors = mixture.weights.copy(), mixture.means.copy(), mixture.factors.copy()
        weights[one] += weights[other]
        means[one], factors[one] = self.pair.mean, family.compact_factors(self.pair.covariance[None])[0]
        new = [self.split, other]
        weights[new] = np.maximum(weights[self.split] * self.halves.mixture.weights, _TINY)
        means[new], factors[new] = self.halves.mixture.means, self.halves.mixture.factors
        precision, component = family.precision_factors(factors), mixture.component
        others = mixture.log_scale[len(weights) :]
        return with_scale(family, weights, means, factors, precision, component=component, others=others)


def split_and_merge(run: EMResult, search_data: SearchData, short_em: ShortEM) -> EMResult:
    """Where moves lead from the end of a run, which promise a gain and keep it after a few steps.

    All that promise one are made together; where that fails, the better half of them.
    """
    is_proper, enough, swaps = short_em.degeneracy.is_proper, TOLERANCE * search_data.data.total, list[Swap]()
    while not short_em.over and math.isfinite(run.objective):
        swaps = swaps or promising_swaps(run, search_data, short_em)
        if not swaps:
            break
        proposal = reduce(lambda mixture, swap: swap.of(mixture), swaps, run.mixture)
        found = short_em.run(search_data.data, proposal, max_iter=HEAD_START)
        gained = math.isfinite(found.objective) and found.objective > run.objective + enough
        if gained or (is_proper(found) and not is_proper(run)):
            run, swaps = found, []
        elif not (swaps := swaps[: len(swaps) // 2]):
            break
    return run


def promising_swaps(run: EMResult, search_data: SearchData, short_em: ShortEM) -> list[Swap]:
    """Swaps that raise the likelihood by the bounds, the best first; each component takes part in one."""
    memberships, enough = row_memberships(search_data.data, run.mixture).T, TOLERANCE * search_data.data.total
    pairs = sorted(merged_pairs(run, memberships, search_data, short_em), key=lambda pair: pair.loss)
    splits = [(j, halved(share, search_data, short_em)) for j, share in enumerate(memberships)]
    swaps, used = list[Swap](), set[int]()
    for j, halves in sorted(((j, each) for j, each in splits if each is not None), key=lambda split: -split[1].gain):
        free = (pair for pair in pairs if used.isdisjoint((j, *pair.members)) and j not in pair.members)
        pair = next(free, None)
        if pair is not None and halves.gain - pair.loss > enough:
            used.update((j, *pair.members.tolist()))
            swaps.append(Swap(j, halves, pair))
    return swaps


def merged_pairs(
    run: EMResult, memberships: Responsibilities, search_data: SearchData, short_em: ShortEM
) -> list[Pair]:
    """Each component (of memberships (cluster, row)) with that which it overlaps most.

    To merge one that is spoilt, the emptied or else the narrowest, costs nothing.
    """
    (k, d), family, weights = run.mixture.means.shape, run.mixture.family, search_data.data.weights
    unit = _units(short_em)
    short_em.spent += 2.0 * Cost.of(search_data.model, len(weights)).of_pass
    overlap = (memberships * weights) @ memberships.T
    cosines = overlap / np.sqrt(np.outer(overlap.diagonal(), overlap.diagonal()) + _TINY)
    np.fill_diagonal(cosines, -1.0)
    pairs = np.unique(np.sort(np.column_stack([np.arange(k), cosines.argmax(axis=1)]), axis=1), axis=0)
    counts, compact = np.maximum(run.counts, _TINY), family.compact(run.mixture.factors, k, d)
    part = counts[pairs] / counts[pairs].sum(axis=1, keepdims=True)
    means = np.einsum("pi,pid->pd", part, run.mixture.means[pairs])
    apart = run.mixture.means[pairs] - means[:, None]
    between = apart**2 if family.diagonal else apart[..., None] * apart[..., None, :]
    covariances = np.einsum("pi,pi...->p...", part, compact[pairs] + between)
    regular = np.array([_axes(each, unit)[0][0] > _REGULAR for each in covariances])
    if not regular.any():
        return []
    pairs, means, covariances = pairs[regular], means[regular], covariances[regular]
    together = counts[pairs].sum(axis=1)
    log_det = family.log_precision_determinants(run.mixture.precision_factors, d)
    unsure = memberships.max(axis=0) < 1.0 - _UNSURE
    shares, v = memberships[:, unsure], weights[unsure]
    both = shares[pairs].sum(axis=1)
    alone = counts * (np.log(counts) + log_det) - xlogy(shares, shares) @ v
    merged = together * (np.log(together) + _log_precision(covariances, family, d)) - xlogy(both, both) @ v
    losses = alone[pairs].sum(axis=1) - merged
    if not short_em.degeneracy.is_proper(run):
        few = run.counts.min() < family.parametrisation.fewest_rows(d)
        spoilt = np.argmin(run.counts) if few else np.argmax(log_det)
        losses[(pairs == spoilt).any(axis=1)] = -math.inf
    return list(map(Pair, pairs, means, covariances, losses.tolist()))


def halved(share: PerRow, search_data: SearchData, short_em: ShortEM) -> Halves | None:
    """Two components fitted to the share of one, from its halves along its longest axis; None if one is spoilt."""
    data, family, d = search_data.data, search_data.model.family, search_data.model.n_features
    fewest, floors, unit = FEWEST * family.parametrisation.fewest_rows(d), short_em.degeneracy.floors, _units(short_em)
    rows = np.flatnonzero((share > _SMALL) & (data.weights > 0.0))
    x, v = data.filled.T.take(rows, axis=1), share[rows] * data.weights[rows]
    if len(rows) < 2.0 * fewest:
        return None
    mean, covariance = _moments(x, v, family, floors)
    direction = _axes(covariance, unit)[1][:, -1] * unit
    side = direction @ x > direction @ mean
    if not fewest <= np.count_nonzero(side) <= len(rows) - fewest:
        return None
    moments = [_moments(x[:, half], v[half], family, floors) for half in (side, ~side)]
    if min(_axes(half, unit)[0][0] for _, half in moments) < _REGULAR:
        return None
    means, covariances = (np.stack(each) for each in zip(*moments, strict=True))
    factors = family.compact_factors(covariances)
    weights = np.array([v[side].sum(), v[~side].sum()]) / v.sum()
    gaussian, precision = component_of("gaussian"), family.precision_factors(factors)
    begin = with_scale(family, weights, means, factors, precision, component=gaussian)
    settings = replace(short_em.settings, tol=short_em.tolerance, max_iter=HEAD_START)
    two = run_em(Data(x.T, v), begin, settings=settings)
    short_em.spent += (two.n_iter + 1) * Cost.of(replace(search_data.model, n_components=2), len(rows)).of_pass
    enough = math.isfinite(two.objective) and two.counts.min() >= fewest * data.total / data.shape[0]
    if not enough or short_em.degeneracy.collapsed(two.mixture):
        return None
    one = v.sum() * (_log_precision(covariance[None], family, d)[0] - 0.5 * d * (LOG_2PI + 1.0))
    return Halves(two.objective - one, two.mixture)


def _moments(x: Columns, v: PerRow, family: CovarianceFamily, floors: Array) -> tuple[Array, Array]:
    """Mean and compact covariance of weighted columns, with the floors that keep it regular."""
    weights = v / v.sum()
    mean = x @ weights
    z = x - mean[:, None]
    return mean, (z**2 @ weights + floors if family.diagonal else (z * weights) @ z.T + np.diag(floors))


def _units(short_em: ShortEM) -> Array:
    """What to multiply each feature with, so that the data have unit variance; zero for what does not vary."""
    scale = np.sqrt(np.maximum(short_em.degeneracy.moments.variances, short_em.degeneracy.floors))
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)


def _axes(compact: Array, unit: Array) -> tuple[Array, Array]:
    """Variances, ascending, along the axes of a compact covariance in units of the data, and those axes."""
    return np.linalg.eigh(np.diag(compact * unit**2) if compact.ndim == 1 else compact * np.outer(unit, unit))


def _log_precision(compact: Array, family: CovarianceFamily, n_features: int) -> Array:
    """log |L^-1| of compact covariances."""
    return family.log_precision_determinants(family.precision_factors(family.compact_factors(compact)), n_features)
