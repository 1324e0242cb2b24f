"""Bootstrap likelihood ratio tests of the number of components (McLachlan 1987)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite, nan, sqrt
from threading import Event
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from numpy.typing import ArrayLike

from bayesgmm._common import (
    Array,
    Progress,
    Rows,
    folded,
    frame_table,
    in_threads,
    listing,
    paragraph,
    progress_bar,
    sentence,
    shown,
)
from bayesgmm.estimators import GaussianMixture
from bayesgmm.exceptions import DegenerateComponentError, InputError, InterruptedWarning, warn_user
from bayesgmm.io import CheckpointPath, Pieces, checkpoint_at, fingerprint_of_arrays, once
from bayesgmm.mixture import Mixture
from bayesgmm.priors import Model
from bayesgmm.selection.messages import Tested
from bayesgmm.selection.task import check_settings, seed_of
from bayesgmm.validation import as_rows, check_components, check_flag, check_jobs, check_number, check_type, check_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class LikelihoodRatioTest:
    r"""K components against one more.

    Attributes
    ----------
    n_components : int
        K, the null hypothesis.
    statistic : float
        :math:`2 (\log L_{K+1} - \log L_K)`; NaN if every start with one of the two ended in a spike.
    replicates : (replicate,)
        The same of data sets simulated from the fit with K; infinite where every start ended in a spike.
    """

    __module__ = "bayesgmm.selection"

    n_components: int
    statistic: float
    replicates: Array = field(repr=False)

    @property
    def p_value(self) -> float:
        """One and the number of replicates of at least the statistic, over one and their number; NaN without a test."""
        if not isfinite(self.statistic):
            return nan
        return float((1 + (self.replicates >= self.statistic).sum()) / (1 + len(self.replicates)))

    @property
    def n_degenerate(self) -> int:
        """Replicates of which every start ended in a spike: they count as at least as large as the statistic."""
        return int(np.isinf(self.replicates).sum())


@dataclass(frozen=True, repr=False, eq=False)
class BootstrapLRT:
    """Tests of 1, 2, ... components against one more; printing it gives the number they choose.

    Attributes
    ----------
    tests : tuple of LikelihoodRatioTest
        In order, up to the first that does not reject.
    level : float
    interrupted : bool
        Whether it stopped before that; the last test has fewer replicates.
    """

    __module__ = "bayesgmm.selection"

    tests: tuple[LikelihoodRatioTest, ...]
    level: float
    interrupted: bool = False

    @property
    def n_components(self) -> int:
        """The smallest K that is not rejected, or could not be tested; if all are rejected, one more than the last."""
        last = self.tests[-1]
        return last.n_components + self.rejects(last)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each K: ``statistic``, ``p_value`` with its Monte Carlo error ``p_value_se``, ``n_replicates``.

        ``n_degenerate`` of the replicates ended in a spike from every start.
        """
        rows = [
            {
                "n_components": test.n_components,
                "statistic": test.statistic,
                "p_value": test.p_value,
                "p_value_se": sqrt(test.p_value * (1.0 - test.p_value) / (1 + len(test.replicates))),
                "n_replicates": len(test.replicates),
                "n_degenerate": test.n_degenerate,
            }
            for test in self.tests
        ]
        return pd.DataFrame(rows).set_index("n_components")

    def plot(self) -> "Figure":
        """The replicates' statistics for each K, with that of the data as a line.

        Returns
        -------
        matplotlib.figure.Figure
            Independent of pyplot.

        Raises
        ------
        InputError
            If no test was possible, because every start ended in a collapsed or emptied component.
        """
        from bayesgmm.selection.ratio_plot import draw_ratios

        tests = [test for test in self.tests if isfinite(test.statistic)]
        if not tests:
            raise InputError(expected="at least one test that was possible", got="none", hint="Print the result.")
        return draw_ratios([(test.n_components, test.statistic, test.p_value, test.replicates) for test in tests])

    def rejects(self, test: LikelihoodRatioTest) -> bool:
        """Whether a p-value is at most the level."""
        return test.p_value <= self.level

    def __str__(self) -> str:
        return "\n".join(self._sentences())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *others = self._sentences()
        return paragraph(first) + listing(others) + folded("Tests", frame_table(self.table))

    def _sentences(self) -> list[str]:
        return [*self._conclusion(), *(text for test in self.tests for text in _told(test))]

    def _conclusion(self) -> list[str]:
        last = self.tests[-1]
        if self.interrupted:
            return [sentence(Tested.INTERRUPTED, n=len(last.replicates))]
        if not isfinite(last.statistic):
            return []
        if self.rejects(last):
            return [sentence(Tested.EVERY, k=last.n_components)]
        return [sentence(Tested.CHOSEN, level=self.level, k=last.n_components)]


def _told(test: LikelihoodRatioTest) -> list[str]:
    sizes = {"k": test.n_components, "more": test.n_components + 1}
    if not isfinite(test.statistic):
        return [sentence(Tested.NO_TEST, **sizes)]
    statistic, p = shown(test.statistic, "criterion"), shown(test.p_value, "probability")
    n = len(test.replicates)
    found = [sentence(Tested.TEST, **sizes, statistic=statistic, p=p, n=n)]
    if test.n_degenerate:
        found.append(sentence(Tested.DEGENERATE, n=test.n_degenerate, n_replicates=n, k=test.n_components))
    return found


def bootstrap_lrt(
    X: ArrayLike,
    n_components: int | Iterable[int] = range(1, 8),
    covariance_type: str = "full",
    *,
    n_replicates: int = 199,
    level: float = 0.05,
    n_init: int | str = "auto",
    n_jobs: int | None = None,
    em: Mapping[str, Any] = _NOTHING,
    random_state: int | None = None,
    checkpoint: CheckpointPath = None,
    progress: bool = True,
) -> BootstrapLRT:
    r"""Test K components against K + 1 by the parametric bootstrap, for one K after another until one is not rejected.

    The likelihood ratio :math:`\lambda = 2 (\log L_{K+1} - \log L_K)` has no chi-square distribution, because under the
    null hypothesis a weight is zero, or two components are the same. So its distribution is simulated: ``n_replicates``
    data sets are drawn from the fit with K components, and both models are fitted to each exactly as to the data, with
    the same starts (with fewer, their :math:`\lambda` would be too small, and the test would reject too often). With B
    replicates

    .. math:: p = \frac{1 + \#\{b : \lambda_b \ge \lambda\}}{B + 1}.

    The models are compared for one covariance family; components that are not normal are rejected too. Fits are by
    maximum likelihood, without a prior.

    Parameters
    ----------
    X : (obs, feature)
    n_components : int or iterable of int
        The null hypotheses K, consecutive numbers.
    covariance_type : str
        As in `GaussianMixture`.
    n_replicates : int
        B. The smallest p-value is 1 / (B + 1); the Monte Carlo error of one near 0.05 is 0.015 with 199 and 0.007
        with 999. Choose it such that ``level * (B + 1)`` is a whole number.
    level : float
        At which a test rejects. The tests go on only after a rejection: too large a K is chosen at most so often.
    n_init : int or "auto"
        Number of EM starts for each fit, as in `GaussianMixture`.
    n_jobs : int, optional
        Threads, as in joblib, for the replicates; results do not depend on it.
    em : mapping, optional
        Further parameters of `GaussianMixture`; without ``max_seconds``, since all fits have to be alike.
    random_state : int, optional
        Seed of the replicates, and of both fits, which an estimator with this seed reproduces.
    checkpoint : path, optional
        A folder that is made if there is none, to which finished replicates are written; after an end of the process
        at any moment the same call repeats none of them, and ends with the same result; so does one with more
        replicates.
    progress : bool
        Show a bar for each test in a terminal or notebook.

    Returns
    -------
    BootstrapLRT
        ``n_components``, ``table``, ``tests`` and ``plot()``. After Ctrl-C, of what is finished.

    Raises
    ------
    InputError
        For data or settings that cannot be used, before any work; for a checkpoint of others.

    Warns
    -----
    SingleBestStartWarning, DegeneracyWarning, FewRowsWarning
        About a fit of the data, see `GaussianMixture.fit`.
    InterruptedWarning
        If it was interrupted.

    References
    ----------
    McLachlan 1987, Journal of the Royal Statistical Society C 36; McLachlan & Peel 2000, Finite Mixture Models, section
    6.4. mclust has it as ``mclustBootstrapLRT``.

    Examples
    --------
    >>> from bayesgmm import bootstrap_lrt
    >>> from bayesgmm.datasets import load_acidity
    >>> print(bootstrap_lrt(load_acidity(), covariance_type="tied", n_replicates=99, n_init=3, random_state=0))
    The bootstrap likelihood ratio test at level 0.05 chooses K = 2.
    The test of K = 1 against 2: statistic 79.67, p = 0.010 (99 replicates).
    The test of K = 2 against 3: statistic 5.54, p = 0.060 (99 replicates).
    """
    check_flag(progress=progress)
    check_whole(n_replicates=n_replicates)
    check_number(least=0.0, most=1.0, level=level)
    check_jobs(n_jobs)
    check_type(Mapping, em=em)
    check_settings(em, GaussianMixture)
    if "max_seconds" in em:
        raise InputError(expected="em without max_seconds, since all fits have to be alike", got="max_seconds")
    em = {"covariance_type": covariance_type, "n_init": n_init, **em}
    task = _Task(as_rows(X), em, n_replicates=n_replicates, n_jobs=n_jobs, seed=seed_of(random_state))
    sizes = _sizes(n_components, len(task.rows))
    task.check(sizes[-1] + 1)
    with checkpoint_at(checkpoint, lambda: {**task.work, "random_state": random_state}) as kept:
        task = replace(task, seed=once(kept, "seed", lambda: task.seed), kept=kept)
        found = _run(task, sizes, level=level, progress=progress)
    if found.interrupted:
        warn_user(sentence(Tested.INTERRUPTED, n=len(found.tests[-1].replicates)), InterruptedWarning)
    return found


def _sizes(given: int | Iterable[int], n_rows: int) -> list[int]:
    """Checked consecutive numbers of components, of which one more can be fitted too."""
    sizes: list[Any] = list(given) if isinstance(given, Iterable) else [given]
    for k in sizes:
        check_whole(n_components=k)
        check_components(k + 1, n_rows)
    if not sizes or sizes != list(range(sizes[0], sizes[0] + len(sizes))):
        raise InputError(expected="n_components as consecutive numbers, ascending", got=f"{sizes}")
    return sizes


def _run(task: "_Task", sizes: Iterable[int], *, level: float, progress: bool) -> BootstrapLRT:
    """One test after another while they reject; Ctrl-C keeps what is finished."""
    found = BootstrapLRT((), level)
    try:
        for k in sizes:
            with progress_bar(f"Bootstrap of K = {k}", show=progress) as callback:
                test, stopped = task.test(k, callback)
            found = BootstrapLRT((*found.tests, test), level, stopped)
            if stopped or not found.rejects(test):
                break
    except KeyboardInterrupt:
        if not found.tests:
            raise
        return replace(found, interrupted=True)
    return found


@dataclass(frozen=True)
class _Task:
    """Rows, and how every pair of models is fitted."""

    rows: Rows
    em: Mapping[str, Any]
    n_replicates: int
    n_jobs: int | None
    seed: int
    kept: Pieces | None = None

    @property
    def work(self) -> dict[str, Any]:
        """What finished replicates depend on."""
        settings = {name: repr(value) for name, value in self.em.items()}
        return {"call": "bootstrap_lrt", "X": fingerprint_of_arrays(self.rows), **settings}

    def check(self, n_components: int) -> None:
        """Check the settings of the estimator, for the largest model."""
        self.estimator(n_components, seed=0)._validate_params()
        Model.of(self.em["covariance_type"], n_components, self.rows.shape[1])

    def estimator(self, n_components: int, *, seed: int, n_jobs: int | None = 1) -> GaussianMixture:
        return GaussianMixture(n_components, random_state=seed, **{"n_jobs": n_jobs, **self.em})

    def test(self, k: int, callback: Progress | None) -> tuple[LikelihoodRatioTest, bool]:
        """A test, and whether it was stopped before its last replicate."""
        statistic, null = self.ratio(self.rows, k, seed=self.seed, n_jobs=self.n_jobs)
        if null is None or not isfinite(statistic):
            return LikelihoodRatioTest(k, nan, np.empty(0)), False
        rngs = np.random.default_rng([self.seed, k]).spawn(self.n_replicates)

        def run(job: tuple[int, np.random.Generator], stop: Event) -> float | None:
            number, rng = job
            if stop.is_set():
                return None
            return once(self.kept, f"K = {k}, replicate {number}", lambda: self.replicate(k, null, rng))

        with catch_warnings():  # here, since filters belong to the process and not to a thread
            simplefilter("ignore")
            ratios = in_threads(run, list(enumerate(rngs)), n_workers=effective_n_jobs(self.n_jobs), callback=callback)
        finished = [ratio for ratio in ratios if ratio is not None]
        if not finished:
            raise KeyboardInterrupt
        return LikelihoodRatioTest(k, statistic, np.array(finished)), len(finished) < self.n_replicates

    def replicate(self, k: int, null: Mixture, rng: np.random.Generator) -> float:
        """The statistic of rows that are simulated from the fit with K components."""
        rows, _ = null.sample(len(self.rows), rng=rng)
        return self.ratio(rows, k, seed=int(rng.integers(2**31)))[0]

    def ratio(self, rows: Rows, k: int, *, seed: int, n_jobs: int | None = 1) -> tuple[float, Mixture | None]:
        """The statistic, infinite if every start with K or K + 1 ended in a spike, and the fit with K."""
        try:
            fits = [self.estimator(size, seed=seed, n_jobs=n_jobs).fit(rows) for size in (k, k + 1)]
        except DegenerateComponentError:
            return inf, None
        if any(fit.starts_.interrupted for fit in fits):
            raise KeyboardInterrupt
        if any(fit.starts_.degenerate[fit.starts_.best] for fit in fits):
            return inf, None
        null, alternative = fits
        return 2.0 * (alternative.log_likelihood_ - null.log_likelihood_), null.mixture_
