"""`Draws`: the parameters of many mixtures of one family."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from bayesgmm._common import Array, Covariances, Factors, IntArray, Means, Rows, Weights
from bayesgmm.mixture.covariance.family import CovarianceFamily
from bayesgmm.mixture.kernel import LOG_2PI
from bayesgmm.mixture.mixture import Mixture

_BY_BLOCK = ("factors", "precision_factors")
_BY_CLUSTER = ("weights", "means", "covariances", "log_scale")
type Which = IntArray | Array | slice


@dataclass(frozen=True, init=False, eq=False)
class Draws:
    """Draws of a mixture's parameters, from any chains.

    Covariances are given as full matrices or, by `of_factors`, as factors; either is computed from the other when it is
    first used.

    Attributes
    ----------
    weights : (sample, cluster)
    means : (sample, cluster, feature)
    covariances : (sample, cluster, feature, feature_bis)
        Full matrices for every family.
    family : CovarianceFamily
    chain : (sample,)
        The chain of each; the draws of a chain are in their order. -1 for what no chain drew.
    """

    __module__ = "bayesgmm.mixture"

    weights: Weights
    means: Means
    family: CovarianceFamily
    chain: IntArray

    def __init__(
        self,
        weights: Weights,
        means: Means,
        covariances: Covariances,
        *,
        family: CovarianceFamily,
        chain: IntArray | None = None,
    ) -> None:
        chain = np.full(weights.shape[:-1], -1) if chain is None else chain
        self.__dict__.update(weights=weights, means=means, covariances=covariances, family=family, chain=chain)

    @classmethod
    def of_factors(cls, weights: Weights, means: Means, factors: Factors, *, family: CovarianceFamily) -> Self:
        """Draws that no chain drew, covariances as factors (sample, block, rows, columns)."""
        chain = np.full(weights.shape[:-1], -1)
        return cls._holding(weights=weights, means=means, factors=factors, family=family, chain=chain)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One set after the other."""
        if len(parts) == 1:
            return parts[0]
        w, mu, sigma = (np.concatenate(each) for each in zip(*(part.arrays for part in parts), strict=True))
        return cls(w, mu, sigma, family=parts[0].family, chain=np.concatenate([part.chain for part in parts]))

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

        return self._each(in_order, chain=self.chain, fixed=_BY_BLOCK if one_block else ())

    def _each(self, change: Callable[[Array], Array], *, chain: IntArray, fixed: Sequence[str] = ()) -> Self:
        """Draws of which every array at hand is changed, and those computed of it need not be computed again."""
        held = {name: self.__dict__[name] for name in (*_BY_CLUSTER, *_BY_BLOCK) if name in self.__dict__}
        changed = {name: values if name in fixed else change(values) for name, values in held.items()}
        return self._holding(**changed, family=self.family, chain=chain)

    def labels(self, which: IntArray, *, rng: np.random.Generator) -> IntArray:
        """For each of some draws (row,), a component with the probability of its weight."""
        cumulative = self.weights[which].cumsum(axis=1)
        return (rng.random((len(which), 1)) * cumulative[:, -1:] > cumulative).sum(axis=1)

    def rows(self, which: IntArray | int, labels: IntArray, z: Rows) -> Rows:
        """mu_k + L_k z for rows z (row, feature) of components ``labels`` (row,) of draws ``which``."""
        factors = self.factors[which, np.minimum(labels, self.factors.shape[1] - 1)]
        full = factors.shape[1] == z.shape[1]
        return self.means[which, labels] + (np.einsum("nij,nj->ni", factors, z) if full else factors[:, 0] * z)

    def mixture(self, index: int) -> Mixture:
        """One draw."""
        covariances = self.family.compress(self.covariances[index])
        return Mixture(self.weights[index], self.means[index], covariances, self.family.name)

    @property
    def arrays(self) -> tuple[Weights, Means, Covariances]:
        """Weights, means, covariances."""
        return self.weights, self.means, self.covariances

    @cached_property
    def covariances(self) -> Covariances:
        """Full matrices, (sample, cluster, feature, feature_bis)."""
        return self.family.expand(self.factors, *self.means.shape[-2:])

    @cached_property
    def factors(self) -> Factors:
        """Factors of the covariances in the family's layout, (sample, block, rows, columns)."""
        *lead, n_clusters, n_features = self.means.shape
        blocks = (*lead, self.family.n_blocks(n_clusters), *self.family.block_shape(n_features))
        return self.family.factors(self.family.compress(self.covariances), n_features).reshape(blocks)

    @cached_property
    def precision_factors(self) -> Factors:
        """Their inverses."""
        return self.family.precision_factors(self.factors)

    @cached_property
    def log_scale(self) -> Weights:
        """log w_k + log |L_k^-1| - D/2 log 2 pi, as the kernel reads it, (sample, cluster)."""
        n_features = self.means.shape[-1]
        log_det = self.family.log_precision_determinants(self.precision_factors, n_features)
        log_weights: Array = np.log(np.maximum(self.weights, np.finfo(np.float64).tiny))
        return log_weights + log_det - 0.5 * n_features * LOG_2PI
