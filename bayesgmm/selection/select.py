"""`select_components`: comparison of several K and covariance families by a criterion."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import progress_bar, sentence
from bayesgmm.estimators import GaussianMixture
from bayesgmm.exceptions import (
    DegenerateComponentError,
    FewRowsWarning,
    InputError,
    InterruptedWarning,
    SamplingError,
    warn_user,
)
from bayesgmm.io import CheckpointPath, Pieces, checkpoint_at, once
from bayesgmm.priors import Prior
from bayesgmm.selection.criteria import Score
from bayesgmm.selection.messages import BROKEN, NOTES, Finding, Fragment
from bayesgmm.selection.selection import AnyCandidate, Comparand, Selection, findings_of, least_bad, table_of, winner_of
from bayesgmm.selection.task import Task, criteria_asked, seed_of
from bayesgmm.validation import check_flag, check_type

_NOTHING: Mapping[str, Any] = {}


def select_components(
    X: ArrayLike,
    n_components: int | Iterable[int] = range(1, 8),
    covariance_types: str | Sequence[str] | None = None,
    *,
    component: str | Sequence[str] | None = None,
    criterion: str | Sequence[str] = "bic",
    prior: Prior | str | None = None,
    sample_weight: ArrayLike | None = None,
    n_init: int | str = "auto",
    n_jobs: int | None = None,
    noise: bool | float = False,
    missing: str = "error",
    labels: ArrayLike | None = None,
    em: Mapping[str, Any] = _NOTHING,
    nuts: Mapping[str, Any] = _NOTHING,
    random_state: int | None = None,
    checkpoint: CheckpointPath = None,
    progress: bool = True,
) -> Selection:
    r"""Fit mixtures with several numbers of components and covariance families, and compare them.

    By EM, in seconds, with p free parameters, in scikit-learn's sign, lower is better (mclust's sign is the opposite):

    - ``"bic"``, :math:`-2 \log L + p \log n`: which model is most probable, approximately (Schwarz 1978);
    - ``"aic"``, :math:`-2 \log L + 2 p`: which one predicts best, approximately (Akaike 1974);
    - ``"icl"``, :math:`BIC - 2 \sum_i \log \max_k r_{ik}`: which clusters are well separated. This is the version with
      hard assignments, as in mclust; with the entropy :math:`-\sum_{ik} r_{ik} \log r_{ik}` in place of
      :math:`-\sum_i \log \max_k r_{ik}`, the penalty is at least as large (Biernacki, Celeux & Govaert 2000).

    By NUTS, one fit per model, higher is better, with standard errors:

    - ``"evidence"``, :math:`\log p(X)`: which model is most probable, under its prior, see `bayesgmm.log_evidence`;
    - ``"loo"``, the expected log predictive density of a new row: which model predicts best, see `bayesgmm.loo`.

    A model for which every start ended in a spike cannot win: its likelihood is determined by ``reg_covar``.

    Parameters
    ----------
    X : array-like or dataframe, (obs, feature), or rows not in memory
        Paths and sources as in `GaussianMixture.fit`, for criteria by EM.
    n_components : int or iterable of int
        The numbers of components K.
    covariance_types : str or sequence of str, optional
        Names as in `GaussianMixture`. By default all families (two if there is one feature) if all criteria are by
        EM, and ``"full"`` otherwise.
    component : str or sequence of str, optional
        Distributions of components to compare, as in `GaussianMixture`: ``["gaussian", "student_t"]``. Degrees of
        freedom are those of ``em={"dof": ...}``. By default Gaussian ones, for criteria by NUTS too.
    criterion : str or sequence of str
        The first decides; the others are reported, those by EM always.
    prior : Prior or str, optional
        As in `GaussianMixture`: EM finds the maximum a posteriori, at which criteria use the likelihood (Fraley &
        Raftery 2007). Fits by NUTS use this prior; by default `Prior.weakly_informative`, which is the same for
        every K.
    sample_weight : (obs,), optional
        Frequency weights.
    n_init : int or "auto"
        Number of EM starts per model, as in `GaussianMixture`.
    n_jobs : int, optional
        Number of threads for EM starts, as in joblib; results do not depend on it.
    noise : bool or float
        Whether every model has a uniform noise component, as in `GaussianMixture`; for criteria by EM.
    missing : {"error", "marginalize"}
        Whether rows with missing values are refused, or count with what was observed of them.
    labels : array-like, optional
        What is known of the component of each row, as in `GaussianMixture.fit`, for every number of components.
    em, nuts : mapping, optional
        Further parameters of `GaussianMixture` and `BayesianGaussianMixture`, for example ``nuts={"draws": 2000}``.
    random_state : int, optional
        Seed of every model, so that an estimator with this seed reproduces a row of the table.
    checkpoint : path, optional
        A folder that is made if there is none, with a folder for each fit in it, see `GaussianMixture.fit` and
        `BayesianGaussianMixture.fit`. After an end of the process at any moment the same call goes on from there.
    progress : bool
        Show a progress bar, in a terminal or notebook only.

    Returns
    -------
    Selection
        ``table``, ``winner``, ``best``, ``fits``, ``findings`` and ``plot()``. After Ctrl-C, for the models
        fitted so far.

    Raises
    ------
    InputError
        For data or settings that cannot be fitted, before any work; for a checkpoint of others.
    DegenerateComponentError
        If no model could be fitted and has a value of the criterion.

    Warns
    -----
    SingleBestStartWarning
        Only one start found the winner's best optimum: a better one may change the choice.
    DegeneracyWarning
        Every model was degenerate; the winner has more parameters than rows; or the data have constant or
        linearly dependent columns.
    SamplingWarning, ParetoWarning, EvidenceWarning
        About the winner; warnings about other models are in ``table["note"]``.

    Examples
    --------
    >>> from bayesgmm import select_components
    >>> from bayesgmm.datasets import load_old_faithful
    >>> found = select_components(load_old_faithful(), range(1, 5), ["full", "tied"], random_state=1)
    >>> print(found)
    The best model by BIC is tied with K = 3: 2314.30 (lower is better); 5 of 5 starts reached EM's best optimum.
    The next best is tied with K = 4, 5.84 behind.
    Other criteria choose otherwise: AIC prefers full with K = 4; ICL prefers full with K = 2.
    >>> found.table.loc["tied", ["n_parameters", "bic"]].round(1)
                  n_parameters     bic
    n_components
    1                        5  2607.6
    2                        8  2325.2
    3                       11  2314.3
    4                       14  2320.1
    """
    check_flag(progress=progress)
    check_type(Mapping, em=em, nuts=nuts)
    task = Task(
        X,
        covariance_types=covariance_types,
        component=component,
        asked=n_components,
        criteria=criteria_asked(criterion),
        prior=prior,
        sample_weight=sample_weight,
        em={"n_init": n_init, "n_jobs": n_jobs, "noise": noise, "missing": missing, **em},
        nuts={"missing": missing, **nuts, "progress": False},
        seed=seed_of(random_state),
        labels=labels,
    )
    task.check()
    with checkpoint_at(checkpoint, lambda: {**task.work, "random_state": random_state}) as kept:
        seed = once(kept, "seed", lambda: task.seed)
        task = task if seed == task.seed else replace(task, seed=seed)
        with progress_bar("Comparing models", show=progress, percent=True) as callback:
            results, interrupted = _run(task, _Checkpoint(checkpoint, kept), callback)
    selection = _selection(task, results)
    _warn(selection, results, interrupted=interrupted)
    return selection


@dataclass(frozen=True)
class _Checkpoint:
    """Scores that are kept, and folders of checkpoints of the fits."""

    path: CheckpointPath
    kept: Pieces | None

    def folder(self, candidate: AnyCandidate, method: str) -> Path | None:
        """Where a fit is kept."""
        if self.path is None:
            return None
        return Path(self.path) / "-".join([*map(str, candidate), method])


@dataclass(frozen=True)
class _Result:
    """One model, its fit if there is one, and warnings of the fit."""

    model: Comparand
    fit: Any = None
    warned: list[warnings.WarningMessage] = field(default_factory=list)


def _run(
    task: Task, checkpoint: _Checkpoint, callback: Callable[[int, int], None] | None
) -> tuple[dict[AnyCandidate, _Result], bool]:
    """Fit all models; Ctrl-C keeps those that are finished."""
    work = np.cumsum([candidate.n_components for candidate in task.candidates])
    results: dict[AnyCandidate, _Result] = {}
    try:
        for candidate, done in zip(task.candidates, work, strict=True):
            results[candidate] = _result(task, candidate, checkpoint)
            if callback is not None:
                callback(int(done), int(work[-1]))
    except KeyboardInterrupt:
        if all(result.fit is None for result in results.values()):
            raise
        return results, True
    return results, False


def _result(task: Task, candidate: AnyCandidate, checkpoint: _Checkpoint) -> _Result:
    """Fit one model and score it; what goes wrong with it becomes a note."""
    weights, known = task.checked.row_weights, {} if task.labels is None else {"labels": task.labels}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            folder = checkpoint.folder(candidate, "em")
            fitted = task.by_em(candidate).fit(task.rows, sample_weight=weights, **known, checkpoint=folder)
        except DegenerateComponentError:
            return _Result(_broken(task, candidate), warned=warned)
        if fitted.starts_.interrupted:
            raise KeyboardInterrupt
        fit: Any = fitted
        if task.bayesian:
            folder = checkpoint.folder(candidate, "nuts")
            fit = task.by_nuts(candidate).fit(task.rows, sample_weight=weights, **known, checkpoint=folder)
            if fit.posterior_.attrs.get("interrupted"):
                raise KeyboardInterrupt
        scores, failures, told = once(checkpoint.kept, f"scores of {candidate}", lambda: _scores(task, fitted, fit))
        for category, text in told:
            warn_user(text, category)
    if task.bayesian:  # a prior supplies what rows lack
        warned = [w for w in warned if w.category is not FewRowsWarning]
    notes = dict.fromkeys([*(NOTES[w.category] for w in warned if w.category in NOTES), *failures])
    return _Result(_comparand(fitted, fit, scores, notes), fit, warned)


type _Told = list[tuple[type[Warning], str]]


def _scores(task: Task, fitted: GaussianMixture, fit: Any) -> tuple[dict[str, Score], list[str], _Told]:
    """Every criterion, and warnings; one that cannot be had for this model is NaN, and the reason a note."""
    scores, failures = {}, []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for criterion in task.criteria:
            try:
                scores[criterion.name] = criterion.score(fit if criterion.bayesian else fitted, task.seed)
            except (InputError, SamplingError) as error:
                scores[criterion.name] = Score(nan)
                failures.append(f"{criterion.label}: {error}")
    return scores, failures, [(_plain_category(w.category), str(w.message)) for w in warned]


def _plain_category(category: type[Warning]) -> type[Warning]:
    """A category of this package or of Python, which is what a checkpoint can hold."""
    return next(kind for kind in category.__mro__ if kind.__module__.partition(".")[0] in ("bayesgmm", "builtins"))


def _comparand(fitted: GaussianMixture, fit: Any, scores: Mapping[str, Score], notes: Iterable[str]) -> Comparand:
    starts = fitted.starts_
    return Comparand(
        log_likelihood=fitted.log_likelihood_,
        n_parameters=fitted.n_parameters(),
        scores=scores,
        n_best_reached=starts.n_best_reached,
        n_starts=starts.n_starts,
        n_degenerate=starts.n_degenerate,
        degenerate=bool(starts.degenerate[starts.best]),
        converged=bool(fitted.converged_ and fit.converged_),
        note="; ".join(notes),
    )


def _broken(task: Task, candidate: AnyCandidate) -> Comparand:
    """A model that EM could not fit at all."""
    return Comparand(
        log_likelihood=nan,
        n_parameters=task.model_of(candidate).n_parameters,
        scores={criterion.name: Score(nan) for criterion in task.criteria},
        n_best_reached=0,
        n_starts=0,
        n_degenerate=0,
        degenerate=True,
        converged=False,
        note=BROKEN,
    )


def _selection(task: Task, results: Mapping[AnyCandidate, _Result]) -> Selection:
    models, deciding = {c: result.model for c, result in results.items()}, task.criteria[0]
    winner = winner_of(models, deciding) or least_bad(models, deciding)
    if winner is None:
        notes = dict.fromkeys(model.note for model in models.values())
        raise DegenerateComponentError(sentence(Finding.NONE, notes="; ".join(notes)), figures={})
    findings = findings_of(models, deciding, winner=winner)
    fits = {c: result.fit for c, result in results.items() if result.fit is not None}
    return Selection(table_of(models), deciding.name, winner, fits, findings, models)


def _warn(selection: Selection, results: Mapping[AnyCandidate, _Result], *, interrupted: bool) -> None:
    """The winner's warnings, and those of any model that are not about a single fit."""
    seen = set()
    for candidate, result in results.items():
        for warned in result.warned:
            text = str(warned.message)
            about_a_fit = warned.category in NOTES
            if (candidate == selection.winner or not about_a_fit) and text not in seen:
                seen.add(text)
                full = sentence(Fragment.OF_WINNER, model=str(candidate), warning=text) if about_a_fit else text
                warn_user(full, warned.category)
    if interrupted:
        warn_user(sentence(Finding.INTERRUPTED, n=len(results)), InterruptedWarning)
