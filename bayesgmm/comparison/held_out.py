"""Log predictive density of held-out rows: plug-in by refits for EM, importance sampling for a posterior."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bayesgmm._common import IntArray, PerRow, Progress, sentence
from bayesgmm.comparison.fits import Fit, FitPair
from bayesgmm.comparison.messages import Note
from bayesgmm.cross_validation import FEWEST_DRAWS, loo
from bayesgmm.data import Data
from bayesgmm.em import Degeneracy
from bayesgmm.exceptions import ParetoWarning, SamplingWarning
from bayesgmm.mixture import row_densities
from bayesgmm.noise import noise_of, run_em_from
from bayesgmm.posterior import SAMPLE_DIMS
from bayesgmm.priors import Model
from bayesgmm.validation import copies_of_rows

MOST_REFITS, FOLDS = 1_000, 10  # different rows left out one by one; folds if there are more
_MOST_NOISY = 100  # the same of fits with noise, whose EM takes plain steps in Python


@dataclass(frozen=True)
class HeldOut:
    """Log predictive densities of copies of rows that were left out.

    Attributes
    ----------
    elpd_i, in_sample_i : (copy,)
        Of the copy left out, and of the same row with nothing left out.
    times : (copy,)
        How often each counts: ones, or the weights of rows if they are not whole numbers.
    method : str
        For tables and sentences.
    notes : tuple of str
        Why not to trust it, if so.
    """

    elpd_i: PerRow
    in_sample_i: PerRow
    times: PerRow
    method: str
    notes: tuple[str, ...] = ()

    @property
    def elpd(self) -> float:
        """The sum over copies."""
        return float(self.elpd_i @ self.times)

    @property
    def p(self) -> float:
        """Effective number of parameters: in-sample minus left-out log predictive density."""
        return float(self.in_sample_i @ self.times) - self.elpd

    @property
    def se(self) -> float:
        """Standard error of the sum."""
        return standard_error_of_sum(self.elpd_i, self.times)


def standard_error_of_sum(values: PerRow, times: PerRow) -> float:
    r""":math:`\sqrt{n \\, var}` with n the total weight."""
    n = times.sum()
    if n <= 1.0:
        return float("nan")
    return float(np.sqrt(n / (n - 1.0) * (times @ (values - values @ times / n) ** 2)))


def held_out(
    fit: Fit, fits: FitPair, *, folds: int | None, rng: np.random.Generator, callback: Progress | None = None
) -> HeldOut | None:
    """Leave-one-out from the draws, or refits of EM; None where importance sampling is not possible."""
    return _of_posterior(fit, fits, callback) if fit.bayesian else _of_em(fit, fits, folds, rng, callback)


def _of_posterior(fit: Fit, fits: FitPair, callback: Progress | None) -> HeldOut | None:
    tree = fit.tree
    copies = _copies(fits.data)
    too_few = tree is not None and np.prod([tree["posterior"].sizes[dim] for dim in SAMPLE_DIMS]) < FEWEST_DRAWS
    if copies is None or too_few or tree is None or tree.attrs.get("mode_weights") == "stacking":
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = loo(tree, fits.data, progress=False, callback=callback)
    for warning in caught:
        if not issubclass(warning.category, ParetoWarning | SamplingWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    warned = [str(w.message) for w in caught if issubclass(w.category, ParetoWarning | SamplingWarning)]
    notes = [sentence(Note.LOO, fit=fit.label, warning=warning) for warning in warned]
    elpd_i = np.asarray(found.elpd_i, dtype=np.float64).ravel()
    flattered = np.asarray(found.p_loo_i, dtype=np.float64).ravel()
    return HeldOut(
        elpd_i, elpd_i + flattered, np.ones(len(elpd_i)), "leave-one-out by importance sampling (PSIS)", tuple(notes)
    )


def _of_em(fit: Fit, fits: FitPair, folds: int | None, rng: np.random.Generator, callback: Progress | None) -> HeldOut:
    """Refits without a copy or without a fold; EM starts at the fit, whose optimum it follows."""
    copies = _copies(fits.data)
    units = np.arange(fits.data.shape[0], dtype=np.int64) if copies is None else copies
    times = fits.data.weights if copies is None else np.ones(len(units))
    n_different = fits.data.distinct().shape[0]
    most = MOST_REFITS if noise_of(fit.mixture)[0] is None else _MOST_NOISY
    one_by_one = n_different <= most if folds is None else folds >= len(units)
    groups = _different_rows(fits, units) if one_by_one else _random_folds(len(units), folds or FOLDS, rng)
    elpd_i, n_collapsed = _refits(fit, fits, list(groups), units=units, times=times, callback=callback)
    method = "leave-one-out by exact refits" if one_by_one else f"{folds or FOLDS}-fold cross-validation by refits"
    notes = (sentence(Note.COLLAPSED_REFITS, n=n_collapsed, fit=fit.label),) if n_collapsed else ()
    return HeldOut(elpd_i, row_densities(fits.data, fit.mixture)[units], times, method, notes)


@dataclass(frozen=True)
class _Group:
    """Copies that are left out, and the copies that the refit then predicts."""

    left_out: IntArray
    predicted: IntArray


def _different_rows(fits: FitPair, units: IntArray) -> Iterator[_Group]:
    """One copy of each different row, for all copies of it."""
    same = np.unique(fits.data.entries, axis=0, return_inverse=True)[1].ravel()[units]
    order = np.argsort(same, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(same[order])) + 1):
        yield _Group(members[:1], members)


def _random_folds(n: int, folds: int, rng: np.random.Generator) -> Iterator[_Group]:
    for members in np.array_split(rng.permutation(n), min(folds, n)):
        yield _Group(members, members)


def _refits(
    fit: Fit, fits: FitPair, groups: list[_Group], *, units: IntArray, times: PerRow, callback: Progress | None
) -> tuple[PerRow, int]:
    data, elpd_i, n_collapsed = fits.data, np.empty(len(units)), 0
    model = Model.of_mixture(fit.mixture, fit.prior)
    degeneracy = Degeneracy.of(data, fit.settings, model)
    settings = degeneracy.with_floors(fit.settings)
    for n_done, group in enumerate(groups, start=1):
        weights = data.weights.copy()
        np.subtract.at(weights, units[group.left_out], times[group.left_out])
        others = data.with_weights(np.maximum(weights, 0.0))
        result = run_em_from(others, fit.mixture, prior=model.prior, settings=settings)
        elpd_i[group.predicted] = row_densities(data.take(units[group.predicted]), result.mixture)
        n_collapsed += degeneracy.collapsed(result.mixture)
        if callback is not None:
            callback(n_done, len(groups))
    return elpd_i, n_collapsed


def _copies(data: Data) -> IntArray | None:
    """The row of each copy; None if weights are not whole numbers."""
    whole = (data.weights == np.round(data.weights)).all()
    return copies_of_rows(data.shape[0], data.row_weights) if whole else None
