r"""Anderson acceleration of EM on many rows (Anderson 1965; Walker & Ni 2011), guarded by the objective.

With :math:`g(\theta)` the M-step after a pass over the rows and residuals :math:`f_i = g(\theta_i) - \theta_i`, the
next point is

.. math:: \theta = g(\theta_n) - \sum_i \gamma_i \, (g(\theta_{i+1}) - g(\theta_i)), \qquad
          \gamma = \arg\min \lVert f_n - \sum_i \gamma_i (f_{i+1} - f_i) \rVert

over the last ten. Coordinates are logarithms of weights, and means and factors whitened at a base point, with
logarithms on the diagonals of factors: units of the data do not matter. Lengths are measured by the information of the
complete data, under which the derivative :math:`J` of g is self-adjoint and :math:`f` the gradient of the objective per
row. With :math:`\lambda` the smallest eigenvalue of :math:`I - J` among the last steps, at most
:math:`\frac{N}{2\lambda} \lVert f_n \rVert^2` is to come in their directions; the run has converged when that has been
little, ten times over, five times in a row: slower directions may show only later.

A point at which the objective is lower than before costs its pass: EM goes on from the plain step and forgets what it
knew. Where that happens too often, on plateaus, SQUAREM takes over (`bayesgmm.em.squarem`). One step costs a tenth of a
millisecond beside the pass, so that on few rows SQUAREM, which is compiled, is quicker.
"""

import math

import numpy as np

from bayesgmm._common import Array
from bayesgmm.em.m_step import m_step, with_scale
from bayesgmm.em.squarem import CONVERGED, GOES_ON, REJECTED, aitken_remaining
from bayesgmm.mixture import Mixture, Statistics
from bayesgmm.priors import PseudoData

_WINDOW, _PLAIN_STEPS = 10, 5  # residuals that are combined, and plain steps before the first combination
_MOST_REJECTED, _ENOUGH = 10, 5  # points in all, and estimates in a row that hardly anything is to come
_ROUNDING = 1e-14  # a gain below this share of the objective is none
_CUTOFF, _CERTAIN = 1e-10, 1e-5  # of singular values, relative to the largest: in combinations, for eigenvalues
_LEAST_EIGENVALUE, _FORGET = 1e-5, 1.15  # that is believed, and how fast it is forgotten
_DOUBT = 10.0  # what the bound is multiplied by: slower directions may show only later


class Anderson:
    """A run of EM that is accelerated.

    Attributes
    ----------
    now : Mixture
        The best point so far.
    objective : float
        There.
    n_floored : int
        Covariances of ``now`` that sit at the floor.
    n_rejected : int
    """

    def __init__(self, start: Mixture, pseudo: PseudoData, floors: Array) -> None:
        self.now, self.pseudo, self.floors = start, pseudo, floors
        self.n_floored = self.n_rejected = 0
        self._tried = self._plain = self._base = start
        self._tried_floored = 0
        self._points: list[Array] = []
        self._residuals: list[Array] = []
        self._objectives = [math.nan] * 3
        self._to_come, self._slowest, self._quiet, self._n_steps = math.inf, 1.0, 0, -1

    @property
    def objective(self) -> float:
        """At the best point so far."""
        return self._objectives[-1]

    @property
    def has_failed(self) -> bool:
        """Whether so many points were rejected that another method is better."""
        return self.n_rejected >= _MOST_REJECTED and 2 * self.n_rejected > self._n_steps - self.n_rejected

    def next_point(self, statistics: Statistics) -> Mixture:
        """The next point to evaluate, from the sums at the present one; after a rejected one, the plain step."""
        if self._tried is not self.now:
            self._tried = self._plain
            return self._tried
        self._plain, self._tried_floored = m_step(statistics, self.now, self.pseudo, floor=self.floors)
        self._tried, self._to_come = self._plain, math.inf
        here, there = self._coordinates(self.now), self._coordinates(self._plain)
        self._points = [*self._points[-_WINDOW:], there]
        self._residuals = [*self._residuals[-_WINDOW:], there - here]
        if len(self._residuals) > 1 and self._n_steps >= _PLAIN_STEPS and not self._tried_floored:
            self._combine(float(statistics.counts.sum()))
        return self._tried

    def judge(self, objective: float, smallest_gain: float) -> int:
        """What to make of the objective at the point that was evaluated: a verdict, as of `check_convergence`."""
        if self._tried is not self._plain and not objective >= self.objective:
            self.n_rejected += 1
            self._forget()
            return REJECTED
        self.now, self.n_floored, self._n_steps = self._tried, self._tried_floored, self._n_steps + 1
        self._objectives = [*self._objectives[1:], objective]
        is_plain = self._tried is self._plain
        _, before, now = self._objectives
        to_come = (
            aitken_remaining(*self._objectives) if is_plain or now - before <= _ROUNDING * abs(now) else self._to_come
        )
        self._quiet = self._quiet + 1 if abs(to_come) <= smallest_gain else 0
        return CONVERGED if self._quiet >= (1 if is_plain and self._n_steps <= _PLAIN_STEPS else _ENOUGH) else GOES_ON

    def _forget(self) -> None:
        self._points, self._residuals, self._base = [], [], self.now

    def _combine(self, total: float) -> None:
        """Try the combination of the last steps, if it is a point."""
        information, residual = self._information(), self._residuals[-1]
        root = np.sqrt(information)[:, None]
        changes, moves = np.diff(self._residuals, axis=0).T, np.diff(self._points, axis=0).T
        gamma = np.linalg.lstsq(changes * root, residual * root[:, 0], rcond=_CUTOFF)[0]
        combined = self._points[-1] - moves @ gamma
        self._slowest = max(
            self._slowest / _FORGET, 1.0 / _smallest_eigenvalue((moves - changes) * root, -changes * root)
        )
        point = self._point(combined)
        if point is not None:
            self._tried = point
            self._to_come = _DOUBT * 0.5 * total * float(information @ residual**2) * self._slowest

    def _coordinates(self, mixture: Mixture) -> Array:
        """Of a point relative to the base."""
        base, one = self._base, mixture.family.parametrisation
        whitened = one.times(base.precision_factors, mixture.means - base.means)
        changes, logs = one.linear_changes(one.product(base.precision_factors, mixture.factors)), self._logs()
        changes = np.where(logs, np.log(np.where(logs, changes, 1.0)), changes)
        return np.concatenate([np.log(mixture.weights / base.weights), whitened.ravel(), changes.ravel()])

    def _point(self, q: Array) -> Mixture | None:
        """The inverse; None if it is no mixture, or may have a covariance at the floor."""
        base, (k, d), logs = self._base, self._base.means.shape, self._logs()
        one, changes = base.family.parametrisation, q[k * (1 + d) :].reshape(base.factors.shape)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            changes = np.where(logs, np.exp(np.where(logs, changes, 0.0)), changes)
            factors = one.product(base.factors, one.changes_of_linear(changes))
            means = base.means + one.times(base.factors, q[k : k * (1 + d)].reshape(k, d))
            weights = base.weights * np.exp(q[:k] - q[:k].max())
            if not (np.isfinite(factors).all() and np.isfinite(means).all() and np.diagonal(factors, 0, 1, 2).all()):
                return None
            factors = one.members(factors, weights)
            precision = one.inverse(factors)
            shares = self.floors[: factors.shape[2]] * (precision**2).sum(axis=1)
        bound = shares.sum(axis=1) if one.correlated else shares.max(axis=1)
        if not (bound <= 1.0).all():
            return None
        weights = np.maximum(weights / weights.sum(), np.finfo(np.float64).tiny)
        return with_scale(base.family, weights, means, factors, precision, component=base.component)

    def _logs(self) -> Array:
        """Which entries of a change of factors are logarithms, (rows, columns)."""
        rows, columns = self._base.factors.shape[1:]
        return (
            np.eye(rows, columns, dtype=bool)
            if self._base.family.parametrisation.correlated
            else np.ones((1, columns), bool)
        )

    def _information(self) -> Array:
        """The diagonal information of complete data per row, in these coordinates."""
        d, weights, logs = self.now.n_features, self.now.weights, self._logs()
        of_block = np.ones(1) if self.now.family.shared else weights
        of_entry = np.where(logs, 2.0 * (d // logs.shape[1]), 1.0)
        return np.concatenate([weights, np.repeat(weights, d), np.multiply.outer(of_block, of_entry).ravel()])


def _smallest_eigenvalue(steps: Array, images: Array) -> float:
    """Of a self-adjoint map known by its images of some steps (coordinate, step), on the space of the larger ones."""
    u, sizes, v = np.linalg.svd(steps, full_matrices=False)
    kept = sizes > _CERTAIN * sizes[0]
    if not kept.any():
        return 1.0
    among = u[:, kept].T @ images @ (v[kept].T / sizes[kept])
    return max(float(np.linalg.eigvalsh(0.5 * (among + among.T))[0]), _LEAST_EIGENVALUE)
