"""Assemble the DataTree of a fit: draws in the labels of the EM solution, and the record of the run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm._common import IntArray
from bayesgmm.diagnostics import MAX_MISSING
from bayesgmm.evidence import (
    EVIDENCE,
    EXPLORATORY,
    VISITS,
    Bridge,
    Modes,
    approximated_modes,
    modes_record,
    visited_modes,
)
from bayesgmm.exceptions import CompactWarning, warn_user
from bayesgmm.inference.engines import Sampled
from bayesgmm.inference.mode_search import Exploration
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.random_search import RandomSearch, missing_weight, with_more_starts
from bayesgmm.inference.settings import Trace
from bayesgmm.laplace import effective_draws
from bayesgmm.mixture import Draws
from bayesgmm.posterior import SAMPLE_DIMS, aligned, draws_of, posterior_tree, prior_to_json
from bayesgmm.priors import hyperparameters

_COMPACT = (
    "The posterior keeps variances (chain, draw, cluster, feature) in place of covariances: they are diagonal, and as "
    "full matrices would take more than 256 MB. For these call bayesgmm.posterior.with_covariances(fit.posterior_)."
)


def fitted_tree(
    sampled: Sampled,
    explored: Exploration,
    problem: Problem,
    *,
    feature_names: Sequence[str],
    record: Mapping[str, Any],
) -> xr.DataTree:
    """The DataTree of a run, with the draws of its exploratory chains if they found several modes.

    Parameters
    ----------
    sampled : Draws and Trace
    explored : Exploration
        Starting points of the chains, and how they were found.
    problem : Problem
        With the rows as the user gave them.
    feature_names : sequence of str
    record : mapping
        Further root attributes.
    """
    tree = _tree(sampled, problem, feature_names, {**record, **_starting_record(explored, sampled[1])})
    if explored.exploratory is not None and explored.exploratory.several:
        exploratory = _tree(explored.exploratory.sampled, problem, feature_names, {})
        tree[EXPLORATORY] = xr.DataTree(exploratory["posterior"].to_dataset())
    modes = None if explored.exploratory is None else explored.exploratory.modes
    if sampled[1].approximations:
        modes = _record_approximations(tree, sampled, problem)
    _record_search(tree, explored, draws_of(tree), modes)
    if "variances" in tree["posterior"]:
        warn_user(_COMPACT, CompactWarning)
    return tree


def _record_approximations(tree: xr.DataTree, sampled: Sampled, problem: Problem) -> Modes | None:
    """How good Laplace approximations are, and the modes if there are several."""
    draws, run = sampled
    model, found = problem.model, run.approximations
    evidences = [
        Bridge(
            each.log_evidence + model.log_labellings,
            each.log_evidence_se,
            0,
            len(each.points),
            each.smoothed.effective_size,
        )
        for each in found
    ]
    record = [
        {
            "k_hat": each.smoothed.k_hat,
            "effective_draws": each.smoothed.effective_size,
            "n_proposals": len(each.points),
            "n_rows": each.ratios.n_rows,
            "log_ratio_error": each.ratios.error,
            "log_evidence": evidence.log_z,
            "log_evidence_se": evidence.se,
        }
        for each, evidence in zip(found, evidences, strict=True)
    ]
    k_hat, effective = max(each.smoothed.k_hat for each in found), effective_draws(found)
    tree.attrs |= {"laplace": json.dumps(record), "k_hat": k_hat, "effective_draws": effective}
    if len(found) == 1:
        return None
    optima, labels = [each.normal.mixture for each in found], run.stats["mode"].ravel()
    modes = approximated_modes(draws, labels, problem.data, optima=optima, evidences=evidences)
    tree.attrs |= {"modes": json.dumps(modes_record(modes, problem.data.sample.row_weights)), "mode_weights": EVIDENCE}
    return modes


def _record_search(tree: xr.DataTree, explored: Exploration, draws: Draws, modes: Modes | None) -> None:
    """What random starts found, and the modes of chains that jump between them, both of rows that differ.

    Where modes may be missing, more random starts are counted. Places between which chains move freely are one mode.
    """
    search, data, jumped = explored.search, explored.problem.data, explored.jumps is not None
    if search is None:
        return
    if jumped and search.apart:
        modes = visited_modes(draws, data, rng=np.random.default_rng(0))
        if modes.separate:
            tree.attrs |= {"modes": json.dumps(modes_record(modes, data.row_weights)), "mode_weights": VISITS}
            sizes = tree["posterior"].sizes
            labels = modes.labels.reshape(sizes["chain"], sizes["draw"])
            tree["sample_stats"] = tree["sample_stats"].to_dataset().assign(mode=(SAMPLE_DIMS, labels))
    missing, counts = _missing(search, modes)
    if missing > MAX_MISSING:
        search = with_more_starts(search, explored.problem.on_sample, rng=np.random.default_rng(0))
        missing, counts = _missing(search, modes)
    ended = {"n": len(search.near), "ended": counts.tolist()}
    tree.attrs |= {"missing": missing, "random_starts": json.dumps(ended)}


def _missing(search: RandomSearch, modes: Modes | None) -> tuple[float, IntArray]:
    """Bound of the weight of modes that were not met, and the number of random starts that ended in each that was."""
    counts, weights = np.array([search.near.sum()]), np.ones(1)
    if modes is not None and modes.separate:
        counts, weights = search.counts(modes), np.array([mode.weight for mode in modes.modes])
    return missing_weight(weights, counts, len(search.near)), counts


def _starting_record(explored: Exploration, run: Trace) -> dict[str, str]:
    """Starting points of the chains that were kept, and results of the exploratory chains."""
    record = {"starting_modes": json.dumps([explored.starting_modes[c] for c in run.chains])}
    if explored.sampler is not None:
        record["sampler"] = explored.sampler
    if explored.exploratory is not None or explored.far_below:
        names = [] if explored.exploratory is None else explored.exploratory.names
        modes = [] if explored.exploratory is None else modes_record(explored.exploratory.modes)
        record["scouts"] = json.dumps({"starts": names, "far_below": explored.far_below, "modes": modes})
    return record


def _tree(sampled: Sampled, problem: Problem, names: Sequence[str], record: Mapping[str, Any]) -> xr.DataTree:
    """Draws in the labels of the start, with all data and attributes that describe them."""
    start, prior, sample, (draws, run) = problem.start, problem.prior, problem.data.sample, sampled
    draws, order = aligned(start, draws, alike=problem.model.interchangeable)
    attributes = {
        **record,
        "covariance_type": start.covariance_type,
        "prior": prior_to_json(prior),
        "sampling_time": run.seconds,
        "interrupted": int(run.interrupted),
        "n_gradients": int(run.n_gradients.sum()),
    }
    return posterior_tree(
        draws,
        {**run.stats, "permutation": order},
        X=np.ascontiguousarray(sample.entries),
        feature_names=names,
        start=start,
        attributes=attributes,
        hyperparameters=hyperparameters(prior, *start.means.shape, covariance_type=start.covariance_type),
        row_weights=sample.row_weights,
        allowed=sample.allowed,
    )
