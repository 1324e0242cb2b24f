"""Reversible relabelling of a posterior, and summaries of its components if they are identified."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import summary
from numpy.typing import ArrayLike

from bayesgmm._common import PATIENCE, Move, progress_bar
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError, NotIdentifiedError
from bayesgmm.label_switching.identifiability import Relabelling, relabelled
from bayesgmm.label_switching.methods import DIVERGENCES, METHODS, Options, permutations, relabelling_method
from bayesgmm.label_switching.search import Memberships, share_agreeing
from bayesgmm.label_switching.tree_labels import (
    Labelled,
    Variables,
    check_constants,
    labelled_variables,
    own_tree,
    relabelled_tree,
    restored_tree,
)
from bayesgmm.mixture import Mixture
from bayesgmm.posterior import (
    FEATURE,
    NO_NAMES,
    PARAMETERS,
    Names,
    Posterior,
    data_of,
    draws_of,
    mixture_posterior,
    model_of,
    prior_from_json,
    root_of,
    start_mixture,
)
from bayesgmm.prediction import interval_function, interval_probability
from bayesgmm.validation import check_flag, check_option, texts

RECORD = "relabelling"
_SCREENED_ROWS = 4_000
_SCREENED = 400  # draws that tell whether labels switched: one draw in a hundred is missed with probability .02
_MOVED = ("variables", "allocations")
INSTEAD = (
    "Look at what does not depend on labels, as the density and the partition; or try fewer components or a stronger "
    "prior. force=True summarises the components all the same."
)


def relabel(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    method: str = "stephens",
    names: Names = NO_NAMES,
    variables: Variables | None = None,
    by: int | str = 0,
    divergence: Literal["kl", "wasserstein"] = "kl",
    progress: bool = True,
) -> xr.DataTree:
    r"""Undo label switching: permute the labels of each draw so that components match across draws.

    ======================  ========================================================================================
    ``stephens``            permutations and :math:`q_{ik}`, the mean of the relabelled memberships
                            :math:`p_{ij}`, that minimise :math:`\sum_i p_{ij} \log (p_{ij} / q_{ik})` (Stephens 2000)
    ``ecr``                 agreement of memberships with the allocation of a pivot, the draw of the highest
                            log-likelihood (Papastamoulis & Iliopoulos 2010)
    ``ecr-iterative``       the pivot is the most probable label of each row after relabelling, until convergence
                            (Papastamoulis 2016)
    ``pra``                 scalar product of the standardised parameters with the pivot's (Marin, Mengersen & Robert
                            2005)
    ``pivotal-units``       one pivotal row per cluster, most similar to its own and least to others (Egidi
                            et al. 2018). Draws in which two pivots belong to one component, which the authors drop,
                            are kept with the best assignment of the pivots, and their share is in the record
    ``ordering``            by the mean of one feature, or by weight
    ``optimal-assignment``  the least sum of divergences of the components to the mean of the relabelled ones
    ======================  ========================================================================================

    Labels of the result follow the EM solution stored with a fit of this package, by optimal assignment of the mean
    parameters. Without one, clusters are ordered by the mean of the first feature; with ``ordering``, by its own key.
    Relabelling is idempotent, and `restore_labels` undoes it.

    Memberships are recomputed draw by draw and never all stored.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        Draws from this package, PyMC, NumPyro or Stan; see `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows; by default those stored with a fit of this package.
    method : str
        One of the above.
    names : mapping, optional
        Names of the posterior's variables, for example ``{"weights": "w", "means": "mu", "sds": "sigma"}``.
    variables : sequence of str, or mapping of str to int or str, optional
        Further variables to permute, beside those with the cluster dimension by name. Their cluster axis is the one of
        length K, or the one given by its position after chain and draw or by its name, as in ``{"loadings": 1}``.
        Integers without such an axis are allocations, counted from 0 or from 1, and are renumbered. Without
        ``variables`` a `LabelWarning` names the candidates that were left unchanged.
    by : int or str
        For ``ordering``: index or name of a feature, or ``"weight"``.
    divergence : {"kl", "wasserstein"}
        For ``optimal-assignment``: symmetrised Kullback-Leibler divergence, or squared Wasserstein-2 distance of
        standardised features.
    progress : bool
        Show a progress bar for each sweep over the draws in a terminal or notebook.

    Returns
    -------
    DataTree
        A copy. The named variables are permuted along their cluster axis, and so are all others of the group
        ``posterior`` that have the clusters' dimension, and ``variables``. Of a mapping of arrays, weights, means and
        covariances are returned with this package's names, the others with their own. ``sample_stats`` gains
        ``permutation`` (chain, draw, cluster), the original component behind each label, and ``label_margin``
        (chain, draw), the additional cost of the second best permutation of the draw, in nats of Stephens's loss.
        `relabelling` reads the record of shares and findings.

    Raises
    ------
    InputError
        There are no rows, the method or an option is unknown, ``variables`` has no such axis, or the prior is not
        exchangeable or fixed parameters differ between components, which identifies the labels.

    Warns
    -----
    LabelWarning
        Variables that may belong to the components were not relabelled.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import relabel
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, 50), rng.normal(3, 1, 50)])[:, None]
    >>> mu = np.array([-3.0, 3.0]) + rng.normal(0, 0.1, (4, 100, 2))
    >>> draws = {"w": np.full((4, 100, 2), 0.5), "mu": rng.permuted(mu, axis=2), "sd": np.ones((4, 100, 2))}
    >>> tree = relabel(draws, X, names={"weights": "w", "means": "mu", "sds": "sd"})
    >>> tree["posterior"]["means"].mean(("chain", "draw")).to_numpy().round(1).ravel()
    array([-3.,  3.])
    """
    check_flag(progress=progress)
    relabelling_method(method)
    canonical, data = _checked(posterior, X, names)
    options = _options(by, divergence, [str(name) for name in canonical["posterior"][FEATURE].to_numpy()])
    tree, own_names = own_tree(posterior, canonical, names)
    before = _labelled(tree) if RECORD in tree.attrs else None
    labelled = labelled_variables(tree["posterior"].to_dataset(), own_names, variables, before=before)
    with progress_bar("Relabelling, a sweep", show=progress, patience=PATIENCE) as move:
        memberships, reference = _memberships(canonical, data, move), _reference(posterior)
        permutation, margin, record = relabelled(memberships, method, options=options, reference=reference)
    shape = canonical["posterior"]["weights"].shape
    result = relabelled_tree(tree, permutation.reshape(shape), labelled, margin.reshape(shape[:2]))
    moved = {"variables": labelled.dims, "allocations": labelled.first}
    result.attrs = {**tree.attrs, RECORD: json.dumps({**asdict(record), **moved})}
    return result


def relabelling(tree: xr.DataTree) -> Relabelling:
    """The record of a relabelled posterior: method, shares, whether its components are identified.

    Raises
    ------
    InputError
        The posterior was not relabelled.
    """
    figures = _record(tree)
    return Relabelling(**{name: value for name, value in figures.items() if name not in _MOVED})


def component_record(tree: xr.DataTree, data: Data | None = None) -> Relabelling | None:
    """Whether the components of a fit are identified; None where there is nothing to relabel.

    That is with a single component, or where prior or labels of rows tell all components apart. A posterior that was
    not relabelled is judged on at most 400 draws, evenly spaced within chains: shares of draws are compared with a
    tenth, and have then standard errors below 0.015 where they matter; and on at most 4,000 rows, evenly spaced, as in
    `diagnose`.
    """
    if model_of(tree).is_identified:
        return None
    if RECORD in tree.attrs:
        return relabelling(tree)
    rows = data_of(tree, data)
    some = rows.take(slice(None, None, -(-rows.shape[0] // _SCREENED_ROWS)))
    return relabelling(relabelled_sample(tree, some))


def relabelled_sample(tree: xr.DataTree, data: Data) -> xr.DataTree:
    """At most 400 draws, evenly spaced within chains, relabelled from the labels that they have."""
    sizes = tree["posterior"].sizes
    step = -(-sizes["chain"] * sizes["draw"] // _SCREENED)
    return relabel(bare_draws(tree, step=step), data, progress=False)


def bare_draws(tree: xr.DataTree, *, step: int = 1) -> xr.DataTree:
    """Draws, some of them, and nothing else: labels as they are, without a record of how they came about."""
    draws = tree["posterior"].to_dataset()
    some = draws[[name for name in PARAMETERS if name in draws]].isel(draw=slice(None, None, step))
    bare = xr.DataTree.from_dict({"posterior": some})
    bare.attrs = {name: value for name, value in tree.attrs.items() if name != RECORD}
    return bare


def _record(tree: xr.DataTree) -> dict[str, Any]:
    """The record; ``variables`` holds the cluster dimensions of permuted variables, ``allocations`` first labels."""
    if not isinstance(tree, xr.DataTree) or RECORD not in tree.attrs:
        raise InputError(expected="a posterior that relabel() gave", got="one without its record", hint="Relabel it.")
    return json.loads(str(tree.attrs[RECORD]))


def _labelled(tree: xr.DataTree) -> Labelled:
    """The variables that were relabelled."""
    record = _record(tree)
    return Labelled(record["variables"], record.get("allocations", {}))  # none in files of earlier versions


def restore_labels(tree: xr.DataTree) -> xr.DataTree:
    """Undo all calls of `relabel`: the original draws, bit for bit.

    Raises
    ------
    InputError
        The posterior was not relabelled.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import relabel, restore_labels
    >>> draws = {"weights": np.full((1, 9, 2), 0.5), "means": np.tile([3.0, -3.0], (1, 9, 1)), "sd": np.ones((1, 9, 2))}
    >>> tree = relabel(draws, [[-3.0], [3.0]], names={"sds": "sd"})
    >>> restore_labels(tree)["posterior"]["means"].to_numpy()[0, 0].ravel()
    array([ 3., -3.])
    """
    result = restored_tree(tree, _labelled(tree))
    result.attrs = {name: value for name, value in tree.attrs.items() if name != RECORD}
    return result


def compare_relabellings(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    methods: Sequence[str] = tuple(METHODS),
    names: Names = NO_NAMES,
    progress: bool = True,
) -> pd.DataFrame:
    """Share of draws for which two methods give the same permutation, up to a common relabelling, for all pairs.

    Parameters
    ----------
    posterior, X, names, progress
        As for `relabel`.
    methods : sequence of str
        All by default; ``ordering`` is by the mean of the first feature.

    Returns
    -------
    pandas.DataFrame
        (method, method), symmetric, ones on the diagonal.

    Raises
    ------
    InputError
        As for `relabel`.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import compare_relabellings
    >>> draws = {"weights": np.full((1, 9, 2), 0.5), "means": np.tile([3.0, -3.0], (1, 9, 1)), "sd": np.ones((1, 9, 2))}
    >>> compare_relabellings(draws, [[-3.0], [3.0]], methods=["stephens", "ordering"], names={"sds": "sd"})
              stephens  ordering
    stephens       1.0       1.0
    ordering       1.0       1.0
    """
    check_flag(progress=progress)
    for method in texts(methods, "methods"):
        relabelling_method(method)
    canonical, data = _checked(posterior, X, names)
    with progress_bar("Relabelling, a sweep", show=progress, patience=PATIENCE) as move:
        memberships = _memberships(canonical, data, move)
        found = [permutations(memberships, method, Options(), None).permutation for method in methods]
    shares = [[share_agreeing(one, other) for other in found] for one in found]
    return pd.DataFrame(shares, index=list(methods), columns=list(methods))


def component_summary(
    tree: xr.DataTree,
    *,
    names: Names = NO_NAMES,
    force: bool = False,
    ci_prob: float | None = None,
    ci_kind: Literal["eti", "hdi"] | None = None,
) -> pd.DataFrame:
    """ArviZ's summary of the parameters of each component, if the components are identified.

    Parameters
    ----------
    tree : DataTree
        A relabelled posterior, the result of `relabel`.
    names : mapping, optional
        The variables to summarise, as in `relabel`; by default all that were relabelled.
    force : bool
        Summarise components that are not identified.
    ci_prob, ci_kind : float, {"eti", "hdi"}, optional
        As in `arviz.summary`.

    Raises
    ------
    InputError
        The posterior was not relabelled.
    NotIdentifiedError
        The components are not identified, so their means and intervals are meaningless; see
        `bayesgmm.label_switching.Relabelling`.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import component_summary, relabel
    >>> mu = np.array([3.0, -3.0]) + np.random.default_rng(0).normal(0, 0.1, (4, 100, 2))
    >>> draws = {"weights": np.full((4, 100, 2), 0.5), "means": mu, "sd": np.ones((4, 100, 2))}
    >>> tree = relabel(draws, np.repeat([[-3.0], [3.0]], 20, axis=0), names={"sds": "sd"})
    >>> component_summary(tree, names={"means": "means"})["mean"].astype(float).round(1).tolist()
    [-3.0, 3.0]
    """
    check_flag(force=force)
    interval_probability(ci_prob)
    interval_function(ci_kind)
    record = relabelling(tree)
    if not (record.identified or force):
        raise NotIdentifiedError(record.findings, hint=INSTEAD)
    variables = (
        [name for name in names.values() if isinstance(name, str)] if names else list(_record(tree)["variables"])
    )
    draws = tree["posterior"].to_dataset()[variables]
    with np.errstate(divide="ignore", invalid="ignore"):  # structural zeros never vary
        return pd.DataFrame(summary(draws, ci_prob=ci_prob, ci_kind=ci_kind))


# ---- the border


def _checked(posterior: Posterior, X: ArrayLike | Data | None, names: Names) -> tuple[xr.DataTree, Data]:
    """Draws in the canonical layout, and rows; raises an error where prior or labels tell all components apart."""
    tree = mixture_posterior(posterior, X, names=names)
    data = data_of(tree, X)
    check_constants(posterior, names)
    prior = getattr(root_of(posterior), "attrs", {}).get("prior")
    if prior is not None and not prior_from_json(str(prior)).exchangeable:
        raise InputError(
            expected="a prior that is the same for all clusters",
            got="one whose hyperparameters differ between clusters",
            hint="Such a prior identifies the labels: there is nothing to relabel.",
        )
    model = model_of(tree)
    if model.alike is not None and model.is_identified:
        raise InputError(
            expected="components that labels of rows do not tell apart",
            got="labels that tell all of them apart",
            hint="They keep their numbers in all draws: there is nothing to relabel.",
        )
    return tree, data


def _memberships(tree: xr.DataTree, data: Data, move: Move | None) -> Memberships:
    """Memberships of a posterior, and which of its components may change places."""
    model = model_of(tree)
    return Memberships(draws_of(tree), data, move, None if model.alike is None else model.interchangeable)


def _options(by: int | str, divergence: str, features: list[str]) -> Options:
    """Options checked, a feature's name turned into its index."""
    check_option(DIVERGENCES, divergence=divergence)
    if by == "weight":
        return Options(by, divergence)
    index = features.index(by) if isinstance(by, str) and by in features else by
    if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index < len(features):
        raise InputError(expected=f'by "weight", one of {features} or an index below {len(features)}', got=f"{by!r}")
    return Options(int(index), divergence)


def _reference(posterior: Posterior) -> Mixture | None:
    """The EM solution stored with a fit."""
    root = root_of(posterior)
    if not isinstance(root, xr.DataTree) or "constant_data" not in root or "em_weights" not in root["constant_data"]:
        return None
    return start_mixture(root).components
