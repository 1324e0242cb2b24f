"""Allocations drawn for each posterior draw, and the number of occupied clusters."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from bayesgmm._common import IntArray
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws
from bayesgmm.partitions.occupancy import Occupancy, occupancy
from bayesgmm.partitions.partition_losses import Labels, canonical_labels
from bayesgmm.posterior import (
    NO_NAMES,
    OBS,
    SAMPLE_DIMS,
    Names,
    Posterior,
    data_of,
    draws_of,
    mixture_posterior,
    model_of,
)
from bayesgmm.prediction import group_memberships
from bayesgmm.validation import check_whole, generator_of

type RandomState = int | np.random.Generator | None

N_CLUSTERS = "n_clusters"
NOISE_SHARE = "noise_share"  # coordinate of draws of labels: the share of draws in which a row is noise
UNASSIGNED = -1


def sample_labels(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    random_state: RandomState = None,
    names: Names = NO_NAMES,
) -> xr.DataArray:
    r"""Draw the label of each row for each draw of the parameters.

    :math:`z_{si} \sim p(z_i = k \mid x_i, \theta_s)`, independent over rows given the draw: draws of parameters
    and labels together are from their joint posterior.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        See `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows; by default those stored with the posterior.
    random_state : int or Generator, optional
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    DataArray of int32, dimensions (chain, draw, obs)
        Labels in the labelling of each draw: apply `relabel` first for labels with the same meaning in all draws. -1 is
        noise.

    Raises
    ------
    InputError
        The posterior is not one of a mixture, or the rows are missing or do not match it.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import sample_labels
    >>> draws = {"w": np.full((2, 50, 2), 0.5), "mu": np.tile([-5.0, 5.0], (2, 50, 1)), "sd": np.ones((2, 50))}
    >>> names = {"weights": "w", "means": "mu", "sds": "sd"}
    >>> labels = sample_labels(draws, [[-5.0], [5.0], [0.0]], names=names, random_state=0)
    >>> labels.mean(["chain", "draw"]).round(1).to_numpy()
    array([0. , 1. , 0.5])
    """
    tree = mixture_posterior(posterior, X, names=names)
    data, sizes = data_of(tree, X), tree["posterior"].sizes
    shape = (sizes[SAMPLE_DIMS[0]], sizes[SAMPLE_DIMS[1]], data.shape[0])
    labels = np.empty((shape[0] * shape[1], shape[2]), dtype=np.int32)
    for s, drawn in enumerate(drawn_labels(draws_of(tree), data, rng=generator_of(random_state))):
        labels[s] = drawn
    coords = {dim: tree["posterior"][dim].to_numpy() for dim in SAMPLE_DIMS} | {OBS: row_ids(tree)}
    return xr.DataArray(labels.reshape(shape), coords, (*SAMPLE_DIMS, OBS), name="labels")


def drawn_labels(draws: Draws, data: Data, *, rng: np.random.Generator) -> Iterator[IntArray]:
    """Labels (obs,) drawn from the memberships of each draw, -1 for noise."""
    k = draws.weights.shape[1]
    for resp in group_memberships(draws, data):
        cumulative = resp.cumsum(axis=0)
        found = (rng.random(resp.shape[1]) * cumulative[-1] >= cumulative[:-1]).sum(axis=0)
        yield np.where(found == k, UNASSIGNED, found)


def row_ids(tree: xr.DataTree) -> NDArray[np.generic]:
    """Names of the rows stored with a posterior."""
    return tree["observed_data"][OBS].to_numpy()


def label_draws(
    labels_or_posterior: Posterior | ArrayLike,
    X: ArrayLike | Data | None = None,
    *,
    random_state: RandomState = None,
    names: Names = NO_NAMES,
) -> xr.DataArray:
    """Draws of a partition (chain, draw, obs) in canonical labels: those given, or drawn from a posterior.

    Arrays of labels are (draw, obs), read as one chain, or (chain, draw, obs). Rows labelled -1 are noise: one cluster
    of a draw, and a coordinate ``noise_share`` of each row.

    Raises
    ------
    InputError
        The argument is neither a posterior nor an integer array with these axes.
    """
    given = labels_or_posterior
    if not are_labels(given):
        drawn = sample_labels(given, X, random_state=random_state, names=names)
        drawn = drawn.assign_coords({dim: np.arange(drawn.sizes[dim]) for dim in SAMPLE_DIMS} | _noise_share(drawn))
        for labels in flat_draws(drawn):  # one by one: all at once would take four times their memory
            labels[:] = canonical_labels(labels)
        return drawn
    values = _label_values(given)
    ids = _coordinate(_samples_first(given), values.shape[-1])
    coords = {dim: np.arange(size) for dim, size in zip(SAMPLE_DIMS, values.shape[:2], strict=True)}
    coords |= {OBS: ids} | _noise_share(values)
    return xr.DataArray(canonical_labels(values), coords, (*SAMPLE_DIMS, OBS), name="labels")


def _noise_share(labels: Any) -> dict[str, Any]:
    """The share of draws in which each row is labelled -1, as a coordinate of the rows; none where no row ever is."""
    shares = (np.asarray(labels) == UNASSIGNED).mean(axis=(0, 1))
    return {NOISE_SHARE: (OBS, shares)} if shares.any() else {}


def _label_values(given: ArrayLike) -> NDArray[np.generic]:
    """Labels as they are given, (chain, draw, obs)."""
    values = _whole_numbers(_samples_first(given))
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise InputError(expected="labels with axes (draw, obs) or (chain, draw, obs)", got=f"shape {values.shape}")
    return values.reshape((-1, *values.shape[-2:]))


def _samples_first(given: ArrayLike) -> ArrayLike:
    """Labels with names of axes in the order of names, others as they are."""
    if isinstance(given, xr.DataArray) and set(SAMPLE_DIMS) <= set(given.dims):
        return given.transpose(*SAMPLE_DIMS, ...)
    return given


def are_labels(given: object) -> bool:
    """Whether an argument is an array of labels rather than a posterior."""
    return isinstance(given, xr.DataArray | np.ndarray | list | tuple)


def flat_draws(labels: xr.DataArray) -> Labels:
    """Draws of a partition, chains end to end, (draw, obs)."""
    return labels.to_numpy().reshape(-1, labels.shape[-1])


def _whole_numbers(given: ArrayLike) -> NDArray[np.generic]:
    values = np.asarray(given)
    whole = values.dtype.kind in "iub" or (
        values.dtype.kind == "f" and bool(np.isfinite(values).all() and (values == np.round(values)).all())
    )
    if not whole:
        raise InputError(expected="labels that are whole numbers", got=f"an array of {values.dtype}")
    return values.astype(np.int64) if values.dtype.kind in "fb" else values


def _coordinate(given: object, n: int) -> NDArray[np.generic]:
    known = isinstance(given, xr.DataArray) and given.dims[-1] in given.coords
    return given[given.dims[-1]].to_numpy() if known and isinstance(given, xr.DataArray) else np.arange(n)


def occupied_clusters(
    labels_or_posterior: Posterior | ArrayLike,
    X: ArrayLike | None = None,
    *,
    min_size: int = 1,
    random_state: RandomState = None,
    names: Names = NO_NAMES,
) -> xr.Dataset:
    r"""Posterior probabilities of the number of clusters that hold at least ``min_size`` rows.

    Labels are drawn for each draw, as `sample_labels` does; Monte Carlo standard errors are
    :math:`\sqrt{p (1 - p) / \mathrm{ESS}}` with the effective sample size of each indicator over the chains
    (Vehtari et al. 2021), so that disagreement between chains widens them.

    Parameters
    ----------
    labels_or_posterior : posterior, or array of int (draw, obs) or (chain, draw, obs)
        See `sample_labels`. Whether labels are aligned does not matter. Noise, labelled -1, is no cluster.
    X : (obs, feature), optional
    min_size : int
        At least one.
    random_state : int or Generator, optional
    names : mapping, optional

    Returns
    -------
    Dataset
        ``probability`` and ``mcse`` over ``n_clusters``, 0 to the number of components. An ``mcse`` is zero, and
        uninformative, if no draw or every draw has that number. ``number`` (chain, draw) is the number in each draw,
        ``change_rate`` (chain) the share of steps that change it, ``r_hat`` and ``ess`` its R-hat and effective sample
        size: chains that never change it reflect their start, not the posterior.

    Raises
    ------
    InputError
        ``min_size`` is below one, or the first argument is neither labels nor a posterior.

    Examples
    --------
    >>> from bayesgmm import occupied_clusters
    >>> occupied = occupied_clusters([[0, 0, 1], [0, 0, 0], [2, 1, 0], [1, 1, 2]])
    >>> occupied["probability"].to_numpy()
    array([0.  , 0.25, 0.5 , 0.25])
    >>> occupied_clusters([[0, 0, 1], [0, 0, 0], [2, 1, 0], [1, 1, 2]], min_size=2)["probability"].to_numpy()
    array([0.25, 0.75, 0.  , 0.  ])
    """
    check_whole(min_size=min_size)
    n_occupied, largest = _occupied(labels_or_posterior, X, min_size, generator_of(random_state), names)
    found = occupancy(n_occupied, largest)
    data = {
        "probability": (N_CLUSTERS, list(found.probability)),
        "mcse": (N_CLUSTERS, list(found.mcse)),
        "number": (SAMPLE_DIMS, n_occupied),
        "change_rate": (SAMPLE_DIMS[0], list(found.change_rate)),
        "r_hat": ((), found.r_hat),
        "ess": ((), found.ess),
    }
    return xr.Dataset(data, {N_CLUSTERS: np.arange(largest + 1)}, {"min_size": int(min_size)})


def _occupied(
    given: Posterior, X: ArrayLike | None, min_size: int, rng: np.random.Generator, names: Names
) -> tuple[IntArray, int]:
    """Number of clusters that hold enough rows, (chain, draw), and the largest possible number."""
    if are_labels(given):
        values = _label_values(given)
        labels = canonical_labels(values)
        largest = int(labels.max()) + 1
        labels[values == UNASSIGNED] = UNASSIGNED
        each = labels.reshape(-1, labels.shape[-1])
        return _large_clusters(iter(each), min_size).reshape(labels.shape[:2]), largest
    tree = mixture_posterior(given, X, names=names)
    weights = tree["posterior"]["weights"]
    drawn = drawn_labels(draws_of(tree), data_of(tree, X), rng=rng)
    return _large_clusters(drawn, min_size).reshape(weights.shape[:2]), weights.shape[2]


def _large_clusters(draws: Iterator[IntArray] | Iterator[Labels], min_size: int) -> IntArray:
    return np.array([(np.bincount(labels[labels >= 0], minlength=1) >= min_size).sum() for labels in draws])


def sparse_occupancy(tree: xr.DataTree, pooled: xr.DataTree, data: Data) -> Occupancy | None:
    """Posterior of the number of occupied components; None unless the prior is sparse.

    Probabilities are those of the resampled draws, if modes were combined.
    """
    prior = model_of(tree).prior
    if prior is None or not prior.sparse:
        return None
    own = _drawn_occupancy(tree, data)
    shares = own if pooled is tree else _drawn_occupancy(pooled, data)
    return replace(own, probability=shares.probability, mcse=shares.mcse)


def _drawn_occupancy(tree: xr.DataTree, data: Data) -> Occupancy:
    weights = tree["posterior"]["weights"]
    numbers = _large_clusters(drawn_labels(draws_of(tree), data, rng=np.random.default_rng(0)), 1)
    return occupancy(numbers.reshape(weights.shape[:2]), weights.shape[2])
