"""EM of a Gaussian mixture with uniform noise, from one start."""

import math
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

import numpy as np

from bayesgmm._common import Array
from bayesgmm.data import Data, HaltedError, total
from bayesgmm.em import (
    EMResult,
    EMSettings,
    EMState,
    aitken_remaining,
    log_penalty,
    moments_of,
    next_mixture,
    run_em,
    statistics_of,
    variance_floors,
)
from bayesgmm.exceptions import ClusterError
from bayesgmm.mixture import Mixture, Statistics
from bayesgmm.noise.noisy_mixture import NOISE_PRIOR, NoisyMixture
from bayesgmm.priors import ResolvedPrior


def run_noisy_em(
    data: Data,
    start: NoisyMixture,
    *,
    settings: EMSettings,
    floors: Array,
    prior: ResolvedPrior | None = None,
    callback: Callable[[EMState], object] | None = None,
    pool: Executor | None = None,
) -> EMResult:
    r"""Run EM from ``start``; steps are plain ones.

    The E-step gives noise the share :math:`r_{i0} \propto w_0 / V` of each row, the M-step the weight
    :math:`w_0 = \sum_i v_i r_{i0} / \sum_i v_i`, with a prior its mode under a Beta distribution; components move as
    without noise (Banfield & Raftery 1993).

    Parameters
    ----------
    data : Data
        Rows in the box of noise.
    start : NoisyMixture
    settings : EMSettings
    floors : (feature,)
        Smallest variances.
    prior : ResolvedPrior, optional
        Of the components, given that a row is no noise.
    callback, pool : optional
        As in `bayesgmm.em.run_em`.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.data import Data
    >>> from bayesgmm.em import EMSettings
    >>> from bayesgmm.noise import NoisyMixture, Uniform, run_noisy_em
    >>> data = Data.of([[-0.2], [-0.1], [0.0], [0.1], [0.2], [9.0], [-9.0]])
    >>> start = NoisyMixture.of(Mixture([1.0], [[0.0]], [[[1.0]]]), Uniform.around(data), 0.5)
    >>> end = run_noisy_em(data, start, settings=EMSettings(), floors=np.array([1e-6]))
    >>> end.mixture.noise_weight
    0.29
    """
    mixture, history, n_floored, kept = start, list[float](), 0, None
    smallest_gain = settings.smallest_gain(data.total)
    while True:
        try:
            statistics = total(partial(statistics_of, mixture), data, pool)
        except (HaltedError, ClusterError):
            if kept is None:
                raise
            return kept
        history.append(statistics.log_likelihood + _penalty(mixture, prior))
        converged = len(history) > 2 and aitken_remaining(*history[-3:]) <= smallest_gain
        kept = _result(mixture, statistics, history, n_floored, converged=converged)
        stopped = callback is not None and bool(callback(_state(kept)))
        if converged or stopped or kept.n_iter >= settings.max_iter or not math.isfinite(history[-1]):
            return kept
        mixture, n_floored = _m_step(mixture, statistics, prior, floors)


def run_em_from(data: Data, start: Mixture, *, settings: EMSettings, prior: ResolvedPrior | None = None) -> EMResult:
    """EM from a mixture with noise or without, with the floors of the settings."""
    if not isinstance(start, NoisyMixture):
        return run_em(data, start, prior=prior, settings=settings)
    floors = variance_floors(settings.reg_covar, moments_of(data), start.family)
    return run_noisy_em(data, start, settings=settings, floors=floors, prior=prior)


def _m_step(
    mixture: NoisyMixture, statistics: Statistics, prior: ResolvedPrior | None, floors: Array
) -> tuple[NoisyMixture, int]:
    k = mixture.n_components
    own = Statistics(statistics.log_likelihood, *(each[:k].copy() for each in _sums(statistics)))
    components, n_floored = next_mixture(own, mixture.components, prior, floors=floors)
    a, b = NOISE_PRIOR if prior is not None else (1.0, 1.0)
    noise, rest = statistics.counts[k] + a - 1.0, own.counts.sum() + b - 1.0
    return NoisyMixture.of(components, mixture.noise, float(noise / (noise + rest))), n_floored


def _sums(statistics: Statistics) -> tuple[Array, Array, Array]:
    return statistics.counts, statistics.first, statistics.second


def _penalty(mixture: NoisyMixture, prior: ResolvedPrior | None) -> float:
    """The log prior of the components, and of the weight of noise."""
    if prior is None:
        return 0.0
    shares = math.log(mixture.noise_weight), math.log1p(-mixture.noise_weight)
    return log_penalty(mixture.components, prior) + log_noise_prior(*shares)


def log_noise_prior[Number: (float, Array)](log_noise: Number, log_rest: Number) -> Number:
    """Log density of the weight of noise under its Beta distribution, given log w0 and log(1 - w0)."""
    a, b = NOISE_PRIOR
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return constant + (a - 1.0) * log_noise + (b - 1.0) * log_rest


def _result(
    mixture: NoisyMixture, statistics: Statistics, history: list[float], n_floored: int, *, converged: bool
) -> EMResult:
    *counts, n_noise = statistics.counts.tolist()
    return EMResult(
        mixture=mixture,
        objective=history[-1],
        log_likelihood=statistics.log_likelihood,
        n_iter=len(history) - 1,
        converged=converged,
        history=np.asarray(history),
        counts=np.asarray(counts),
        n_floored=n_floored,
        n_noise=n_noise,
    )


def _state(end: EMResult) -> EMState:
    return EMState(end.n_iter, end.mixture, end.objective, end.log_likelihood, end.counts, end.n_floored)
