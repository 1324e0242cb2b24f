r"""Sparse-weight reparameterization: coordinates in which log weights of empty components have unit scale.

Where a concentration e is below one a component may be empty: then its log weight has the density exp(e log w), an
exponential with the scale 1/e, a hundred nats for e = 0.01, and at about -log n it meets the rows, which hold it within
one nat. With an unbounded coordinate v and

    log g = h(v) = v - c l(v)²,   l(v) = log(1 + exp(t - v)),   c = 1 / (2 e r²),

the tail becomes a half-normal of scale r and the rest stays as it is: h'(v) -> 1 above the turn t. The K numbers g_k
are unnormalised, w = g / sum g, and log sum g ~ N(0, 1) independently of w, an exact reparametrisation of any density
of weights: no component is the reference to which the others are compared, so that each can empty.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from bayesgmm._common import Array
from bayesgmm._compiled import allocation_free
from bayesgmm.priors import ResolvedPrior

_REACH = 4.0  # r: what an empty component's log weight spans, where an occupied one's spans less than one
_NEWTON_STEPS = 100


@dataclass(frozen=True)
class SparseWeights:
    """The map from coordinates v to logarithms of unnormalised weights.

    Attributes
    ----------
    curvatures : (cluster,)
        c of each component.
    turn : float
        t.
    """

    curvatures: Array
    turn: float

    @classmethod
    def of(cls, prior: ResolvedPrior, n_rows: float) -> "SparseWeights | None":
        """That of a sparse prior; none of others, whose weights keep log-ratios."""
        if not prior.sparse:
            return None
        return cls(0.5 / (prior.concentration * _REACH**2), -float(np.log(n_rows)))

    @property
    def numbers(self) -> Array:
        """The curvatures and the turn, as the compiled code reads them."""
        return np.append(self.curvatures, self.turn)

    def log_weights(self, v: Array) -> Array:
        """h(v)."""
        return np.asarray(v - self.curvatures * np.logaddexp(0.0, self.turn - v) ** 2)

    def slope(self, v: Array) -> Array:
        """h'(v)."""
        tail = np.logaddexp(0.0, self.turn - v)
        return np.asarray(1.0 + 2.0 * self.curvatures * tail * expit(self.turn - v))

    def bend(self, v: Array) -> Array:
        """h''(v)."""
        tail, share = np.logaddexp(0.0, self.turn - v), expit(self.turn - v)
        return np.asarray(-2.0 * self.curvatures * share * (share + tail * (1.0 - share)))

    def places(self, log_weights: Array) -> Array:
        """The inverse of h: Newton's method from below, monotone because h is increasing and concave."""
        v = np.array(log_weights, dtype=np.float64)
        for _ in range(_NEWTON_STEPS):
            step = (log_weights - self.log_weights(v)) / self.slope(v)
            v += step
            if np.abs(step).max() <= 1e-15 * np.abs(v).max():
                break
        return v


@allocation_free
def sparse_log_weight(v: float, curvature: float, turn: float) -> tuple[float, float, float]:
    """h, h' and h'' at one coordinate."""
    x = turn - v
    tail = max(x, 0.0) + np.log1p(np.exp(-abs(x)))
    share = 1.0 / (1.0 + np.exp(-x))
    slope = 1.0 + 2.0 * curvature * tail * share
    return v - curvature * tail**2, slope, -2.0 * curvature * share * (share + tail * (1.0 - share))
