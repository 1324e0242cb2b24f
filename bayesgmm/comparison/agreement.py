"""Agreement of two fits about rows: partitions, calibration of memberships, accuracy against known classes."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from bayesgmm._common import Array, IntArray, PerRow, Responsibilities
from bayesgmm.comparison.estimates import Match
from bayesgmm.comparison.fits import Fit, FitPair
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.noise import noise_of
from bayesgmm.partitions import (
    contingency_table,
    estimate_partition,
    flat_draws,
    sample_labels,
    similarity_matrix,
    table_loss,
)

MOST_ROWS, MOST_DRAWS = 5_000, 500  # of a search for the best partition
MOST_PAIRED = 500  # rows whose pairs are looked at
EDGES = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)  # finer where a plug-in is too sure


@dataclass(frozen=True, repr=False, eq=False)
class Partitions:
    """Two partitions of the rows, by most probable component.

    If the components of a posterior are not identified, its partition minimizes the expected variation of information
    (`bayesgmm.estimate_partition`), with arbitrary labels.

    Attributes
    ----------
    labels : DataFrame
        The component of each row by either fit, -1 for noise.
    cross_table : DataFrame
        Total weight of the rows in each component of the first fit and each of the second.
    ari : float
        Adjusted Rand index (Hubert & Arabie 1985).
    vi : float
        Variation of information in bits (Meilă 2007).
    changed : array of int
        Rows whose clusters are not matched; clusters with arbitrary labels are matched by the rows they share.
    changed_weight : float
        Their total weight.
    """

    __module__ = "bayesgmm.comparison"

    labels: pd.DataFrame
    cross_table: pd.DataFrame
    ari: float
    vi: float
    changed: IntArray
    changed_weight: float


def partitions_of(
    fits: FitPair, resp: tuple[Responsibilities, Responsibilities], pairs: list[Match], *, seed: int
) -> Partitions:
    """Labels of both fits, crossed."""
    a, b = (_labels(fit, fits.data, own, seed) for fit, own in zip(fits, resp, strict=True))
    counts = contingency_table(a, b, weights=fits.data.weights, shape=[own.shape[1] for own in resp])
    names = [fit.name for fit in fits]
    index, columns = (_groups(fit, n) for n, fit in zip(counts.shape, fits, strict=True))
    partner = np.full(counts.shape[0], -1)
    if comparable(fits):
        partner[[pair.first for pair in pairs]] = [pair.second for pair in pairs]
        if all(-1 in each for each in (index, columns)):
            partner[index.get_loc(-1)] = columns.get_loc(-1)
    else:
        rows, own = linear_sum_assignment(-counts)
        partner[rows] = own
    changed = np.flatnonzero(partner[a] != b)
    return Partitions(
        labels=pd.DataFrame(
            {name: of[own] for name, of, own in zip(names, (index, columns), (a, b), strict=True)},
            index=pd.RangeIndex(len(a), name="obs"),
        ),
        cross_table=pd.DataFrame(counts, index, columns),
        ari=1.0 - table_loss(counts, loss="omari"),
        vi=table_loss(counts),
        changed=changed,
        changed_weight=float(fits.data.weights[changed].sum()),
    )


def _groups(fit: Fit, n: int) -> pd.Index:
    """Labels of n groups: components, and -1 for noise, which comes last."""
    labels = np.arange(n)
    k = fit.mixture.n_components
    return pd.Index(np.where((labels == n - 1) & (k < n) & _is_noisy(fit), -1, labels), name=fit.name)


def _is_noisy(fit: Fit) -> bool:
    return noise_of(fit.mixture)[0] is not None


def _labels(fit: Fit, data: Data, resp: Responsibilities, seed: int) -> IntArray:
    """The most probable component of each row, or where components are not identified the best partition."""
    if fit.tree is None or fit.identified or len(resp) > MOST_ROWS:
        labels: IntArray = resp.argmax(axis=1)
        return labels
    draws = flat_draws(sample_labels(fit.tree, data, random_state=seed))
    some = draws[:: max(1, len(draws) // MOST_DRAWS)]
    found = estimate_partition(some, random_state=seed, progress=False).labels.astype(np.int64)
    return np.where(found < 0, fit.mixture.n_components, found)


def comparable(fits: FitPair) -> bool:
    """Whether components of both fits are identified, and have a partner each."""
    k = [fit.mixture.n_components for fit in fits]
    return fits.first.identified and fits.second.identified and k[0] == k[1]


def calibration_table(
    fits: FitPair, resp: tuple[Responsibilities, Responsibilities], pairs: list[Match]
) -> pd.DataFrame:
    """Calibration: memberships of matched components binned by the first fit, with the means of both fits.

    If the second is a posterior, its means are the frequencies that the data support, averaged over what the
    parameters may be, and the first is calibrated where it gives the same. Where components are not identified or
    have no partner, it is the probability that two rows are in one cluster: it needs no labels.
    """
    if not comparable(fits):
        return _together(fits)
    p, q = (np.concatenate([each[:, pair.of(i)] for pair in pairs]) for i, each in enumerate(resp))
    weights = np.tile(fits.data.weights, len(pairs))
    names = [fit.name for fit in fits]
    return _binned(p, {names[0]: p, names[1]: q}, weights)


def _together(fits: FitPair) -> pd.DataFrame:
    """Calibration of the probability that two rows are in one cluster."""
    chosen = np.unique(np.linspace(0, fits.data.shape[0] - 1, min(fits.data.shape[0], MOST_PAIRED)).astype(np.int64))
    upper = np.triu_indices(len(chosen), 1)
    p, q = (_similarity(fit, fits, chosen)[upper] for fit in fits)
    v = fits.data.weights[chosen]
    names = [fit.name for fit in fits]
    table = _binned(p, {names[0]: p, names[1]: q}, (v[:, None] * v)[upper])
    return table.rename_axis("in one cluster")


def _similarity(fit: Fit, fits: FitPair, chosen: IntArray) -> Array:
    if fit.tree is None:
        resp = fit.memberships(fits.data.take(chosen))
        return resp @ resp.T
    return similarity_matrix(fit.tree, fits.data, rows=chosen).to_numpy()


def _binned(p: PerRow, means: dict[str, PerRow], weights: PerRow) -> pd.DataFrame:
    which = np.clip(np.searchsorted(EDGES, p, side="right") - 1, 0, len(EDGES) - 2)
    n = np.bincount(which, weights, minlength=len(EDGES) - 1)
    columns = {name: np.bincount(which, weights * v, minlength=len(n)) for name, v in means.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        table = pd.DataFrame({"n": n} | {name: total / n for name, total in columns.items()})
    table.index = pd.Index([f"{a:g} to {b:g}" for a, b in pairwise(EDGES)], name="membership")
    return table[table["n"] > 0]


@dataclass(frozen=True, repr=False, eq=False)
class Reliability:
    """Accuracy and calibration of memberships against known classes.

    Attributes
    ----------
    scores : DataFrame
        For each fit: the share of rows in the component of their class (``accuracy``), the mean probability of the
        most probable component (``confidence``), the mean log probability of the right one (``log_score``), the sum
        of squared errors over components (``brier``), and the mean distance of confidence from accuracy over bins
        (``calibration_error``).
    bins : DataFrame
        Rows by the probability of their most probable component: how many are right.
    """

    scores: pd.DataFrame
    bins: pd.DataFrame


def reliability_of(fits: FitPair, resp: tuple[Responsibilities, Responsibilities], classes: ArrayLike) -> Reliability:
    """Components matched to classes by optimal assignment; scores and calibration of their probabilities."""
    truth = checked_classes(classes, fits.data.shape[0])
    scores, bins = {}, {}
    for fit, own in zip(fits, resp, strict=True):
        scores[fit.name], bins[fit.name] = _against(own, truth, fits.data.weights)
    return Reliability(pd.DataFrame(scores).T, pd.concat(bins, names=["fit"]))


def checked_classes(classes: ArrayLike, n: int) -> IntArray:
    """Known classes of the rows, numbered from zero."""
    given = np.asarray(classes)
    if given.shape != (n,):
        raise InputError(expected=f"classes of shape ({n},), one for each row that counts", got=f"shape {given.shape}")
    numbers: IntArray = np.unique(given, return_inverse=True)[1].ravel()
    return numbers


def _against(resp: Responsibilities, truth: IntArray, weights: PerRow) -> tuple[dict[str, float], pd.DataFrame]:
    counts = contingency_table(resp.argmax(axis=1), truth, weights=weights, shape=(resp.shape[1], 1))
    component = np.full(counts.shape[1], -1)  # classes without a component have none
    rows, columns = linear_sum_assignment(-counts)
    component[columns] = rows
    own, top = component[truth], resp.max(axis=1)
    right = (resp.argmax(axis=1) == own).astype(np.float64)
    given = np.where(own >= 0, resp[np.arange(len(resp)), own], 0.0)
    squared = (resp**2).sum(axis=1) - 2.0 * given + 1.0
    share = weights / weights.sum()
    bins = _binned(top, {"confidence": top, "accuracy": right}, weights)
    n, sure, hits = (bins[name].to_numpy() for name in ("n", "confidence", "accuracy"))
    error = float(n @ np.abs(sure - hits)) / float(n.sum())
    log_score = float(share @ np.log(np.maximum(given, np.finfo(np.float64).tiny)))
    figures = {"accuracy": float(share @ right), "confidence": float(share @ top), "log_score": log_score}
    return figures | {"brier": float(share @ squared), "calibration_error": error}, bins
