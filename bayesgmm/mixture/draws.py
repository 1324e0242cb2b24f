"""`Draws`: the parameters of many mixtures of one family."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bayesgmm._common import Array, Columns, Covariances, Factors, IntArray, Means, PerRow, Rows, Weights
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.alignment import align_to
from bayesgmm.mixture.components.component import GAUSSIAN, Component
from bayesgmm.mixture.covariance.family import CovarianceFamily
from bayesgmm.mixture.covariance.parametrisation import Parametrisation
from bayesgmm.mixture.mixture import Mixture, with_constant

_BY_BLOCK = ("factors", "precision_factors")
_BY_CLUSTER = ("weights", "means", "compact", "dof")
_BY_DRAW = ("noise_weight",)
_AT_ONCE = 2**22  # numbers in the full matrices of a part: 32 MB
type Which = IntArray | Array | slice


class NoiseTerm(Protocol):
    """Uniform noise beside the components of all draws."""

    @property
    def log_density(self) -> float:
        """In its box."""

    def holds(self, x: Columns) -> NDArray[np.bool_]:
        """Which columns (feature, obs) lie in the box."""

    def beside(self, components: Mixture, weight: float) -> Mixture:
        """A mixture with noise of a weight."""

    def sample(self, n: int, *, rng: np.random.Generator) -> Rows:
        """Uniform rows in the box."""

    def cdf(self, rows: Rows) -> Array:
        """Distribution function of each feature at rows, (obs, feature)."""

    def density_of(self, features: Sequence[int], at: Rows) -> PerRow:
        """Density of one or two features (obs,) at points (obs, feature)."""


@dataclass(frozen=True, init=False, eq=False)
class Draws:
    """Draws of a mixture's parameters, from any chains.

    Covariances are given as full matrices or variances or, by `of_factors`, as factors, and held as factors or compact,
    as variances where matrices are diagonal; either is computed from the other when it is first used.

    Attributes
    ----------
    weights : (sample, cluster)
    means : (sample, cluster, feature)
    compact : (sample, cluster, feature) or (sample, cluster, feature, feature_bis)
        Variances, if the family's matrices are diagonal, or else full matrices.
    family : CovarianceFamily
    chain : (sample,)
        The chain of each; the draws of a chain are in their order. -1 for what no chain drew.
    noise : NoiseTerm, optional
        Uniform noise; then weights are shares of all rows.
    noise_weight : (sample,), optional
        With weights they sum to one.
    component : Component
        The distribution of a component.
    dof : (sample, cluster), optional
        Degrees of freedom of Student-t components, whose scale matrices stand in the place of covariances.
    """

    __module__ = "bayesgmm.mixture"

    weights: Weights
    means: Means
    family: CovarianceFamily
    chain: IntArray
    noise: NoiseTerm | None = None
    noise_weight: Weights | None = None
    component: Component = GAUSSIAN
    dof: Weights | None = None

    def __init__(
        self,
        weights: Weights,
        means: Means,
        covariances: Covariances | Array,
        *,
        family: CovarianceFamily,
        chain: IntArray | None = None,
    ) -> None:
        chain = np.full(weights.shape[:-1], -1) if chain is None else chain
        full = covariances.ndim > means.ndim
        compact = np.diagonal(covariances, axis1=-2, axis2=-1).copy() if full and family.diagonal else covariances
        self.__dict__.update(weights=weights, means=means, compact=compact, family=family, chain=chain)

    @classmethod
    def of_factors(cls, weights: Weights, means: Means, factors: Factors, *, family: CovarianceFamily) -> Self:
        """Draws that no chain drew, covariances as factors (sample, block, rows, columns)."""
        chain = np.full(weights.shape[:-1], -1)
        return cls._holding(weights=weights, means=means, factors=factors, family=family, chain=chain)

    @classmethod
    def of_mixture(cls, mixture: Mixture) -> Self:
        """One mixture as a set of draws."""
        weights, means, factors = mixture.weights[None], mixture.means[None], mixture.factors[None]
        draws = cls.of_factors(weights, means, factors, family=mixture.family)
        return draws.with_component(mixture.component, None if mixture.dof is None else mixture.dof[None])

    def with_component(self, component: Component, dof: Weights | None) -> Self:
        """The draws with components of another distribution and their degrees of freedom, if they have some."""
        beside = {} if dof is None else {"dof": dof}
        return self._holding(**{**self._without_scale, "component": component, **beside})

    @property
    def _without_scale(self) -> dict[str, object]:
        return {name: each for name, each in self.__dict__.items() if name != "log_scale"}

    def with_noise(self, noise: NoiseTerm, noise_weight: Weights) -> Self:
        """The draws with noise of some weights (sample,), with which those of components sum to one."""
        left = (1.0 - noise_weight[..., None]) / self.weights.sum(axis=-1, keepdims=True)
        held = {**self._without_scale, "weights": self.weights * left}
        return self._holding(**{**held, "noise": noise, "noise_weight": noise_weight})

    @property
    def components(self) -> Self:
        """The draws without noise, weights as they are."""
        return self._holding(**{name: each for name, each in self.__dict__.items() if not name.startswith("noise")})

    @property
    def kernel(self) -> tuple[Parametrisation, Component]:
        """What chooses the compiled code."""
        return self.family.parametrisation, self.component

    @property
    def alone(self) -> Self:
        """The draws without noise, whose weights sum to one."""
        weights = self.weights / self.weights.sum(axis=-1, keepdims=True)
        return self._holding(**{**self.components._without_scale, "weights": weights})

    @property
    def n_terms(self) -> int:
        """Components, and noise."""
        return self.weights.shape[-1] + (self.noise is not None)

    def terms(self, index: int | EllipsisType) -> tuple[Weights, Means, Factors]:
        """Log scales, means and precision factors of one draw as the kernel reads them, see `Mixture.terms`."""
        found = self.log_scale[index], self.means[index], self.precision_factors[index]
        if self.noise is None or self.noise_weight is None:
            return found
        return with_constant(*found, float(np.log(self.noise_weight[index])) + self.noise.log_density)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One set after the other."""
        if len(parts) == 1:
            return parts[0]
        held = ("weights", "means", "compact", "chain", *(("dof",) if parts[0].dof is not None else ()))
        values = {name: np.concatenate([getattr(part, name) for part in parts]) for name in held}
        return cls._holding(**values, family=parts[0].family, component=parts[0].component)

    @classmethod
    def _holding(cls, **values: object) -> Self:
        draws = object.__new__(cls)
        draws.__dict__.update(values)
        return draws

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, which: Which) -> Self:
        return self._each(lambda values: values[which], chain=self.chain[which])

    def thinned(self, most: int) -> Self:
        """At most ``most`` of the draws, evenly spaced over all chains."""
        if len(self) <= most:
            return self
        return self[np.linspace(0, len(self) - 1, most).round().astype(np.int64)]

    def parts(self) -> Iterator[Self]:
        """The draws in their order, some at a time, so that full matrices of a part take little memory."""
        n = max(1, _AT_ONCE // max(1, math.prod(self.means.shape[1:]) * self.means.shape[-1]))
        return (self[i : i + n] for i in range(0, max(1, len(self)), n))

    def end_to_end(self, *, first: int = 0) -> Self:
        """Draws with axes (chain, draw), one chain after the other; chains are counted from ``first``."""
        chain = first + np.repeat(np.arange(len(self.weights)), self.weights.shape[1])
        return self._each(lambda values: np.ascontiguousarray(values.reshape(-1, *values.shape[2:])), chain=chain)

    def reordered(self, order: IntArray) -> Self:
        """The same draws with their components in other orders (sample, cluster)."""
        order = np.ascontiguousarray(order)  # or else what is taken would not be, and the kernel refuses it
        one_block = self.family.n_blocks(order.shape[-1]) < order.shape[-1]  # a covariance shared by all stays

        def in_order(values: Array) -> Array:
            index = order.reshape(*order.shape, *(1,) * (values.ndim - order.ndim))
            return np.take_along_axis(values, index, axis=order.ndim - 1)

        return self._each(in_order, chain=self.chain, fixed=(*_BY_DRAW, *(_BY_BLOCK if one_block else ())))

    def order_like(self, reference: Mixture, *, alike: IntArray | None = None) -> IntArray:
        """Permutations (sample, cluster) that match the draws to a mixture, see `align_to`."""
        return np.concatenate([align_to(reference, *part.arrays, alike=alike) for part in self.parts()])

    def marginal(self, features: Sequence[int]) -> Self:
        """Draws of the mixture of some features; there is none of a box of noise along other axes."""
        self._check_no_noise("densities of some features")
        index = list(features)
        compact = self.compact[..., index] if self.family.diagonal else self.compact[..., index, :][..., index]
        held = {"means": self.means[..., index], "compact": compact}
        arrays = {name: np.ascontiguousarray(values) for name, values in held.items()}
        own = {name: self.__dict__[name] for name in ("weights", "chain", "component", "dof") if name in self.__dict__}
        return self._holding(**arrays, **own, family=self.family.of_part)

    def _each(self, change: Callable[[Array], Array], *, chain: IntArray, fixed: Sequence[str] = ()) -> Self:
        """Draws of which every array at hand is changed, and those computed of it need not be computed again."""
        names = (*_BY_CLUSTER, *_BY_BLOCK, *_BY_DRAW)
        held = {name: self.__dict__[name] for name in names if name in self.__dict__}
        changed = {name: values if name in fixed else change(values) for name, values in held.items()}
        rest = {} if self.noise is None else {"noise": self.noise}
        return self._holding(**changed, **rest, component=self.component, family=self.family, chain=chain)

    def labels(self, which: IntArray, *, rng: np.random.Generator) -> IntArray:
        """For each of some draws (row,), a component with the probability of its weight, -1 for noise."""
        cumulative = self.weights[which].cumsum(axis=1)
        total = cumulative[:, -1:] if self.noise is None else 1.0
        found = (rng.random((len(which), 1)) * total > cumulative).sum(axis=1)
        return np.where(found == cumulative.shape[1], -1, found)

    def _check_no_noise(self, what: str) -> None:
        if self.noise is not None:
            raise InputError(expected=f"a fit without noise for {what}", got="one with a uniform noise component")

    def stretches(self, which: IntArray | int, labels: IntArray, rng: np.random.Generator) -> Array | float:
        """By what to multiply normal residuals (row, feature) of components ``labels`` (row,) of draws ``which``."""
        own = None if self.dof is None else self.dof[which, labels]
        return self.component.stretches(own, np.arange(len(labels)), rng)

    def rows(self, which: IntArray | int, labels: IntArray, z: Rows) -> Rows:
        """mu_k + L_k z for rows z (row, feature) of components ``labels`` (row,) of draws ``which``."""
        factors = self._roots[which, np.minimum(labels, self.factors.shape[1] - 1)]
        full = factors.shape[1] == z.shape[1]
        return self.means[which, labels] + (np.einsum("nij,nj->ni", factors, z) if full else factors[:, 0] * z)

    @cached_property
    def _roots(self) -> Factors:
        return self.family.parametrisation.roots(self.factors)

    def mixture(self, index: int) -> Mixture:
        """One draw."""
        covariances = self.family.compress(self.family.matrices(self.compact[index]))
        if self.noise is None or self.noise_weight is None:
            found = Mixture(self.weights[index], self.means[index], covariances, self.family.name)
            return found if self.dof is None else found.with_component(self.component, self.dof[index])
        weights, noise_weight = self.weights[index], float(self.noise_weight[index])
        components = Mixture(weights / weights.sum(), self.means[index], covariances, self.family.name)
        return self.noise.beside(components, noise_weight)

    @property
    def arrays(self) -> tuple[Weights, Means, Covariances]:
        """Weights, means, covariances."""
        return self.weights, self.means, self.covariances

    @property
    def average(self) -> tuple[Weights, Means, Covariances]:
        """Means over the draws of weights, means and covariances, these as full matrices."""
        weights, means, compact = (values.mean(axis=0) for values in (self.weights, self.means, self.compact))
        return weights, means, self.family.matrices(compact)

    @property
    def covariances(self) -> Covariances:
        """Full matrices (sample, cluster, feature, feature_bis), made anew at every use where they are diagonal."""
        return self.family.matrices(self.compact)

    @property
    def variances(self) -> Array:
        """Their diagonals, (sample, cluster, feature)."""
        return self.compact if self.family.diagonal else np.diagonal(self.compact, axis1=-2, axis2=-1)

    def entries(self, k: IntArray, i: IntArray, j: IntArray) -> Array:
        """Entries (sample, ...) of the covariances at clusters, rows and columns that broadcast together."""
        return self.compact[:, k, i] * (i == j) if self.family.diagonal else self.compact[:, k, i, j]

    @cached_property
    def compact(self) -> Array:
        """Variances or full matrices, see above."""
        return self.family.compact(self.factors, *self.means.shape[-2:])

    @cached_property
    def factors(self) -> Factors:
        """Factors of the covariances in the family's layout, (sample, block, rows, columns)."""
        return self.family.compact_factors(self.compact)

    @cached_property
    def precision_factors(self) -> Factors:
        """Their inverses."""
        return self.family.precision_factors(self.factors)

    @cached_property
    def log_scale(self) -> Weights:
        """log w_k + log |L_k^-1| and the log normalizer of a component, as the kernel reads them, (sample, cluster).

        For other components than Gaussians with what else they read behind it.
        """
        n_features = self.means.shape[-1]
        log_det = self.family.log_precision_determinants(self.precision_factors, n_features)
        log_weights: Array = np.log(np.maximum(self.weights, np.finfo(np.float64).tiny))
        return self.component.packed(log_weights + log_det, self.component.behind(self.dof), n_features)
