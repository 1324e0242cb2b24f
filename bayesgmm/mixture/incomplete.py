r"""Rows with missing values: the kernel on what was observed of them, pattern by pattern.

Rows observed in the same features o are an ordinary mixture of |o| features, with means :math:`\mu_{k,o}` and
covariances :math:`\Sigma_{k,oo}`. The kernel runs on it as it is; what it sums is then turned, once for a pattern and a
component, into the sums over whole rows that are expected given what was observed (Fisher's identity), so that
whatever follows the kernel stays as it is.

Precision factors P, :math:`P^\top P = \Sigma^{-1}`, suffice. Rotations G of whitened residuals, one for each pair of a
missing and a later observed feature, zero the columns of missing features in all rows but those of the same number; the
other rows of :math:`G^\top P` and their columns are the lower triangular factor of :math:`\Sigma_{oo}^{-1}`, and what
is left of the missing rows is independent of what was observed. With sums s and S of the marginal's residuals y,

.. math:: \sum r\, E z = G (s, 0), \qquad \sum r\, E z z^\top = G\, diag(S, n I)\, G^\top.

No covariance is inverted, and each rotation costs as much as a few additions to a row of P.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from bayesgmm._common import Array, Factors, IntArray, Means, Weights
from bayesgmm._compiled import IN_1, IN_2, IN_3, OUT_1, OUT_2, OUT_3, allocation_free, compiled, linked, record_type
from bayesgmm.data import PATTERNS
from bayesgmm.mixture.components.component import COMPONENT, Component
from bayesgmm.mixture.covariance.parametrisation import COVARIANCE, Parametrisation
from bayesgmm.mixture.kernel import SUMS, Sums, add_statistics, pointwise

_STOP, _SIZE, _FEATURES = 0, 1, 2  # columns of a table of patterns


class Marginal(NamedTuple):
    """The mixture of the features of a pattern, and the rotations (block, rotation, 2) that lead to it.

    The rest as the kernel reads it: ``log_scale``, means (cluster, observed), precision factors.
    """

    log_scale: Weights
    mu: Means
    prec: Factors
    rotations: Array


MARGINAL = record_type(Marginal, OUT_1, OUT_2, OUT_3, OUT_3)


@linked(types.void(COVARIANCE, COMPONENT, types.int64[::1], types.int64, IN_1, IN_2, IN_3, MARGINAL))
def write_marginal(  # type: ignore[no-untyped-def]
    covariance, component, features, n_observed, log_scale, mu, prec, marginal
):
    """The marginal of the first so many of all features, in this order."""
    n_components, n_blocks, work, change = mu.shape[0], prec.shape[0], np.empty(prec.shape[1:]), 0.0
    for i in range(n_components, log_scale.shape[0]):
        marginal.log_scale[i] = log_scale[i]
    for k in range(n_components):
        if k < n_blocks:
            change = covariance.marginalise(
                prec[k], features, n_observed, work, marginal.prec[k], marginal.rotations[k]
            )
        more = component.marginal_normaliser(log_scale, mu.shape, k, n_observed)
        marginal.log_scale[k] = log_scale[k] + change + more
        for j in range(n_observed):
            marginal.mu[k, j] = mu[k, features[j]]


@compiled
def _room_for(covariance, log_scale, mu, prec, n_observed):  # type: ignore[no-untyped-def]
    n_components, n_features = mu.shape
    n_rows, n_columns = covariance.factor_shape(n_observed)
    return Marginal(
        np.empty(log_scale.shape[0]),
        np.empty((n_components, n_observed)),
        np.empty((prec.shape[0], n_rows, n_columns)),
        np.empty((prec.shape[0], n_observed * (n_features - n_observed), 2)),
    )


@allocation_free
def _gather(x, members, features, columns):  # type: ignore[no-untyped-def]
    """Copy some features of some rows."""
    for j in range(columns.shape[0]):
        column = x[features[j]]
        for i in range(members.shape[0]):
            columns[j, i] = column[members[i]]


@linked(types.float64(COVARIANCE, COMPONENT, IN_2, IN_1, PATTERNS, IN_1, IN_2, IN_3, SUMS))
def add_incomplete(  # type: ignore[no-untyped-def]
    covariance, component, x, row_weights, patterns, log_scale, mu, prec, sums
):
    """`add_statistics` of rows with missing values: sums that are expected given what was observed."""
    n_components, n_features = mu.shape
    total, start = 0.0, 0
    work, whole = np.empty(n_features), np.empty(sums.second.shape[1:])
    for p in range(patterns.table.shape[0]):
        stop, n_observed = patterns.table[p, _STOP], patterns.table[p, _SIZE]
        features, members = patterns.table[p, _FEATURES:], patterns.members[start:stop]
        columns = np.empty((n_observed, stop - start))
        _gather(x, members, features, columns)
        weights = np.empty(stop - start if row_weights.shape[0] > 0 else 0)
        for i in range(weights.shape[0]):
            weights[i] = row_weights[members[i]]
        if n_observed == n_features:
            total += add_statistics(covariance, component, columns, weights, log_scale, mu, prec, sums)
        else:
            own = _room_for(covariance, log_scale, mu, prec, n_observed)
            write_marginal(covariance, component, features, n_observed, log_scale, mu, prec, own)
            n_rows, n_columns = covariance.factor_shape(n_observed)
            found = Sums(
                np.zeros(n_components),
                np.zeros((n_components, n_observed)),
                np.zeros((n_components, n_rows, n_columns)),
                np.zeros(sums.others.shape),
            )
            total += add_statistics(covariance, component, columns, weights, own.log_scale, own.mu, own.prec, found)
            for k in range(n_components):
                sums.counts[k] += found.counts[k]
                component.add_marginal_sums(log_scale, mu.shape, k, n_observed, found, sums)
                covariance.add_expected(
                    features,
                    own.rotations[min(k, prec.shape[0] - 1)],
                    (found.counts[k], found.first[k], found.second[k]),
                    (work, whole),
                    (sums.first[k], sums.second[k]),
                )
        start = stop
    return total


@linked(types.void(COVARIANCE, COMPONENT, IN_2, PATTERNS, IN_1, IN_2, IN_3, OUT_1, OUT_2))
def pointwise_incomplete(  # type: ignore[no-untyped-def]
    covariance, component, x, patterns, log_scale, mu, prec, log_density, resp
):
    """`pointwise` of rows with missing values."""
    start = 0
    for p in range(patterns.table.shape[0]):
        stop, n_observed = patterns.table[p, _STOP], patterns.table[p, _SIZE]
        features, members = patterns.table[p, _FEATURES:], patterns.members[start:stop]
        columns = np.empty((n_observed, stop - start))
        _gather(x, members, features, columns)
        found, shares = np.empty(stop - start), np.empty((resp.shape[0], stop - start))
        own = _room_for(covariance, log_scale, mu, prec, n_observed)
        write_marginal(covariance, component, features, n_observed, log_scale, mu, prec, own)
        pointwise(covariance, component, columns, own.log_scale, own.mu, own.prec, found, shares)
        for i in range(stop - start):
            log_density[members[i]] = found[i]
            for k in range(resp.shape[0]):
                resp[k, members[i]] = shares[k, i]
        start = stop


@linked(
    types.float64(COVARIANCE, COMPONENT, IN_2, IN_1, PATTERNS, IN_1, IN_2, IN_3, SUMS),
    allocates=False,
)
def add_rows(covariance, component, x, row_weights, patterns, log_scale, mu, prec, sums):  # type: ignore[no-untyped-def]
    """`add_statistics` of the rows of a block, complete or not."""
    if patterns.members.shape[0] > 0:
        return add_incomplete(covariance, component, x, row_weights, patterns, log_scale, mu, prec, sums)
    return add_statistics(covariance, component, x, row_weights, log_scale, mu, prec, sums)


@linked(
    types.void(COVARIANCE, COMPONENT, IN_2, PATTERNS, IN_1, IN_2, IN_3, OUT_1, OUT_2),
    allocates=False,
)
def pointwise_rows(  # type: ignore[no-untyped-def]
    covariance, component, x, patterns, log_scale, mu, prec, log_density, resp
):
    """`pointwise` of the rows of a block, complete or not."""
    if patterns.members.shape[0] > 0:
        pointwise_incomplete(covariance, component, x, patterns, log_scale, mu, prec, log_density, resp)
    else:
        pointwise(covariance, component, x, log_scale, mu, prec, log_density, resp)


def marginal_of(
    kernel: tuple[Parametrisation, Component], pattern: IntArray, log_scale: Weights, mu: Means, prec: Factors
) -> tuple[Marginal, IntArray]:
    """The marginal of one row of a table of patterns, and its features."""
    n_observed, features = int(pattern[_SIZE]), np.ascontiguousarray(pattern[_FEATURES:])
    own = Marginal(
        np.empty(len(log_scale)),
        np.empty((len(mu), n_observed)),
        np.empty((len(prec), *kernel[0].block_shape(n_observed))),
        np.empty((len(prec), n_observed * (mu.shape[1] - n_observed), 2)),
    )
    write_marginal(*kernel, features, n_observed, log_scale, mu, prec, own)
    return own, features[:n_observed]
