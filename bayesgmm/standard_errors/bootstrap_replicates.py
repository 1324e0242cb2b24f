"""The bootstrap of a mixture: EM from the fit on resampled or reweighted rows, labels aligned to the fit."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike

from bayesgmm._common import Array, Covariances, IntArray, Means, Weights, in_threads
from bayesgmm.data import Data, IncompleteData
from bayesgmm.em import Degeneracy, EMResult, EMSettings, EMState, Initialisation, run_em, starting_mixture
from bayesgmm.exceptions import (
    DegeneracyWarning,
    DegenerateComponentError,
    InputError,
    InterruptedWarning,
    warn_user,
)
from bayesgmm.io import Pieces, once
from bayesgmm.mixture import Mixture, align_to, row_densities, row_memberships
from bayesgmm.priors import Model, Prior
from bayesgmm.standard_errors.information import CI_PROB, Estimate, PerParameter
from bayesgmm.validation import check_jobs, check_number, check_option, check_whole

_NUMBERS_PER_BLOCK = 4_000_000
# The largest tolerance of EM on replicates. It starts at the fit, where a replicate may have a plateau: gains that die
# quickly hide slow gains to come, and standard errors came out up to 40 % too small at 1e-6.
_TOLERANCE = 1e-10
_FEWEST = 2  # replicates that have a spread
_MANY_DEGENERATE = 0.1  # a share whose loss shows in what is left

type ReplicateCallback = Callable[[int, int], object]


def _resampled(data: Data, mixture: Mixture, rng: np.random.Generator) -> Data:
    """Rows drawn with replacement, as counts: no row is copied."""
    counts = rng.multinomial(round(data.total), data.weights / data.total)
    return data.with_weights(counts.astype(np.float64))


def _reweighted(data: Data, mixture: Mixture, rng: np.random.Generator) -> Data:
    """Exponential weights scaled to the number of rows; a row that stands for v rows gets their sum."""
    drawn = rng.standard_gamma(data.weights)
    return data.with_weights(drawn * (data.total / drawn.sum()))


def _simulated(data: Data, mixture: Mixture, rng: np.random.Generator) -> Data:
    """New rows from the fitted mixture; values are missing as they are in rows drawn with replacement."""
    rows = np.asfortranarray(mixture.sample(round(data.total), rng=rng)[0])
    if not isinstance(data, IncompleteData):
        return Data(rows)
    like = rng.choice(len(data.weights), size=len(rows), p=data.weights / data.total)
    return IncompleteData(np.where(np.isnan(data.entries[like]), np.nan, rows))


KINDS = {"nonparametric": _resampled, "weighted": _reweighted, "parametric": _simulated}


@dataclass(frozen=True)
class Bootstrap:
    """Estimates of replicates, labelled like the fit.

    Attributes
    ----------
    kind : str
    mixture : Mixture
        The fit.
    weights : (replicate, cluster)
    means : (replicate, cluster, feature)
    covariances : (replicate, ...)
        In the shape of the mixture's.
    n_degenerate : int
        Replicates that ended in a spike, with a collapsed covariance or a component of fewer than D + 1 rows that has
        its own covariance; they are left out. An emptied component with a shared covariance is kept, as an
        estimate of its weight.
    n_unconverged : int
        Replicates that reached ``max_iter``; they are kept.
    interrupted : bool
        Whether it stopped before all requested replicates.
    """

    __module__ = "bayesgmm.standard_errors"

    kind: str
    mixture: Mixture
    weights: Weights
    means: Means
    covariances: Covariances
    n_degenerate: int
    n_unconverged: int
    interrupted: bool = False

    @property
    def n_replicates(self) -> int:
        """Replicates that were kept."""
        return len(self.weights)

    @property
    def share_degenerate(self) -> float:
        """Share of the replicates that were left out."""
        return self.n_degenerate / (self.n_degenerate + self.n_replicates)

    @property
    def _draws(self) -> PerParameter:
        return PerParameter(self.weights, self.means, self.covariances)

    @property
    def standard_errors(self) -> PerParameter:
        """Standard deviations over replicates, in the shapes of the parameters."""
        return PerParameter(*(draws.std(axis=0, ddof=1) for draws in self._draws))

    @property
    def bias(self) -> PerParameter:
        """Mean over replicates less the fit: an estimate of the fit's own bias."""
        fit = (self.mixture.weights, self.mixture.means, self.mixture.covariances)
        return PerParameter(*(draws.mean(axis=0) - own for draws, own in zip(self._draws, fit, strict=True)))

    def intervals(self, ci_prob: float = CI_PROB) -> tuple[PerParameter, PerParameter]:
        """Lower and upper ends of percentile intervals for every parameter."""
        lower, upper = zip(*(np.quantile(draws, _tails(ci_prob), axis=0) for draws in self._draws), strict=True)
        return PerParameter(*lower), PerParameter(*upper)

    def memberships(self, X: ArrayLike, ci_prob: float = CI_PROB) -> Estimate:
        """Probabilities of the components for each row, (obs, cluster), with percentile intervals."""
        return self._over_replicates(X, row_memberships, ci_prob)

    def log_density(self, X: ArrayLike, ci_prob: float = CI_PROB) -> Estimate:
        """Log density of each row, (obs,), with percentile intervals."""
        return self._over_replicates(X, row_densities, ci_prob)

    def _over_replicates(self, X: ArrayLike, figure: Callable[[Data, Mixture], Array], ci_prob: float) -> Estimate:
        data = Data.of(X, n_features=self.mixture.n_features)
        mixtures, tails = list(self._mixtures()), _tails(ci_prob)
        size = max(1, _NUMBERS_PER_BLOCK // (len(mixtures) * self.mixture.n_components))
        parts = []
        for piece in data.pieces(size):
            draws = np.stack([figure(piece, mixture) for mixture in mixtures])
            lower, upper = np.quantile(draws, tails, axis=0)
            parts.append(Estimate(figure(piece, self.mixture), draws.std(axis=0, ddof=1), lower, upper))
        return Estimate(*(np.concatenate(pieces) for pieces in zip(*parts, strict=True)))

    def _mixtures(self) -> Iterator[Mixture]:
        for parameters in zip(*self._draws, strict=True):
            yield Mixture(*parameters, self.mixture.covariance_type)


def bootstrap(
    X: ArrayLike | Data,
    mixture: Mixture,
    *,
    rng: np.random.Generator,
    kind: str = "nonparametric",
    n_replicates: int = 999,
    prior: Prior | None = None,
    settings: EMSettings | None = None,
    row_weights: ArrayLike | None = None,
    n_starts: int = 1,
    n_jobs: int | None = None,
    callback: ReplicateCallback | None = None,
    kept: Pieces | None = None,
) -> Bootstrap:
    r"""Fit replicates of the rows by EM from the fitted mixture.

    Parameters
    ----------
    X : (obs, feature)
        The rows of the fit.
    mixture : Mixture
        The fit.
    rng : numpy.random.Generator
        Each replicate draws from a child of its own: the result does not depend on ``n_jobs``.
    kind : {"nonparametric", "weighted", "parametric"}
        Rows drawn with replacement; all rows with weights :math:`n \cdot Dir(1, \dots, 1)` (the weighted
        likelihood bootstrap, in which no row is ever lost and components seldom collapse); or new rows from the
        mixture, which trusts the model.
    n_replicates : int
    prior : Prior, optional
        Of a fit by maximum a posteriori.
    settings : EMSettings, optional
        Their ``tol`` is lowered to 1e-10, so that replicates do not stop on a plateau beside the fit.
    row_weights : (obs,), optional
        Frequency weights: a row with weight two counts as two rows.
    n_starts : int
        Starts of EM on a replicate: the fit, and k-means++ for those above one. More than one follows a replicate to
        a better optimum elsewhere, which makes standard errors larger where the likelihood has several.
    n_jobs : int, optional
        Threads, in joblib's meaning.
    callback : callable, optional
        Called as ``callback(replicates done, replicates in all)``; a true return value ends the run, which keeps
        what is done, as an interruption from the keyboard does.
    kept : Pieces, optional
        Of a checkpoint: replicates that are finished.

    Raises
    ------
    InputError
        For input that cannot be used.
    DegenerateComponentError
        If fewer than two replicates are left.

    Warns
    -----
    DegeneracyWarning
        If more than a tenth of the replicates ended in a spike.
    InterruptedWarning
        If it was interrupted.

    Notes
    -----
    Components are matched to the fit's by optimal assignment, see `align_to`.

    Replicates are fitted to their maximum. mclust 6.0.0's `MclustBootstrap` stops earlier, when a step gains less than
    1e-5 of the log-likelihood; where components overlap its standard errors differ for that reason, in either
    direction. With its stopping rule ours are the same as its (`tests/standard_errors/test_bootstrap_reference.py`).

    References
    ----------
    Newton & Raftery 1994, J. R. Statist. Soc. B 56, for the weighted likelihood bootstrap; O'Hagan, Murphy, Scrucca
    & Gormley 2019, Statistics and Computing 29, for mixtures.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.standard_errors import bootstrap
    >>> X = np.array([[-2.0], [0.0], [2.0], [-1.0], [1.0], [0.0], [0.0], [0.0]])
    >>> result = bootstrap(X, Mixture([1.0], [[0.0]], [[[1.25]]]), rng=np.random.default_rng(0), n_replicates=400)
    >>> result.standard_errors.means.round(1), result.n_degenerate
    (array([[0.4]]), 0)
    """
    data = Data.of(X, row_weights, n_features=mixture.n_features)
    check_option(KINDS, kind=kind)
    if kind == "parametric" and data.allowed is not None:
        hint = "Which rows of a new sample would be labelled is not known."
        raise InputError(expected="kind='nonparametric' or 'weighted' with labels", got=repr(kind), hint=hint)
    check_whole(least=_FEWEST, n_replicates=n_replicates)
    check_whole(n_starts=n_starts)
    check_jobs(n_jobs)
    model = Model.of_mixture(mixture, prior)
    settings = settings or EMSettings()
    settings = Degeneracy.of(data, settings, model).with_floors(
        replace(settings, tol=_TOLERANCE if settings.tol is None else min(settings.tol, _TOLERANCE))
    )
    plan = _Plan(data, mixture, kind, model, settings, n_starts)
    results, stopped = _run_all(plan, rng.spawn(n_replicates), n_jobs=n_jobs, callback=callback, kept=kept)
    return _collected(plan, results, interrupted=stopped)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that the replicates have in common."""

    data: Data
    mixture: Mixture
    kind: str
    model: Model
    settings: EMSettings
    n_starts: int

    def replicate(self, rng: np.random.Generator, stop: threading.Event) -> EMResult | None:
        """The best EM run on one replicate that is not degenerate; None if there is none or it was stopped."""
        data = KINDS[self.kind](self.data, self.mixture, rng)
        degeneracy = Degeneracy.of(data, self.settings, self.model)
        best: EMResult | None = None
        for start in self._starts(data, rng):
            result = run_em(data, start, prior=self.model.prior, settings=self.settings, callback=_until(stop))
            if not np.isfinite(result.objective) or self._degenerate(result, degeneracy):
                continue
            best = result if best is None or result.objective > best.objective else best
        return best

    def _starts(self, data: Data, rng: np.random.Generator) -> Iterator[Mixture]:
        yield self.mixture
        for _ in range(self.n_starts - 1):
            yield starting_mixture(
                data,
                self.model,
                rng=rng,
                initialisation=Initialisation("k-means++"),
                reg_covar=self.settings.reg_covar,
            )

    def _degenerate(self, result: EMResult, degeneracy: Degeneracy) -> bool:
        if self.model.prior is not None:
            return result.n_floored > 0
        emptied = not result.mixture.family.shared and result.counts.min() < result.mixture.n_features + 1.0
        return bool(emptied) or degeneracy.collapsed(result.mixture)


def _until(stop: threading.Event) -> Callable[[EMState], bool]:
    return lambda state: stop.is_set()


def _run_all(
    plan: _Plan,
    rngs: list[np.random.Generator],
    *,
    n_jobs: int | None,
    callback: ReplicateCallback | None,
    kept: Pieces | None,
) -> tuple[list[EMResult | None], bool]:
    """Results in the order of the replicates, None where degenerate; and whether the run was stopped."""

    def run(job: tuple[int, np.random.Generator], stop: threading.Event) -> tuple[bool, EMResult | None]:
        number, rng = job
        if stop.is_set():
            return False, None
        result = once(kept, f"replicate {number}", lambda: plan.replicate(rng, stop), unless=stop.is_set)
        return not stop.is_set(), result

    outcomes = in_threads(run, list(enumerate(rngs)), n_workers=effective_n_jobs(n_jobs), callback=callback)
    finished = [result for done, result in outcomes if done]
    return finished, len(finished) < len(rngs)


def _collected(plan: _Plan, results: list[EMResult | None], *, interrupted: bool) -> Bootstrap:
    kept = [result for result in results if result is not None]
    n_degenerate = len(results) - len(kept)
    if len(kept) < _FEWEST:
        if interrupted:
            raise KeyboardInterrupt
        raise DegenerateComponentError(
            "Hardly a replicate ended without a collapsed or emptied component, so the bootstrap says nothing. Try "
            "kind='weighted', a prior, fewer components or a simpler covariance_type.",
            figures={"replicates": len(results), "degenerate": n_degenerate},
        )
    _report(len(kept), n_degenerate, interrupted)
    alike = plan.model.labelled(plan.data.allowed).interchangeable
    mixtures = [_aligned(plan.mixture, result.mixture, alike) for result in kept]
    return Bootstrap(
        plan.kind,
        plan.mixture,
        np.stack([mixture.weights for mixture in mixtures]),
        np.stack([mixture.means for mixture in mixtures]),
        np.stack([mixture.covariances for mixture in mixtures]),
        n_degenerate,
        sum(not result.converged for result in kept),
        interrupted,
    )


def _report(n_kept: int, n_degenerate: int, interrupted: bool) -> None:
    if interrupted:
        warn_user(f"Interrupted: {n_kept} replicates were kept.", InterruptedWarning)
    if n_degenerate > _MANY_DEGENERATE * (n_kept + n_degenerate):
        warn_user(
            f"{n_degenerate} of {n_kept + n_degenerate} replicates ended in a spike and were left out; what is left is "
            "a selection. Try kind='weighted', which loses no row, a prior, fewer components or a simpler "
            "covariance_type.",
            DegeneracyWarning,
        )


def _aligned(reference: Mixture, mixture: Mixture, alike: IntArray | None) -> Mixture:
    order = align_to(reference, mixture.weights, mixture.means, mixture.full_covariances, alike=alike)
    return mixture.permute(order)


def _tails(ci_prob: float) -> tuple[float, float]:
    check_number(least=0.0, most=1.0, ci_prob=ci_prob)
    return 0.5 - 0.5 * ci_prob, 0.5 + 0.5 * ci_prob
