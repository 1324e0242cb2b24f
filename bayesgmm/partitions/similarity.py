"""Posterior similarity matrix: co-clustering probabilities of all pairs of rows."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.linalg.blas import dsyrk

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.partitions.allocations import RandomState, are_labels, flat_draws, label_draws, row_ids
from bayesgmm.partitions.partition_losses import Labels
from bayesgmm.posterior import NO_NAMES, OBS, Names, Posterior, data_of, draws_of, mixture_posterior
from bayesgmm.prediction import group_memberships
from bayesgmm.validation import check_whole, generator_of

OBS_BIS = "obs_bis"
MAX_MEMORY = 2**30  # bytes
_BLOCK_VALUES = 4_000_000  # memberships of some draws held at once: 32 MB
_BYTES = 8


def similarity_matrix(
    labels_or_posterior: Posterior | ArrayLike,
    X: ArrayLike | Data | None = None,
    *,
    rows: int | ArrayLike | None = None,
    max_memory: int = MAX_MEMORY,
    random_state: RandomState = None,
    names: Names = NO_NAMES,
    callback: Callable[[int, int], None] | None = None,
) -> xr.DataArray:
    r"""Posterior probabilities that two rows are in the same cluster (co-clustering probabilities).

    From a posterior, labels are marginalized (Rao-Blackwell): with memberships :math:`p^s_{ik}` of draw s,

    .. math:: P_{ij} = \frac{1}{S} \sum_s \sum_k p^s_{ik} p^s_{jk}, \qquad P_{ii} = 1.

    From draws of labels, :math:`P_{ij}` is the share of draws in which the two labels are equal. Labels need not be
    aligned. Noise, where a posterior has it, is one more cluster: two rows that are both noise are together.

    Parameters
    ----------
    labels_or_posterior : posterior, or array of int (draw, obs) or (chain, draw, obs)
        See `sample_labels`.
    X : (obs, feature), optional
        The rows; by default those stored with the posterior.
    rows : int, or array of int, optional
        Number of rows to draw at random without replacement, or indices of rows; by default all.
    max_memory : int
        Bytes, 1 GiB by default: 11,400 rows. A matrix of n rows takes 8 n² bytes, its computation 32 MB more.
    random_state : int or Generator, optional
        For ``rows``.
    names : mapping, optional
        Names of the posterior's variables.
    callback : callable, optional
        Called as ``callback(draws done, draws)`` after every block of draws.

    Returns
    -------
    DataArray, dimensions (obs, obs_bis)
        With the coordinates of the rows.

    Raises
    ------
    InputError
        The matrix would be larger than ``max_memory``, or ``rows`` are not rows of the data.

    Examples
    --------
    >>> from bayesgmm import similarity_matrix
    >>> similarity_matrix([[0, 0, 1], [0, 1, 1], [2, 2, 0], [0, 0, 1]]).to_numpy()
    array([[1.  , 0.75, 0.  ],
           [0.75, 1.  , 0.25],
           [0.  , 0.25, 1.  ]])
    """
    rng = generator_of(random_state)
    check_whole(most=2**63 - 1, max_memory=max_memory)
    if are_labels(labels_or_posterior):
        labels = label_draws(labels_or_posterior)
        ids, index = labels[OBS].to_numpy(), _chosen(rows, labels.sizes[OBS], max_memory, rng)
        draws = flat_draws(labels)
        n_draws, n_clusters, each = len(draws), int(draws.max()) + 1, _one_hot(draws[:, index])
    else:
        tree = mixture_posterior(labels_or_posterior, X, names=names)
        data = data_of(tree, X)
        ids, index = row_ids(tree), _chosen(rows, data.shape[0], max_memory, rng)
        parameters = draws_of(tree)
        n_draws, n_clusters = len(parameters), parameters.n_terms
        each = group_memberships(parameters, data.take(index))
    matrix = _mean_products(each, (n_draws, n_clusters, len(index)), callback)
    return xr.DataArray(matrix, {OBS: ids[index], OBS_BIS: ids[index]}, (OBS, OBS_BIS), name="similarity")


def _chosen(rows: int | ArrayLike | None, n: int, max_memory: int, rng: np.random.Generator) -> IntArray:
    """Indices of the requested rows, checked to fit into memory."""
    index = _indices(rows, n, rng)
    most = math.isqrt(int(max_memory) // _BYTES)
    if len(index) > most:
        raise InputError(
            expected=f"a similarity matrix of at most max_memory = {max_memory / 2**20:,.0f} MiB, {most:,} rows",
            got=f"{len(index):,} rows, which need {_BYTES * len(index) ** 2 / 2**20:,.0f} MiB",
            hint=f"Pass rows={most} for that many rows drawn at random, rows=[...] for rows of your choice, "
            "or a larger max_memory.",
        )
    return index


def _indices(rows: int | ArrayLike | None, n: int, rng: np.random.Generator) -> IntArray:
    if rows is None:
        return np.arange(n)
    index = np.asarray(rows)
    if index.ndim == 0 and index.dtype.kind in "iu" and 1 <= index <= n:
        return np.sort(rng.choice(n, size=int(index), replace=False))
    if index.ndim == 1 and index.size and index.dtype.kind in "iu" and index.min() >= 0 and index.max() < n:
        return index.astype(np.int64)
    raise InputError(expected=f"rows: a number from 1 to {n}, or indices from 0 to {n - 1}", got=f"{rows!r}")


def _one_hot(draws: Labels) -> Iterator[Array]:
    """Memberships (cluster, obs) of zeros and ones for each draw; the buffer is reused."""
    resp, everyone = np.zeros((int(draws.max()) + 1, draws.shape[1])), np.arange(draws.shape[1])
    for labels in draws:
        resp[:] = 0.0
        resp[labels, everyone] = 1.0
        yield resp


def _mean_products(
    memberships: Iterator[Array], shape: tuple[int, int, int], callback: Callable[[int, int], None] | None
) -> Array:
    """Mean over draws of the cross-products of memberships (cluster, obs), (obs, obs), with a diagonal of one."""
    n_draws, n_clusters, n = shape
    size = min(n_draws, max(1, _BLOCK_VALUES // (n_clusters * n)))
    block, matrix = np.empty((size, n_clusters, n)), np.zeros((n, n), order="F")
    for s, resp in enumerate(memberships, start=1):
        place = (s - 1) % size
        block[place, : len(resp)], block[place, len(resp) :] = resp, 0.0
        if place == size - 1 or s == n_draws:
            stacked = block[: place + 1].reshape(-1, n).T
            matrix = dsyrk(1.0 / n_draws, stacked, beta=1.0, c=matrix, lower=1, overwrite_c=1)
            if callback is not None:
                callback(s, n_draws)
    for i in range(n):  # dsyrk fills one triangle; row by row, no second matrix is needed
        matrix[i, i + 1 :] = matrix[i + 1 :, i]
    np.fill_diagonal(matrix, 1.0)
    return matrix
