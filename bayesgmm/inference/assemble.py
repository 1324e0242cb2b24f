"""Assemble the DataTree of a fit: draws in the labels of the EM solution, and the record of the run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm.evidence import EXPLORATORY, modes_record
from bayesgmm.inference.mode_search import Exploration
from bayesgmm.inference.problem import MixtureDraws, Problem
from bayesgmm.posterior import aligned, posterior_tree, prior_to_json
from bayesgmm.priors import hyperparameters


def fitted_tree(
    sampled: MixtureDraws,
    explored: Exploration,
    problem: Problem,
    *,
    feature_names: Sequence[str],
    record: Mapping[str, Any],
) -> xr.DataTree:
    """The DataTree of a run, with the draws of its exploratory chains if they found several modes.

    Parameters
    ----------
    sampled : MixtureDraws
    explored : Exploration
        Starting points of the chains, and how they were found.
    problem : Problem
        With the rows as the user gave them.
    feature_names : sequence of str
    record : mapping
        Further root attributes.
    """
    tree = _tree(sampled, problem, feature_names, {**record, **_starting_record(explored, sampled)})
    if explored.exploratory is not None and explored.exploratory.several:
        exploratory = _tree(explored.exploratory.draws, problem, feature_names, {})
        tree[EXPLORATORY] = xr.DataTree(exploratory["posterior"].to_dataset())
    return tree


def _starting_record(explored: Exploration, sampled: MixtureDraws) -> dict[str, str]:
    """Starting points of the chains that were kept, and results of the exploratory chains."""
    record = {"starting_modes": json.dumps([explored.starting_modes[c] for c in sampled.run.chains])}
    if explored.exploratory is not None or explored.far_below:
        names = [] if explored.exploratory is None else explored.exploratory.names
        modes = [] if explored.exploratory is None else modes_record(explored.exploratory.modes)
        record["scouts"] = json.dumps({"starts": names, "far_below": explored.far_below, "modes": modes})
    return record


def _tree(sampled: MixtureDraws, problem: Problem, names: Sequence[str], record: Mapping[str, Any]) -> xr.DataTree:
    """Draws in the labels of the start, with all data and attributes that describe them."""
    start, prior = problem.start, problem.prior
    weights, means, covariances, order = aligned(
        start, sampled.weights, sampled.means, sampled.covariances, exchangeable=prior.exchangeable
    )
    attributes = {
        **record,
        "covariance_type": start.covariance_type,
        "prior": prior_to_json(prior),
        "sampling_time": sampled.run.seconds,
        "interrupted": int(sampled.run.interrupted),
        "n_gradients": int(sampled.run.n_gradients.sum()),
    }
    draws = {"weights": weights, "means": means, "covariances": covariances}
    stats = {**sampled.run.stats, "permutation": order}
    return posterior_tree(
        draws,
        stats,
        X=np.ascontiguousarray(problem.data.rows),
        feature_names=names,
        start=start,
        attributes=attributes,
        hyperparameters=hyperparameters(prior, *start.means.shape, covariance_type=start.covariance_type),
        row_weights=problem.data.row_weights,
    )
