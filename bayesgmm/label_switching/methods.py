r"""Relabelling methods: for each draw of a mixture the permutation of labels that fits all draws best.

Samplers marginalize labels, so there are no allocations: the methods use membership probabilities
:math:`p_{ij}` (row i, component j) or the parameters. Memberships of all draws are never held at once: every sweep
recomputes them, draw by draw, and returns one table of costs (component, label) per draw.

Iterative methods have several starts: the labels as they are, and a few draws of high and medium log-likelihood, a
label-invariant choice. Later starts, steps and other permutations of a draw are accepted only if they improve the
cost by more than rounding, so relabelling is idempotent.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bayesgmm._common import Array, Covariances, IntArray, Means, Weights
from bayesgmm.label_switching.search import (
    ALL,
    ROUNDING,
    TINY,
    Found,
    SampledMixture,
    Start,
    Sweep,
    assign,
    assign_all,
    better,
    descend,
    mixture_of,
    search,
    total_cost,
)
from bayesgmm.mixture import Mixture, divergences
from bayesgmm.validation import check_option

_LOWEST = 1e-100  # mean memberships below it are rounding: the kernel flushes responsibilities below exp(-200)
_ENOUGH_ROWS = 2_000  # to choose between starts
_ONE = 1.0 - 1e-12  # Fisher's transform of a correlation stays finite
_SAMPLES_AT_ONCE = 1_000  # in what holds (sample, component, label, feature, feature)


@dataclass(frozen=True)
class Options:
    """Options of single methods.

    Attributes
    ----------
    by : int or "weight"
        Sort key of ``ordering``: the mean of a feature, or the weight.
    divergence : {"kl", "wasserstein"}
        Between components, for ``optimal-assignment``.
    """

    by: int | str = 0
    divergence: str = "kl"


# ---- methods on memberships


def stephens_costs(resp: Array, log_q: Array) -> Array:
    r"""Stephens's costs (component, label): :math:`c_{jk} = \sum_i p_{ij} (\log p_{ij} - \log q_{ik})`, in nats.

    Parameters
    ----------
    resp, log_q : (cluster, obs)
        p of one draw, and `log_scores` of q, the mean of p over relabelled draws. A term with p = 0 is 0.
    """
    entropy = np.where(resp > 0, resp * np.log(np.maximum(resp, TINY)), 0.0).sum(axis=1)
    return entropy[:, None] - resp @ log_q.T


def log_scores(mean_resp: Array) -> Array:
    """log q: the score of a row's membership under each label, for Stephens's loss."""
    return np.log(np.maximum(mean_resp, _LOWEST))


def pivot_scores(mean_resp: Array) -> Array:
    """One where a row's most probable label is k, else zero: agreement with an allocation."""
    return (mean_resp.argmax(axis=0) == np.arange(len(mean_resp))[:, None]).astype(np.float64)


def membership_sweep(sampled: SampledMixture, score: Callable[[Array], Array], scores: Array, kept: IntArray) -> Sweep:
    r"""Cost (component, label) of each draw :math:`-\sum_i p_{ij} s_{ik}`, its assignment, and the scores that follow.

    Stephens's costs are these with s = log q, up to :math:`\sum_{ij} p_{ij} \log p_{ij}`, which is the same for all
    permutations.
    """
    labels = np.arange(sampled.n_clusters)
    proposed, cost, total = np.empty_like(kept), 0.0, np.zeros_like(scores)
    for s, (_, resp) in enumerate(sampled.memberships(ALL, ALL)):
        table = -(resp @ scores.T)
        proposed[s] = assign(table, kept[s])
        cost += table[kept[s], labels].sum()
        for k in labels:
            total[k] += resp[proposed[s, k]]
    return Sweep(float(cost), proposed, score(total / len(sampled)))


def _search_memberships(sampled: SampledMixture, score: Callable[[Array], Array]) -> Found:
    n_rows = sampled.memberships_of(0).shape[1]
    sweep = partial(membership_sweep, sampled, score)
    given = _start(sampled, sampled.identity, score)
    if n_rows <= _ENOUGH_ROWS:
        return search(sweep, [given, *_pivot_starts(sampled, sampled.pivots, score)])
    some = sampled.of_rows(np.linspace(0, n_rows - 1, _ENOUGH_ROWS).astype(np.int64))
    chosen = search(partial(membership_sweep, some, score), _pivot_starts(some, sampled.pivots, score))
    found = descend(sweep, *_start(sampled, chosen.permutation, score))
    # The labels as they are start a search only if they are no worse: from random labels it would take long.
    return found if better(found.cost, sweep(given[1], given[0]).cost) else descend(sweep, *given)


def _pivot_starts(sampled: SampledMixture, pivots: IntArray, score: Callable[[Array], Array]) -> list[Start]:
    """Agreement with the allocations of single draws."""
    allocations = [pivot_scores(sampled.memberships_of(int(s))) for s in pivots]
    steps = [membership_sweep(sampled, score, scores, sampled.identity) for scores in allocations]
    return [(step.proposed, step.reference) for step in steps]


def _start(sampled: SampledMixture, permutation: IntArray, score: Callable[[Array], Array]) -> Start:
    """Permutations and the reference they imply, as a sweep without costs."""
    nothing = np.zeros_like(sampled.memberships_of(0))
    return permutation, membership_sweep(sampled, score, nothing, permutation).reference


def _stephens(sampled: SampledMixture, options: Options) -> Found:
    return _search_memberships(sampled, log_scores)


def _ecr_iterative(sampled: SampledMixture, options: Options) -> Found:
    return _search_memberships(sampled, pivot_scores)


def _ecr(sampled: SampledMixture, options: Options) -> Found:
    scores = pivot_scores(sampled.memberships_of(int(sampled.pivots[0])))
    step = membership_sweep(sampled, pivot_scores, scores, sampled.identity)
    return Found(step.proposed, step.cost)


def _pivotal_units(sampled: SampledMixture, options: Options) -> Found:
    pivot_draw = sampled.memberships_of(int(sampled.pivots[0]))
    units = pivotal_units(sampled, pivot_draw)
    costs = np.array([-resp for _, resp in sampled.memberships(ALL, units)])
    homes = np.sort(costs.argmin(axis=1), axis=1)
    clash = (homes != np.arange(sampled.n_clusters)).any(axis=1)
    permutation = assign_all(costs, sampled.identity)
    return Found(permutation, total_cost(costs, permutation), clash_share=float(clash.mean()))


def pivotal_units(sampled: SampledMixture, resp: Array) -> IntArray:
    """Pivotal row of each cluster, by co-clustering: most similar to its own, least to others (Egidi et al. 2018).

    Clusters are those of ``resp`` (cluster, obs). A cluster without rows gets the row of largest membership.
    """
    groups = pivot_scores(resp)
    together = np.zeros_like(resp)  # (cluster, obs): sums of co-clustering probabilities with each cluster's rows
    for _, p in sampled.memberships(ALL, ALL):
        together += (groups @ p.T) @ p
    apart = 2.0 * together - together.sum(axis=0)
    candidates = np.where(groups > 0, apart, -np.inf)
    empty = groups.sum(axis=1) == 0
    candidates[empty] = resp[empty]
    return candidates.argmax(axis=1)


# ---- methods on parameters


def component_features(sampled: SampledMixture) -> Array:
    """Means and log standard deviations of components (sample, cluster, feature), standardised."""
    variances = np.diagonal(sampled.covariances, axis1=-2, axis2=-1)
    return _standardised(np.concatenate([sampled.means, 0.5 * np.log(variances)], axis=-1))


def _all_features(sampled: SampledMixture) -> Array:
    """`component_features`, weights, and correlations on Fisher's scale."""
    d = sampled.means.shape[2]
    sd = np.sqrt(np.diagonal(sampled.covariances, axis1=-2, axis2=-1))
    correlations = (sampled.covariances / (sd[..., :, None] * sd[..., None, :])).clip(-_ONE, _ONE)
    rows, columns = np.tril_indices(d, -1)
    more = np.concatenate([sampled.weights[..., None], np.arctanh(correlations[..., rows, columns])], axis=-1)
    return np.concatenate([component_features(sampled), _standardised(more)], axis=-1)


def _standardised(features: Array) -> Array:
    """Centred, and divided by a label-invariant posterior standard deviation: that of each draw's sorted values.

    The standard deviation over draws and components would give a feature in which the components do not differ, pure
    noise, the same weight as one in which they do.
    """
    spread = np.sqrt(np.sort(features, axis=1).var(axis=0).mean(axis=0))
    total = features.std(axis=(0, 1))
    spread = np.where(spread > ROUNDING * total, spread, total)
    return (features - features.mean(axis=(0, 1))) / np.where(spread > 0, spread, 1.0)


def _pra(sampled: SampledMixture, options: Options) -> Found:
    features = _all_features(sampled)
    costs = pra_costs(features, features[sampled.pivots[0]])
    permutation = assign_all(costs, sampled.identity)
    return Found(permutation, total_cost(costs, permutation))


def pra_costs(features: Array, pivot: Array) -> Array:
    """Scalar products with the pivot's components, their signs changed: (sample, component, label)."""
    return -(features @ pivot.T)


def _ordering(sampled: SampledMixture, options: Options) -> Found:
    key = sampled.weights if options.by == "weight" else sampled.means[..., int(options.by)]
    return Found(key.argsort(axis=1, kind="stable"), 0.0)


def _optimal_assignment(sampled: SampledMixture, options: Options) -> Found:
    between = DIVERGENCES[options.divergence]
    scaled = sampled if options.divergence == "kl" else _in_common_units(sampled)

    def sweep(reference: Mixture, kept: IntArray) -> Sweep:
        costs = _in_parts(between, reference, scaled)
        proposed = assign_all(costs, kept)
        return Sweep(total_cost(costs, kept), proposed, scaled.mean_mixture(proposed))

    pivots = [mixture_of(scaled.weights[s], scaled.means[s], scaled.covariances[s]) for s in sampled.pivots]
    others = [sweep(pivot, sampled.identity) for pivot in pivots]
    starts = [(sampled.identity, scaled.mean_mixture(sampled.identity))]
    return search(sweep, starts + [(step.proposed, step.reference) for step in others])


def _in_common_units(sampled: SampledMixture) -> SampledMixture:
    """Every feature divided by its standard deviation over draws and components."""
    variances = np.diagonal(sampled.covariances, axis1=-2, axis2=-1)
    sd = np.sqrt(variances.mean(axis=(0, 1)) + sampled.means.var(axis=(0, 1)))
    return replace(sampled, means=sampled.means / sd, covariances=sampled.covariances / np.outer(sd, sd))


def _in_parts(between: Callable[..., Array], reference: Mixture, sampled: SampledMixture) -> Array:
    """Costs (sample, component, label), some draws at a time."""
    arrays = (sampled.weights, sampled.means, sampled.covariances)
    starts = range(0, len(sampled), _SAMPLES_AT_ONCE)
    return np.concatenate([between(reference, *(a[i : i + _SAMPLES_AT_ONCE] for a in arrays)) for i in starts])


def wasserstein(reference: Mixture, weights: Weights, means: Means, covariances: Covariances) -> Array:
    r"""Squared Wasserstein-2 distances (..., component, label), and the same term for weights as `divergences`.

    :math:`|m - m'|^2 + tr(C + C') - 2\,\|L^T L'\|_*`, with L a Cholesky factor and the nuclear norm.
    """
    factors = np.linalg.cholesky(covariances)
    shift = means[..., :, None, :] - reference.means
    cross = np.einsum("...jba,kbc->...jkac", factors, reference.factors)
    nuclear = np.linalg.svd(cross, compute_uv=False).sum(axis=-1)
    trace = np.einsum("...jaa->...j", covariances)[..., :, None] + np.einsum("kaa->k", reference.full_covariances)
    apart = np.sqrt(weights)[..., :, None] - np.sqrt(reference.weights)
    return (shift**2).sum(axis=-1) + trace - 2.0 * nuclear + 2.0 * apart**2


DIVERGENCES: dict[str, Callable[..., Array]] = {"kl": divergences, "wasserstein": wasserstein}


# ---- the table


@dataclass(frozen=True)
class Method:
    """One row of the table: a name, its source, and the function that finds permutations."""

    name: str
    source: str
    find: Callable[[SampledMixture, Options], Found]


_METHODS = (
    Method("stephens", "Stephens 2000", _stephens),
    Method("ecr", "Papastamoulis & Iliopoulos 2010", _ecr),
    Method("ecr-iterative", "Rodriguez & Walker 2014; Papastamoulis 2016", _ecr_iterative),
    Method("pra", "Marin, Mengersen & Robert 2005", _pra),
    Method("pivotal-units", "Egidi et al. 2018", _pivotal_units),
    Method("ordering", "a constraint", _ordering),
    Method("optimal-assignment", "assignment to the mean of aligned parameters", _optimal_assignment),
)
METHODS = {method.name: method for method in _METHODS}


def relabelling_method(name: str) -> Method:
    """Look a method up."""
    check_option(METHODS, method=name)
    return METHODS[name]


def permutations(sampled: SampledMixture, method: str, options: Options, reference: Mixture | None) -> Found:
    """Permutations found by a method, with globally ordered labels.

    Labels follow ``reference`` by optimal assignment of the mean parameters; without one, clusters are ordered by the
    mean of their first feature, ties by the next. Labels of ``ordering`` are as the method orders them.
    """
    found = relabelling_method(method).find(sampled, options)
    if method == "ordering":
        return found
    order = _global_order(sampled.mean_mixture(found.permutation), reference)
    return replace(found, permutation=found.permutation[:, order])


def _global_order(mean: Mixture, reference: Mixture | None) -> IntArray:
    if reference is None:
        return np.lexsort(mean.means.T[::-1])
    cost = divergences(reference, mean.weights, mean.means, mean.full_covariances)
    return assign(cost, np.arange(mean.n_components))
