"""Bridge sampling: the normalising constant of a density from its draws and those of a proposal."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from bayesgmm._common import Array
from bayesgmm.exceptions import InputError

_TOLERANCE, _MOST_STEPS = 1e-10, 1_000


@dataclass(frozen=True)
class Bridge:
    """An estimated normalising constant.

    Attributes
    ----------
    log_z : float
        Its logarithm; -inf if no draw of the proposal lies where the density is positive.
    se : float
        Standard error of ``log_z``.
    n_draws, n_proposals : int
    effective_draws : float
        Effective sample size of the draws.
    """

    log_z: float
    se: float
    n_draws: int
    n_proposals: int
    effective_draws: float


def bridge(log_ratio_draws: Array, log_ratio_proposals: Array, *, effective_size: Callable[[Array], float]) -> Bridge:
    r"""Estimate :math:`\log Z = \log \int f` with the optimal bridge of Meng and Wong (1996).

    With the ratio :math:`l = f / q` of the density, not normalised, to the proposal, and :math:`s_1, s_2` the
    shares of effective draws and of proposals, Z solves

    .. math:: Z = \frac{E_q[l / (s_1 l + s_2 Z)]}{E_f[1 / (s_1 l + s_2 Z)]}.

    Parameters
    ----------
    log_ratio_draws : (draw,)
        log f - log q at draws of the normalised f, in the order in which they were made.
    log_ratio_proposals : (proposal,)
        The same at independent draws of q; -inf where f is zero.
    effective_size : callable
        Effective size of a series like ``log_ratio_draws``: it replaces the number of draws, also in
        the standard error (Frühwirth-Schnatter 2004, equation 15).

    Raises
    ------
    InputError
        Fewer than two draws or proposals.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from bayesgmm.evidence import bridge
    >>> rng = np.random.default_rng(0)
    >>> draws, proposals = rng.normal(0, 1, 2000), rng.normal(0.5, 1.2, 2000)
    >>> log_ratio = lambda x: -0.5 * x**2 - norm(0.5, 1.2).logpdf(x)
    >>> found = bridge(log_ratio(draws), log_ratio(proposals), effective_size=len)
    >>> bool(abs(found.log_z - 0.5 * np.log(2 * np.pi)) < 3 * found.se)
    True
    """
    n, m = len(log_ratio_draws), len(log_ratio_proposals)
    if min(n, m) < 2:
        raise InputError(expected="at least two draws and two proposals", got=f"{n} and {m}")
    effective = min(float(effective_size(log_ratio_draws)), float(n))
    if np.isneginf(log_ratio_proposals).all():
        return Bridge(-np.inf, np.inf, n, m, effective)
    log_odds = np.log(effective) - np.log(m)
    log_z = _fixed_point(log_ratio_draws, log_ratio_proposals, log_odds)
    of_draws, of_proposals = _terms(log_ratio_draws, log_ratio_proposals, log_z, log_odds)
    n_effective = max(1.0, min(float(effective_size(of_draws)), float(n)))
    variance = _relative_variance(of_draws) / n_effective + _relative_variance(of_proposals) / m
    return Bridge(log_z, float(np.sqrt(variance)), n, m, effective)


def _fixed_point(draws: Array, proposals: Array, log_odds: float) -> float:
    """log Z at which Meng and Wong's map stands still, from the median of the draws' ratios.

    The map itself approaches it slowly if densities hardly overlap. Its step falls with log Z, so that Newton's method
    can be kept between bounds, at first the largest ratio and the smallest over the number of proposals.
    """
    finite = np.concatenate([draws, proposals[np.isfinite(proposals)]])
    low, high, log_z = float(finite.min()) - np.log(len(proposals)), float(finite.max()), float(np.median(draws))
    for _ in range(_MOST_STEPS):
        change, slope = _step(draws, proposals, log_z, log_odds)
        low, high = (log_z, high) if change > 0.0 else (low, log_z)
        before, newton = log_z, log_z + change / slope if slope > 0.0 else np.nan
        log_z = newton if low <= newton <= high else 0.5 * (low + high)
        if abs(log_z - before) < _TOLERANCE:
            break
    return log_z


def _step(draws: Array, proposals: Array, log_z: float, log_odds: float) -> tuple[float, float]:
    """Change of log Z by Meng and Wong's map, and how fast it falls with log Z."""
    terms = _terms(draws, proposals, log_z, log_odds)
    (of_draws, of_proposals), slope = (float(each.mean()) for each in terms), 2.0
    if of_draws == 0.0 or of_proposals == 0.0:  # far from the solution
        return of_proposals - of_draws, 0.0
    for each in terms:
        slope -= float(each @ each / each.sum())
    return float(np.log(of_proposals) - np.log(of_draws) - log_odds), slope


def _terms(draws: Array, proposals: Array, log_z: float, log_odds: float) -> tuple[Array, Array]:
    """s2 Z / (s1 l + s2 Z) at the draws and s1 l / (s1 l + s2 Z) at the proposals: probabilities, no overflow."""
    return expit(log_z - log_odds - draws), expit(proposals + log_odds - log_z)


def _relative_variance(terms: Array) -> float:
    mean = terms.mean()
    return float(terms.var() / mean**2) if mean > 0 else np.inf
