"""One default fit, ours or scikit-learn's, measured in a process that does nothing else."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from _measuring import overlapping, resident_peak, timed
from sklearn.mixture import GaussianMixture as TheirMixture
from threadpoolctl import threadpool_limits

from bayesgmm import GaussianMixture, Mixture
from bayesgmm._common.arrays import Array
from bayesgmm.data.blocks import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.priors.model import Model

STARTS = 10
ESTIMATORS: dict[str, Callable[..., Any]] = {
    "ours": GaussianMixture,
    "sk 1": TheirMixture,
    "sk 10": partial(TheirMixture, n_init=STARTS),
}
WARM_UP_ROWS = 30_000  # more than one block of rows, so that threads and subsets are warm for lines that use them


class Task(NamedTuple):
    """One fit: by whom, of which rows, with what parameters."""

    who: str
    path: str
    n_components: int
    covariance_type: str
    seed: int


class End(NamedTuple):
    """Where a fit ended."""

    log_likelihood: float
    proper: bool


class Fit(NamedTuple):
    """What a fit took; its end, or those of the starts that it consists of; and the kinds of warnings."""

    seconds: float
    wall: float
    megabytes: float
    ends: list[End]
    warned: list[str]


def measure(task: Task) -> Fit:
    """Seconds, memory and end of a fit in this process; a small one goes before."""
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        X = np.load(task.path)
        fitted(task, overlapping(min(len(X), WARM_UP_ROWS), 2, 2), n_components=2)
        caught.clear()
        before = resident_peak()
        (wall, seconds), model = timed(lambda: fitted(task, X, n_components=task.n_components))
        megabytes, warned = resident_peak() - before, sorted({each.category.__name__ for each in caught})
        ends = [end(each, X) for each in (single_starts(task, X) if task.who == "sk 10" else [model])]
    return Fit(seconds, wall, megabytes, ends, warned)


def fitted(task: Task, X: Array, *, n_components: int) -> Any:
    """The estimator with its own defaults."""
    estimator = ESTIMATORS[task.who]
    return estimator(n_components, covariance_type=task.covariance_type, random_state=task.seed).fit(X)


def single_starts(task: Task, X: Array) -> Iterator[Any]:
    """The starts of one scikit-learn fit as fits: a generator that they share gives each the same draws as there."""
    rng = np.random.RandomState(task.seed)
    for _ in range(STARTS):
        yield TheirMixture(task.n_components, covariance_type=task.covariance_type, random_state=rng).fit(X)


def end(model: Any, X: Array) -> End:
    """Log-likelihood of a fitted estimator, ours or scikit-learn's, and whether it passes our degeneracy rule."""
    mixture = Mixture(model.weights_, model.means_, model.covariances_, covariance_type=model.covariance_type)
    data, settings = Data.of(X), EMSettings(max_iter=0)
    run = run_em(data, mixture, settings=settings)
    criteria = Degeneracy.of(data, settings, Model.of(model.covariance_type, *mixture.means.shape))
    return End(run.log_likelihood, criteria.is_proper(run))
