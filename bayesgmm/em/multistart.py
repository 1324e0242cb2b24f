"""Multi-start EM: the best optimum that is not degenerate, and a record of every start."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from math import isfinite, isnan, nan
from typing import NamedTuple

import numpy as np
from joblib import effective_n_jobs

from bayesgmm._common import Array, IntArray, one_blas_thread
from bayesgmm.data import Data, HaltedError, threads_for
from bayesgmm.em.degeneracy import smallest_variances
from bayesgmm.em.em import EMResult, EMSettings, EMState, run_em
from bayesgmm.em.initialization import Initialisation
from bayesgmm.em.local_search import EFFORTS, Effort, SearchData, ShortEM, search_from
from bayesgmm.em.start_plan import KINDS_IN_TURN, OF_RACE, SAME_OPTIMUM, Plan, Starts
from bayesgmm.exceptions import (
    ClusterError,
    DegeneracyWarning,
    DegenerateComponentError,
    FewRowsWarning,
    InputError,
    SingularDataWarning,
    warn_user,
)
from bayesgmm.io import Pieces, once
from bayesgmm.mixture import Equivariance, Mixture
from bayesgmm.priors import Model, warn_of_constant_features
from bayesgmm.validation import check_components

_QUICK = (
    1e-4  # seconds of a pass over the rows that a search sees: below, threads wait for Python longer than they gain
)
_MOST_NAMED = 10
_ROUND = 2  # starts of a race between which nobody asks whether it is over; the first is alone
_NONE_PROPER, _FEW = 9, 3  # starts without a proper end after which a race is over, and where passes take long
_UNSEARCHED = 5  # starts without a search that are made at most where no searched one ended properly
_GO_ON = 2  # how many ends on a part of the rows go on with all of them
_HEAD_START, _HOPE = 5, 20.0  # steps after which the second is judged, and gains like the last that it may hope for
_ALMOST = 1e-4  # gain per row of the last step of a start that had almost converged before it collapsed
_PLAIN_STEPS = 20  # of EM before it extrapolates, which hides how much is to come
_A_FEW = 3  # steps from the last proper point, which show what they gain
_BEYOND = 4.0  # times what a search may cost that EM goes on after a loose tolerance is met
_ILL_DEFINED = (  # scikit-learn's sentence
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale "
    "the input data."
)
type StartCallback = Callable[[int, EMState], object]


def best_of_starts(
    data: Data,
    model: Model,
    *,
    rng: np.random.Generator,
    settings: EMSettings | None = None,
    n_init: int | None = 10,
    effort: Effort = EFFORTS["standard"],
    initialisation: Initialisation | None = None,
    start: Mixture | None = None,
    n_jobs: int | None = None,
    max_seconds: float | None = None,
    callback: StartCallback | None = None,
    feature_names: Sequence[str] | None = None,
    kept: Pieces | None = None,
) -> tuple[EMResult, Starts]:
    """Run EM to convergence from several starts and keep the best non-degenerate one.

    Without a prior a start is *degenerate* if a component's smallest eigenvalue is below 1e-3 of that of the
    covariance of the data, every feature in units of its standard deviation (diagonal families: the smallest ratio
    of variances; spherical: over the mean variance), or sits at the floor ``reg_covar``, or if the component holds
    fewer than D + 1 rows' worth of weight (a shared covariance: if it emptied). Such likelihoods are determined by
    the floor. A prior bounds the objective, so with a prior only the floor counts; but the density of a component of
    one row is high in a very small place, the higher the more features. With a prior the best mode is the one around
    which the posterior has the most mass, by the complete data expected there (`ResolvedPrior.log_volume`), not the
    highest. In directions without variance, constant or linearly dependent columns, a collapse cannot be detected: the
    warning then is about the data.

    Components are sorted by the mean of the first feature (ties: of the next one), unless initial parameters are
    given or the prior is not exchangeable.

    Parameters
    ----------
    data : Data
        Weighted rows and repeated rows in memory give bitwise identical results. Starts of other rows see a sample of
        them; the best go on with all.
    model : Model
        A prior makes the objective the log posterior density.
    rng : numpy.random.Generator
        Each start draws from a child of its own: the result does not depend on ``n_jobs``.
    settings : EMSettings, optional
    n_init : int, optional
        Number of starts; one if all would be identical (``start``, means or labels given). None is a race: starts
        follow each other until the best optimum was met often, or until they cost what the sizes of data and model and
        the first start suggest. On many rows they are compared on some, and the best goes on.
    effort : Effort
        How long starts search, and a race lasts.
    initialisation : Initialisation, optional
    start : Mixture, optional
        A single mixture to start from.
    n_jobs : int, optional
        Threads, in joblib's meaning; by default one, or where a step takes long every core.
    max_seconds : float, optional
        After so many seconds the fit ends with the best so far, as after an interruption.
    callback : callable, optional
        Called as ``callback(index of the start, EMState)``; a true return value ends the whole fit, which
        keeps the best so far, as an interruption from the keyboard does.
    feature_names : sequence of str, optional
        For warnings; by default columns are numbered.
    kept : Pieces, optional
        Of a checkpoint: starts and runs on all rows that are finished.

    Returns
    -------
    EMResult, Starts

    Raises
    ------
    InputError
        For input that cannot be fitted.
    DegenerateComponentError
        If every start broke down numerically, or ended with a covariance of zero.

    Warns
    -----
    DegeneracyWarning
        If every start is degenerate; the best of them is returned.
    SingularDataWarning
        Without a prior, if columns are constant or linearly dependent (covariances of full matrices), or vary less
        than an absolute ``reg_covar``.
    FewRowsWarning
        Without a prior, if a fit that is not degenerate has more free parameters than there are different rows, or
        than their weights add up to.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.data import Data
    >>> from bayesgmm.em import best_of_starts
    >>> from bayesgmm.priors import Model
    >>> data = Data.of([[-1.1], [-0.9], [-1.0], [2.0], [2.2], [1.8]])
    >>> result, starts = best_of_starts(data, Model.of("full", 2, 1), rng=np.random.default_rng(0))
    >>> result.mixture.means.round(3), starts.n_starts
    (array([[-1.],
           [ 2.]]), 10)
    """
    check_components(model.n_components, round(data.total))
    if n_init is not None and n_init < 1:
        raise InputError(expected="n_init >= 1", got=f"{n_init}")
    until = math.inf if max_seconds is None else time.monotonic() + max_seconds
    init = initialisation or Initialisation()
    data = data if init.labels is not None else data.distinct()
    plan = Plan.of(data, model, settings, init, start=start, effort=effort, in_race=n_init is None)
    one = plan.given or (n_init is None and model.n_components == 1)
    with one_blas_thread():
        race = _Race(plan, rng, 1 if one else n_init, callback, until)
        race.kept = kept
        runs, completed = race.run(n_jobs)
        alone = replace(plan, in_race=False)
        if plan.in_race and alone.weighs_moves and not race.stopped and _may_be_mended(runs, plan):
            race = _Race(alone, rng, 1, callback, until)
            with suppress(KeyboardInterrupt, ClusterError):  # what the race has found is kept
                further = race.run(n_jobs)
                runs, completed = runs + further[0], completed + further[1]
    return conclude(plan, runs, completed, interrupted=race.stopped, feature_names=feature_names)


def conclude(
    plan: Plan,
    runs: list[EMResult],
    completed: list[bool],
    *,
    interrupted: bool,
    feature_names: Sequence[str] | None = None,
) -> tuple[EMResult, Starts]:
    """The best of the ends of starts, and the record of all, with warnings of what it or the data cannot carry."""
    starts = _record(plan, runs, completed, interrupted=interrupted)
    best = _well_defined(runs[starts.best], plan)
    _report(starts, best, plan)
    _report_data(plan, feature_names, degenerate=bool(starts.degenerate[starts.best]))
    in_order = plan.model.exchangeable and not plan.initialisation.labelled and plan.start is None
    return (best.in_order if in_order else best), starts


def _may_be_mended(runs: list[EMResult], plan: Plan) -> bool:
    """Whether a start that weighs its moves may end properly where none of a race did: most components are sound."""
    some_are_sound = any(2 * run.n_floored < plan.model.n_components for run in runs)
    return some_are_sound and not any(map(plan.degeneracy.is_proper, runs))


class _Run(NamedTuple):
    """The end of a start, what it cost, and what a race may cost that begins with it, by the model of cost.

    If it is a spike, also the last point before, if EM had almost converged there.
    """

    end: EMResult
    spent: float
    limit: float
    almost: EMResult | None = None


class _Race:
    """Starts in progress: as many as were asked for, or a race, whose starts follow each other while it is worth it."""

    def __init__(
        self, plan: Plan, rng: np.random.Generator, n_init: int | None, callback: StartCallback | None, until: float
    ) -> None:
        self.plan, self.rng, self.n_init, self.callback, self.until = plan, rng, n_init, callback, until
        self.stop, self.part = threading.Event(), plan.part(rng)
        self.kept: Pieces | None = None
        self.runs: list[_Run] = []
        self.pool: Executor | None = None
        self.workers: Executor | None = None

    @property
    def stopped(self) -> bool:
        """Whether the user or the clock wants an end, or the rows are lost."""
        return self.stop.is_set() or time.monotonic() >= self.until or self.plan.data.lost is not None

    @property
    def left(self) -> float:
        """Seconds that a race may still cost, by the model of cost."""
        return self.runs[0].limit / OF_RACE - sum(run.spent for run in self.runs)

    def run(self, n_jobs: int | None) -> tuple[list[EMResult], list[bool]]:
        """The end of every start, and whether it was run to its end on all rows."""
        with threads_for(self.plan.data, n_jobs) as self.pool, _workers_for(self.plan, n_jobs) as self.workers:
            while not self.is_over:
                n = self.n_init or (_ROUND if self.runs else 1)
                limit = math.inf if self.n_init or not self.runs else min(self.left / n, self.runs[0].limit)
                starts = [
                    partial(self.once, f"start {index}", partial(self.start, index, own, limit))
                    for index, own in enumerate(self.rng.spawn(n), start=len(self.runs))
                ]
                self.runs += [run for run in self.results(starts) if run is not None]
                if self.stopped:
                    break
            if not self.runs:
                raise self.plan.data.lost or KeyboardInterrupt
            ends = [run.end for run in self.runs]
            if self.n_init is not None or self.part is None:
                if self.n_init is not None and not any(map(self.plan.degeneracy.is_proper, ends)):
                    ends[0] = next(iter(self.results([self.substitute])), None) or ends[0]
                return ends, [True] * len(ends)
            return self.results([partial(self.finish, self.part, ends)])[0]

    def once[Result](self, name: str, task: Callable[[], Result]) -> Result:
        """What a task returns, or returned before the fit was killed."""
        return once(self.kept, name, task, unless=lambda: self.stopped)

    def results[Result](self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        """What tasks return, in worker threads so that an interruption finds this one, which waits for them."""
        if self.workers is None:
            return list(self.in_turn(tasks))
        futures = [self.workers.submit(task) for task in tasks]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            self.stop.set()
            return [future.result() for future in futures]
        except BaseException:
            self.stop.set()
            raise

    def in_turn[Result](self, tasks: Sequence[Callable[[], Result]]) -> Iterator[Result]:
        """The same where they are too short for threads: an interruption costs the one that it meets."""
        try:
            for task in tasks:
                yield task()
        except KeyboardInterrupt:
            self.stop.set()

    def start(self, index: int, rng: np.random.Generator, limit: float) -> _Run | None:
        """One start, to its end; in a race on many rows, to its end on a part of them."""
        if self.stop.is_set() or (index > 0 and self.stopped):  # when time is over there is at least one end
            return None
        plan, is_race = self.plan, self.n_init is None
        short_em = ShortEM(plan.degeneracy, plan.settings, lambda: self.stopped, limit)
        start = plan.starting_mixture(index, rng, short_em)
        ends, almost = list[EMResult](), None
        try:
            if self.part is not None and (is_race or self.part is not plan.data):
                ends.append(self.em(index, start, self.part))
                short_em.charge(self.part, ends[-1])
                start = ends[-1].mixture if isfinite(ends[-1].objective) else start
            if self.part is None or not is_race:
                if is_race:
                    ends.append(self.em(index, start))
                else:
                    almost = self.to_end(index, start, short_em, ends)
                short_em.charge(plan.data, ends[-1])
        except (HaltedError, ClusterError):
            return _Run(ends[-1], short_em.spent, short_em.limit) if ends else None
        return _Run(ends[-1], short_em.spent, short_em.limit, almost)

    def to_end(self, index: int, start: Mixture, short_em: ShortEM, ends: list[EMResult]) -> EMResult | None:
        """EM on all rows; where the tolerance is loose no further than a limit allows, nor to where it collapses.

        A component that no group needs drifts for hundreds of steps that gain little, and may end on a few rows. Its
        end is added to others; returned is the last point before a collapse at a tight tolerance, if it is close.
        """
        is_proper, loose, proper = self.plan.degeneracy.is_proper, self.plan.effort.enough, list[EMState]()
        enough = (loose or _ALMOST) * self.plan.data.total
        limit = int(_BEYOND * short_em.limit / self.plan.cost.of_pass) if short_em.limit < math.inf else None
        most = max(_HEAD_START, limit) if loose and limit is not None else None
        end = self.there_already(index, short_em.end) or self.em(index, start, max_iter=most, proper=proper)
        ends.append(end)
        n_left = self.plan.settings.max_iter - end.n_iter
        if proper and isfinite(end.objective) and not is_proper(end) and not self.stopped:
            last = proper[0]
            near = self.em(index, last.mixture, max_iter=min(_A_FEW, end.n_iter - last.iteration))
            if is_proper(near) and near.last_gain <= enough:
                near = _joined(end.history[: last.iteration + 1], near)
                if not loose:
                    return near
                ends.append(near)
        elif end.n_iter == most and not end.converged and end.last_gain > enough and not self.stopped:
            ends.append(_joined(end.history, self.em(index, end.mixture, max_iter=n_left)))
        return None

    def there_already(self, index: int, end: EMResult | None) -> EMResult | None:
        """The end of a search of all rows, if EM has hardly anything to gain from there."""
        settings = self.plan.settings
        if end is None or end.n_iter > min(_PLAIN_STEPS, settings.max_iter):
            return None
        if not end.gain_to_come <= settings.smallest_gain(self.plan.data.total):
            return None
        state = EMState(end.n_iter, end.mixture, end.objective, end.log_likelihood, end.counts, end.n_floored)
        if self.callback is not None and self.callback(index, state):
            self.stop.set()
        return replace(end, converged=True)

    def em(
        self,
        index: int,
        start: Mixture,
        part: Data | None = None,
        max_iter: int | None = None,
        proper: list[EMState] | None = None,
    ) -> EMResult:
        """EM on all rows, or on a part of them. The last state before a collapse is left in a list, if there is one."""

        def after_step(state: EMState) -> bool:
            if self.callback is not None and self.callback(index, state):
                self.stop.set()
            return (proper is not None and self.has_collapsed(state, proper)) or self.stopped

        settings = self.plan.settings if part is None else self.plan.settings_of_part
        settings = settings if max_iter is None else replace(settings, max_iter=min(max_iter, settings.max_iter))
        data, prior = self.plan.data if part is None else part, self.plan.model.prior
        return run_em(
            data,
            start,
            prior=prior,
            settings=settings,
            callback=after_step,
            halted=lambda: self.stop.is_set() or (len(self.runs) > 0 and self.stopped),
            pool=self.pool,
        )

    def has_collapsed(self, state: EMState, proper: list[EMState]) -> bool:
        """Whether EM ends here, at a loose tolerance, because a component collapsed; until then it keeps the state."""
        if not isfinite(state.objective):
            return True
        if self.plan.degeneracy.is_proper(state):
            proper[:] = [state]
            return False
        return bool(proper) and self.plan.effort.enough > 0

    def substitute(self) -> EMResult | None:
        """Where no start ended properly, the best point before a component collapsed that had almost converged."""
        almost = [run.almost for run in self.runs if run.almost is not None]
        return max(almost, key=self.plan.degeneracy.log_mass) if almost else self.without_search()

    def without_search(self) -> EMResult | None:
        """A proper end of a start without a search, if that sees a part of the rows; None if there is none."""
        for index in range(_UNSEARCHED if self.plan.searched_in_part else 0):
            if self.stopped:
                break
            try:
                end = self.em(
                    index, self.plan.plain_start(KINDS_IN_TURN[index % 3], index, self.rng, self.plan.data.sample)
                )
            except (HaltedError, ClusterError):
                break
            if self.plan.degeneracy.is_proper(end):
                return end
        return None

    @property
    def is_over(self) -> bool:
        """Whether no further start is made."""
        if self.n_init is not None or not self.runs:
            return len(self.runs) > 0
        effort, ends = self.plan.effort, [run.end for run in self.runs]
        proper = [end for end in ends if self.plan.degeneracy.is_proper(end)]
        if not proper:
            return len(ends) >= (_NONE_PROPER if self.part is None else _FEW)
        if len(ends) >= effort.most_starts or self.left <= 0:
            return True
        best = max(proper, key=self.plan.degeneracy.log_mass)
        return sum(abs(best.objective - end.objective) <= self.tolerance for end in proper) >= effort.met

    @property
    def tolerance(self) -> float:
        """Ends no further apart count as one optimum where starts are compared."""
        if self.part is None:
            return self.plan.tolerance
        return SAME_OPTIMUM * self.plan.settings_of_part.smallest_gain(self.part.total)

    def finish(self, part: Data, ends: list[EMResult]) -> tuple[list[EMResult], list[bool]]:
        """The best end on a part of the rows goes on with all rows, then the second best while it has a chance.

        Further ones where none of those before stayed proper.
        """
        objectives, is_proper = [end.objective for end in ends], self.plan.degeneracy.is_proper
        usable = [i for i, objective in enumerate(objectives) if isfinite(objective)]
        best_first = sorted(usable, key=lambda i: -self.plan.degeneracy.log_mass(ends[i]))
        proper = [i for i in best_first if is_proper(ends[i])]
        leaders = _distinct(objectives, proper, self.tolerance) or best_first[:1] or [0]
        ends, completed, best = list(ends), [False] * len(ends), None
        for place, leader in enumerate(leaders):
            if place >= _GO_ON and best is not None:
                break
            start = ends[leader] if place else self.improved(part, ends[leader])
            end = self.once(f"all rows {leader}", partial(self.on_all_rows, leader, start, best))
            if end is not None:
                for i in [leader, *usable]:
                    if i == leader or abs(objectives[i] - objectives[leader]) <= self.tolerance:
                        ends[i], completed[i] = end, True
                best = best or (end if is_proper(end) else None)
        first = leaders[0]  # what others lie below it on the part they are taken to lie below it on all rows
        ends = [
            end if done else replace(end, objective=ends[first].objective + (objectives[i] - objectives[first]))
            for i, (end, done) in enumerate(zip(ends, completed, strict=True))
        ]
        return ends, completed

    def on_all_rows(self, index: int, end: EMResult, best: EMResult | None) -> EMResult | None:
        """Where an end on a part of the rows goes; None once it has no chance to come close to the best."""
        try:
            if best is not None:
                end = self.em(index, end.mixture, max_iter=_HEAD_START)
                gain = end.history[-1] - end.history[-2] if len(end.history) > 1 else 0.0
                if not self.plan.degeneracy.log_mass(end) + _HOPE * gain >= self.plan.degeneracy.log_mass(best):
                    return None
            return self.em(index, end.mixture)
        except (HaltedError, ClusterError):
            return end if best is None else None

    def improved(self, part: Data, end: EMResult) -> EMResult:
        """Where a search on the part of the rows ends."""
        short_em = ShortEM(self.plan.degeneracy, self.plan.settings, lambda: self.stopped, self.runs[0].limit)
        search_data = SearchData.of_rows(part, self.plan.degeneracy, size=part.shape[0], rng=self.rng)
        patience = self.plan.effort.patience_for(self.plan.model.n_components)
        return search_from(end, search_data, short_em, patience=patience, rng=self.rng) or end


def _workers_for(plan: Plan, n_jobs: int | None) -> AbstractContextManager[Executor | None]:
    """As many as asked for; unless the user or joblib says, all cores where steps are long, and none where short."""
    n_workers = effective_n_jobs(n_jobs)
    if n_workers == 1 and plan.cost.of_pass < _QUICK:
        return nullcontext()
    if n_jobs is None and n_workers == 1:
        n_workers = effective_n_jobs(-1)
    return ThreadPoolExecutor(n_workers)


def _record(plan: Plan, runs: list[EMResult], completed: list[bool], *, interrupted: bool) -> Starts:
    """What the starts found. Plain Python: there are few, and a small fit takes a millisecond."""
    ended = [run.objective if isfinite(run.objective) else nan for run in runs]
    if all(isnan(objective) for objective in ended):
        largest = float(np.abs(plan.data.sample.filled).max())
        raise DegenerateComponentError(
            f"{_ILL_DEFINED} Drop constant columns, and bring the others to a moderate scale.",
            figures={"largest absolute value": largest, "floor": plan.smallest_floor},
        )
    degenerate = [
        isnan(objective) or not plan.degeneracy.is_proper(run) for objective, run in zip(ended, runs, strict=True)
    ]
    usable = [i for i in range(len(runs)) if completed[i] and not isnan(ended[i])]
    usable = [i for i in usable if not degenerate[i]] or usable
    best_first = sorted(usable, key=lambda i: -plan.degeneracy.log_mass(runs[i]))
    tolerance = plan.tolerance
    distinct = _distinct(ended, best_first, tolerance)
    return Starts(
        np.array(ended),
        np.array(degenerate),
        np.array([run.converged and each for run, each in zip(runs, completed, strict=True)]),
        np.array([run.n_iter for run in runs]),
        best_first[0],
        tolerance,
        tuple(runs[i].mixture for i in distinct),
        optimum_objectives=np.array([ended[i] for i in distinct]),
        kinds=tuple(plan.kind(index) for index in range(len(runs))),
        interrupted=interrupted,
        completed=np.array(completed),
    )


def _distinct(objectives: list[float], best_first: list[int], tolerance: float) -> list[int]:
    """One start for each optimum, best first."""
    kept: list[int] = []
    for index in best_first:
        if all(abs(objectives[other] - objectives[index]) > tolerance for other in kept):
            kept.append(index)
    return kept


def _well_defined(best: EMResult, plan: Plan) -> EMResult:
    """Refuse a covariance of zero; a run that was stopped before it was over has not converged."""
    if plan.smallest_floor > 0 or plan.model.prior is not None or not plan.degeneracy.ill_defined(best.mixture):
        return best
    if best.n_iter >= plan.settings.max_iter:
        return replace(best, converged=False)
    raise DegenerateComponentError(
        _ILL_DEFINED,
        figures={
            "smallest variance": float(smallest_variances(best.mixture).min()),
            "floor": plan.smallest_floor,
        },
    )


def _report(starts: Starts, best: EMResult, plan: Plan) -> None:
    if plan.settings.max_iter == 0 or not starts.degenerate[starts.best]:
        return
    if plan.model.prior is None:
        try_this = "a prior (prior=Prior.weakly_informative(X)), fewer components or a larger reg_covar"
    else:
        try_this = "a prior with a larger scale, fewer components, or a reg_covar below the variances you expect"
    smallest = smallest_variances(best.mixture).min()
    warn_user(
        f"Every start ({starts.n_starts}) ended with a collapsed or emptied component: the smallest holds "
        f"{best.counts.min():.3g} rows' worth of weight, the smallest variance is {smallest:.3g} "
        f"(the smallest that reg_covar allows is {plan.smallest_floor:.3g}). The likelihood of such a fit measures the "
        f"floor, not the data. Try {try_this}.",
        DegeneracyWarning,
    )


def _report_data(plan: Plan, names: Sequence[str] | None, *, degenerate: bool) -> None:
    """What the data cannot carry, whatever the starts found; a prior supplies what they lack."""
    if plan.model.prior is not None or plan.settings.max_iter == 0:
        return
    criteria = plan.degeneracy
    variances = criteria.moments.variances
    compared = (
        variances if plan.model.family.equivariance & Equivariance.SCALES else np.full(len(variances), variances.mean())
    )
    floored = np.flatnonzero((variances > 0) & (compared <= criteria.floors))
    warn_of_constant_features(np.flatnonzero(variances == 0), names)
    if criteria.rank < np.count_nonzero(variances):
        _warn_of_data(
            f"Columns are linearly dependent: scaled to unit variance, the data vary in {criteria.rank} directions "
            "only. Across them the likelihood measures the smallest variance that reg_covar allows. Drop columns, or "
            "try a prior (prior=Prior.weakly_informative(X)) or covariance_type='diag'."
        )
    if len(floored):
        _warn_of_data(
            f"reg_covar is no smaller than the variance of {_listed(floored, names)}, so that it decides the fit. It "
            "is in squared units of the data: lower it, or leave it out for a share of each column's own variance."
        )
    n_parameters = plan.model.n_parameters
    distinct = plan.data if plan.initialisation.labels is None else plan.data.distinct()
    n_rows = min(distinct.shape[0], plan.data.total)
    if n_parameters > n_rows and not degenerate:
        warn_user(
            f"The mixture has {n_parameters} free parameters, more than {n_rows:g} different rows can carry. Try fewer "
            "components, a simpler covariance_type or a prior (prior=Prior.weakly_informative(X)).",
            FewRowsWarning,
        )


def _warn_of_data(text: str) -> None:
    warn_user(text, SingularDataWarning)


def _listed(which: IntArray, names: Sequence[str] | None) -> str:
    told = [f"column {j}" if names is None else repr(str(names[j])) for j in which]
    more = f" and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
    return ", ".join(told[:_MOST_NAMED]) + more


def _joined(history: Array, end: EMResult) -> EMResult:
    """A run that went on from the end of another."""
    history = np.concatenate([history[:-1], end.history])
    return replace(end, history=history, n_iter=len(history) - 1)
