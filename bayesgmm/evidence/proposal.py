r"""The proposal of bridge sampling: conditional densities given allocations, and a normal density, half of each.

Conditional densities follow the posterior where components empty and labels switch, but given the allocations it is
narrow: where clusters overlap, a few hundred of them do not fill a space of many dimensions. There the posterior is
close to normal in unconstrained coordinates. The mean of both densities covers what either covers.
"""

from dataclasses import dataclass, replace
from math import log
from typing import Self

import numpy as np
from scipy.special import gammaln

from bayesgmm._common import Array, IntArray
from bayesgmm.evidence.conditional_densities import Conditionals
from bayesgmm.evidence.normal_proposal import NormalProposal
from bayesgmm.mixture import Draws, Mixture

_PILOT, _IN_LABELLING = 200, 0.5
_MOST_DIMENSIONS, _DRAWS_PER_DIMENSION = 500, 2


@dataclass(frozen=True)
class Proposal:
    """A density of mixture parameters that follows the draws of a mode.

    Attributes
    ----------
    conditionals : Conditionals or None
    normal : NormalProposal or None
    labels : Mixture or None
        If labels carry no meaning, the integral is taken over the points that resemble this mixture more than all their
        relabellings do.
    symmetric : bool
        Whether conditional densities are averaged over all labellings: their draws are then relabelled to resemble
        ``labels``.
    alike : (cluster,) integers, optional
        Components with the same number may change places; all may by default.
    """

    conditionals: Conditionals | None
    normal: NormalProposal | None
    labels: Mixture | None
    symmetric: bool
    alike: IntArray | None = None

    @classmethod
    def of(
        cls,
        conditionals: Conditionals | None,
        draws: Draws,
        labels: Mixture | None,
        *,
        symmetric: bool,
        alike: IntArray | None = None,
        rng: np.random.Generator,
    ) -> Self:
        """These conditional densities, and a normal one if the draws are enough for it and it is in the labelling."""
        alone = cls(conditionals, None, labels, symmetric, alike)
        n_dim = draws.family.n_parameters(*draws.means.shape[1:])
        unknown = n_dim > _MOST_DIMENSIONS or len(draws) <= _DRAWS_PER_DIMENSION * n_dim
        if conditionals is not None and unknown:
            return alone
        normal = NormalProposal.following(draws)
        inside = alone.counts(normal.sample(_PILOT, rng=rng)).mean() >= _IN_LABELLING
        return replace(alone, normal=normal) if inside or conditionals is None else alone

    def sample(self, n: int, *, rng: np.random.Generator) -> Draws:
        """Draw ``n`` points, half of them from either density if there are two."""
        each = n if self.conditionals is None or self.normal is None else n // 2
        drawn = [part.sample(each, rng=rng) for part in (self.conditionals, self.normal) if part is not None]
        if self.symmetric and self.labels is not None:
            drawn[0] = in_labels_of(self.labels, drawn[0], self.alike)
        return Draws.joined(drawn)

    def counts(self, points: Draws) -> Array:
        """Whether points are in the labelling, (point,)."""
        if self.labels is None:
            return np.ones(len(points), dtype=np.bool_)
        return has_labels_of(self.labels, points, self.alike)

    def log_density(self, points: Draws) -> Array:
        """Log density of points in the labelling, (point,)."""
        terms = []
        if self.conditionals is not None and self.symmetric:
            terms.append(self.conditionals.log_density(points) + float(gammaln(points.weights.shape[1] + 1.0)))
        elif self.conditionals is not None:
            labelled = self.conditionals.log_labelled_density(points)
            terms.append(np.logaddexp.reduce(labelled, axis=1) - log(labelled.shape[1]))
        if self.normal is not None:
            terms.append(self.normal.log_density(points))
        return np.asarray(np.logaddexp.reduce(terms, axis=0) - log(len(terms)))


def best_mixture(points: Draws, log_joint: Array) -> Mixture:
    """The point with the highest density."""
    return points.mixture(int(np.argmax(log_joint)))


def in_labels_of(reference: Mixture, points: Draws, alike: IntArray | None = None) -> Draws:
    """Draws relabelled to resemble a mixture."""
    return points.reordered(points.order_like(reference, alike=alike))


def has_labels_of(reference: Mixture, points: Draws, alike: IntArray | None = None) -> Array:
    """Whether no relabelling of a point resembles a mixture more, (point,)."""
    order = points.order_like(reference, alike=alike)
    same: Array = (order == np.arange(order.shape[1])).all(axis=1)
    return same
