"""Estimates of every parameter with errors and intervals, from EM or from draws, in one shape."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import skew

from bayesgmm._common import Array, sentence
from bayesgmm.comparison.fits import Fit, FitPair
from bayesgmm.comparison.messages import Note
from bayesgmm.data import Data
from bayesgmm.exceptions import InformationError, InformationWarning, InputError
from bayesgmm.mixture import FAMILIES, CovarianceFamily, Draws, Mixture, divergences
from bayesgmm.noise import noise_of, refuse_noise
from bayesgmm.prediction import interval_over_draws
from bayesgmm.standard_errors import Bootstrap, PerParameter, standard_errors


class Full(NamedTuple):
    """One figure for each parameter: (cluster,), (cluster, feature), (cluster, feature, feature_bis) and (1,)."""

    weights: Array
    means: Array
    covariances: Array
    noise: Array = np.full(1, np.nan)


@dataclass(frozen=True)
class Estimates:
    """Estimates of the parameters by one fit.

    Attributes
    ----------
    value, error, lower, upper : Full
        EM's estimate with standard errors and intervals from the observed information, or posterior mean, sd and
        interval.
    skewness : Full, optional
        Of the draws.
    bootstrap : tuple of three Full, optional
        Standard errors, lower and upper ends of percentile intervals.
    notes : tuple of str
    """

    value: Full
    error: Full
    lower: Full
    upper: Full
    skewness: Full | None = None
    bootstrap: tuple[Full, Full, Full] | None = None
    notes: tuple[str, ...] = ()


def estimates_of(fit: Fit, fits: FitPair, *, ci_prob: float, bootstrap: Bootstrap | None = None) -> Estimates:
    """Figures of one fit; those of EM are missing (NaN) where the information is not positive definite."""
    return _of_draws(fit, ci_prob) if fit.bayesian else _of_em(fit, fits, ci_prob, bootstrap)


def _of_draws(fit: Fit, ci_prob: float) -> Estimates:
    draws: Draws = fit.draws  # type: ignore[assignment]
    noise = [] if draws.noise_weight is None else [draws.noise_weight[:, None]]
    flat = [np.moveaxis(values, 0, -1) for values in (draws.weights, draws.means, draws.compact, *noise)]
    interval = interval_over_draws(ci_prob, None)
    bounds = [interval(values) for values in flat]
    with warnings.catch_warnings():  # the weight of a single component never varies
        warnings.simplefilter("ignore", RuntimeWarning)
        skewness = [np.nan_to_num(skew(values, axis=-1)) for values in flat]

    def full(figures: Sequence[Any]) -> Full:
        weights, means, compact, *of_noise = figures
        return Full(weights, means, draws.family.matrices(compact), *of_noise)

    return Estimates(
        full([values.mean(axis=-1) for values in flat]),
        full([values.std(axis=-1, ddof=1) for values in flat]),
        full([both[..., 0] for both in bounds]),
        full([both[..., 1] for both in bounds]),
        full(skewness),
    )


def _of_em(fit: Fit, fits: FitPair, ci_prob: float, bootstrap: Bootstrap | None) -> Estimates:
    mixture, notes = fit.mixture, []
    unknown = PerParameter(*(np.full_like(v, np.nan) for v in (mixture.weights, mixture.means, mixture.covariances)))
    error = lower = upper = unknown
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InformationWarning)
        try:
            refuse_noise(mixture, "standard errors")
            refuse_labels(fits.data, "standard errors")
            found = standard_errors(fits.data, mixture, prior=fit.prior)
            error = PerParameter(found.weights, found.means, found.covariances)
            lower, upper = found.intervals(ci_prob)
        except (InformationError, InputError) as reason:
            notes.append(sentence(Note.NO_INFORMATION, fit=fit.label, reason=str(reason)))
    warned = [str(w.message) for w in caught if issubclass(w.category, InformationWarning)]
    notes += [sentence(Note.INFORMATION, fit=fit.label, warning=warning) for warning in warned]
    value = PerParameter(mixture.weights, mixture.means, mixture.covariances)
    drawn = None if bootstrap is None else (bootstrap.standard_errors, *bootstrap.intervals(ci_prob))
    return Estimates(
        value=with_noise(full_of(value, mixture), mixture),
        error=full_of(error, mixture),
        lower=full_of(lower, mixture),
        upper=full_of(upper, mixture),
        bootstrap=None if drawn is None else tuple(full_of(each, mixture) for each in drawn),  # type: ignore[arg-type]
        notes=tuple(notes),
    )


def full_of(figures: PerParameter, mixture: Mixture) -> Full:
    """Figures in the shapes of a covariance family, expanded to full matrices."""
    k, d, values = mixture.n_components, mixture.n_features, np.asarray(figures.covariances)
    family = mixture.family
    if family.as_matrices:
        full = np.broadcast_to(values, (k, d, d))
    else:
        per_feature = values[:, None] if values.ndim == 1 else values
        full = per_feature[..., None] * np.eye(d)
    return Full(figures.weights, figures.means, np.broadcast_to(full, (k, d, d)))


def refuse_labels(data: Data, what: str) -> None:
    """Refuse what rows with labels do not have."""
    if data.allowed is not None:
        raise InputError(expected=f"a fit without labels for {what}", got="one with labelled rows")


def with_noise(figures: Full, mixture: Mixture) -> Full:
    """Figures with the weight of a mixture's noise."""
    noise, weight = noise_of(mixture)
    return figures if noise is None else figures._replace(noise=np.array([weight]))


def family_of_both(fits: FitPair) -> CovarianceFamily:
    """The smallest covariance family that includes both."""
    a, b = (fit.mixture.family for fit in fits)
    n_features = max(2, fits.first.mixture.n_features)
    richer = (family for family in (*FAMILIES.values(), a, b) if family.includes(a) and family.includes(b))
    return min(richer, key=lambda family: family.n_parameters(2, n_features))


class Match(NamedTuple):
    """A component of the first fit, one of the second, and how far they are apart."""

    first: int
    second: int
    divergence: float

    def of(self, position: int) -> int:
        """The component of the first (0) or second (1) fit."""
        return self.second if position else self.first


def matched(first: Mixture, second: Mixture) -> list[Match]:
    """Components matched by optimal assignment, by the cost of `align_to`; of the larger mixture some are left."""
    cost = divergences(second, first.weights, first.means, first.full_covariances)
    return [Match(int(j), int(k), float(cost[j, k])) for j, k in zip(*linear_sum_assignment(cost), strict=True)]
