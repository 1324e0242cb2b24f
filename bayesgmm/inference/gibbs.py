r"""Blocked Gibbs sampling: labels given the parameters, then each block of parameters given the labels and the rest.

A sweep draws, with :math:`n_k` rows in component k,

- the label of every row from its memberships (of a row with weight w the multinomial counts of w rows);
- weights from :math:`Dirichlet(\alpha + n)`;
- covariances from inverse Wisharts, or variances from inverse gammas: given the means where these are independent of
  them, with the means integrated out where they are conjugate;
- means from normals, given the covariances;
- a scale S with a prior from its Wishart, given the covariances; a concentration with a prior by slice sampling (Neal
  2003), given the weights.

It needs no gradient, no coordinates and no step size, so that it checks NUTS. Neighbouring draws are as much alike as
EM is slow: the autocorrelation of a parameter is the fraction of information on it that the unknown labels take away
(Liu, Wong & Kong 1994; `StandardErrors.missing` estimates it). A draw is therefore the last of several sweeps.
"""

import math
import threading
import time
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesgmm._common import Array, Factors, Means, Weights, in_threads, progress_bar
from bayesgmm._compiled import allocation_free, cholesky_lower, compiled, link, solve_cholesky
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError, InterruptedWarning, SamplingError
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import TOO_SHORT, SamplerSettings, Trace
from bayesgmm.mixture import LOG_2PI, Draws, Mixture, pointwise
from bayesgmm.priors import SMALLEST_WEIGHT, Model, ResolvedPrior

SWEEPS = 4  # of a draw, which then costs about as much as one of NUTS
_ROUND = 0.1  # seconds after which chains wait for each other, and Ctrl-C is heard
_SLICE = 1.0  # width of the first interval of a slice, in log concentrations


class _Prior(NamedTuple):
    """A prior as compiled code reads it, see `ResolvedPrior`."""

    concentration: Weights
    concentration_prior: Array  # shape and rate, or empty
    mean: Means
    kappa: Weights
    mean_precision: Array
    dof: Array
    scale: Factors
    scale_precision: Factors
    scale_count: Array


class _Rows(NamedTuple):
    """Rows by features, as the kernel reads them, and one by one; and how many rows each is, or nothing."""

    columns: Array
    rows: Array
    counts: NDArray[np.int64]


class _Chain(NamedTuple):
    """Where a chain is, and room for sums over the rows of each component, which are relative to its mean."""

    weights: Weights
    means: Means
    factors: Factors
    precision_factors: Factors
    concentration: Weights
    scale: Factors
    log_scale: Weights
    log_density: Array
    memberships: Array
    counts: Weights
    first: Means
    second: Factors


class _Draws(NamedTuple):
    """What is kept of the draws of a chain, (draw, ...)."""

    weights: Array
    means: Array
    factors: Array
    log_likelihood: Array


def check_gibbs(model: Model, data: Data) -> None:
    """Raise `InputError` unless every block has a known distribution given the others."""
    prior, nuts = model.required_prior, 'Use inference="nuts".'
    if prior.separation is not None:
        raise InputError(
            expected="a prior that is conjugate given the labels, for Gibbs sampling",
            got="one on variances and correlations",
            hint=nuts,
        )
    if model.family.restriction(model.n_components, model.n_features) is not None:
        raise InputError(
            expected="a family whose covariances are conjugate given the labels, for Gibbs sampling",
            got=f"{model.family.name}",
            hint=nuts,
        )
    weights = data.row_weights
    if weights is not None and (weights != np.floor(weights)).any():
        raise InputError(
            expected="whole sample_weight for Gibbs sampling, which gives every row a component",
            got=f"{weights[weights != np.floor(weights)][0]:g}",
            hint=nuts,
        )


def sample_gibbs(problem: Problem, settings: SamplerSettings, rng: np.random.Generator) -> tuple[Draws, Trace]:
    """Draw from the posterior; chains begin at their starts, or all at the mode, with labels of their own.

    ``lp`` of the statistics is the log of likelihood times prior, hyperparameters that have a prior integrated out, in
    natural coordinates.

    Parameters
    ----------
    problem : Problem
        With a prior, family and weights that `check_gibbs` accepts.
    settings : SamplerSettings
        What is about trajectories is not used.
    rng : Generator

    Returns
    -------
    Draws, Trace
        After Ctrl-C, or when the time has ended, the draws made so far, the same number of each chain.

    Raises
    ------
    SamplingError
        The time ended before the first draw after warm-up.
    KeyboardInterrupt
        Ctrl-C came before it.

    References
    ----------
    Diebolt & Robert (1994); Liu, Wong & Kong (1994), Biometrika 81, 27-40; Neal (2003), Annals of Statistics 31.
    """
    began, prior = time.perf_counter(), problem.model.required_prior
    starts = problem.chain_starts or (problem.start,)
    chains = [_chain_at(starts[c % len(starts)], prior, problem.data) for c in range(settings.chains)]
    rows, own_prior, generators = _rows(problem.data), _compiled_prior(prior), rng.spawn(settings.chains)
    covariance, component = problem.start.kernel
    link(_sweeps, type(covariance), type(component))
    kept = [_room(chain, settings.draws) for chain in chains]
    total, done, size, interrupted = settings.tune + settings.draws, 0, 1, False

    def go_on(c: int, stop: threading.Event) -> threading.Event:
        _sweeps(covariance, component, generators[c], rows, own_prior, chains[c], kept[c], done - settings.tune, size)
        return stop

    with progress_bar("Gibbs sampling", show=settings.progress) as move:
        while done < total and not interrupted:
            size, round_began = min(size, total - done), time.monotonic()
            stop = in_threads(go_on, range(settings.chains), n_workers=settings.n_cores)[0]
            done += size
            if move is not None:
                move(settings.chains * done, settings.chains * total)
            interrupted = (stop.is_set() or time.monotonic() >= settings.until) and done < total
            size = max(1, math.ceil(size * min(2.0, _ROUND / max(time.monotonic() - round_began, 1e-9))))
    n_draws = done - settings.tune
    if n_draws < 1:
        raise KeyboardInterrupt("interrupted before the first draw") if stop.is_set() else SamplingError(TOO_SHORT)
    if interrupted:
        warnings.warn(
            f"Interrupted: {n_draws} of {settings.draws} draws of each chain are kept.",
            InterruptedWarning,
            stacklevel=3,
        )
    draws, lp = _joined(kept, n_draws, problem)
    if not np.isfinite(lp).all():
        raise SamplingError("Gibbs sampling left the numbers: a covariance was singular to rounding error")
    nothing = np.zeros(settings.chains, dtype=np.int64)
    seconds = time.perf_counter() - began
    return draws, Trace({}, {"lp": lp}, nothing, np.arange(settings.chains), interrupted, seconds)


def _joined(kept: list[_Draws], n_draws: int, problem: Problem) -> tuple[Draws, Array]:
    """All draws, chains end to end, and their log densities (chain, draw)."""
    weights, means, factors, log_likelihood = (np.stack(each)[:, :n_draws] for each in zip(*kept, strict=True))
    draws = Draws.of_factors(weights, means, factors, family=problem.start.family).end_to_end()
    log_prior = problem.model.required_prior.log_density_of(draws)
    return draws, log_likelihood + log_prior.reshape(log_likelihood.shape)


def _rows(data: Data) -> _Rows:
    counts = np.empty(0) if data.row_weights is None else data.row_weights
    return _Rows(np.ascontiguousarray(data.rows.T), np.ascontiguousarray(data.rows), counts.astype(np.int64))


def _compiled_prior(prior: ResolvedPrior) -> _Prior:
    gamma = prior.concentration_prior
    arrays = (
        prior.concentration,
        np.empty(0) if gamma is None else np.array([gamma.shape, gamma.rate]),
        prior.mean,
        prior.kappa,
        prior.mean_precision,
        prior.dof,
        prior.scale,
        prior.scale_precision,
        prior.scale_count,
    )
    return _Prior(*(np.require(array, np.float64, ["C", "W"]) for array in arrays))


def _chain_at(start: Mixture, prior: ResolvedPrior, data: Data) -> _Chain:
    (k, d), n = start.means.shape, data.shape[0]
    return _Chain(
        np.maximum(start.weights, SMALLEST_WEIGHT),
        start.means.copy(),
        np.array(start.factors, order="C"),
        np.array(start.precision_factors, order="C"),
        prior.concentration.copy(),
        np.array(prior.scale),
        np.empty(k),
        np.empty(n),
        np.empty((k, n)),
        np.empty(k),
        np.empty((k, d)),
        np.empty_like(start.factors),
    )


def _room(chain: _Chain, n_draws: int) -> _Draws:
    shapes = (chain.weights.shape, chain.means.shape, chain.factors.shape, ())
    return _Draws(*(np.empty((n_draws, *shape)) for shape in shapes))


@compiled
def _sweeps(covariance, component, rng, rows, prior, at, kept, first, n):  # type: ignore[no-untyped-def]
    """``n`` draws; those from number zero on are kept, the first has the number ``first``."""
    _evaluate(covariance, component, rows, at)
    for s in range(first, first + n):
        for _ in range(SWEEPS):
            _draw_labels(covariance, rng, rows, at)
            _draw_weights(rng, prior, at)
            _draw_covariances(covariance, rng, prior, at)
            _draw_means(covariance, rng, prior, at)
            _draw_hyperparameters(covariance, rng, prior, at)
            _evaluate(covariance, component, rows, at)
        if s >= 0:
            kept.weights[s], kept.means[s], kept.factors[s] = at.weights, at.means, at.factors
            total = 0.0
            for i in range(at.log_density.shape[0]):
                total += at.log_density[i] * (rows.counts[i] if rows.counts.shape[0] else 1)
            kept.log_likelihood[s] = total


@compiled
def _evaluate(covariance, component, rows, at):  # type: ignore[no-untyped-def]
    """Log densities and memberships of all rows."""
    n_blocks, (k, d) = at.precision_factors.shape[0], at.means.shape
    for c in range(k):
        log_det = covariance.log_determinant(at.precision_factors[min(c, n_blocks - 1)], d)
        at.log_scale[c] = math.log(at.weights[c]) + log_det - 0.5 * d * LOG_2PI
    arguments = (rows.columns, at.log_scale, at.means, at.precision_factors, at.log_density, at.memberships)
    pointwise(covariance, component, *arguments)


@compiled
def _draw_labels(covariance, rng, rows, at):  # type: ignore[no-untyped-def]
    """Counts, and first and second moments about its mean, of the rows that each component is given."""
    k, z = at.means.shape[0], np.empty(at.means.shape[1])
    at.counts[:], at.first[:], at.second[:] = 0.0, 0.0, 0.0
    for i in range(rows.rows.shape[0]):
        left, mass = rows.counts[i] if rows.counts.shape[0] else 1, 0.0
        for c in range(k):
            mass += at.memberships[c, i]
        if left == 1:
            c, u = 0, rng.random() * mass - at.memberships[0, i]
            while u >= 0.0 and c < k - 1:
                c += 1
                u -= at.memberships[c, i]
            _give(covariance, at, c, 1.0, rows.rows[i], z)
            continue
        for c in range(k):
            share = at.memberships[c, i]
            n = left if c == k - 1 or share >= mass else rng.binomial(left, share / mass)
            mass -= share
            left -= n
            if n > 0:
                _give(covariance, at, c, float(n), rows.rows[i], z)


@allocation_free
def _give(covariance, at, c, n, row, z):  # type: ignore[no-untyped-def]
    """Count a row n times in a component."""
    at.counts[c] += n
    for j in range(z.shape[0]):
        z[j] = row[j] - at.means[c, j]
        at.first[c, j] += n * z[j]
    covariance.add_outer(n, z, z, at.second[min(c, at.second.shape[0] - 1)])


@compiled
def _draw_weights(rng, prior, at):  # type: ignore[no-untyped-def]
    """From their Dirichlet distribution, by the logarithms of gamma variables, which do not vanish."""
    k, highest, total = at.weights.shape[0], -np.inf, 0.0
    for c in range(k):
        shape = at.concentration[c] + at.counts[c]
        log_gamma = math.log(rng.standard_gamma(shape + 1.0)) + math.log1p(-rng.random()) / shape
        at.weights[c] = log_gamma
        highest = max(highest, log_gamma)
    for c in range(k):
        at.weights[c] = math.exp(at.weights[c] - highest)
        total += at.weights[c]
    for c in range(k):
        at.weights[c] = max(at.weights[c] / total, SMALLEST_WEIGHT)


@compiled
def _draw_covariances(covariance, rng, prior, at):  # type: ignore[no-untyped-def]
    """Given the labels, and given the means unless these are conjugate: then those are integrated out."""
    n_blocks, (k, d) = at.second.shape[0], at.means.shape
    away, width = np.empty(d), covariance.n_alike(d)
    for c in range(k):
        n, kappa = at.counts[c], prior.kappa[c]
        if kappa > 0.0 and n > 0.0:
            for j in range(d):
                away[j] = at.means[c, j] + at.first[c, j] / n - prior.mean[c, j]
            block = at.second[min(c, n_blocks - 1)]
            covariance.add_outer(-1.0 / n, at.first[c], at.first[c], block)
            covariance.add_outer(kappa * n / (kappa + n), away, away, block)
    for g in range(n_blocks):
        dof = prior.dof[g]
        for c in range(k):
            if min(c, n_blocks - 1) == g:
                dof += width * at.counts[c]
        at.second[g] += at.scale[g]
        covariance.draw_factor(rng, dof, at.second[g], at.factors[g], at.precision_factors[g])


@compiled
def _draw_means(covariance, rng, prior, at):  # type: ignore[no-untyped-def]
    """Given labels and covariances, as displacements from where they were."""
    n_blocks, (k, d) = at.second.shape[0], at.means.shape
    noise, moved, half, pull = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    precision, root = np.empty((d, d)), np.empty((d, d))
    for c in range(k):
        n, kappa, g = at.counts[c], prior.kappa[c], min(c, n_blocks - 1)
        for j in range(d):
            noise[j] = rng.standard_normal()
            pull[j] = prior.mean[c, j] - at.means[c, j]
        if kappa > 0.0:
            covariance.multiply(at.factors[g], noise, moved)
            for j in range(d):
                at.means[c, j] += (kappa * pull[j] + at.first[c, j]) / (kappa + n) + moved[j] / math.sqrt(kappa + n)
            continue
        prec = at.precision_factors[g]
        for j in range(d):
            half[:] = 0.0
            half[j] = 1.0
            covariance.multiply(prec, half, moved)
            covariance.multiply_transposed(prec, moved, half)
            for i in range(d):
                precision[i, j] = prior.mean_precision[c, i, j] + n * half[i]
        covariance.multiply(prec, at.first[c], half)
        covariance.multiply_transposed(prec, half, moved)
        for i in range(d):
            for j in range(d):
                moved[i] += prior.mean_precision[c, i, j] * pull[j]
        cholesky_lower(precision, root)
        _add_noise_of_precision(root, noise, moved)
        solve_cholesky(root, moved)
        for j in range(d):
            at.means[c, j] += moved[j]


@allocation_free
def _add_noise_of_precision(root, noise, vector):  # type: ignore[no-untyped-def]
    """vector += R z: a normal with the precision matrix R Rᵀ, times it."""
    for i in range(root.shape[0]):
        for j in range(i + 1):
            vector[i] += root[i, j] * noise[j]


@compiled
def _draw_hyperparameters(covariance, rng, prior, at):  # type: ignore[no-untyped-def]
    """A scale and a concentration that have a prior."""
    if prior.scale_count.shape[0]:
        inverse = np.empty(at.scale.shape[1:])
        covariance.write_mean_scale(at.precision_factors, prior.scale_precision[0], 1.0, inverse)
        covariance.draw_block(rng, prior.scale_count[0], inverse, at.scale[0])
        for g in range(1, at.scale.shape[0]):
            at.scale[g] = at.scale[0]
    if prior.concentration_prior.shape[0]:
        k, total, n_lost = at.weights.shape[0], 0.0, 0
        for c in range(k):
            total += math.log(at.weights[c])
            n_lost += at.weights[c] <= SMALLEST_WEIGHT
        at.concentration[:] = _draw_concentration(rng, prior.concentration_prior, k, total, n_lost, at.concentration[0])


@compiled
def _draw_concentration(rng, gamma, k, total, n_lost, now):  # type: ignore[no-untyped-def]
    """A concentration given the sum of k log weights, by slice sampling of its logarithm.

    Of weights at the smallest number it is only known that they are no greater.
    """
    t = math.log(now)
    level = _log_concentration(t, gamma, k, total, n_lost) - rng.standard_exponential()
    low = t - _SLICE * rng.random()
    high = low + _SLICE
    while _log_concentration(low, gamma, k, total, n_lost) > level:
        low -= _SLICE
    while _log_concentration(high, gamma, k, total, n_lost) > level:
        high += _SLICE
    while True:
        other = low + (high - low) * rng.random()
        if _log_concentration(other, gamma, k, total, n_lost) > level:
            return math.exp(other)
        if other < t:
            low = other
        else:
            high = other


@allocation_free
def _log_concentration(t, gamma, k, total, n_lost):  # type: ignore[no-untyped-def]
    """Log density of t = log e: Gamma(shape, rate) of e, Dirichlet of the weights."""
    e = math.exp(t)
    of_e = (gamma[0] - n_lost) * t - gamma[1] * e
    return of_e + math.lgamma(k * e) - k * math.lgamma(e) + e * total
