"""Tail probabilities of predictive densities, from simulated rows of which more lie in the tails."""

from dataclasses import dataclass
from math import ceil, log

import numpy as np
from scipy.stats import chi2

from bayesgmm._common import Array, IntArray, PerRow, Rows
from bayesgmm.data import Data
from bayesgmm.mixture import Draws
from bayesgmm.prediction.densities import log_densities, rows_of

_SIMULATED = 5_000  # rows, at least four from each draw
_FEWEST_A_DRAW = 4
_SMALLEST = 1e-12  # the smallest tail probability of a component that is simulated


@dataclass(frozen=True)
class Reference:
    """Rows simulated from the predictive distribution, more of them in its tails than in its middle.

    Attributes
    ----------
    draw : (row,) array of int
        The draw each comes from.
    weights : (row,)
        What each counts for, at most two.
    log_scale : (row,)
    densities : (draw, row)
        Density of each row under each draw, over exp of ``log_scale``.
    """

    draw: IntArray
    weights: PerRow
    log_scale: PerRow
    densities: Array

    def log_density(self, draw_weights: Array) -> Array:
        """Log predictive density of each row when draws have these weights (case, draw), (case, row)."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.log_scale + np.log(draw_weights @ self.densities))

    def tail(self, log_density: PerRow, draw_weights: Array) -> PerRow:
        """Probability of a lower density than these, each under weights of its own (case, draw), (case,)."""
        counts = self.weights * draw_weights[:, self.draw]
        below = self.log_density(draw_weights) <= log_density[:, None]
        return np.asarray((counts * below).sum(axis=1) / counts.sum(axis=1))

    def threshold(self, probability: float) -> float:
        """The log predictive density below which a new row falls with this probability."""
        values, below = self._distribution()
        return float(values[np.searchsorted(below, probability).clip(0, len(values) - 1)])

    def tail_of_average(self, log_density: PerRow) -> PerRow:
        """Probability (obs,) of a lower density than these, averaged over draws of equal weight."""
        values, below = self._distribution()
        return np.asarray(np.concatenate([[0.0], below])[np.searchsorted(values, log_density, side="right")])

    def _distribution(self) -> tuple[PerRow, PerRow]:
        """Log predictive densities in order, and the probability of one no higher."""
        values = self.log_density(np.full((1, len(self.densities)), 1.0 / len(self.densities)))[0]
        order = values.argsort()
        return values[order], self.weights[order].cumsum() / self.weights.sum()


def reference(draws: Draws, *, rng: np.random.Generator) -> Reference:
    r"""Rows of the predictive distribution for tail probabilities as small as 1e-12.

    A row of component k is :math:`\mu_k + r L_k e` with a uniform direction e and
    :math:`r^2 = F^{-1}_{\chi^2_d}(1 - v)`. Half of the v are uniform, half log-uniform above 1e-12; a row counts for
    v's uniform density over that of this mixture, which is below two, whatever the dimension. Rows of noise count for
    one.
    """
    each = max(_FEWEST_A_DRAW, ceil(_SIMULATED / len(draws)))
    which = np.repeat(np.arange(len(draws)), each)
    v, weights = _radial(len(which), rng)
    labels = draws.labels(which, rng=rng)
    rows = _rows(draws, which, labels, v, rng)
    weights = np.where(labels < 0, 1.0, weights)
    values = log_densities(draws, Data(rows))
    highest = values.max(axis=0)
    return Reference(which, weights, highest, np.exp(values - highest))


def _radial(n: int, rng: np.random.Generator) -> tuple[PerRow, PerRow]:
    """Probabilities of lying further out, and their importance weights."""
    depth = -log(_SMALLEST)
    v = np.where(rng.random(n) < 0.5, rng.random(n), np.exp(-depth * rng.random(n)))
    density = 0.5 + 0.5 / (v * depth) * (v > _SMALLEST)
    return v, 1.0 / density


def _rows(draws: Draws, which: IntArray, labels: IntArray, v: PerRow, rng: np.random.Generator) -> Rows:
    d = draws.means.shape[2]
    direction = rng.standard_normal((len(which), d))
    z = direction * np.sqrt(chi2.isf(v, d) / (direction**2).sum(axis=1))[:, None]
    return np.asfortranarray(rows_of(draws, which, labels, z, rng=rng))
