r"""Student-t components: heavier tails than a Gaussian's, by degrees of freedom :math:`\nu_k`.

.. math:: \log t_\nu(x \mid \mu, L L^\top) = \log\Gamma(\tfrac{\nu + D}{2}) - \log\Gamma(\tfrac{\nu}{2})
    - \tfrac{D}{2} \log(\nu\pi) - \log |L| - \tfrac{\nu + D}{2} \log(1 + |z|^2 / \nu), \qquad z = L^{-1}(x - \mu)

It is a normal distribution of covariance :math:`L L^\top / \tau` with :math:`\tau \sim \Gamma(\nu/2, \nu/2)`, and
:math:`u = E[\tau \mid x] = (\nu + D) / (\nu + |z|^2)` is the weight with which a row enters the moments (Peel &
McLachlan 2000). Sums beside counts are :math:`\sum r \log(1 + |z|^2 / \nu)` and :math:`\sum r u`.

The M-step is that of the complete data with parameter expansion (Kent, Tyler & Vardi 1994; Liu, Rubin & Wu 1998): the
weights u are taken relative to their mean :math:`\alpha = \sum r \nu u / \sum r \nu`, and then degrees of freedom solve

.. math:: \sum_k n_k \left[\log\tfrac{\nu}{2} - \psi(\tfrac{\nu}{2}) + 1 + \overline{\log\tau} - \log\alpha
    - \bar u / \alpha \right] = 0, \qquad
    \overline{\log\tau} = \overline{\log u} + \psi(\tfrac{\nu_0 + D}{2}) - \log\tfrac{\nu_0 + D}{2}.

Behind the log scales stand the degrees of freedom (cluster,) and the rules of their estimation: how many are free
(none, one for all, one each), their bounds, and a Gamma prior's shape less one and rate.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

import numpy as np
from scipy.special import gammaln

from bayesgmm._common import Array, IntArray, Weights
from bayesgmm._compiled import LANES, TILE, allocation_free, compiled, fold, load, log, store, zeros
from bayesgmm.mixture.components.component import LOG_2PI, Component, refused
from bayesgmm.mixture.kernel_layout import add_to

PRIOR = 2.0, 0.1  # shape and rate of a Gamma prior on degrees of freedom (Juárez & Steel 2010)
BOUNDS = 2.0, 200.0  # of degrees of freedom by maximum likelihood: below, spikes are near; above, a Gaussian is
_BOUNDS_WITH_PRIOR = 0.01, 1e4
_FIRST = 20.0  # degrees of freedom where a run begins
_FIXED, _SHARED, _EACH = 0.0, 1.0, 2.0
DOF_KINDS = {"shared": _SHARED, "each": _EACH}
_KIND, _LOWEST, _HIGHEST, _POWER, _RATE, _N_RULES = range(6)
_LENGTHS, _WEIGHTS = 0, 1  # rows of `Sums.others`
_LARGE = 8.0  # arguments of asymptotic series
_BISECTIONS = 50


@allocation_free
def _log_less_digamma(x: float) -> float:
    """log(x) - psi(x), without cancellation for large x (Abramowitz & Stegun 6.3.18)."""
    total, y = 0.0, x
    while y < _LARGE:
        total += 1.0 / y
        y += 1.0
    t = 1.0 / (y * y)
    series = 0.5 / y + t * (1.0 / 12.0 - t * (1.0 / 120.0 - t * (1.0 / 252.0 - t * (1.0 / 240.0 - t / 132.0))))
    return series + total - math.log(y / x)


@allocation_free
def _stirling(x: float) -> float:
    """What Stirling's formula leaves out of log Gamma(x)."""
    t = 1.0 / (x * x)
    return (1.0 / 12.0 - t * (1.0 / 360.0 - t * (1.0 / 1260.0 - t * (1.0 / 1680.0 - t / 1188.0)))) / x


@allocation_free
def _log_normaliser(dof: float, d: int) -> float:
    """Of d whitened features; for large ``dof`` without the cancellation of two log Gamma functions."""
    x, a = 0.5 * dof, 0.5 * d
    if x < _LARGE:
        return math.lgamma(x + a) - math.lgamma(x) - a * math.log(dof * math.pi)
    return (x + a - 0.5) * math.log1p(a / x) - a + _stirling(x + a) - _stirling(x) - a * LOG_2PI


@allocation_free
def _slope(dof: float, count: float, constant: float, power: float, rate: float) -> float:
    """Of the expected log density of complete data, and the log prior, by degrees of freedom."""
    return 0.5 * (count * _log_less_digamma(0.5 * dof) + constant) + power / dof - rate


@compiled
def _best_dof(count, constant, rules):  # type: ignore[no-untyped-def]
    """The root of `_slope` between the bounds, which falls from there on where it is positive."""
    low, high = math.log(rules[_LOWEST]), math.log(rules[_HIGHEST])
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if _slope(math.exp(middle), count, constant, rules[_POWER], rules[_RATE]) > 0.0:
            low = middle
        else:
            high = middle
    return min(max(math.exp(0.5 * (low + high)), rules[_LOWEST]), rules[_HIGHEST])


@allocation_free
def _constant(sums, k, expansion, d, dof):  # type: ignore[no-untyped-def]
    """What the complete data of a component add to the equation of degrees of freedom, given those before."""
    count = sums.counts[k]
    mean_log = math.log1p(d / dof) - _log_less_digamma(0.5 * (dof + d)) - math.log(expansion) + 1.0
    return count * mean_log - sums.others[_LENGTHS, k] - sums.others[_WEIGHTS, k] / expansion


@dataclass(frozen=True)
class StudentT(Component):
    """The multivariate Student-t distribution.

    Attributes
    ----------
    kind : "each", "shared" or a number
        Whether each component has degrees of freedom of its own, all have the same, or those given.
    prior : (shape, rate), optional
        Of a Gamma prior on degrees of freedom.
    """

    kind: str | float = "each"
    prior: tuple[float, float] | None = None

    name = "student_t"
    n_sums = 2

    # ---- compiled: the kernel

    @staticmethod
    @allocation_free
    def n_kept():  # type: ignore[no-untyped-def]
        """A squared length, then the weight; and log(1 + squared length / dof)."""
        return 2

    @staticmethod
    @allocation_free
    def log_density(layout, log_scale, shape, k, i, square, work):  # type: ignore[no-untyped-def]
        n_components, n_features = shape
        dof = log_scale[n_components + k]
        log_length = log(square * (1.0 / dof) + 1.0)
        place = layout.kept + k * layout.stride + i
        store(work, place, square)
        store(work, place + n_components * layout.stride, log_length)
        return log_scale[k] - log_length * (0.5 * (dof + n_features))

    @staticmethod
    @allocation_free
    def add_sums(layout, log_scale, shape, k, padded, work, place):  # type: ignore[no-untyped-def]
        n_components, n_features = shape
        dof, resp = log_scale[n_components + k], layout.resp + k * layout.stride
        square, lengths, weights = layout.kept + k * layout.stride, zeros(TILE), zeros(TILE)
        log_length = square + n_components * layout.stride
        for i in range(0, padded, TILE):
            r = load(TILE, work, resp + i)
            weight = r * (dof + n_features) / (load(TILE, work, square + i) + dof)
            store(work, square + i, weight)
            weights = weights + weight
            lengths = lengths + r * load(TILE, work, log_length + i)
        add_to(work, place, fold(lengths))
        add_to(work, place + LANES, fold(weights))
        return place + 2 * LANES

    @staticmethod
    @allocation_free
    def add_marginal_sums(log_scale, shape, k, d, found, sums):  # type: ignore[no-untyped-def]
        """The first as if all features had been observed: E log tau depends on how many there are."""
        dof = log_scale[shape[0] + k]
        one, other = 0.5 * (dof + shape[1]), 0.5 * (dof + d)
        change = math.log(one / other) - _log_less_digamma(one) + _log_less_digamma(other)
        sums.others[_LENGTHS, k] += found.others[_LENGTHS, k] + found.counts[k] * change
        sums.others[_WEIGHTS, k] += found.others[_WEIGHTS, k]

    @staticmethod
    @allocation_free
    def moment_weights(layout, k):  # type: ignore[no-untyped-def]
        """Responsibilities times u."""
        return layout.kept + k * layout.stride

    @staticmethod
    @allocation_free
    def log_normaliser(log_scale, shape, k):  # type: ignore[no-untyped-def]
        return _log_normaliser(log_scale[shape[0] + k], shape[1])

    @staticmethod
    @allocation_free
    def marginal_normaliser(log_scale, shape, k, d):  # type: ignore[no-untyped-def]
        dof = log_scale[shape[0] + k]
        return _log_normaliser(dof, d) - _log_normaliser(dof, shape[1])

    # ---- compiled: the M-step and its extrapolation

    @staticmethod
    @allocation_free
    def moment_count(sums, k):  # type: ignore[no-untyped-def]
        return sums.others[_WEIGHTS, k]

    @staticmethod
    @allocation_free
    def expansion(sums, log_scale):  # type: ignore[no-untyped-def]
        """The mean of u, in which components count as their degrees of freedom: the best given those."""
        count, weight, k = 0.0, 0.0, sums.counts.shape[0]
        for i in range(k):
            count += log_scale[k + i] * sums.counts[i]
            weight += log_scale[k + i] * sums.others[_WEIGHTS, i]
        return weight / count

    @staticmethod
    @allocation_free
    def update(sums, expansion, shape, before, after):  # type: ignore[no-untyped-def]
        n_components, d = shape
        for i in range(n_components, before.shape[0]):
            after[i] = before[i]
        rules, count, constant = before[2 * n_components :], 0.0, 0.0
        if rules[_KIND] == _FIXED:
            return
        for k in range(n_components):
            own = _constant(sums, k, expansion, d, before[n_components + k])
            count, constant = count + sums.counts[k], constant + own
            if rules[_KIND] == _EACH:
                after[n_components + k] = _best_dof(sums.counts[k], own, rules)
        if rules[_KIND] == _SHARED:
            dof = _best_dof(count, constant, rules)
            for k in range(n_components):
                after[n_components + k] = dof

    @staticmethod
    @allocation_free
    def n_coordinates(k):  # type: ignore[no-untyped-def]
        return k

    @staticmethod
    @allocation_free
    def write_coordinates(base, other, k, q):  # type: ignore[no-untyped-def]
        for i in range(k):
            q[i] = math.log(other[k + i] / base[k + i])

    @staticmethod
    @allocation_free
    def write_information(weights, q):  # type: ignore[no-untyped-def]
        """Of log dof, where dof is large; at two it is 0.64 for 0.5."""
        for i in range(weights.shape[0]):
            q[i] = 0.5 * weights[i]

    @staticmethod
    @allocation_free
    def move(base, q, k, after):  # type: ignore[no-untyped-def]
        for i in range(2 * k, base.shape[0]):
            after[i] = base[i]
        rules = base[2 * k :]
        for i in range(k):
            moved = base[k + i] * math.exp(q[i])
            fixed = rules[_KIND] == _FIXED
            after[k + i] = base[k + i] if fixed else min(max(moved, rules[_LOWEST]), rules[_HIGHEST])

    # ---- compiled: the log posterior

    @staticmethod
    @allocation_free
    def place(others, q, n_free, k, log_scale):  # type: ignore[no-untyped-def]
        """Degrees of freedom are those of the centre times exp(q); the Jacobian of one is itself."""
        value, rules = 0.0, others[k:]
        shape, rate = rules[_POWER] + 1.0, rules[_RATE]
        for i in range(others.shape[0]):
            log_scale[k + i] = others[i]
        for i in range(k if n_free > 0 else 0):
            log_scale[k + i] = others[i] * math.exp(q[min(i, n_free - 1)])
        for i in range(n_free):
            dof = log_scale[k + i]
            value += shape * math.log(rate * dof) - math.lgamma(shape) - rate * dof
        return value

    @staticmethod
    @allocation_free
    def place_gradient(sums, log_scale, shape, n_free, gradient):  # type: ignore[no-untyped-def]
        """By Fisher's identity that of the complete data, whose weights are not expanded."""
        n_components, d = shape
        rules = log_scale[2 * n_components :]
        for i in range(n_free):
            dof, count, constant = log_scale[n_components + i], 0.0, 0.0
            for k in range(i, i + 1 if n_free > 1 else n_components):
                count += sums.counts[k]
                constant += _constant(sums, k, 1.0, d, dof)
            gradient[i] = dof * _slope(dof, count, constant, rules[_POWER], rules[_RATE]) + 1.0

    # ---- in Python

    @property
    def _free(self) -> float:
        """Which degrees of freedom are estimated."""
        return DOF_KINDS.get(self.kind, _FIXED) if isinstance(self.kind, str) else _FIXED

    def picked(self, log_scale: Array, index: Any, n_components: int) -> Array:
        scales, dof = log_scale[: 2 * n_components].reshape(2, n_components)
        return np.concatenate([scales[index], dof[index], log_scale[2 * n_components :]])

    def n_parameters(self, n_components: int) -> int:
        return {_FIXED: 0, _SHARED: 1, _EACH: n_components}[self._free]

    @property
    def with_prior(self) -> Self:
        return replace(self, prior=PRIOR)

    @property
    def record(self) -> dict[str, str | float]:
        return {"component": self.name, "dof": self.kind}

    @property
    def rules(self) -> Array:
        """What stands behind the degrees of freedom."""
        shape, rate = self.prior or (1.0, 0.0)
        bounds = BOUNDS if self.prior is None else _BOUNDS_WITH_PRIOR
        return np.array([self._free, *bounds, shape - 1.0, rate])

    def start(self, n_components: int) -> Array:
        first = _FIRST if self._free else float(self.kind)
        return self.behind(np.full(n_components, first))

    def behind(self, dof: Any) -> Array:
        rules = self.rules
        return np.concatenate([dof, np.broadcast_to(rules, (*dof.shape[:-1], len(rules)))], axis=-1)

    def log_normalisers(self, others: Array, n_components: int, n_features: int) -> Weights:
        dof = others[..., :n_components]
        return np.array([_log_normaliser(each, n_features) for each in dof.ravel()]).reshape(dof.shape)

    def dof(self, others: Array, n_components: int) -> Array:
        return others[:n_components]

    def weights(self, dof: Any, lengths: Array, n_features: int) -> Array:
        weights: Array = (dof + n_features) / (dof + lengths)
        return weights

    def stretches(self, dof: Any, labels: IntArray, rng: np.random.Generator) -> Array:
        own = dof[labels]
        return np.sqrt(own / rng.chisquare(own))[:, None]

    def covariance_factors(self, dof: Any) -> Array:
        return np.divide(dof, dof - 2.0, out=np.full(np.shape(dof), np.inf), where=dof > 2.0)

    def coordinates(self, dof: Any, centre: Any) -> Array:
        return np.asarray(np.log(self._free_of(dof) / self._free_of(centre)))

    def placed(self, coordinates: Array, centre: Any) -> Array:
        shape = *coordinates.shape[:-1], len(centre)
        moved = centre * np.exp(coordinates) if coordinates.shape[-1] else centre
        return np.ascontiguousarray(np.broadcast_to(moved, shape))

    def draw_dof(self, n: int, n_components: int, rng: np.random.Generator) -> Array:
        shape, rate = self.prior or PRIOR
        free = rng.gamma(shape, 1.0 / rate, (n, self.n_parameters(n_components))) if self._free else float(self.kind)
        return np.ascontiguousarray(np.broadcast_to(free, (n, n_components)))

    def _free_of(self, dof: Array) -> Array:
        return dof[..., : self.n_parameters(dof.shape[-1])]

    def log_prior(self, dof: Array | None) -> Array | float:
        """Gamma densities of what is free."""
        if self.prior is None or dof is None:
            return 0.0
        shape, rate = self.prior
        free = self._free_of(dof)
        each = shape * np.log(rate) - gammaln(shape) + (shape - 1.0) * np.log(free) - rate * free
        return np.asarray(each.sum(axis=-1))

    def check_gaussian(self, what: str, hint: str = "Fit with component='gaussian'.") -> NoReturn:
        raise refused(self, what, hint)
