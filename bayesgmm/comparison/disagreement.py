"""Conditions under which EM's estimate of a component, or its normal approximation, is unreliable."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesgmm._common import Array
from bayesgmm.comparison.estimates import Match
from bayesgmm.comparison.fits import Fit, FitPair
from bayesgmm.data import Data
from bayesgmm.diagnostics import NOT_MIXED, SEVERAL_MODES, WEIGHED, Diagnosis, diagnose
from bayesgmm.em import COLLAPSED, moments_of, principal_directions
from bayesgmm.mixture import Mixture, measure

ROWS_PER_PARAMETER = 5.0  # of a component; below it asymptotic standard errors are doubtful
SKEWED = 0.5  # one side of an 89 % interval is then 18 % longer than the other (Cornish-Fisher)
OVERLAP = 0.1  # share of a component's rows that the others claim
_CORRELATED = 0.99
_TINY = 1e-300
_NEAR_ZERO = 0.05  # posterior probability that a component has hardly a row


@dataclass(frozen=True)
class Condition:
    r"""Condition of a matched component, which concerns all of its parameters.

    Attributes
    ----------
    rows : (2,)
        Expected rows by either fit.
    overlap : (2,)
        Share of its rows that others claim, :math:`\sum_i r_{ik} (1 - r_{ik}) / \sum_i r_{ik}`.
    reasons : tuple of str
        Names out of `bayesgmm.comparison.messages.REASONS` that hold for the whole component.
    """

    rows: Array
    overlap: Array
    reasons: tuple[str, ...]


def conditions_of(
    fits: FitPair, resp: tuple[Array, Array], pairs: list[Match], *, unsettled: Sequence[str], distinct: bool
) -> list[Condition]:
    """Condition of each matched pair; ``unsettled``: see `reasons_of_posterior`; ``distinct``: optima of EM are."""
    spread = principal_directions(moments_of(fits.data))
    return [_condition(fits, resp, pair, spread=spread, whole=(unsettled, distinct)) for pair in pairs]


def _condition(
    fits: FitPair,
    resp: tuple[Array, Array],
    pair: Match,
    *,
    spread: tuple[Array, Array],
    whole: tuple[Sequence[str], bool],
) -> Condition:
    v = fits.data.weights
    own = [each[:, pair.of(i)] for i, each in enumerate(resp)]
    rows = np.array([v @ r for r in own])
    overlap = np.array([v @ (r * (1.0 - r)) / max(float(v @ r), _TINY) for r in own])
    d = fits.data.shape[1]
    found = {
        **dict.fromkeys(whole[0], True),
        "several optima": whole[1],
        "boundary": any(_at_boundary(fit, pair.of(i), spread, rows[i]) for i, fit in enumerate(fits)),
        "small component": rows.min() < ROWS_PER_PARAMETER * _parameters_each(fits.first.mixture, d),
        "overlap": overlap.max() > OVERLAP,
        "model": not _same_model(fits),
    }
    return Condition(rows, overlap, tuple(name for name, holds in found.items() if holds))


def _same_model(fits: FitPair) -> bool:
    a, b = (fit.mixture for fit in fits)
    return a.n_components == b.n_components and a.family == b.family


def _parameters_each(mixture: Mixture, d: int) -> float:
    """Free parameters of one component, its share of a common covariance included."""
    return mixture.family.n_parameters(mixture.n_components, d) / mixture.n_components


def _at_boundary(fit: Fit, k: int, spread: tuple[Array, Array], rows: float) -> bool:
    """Whether a covariance is close to singular relative to the data's, or a component close to empty."""
    covariance = fit.mixture.full_covariances[k]
    d = len(covariance)
    of_data, directions = spread
    smallest = np.linalg.eigvalsh(directions.T @ covariance @ directions)
    own = np.sqrt(np.diagonal(covariance))
    correlations = np.abs(covariance / np.outer(own, own))[np.triu_indices(d, 1)]
    singular = (smallest[:1] < COLLAPSED * of_data[:1]).any() or (correlations > _CORRELATED).any()
    emptied = rows < (1.0 if fit.mixture.family.shared else d + 1.0)
    if fit.tree is not None:
        weights = fit.tree["posterior"]["weights"].to_numpy()[..., k]
        n_rows = float(fit.tree["observed_data"].sizes["obs"])
        emptied = emptied or bool((weights * n_rows < 1.0).mean() > _NEAR_ZERO)
    return bool(singular or emptied)


def diagnosis_of(fit: Fit, data: Data) -> Diagnosis | None:
    """The verdict on a posterior; none on EM, or without enough draws."""
    return None if fit.tree is None else diagnose(fit.tree, data)


def reasons_of_posterior(fit: Fit, found: Diagnosis | None) -> tuple[str, ...]:
    """Why the mean of a posterior may describe nothing: several modes, chains that did not mix, no components."""
    holds = {
        "several modes": found is not None and found.verdict in (SEVERAL_MODES, WEIGHED),
        "not mixed": found is not None and found.verdict == NOT_MIXED,
        "not identified": not fit.identified,
    }
    return tuple(name for name, held in holds.items() if held)


def are_other_optima(fits: FitPair) -> bool:
    """Whether two fits by EM of one model ended in optima with different likelihoods."""
    if any(fit.bayesian for fit in fits) or not _same_model(fits) or fits.first.prior or fits.second.prior:
        return False
    a, b = (measure(fits.data, fit.mixture).log_likelihood for fit in fits)
    return abs(a - b) > 1e-3 * max(1.0, np.log(fits.data.total))
