r"""The truncated harmonic mean of a mixture's posterior: its normalising constant from draws alone.

For a density h that vanishes where the target f is small, the mean of h / f over draws of the normalised f is 1 / Z.
THAMES (Metodiev et al. 2024) takes h uniform on an ellipsoid intersected with a region of highest density, so that
h / f is bounded. For mixtures (Metodiev et al. 2025) h is averaged over all relabellings, because f is invariant under
them, whether the draws' labels switch or not: of a draw one has to count its relabellings that lie in the ellipsoid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma, log, pi

import numpy as np
from numba import njit
from scipy.special import gammaln

from bayesgmm.words.arrays import Array, IntArray
from bayesgmm.words.errors import InputError

_PILOT, _FEWEST_INSIDE, _SHRINK, _SHRUNK_AT_MOST = 200, 0.2, 0.9, 20
_MOST_NODES, _PROBES = 20_000, 400


@dataclass(frozen=True)
class Blocks:
    """Points of an unconstrained space in which relabelling a mixture permutes blocks of coordinates.

    Attributes
    ----------
    shared : (point, shared coordinate)
        What relabelling leaves alone.
    own : (point, cluster, coordinate)
        The coordinates of each component.
    """

    shared: Array
    own: Array

    def __len__(self) -> int:
        return len(self.own)

    @property
    def flat(self) -> Array:
        """Points (point, coordinate): shared coordinates first, then those of every component."""
        return np.concatenate([self.shared, self.own.reshape(len(self.own), -1)], axis=1)

    def like(self, flat: Array) -> "Blocks":
        """Flat points laid out like these."""
        n = self.shared.shape[1]
        return Blocks(flat[:, :n], flat[:, n:].reshape(len(flat), *self.own.shape[1:]))

    def __getitem__(self, which: IntArray | slice) -> "Blocks":
        return Blocks(self.shared[which], self.own[which])


@dataclass(frozen=True)
class Thames:
    """A truncated harmonic mean.

    Attributes
    ----------
    log_z : float
        Log of the normalising constant; NaN if no draw lies in the region.
    se : float
        Its standard error.
    inside : float
        Share of the ellipsoid that lies in the region of highest density.
    radius : float
        Of the ellipsoid, in standard deviations.
    """

    log_z: float
    se: float
    inside: float
    radius: float


@dataclass(frozen=True)
class _Ellipsoid:
    """All points at most ``radius`` standard deviations from the mean."""

    mean: Array
    factor: Array  # lower Cholesky factor of the covariance
    radius: float

    @property
    def log_volume(self) -> float:
        d = len(self.mean)
        unit = 0.5 * d * log(pi) - lgamma(0.5 * d + 1.0)
        return float(unit + d * log(self.radius) + np.log(np.diagonal(self.factor)).sum())

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Uniform points (n, coordinate)."""
        direction = rng.standard_normal((n, len(self.mean)))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        lengths = self.radius * rng.random((n, 1)) ** (1.0 / len(self.mean))
        return self.mean + (lengths * direction) @ self.factor.T


def thames(
    fitted: Blocks,
    draws: Blocks,
    *,
    log_densities: tuple[Array, Array],
    log_density: Callable[[Blocks], Array],
    effective_size: Callable[[Array], float],
    rng: np.random.Generator,
    symmetric: bool = True,
    n_uniform: int = 2_000,
) -> Thames:
    r"""Estimate :math:`\log Z = \log \int f` from draws of the normalised f.

    .. math:: \frac1Z \approx \frac{1}{T\,|A|} \sum_t \frac{1}{K!} \sum_{\sigma}
        \frac{1\{\sigma y_t \in A\}}{f(y_t)}, \qquad A = E \cap \{f > c\},

    with E the ellipsoid of the draws' mean and covariance whose radius is :math:`\sqrt{d + 1}`, or less where little of
    it has a high density, c the median of f over draws, and :math:`|A|` the volume of E times the share of its
    uniform points at which :math:`f > c`. Relabellings in E are counted by a depth-first search that leaves a branch
    as soon as its first blocks alone are too far from the mean; of more than 20,000 steps for a draw the count is
    estimated without bias from random descents (Knuth 1975).

    Parameters
    ----------
    fitted, draws : Blocks
        Draws that give the ellipsoid and the region, and others, that give the mean. Labels that are aligned make the
        ellipsoid small; the estimate is right for any.
    log_densities : pair of (point,)
        log f at both.
    log_density : callable
        log f, not normalised, -inf where it is zero.
    effective_size : callable
        Effective size of a series of values at ``draws``.
    rng : Generator
    symmetric : bool
        Whether f is invariant under relabelling. If not, only the labels as they are count.
    n_uniform : int
        Uniform points for the volume.

    Raises
    ------
    InputError
        There are no more draws for the ellipsoid than coordinates.

    References
    ----------
    Metodiev, Perrot-Dockès, Ouadah, Irons, Latouche & Raftery (2024), Bayesian Analysis. Metodiev, Irons,
    Perrot-Dockès, Latouche & Raftery (2025), arXiv:2504.21812.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.algorithms.thames import Blocks, thames
    >>> rng = np.random.default_rng(0)
    >>> log_density = lambda blocks: -0.5 * (blocks.own**2).sum(axis=(1, 2))
    >>> draws = [Blocks(np.empty((2000, 0)), rng.normal(size=(2000, 3, 1))) for _ in range(2)]
    >>> found = thames(*draws, log_densities=tuple(map(log_density, draws)), log_density=log_density,
    ...                effective_size=len, rng=rng)
    >>> bool(abs(found.log_z - 1.5 * np.log(2 * np.pi)) < 3 * found.se < 0.2)
    True
    """
    limit = float(np.median(log_densities[0]))
    ellipsoid = _ellipsoid(fitted)

    def share_inside(ellipsoid: _Ellipsoid, n: int) -> float:
        return float((log_density(draws.like(ellipsoid.sample(n, rng))) > limit).mean())

    for _ in range(_SHRUNK_AT_MOST):
        if share_inside(ellipsoid, _PILOT) >= _FEWEST_INSIDE:
            break
        ellipsoid = _Ellipsoid(ellipsoid.mean, ellipsoid.factor, ellipsoid.radius * _SHRINK)
    inside = share_inside(ellipsoid, n_uniform)
    high = np.flatnonzero(log_densities[1] > limit)
    counts = np.zeros(len(draws))
    counts[high] = _relabellings_inside(draws[high], ellipsoid, symmetric, rng)
    if inside == 0.0 or not counts.any():
        return Thames(np.nan, np.inf, inside, ellipsoid.radius)
    terms = np.where(counts > 0, counts * np.exp(limit - np.maximum(log_densities[1], limit)), 0.0)
    copies = float(gammaln(draws.own.shape[1] + 1.0)) if symmetric else 0.0
    log_z = limit + copies + ellipsoid.log_volume + log(inside) - log(terms.mean())
    variance = terms.var() / terms.mean() ** 2 / effective_size(terms) + (1.0 - inside) / inside / n_uniform
    return Thames(float(log_z), float(np.sqrt(variance)), inside, ellipsoid.radius)


def _ellipsoid(fitted: Blocks) -> _Ellipsoid:
    flat = fitted.flat
    n, d = flat.shape
    if n <= d:
        raise InputError(expected=f"more than {d} draws, as many as there are coordinates", got=f"{n}")
    factor = np.linalg.cholesky(np.cov(flat.T).reshape(d, d))
    return _Ellipsoid(flat.mean(axis=0), factor, float(np.sqrt(d + 1.0)))


def _relabellings_inside(draws: Blocks, ellipsoid: _Ellipsoid, symmetric: bool, rng: np.random.Generator) -> Array:
    """How many relabellings of each draw lie in the ellipsoid, (draw,)."""
    whitening = np.linalg.inv(ellipsoid.factor)
    if not symmetric:
        whitened = (draws.flat - ellipsoid.mean) @ whitening.T
        return ((whitened**2).sum(axis=1) <= ellipsoid.radius**2).astype(np.float64)
    n_shared = draws.shared.shape[1]
    centred = (draws.shared - ellipsoid.mean[:n_shared]) @ whitening[:, :n_shared].T
    means = ellipsoid.mean[n_shared:].reshape(draws.own.shape[1:])
    return count_relabellings(
        np.ascontiguousarray(centred), np.ascontiguousarray(draws.own), means, whitening, ellipsoid.radius**2, rng
    )


@njit(cache=True, nogil=True, error_model="numpy")
def count_relabellings(
    centred: Array, own: Array, means: Array, whitening: Array, limit: float, rng: np.random.Generator
) -> Array:
    """Permutations of the blocks of each point after which its whitened squared distance is at most ``limit``.

    ``centred`` (point, coordinate) is what shared coordinates contribute to the whitened point, ``own`` (point,
    cluster, coordinate), ``means`` (cluster, coordinate). Whitening is lower triangular: the first blocks of a
    permutation have a distance of their own, which can only grow.
    """
    n, k, u = own.shape
    counts = np.zeros(n)
    ints = (np.empty(k, dtype=np.int64), np.empty(k, dtype=np.bool_), np.empty((k, k), dtype=np.int64))
    scratch = (*ints, np.empty(k + 1), np.empty((k, k)), np.empty(u))
    distance = scratch[3]
    for i in range(n):
        distance[0] = (centred[i, : centred.shape[1] - k * u] ** 2).sum()
        if distance[0] > limit:
            continue
        point = (centred[i], own[i], means, whitening, limit)
        counts[i] = _count(point, scratch)
        if counts[i] < 0.0:
            counts[i] = _estimated_count(point, scratch, rng)
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def _count(point, scratch):  # type: ignore[no-untyped-def]
    """The number of permutations by depth-first search; -1 if it takes too long."""
    placed, free, order, distance, partial, _ = scratch
    k = len(placed)
    left = np.empty(k, dtype=np.int64)
    free[:] = True
    level, nodes, count = 0, 0, 0.0
    left[0] = _children(0, point, scratch)
    while level >= 0:
        if left[level] == 0 or level == k - 1:
            count += left[level]
            level -= 1
            if level >= 0:
                free[placed[level]] = True
            continue
        left[level] -= 1
        nodes += 1
        if nodes > _MOST_NODES:
            return -1.0
        placed[level] = order[level, left[level]]
        distance[level + 1] = partial[level, left[level]]
        free[placed[level]] = False
        level += 1
        left[level] = _children(level, point, scratch)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _estimated_count(point, scratch, rng):  # type: ignore[no-untyped-def]
    """The same number without bias: the product of how many ways were open on a random descent (Knuth 1975)."""
    placed, free, order, distance, partial, _ = scratch
    total = 0.0
    for _ in range(_PROBES):
        free[:] = True
        product = 1.0
        for level in range(len(placed)):
            open_ways = _children(level, point, scratch)
            product *= open_ways
            if open_ways == 0:
                break
            chosen = min(int(rng.random() * open_ways), open_ways - 1)
            placed[level] = order[level, chosen]
            distance[level + 1] = partial[level, chosen]
            free[placed[level]] = False
        total += product
    return total / _PROBES


@njit(cache=True, nogil=True, error_model="numpy")
def _children(level, point, scratch):  # type: ignore[no-untyped-def]
    """Which blocks may stand at a level, after those placed before: written into ``order``, and counted."""
    centred, own, means, whitening, limit = point
    placed, free, order, distance, partial, base = scratch
    k, u = own.shape
    start = len(centred) - k * u
    for r in range(u):
        row = start + level * u + r
        base[r] = centred[row]
        for before in range(level):
            for c in range(u):
                base[r] += whitening[row, start + before * u + c] * (own[placed[before], c] - means[before, c])
    found = 0
    for block in range(k):
        if not free[block]:
            continue
        total = distance[level]
        for r in range(u):
            z, row = base[r], start + level * u + r
            for c in range(r + 1):
                z += whitening[row, start + level * u + c] * (own[block, c] - means[level, c])
            total += z * z
        if total <= limit:
            order[level, found], partial[level, found] = block, total
            found += 1
    return found
