"""Identifiability of the components of a relabelled posterior: clarity of permutations, agreement of methods."""

import warnings
from dataclasses import dataclass
from math import log

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans

from bayesgmm._common import Array, IntArray
from bayesgmm.label_switching.methods import Options, component_features, log_scores, permutations, stephens_costs
from bayesgmm.label_switching.search import Memberships, among_alike, share_agreeing
from bayesgmm.mixture import Mixture

CLEAR_MARGIN = log(20.0)  # nats: the second best permutation is 20 times less plausible
# Calibrated on 33 posteriors. True components (Old Faithful, Iris with a concentration of 200, equal means with
# different variances, two clusters 3 sd apart, three of galaxies): shares below 0.05, stability above 0.87. One too
# many, or clusters 2 sd apart: stability below 0.69.
MAX_SHARE = 0.1  # share of draws with a problem, for each of them
MIN_STABILITY = 0.8


@dataclass(frozen=True)
class Relabelling:
    r"""Record of a relabelled posterior: method, and identifiability of its components.

    Attributes
    ----------
    method : str
    unclear_share : float
        Share of draws for which another permutation is nearly as good: by less than log 20 nats of Stephens's loss.
    no_permutation_share : float
        Share of draws whose K components, by k-means on means and log standard deviations of all draws' components,
        do not fall into K different groups (Frühwirth-Schnatter 2006).
    empty_share : float
        Share of draws in which a component has an expected size below one row, so that only the prior determines it.
    stability : float
        The least, over components, of :math:`\sum_i q_{ik}^2 / \sum_i \overline{p_{ik}^2}`, where q is the mean of the
        relabelled memberships p: 1 if a component has the same rows in all draws (sharply or not), else small.
    agreement : float
        Share of draws to which ``second_method`` gives the same permutation, up to one relabelling of all draws.
    second_method : str
    n_sweeps : int
        Passes over the draws from the best start.
    cost : float
        Stephens's loss of the relabelled draws, in nats per draw, for every method; lower is better.
    clash_share : float, optional
        Pivotal units only: share of draws in which two pivots belong to one component.
    """

    method: str
    unclear_share: float
    no_permutation_share: float
    empty_share: float
    stability: float
    agreement: float
    second_method: str
    n_sweeps: int
    cost: float
    clash_share: float | None = None

    @property
    def identified(self) -> bool:
        """Whether summaries of single components are meaningful: no bad share above 0.1, stability at least 0.8."""
        shares = (self.unclear_share, self.no_permutation_share, self.empty_share, 1.0 - self.agreement)
        return max(shares) <= MAX_SHARE and self.stability >= MIN_STABILITY

    @property
    def findings(self) -> list[str]:
        """Reasons why components are not identified, one sentence each."""
        found = []
        if self.unclear_share > MAX_SHARE:
            found.append(f"In {self.unclear_share:.0%} of the draws another permutation of labels is nearly as good.")
        if self.no_permutation_share > MAX_SHARE:
            found.append(
                f"In {self.no_permutation_share:.0%} of the draws the components form fewer groups than there are "
                "components: some are duplicated."
            )
        if self.empty_share > MAX_SHARE:
            found.append(f"In {self.empty_share:.0%} of the draws a component has less than one expected row.")
        if self.stability < MIN_STABILITY:
            found.append(f"A component is unstable: between draws its rows agree to {self.stability:.0%} only.")
        if self.clash_share is not None and self.clash_share > MAX_SHARE:
            found.append(f"In {self.clash_share:.0%} of the draws two pivots belong to one component.")
        if 1.0 - self.agreement > MAX_SHARE:
            found.append(
                f"The methods {self.method} and {self.second_method} agree on {self.agreement:.0%} of the draws only."
            )
        return found


def relabelled(
    memberships: Memberships, method: str, *, options: Options, reference: Mixture | None
) -> tuple[IntArray, Array, Relabelling]:
    """Permutations (sample, cluster), margins (sample,) in nats, and the record."""
    found = permutations(memberships, method, options, reference)
    second = "stephens" if method == "optimal-assignment" else "optimal-assignment"
    other = permutations(memberships, second, Options(), reference)
    clear = clarity(memberships, found.permutation)
    record = Relabelling(
        method=method,
        unclear_share=float((clear.margin < CLEAR_MARGIN).mean()),
        no_permutation_share=share_without_permutation(component_features(memberships.draws), found.permutation),
        empty_share=float((clear.smallest < 1.0).mean()),
        stability=clear.stability,
        agreement=share_agreeing(found.permutation, other.permutation),
        second_method=second,
        n_sweeps=found.n_sweeps,
        cost=float(clear.loss.mean()),
        clash_share=found.clash_share,
    )
    return found.permutation, clear.margin, record


@dataclass(frozen=True)
class Clarity:
    """Clarity of permutations.

    Attributes
    ----------
    loss, margin : (sample,)
        Stephens's loss of each draw, and the additional loss of the second best permutation, in nats.
    smallest : (sample,)
        Expected number of rows in the smallest cluster.
    stability : float
        See `Relabelling`.
    """

    loss: Array
    margin: Array
    smallest: Array
    stability: float


def clarity(memberships: Memberships, permutation: IntArray) -> Clarity:
    """Clarity of the permutations (sample, cluster), in two passes over the draws."""
    mean, squares = mean_memberships(memberships, permutation)
    stability = ((mean**2).sum(axis=1) / np.maximum(squares, np.finfo(np.float64).tiny)).min()
    log_q = log_scores(mean)
    loss, margin, smallest = np.empty((3, len(permutation)))
    for s, (_, resp) in enumerate(memberships):
        costs = stephens_costs(resp, log_q)
        loss[s] = costs[permutation[s], np.arange(len(costs))].sum()
        margin[s] = margin_of(among_alike(costs, memberships.alike), permutation[s])
        smallest[s] = resp.sum(axis=1).min()
    return Clarity(loss, margin, smallest, float(stability))


def mean_memberships(memberships: Memberships, permutation: IntArray) -> tuple[Array, Array]:
    """Means over relabelled draws of memberships (cluster, obs), and of their sums of squares (cluster,)."""
    mean = np.zeros_like(memberships.of_draw(0))
    squares = np.zeros(len(mean))
    for order, (_, resp) in zip(permutation, memberships, strict=True):
        own = np.einsum(
            "ki,ki->k", resp, resp
        )  # a product of BLAS starts threads for each draw, at a multiple of the cost
        for k, component in enumerate(order):
            mean[k] += resp[component]
            squares[k] += own[component]
    return mean / len(permutation), squares / len(permutation)


def margin_of(costs: Array, used: IntArray) -> float:
    """Additional cost of the second best permutation; infinite if there is none, as with one component.

    Any other permutation lacks at least one of the pairs used: each pair is forbidden in turn.
    """
    labels = np.arange(len(costs))
    others = [np.inf]
    for k in labels[np.isfinite(costs).sum(axis=0) > 1]:
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
        warnings.filterwarnings("ignore", "Number of distinct clusters")  # constant draws
        groups = KMeans(n_clusters, init=centres, n_init=1).fit_predict(features.reshape(-1, features.shape[-1]))
    found = np.sort(groups.reshape(len(features), n_clusters), axis=1)
    return float((found != np.arange(n_clusters)).any(axis=1).mean())
