r"""Covariances of factor analysis, :math:`\Sigma_k = \Lambda_k \Lambda_k^\top + \Psi_k`, q columns and diagonal noise.

A row's distance takes O(D q). With residuals :math:`u = \Psi^{-1/2} (x - \mu)`, loadings
:math:`A = \Psi^{-1/2} \Lambda` and :math:`M = I + A^\top A`, expectations of the factors are
:math:`y = M^{-1} A^\top u` (Woodbury), and

.. math:: (x - \mu)^\top \Sigma^{-1} (x - \mu) = |u - A y|^2 + |y|^2, \qquad |\Sigma| = |\Psi| |M|,

without the difference of large numbers in :math:`|u|^2 - |M^{1/2} y|^2`.

A *factor* (D, q + 1) is :math:`[\Lambda, \psi^{1/2}]`, a precision factor
:math:`[\Psi^{-1} \Lambda, \psi^{-1/2}]`: each is the same function of the other, and both scale as others do. Second
moments are :math:`[\sum r u y^\top, \sum r u^2]`.

The M-step is one of EM for factor analysis with an expanded parameter, the covariance :math:`\Theta` of the factors
(Rubin & Thayer 1982; Liu, Rubin & Wu 1998): with the scatter W of u, :math:`\beta = M^{-1} A^\top` and
:math:`C = W \beta^\top`,

.. math:: \Theta = M^{-1} + \beta C = T T^\top, \qquad A' = C T^{-\top}, \qquad
          \psi' = \psi\, diag(W - C \Theta^{-1} C^\top).

The mixture's log-likelihood does not fall, because that of complete rows given their components does not. Where it
gains more, a step is instead one of a single noise variance (`_exchange`; Zhao, Yu & Jiang 2008).
"""

import math
from types import MappingProxyType

import numpy as np
from numba import types

from bayesgmm._common import Array, Covariances, Factors
from bayesgmm._compiled import (
    IN_1,
    LANES,
    OUT_1,
    OUT_2,
    OUT_3,
    TILE,
    allocation_free,
    cholesky_lower,
    compiled,
    linked,
    load,
    store,
    zeros,
)
from bayesgmm.mixture.covariance.diagonal import Diagonal
from bayesgmm.mixture.covariance.full import Full
from bayesgmm.mixture.covariance.low_rank.decomposition import decomposition, near_decomposition
from bayesgmm.mixture.covariance.parametrisation import NEGLIGIBLE
from bayesgmm.mixture.kernel_layout import add_single, add_to, lane_sum

_AT_FLOOR = 1.0 + 1e-9  # times the floor
_ROUNDING = 1e-7  # of a squared residual: what is left of it beyond is known


class FactorAnalytic(Full):
    """Loadings of q factors and noise variances, of each component its own."""

    follows_rank = False
    explorable = False
    unexplorable = "Loadings are known up to rotations of the factors, in whose directions NUTS has no end."
    lacks = MappingProxyType(
        {
            "a prior": "Leave prior= out: noise variances keep a millionth of each feature's, so that the likelihood "
            "is bounded. 'full' and 'diag' take priors.",
            "a noise component": "Take 'diag' or 'full'.",
            "missing values": "Take 'full' or 'diag', whose impute() completes rows.",
            "standard errors": "Loadings are known up to rotations: take bootstrap(), for those of covariances.",
        }
    )
    closed = False
    multiplies = False
    starts_dense = True
    smallest_share = 1e-6  # Heywood cases: a noise variance of zero has a finite likelihood, but none of its digits

    def __init__(self, n_factors: int) -> None:
        self.n_factors = n_factors

    def block_shape(self, d: int) -> tuple[int, int]:
        return d, self.n_factors + 1

    def size(self, d: int) -> int:
        """Loadings but for rotations, and noise variances."""
        q = self.n_factors
        return d * q - q * (q - 1) // 2 + d

    def factors(self, blocks: Array) -> Factors:
        """Of matrices, which are decomposed to the last digits if they are members, and nearly the best if not."""
        lead, d = blocks.shape[:-2], blocks.shape[-1]
        np.linalg.cholesky(blocks)  # raises unless they are positive definite
        found = [decomposition(each, self.n_factors) for each in blocks.reshape(-1, d, d)]
        return np.reshape(found, (*lead, *self.block_shape(d)))

    def starting_factors(self, matrices: Covariances) -> Factors:
        """Of matrices to start from, roughly."""
        return np.ascontiguousarray([near_decomposition(each, self.n_factors) for each in matrices])

    def natural(self, factors: Factors) -> Covariances:
        return self.matrices(factors, factors.shape[-2])

    def matrices(self, factors: Factors, d: int) -> Covariances:
        loadings, diagonal = factors[..., :-1], np.arange(d)
        found: Array = loadings @ np.swapaxes(loadings, -1, -2)
        found[..., diagonal, diagonal] += np.square(factors[..., -1])
        return found

    def inverse(self, values: Array) -> Array:
        sds = values[..., -1:]
        return np.ascontiguousarray(np.concatenate([values[..., :-1] / sds**2, 1.0 / sds], axis=-1))

    def log_determinants(self, factors: Factors, d: int) -> Array:
        """Of precision factors."""
        of_inner = np.linalg.slogdet(_inner(factors))[1]
        return np.asarray(np.log(factors[..., -1]).sum(axis=-1) - 0.5 * of_inner)

    def roots(self, factors: Factors) -> Array:
        return self.square(factors, factors.shape[-2])

    def precision_roots(self, precision_factors: Factors) -> Array:
        return np.linalg.inv(self.roots(self.inverse(precision_factors)))

    def precision_diagonals(self, precision_factors: Factors) -> Array:
        root = np.linalg.inv(np.linalg.cholesky(_inner(precision_factors)))
        half = precision_factors[..., :-1] @ np.swapaxes(root, -1, -2)
        return np.square(precision_factors[..., -1]) - np.square(half).sum(axis=-1)

    def square(self, factors: Factors, d: int) -> Array:
        return np.linalg.cholesky(self.matrices(factors, d))

    def times(self, factors: Factors, vectors: Array) -> Array:
        """Whitened vectors (..., D + q) of precision factors: residuals less what factors explain, and factors."""
        precision, inverse_sds = factors[..., :-1], factors[..., -1]
        explained = np.linalg.solve(_inner(factors), np.swapaxes(precision, -1, -2) @ vectors[..., None])
        left = vectors * inverse_sds - (precision @ explained)[..., 0] / inverse_sds
        return np.concatenate([left, explained[..., 0]], axis=-1)

    def parts(self, factors: Factors) -> dict[str, Array]:
        """Loadings in the directions of the largest shares of the noise, largest entries positive; noise variances."""
        loadings, sds = factors[..., :-1], factors[..., -1]
        turns = np.linalg.svd(loadings / sds[..., None], full_matrices=False)[2]
        turned = loadings @ np.swapaxes(turns, -1, -2)
        largest = np.take_along_axis(turned, np.abs(turned).argmax(axis=-2)[..., None, :], axis=-2)
        return {"loadings": turned * np.where(largest < 0.0, -1.0, 1.0), "noise_variances": np.square(sds)}

    def fewest_rows(self, d: int) -> float:
        """One more than factors and their mean explain."""
        return self.n_factors + 2.0

    def pass_seconds(self, k: int, d: int, n_rows: int) -> float:
        q = self.n_factors
        return 5e-6 + k * (n_rows * (4e-9 + d * (1.5e-9 + 3e-10 * q)) + d * q * (2e-9 + 1e-9 * q))

    # ---- the kernel

    row_stride = Diagonal.row_stride

    @staticmethod
    @allocation_free
    def n_products(d, n_columns):  # type: ignore[no-untyped-def]
        return d * n_columns

    @staticmethod
    @allocation_free
    def n_kept(d, n_columns):  # type: ignore[no-untyped-def]
        """Features, factors, and room for as many squares: M^-1, in no more than a tile each."""
        q = n_columns - 1
        return d + q + (q * q + TILE - 1) // TILE

    @staticmethod
    @allocation_free
    def whiten(layout, padded, mu, k, prec, work):  # type: ignore[no-untyped-def]
        """Write u and y of a block of rows by one component, and their squared lengths."""
        n_features, q, g, stride = mu.shape[1], prec.shape[2] - 1, min(k, prec.shape[0] - 1), layout.stride
        z, squares, r = layout.z + k * layout.z_step, layout.resp + k * stride, layout.residuals
        y = z + n_features * stride
        inverse = y + q * stride
        _write_inverse(prec[g], work, inverse)
        for i in range(0, padded, TILE):
            for d in range(n_features):
                e = load(TILE, work, layout.columns + d * stride + i) - mu[k, d]
                store(work, r + d * TILE, e)
                store(work, z + d * stride + i, e * prec[g, d, q])
            _write_products(prec[g], work, r, y + i, stride)
            _write_factors(q, work, inverse, r, y + i, stride)
            store(work, squares + i, _squared_length(prec[g], work, z + i, y + i, stride))

    @staticmethod
    @allocation_free
    def add_moments(layout, n_features, padded, work, resp, z, first):  # type: ignore[no-untyped-def]
        q, stride, a = layout.n_columns - 1, layout.stride, layout.weighted
        y, place = z + n_features * stride, first + n_features * LANES
        for d in range(n_features):
            add_single(padded, work, resp, z + d * stride, a, first + d * LANES, place + q * LANES)
            for j in range(0, q - 1, 2):
                sum0, sum1 = zeros(LANES), zeros(LANES)
                for i in range(0, padded, LANES):
                    weighted = load(LANES, work, a + i)
                    sum0 = sum0 + weighted * load(LANES, work, y + j * stride + i)
                    sum1 = sum1 + weighted * load(LANES, work, y + (j + 1) * stride + i)
                add_to(work, place + j * LANES, sum0)
                add_to(work, place + (j + 1) * LANES, sum1)
            if q % 2:
                last = zeros(LANES)
                for i in range(0, padded, LANES):
                    last = last + load(LANES, work, a + i) * load(LANES, work, y + (q - 1) * stride + i)
                add_to(work, place + (q - 1) * LANES, last)
            place += (q + 1) * LANES
        return place

    @staticmethod
    @allocation_free
    def unload(work, place, second, n_features):  # type: ignore[no-untyped-def]
        for d in range(n_features):
            for j in range(second.shape[1]):
                second[d, j] += lane_sum(work, place)
                place += LANES
        return place

    # ---- algebra: means move in units of the noise

    @staticmethod
    @allocation_free
    def multiply(factor, vector, product):  # type: ignore[no-untyped-def]
        for d in range(vector.shape[0]):
            product[d] = factor[d, factor.shape[1] - 1] * vector[d]

    @staticmethod
    @allocation_free
    def add_outer(number, a, b, second):  # type: ignore[no-untyped-def]
        """To the squares alone: `write_covariances` does the rest, which knows the factors."""
        for d in range(a.shape[0]):
            second[d, second.shape[1] - 1] += number * a[d] * b[d]

    @staticmethod
    @allocation_free
    def write_square(factor, block):  # type: ignore[no-untyped-def]
        for d in range(factor.shape[0]):
            for j in range(factor.shape[1]):
                block[d, j] = factor[d, j]

    @staticmethod
    @linked(types.float64(OUT_2, types.int64))
    def log_determinant(factor, d):  # type: ignore[no-untyped-def]
        """Of a precision factor."""
        q = factor.shape[1] - 1
        inner, total = np.empty(q * q), 0.0
        for i in range(d):
            total += math.log(factor[i, q])
        return total - 0.5 * _write_inverse(factor, inner, 0)

    # ---- the M-step

    @staticmethod
    @allocation_free
    def write_covariances(floors, totals, scatter, now, new, work):  # type: ignore[no-untyped-def]
        old, means = (now.factors, now.precision_factors), (now.means, new.means)
        return _write_members(floors, totals, scatter, *old, *means, new.factors, new.precision_factors)

    @staticmethod
    @allocation_free
    def write_change(prec, factor, change):  # type: ignore[no-untyped-def]
        q = factor.shape[1] - 1
        for d in range(factor.shape[0]):
            for j in range(q):
                change[d, j] = factor[d, j] * prec[d, q] - prec[d, j] / prec[d, q]
            change[d, q] = math.log(factor[d, q] * prec[d, q])

    @staticmethod
    @allocation_free
    def change_information(d, i, j):  # type: ignore[no-untyped-def]
        return 1.0

    @staticmethod
    @allocation_free
    def move_factor(floors, old, change, factor, prec):  # type: ignore[no-untyped-def]
        """Noise variances are clipped at the floor, where the likelihood is as good as elsewhere (Heywood cases)."""
        q, size = factor.shape[1] - 1, 0.0
        for d in range(factor.shape[0]):
            for j in range(q):
                factor[d, j] = old[d, j] + old[d, q] * change[d, j]
                size += abs(factor[d, j])
            factor[d, q] = max(old[d, q] * math.exp(change[d, q]), math.sqrt(floors[d]))
            size += factor[d, q] + 1.0 / factor[d, q]
        _write_precision(factor, prec)
        return math.isfinite(size)


def _inner(precision_factors: Array) -> Array:
    """M (..., q, q)."""
    loadings = precision_factors[..., :-1] / precision_factors[..., -1:]
    return np.swapaxes(loadings, -1, -2) @ loadings + np.eye(loadings.shape[-1])


@allocation_free
def _write_inverse(prec, work, place):  # type: ignore[no-untyped-def]
    """Write M^-1 (q, q) at a place of ``work``; returns log |M|. By Gauss and Jordan, whose pivots are positive."""
    q, log_determinant = prec.shape[1] - 1, 0.0
    for i in range(q):
        for j in range(q):
            total = 1.0 if i == j else 0.0
            for d in range(prec.shape[0]):
                total += prec[d, i] / prec[d, q] * (prec[d, j] / prec[d, q])
            work[place + i * q + j] = total
    for h in range(q):
        pivot = work[place + h * q + h]
        log_determinant += math.log(pivot)
        work[place + h * q + h] = 1.0
        for j in range(q):
            work[place + h * q + j] /= pivot
        for i in range(q):
            if i != h:
                times = work[place + i * q + h]
                work[place + i * q + h] = 0.0
                for j in range(q):
                    work[place + i * q + j] -= times * work[place + h * q + j]
    return log_determinant


@allocation_free
def _write_products(prec, work, r, y, stride):  # type: ignore[no-untyped-def]
    """Products of a tile of residuals with the loadings, four factors at a time."""
    n_features, q = prec.shape[0], prec.shape[1] - 1
    for j in range(0, q - 3, 4):
        t0 = t1 = t2 = t3 = zeros(TILE)
        for d in range(n_features):
            e = load(TILE, work, r + d * TILE)
            t0, t1 = t0 + e * prec[d, j], t1 + e * prec[d, j + 1]
            t2, t3 = t2 + e * prec[d, j + 2], t3 + e * prec[d, j + 3]
        store(work, y + j * stride, t0)
        store(work, y + (j + 1) * stride, t1)
        store(work, y + (j + 2) * stride, t2)
        store(work, y + (j + 3) * stride, t3)
    for j in range(q - q % 4, q):
        t0 = zeros(TILE)
        for d in range(n_features):
            t0 = t0 + load(TILE, work, r + d * TILE) * prec[d, j]
        store(work, y + j * stride, t0)


@allocation_free
def _write_factors(q, work, inverse, r, y, stride):  # type: ignore[no-untyped-def]
    """Replace these products by the expectations of the factors; residuals are overwritten."""
    for j in range(q):
        store(work, r + j * TILE, load(TILE, work, y + j * stride))
    for i in range(q):
        total = zeros(TILE)
        for j in range(q):
            total = total + load(TILE, work, r + j * TILE) * work[inverse + i * q + j]
        store(work, y + i * stride, total)


@allocation_free
def _squared_length(prec, work, z, y, stride):  # type: ignore[no-untyped-def]
    """Of the residuals of a tile less what factors explain, and of the factors."""
    q, square = prec.shape[1] - 1, zeros(TILE)
    for d in range(prec.shape[0]):
        explained = zeros(TILE)
        for j in range(q):
            explained = explained + load(TILE, work, y + j * stride) * prec[d, j]
        left = load(TILE, work, z + d * stride) - explained * (1.0 / prec[d, q])
        square = square + left * left
    for j in range(q):
        factor = load(TILE, work, y + j * stride)
        square = square + factor * factor
    return square


@allocation_free
def _write_precision(factor, prec):  # type: ignore[no-untyped-def]
    q = factor.shape[1] - 1
    for d in range(factor.shape[0]):
        for j in range(q):
            prec[d, j] = factor[d, j] / factor[d, q] ** 2
        prec[d, q] = 1.0 / factor[d, q]


@linked(types.int64(IN_1, OUT_1, *[OUT_3] * 3, *[OUT_2] * 2, *[OUT_3] * 2))
def _write_members(  # type: ignore[no-untyped-def]
    floors, totals, scatter, factors, prec, means, new_means, new_factors, new_prec
):
    """The next loadings and noise variances from second moments; returns how many covariances are at the floor."""
    n_floored, (n, q) = 0, (scatter.shape[1], scatter.shape[2] - 1)
    shift, inverse, theta, lower = np.empty(n), np.empty(q * q), np.empty((q, q)), np.empty((q, q))
    for g in range(scatter.shape[0]):
        known = totals[g] > NEGLIGIBLE
        if known:
            for d in range(n):
                shift[d] = (new_means[g, d] - means[g, d]) * prec[g, d, q]
                for j in range(q + 1):
                    scatter[g, d, j] /= totals[g]
            _write_theta(prec[g], shift, scatter[g], inverse, theta)
            known = cholesky_lower(theta, lower)
        if known:
            _write_step(floors, factors[g], scatter[g], lower, new_factors[g])
            gain = _gain(factors[g], scatter[g], theta, lower, new_factors[g])
            one, variance = _exchange(floors, factors[g], scatter[g], inverse, theta, 2.0 * gain)
        if not known or one >= 0:
            for d in range(n):
                for j in range(q + 1):
                    new_factors[g, d, j] = factors[g, d, j]
        if known and one >= 0:
            new_factors[g, one, q] = math.sqrt(variance)
        n_floored += _at_floor(floors, new_factors[g])
        _write_precision(new_factors[g], new_prec[g])
    return n_floored


@compiled
def _write_theta(prec, shift, moment, inverse, theta):  # type: ignore[no-untyped-def]
    """Write M^-1 and the covariance of the factors, and C in the place of the products with the moments."""
    n, q = prec.shape[0], prec.shape[1] - 1
    middle, products = np.zeros(q), np.zeros((q, q))
    _write_inverse(prec, inverse, 0)
    for i in range(q):
        for d in range(n):
            for j in range(q):
                middle[i] += inverse[i * q + j] * prec[d, j] / prec[d, q] * shift[d]
    for d in range(n):
        for j in range(q):
            moment[d, j] -= shift[d] * middle[j]
            for i in range(q):
                products[i, j] += prec[d, i] / prec[d, q] * moment[d, j]
    for i in range(q):
        for j in range(q):
            theta[i, j] = inverse[i * q + j]
            for h in range(q):
                theta[i, j] += inverse[i * q + h] * products[h, j]


@compiled
def _write_step(floors, factor, moment, lower, new_factor):  # type: ignore[no-untyped-def]
    """Write loadings C T^-T and noise variances, in units of the old noise."""
    q = factor.shape[1] - 1
    for d in range(factor.shape[0]):
        sd, left = factor[d, q], moment[d, q]
        for j in range(q):
            total = moment[d, j]
            for h in range(j):
                total -= lower[j, h] * new_factor[d, h]
            new_factor[d, j] = total / lower[j, j]
            left -= new_factor[d, j] ** 2
        new_factor[d, q] = math.sqrt(max(sd * sd * left, floors[d]))
        for j in range(q):
            new_factor[d, j] *= sd


@compiled
def _gain(factor, moment, theta, lower, new_factor):  # type: ignore[no-untyped-def]
    """What a step raises the log-likelihood of complete data by, a row."""
    q, total = factor.shape[1] - 1, 0.0
    for j in range(q):
        total += theta[j, j] - 1.0 - 2.0 * math.log(lower[j, j])
    for d in range(factor.shape[0]):
        sd = factor[d, q]
        before = after = moment[d, q]
        for i in range(q):
            after -= (new_factor[d, i] / sd) ** 2
            before -= 2.0 * factor[d, i] / sd * moment[d, i]
            for j in range(q):
                before += factor[d, i] / sd * theta[i, j] * factor[d, j] / sd
        variance = (new_factor[d, q] / sd) ** 2
        total += before - after / variance - math.log(variance)
    return 0.5 * total


@compiled
def _exchange(floors, factor, moment, inverse, theta, enough):  # type: ignore[no-untyped-def]
    """A feature whose noise variance alone gains more than enough, the one that gains most, and that variance.

    EM takes steps in proportion to a variance, and so never comes to an end at zero. The best one of a feature, others
    given, is known: with P the inverse of the covariance it changes by (P W P - P) / P^2, diagonal entries.
    """
    q, one, best = factor.shape[1] - 1, -1, 0.0
    for d in range(factor.shape[0]):
        sd, share, second = factor[d, q], 1.0, moment[d, q]
        for i in range(q):
            second -= 2.0 * factor[d, i] / sd * moment[d, i]
            for j in range(q):
                product, known = factor[d, i] / sd * (factor[d, j] / sd), inverse[i * q + j]
                share -= product * known
                second += product * (theta[i, j] - known)
        old = sd * sd
        new = max(old * (1.0 + (second - share) / share**2), floors[d])
        ratio = 1.0 + (new / old - 1.0) * share
        gain = 0.5 * ((new / old - 1.0) * second / ratio - math.log(ratio))
        if gain > enough and share > _ROUNDING * moment[d, q]:
            one, best, enough = d, new, gain
    return one, best


@compiled
def _at_floor(floors, factor):  # type: ignore[no-untyped-def]
    """One if more noise variances are at the floor than there are factors: the covariance is singular but for it."""
    q, n_floored = factor.shape[1] - 1, 0
    for d in range(factor.shape[0]):
        n_floored += 1 if factor[d, q] ** 2 <= floors[d] * _AT_FLOOR else 0
    return 1 if n_floored > q else 0
