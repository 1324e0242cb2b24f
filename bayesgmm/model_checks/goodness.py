"""Goodness-of-fit test for Gaussian mixtures by simulation with refits (parametric bootstrap)."""

import threading
from dataclasses import dataclass

import numpy as np
from joblib import effective_n_jobs

from bayesgmm._common import Array, Progress, Rows, in_threads
from bayesgmm.mixture import Mixture
from bayesgmm.model_checks.fitted_mixture import FittedMixture
from bayesgmm.model_checks.gaussianity import (
    DEPARTURES,
    departures,
    feature_transforms,
    uniform_differences,
    uniform_distances,
)

GRID = np.linspace(0.0, 1.0, 101)  # where distribution functions of transforms are compared


@dataclass(frozen=True)
class GoodnessOfFit:
    """Departures from a Gaussian mixture, and how unusual they would be for one.

    Attributes
    ----------
    names : tuple of str
        Of the statistics, see `bayesgmm.model_checks.gaussianity.departures`.
    observed : (statistic,)
    replicated : (replicate, statistic)
    p_values : (statistic,)
        Share of replicates, the rows counted among them, that are as extreme; of the kurtosis on either side.
    p_value : float
        Of the smallest of these: small for one of the statistics is not enough.
    feature_p_values : (feature,)
        Of the distance of each feature's probability integral transform from uniformity.
    feature_differences : (replicate, feature, value)
        Distribution functions of the replicates' transforms minus the uniform one, at `GRID`.
    """

    names: tuple[str, ...]
    observed: Array
    replicated: Array
    p_values: Array
    p_value: float
    feature_p_values: Array
    feature_differences: Array


def goodness_of_fit(
    fitted: FittedMixture,
    *,
    n_replicates: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
    callback: Progress | None = None,
) -> GoodnessOfFit:
    r"""Parametric bootstrap: simulate rows from the model, refit, and compute the same statistics.

    For :math:`r = 1, \dots, R`: a draw :math:`\theta^r` of the posterior (EM's solution for a fit by EM), n rows from
    it, EM from :math:`\theta^r` on them with the prior of the fit, and the statistics at its optimum. The rows' own
    statistics are taken at their own optimum. Without the refits the rows, to which the parameters were fitted, would
    look better than the replicates, and p-values would crowd around a half (Robins, van der Vaart & Ventura 2000); with
    them they are uniform for Gaussian mixtures, up to the error of the parameters. Several statistics make one test by
    the smallest of their p-values, whose distribution is read off the same replicates (Westfall & Young 1993).
    """
    X = fitted.counted_rows
    seeds = rng.spawn(n_replicates + 1)
    own = _measured(X, fitted.best, seeds[-1])

    def replicate(r: int, stop: threading.Event) -> Array | None:
        if stop.is_set():
            return None
        mixture = fitted.mixture(r * len(fitted.draws) // n_replicates)
        rows = np.asfortranarray(mixture.sample(len(X), rng=seeds[r])[0])
        return _measured(rows, fitted.refit(rows, mixture), seeds[r])

    n_workers = effective_n_jobs(-1 if n_jobs is None else n_jobs)
    outcomes = in_threads(replicate, range(n_replicates), n_workers=n_workers, callback=callback)
    found = [one for one in outcomes if one is not None]
    if len(found) < n_replicates:
        raise KeyboardInterrupt
    together = np.vstack([own, *found])
    kept = np.isfinite(together).all(axis=1)
    return _judged(together[kept], X.shape[1])


def _measured(X: Rows, mixture: Mixture, rng: np.random.Generator) -> Array:
    """The statistics, after them one for each feature, and last the distribution functions of transforms."""
    u = feature_transforms(X, mixture)
    own = list(departures(X, mixture, rng=rng, transforms=u).values())
    return np.concatenate([own, uniform_distances(u), uniform_differences(u, GRID).ravel()])


def _judged(everything: Array, n_features: int) -> GoodnessOfFit:
    """p-values; the first line is of the data, the others are of the replicates."""
    names = tuple(DEPARTURES)
    together, curves = np.split(everything, [len(names) + n_features], axis=1)
    upper = (together[None] >= together[:, None]).mean(axis=1)
    lower = (together[None] <= together[:, None]).mean(axis=1)
    p = upper.copy()
    two_sided = names.index("kurtosis")
    p[:, two_sided] = np.minimum(1.0, 2.0 * np.minimum(upper, lower)[:, two_sided])
    smallest = p[:, : len(names)].min(axis=1)
    return GoodnessOfFit(
        names=names,
        observed=together[0, : len(names)],
        replicated=together[1:, : len(names)],
        p_values=p[0, : len(names)],
        p_value=float((smallest <= smallest[0]).mean()),
        feature_p_values=p[0, len(names) :],
        feature_differences=curves[1:].reshape(-1, n_features, len(GRID)),
    )
