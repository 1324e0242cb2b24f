"""The short summary of a posterior: its components if they are identified, or else the clusters of a partition."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from bayesgmm._common import Array, IntArray, PerRow, Rows
from bayesgmm.data import Data
from bayesgmm.diagnostics import CONVERGED, SUCCESSES, SWITCHED, Diagnosis
from bayesgmm.label_switching import Relabelling, relabel
from bayesgmm.mixture import Mixture
from bayesgmm.overview.messages import Step
from bayesgmm.overview.short_summary import LEVEL, SURE, Cluster, Overview, profiles
from bayesgmm.partitions import UNASSIGNED, Labels, PartitionEstimate, estimate_partition, flat_draws, sample_labels
from bayesgmm.posterior import CLUSTER, FEATURE, OBS, SAMPLE_DIMS, data_of, draws_of, mean_mixture
from bayesgmm.prediction import interval_over_draws, mean_probabilities, most_probable

_ROWS, _DRAWS = 5_000, 400  # that memberships are computed for
_PARTITIONED = 1_000  # rows that partitions are searched with


@dataclass(frozen=True)
class RowPartition:
    """The best single partition of some rows, and the drawn ones.

    Attributes
    ----------
    which : (obs,)
        Numbers of these rows.
    X : (obs, feature)
    drawn : (draw, obs)
        Labels, -1 for noise.
    estimate : PartitionEstimate
    """

    which: IntArray
    X: Rows
    drawn: Labels
    estimate: PartitionEstimate

    @cached_property
    def matched(self) -> IntArray:
        """The drawn cluster that most rows of each cluster are in, (draw, cluster), and in a last column noise."""
        labels = self.estimate.labels
        of_clusters = [[_commonest(row[labels == c]) for c in range(labels.max() + 1)] for row in self.drawn]
        return np.column_stack([np.array(of_clusters), np.full(len(self.drawn), UNASSIGNED)])

    def clusters(self) -> "RowClusters":
        """Each row with the share of draws in which it is where most of its cluster is."""
        labels = np.asarray(self.estimate.labels, dtype=np.int64)
        return RowClusters(self.which, self.X, labels, (self.drawn == self.matched[:, labels]).mean(axis=0))

    def sizes(self) -> IntArray:
        """Rows of these drawn clusters, (draw, cluster)."""
        own = self.matched[:, :-1]
        return np.array([np.bincount(row + 1)[found + 1] for row, found in zip(self.drawn, own, strict=True)])


def _commonest(labels: Labels) -> int:
    """The commonest label, which may be -1."""
    return int(np.bincount(labels + 1).argmax()) - 1


@dataclass(frozen=True)
class RowClusters:
    """Clusters of some rows.

    Attributes
    ----------
    which : (obs,)
        Numbers of these rows.
    X : (obs, feature)
    labels : (obs,)
        The most probable cluster of each, -1 for noise.
    proba : (obs,)
        Its probability, or for a partition see `RowPartition.clusters`.
    """

    which: IntArray
    X: Rows
    labels: IntArray
    proba: PerRow


def in_common_labels(tree: xr.DataTree, record: Relabelling | None, found: Diagnosis) -> xr.DataTree:
    """The posterior; relabelled if labels switched between components that are identified."""
    switched = found.verdict == SWITCHED and record is not None and record.identified
    return relabel(tree, progress=False) if switched else tree


def is_labelled(record: Relabelling | None) -> bool:
    """Whether components are identified, so that each is a cluster."""
    return record is None or record.identified


def row_partition(tree: xr.DataTree) -> RowPartition:
    """The partition of at most 1,000 rows with the least expected variation of information over 400 draws."""
    which, data = _some(tree, _PARTITIONED)
    sizes, seed = tree["posterior"].sizes, int(tree.attrs.get("seed", 0))
    step = -(-sizes["chain"] * sizes["draw"] // _DRAWS)
    draws, rows = (tree[name].to_dataset() for name in ("posterior", "observed_data"))
    thinned = {"posterior": draws.isel(draw=slice(None, None, step)), "observed_data": rows.isel({OBS: which})}
    if "constant_data" in tree.children:
        constants = tree["constant_data"].to_dataset()
        thinned["constant_data"] = constants.isel({OBS: which}) if OBS in constants.dims else constants
    some = xr.DataTree.from_dict(thinned)
    some.attrs = dict(tree.attrs)
    drawn = flat_draws(sample_labels(some, random_state=seed))
    return RowPartition(which, data.entries, drawn, estimate_partition(drawn, random_state=seed, progress=False))


def row_clusters(tree: xr.DataTree) -> RowClusters:
    """The most probable component of at most 5,000 rows, for components that are identified."""
    which, data = _some(tree, _ROWS)
    draws = draws_of(tree).thinned(_DRAWS)
    proba = mean_probabilities(draws, data)
    return RowClusters(which, data.entries, most_probable(draws, proba), proba.max(axis=1))


def _some(tree: xr.DataTree, most: int) -> tuple[IntArray, Data]:
    """Numbers of evenly spaced rows, and these rows."""
    data = data_of(tree)
    which = np.arange(0, data.shape[0], -(-data.shape[0] // most))
    return which, data.take(which)


# ---- the summary


def overview_of(
    tree: xr.DataTree,
    record: Relabelling | None,
    found: Diagnosis,
    *,
    p_value: float | None = None,
    rows: RowClusters | None = None,
    partition: RowPartition | None = None,
) -> Overview:
    """Sizes and profiles of the clusters of a posterior, its verdict and what to do next.

    Parameters
    ----------
    tree : DataTree
        In common labels, see `in_common_labels`.
    record : Relabelling or None
        Whether components are identified; None where there is nothing to relabel.
    found : Diagnosis
    p_value : float, optional
        Of the hypothesis of a Gaussian mixture.
    rows, partition : optional
        Results of `row_clusters` and `row_partition`, if they are known.
    """
    labelled = is_labelled(record)
    if labelled:
        rows = rows or row_clusters(tree)
        clusters = _components(tree, rows)
    else:
        partition = partition or row_partition(tree)
        rows = partition.clusters()
        clusters = _partitioned(tree, partition)
    uncertain = int((rows.proba < SURE).sum())
    return Overview(
        clusters=clusters,
        n_components=tree["posterior"].sizes[CLUSTER],
        n_rows=round(data_of(tree).total),
        verdict=found.verdict,
        by_partition=not labelled,
        uncertain=uncertain,
        n_judged=len(rows.labels),
        p_value=p_value,
        next_step=_next_step(found, p_value, uncertain),
        noise=float(tree["posterior"]["noise_weight"].mean()) if "noise_weight" in tree["posterior"] else 0.0,
    )


def _next_step(found: Diagnosis, p_value: float | None, uncertain: int) -> str:
    if found.verdict not in SUCCESSES:
        return found.next_steps[0]
    if p_value is None:
        return Step.CHECK.value
    if p_value <= LEVEL:
        return Step.SELECT.value
    return Step.UNCERTAIN.value if found.verdict == CONVERGED and uncertain else found.next_steps[0]


def _components(tree: xr.DataTree, rows: RowClusters) -> tuple[Cluster, ...]:
    mean: Mixture = mean_mixture(tree)
    weights = tree["posterior"]["weights"].transpose(*SAMPLE_DIMS, ...).to_numpy()
    bounds = interval_over_draws(None, None)(weights.reshape(-1, mean.n_components).T)
    sds = np.sqrt(np.diagonal(mean.full_covariances, axis1=-2, axis2=-1))
    sizes = np.bincount(rows.labels[rows.labels >= 0], minlength=mean.n_components)
    return _listed(tree, mean.weights, bounds, mean.means, sds=sds, sizes=sizes, n_judged=len(rows.labels))


def _partitioned(tree: xr.DataTree, partition: RowPartition) -> tuple[Cluster, ...]:
    labels, n = partition.estimate.labels, len(partition.which)
    sizes = np.bincount(labels[labels >= 0])
    bounds = interval_over_draws(None, None)(partition.sizes().T / n)
    parts = [partition.X[labels == c] for c in range(len(sizes))]
    means, sds = (np.array([statistic(part, axis=0) for part in parts]) for statistic in (np.nanmean, np.nanstd))
    return _listed(tree, sizes / n, bounds, means, sds=sds, sizes=sizes, n_judged=n)


def _listed(
    tree: xr.DataTree, shares: Array, bounds: Array, means: Array, *, sds: Array, sizes: IntArray, n_judged: int
) -> tuple[Cluster, ...]:
    """Records of clusters; their numbers of rows only if all rows were looked at."""
    data, names = data_of(tree), [str(name) for name in tree["posterior"][FEATURE].to_numpy()]
    found = profiles(shares / shares.sum(), means, sds, names=names, n_rows=data.total)
    whole = n_judged == data.shape[0]
    return tuple(
        Cluster(
            name=str(k),
            share=float(shares[k]),
            lower=float(bounds[k, 0]),
            upper=float(bounds[k, 1]),
            n_rows=int(sizes[k]) if whole else None,
            apart=found[k][0],
            profile=found[k][1],
        )
        for k in range(len(shares))
    )
