"""The short summary of a fit by EM."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from bayesgmm._common import Weights
from bayesgmm.mixture import Mixture
from bayesgmm.noise import noise_of
from bayesgmm.overview.messages import EM_ALONE, EM_CONVERGED, EM_UNFINISHED, SET_BY_HAND, Step
from bayesgmm.overview.posterior_overview import RowClusters
from bayesgmm.overview.short_summary import SURE, Cluster, Overview, profiles
from bayesgmm.prediction import interval_probability

_STEPS = {EM_CONVERGED: Step.SAMPLE, EM_ALONE: Step.STARTS, EM_UNFINISHED: Step.STEPS, SET_BY_HAND: Step.SAMPLE}


def overview_of_em(
    em: Any, names: Sequence[str], *, rows: RowClusters | None = None, errors: Weights | None = None
) -> Overview:
    """Sizes and profiles of the components that EM found.

    Parameters
    ----------
    em : GaussianMixture
        Fitted.
    names : sequence of str
        Of the features.
    rows : RowClusters, optional
        All rows of the fit.
    errors : (cluster,), optional
        Standard errors of the weights.
    """
    mixture: Mixture = em.mixture_
    training = getattr(em, "_training", None)
    n_rows = None if training is None else training.n_rows
    verdict = _verdict(em)
    return Overview(
        clusters=_clusters(mixture, names, n_rows=n_rows or 1e3, rows=rows, errors=errors),
        n_components=mixture.n_components,
        n_rows=None if n_rows is None else round(n_rows),
        verdict=verdict,
        by_partition=False,
        uncertain=None if rows is None else int((rows.proba < SURE).sum()),
        n_judged=None if rows is None else len(rows.proba),
        p_value=None,
        next_step=_next_step(verdict, mixture).value,
        noise=noise_of(mixture)[1],
    )


def _next_step(verdict: str, mixture: Mixture) -> Step:
    step = _STEPS[verdict]
    if step != Step.SAMPLE:
        return step
    if mixture.component.has_others:
        return Step.SELECT
    return step if mixture.family.parametrisation.explorable else Step.ERRORS


def _verdict(em: Any) -> str:
    starts = getattr(em, "starts_", None)
    if starts is None:
        return SET_BY_HAND
    if not em.converged_:
        return EM_UNFINISHED
    alone = starts.n_best_reached == 1 and starts.n_starts > 1
    return EM_ALONE if alone else EM_CONVERGED


def _clusters(
    mixture: Mixture, names: Sequence[str], *, n_rows: float, rows: RowClusters | None, errors: Weights | None
) -> tuple[Cluster, ...]:
    weights, k = mixture.weights, mixture.n_components
    sds = np.sqrt(np.diagonal(mixture.full_covariances, axis1=-2, axis2=-1))
    found = profiles(mixture.components.weights, mixture.means, sds, names=names, n_rows=n_rows)
    sizes = None if rows is None else np.bincount(rows.labels[rows.labels >= 0], minlength=k)
    reach = norm.ppf(0.5 + interval_probability(None) / 2) * (np.full(k, np.nan) if errors is None else errors)
    known = np.isfinite(reach)
    return tuple(
        Cluster(
            name=str(i),
            share=float(weights[i]),
            lower=float(max(weights[i] - reach[i], 0.0)) if known[i] else None,
            upper=float(min(weights[i] + reach[i], 1.0)) if known[i] else None,
            n_rows=None if sizes is None else int(sizes[i]),
            apart=found[i][0],
            profile=found[i][1],
        )
        for i in range(k)
    )
