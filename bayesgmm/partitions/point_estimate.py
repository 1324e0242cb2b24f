"""Point estimate and credible ball of the partition."""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import PATIENCE, Array, counted, progress_bar
from bayesgmm.exceptions import InputError
from bayesgmm.partitions.allocations import NOISE_SHARE, UNASSIGNED, RandomState, flat_draws, label_draws
from bayesgmm.partitions.partition_losses import Labels, canonical_labels, find_loss, losses, sizes_told
from bayesgmm.partitions.salso import N_RUNS, N_ZEALOUS, SalsoSettings, salso
from bayesgmm.posterior import NO_NAMES, Names, Posterior
from bayesgmm.validation import check_flag, check_number, check_whole, generator_of

_MOSTLY = 0.5  # share of draws
_ROUNDING = 1e-10  # distances closer than this are the same


@dataclass(frozen=True, repr=False)
class PartitionEstimate:
    """The partition with the least posterior expected loss found.

    Attributes
    ----------
    labels : (obs,) of int32
        0, 1, ... by first appearance, -1 for noise: the cluster whose rows most often are noise, if they are in more
        than half of the draws.
    expected_loss : float
        Mean loss over draws; VI in bits.
    loss : str
    a : float
    n_runs : int
    n_best : int
        Number of runs that ended at this loss. If few did, the search is hard: increase ``n_runs``.
    """

    __module__ = "bayesgmm.partitions"

    labels: Labels
    expected_loss: float
    loss: str
    a: float
    n_runs: int
    n_best: int

    @property
    def n_clusters(self) -> int:
        """Number of clusters; noise is none."""
        return int(self.labels.max()) + 1

    def __repr__(self) -> str:
        rows, clusters = counted(len(self.labels), "row"), counted(self.n_clusters, "cluster")
        return (
            f"Partition of {rows} into {clusters}, of {sizes_told(self.labels)}; "
            f"expected loss {self.expected_loss:.3g} ({self.loss}), the end of {self.n_best} of {self.n_runs} runs"
        )


def estimate_partition(
    labels_or_posterior: Posterior | ArrayLike,
    X: ArrayLike | None = None,
    *,
    loss: str = "vi",
    a: float = 1.0,
    n_runs: int = N_RUNS,
    max_clusters: int | None = None,
    n_zealous: int = N_ZEALOUS,
    random_state: RandomState = None,
    names: Names = NO_NAMES,
    progress: bool = True,
) -> PartitionEstimate:
    r"""Search for the partition with the least posterior expected loss, by SALSO.

    .. math:: \hat c = \arg\min_c \frac1S \sum_s L(c_s, c)

    with L the variation of information in bits, Binder's loss (2 / n² times the pairs in disagreement), or one minus
    the adjusted Rand index; for formulas see `bayesgmm.partitions.partition_losses`.

    Parameters
    ----------
    labels_or_posterior : posterior, or array of int (draw, obs) or (chain, draw, obs)
        Draws of a partition, or a posterior, from which `sample_labels` draws them. Labels need not be aligned.
    X : (obs, feature), optional
        The rows; by default those stored with the posterior.
    loss : {"vi", "binder", "omari"}
    a : float
        Between 0 and 2: the cost of separating rows that belong together, against 2 - a for joining rows that do not.
        Small values give more clusters. For VI and Binder.
    n_runs : int
        Number of searches from different starts.
    max_clusters : int, optional
        By default the largest number of clusters in any draw.
    n_zealous : int
        Largest number of clusters that are destroyed and reallocated at the end of a run.
    random_state : int or Generator, optional
    names : mapping, optional
        Names of the posterior's variables.
    progress : bool
        Show a progress bar in a terminal or notebook.

    Returns
    -------
    PartitionEstimate

    Raises
    ------
    InputError
        A setting is out of range, or the first argument is neither labels nor a posterior.

    Notes
    -----
    Memory: 4 bytes for each label of each draw, and 8 for each cluster of each draw times ``max_clusters``.

    Draws with more than 20 million labels in all, as 4,000 draws of 20,000 rows, are searched by an evenly spaced
    subset of that size; the expected losses of the partitions that the runs find, by which the best is chosen and which
    is reported, are over all draws.

    References
    ----------
    Dahl, Johnson & Müller 2022, Journal of Computational and Graphical Statistics 31, 1189-1201. Wade & Ghahramani
    2018, Bayesian Analysis 13, 559-626 (VI). Fritsch & Ickstadt 2009, Bayesian Analysis 4, 367-391 (adjusted Rand).

    Examples
    --------
    >>> from bayesgmm import estimate_partition
    >>> estimate = estimate_partition([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]], random_state=0)
    >>> estimate.labels.tolist(), estimate.n_clusters, estimate.n_best
    ([0, 0, 0, 1, 1], 2, 16)
    >>> print(f"{estimate.expected_loss:.3f} bits")
    0.367 bits
    """
    rng = generator_of(random_state)
    find_loss(loss, a)
    check_whole(n_runs=n_runs)
    check_whole(least=0, n_zealous=n_zealous)
    check_whole(optional=True, max_clusters=max_clusters)
    check_flag(progress=progress)
    labels = label_draws(labels_or_posterior, X, random_state=rng, names=names)
    draws = flat_draws(labels)
    limit = _most_clusters(draws, max_clusters)
    settings = SalsoSettings(loss=loss, a=a, n_runs=n_runs, max_clusters=limit, n_zealous=n_zealous)
    with progress_bar("Searching partitions", show=progress, patience=PATIENCE) as move:
        found = salso(draws, settings, rng=rng, callback=move)
    estimate = _with_noise(found.labels, labels)
    return PartitionEstimate(estimate, found.expected_loss, loss, a, n_runs, found.n_best)


def _with_noise(estimate: Labels, drawn: xr.DataArray) -> Labels:
    """The partition with -1 for the cluster that is noise in more than half of the draws, if there is one."""
    if NOISE_SHARE not in drawn.coords:
        return estimate
    shares = np.bincount(estimate, drawn[NOISE_SHARE].to_numpy()) / np.bincount(estimate)
    noise = estimate == shares.argmax()
    if shares.max() <= _MOSTLY:
        return estimate
    marked = np.full_like(estimate, UNASSIGNED)
    if not noise.all():
        marked[~noise] = canonical_labels(estimate[~noise])
    return marked


def _most_clusters(draws: Labels, max_clusters: int | None) -> int:
    if max_clusters is None:
        return int(draws.max()) + 1
    return min(int(max_clusters), draws.shape[1])


def partition_loss(truth: ArrayLike, estimate: ArrayLike, *, loss: str = "vi", a: float = 1.0) -> float | Array:
    r"""The loss of estimating one partition by another.

    Parameters
    ----------
    truth : (obs,) of int, or draws (draw, obs) or (chain, draw, obs)
    estimate : (obs,) of int
    loss : {"vi", "binder", "omari"}
        Variation of information in bits, Binder's loss, or one minus the adjusted Rand index; for formulas see
        `bayesgmm.partitions.partition_losses`. The first two are metrics at a = 1.
    a : float
        Between 0 and 2: the cost of separating rows that are together in the truth, against 2 - a for joining others.

    Returns
    -------
    float, or array with the axes of draws

    Raises
    ------
    InputError
        The numbers of rows differ, labels are not integers, or the loss is unknown.

    Examples
    --------
    >>> from bayesgmm import partition_loss
    >>> partition_loss([0, 0, 1, 1], [5, 5, 5, 5]), partition_loss([0, 0, 1, 1], [0, 1, 0, 1])
    (1.0, 2.0)
    >>> partition_loss([[0, 0, 1, 1], [0, 1, 0, 1]], [0, 0, 1, 1], loss="omari")
    array([0. , 1.5])
    """
    find_loss(loss, a)
    given = np.asarray(truth)
    draws = label_draws(given[None] if given.ndim == 1 else given)
    values = losses(flat_draws(draws), _one_partition(estimate, draws.shape[-1]), loss=loss, a=a)
    return float(values[0]) if given.ndim == 1 else values.reshape(given.shape[:-1])


def _one_partition(labels: ArrayLike, n: int) -> Labels:
    """The canonical labels (obs,) of one partition of n rows."""
    given = np.asarray(labels)
    if given.shape != (n,):
        raise InputError(expected=f"labels of {n} rows", got=f"shape {given.shape}")
    return label_draws(given[None]).to_numpy()[0, 0]


@dataclass(frozen=True, repr=False)
class CredibleBall:
    """Ball of partitions around an estimate with a given posterior probability, and its extremes.

    The extremes are arrays (partition, obs): all equally extreme draws, each distinct partition once.

    Attributes
    ----------
    prob : float
        Requested probability.
    coverage : float
        Share of draws inside, at least ``prob``.
    radius : float
        In units of the loss; VI in bits.
    loss : str
    horizontal : (partition, obs) of int32
        Partitions in the ball farthest from the estimate.
    upper : (partition, obs) of int32
        Partitions in the ball with the fewest clusters; of these the farthest.
    lower : (partition, obs) of int32
        Partitions in the ball with the most clusters; of these the farthest.
    horizontal_loss, upper_loss, lower_loss : float
        Distances from the estimate.
    """

    __module__ = "bayesgmm.partitions"

    prob: float
    coverage: float
    radius: float
    loss: str
    horizontal: Labels
    upper: Labels
    lower: Labels
    horizontal_loss: float
    upper_loss: float
    lower_loss: float

    def __repr__(self) -> str:
        bounds = [
            f"{name} {counted(int(labels[0].max()) + 1, 'cluster')} at {reach:.3g}"
            for name, labels, reach in (
                ("horizontal", self.horizontal, self.horizontal_loss),
                ("upper", self.upper, self.upper_loss),
                ("lower", self.lower, self.lower_loss),
            )
        ]
        return f"Ball of {self.coverage:.0%} of the draws within {self.radius:.3g} ({self.loss}): {', '.join(bounds)}"


def credible_ball(
    estimate: PartitionEstimate | ArrayLike,
    labels_or_posterior: Posterior | ArrayLike,
    X: ArrayLike | None = None,
    *,
    prob: float = 0.95,
    loss: str = "vi",
    random_state: RandomState = None,
    names: Names = NO_NAMES,
) -> CredibleBall:
    r"""The smallest ball of partitions around an estimate with a given posterior probability.

    .. math:: \varepsilon^* = \min\{\varepsilon : P(d(\hat c, c) \le \varepsilon \mid X) \ge p\}

    Parameters
    ----------
    estimate : PartitionEstimate, or (obs,) of int
        The centre.
    labels_or_posterior : posterior, or array of int (draw, obs) or (chain, draw, obs)
        Draws of the partition, as in `estimate_partition`.
    X : (obs, feature), optional
    prob : float
        Above 0, at most 1.
    loss : {"vi", "binder", "omari"}
        The distance; ``omari`` is not a metric.
    random_state : int or Generator, optional
    names : mapping, optional

    Returns
    -------
    CredibleBall

    Raises
    ------
    InputError
        The estimate and the draws have different rows, ``prob`` is out of range, or the loss is unknown.

    References
    ----------
    Wade & Ghahramani 2018, Bayesian Analysis 13, 559-626, section 4.

    Examples
    --------
    >>> from bayesgmm import credible_ball
    >>> draws = [[0, 0, 1, 1]] * 17 + [[0, 0, 0, 0]] * 2 + [[0, 1, 2, 3]]
    >>> ball = credible_ball([0, 0, 1, 1], draws, prob=0.9)
    >>> ball.radius, ball.coverage, ball.upper.tolist(), ball.lower.tolist()
    (1.0, 1.0, [[0, 0, 0, 0]], [[0, 1, 2, 3]])
    """
    find_loss(loss)
    check_number(least=0.0, most=1.0, closed="right", prob=prob)
    rng = generator_of(random_state)
    draws = flat_draws(label_draws(labels_or_posterior, X, random_state=rng, names=names))
    centre = estimate.labels if isinstance(estimate, PartitionEstimate) else estimate
    distances = losses(draws, _one_partition(centre, draws.shape[1]), loss=loss)
    radius = np.sort(distances)[math.ceil(prob * len(draws) - _ROUNDING) - 1]
    inside = distances <= radius + _ROUNDING
    n_clusters = draws.max(axis=1) + 1
    fewest, most = n_clusters[inside].min(), n_clusters[inside].max()
    chosen = (inside, inside & (n_clusters == fewest), inside & (n_clusters == most))
    bounds, reach = zip(*(_farthest(draws, distances, among) for among in chosen), strict=True)
    return CredibleBall(prob, float(inside.mean()), float(radius), loss, *bounds, *reach)


def _farthest(draws: Labels, distances: Array, among: np.ndarray) -> tuple[Labels, float]:
    """The most distant partitions among some draws, each once, and their distance."""
    reach = distances[among].max()
    return np.unique(draws[among & (distances >= reach - _ROUNDING)], axis=0), float(reach)
