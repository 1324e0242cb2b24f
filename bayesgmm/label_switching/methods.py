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
    ROUNDING,
    TINY,
    Found,
    Memberships,
    Start,
    Sweep,
    assign,
    assign_all,
    better,
    descend,
    identity,
    mean_mixture,
    mixture_of,
    search,
    share_agreeing,
    total_cost,
)
from bayesgmm.mixture import Draws, Mixture, covariance_family, divergences
from bayesgmm.validation import check_option

_LOWEST = 1e-100  # mean memberships below it are rounding: the kernel flushes responsibilities below exp(-200)
_ENOUGH_ROWS = 2_000  # to choose between starts
_ONE = 1.0 - 1e-12  # Fisher's transform of a correlation stays finite


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


def membership_sweep(memberships: Memberships, score: Callable[[Array], Array], scores: Array, kept: IntArray) -> Sweep:
    r"""Cost (component, label) of each draw :math:`-\sum_i p_{ij} s_{ik}`, its assignment, and the scores that follow.

    Stephens's costs are these with s = log q, up to :math:`\sum_{ij} p_{ij} \log p_{ij}`, which is the same for all
    permutations.
    """
    labels = np.arange(kept.shape[1])
    proposed, cost, total = np.empty_like(kept), 0.0, np.zeros_like(scores)
    for s, (_, resp) in enumerate(memberships):
        table = -(resp @ scores.T)
        proposed[s] = assign(table, kept[s], memberships.alike)
        cost += table[kept[s], labels].sum()
        for k in labels:
            total[k] += resp[proposed[s, k]]
    return Sweep(float(cost), proposed, score(total / len(kept)))


def _search_memberships(memberships: Memberships, score: Callable[[Array], Array]) -> Found:
    n_rows = memberships.data.shape[0]
    sweep = partial(membership_sweep, memberships, score)
    given = _start(memberships, identity(memberships.draws), score)
    if n_rows <= _ENOUGH_ROWS:
        return search(sweep, [given, *_pivot_starts(memberships, memberships.pivots, score)])
    some = memberships.of_rows(np.linspace(0, n_rows - 1, _ENOUGH_ROWS).astype(np.int64))
    chosen = search(partial(membership_sweep, some, score), _pivot_starts(some, memberships.pivots, score))
    if share_agreeing(chosen.permutation, given[0]) == 1.0:  # the same start
        return descend(sweep, *given)
    found = descend(sweep, *_start(memberships, chosen.permutation, score))
    # The labels as they are start a search only if they are no worse: from random labels it would take long.
    return found if better(found.cost, sweep(given[1], given[0]).cost) else descend(sweep, *given)


def _pivot_starts(memberships: Memberships, pivots: IntArray, score: Callable[[Array], Array]) -> list[Start]:
    """Agreement with the allocations of single draws."""
    allocations = [pivot_scores(memberships.of_draw(int(s))) for s in pivots]
    steps = [membership_sweep(memberships, score, scores, identity(memberships.draws)) for scores in allocations]
    return [(step.proposed, step.reference) for step in steps]


def _start(memberships: Memberships, permutation: IntArray, score: Callable[[Array], Array]) -> Start:
    """Permutations and the reference they imply, as a sweep without costs."""
    nothing = np.zeros_like(memberships.of_draw(0))
    return permutation, membership_sweep(memberships, score, nothing, permutation).reference


def _stephens(memberships: Memberships, options: Options) -> Found:
    return _search_memberships(memberships, log_scores)


def _ecr_iterative(memberships: Memberships, options: Options) -> Found:
    return _search_memberships(memberships, pivot_scores)


def _ecr(memberships: Memberships, options: Options) -> Found:
    scores = pivot_scores(memberships.of_draw(int(memberships.pivots[0])))
    step = membership_sweep(memberships, pivot_scores, scores, identity(memberships.draws))
    return Found(step.proposed, step.cost)


def _pivotal_units(memberships: Memberships, options: Options) -> Found:
    units = pivotal_units(memberships, memberships.of_draw(int(memberships.pivots[0])))
    costs = np.array([-resp for _, resp in memberships.of_rows(units)])
    homes, kept = np.sort(costs.argmin(axis=1), axis=1), identity(memberships.draws)
    clash = (homes != kept).any(axis=1)
    permutation = assign_all(costs, kept, memberships.alike)
    return Found(permutation, total_cost(costs, permutation), clash_share=float(clash.mean()))


def pivotal_units(memberships: Memberships, resp: Array) -> IntArray:
    """Pivotal row of each cluster, by co-clustering: most similar to its own, least to others (Egidi et al. 2018).

    Clusters are those of ``resp`` (cluster, obs). A cluster without rows gets the row of largest membership.
    """
    groups = pivot_scores(resp)
    together = np.zeros_like(resp)  # (cluster, obs): sums of co-clustering probabilities with each cluster's rows
    for _, p in memberships:
        together += (groups @ p.T) @ p
    apart = 2.0 * together - together.sum(axis=0)
    candidates = np.where(groups > 0, apart, -np.inf)
    empty = groups.sum(axis=1) == 0
    candidates[empty] = resp[empty]
    return candidates.argmax(axis=1)


# ---- methods on parameters


def component_features(draws: Draws) -> Array:
    """Means and log standard deviations of components (sample, cluster, feature), standardised."""
    return _standardised(np.concatenate([draws.means, 0.5 * np.log(draws.variances)], axis=-1))


def _all_features(draws: Draws) -> Array:
    """`component_features`, weights, and correlations on Fisher's scale."""
    k, d = draws.means.shape[1:]
    sd, (rows, columns) = np.sqrt(draws.variances), np.tril_indices(1 if draws.family.diagonal else d, -1)
    own = draws.entries(np.arange(k)[:, None], rows, columns)
    correlations = (own / (sd[..., rows] * sd[..., columns])).clip(-_ONE, _ONE)
    more = np.concatenate([draws.weights[..., None], np.arctanh(correlations)], axis=-1)
    return np.concatenate([component_features(draws), _standardised(more)], axis=-1)


def _standardised(features: Array) -> Array:
    """Centred, and divided by a label-invariant posterior standard deviation: that of each draw's sorted values.

    The standard deviation over draws and components would give a feature in which the components do not differ, pure
    noise, the same weight as one in which they do.
    """
    spread = np.sqrt(np.sort(features, axis=1).var(axis=0).mean(axis=0))
    total = features.std(axis=(0, 1))
    spread = np.where(spread > ROUNDING * total, spread, total)
    return (features - features.mean(axis=(0, 1))) / np.where(spread > 0, spread, 1.0)


def _pra(memberships: Memberships, options: Options) -> Found:
    features = _all_features(memberships.draws)
    costs = pra_costs(features, features[memberships.pivots[0]])
    permutation = assign_all(costs, identity(memberships.draws), memberships.alike)
    return Found(permutation, total_cost(costs, permutation))


def pra_costs(features: Array, pivot: Array) -> Array:
    """Scalar products with the pivot's components, their signs changed: (sample, component, label)."""
    return -(features @ pivot.T)


def _ordering(memberships: Memberships, options: Options) -> Found:
    draws = memberships.draws
    key = draws.weights if options.by == "weight" else draws.means[..., int(options.by)]
    if memberships.alike is None:
        return Found(key.argsort(axis=1, kind="stable"), 0.0)
    order = identity(draws)
    for own in (np.flatnonzero(memberships.alike == number) for number in np.unique(memberships.alike)):
        order[:, own] = own[key[:, own].argsort(axis=1, kind="stable")]
    return Found(order, 0.0)


def _optimal_assignment(memberships: Memberships, options: Options) -> Found:
    between, kept = DIVERGENCES[options.divergence], identity(memberships.draws)
    draws = memberships.draws if options.divergence == "kl" else _in_common_units(memberships.draws)

    def sweep(reference: Mixture, kept: IntArray) -> Sweep:
        costs = _in_parts(between, reference, draws)
        proposed = assign_all(costs, kept, memberships.alike)
        return Sweep(total_cost(costs, kept), proposed, mean_mixture(draws, proposed))

    pivots = [mixture_of(*draws[s : s + 1].average) for s in memberships.pivots]
    others = [sweep(pivot, kept) for pivot in pivots]
    starts = [(kept, mean_mixture(draws, kept))]
    return search(sweep, starts + [(step.proposed, step.reference) for step in others])


def _in_common_units(draws: Draws) -> Draws:
    """Every feature divided by its standard deviation over draws and components; no longer of a narrower family."""
    sd = np.sqrt(draws.variances.mean(axis=(0, 1)) + draws.means.var(axis=(0, 1)))
    scaled = draws.means / sd, draws.covariances / np.outer(sd, sd)
    return Draws(draws.weights, *scaled, family=covariance_family("full"))


def _in_parts(between: Callable[..., Array], reference: Mixture, draws: Draws) -> Array:
    """Costs (sample, component, label), some draws at a time."""
    return np.concatenate([between(reference, *part.arrays) for part in draws.parts()])


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
    find: Callable[[Memberships, Options], Found]


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


def permutations(memberships: Memberships, method: str, options: Options, reference: Mixture | None) -> Found:
    """Permutations found by a method, with globally ordered labels.

    Labels follow ``reference`` by optimal assignment of the mean parameters; without one, clusters are ordered by the
    mean of their first feature, ties by the next. Labels of ``ordering`` are as the method orders them.
    """
    found = relabelling_method(method).find(memberships, options)
    if method == "ordering":
        return found
    order = _global_order(mean_mixture(memberships.draws, found.permutation), reference, memberships.alike)
    return replace(found, permutation=found.permutation[:, order])


def _global_order(mean: Mixture, reference: Mixture | None, alike: IntArray | None) -> IntArray:
    if reference is None:
        own = np.zeros(mean.n_components) if alike is None else alike
        places, order = (np.lexsort((*keys, own)) for keys in ((np.arange(len(own)),), mean.means.T[::-1]))
        return order[places.argsort()]
    cost = divergences(reference, mean.weights, mean.means, mean.full_covariances)
    return assign(cost, np.arange(mean.n_components), alike)
