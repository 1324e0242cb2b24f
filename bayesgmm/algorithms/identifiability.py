"""Whether the components of a relabelled posterior mean something: clarity of each draw, and agreement of methods."""

import warnings
from dataclasses import dataclass
from math import log

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans

from bayesgmm.algorithms.relabelling import (
    ALL,
    Found,
    Options,
    SampledMixture,
    component_features,
    log_scores,
    permutations,
    share_agreeing,
    stephens_costs,
)
from bayesgmm.ground.mixture import Mixture
from bayesgmm.words.arrays import Array, IntArray

CLEAR_MARGIN = log(20.0)  # nats: the next best permutation is 20 times less plausible
MAX_UNCLEAR = 0.1
MAX_WITHOUT_PERMUTATION = 0.1
MAX_CLASHES = 0.1


@dataclass(frozen=True)
class Relabelling:
    """How a posterior was relabelled, and whether its components are identified.

    Attributes
    ----------
    method : str
    unclear_share : float
        Share of draws for which another permutation is nearly as good: by less than log 20 nats of Stephens's loss.
    no_permutation_share : float
        Share of draws whose K components, by k-means on means and log standard deviations of all draws' components,
        do not fall into K different groups (Frühwirth-Schnatter 2006).
    agreement : float
        Share of draws to which ``second_method`` gives the same permutation, global labels aside.
    second_method : str
    n_sweeps : int
        Passes over the draws from the best start.
    cost : float
        Stephens's loss of the relabelled draws, nats a draw; lower is better, whatever the method.
    clash_share : float, optional
        Pivotal units only: share of draws in which two pivots belong to one component.
    """

    method: str
    unclear_share: float
    no_permutation_share: float
    agreement: float
    second_method: str
    n_sweeps: int
    cost: float
    clash_share: float | None = None

    @property
    def identified(self) -> bool:
        """Whether summaries of single components mean something."""
        return self.unclear_share <= MAX_UNCLEAR and self.no_permutation_share <= MAX_WITHOUT_PERMUTATION

    @property
    def findings(self) -> list[str]:
        """What stands against the components, one sentence each; empty if nothing does."""
        found = []
        if self.unclear_share > MAX_UNCLEAR:
            found.append(f"In {self.unclear_share:.0%} of the draws another permutation of labels is nearly as good.")
        if self.no_permutation_share > MAX_WITHOUT_PERMUTATION:
            found.append(
                f"In {self.no_permutation_share:.0%} of the draws the components do not fall into as many groups as "
                "there are components: some are empty, doubled or elsewhere."
            )
        if self.clash_share is not None and self.clash_share > MAX_CLASHES:
            found.append(f"In {self.clash_share:.0%} of the draws two pivots belong to one component.")
        if 1.0 - self.agreement > MAX_UNCLEAR:
            found.append(f"{self.method} and {self.second_method} agree on {self.agreement:.0%} of the draws only.")
        return found


def relabelled(
    sampled: SampledMixture, method: str, *, options: Options, reference: Mixture | None
) -> tuple[IntArray, Array, Relabelling]:
    """Permutations (sample, cluster), margins (sample,) in nats, and the record."""
    found = permutations(sampled, method, options, reference)
    second = "stephens" if method == "optimal-assignment" else "optimal-assignment"
    other = permutations(sampled, second, Options(), reference)
    cost, margin = clarity(sampled, found.permutation)
    return found.permutation, margin, _record(sampled, found, method, other, second, cost, margin)


def _record(
    sampled: SampledMixture, found: Found, method: str, other: Found, second: str, cost: float, margin: Array
) -> Relabelling:
    return Relabelling(
        method=method,
        unclear_share=float((margin < CLEAR_MARGIN).mean()),
        no_permutation_share=share_without_permutation(component_features(sampled), found.permutation),
        agreement=share_agreeing(found.permutation, other.permutation),
        second_method=second,
        n_sweeps=found.n_sweeps,
        cost=cost,
        clash_share=found.clash_share,
    )


def clarity(sampled: SampledMixture, permutation: IntArray) -> tuple[float, Array]:
    """Stephens's loss a draw, and how much more the best other permutation of each draw costs (sample,)."""
    mean = np.zeros_like(sampled.memberships_of(0))
    for order, (_, resp) in zip(permutation, sampled.memberships(ALL, ALL), strict=True):
        mean += resp[order]
    log_q = log_scores(mean / len(sampled))
    margin, total = np.empty(len(sampled)), 0.0
    for s, (_, resp) in enumerate(sampled.memberships(ALL, ALL)):
        costs = stephens_costs(resp, log_q)
        margin[s] = margin_of(costs, permutation[s])
        total += costs[permutation[s], np.arange(len(costs))].sum()
    return float(total / len(sampled)), margin


def margin_of(costs: Array, used: IntArray) -> float:
    """What the best other permutation costs more than the one used; infinite with one component.

    Another permutation lacks at least one of the pairs used: forbid each in turn.
    """
    labels = np.arange(len(costs))
    if len(labels) == 1:
        return np.inf
    others = []
    for k in labels:
        table = costs.copy()
        table[used[k], k] = np.inf
        component, label = linear_sum_assignment(table)
        others.append(costs[component, label].sum())
    return float(min(others) - costs[used, labels].sum())


def share_without_permutation(features: Array, permutation: IntArray) -> float:
    """Share of draws whose components do not fall into K different groups of k-means, started at the labels' means.

    Parameters
    ----------
    features : (sample, component, feature)
    permutation : (sample, cluster)
    """
    n_clusters = permutation.shape[1]
    centres = np.take_along_axis(features, permutation[..., None], axis=1).mean(axis=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of distinct clusters")  # draws that never move
        groups = KMeans(n_clusters, init=centres, n_init=1).fit_predict(features.reshape(-1, features.shape[-1]))
    found = np.sort(groups.reshape(len(features), n_clusters), axis=1)
    return float((found != np.arange(n_clusters)).any(axis=1).mean())
