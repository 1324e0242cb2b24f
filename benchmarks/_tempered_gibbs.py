"""Replica exchange for Gaussian mixtures with full covariances: an independent reference for posteriors with modes.

Replicas sample p(theta) p(z | w) prod_i N(x_i | mu_zi, Sigma_zi)^beta at powers 1 = beta_0 > beta_1 > ... of the
likelihood by blocked Gibbs sampling, in which all conditionals stay conjugate with counts, sums and scatters times
beta, and neighbours exchange their states. Powers are spaced for equal rejection rates of exchanges (Syed,
Bouchard-Cote, Deligiannidis & Doucet 2022). Split-merge moves let whole groups of rows change their components at once.
Nothing of the package is used but the numbers of its prior.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

type Array = NDArray[np.float64]

_TUNING, _LAST_TUNING = (100, 200, 400), (0.125, 0.25)  # sweeps of rounds in which powers are spaced; shares of all


class Parameters(NamedTuple):
    """Draws (chain, draw, cluster, ...) of a mixture."""

    weights: Array
    means: Array
    covariances: Array


class Tempered(NamedTuple):
    """Draws at power 1 of independent runs, and how well their states moved between powers.

    ``swap_rates`` has the least and the largest of all, ``round_trips`` those of each run from power 1 to the least
    power and back, of all replicas.
    """

    draws: Parameters
    powers: Array
    swap_rates: tuple[float, float]
    round_trips: list[int]


def tempered(
    X: Array, k: int, prior: Any, *, sweeps: int, seeds: Sequence[Any], kept: int = 4_000, tries: int = 2
) -> Tempered:
    """Independent runs, one a seed, of which so many draws each are kept; a fifth as many sweeps more are burn-in.

    Powers are those of the first seed. A sweep tries so many split-merge moves.
    """
    X = np.ascontiguousarray(X, dtype=float)
    model, generators = _model(X, prior, tries), [np.random.default_rng(seed) for seed in seeds]
    tuning = (*_TUNING, *(int(share * sweeps) for share in _LAST_TUNING))
    powers = _spaced_powers(model, k, tuning, generators[0])
    runs = [_run(model, k, powers, sweeps, kept, rng) for rng in generators]
    rates = np.concatenate([rates for _, rates, _ in runs])
    weights, means, covariances = (np.stack(parts) for parts in zip(*(draws for draws, *_ in runs), strict=True))
    return Tempered(
        draws=Parameters(weights, means + X.mean(axis=0), covariances),
        powers=powers,
        swap_rates=(float(rates.min()), float(rates.max())),
        round_trips=[trips for *_, trips in runs],
    )


def labels_of(draws: Parameters, X: Array) -> NDArray[np.int32]:
    """The most probable component of each row, (chain, draw, row)."""
    log_density = np.empty((*draws.weights.shape, len(X)))
    roots = np.linalg.inv(np.linalg.cholesky(draws.covariances))
    log_det = np.log(np.diagonal(roots, axis1=-2, axis2=-1)).sum(axis=-1)
    for i, row in enumerate(X):
        standardized = np.einsum("...de,...e->...d", roots, row - draws.means)
        log_density[..., i] = np.log(draws.weights) + log_det - 0.5 * np.square(standardized).sum(axis=-1)
    return log_density.argmax(axis=2).astype(np.int32)


class _Model(NamedTuple):
    """Rows, less their mean, the prior, and split-merge moves a sweep; kappa is zero if means and covariances are
    independent, hyper_dof if the scale is fixed."""

    x: Array
    alpha: float
    mean: Array
    kappa: float
    mean_precision: Array
    dof: float
    scale: Array
    hyper_dof: float
    hyper_precision: Array
    tries: int


class _States(NamedTuple):
    """Parameters of each replica; a root R of a covariance has R'R = inverse; energy is log N(x | z) over all rows."""

    weights: Array
    means: Array
    roots: Array
    log_det: Array
    scales: Array
    energy: Array


def _model(X: Array, prior: Any, tries: int) -> _Model:
    d, hyper = X.shape[1], prior.scale_prior
    nothing = np.zeros((d, d))
    return _Model(
        x=X - X.mean(axis=0),
        alpha=float(prior.concentration),
        mean=np.ascontiguousarray(prior.mean - X.mean(axis=0)),
        kappa=0.0 if prior.kappa is None else float(prior.kappa),
        mean_precision=nothing if prior.mean_covariance is None else np.linalg.inv(prior.mean_covariance),
        dof=float(prior.dof),
        scale=np.ascontiguousarray(prior.scale, dtype=float),
        hyper_dof=0.0 if hyper is None else float(hyper.dof),
        hyper_precision=nothing if hyper is None else np.linalg.inv(np.atleast_2d(hyper.scale)),
        tries=tries,
    )


def _random_states(model: _Model, k: int, n: int, rng: np.random.Generator) -> _States:
    """Means at random rows, covariances a quarter of that of all rows."""
    rows, d = model.x.shape
    means = np.stack([model.x[rng.choice(rows, k, replace=False)] for _ in range(n)])
    spread = np.atleast_2d(np.cov(model.x.T)) / 4.0 + 1e-3 * model.scale
    root = np.linalg.inv(np.linalg.cholesky(spread))
    return _States(
        weights=np.full((n, k), 1.0 / k),
        means=means,
        roots=np.broadcast_to(root, (n, k, d, d)).copy(),
        log_det=np.full((n, k), -np.log(np.diagonal(root)).sum()),
        scales=np.broadcast_to(model.scale, (n, d, d)).copy(),
        energy=np.zeros(n),
    )


def _spaced_powers(model: _Model, k: int, tuning: Sequence[int], rng: np.random.Generator) -> Array:
    """Powers between which exchanges are refused equally often, by short runs."""
    n, d = model.x.shape
    powers = np.geomspace(1.0, min(0.5, k * (d + 2) / n), 12)
    for length in tuning:
        states = _random_states(model, k, len(powers), rng)
        _exchange(model, states, powers, length // 2, 0, _room(0, k, d), rng)
        rejected, _ = _exchange(model, states, powers, length, 0, _room(0, k, d), rng)
        cumulative = np.concatenate([[0.0], np.cumsum(rejected + 1e-3)])
        levels = 2 + math.ceil(1.6 * float(cumulative[-1]))
        powers = np.interp(np.linspace(0.0, cumulative[-1], levels), cumulative, powers)
    return powers


def _run(
    model: _Model, k: int, powers: Array, sweeps: int, kept: int, rng: np.random.Generator
) -> tuple[Parameters, Array, int]:
    """Draws, swap rates and round trips."""
    d, thin = model.x.shape[1], max(1, sweeps // kept)
    states, room = _random_states(model, k, len(powers), rng), _room(sweeps // thin, k, d)
    _exchange(model, states, powers, sweeps // 5, 0, _room(0, k, d), rng)
    rejected, trips = _exchange(model, states, powers, sweeps, thin, room, rng)
    weights, means, roots = room
    return Parameters(weights, means, np.linalg.inv(np.swapaxes(roots, -1, -2) @ roots)), 1.0 - rejected, trips


def _room(n: int, k: int, d: int) -> tuple[Array, Array, Array]:
    return np.empty((n, k)), np.empty((n, k, d)), np.empty((n, k, d, d))


@njit(cache=True)
def _exchange(model, states, powers, n_sweeps, thin, room, rng):
    """Mean rejection of exchanges between neighbours, and round trips; every thin-th draw at power 1 is kept."""
    n_levels = len(powers)
    place, was_hot = np.arange(n_levels), np.zeros(n_levels, np.bool_)
    rejected, tried, trips = np.zeros(n_levels - 1), np.zeros(n_levels - 1), 0
    weights, means, roots = room
    for s in range(n_sweeps):
        for t in range(n_levels):
            _sweep(model, states, place[t], powers[t], rng)
        for t in range(s % 2, n_levels - 1, 2):
            a, b = place[t], place[t + 1]
            accept = math.exp(min(0.0, (powers[t] - powers[t + 1]) * (states.energy[b] - states.energy[a])))
            rejected[t] += 1.0 - accept
            tried[t] += 1.0
            if rng.random() < accept:
                place[t], place[t + 1] = b, a
        was_hot[place[n_levels - 1]] = True
        if was_hot[place[0]]:
            trips += 1
            was_hot[place[0]] = False
        if thin > 0 and (s + 1) % thin == 0:
            weights[s // thin] = states.weights[place[0]]
            means[s // thin] = states.means[place[0]]
            roots[s // thin] = states.roots[place[0]]
    return rejected / np.maximum(tried, 1.0), trips


@njit(cache=True)
def _sweep(model, states, r, power, rng):
    """Labels, split-merge moves, weights, covariances, means and the scale of a replica."""
    x, weights, means, roots, log_det = model.x, states.weights[r], states.means[r], states.roots[r], states.log_det[r]
    (n, d), k = x.shape, len(weights)
    z, log_w, log_p = np.empty(n, np.int64), np.log(weights) - power * log_det, np.empty(k)
    for i in range(n):
        highest = -np.inf
        for j in range(k):
            log_p[j] = log_w[j] - 0.5 * power * _square(roots[j], x[i], means[j])
            highest = max(highest, log_p[j])
        total = 0.0
        for j in range(k):
            log_p[j] = math.exp(log_p[j] - highest)
            total += log_p[j]
        u, z[i] = rng.random() * total - log_p[0], 0
        while u > 0.0 and z[i] < k - 1:
            z[i] += 1
            u -= log_p[z[i]]
    counts, sums, squares = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    for i in range(n):
        _add(x[i], z[i], counts, sums, squares)
    if n > 3:
        for _ in range(model.tries):
            _split_merge(model, states, r, z, counts, sums, squares, power, rng)
    total = 0.0
    for j in range(k):
        weights[j] = max(rng.standard_gamma(model.alpha + counts[j]), 1e-300)
        total += weights[j]
    energy, precisions = 0.0, model.hyper_precision.copy()
    for j in range(k):
        weights[j] /= total
        if model.kappa > 0.0:
            dof, scale = _marginal(model, states.scales[r], counts[j], sums[j], squares[j], power)
        else:
            dof = model.dof + power * counts[j]
            scale = states.scales[r] + power * _scatter(counts[j], sums[j], squares[j], means[j])
        roots[j], log_det[j] = _draw_root(dof, scale, rng)
        means[j] = _draw_mean(model, roots[j], counts[j], sums[j], power, rng)
        precision = _gram(roots[j])
        precisions += precision
        scatter = _scatter(counts[j], sums[j], squares[j], means[j])
        energy -= 0.5 * (precision * scatter).sum() + counts[j] * (log_det[j] + 0.5 * d * math.log(2.0 * math.pi))
    states.energy[r] = energy
    if model.hyper_dof > 0.0:
        states.scales[r] = _gram(_draw_root(model.hyper_dof + k * model.dof, precisions, rng)[0])


@njit(cache=True)
def _marginal(model, scale, count, total, square, power):
    """Inverse-Wishart of a covariance given rows, the mean integrated out; nearly, if means are independent of it."""
    n = power * count
    if model.kappa == 0.0:
        own = _scatter(count, total, square, total / max(count, 1.0))
        return model.dof + max(n - 1.0, 0.0), scale + power * own
    share = model.kappa + n
    centre = (model.kappa * model.mean + power * total) / share
    return model.dof + n, scale + power * square + model.kappa * _outer(model.mean) - share * _outer(centre)


@njit(cache=True)
def _mean_given(model, root, count, total, power):
    """Cholesky factor of the precision, and the centre, of the normal of a mean given its covariance and rows."""
    own = _gram(root)
    prior = model.kappa * own if model.kappa > 0.0 else model.mean_precision
    chol = _cholesky(prior + power * count * own)
    d = len(total)
    right = np.zeros(d)
    for a in range(d):
        for b in range(d):
            right[a] += prior[a, b] * model.mean[b] + power * own[a, b] * total[b]
    return chol, _solve_transposed(chol, _solve(chol, right))


@njit(cache=True)
def _draw_root(dof, scale, rng):
    """A root of an inverse-Wishart matrix (the root of its inverse), and half its log determinant."""
    d = len(scale)
    chol, bartlett, log_det = _cholesky(scale), np.zeros((d, d)), 0.0
    for a in range(d):
        bartlett[a, a] = math.sqrt(2.0 * rng.standard_gamma(0.5 * (dof - a)))
        log_det += math.log(chol[a, a]) - math.log(bartlett[a, a])
        for b in range(a):
            bartlett[a, b] = rng.standard_normal()
    return _times_inverse(bartlett, chol), log_det


@njit(cache=True)
def _draw_mean(model, root, count, total, power, rng):
    chol, centre = _mean_given(model, root, count, total, power)
    noise = np.empty(len(total))
    for a in range(len(noise)):
        noise[a] = rng.standard_normal()
    return centre + _solve_transposed(chol, noise)


class _Component(NamedTuple):
    """Parameters of a component, and sums over its rows."""

    root: Array
    log_det: float
    mean: Array
    count: float
    total: Array
    square: Array


@njit(cache=True)
def _log_excess(model, scale, component, power):
    """Log of prior times likelihood of a component, over the density by which it is proposed; up to a constant."""
    root, log_det, mean, count, total, square = component
    d, n = len(mean), power * count
    dof, own_scale = _marginal(model, scale, count, total, square, power)
    own_chol, precision = _cholesky(own_scale), _gram(root)
    chol, centre = _mean_given(model, root, count, total, power)
    value = -0.5 * (precision * (scale - own_scale + power * _scatter(count, total, square, mean))).sum()
    value += (dof - model.dof - n) * log_det - 0.5 * n * d * math.log(2.0 * math.pi) + 0.5 * d * dof * math.log(2.0)
    for a in range(d):
        value += math.lgamma(0.5 * (dof - a)) - dof * math.log(own_chol[a, a]) - math.log(chol[a, a])
        u = 0.0
        for b in range(a, d):
            u += chol[b, a] * (mean[b] - centre[b])
        value += 0.5 * u * u
    if model.kappa > 0.0:
        return value - 0.5 * model.kappa * _square(root, mean, model.mean) - log_det
    for a in range(d):
        for b in range(d):
            value -= 0.5 * model.mean_precision[a, b] * (mean[a] - model.mean[a]) * (mean[b] - model.mean[b])
    return value


@njit(cache=True)
def _split_merge(model, states, r, z, counts, sums, squares, power, rng):
    """One of three moves of whole groups of rows between components.

    Split a component and merge two others; split one into itself and an empty one, or merge two; or allocate the rows
    of two anew. After Jain & Neal (2007) with the sequential allocation of Dahl (2003): rows i and j are to be parted,
    p and q to be joined, in an order of the rows; all are drawn whatever the state, so that the way back is as likely
    to be tried.
    """
    x, (n, d), n_components = model.x, model.x.shape, len(counts)
    kind, i, j = rng.integers(0, 3), rng.integers(0, n), rng.integers(0, n)
    p, q = rng.integers(0, n), rng.integers(0, n)
    if i == j:
        return
    c, b, a, log_ratio = z[i], z[j], z[i], 0.0
    splits, joins = True, True
    if kind == 0:
        a, b = z[p], z[q]
        if z[j] != c or p == q or a in (b, c) or b == c:
            return
    elif kind == 1:
        n_empty = 0
        for m in range(n_components):
            n_empty += counts[m] == 0.0
        if b == c:
            if n_empty == 0:
                return
            b, joins = np.flatnonzero(counts == 0.0)[rng.integers(0, n_empty)], False
            log_ratio += math.log(n_empty)
        else:
            splits = False
            log_ratio -= math.log(n_empty + 1.0)
    elif b == c:
        return
    order, new, scale = rng.permutation(n), z.copy(), states.scales[r]
    if joins:  # how likely the way back is to part the rows of b from those of a as they are now
        first, second = (p, q) if kind == 0 else (i, j)
        log_ratio += _allocate(model, scale, a, b, first, second, z, z, False, order, power, rng)
        for s in range(n):
            if z[s] == b:
                new[s] = a
    if splits:
        log_ratio -= _allocate(model, scale, c, b, i, j, new.copy(), new, True, order, power, rng)
    new_counts, new_sums, new_squares = np.zeros(n_components), np.zeros((n_components, d)), np.zeros_like(squares)
    for s in range(n):
        _add(x[s], new[s], new_counts, new_sums, new_squares)
    n_touched = 3 if kind == 0 else 2
    touched = np.array([b, c, a])[:n_touched]
    roots, log_det, means = np.empty((n_touched, d, d)), np.empty(n_touched), np.empty((n_touched, d))
    for t, m in enumerate(touched):
        dof, own_scale = _marginal(model, scale, new_counts[m], new_sums[m], new_squares[m], power)
        roots[t], log_det[t] = _draw_root(dof, own_scale, rng)
        means[t] = _draw_mean(model, roots[t], new_counts[m], new_sums[m], power, rng)
        after = _Component(roots[t], log_det[t], means[t], new_counts[m], new_sums[m], new_squares[m])
        before = _Component(
            states.roots[r, m], states.log_det[r, m], states.means[r, m], counts[m], sums[m], squares[m]
        )
        log_ratio += _log_excess(model, scale, after, power) - _log_excess(model, scale, before, power)
        log_ratio += math.lgamma(model.alpha + new_counts[m]) - math.lgamma(model.alpha + counts[m])
    if math.log(rng.random()) < log_ratio:
        z[:], counts[:], sums[:], squares[:] = new, new_counts, new_sums, new_squares
        for t, m in enumerate(touched):
            states.roots[r, m], states.log_det[r, m], states.means[r, m] = roots[t], log_det[t], means[t]


@njit(cache=True)
def _allocate(model, scale, one, other, first, second, former, z, draw, order, power, rng):
    """Rows of two labels in ``former`` to these, one after the other, into z if drawn, and the log probability of z.

    ``first`` has the label ``one``, ``second`` the other; others go to one of two normals by their densities.
    """
    d, log_p, x = model.x.shape[1], 0.0, model.x
    counts, sums, squares = np.zeros(2), np.zeros((2, d)), np.zeros((2, d, d))
    own, chols, log_det, value, u = np.empty((d, d)), np.zeros((2, d, d)), np.empty(2), np.empty(2), np.empty(d)
    for s in range(-2, len(order)):
        row = (first if s == -2 else second) if s < 0 else order[s]
        if s >= 0:
            if former[row] not in (one, other) or row in (first, second):
                continue
            for g in range(2):
                distance = 0.0
                for a in range(d):
                    u[a] = x[row, a] - sums[g, a] / counts[g]
                    for b in range(a):
                        u[a] -= chols[g, a, b] * u[b]
                    u[a] /= chols[g, a, a]
                    distance += u[a] * u[a]
                value[g] = math.log(model.alpha + counts[g]) - power * (0.5 * distance + log_det[g])
            log_first = -np.logaddexp(0.0, value[1] - value[0])
            log_second = -np.logaddexp(0.0, value[0] - value[1])
            if draw:
                z[row] = one if math.log(rng.random()) < log_first else other
            log_p += log_first if z[row] == one else log_second
        elif draw:
            z[row] = one if s == -2 else other
        g = 0 if z[row] == one else 1
        _add(x[row], g, counts, sums, squares)
        spread = (1.0 + 1.0 / counts[g]) / (model.dof + power * counts[g])
        for a in range(d):
            for b in range(a + 1):
                within = squares[g, a, b] - sums[g, a] * sums[g, b] / counts[g]
                own[a, b] = spread * (scale[a, b] + power * within)
        _cholesky_into(own, chols[g])
        log_det[g] = 0.0
        for a in range(d):
            log_det[g] += math.log(chols[g, a, a])
    return log_p


@njit(cache=True)
def _add(row, j, counts, sums, squares):
    counts[j] += 1.0
    for a in range(len(row)):
        sums[j, a] += row[a]
        for b in range(len(row)):
            squares[j, a, b] += row[a] * row[b]


@njit(cache=True)
def _square(root, row, mean):
    """Squared Mahalanobis distance."""
    distance = 0.0
    for a in range(len(row)):
        u = 0.0
        for b in range(len(row)):
            u += root[a, b] * (row[b] - mean[b])
        distance += u * u
    return distance


@njit(cache=True)
def _outer(mean):
    return mean.reshape(-1, 1) * mean.reshape(1, -1)


@njit(cache=True)
def _solve(chol, right):
    """L^-1 b."""
    out = right.copy()
    for a in range(len(out)):
        for b in range(a):
            out[a] -= chol[a, b] * out[b]
        out[a] /= chol[a, a]
    return out


@njit(cache=True)
def _solve_transposed(chol, right):
    """L'^-1 b."""
    out = right.copy()
    for a in range(len(out) - 1, -1, -1):
        for b in range(a + 1, len(out)):
            out[a] -= chol[b, a] * out[b]
        out[a] /= chol[a, a]
    return out


@njit(cache=True)
def _cholesky(matrix):
    """The lower triangular factor of a small matrix."""
    out = np.zeros_like(matrix)
    _cholesky_into(matrix, out)
    return out


@njit(cache=True)
def _cholesky_into(matrix, out):
    for a in range(len(matrix)):
        for b in range(a + 1):
            u = matrix[a, b]
            for c in range(b):
                u -= out[a, c] * out[b, c]
            out[a, b] = math.sqrt(u) if a == b else u / out[b, b]


@njit(cache=True)
def _times_inverse(bartlett, chol):
    """B' L^-1 of lower triangular B and L."""
    d = len(chol)
    out = np.zeros((d, d))
    for a in range(d):
        for b in range(d - 1, -1, -1):  # sum_c out[a, c] L[c, b] = B[b, a]
            u = bartlett[b, a]
            for c in range(b + 1, d):
                u -= out[a, c] * chol[c, b]
            out[a, b] = u / chol[b, b]
    return out


@njit(cache=True)
def _gram(root):
    """R'R."""
    d = len(root)
    out = np.zeros((d, d))
    for a in range(d):
        for b in range(d):
            for c in range(d):
                out[a, b] += root[c, a] * root[c, b]
    return out


@njit(cache=True)
def _scatter(count, total, square, mean):
    """The sum of (x - mean)(x - mean)'."""
    d = len(total)
    out = np.empty((d, d))
    for a in range(d):
        for b in range(d):
            out[a, b] = square[a, b] - total[a] * mean[b] - mean[a] * total[b] + count * mean[a] * mean[b]
    return out
