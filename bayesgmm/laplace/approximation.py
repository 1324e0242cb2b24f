r"""Laplace approximations at the optima of a posterior, corrected by importance sampling and weighed by evidence.

The proposals at an optimum are draws of the normal approximation q in the sampler's coordinates, see
`bayesgmm.laplace.mode`. Their ratios to the posterior density p (`bayesgmm.laplace.log_ratios`) give

- importance weights, Pareto-smoothed (Vehtari, Simpson, Gelman, Yao & Gabry 2024), whose k-hat tells whether q reaches
  as far as p, and whose effective number what the draws are worth;
- the evidence of the optimum, :math:`Z = E_q[p / q]`, by which optima are weighed.

It holds where every component has many rows, so that the posterior is nearly normal; else it is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesgmm._common import Array, IntArray, progress_bar
from bayesgmm.data import Data
from bayesgmm.exceptions import SamplingError
from bayesgmm.laplace.log_ratios import LogRatios, log_ratios
from bayesgmm.laplace.mode import NormalApproximation, normal_approximation
from bayesgmm.laplace.smoothing import MAX_K_HAT, MIN_EFFECTIVE_SHARE, Smoothed, resampled_in_order
from bayesgmm.mixture import LOG_2PI, Draws, Mixture, align_to
from bayesgmm.priors import Model

LEAST_PROPOSALS = 4_000  # at an optimum: of fewer the shape of the tail is not known
_NO_WEIGHT = 30.0  # nats below the best at which an optimum has no weight, by the normal approximation alone


@dataclass(frozen=True)
class Approximation:
    """The approximation at one optimum.

    Attributes
    ----------
    normal : NormalApproximation
    points : (proposal, n_dim)
        Standard normal points in its coordinates.
    ratios : LogRatios
        Of posterior density to normal density.
    smoothed : Smoothed
        The importance weights.
    """

    normal: NormalApproximation
    points: Array
    ratios: LogRatios
    smoothed: Smoothed

    @property
    def log_evidence(self) -> float:
        """Log of the integral of likelihood times prior around the optimum, in one labelling."""
        return self.smoothed.log_mean

    @property
    def log_evidence_se(self) -> float:
        """Its standard error, from the number of proposals and from subsamples of the rows."""
        return math.hypot(self.smoothed.log_mean_se, self.ratios.log_mean_error)

    @property
    def log_densities(self) -> Array:
        """Log posterior densities of the points in the coordinates, (proposal,)."""
        n = self.points.shape[1]
        return np.asarray(self.ratios.values - 0.5 * (np.square(self.points).sum(axis=1) + n * LOG_2PI))


@dataclass(frozen=True)
class Resampled:
    """Draws of all approximations, optima in proportion to their evidences.

    Attributes
    ----------
    draws : Draws
    log_densities : (sample,)
    optimum : (sample,)
        The approximation that each is of.
    proposal : (sample,)
        The number of its proposal there: equal ones are copies.
    """

    draws: Draws
    log_densities: Array
    optimum: IntArray
    proposal: IntArray


def approximate(
    data: Data,
    model: Model,
    optima: Sequence[Mixture],
    n: int,
    *,
    rng: np.random.Generator,
    n_workers: int | None = None,
    until: float = math.inf,
    progress: bool = False,
) -> tuple[Approximation, ...]:
    """Approximations at the different optima, best first, each with ``n`` proposals or more.

    Parameters
    ----------
    data : Data
        Rows anywhere.
    model : Model
        With a prior.
    optima : sequence of Mixture
        Of the posterior density, or near them. Those that lead to the same mode are one; those without weight are left
        out.
    n : int
        Draws that are wanted.
    until : float
        Time of `time.monotonic` at which it ends without a result.

    Raises
    ------
    SamplingError
        The approximation is not good enough at an optimum that has weight, or time has ended.
    """
    n_proposals, prior = max(n, LEAST_PROPOSALS), model.required_prior
    normals = _distinct([normal_approximation(data, prior, optimum) for optimum in optima], model)
    found = []
    for number, normal in enumerate(normals, start=1):
        points, of_all = rng.standard_normal((n_proposals, normal.coordinates.n_dim)), f"{number} of {len(normals)}"
        with progress_bar(f"Laplace approximation, optimum {of_all}", show=progress) as move:
            ratios = log_ratios(normal, data, points, rng=rng, n_workers=n_workers, until=until, progress=move)
        smoothed = Smoothed.of(ratios.values)
        if not smoothed.is_good:
            raise _refused(smoothed, of_all)
        found.append(Approximation(normal, points, ratios, smoothed))
    return tuple(found)


def _distinct(normals: list[NormalApproximation], model: Model) -> list[NormalApproximation]:
    """The different modes that have weight, best first; what lies within a mode's typical radius is the same."""
    kept: list[NormalApproximation] = []
    for normal in sorted(normals, key=lambda each: -each.log_mass):
        far = normal.log_mass < kept[0].log_mass - _NO_WEIGHT if kept else False
        if not far and all(_distance(normal.mixture, other, model) > math.sqrt(model.n_parameters) for other in kept):
            kept.append(normal)
    return kept


def _distance(mixture: Mixture, other: NormalApproximation, model: Model) -> float:
    """Posterior standard deviations between a mixture and a mode, in its labels."""
    if not model.is_identified:
        arrays = mixture.weights, mixture.means, mixture.full_covariances
        order = align_to(other.mixture, *arrays, alike=model.interchangeable)
        mixture = mixture.permute(order)
    return float(np.linalg.norm(other.coordinates.point(mixture)))


def _refused(smoothed: Smoothed, of_all: str) -> SamplingError:
    n = len(smoothed.weights)
    return SamplingError(
        f"The Laplace approximation is refused at optimum {of_all}: Pareto k-hat of its importance ratios is "
        f"{smoothed.k_hat:.2f} (at most {MAX_K_HAT}), and {smoothed.effective_size:,.0f} of {n:,} draws are effective "
        f"(at least {MIN_EFFECTIVE_SHARE * n:,.0f}): a component has too few rows for a normal posterior. Use "
        'inference="nuts"; em_ is the maximum a posteriori.'
    )


def _evidence_weights(approximations: Sequence[Approximation]) -> Array:
    """Weights of the optima in proportion to their evidences, (optimum,)."""
    log_z = np.array([each.log_evidence for each in approximations])
    return np.asarray(np.exp(log_z - np.logaddexp.reduce(log_z)))


def _pooled_weights(approximations: Sequence[Approximation]) -> Array:
    """Weights of the proposals of all, one after the other; they sum to one."""
    of_optima = zip(_evidence_weights(approximations), approximations, strict=True)
    return np.concatenate([weight * each.smoothed.weights for weight, each in of_optima])


def effective_draws(approximations: Sequence[Approximation]) -> float:
    """Effective number of all proposals (Kish)."""
    return float(1.0 / np.square(_pooled_weights(approximations)).sum())


def resampled(approximations: Sequence[Approximation], n: int, *, rng: np.random.Generator) -> Resampled:
    """``n`` draws from all proposals; copies of one stand next to each other (`resampled_in_order`)."""
    optimum = np.concatenate([np.full(len(each.points), m) for m, each in enumerate(approximations)])
    proposal = np.concatenate([np.arange(len(each.points)) for each in approximations])
    weights = _pooled_weights(approximations)
    order = rng.permutation(len(weights))
    chosen = order[resampled_in_order(weights[order], n, rng=rng)]
    draws = Draws.joined([each.normal.parameters(each.points) for each in approximations])[chosen]
    densities = np.concatenate([each.log_densities for each in approximations])[chosen]
    return Resampled(draws, densities, optimum[chosen], proposal[chosen])
