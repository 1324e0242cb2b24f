r"""THAMES, the truncated harmonic mean estimator: the normalising constant of a mixture posterior from its draws.

For a density h that vanishes where the target f is small, the mean of h / f over draws of the normalised f is 1 / Z.
THAMES (Metodiev et al. 2024) takes h uniform on an ellipsoid intersected with a region of highest density, so that
h / f is bounded. For mixtures (Metodiev et al. 2025) h is averaged over all relabellings, because f is invariant under
them, whether the draws' labels switch or not: the estimator counts each draw's relabellings that lie in the ellipsoid.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import lgamma, log, pi

import numpy as np
from numba import njit
from scipy.linalg import solve_triangular
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from bayesgmm._common import Array, IntArray
from bayesgmm.exceptions import InputError

_CORES, _CORE_STEPS = (1.0, 0.5, 0.2), 3  # shares of the draws that ellipsoids are fitted to
_RADII = (1.0, 0.85, 0.7, 0.55, 0.4)  # relative to the one that is best for normal draws
_PILOT, _SCORED = 150, 300  # uniform points and draws by which one of them is chosen
_RIDGE = 1e-10
_MOST_NODES, _PROBES = 5_000, 200


@dataclass(frozen=True)
class Blocks:
    """Points of an unconstrained space in which relabelling a mixture permutes blocks of coordinates.

    Attributes
    ----------
    shared : (point, shared coordinate)
        Coordinates that are invariant under relabelling.
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
        """Flat points in the layout of these blocks."""
        n = self.shared.shape[1]
        return Blocks(flat[:, :n], flat[:, n:].reshape(len(flat), *self.own.shape[1:]))

    def __getitem__(self, which: IntArray | slice) -> "Blocks":
        return Blocks(self.shared[which], self.own[which])


@dataclass(frozen=True)
class Thames:
    """A truncated harmonic mean estimate.

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

    with E an ellipsoid, c the median of f over draws, and :math:`|A|` the volume of E times the share of its uniform
    points at which :math:`f > c`. E has the mean and covariance of all draws and the radius :math:`\sqrt{d + 1}`, or,
    where that promises a smaller error, those of the half or fifth of the draws that lie closest together, and a
    smaller radius. Relabellings in E are counted by a depth-first search that leaves a branch as soon as its first
    blocks alone are too far from the mean; where that takes more than 5,000 steps, the count is estimated without bias
    from random descents (Knuth 1975).

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
    >>> from bayesgmm.evidence.thames_estimator import Blocks
    >>> from bayesgmm.evidence import thames
    >>> rng = np.random.default_rng(0)
    >>> log_density = lambda blocks: -0.5 * (blocks.own**2).sum(axis=(1, 2))
    >>> draws = [Blocks(np.empty((2000, 0)), rng.normal(size=(2000, 3, 1))) for _ in range(2)]
    >>> found = thames(*draws, log_densities=tuple(map(log_density, draws)), log_density=log_density,
    ...                effective_size=len, rng=rng)
    >>> bool(abs(found.log_z - 1.5 * np.log(2 * np.pi)) < 3 * found.se < 0.2)
    True
    """
    n, d = len(fitted), fitted.flat.shape[1]
    if n <= d + 1:
        raise InputError(expected=f"more than {d + 1} draws for {d} coordinates", got=f"{n}")
    region = _Region(float(np.median(log_densities[0])), log_density, symmetric, rng)
    ellipsoid = _best_ellipsoid(fitted, log_densities[0], region, (len(draws), n_uniform))
    inside = region.share_inside(ellipsoid, draws, n_uniform)
    terms = region.terms(draws, log_densities[1], ellipsoid)
    if inside == 0.0 or not terms.any():
        return Thames(np.nan, np.inf, inside, ellipsoid.radius)
    copies = float(gammaln(draws.own.shape[1] + 1.0)) if symmetric else 0.0
    log_z = region.limit + copies + ellipsoid.log_volume + log(inside) - log(terms.mean())
    variance = _relative_variance(terms) / effective_size(terms) + (1.0 - inside) / inside / n_uniform
    return Thames(float(log_z), float(np.sqrt(variance)), inside, ellipsoid.radius)


@dataclass(frozen=True)
class _Region:
    """Region of highest density, and the density f."""

    limit: float  # log f is above it
    log_density: Callable[[Blocks], Array]
    symmetric: bool
    rng: np.random.Generator

    def share_inside(self, ellipsoid: _Ellipsoid, like: Blocks, n: int) -> float:
        """Share of uniform points of the ellipsoid that lie in the region."""
        return float((self.log_density(like.like(ellipsoid.sample(n, self.rng))) > self.limit).mean())

    def terms(self, draws: Blocks, values: Array, ellipsoid: _Ellipsoid) -> Array:
        """exp(limit) / f times the number of relabellings in the ellipsoid, zero outside the region, (draw,)."""
        high = np.flatnonzero(values > self.limit)
        terms = np.zeros(len(draws))
        terms[high] = _relabellings_inside(draws[high], ellipsoid, self.symmetric, self.rng)
        terms[high] *= np.exp(self.limit - values[high])
        return terms


def _relative_variance(terms: Array) -> float:
    return float(terms.var() / terms.mean() ** 2)


def _best_ellipsoid(fitted: Blocks, values: Array, region: _Region, sizes: tuple[int, int]) -> _Ellipsoid:
    """Of several ellipsoids, the one with the smallest expected standard error."""
    n_draws, n_uniform = sizes
    scored = np.linspace(0, len(fitted) - 1, min(_SCORED, len(fitted))).astype(np.int64)
    best, lowest = None, np.inf
    for core in _cores(fitted, region.symmetric):
        for factor in _RADII:
            ellipsoid = replace(core, radius=core.radius * factor)
            inside = region.share_inside(ellipsoid, fitted, min(_PILOT, n_uniform))
            terms = region.terms(fitted[scored], values[scored], ellipsoid)
            if not terms.any():
                break  # smaller ones hold no draw either
            if inside > 0.0:
                score = _relative_variance(terms) / n_draws + (1.0 - inside) / inside / n_uniform
                best, lowest = (ellipsoid, score) if score < lowest else (best, lowest)
    return core if best is None else best


def _cores(fitted: Blocks, symmetric: bool) -> list[_Ellipsoid]:
    """Ellipsoids of all draws, and of those closest together (Rousseeuw & Van Driessen 1999), labels as fits best."""
    n, d = fitted.flat.shape
    cores: list[_Ellipsoid] = []
    chosen = fitted
    for share in _CORES:
        size = int(share * n)
        if size <= 2 * d and cores:
            break
        for _ in range(_CORE_STEPS if symmetric or share < 1.0 else 0):
            mean, factor = _moments(chosen)
            matched = _matched(fitted, mean, factor) if symmetric else fitted
            distances = (solve_triangular(factor, (matched.flat - mean).T, lower=True) ** 2).sum(axis=0)
            chosen = matched[np.argsort(distances)[:size]]
        cores.append(_Ellipsoid(*_moments(chosen), float(np.sqrt(d + 1.0))))
    return cores


def _moments(blocks: Blocks) -> tuple[Array, Array]:
    """Mean, and lower Cholesky factor of the covariance."""
    flat = blocks.flat
    d = flat.shape[1]
    cov = np.cov(flat.T).reshape(d, d)
    return flat.mean(axis=0), np.linalg.cholesky(cov + _RIDGE * np.diag(np.diagonal(cov)))


def _matched(draws: Blocks, mean: Array, factor: Array) -> Blocks:
    """Draws relabelled so that each component lies close to its block of the mean."""
    n, k, u = draws.own.shape
    if k == 1:
        return draws
    start = draws.shared.shape[1]
    means, costs = mean[start:].reshape(k, u), np.empty((n, k, k))
    for label in range(k):
        rows = factor[start + label * u : start + (label + 1) * u]  # the block's covariance is rows @ rows.T
        whitened = np.linalg.solve(np.linalg.cholesky(rows @ rows.T), (draws.own - means[label]).reshape(-1, u).T)
        costs[:, label] = (whitened**2).sum(axis=0).reshape(n, k)
    order = np.stack([linear_sum_assignment(table)[1] for table in costs])
    return Blocks(draws.shared, draws.own[np.arange(n)[:, None], order])


def _relabellings_inside(draws: Blocks, ellipsoid: _Ellipsoid, symmetric: bool, rng: np.random.Generator) -> Array:
    """Number of relabellings of each draw that lie in the ellipsoid, (draw,)."""
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
    """Unbiased estimate of that number: the product of the numbers of branches on a random descent (Knuth 1975)."""
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
    """Blocks that may stand at a level, given those placed before: written into ``order``, and counted."""
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
