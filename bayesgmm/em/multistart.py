"""Multi-start EM: the best optimum that is not degenerate, and a record of every start."""

import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite, isnan, nan

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray

from bayesgmm._common import Array, IntArray, one_blas_thread
from bayesgmm.data import Data
from bayesgmm.em.degeneracy import Degeneracy, smallest_variances
from bayesgmm.em.em import EMResult, EMSettings, EMState, run_em
from bayesgmm.em.initialization import Initialisation
from bayesgmm.em.start_plan import Plan
from bayesgmm.exceptions import (
    DegeneracyWarning,
    DegenerateComponentError,
    FewRowsWarning,
    InputError,
    SingularDataWarning,
)
from bayesgmm.mixture import Equivariance, Mixture
from bayesgmm.priors import Model, warn_of_constant_features
from bayesgmm.validation import check_components

_QUICK = 1_000_000  # numbers times components that a handful of steps take milliseconds for: not worth a thread
_LONG = 40_000  # of them in a step: below, threads wait for each other's Python longer than they gain
_SEVERAL = 5  # starts from which on it says something that the best was reached only once
_MOST_NAMED = 10
_ROUNDS_END, _OFTEN = (4, 7), 3  # starts after which is asked whether the best optimum was met often, and how often
_ILL_DEFINED = (  # scikit-learn's sentence
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale "
    "the input data."
)
_COSTLY = 1_000_000  # products in a step: below, ten searches cost less than the optima that one in ten finds

type StartCallback = Callable[[int, EMState], object]


@dataclass(frozen=True, slots=True)
class Starts:
    """Record of the starts of a fit, in order.

    Attributes
    ----------
    objectives : (start,)
        Final objective of each start; NaN if it broke down numerically.
    degenerate : (start,) bool
        Whether it ended with a collapsed or emptied component, see `best_of_starts`.
    converged : (start,) bool
    n_iter : (start,) int
    best : int
        The start that was kept.
    tolerance : float
        Objectives closer than this are regarded as the same optimum: ten times EM's tolerance, because EM stops
        at that distance from its optimum.
    optima : tuple of Mixture
        The distinct optima that are not degenerate, best first.
    interrupted : bool
        Whether the fit was interrupted; starts that had not begun are not listed.
    optimum_objectives : (optimum,)
        The objective at each of the ``optima``; without a prior, the log-likelihood.
    kinds : tuple of str
        Initialization of each start: a name of `KINDS`, or ``"given"``.
    """

    __module__ = "bayesgmm.em"

    objectives: Array
    degenerate: NDArray[np.bool_]
    converged: NDArray[np.bool_]
    n_iter: IntArray
    best: int
    tolerance: float
    optima: tuple[Mixture, ...] = ()
    interrupted: bool = False
    optimum_objectives: Array = field(default_factory=lambda: np.empty(0))
    kinds: tuple[str, ...] = ()

    @property
    def n_starts(self) -> int:
        """How many starts were made."""
        return len(self.objectives)

    @property
    def n_optima(self) -> int:
        """How many distinct optima were found, degenerate ones not counted."""
        return len(self.optima)

    @property
    def n_degenerate(self) -> int:
        """How many starts ended in a collapsed or emptied component, or broke down."""
        return int(self.degenerate.sum())

    @property
    def n_best_reached(self) -> int:
        """How many starts reached the optimum that was kept, itself included."""
        same_kind = self.degenerate == self.degenerate[self.best]
        close = np.abs(self.objectives - self.objectives[self.best]) <= self.tolerance
        return int((same_kind & close).sum())

    @property
    def best_is_doubtful(self) -> bool:
        """Whether one start only, of several that ran to the end, reached the best optimum."""
        several = self.n_starts >= _SEVERAL and self.n_optima > 1
        return several and bool(self.converged[self.best]) and self.n_best_reached == 1


def best_of_starts(
    data: Data,
    model: Model,
    *,
    rng: np.random.Generator,
    settings: EMSettings | None = None,
    n_init: int = 10,
    initialisation: Initialisation | None = None,
    start: Mixture | None = None,
    n_jobs: int | None = None,
    callback: StartCallback | None = None,
    feature_names: Sequence[str] | None = None,
) -> tuple[EMResult, Starts]:
    """Run EM to convergence from several starts and keep the best non-degenerate one.

    Without a prior a start is *degenerate* if a component's smallest eigenvalue is below 1e-3 of that of the
    covariance of the data, every feature in units of its standard deviation (diagonal families: the smallest ratio
    of variances; spherical: over the mean variance), or sits at the floor ``reg_covar``, or if the component holds
    fewer than D + 1 rows' worth of weight (a shared covariance: if it emptied). Such likelihoods are determined by
    the floor. A prior bounds the objective and may favor narrow or empty components, so with a prior only the floor
    counts. In directions without variance, constant or linearly dependent columns, a collapse cannot be detected: the
    warning then is about the data.

    Components are sorted by the mean of the first feature (ties: of the next one), unless initial parameters are
    given or the prior is not exchangeable.

    Parameters
    ----------
    data : Data
        Weighted rows and repeated rows give bitwise identical results.
    model : Model
        A prior makes the objective the log posterior density.
    rng : numpy.random.Generator
        Each start draws from a child of its own: the result does not depend on ``n_jobs``.
    settings : EMSettings, optional
    n_init : int
        Number of starts; one if all would be identical (``start``, means or labels given).
    initialisation : Initialisation, optional
    start : Mixture, optional
        A single mixture to start from.
    n_jobs : int, optional
        Threads, in joblib's meaning; by default one, or where a step takes long every core.
    callback : callable, optional
        Called as ``callback(index of the start, EMState)``; a true return value ends the whole fit, which
        keeps the best so far, as an interruption from the keyboard does.
    feature_names : sequence of str, optional
        For warnings; by default columns are numbered.

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
    if n_init < 1:
        raise InputError(expected="n_init >= 1", got=f"{n_init}")
    init = initialisation or Initialisation()
    data = data if init.labels is not None else data.distinct()
    degeneracy = Degeneracy.of(data, settings or EMSettings(), model)
    plan = Plan(data, model, degeneracy.with_floors(settings or EMSettings()), init, start, degeneracy)
    n_starts = 1 if start is not None or init.fixed(model.n_components) else n_init
    with one_blas_thread():
        runs, interrupted = _run_all(plan, rng.spawn(n_starts), n_jobs=n_jobs, callback=callback)
    starts = _record(plan, runs, interrupted=interrupted)
    best = _well_defined(runs[starts.best], plan)
    _report(starts, best, plan)
    _report_data(plan, feature_names, degenerate=bool(starts.degenerate[starts.best]))
    in_order = model.exchangeable and not init.labelled and start is None
    return (_ordered(best) if in_order else best), starts


def _run_all(
    plan: Plan, rngs: list[np.random.Generator], *, n_jobs: int | None, callback: StartCallback | None
) -> tuple[list[EMResult], bool]:
    """All starts, in worker threads so that an interruption finds the main thread and every result is kept."""
    stop = threading.Event()

    def run(index: int, pool: Executor | None = None, *, search: bool = True) -> EMResult | None:
        def after_step(state: EMState) -> bool:
            if callback is not None and callback(index, state):
                stop.set()
            return stop.is_set()

        if stop.is_set():
            return None
        start = plan.starting_mixture(index, rngs[index], stop.is_set, search=search)
        return run_em(plan.data, start, prior=plan.model.prior, settings=plan.settings, callback=after_step, pool=pool)

    if plan.coarse and plan.step_size * len(rngs) <= _QUICK:
        return [result for index in range(len(rngs)) if (result := run(index)) is not None], stop.is_set()
    finished: list[EMResult] = []
    with ThreadPoolExecutor(_n_workers(plan, len(rngs), n_jobs)) as workers, _pool_for(plan.data, n_jobs) as pool:
        for indices in _rounds(plan, len(rngs)):
            search = indices.start == 0 or _worth_searching(plan, finished)
            futures = [workers.submit(run, index, pool, search=search) for index in indices]
            finished += [result for result in _results_of(futures, stop) if result is not None]
    if not finished:
        raise KeyboardInterrupt
    return finished, stop.is_set()


def _results_of(futures: list[Future[EMResult | None]], stop: threading.Event) -> list[EMResult | None]:
    try:
        return [future.result() for future in futures]
    except KeyboardInterrupt:
        stop.set()
        return [future.result() for future in futures]
    except BaseException:
        stop.set()
        raise


def _rounds(plan: Plan, n_starts: int) -> list[range]:
    """The starts, in rounds between which it is asked whether the next ones search on."""
    ends = [end for end in _ROUNDS_END if end < n_starts] if plan.searched else []
    return [range(first, last) for first, last in pairwise([0, *ends, n_starts])]


def _worth_searching(plan: Plan, runs: list[EMResult]) -> bool:
    """Whether further starts search: not if no end is proper, or if steps are costly and the best was met often."""
    proper = [run.objective for run in runs if plan.degeneracy.is_proper(run)]
    if not proper:
        return False
    products = plan.step_size * (plan.data.shape[1] if plan.model.family.parametrisation.correlated else 1)
    met = sum(max(proper) - objective <= plan.tolerance for objective in proper)
    return products < _COSTLY or met < _OFTEN


def _n_workers(plan: Plan, n_starts: int, n_jobs: int | None) -> int:
    """As many as asked for; unless the user or joblib says, all cores where steps are long."""
    n_workers = effective_n_jobs(n_jobs)
    if n_jobs is None and n_workers == 1 and plan.step_size >= _LONG:
        n_workers = effective_n_jobs(-1)
    return min(n_workers, n_starts)


def _pool_for(data: Data, n_jobs: int | None) -> AbstractContextManager[Executor | None]:
    """Threads for the blocks of rows, if there are several: as many as asked for, by default one a core."""
    n_threads = effective_n_jobs(-1 if n_jobs is None else n_jobs)
    return ThreadPoolExecutor(n_threads) if len(data.blocks) > 1 and n_threads > 1 else nullcontext()


def _record(plan: Plan, runs: list[EMResult], *, interrupted: bool) -> Starts:
    """What the starts found. Plain Python: there are few, and a small fit takes a millisecond."""
    ended = [run.objective if isfinite(run.objective) else nan for run in runs]
    if all(isnan(objective) for objective in ended):
        largest = float(np.abs(plan.data.rows).max())
        raise DegenerateComponentError(
            f"{_ILL_DEFINED} Drop constant columns, and bring the others to a moderate scale.",
            figures={"largest absolute value": largest, "floor": plan.smallest_floor},
        )
    degenerate = [
        isnan(objective) or not plan.degeneracy.is_proper(run) for objective, run in zip(ended, runs, strict=True)
    ]
    usable = [i for i in range(len(runs)) if not isnan(ended[i]) and (not degenerate[i] or all(degenerate))]
    best_first = sorted(usable, key=lambda i: -ended[i])
    tolerance = plan.tolerance
    distinct = _distinct(ended, best_first, tolerance)
    return Starts(
        np.array(ended),
        np.array(degenerate),
        np.array([run.converged for run in runs]),
        np.array([run.n_iter for run in runs]),
        best_first[0],
        tolerance,
        tuple(runs[i].mixture for i in distinct),
        optimum_objectives=np.array([ended[i] for i in distinct]),
        kinds=tuple(plan.kind(index) for index in range(len(runs))),
        interrupted=interrupted,
    )


def _distinct(objectives: list[float], best_first: list[int], tolerance: float) -> list[int]:
    """One start for each optimum, best first."""
    kept: list[int] = []
    for index in best_first:
        if not kept or objectives[kept[-1]] - objectives[index] > tolerance:
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
    warnings.warn(
        f"Every start ({starts.n_starts}) ended with a collapsed or emptied component: the smallest holds "
        f"{best.counts.min():.3g} rows' worth of weight, the smallest variance is {smallest:.3g} "
        f"(the smallest that reg_covar allows is {plan.smallest_floor:.3g}). The likelihood of such a fit measures the "
        f"floor, not the data. Try {try_this}.",
        DegeneracyWarning,
        stacklevel=3,
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
    warn_of_constant_features(np.flatnonzero(variances == 0), names, stacklevel=5)
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
        warnings.warn(
            f"The mixture has {n_parameters} free parameters, more than {n_rows:g} different rows can carry. Try fewer "
            "components, a simpler covariance_type or a prior (prior=Prior.weakly_informative(X)).",
            FewRowsWarning,
            stacklevel=4,
        )


def _warn_of_data(text: str) -> None:
    warnings.warn(text, SingularDataWarning, stacklevel=5)


def _listed(which: IntArray, names: Sequence[str] | None) -> str:
    told = [f"column {j}" if names is None else repr(str(names[j])) for j in which]
    more = f" and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
    return ", ".join(told[:_MOST_NAMED]) + more


def _ordered(result: EMResult) -> EMResult:
    """Components in ascending order of the first feature's mean, ties by the next."""
    order = np.lexsort(result.mixture.means.T[::-1])
    if (order[1:] > order[:-1]).all():
        return result
    return replace(result, mixture=result.mixture.permute(order), counts=result.counts[order])
