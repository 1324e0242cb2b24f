"""`Draws`: mixture parameters of many draws, chains end to end."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from bayesgmm._common import Array, Covariances, Factors, IntArray, Means, Weights
from bayesgmm.mixture import LOG_2PI, CovarianceFamily, covariance_family

_KERNEL_LAYOUT = ("factors", "precision_factors", "log_scale")
_PARAMETERS = ("weights", "means", "covariances")
type Which = IntArray | Array | slice


@dataclass(frozen=True)
class Draws:
    """Draws of a mixture's parameters, from any chains, with full covariance matrices.

    Attributes
    ----------
    weights : (sample, cluster)
    means : (sample, cluster, feature)
    covariances : (sample, cluster, feature, feature_bis)
    chain : (sample,)
        The chain of each; the draws of a chain are in their order. -1 for what no chain drew.
    covariance_type : str
        The family of the covariances.
    """

    __module__ = "bayesgmm.prediction"

    weights: Weights
    means: Means
    covariances: Covariances
    chain: IntArray
    covariance_type: str

    @classmethod
    def of_tree(cls, tree: xr.DataTree, *, groups: Sequence[str] = ("posterior",)) -> "Draws":
        """All draws of a posterior, and of further groups after them."""
        sampled = [[tree[group][name].to_numpy() for name in _PARAMETERS] for group in groups]
        sizes = [values[0].shape[:2] for values in sampled]
        w, mu, sigma = (_end_to_end(each) for each in zip(*sampled, strict=True))
        lengths = np.concatenate([np.full(n_chains, n_draws) for n_chains, n_draws in sizes])
        return cls(w, mu, sigma, np.repeat(np.arange(len(lengths)), lengths), str(tree.attrs["covariance_type"]))

    @classmethod
    def of_factors(cls, family: CovarianceFamily, weights: Weights, means: Means, factors: Factors) -> "Draws":
        """Draws that no chain drew, covariances as factors (sample, block, rows, columns) of a family."""
        found = cls.unchained(weights, means, family.expand(factors, *means.shape[1:]), family.name)
        found.__dict__["factors"] = factors
        return found

    @classmethod
    def unchained(cls, weights: Weights, means: Means, covariances: Covariances, covariance_type: str) -> "Draws":
        """Draws that no chain drew."""
        return cls(weights, means, covariances, np.full(len(weights), -1), covariance_type)

    @classmethod
    def joined(cls, parts: Sequence["Draws"]) -> "Draws":
        """One set after the other."""
        w, mu, sigma, chain = (np.concatenate(each) for each in zip(*(part.arrays for part in parts), strict=True))
        return cls(w, mu, sigma, chain, parts[0].covariance_type)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, which: Which) -> "Draws":
        w, mu, sigma = self.weights[which], self.means[which], self.covariances[which]
        taken = Draws(w, mu, sigma, self.chain[which], self.covariance_type)
        taken.__dict__.update({name: self.__dict__[name][which] for name in _KERNEL_LAYOUT if name in self.__dict__})
        return taken

    def reordered(self, order: IntArray) -> "Draws":
        """The same draws with their components in other orders (sample, cluster)."""
        rows = np.arange(len(self))[:, None]
        w, mu, sigma = self.weights[rows, order], self.means[rows, order], self.covariances[rows, order]
        moved = Draws(w, mu, sigma, self.chain, self.covariance_type)
        for name in _KERNEL_LAYOUT:
            if name in self.__dict__:
                values = self.__dict__[name]  # one covariance shared by all stays
                moved.__dict__[name] = values[rows, order] if values.shape[1] == order.shape[1] else values
        return moved

    @property
    def arrays(self) -> tuple[Weights, Means, Covariances, IntArray]:
        """Weights, means, covariances, chain."""
        return self.weights, self.means, self.covariances, self.chain

    @cached_property
    def family(self) -> CovarianceFamily:
        """The family of the covariances."""
        return covariance_family(self.covariance_type)

    @cached_property
    def factors(self) -> Factors:
        """Factors of the covariances in the family's layout, (sample, block, rows, columns)."""
        n_samples, n_clusters, n_features = self.means.shape
        blocks = (n_samples, self.family.n_blocks(n_clusters), *self.family.block_shape(n_features))
        return self.family.factors(self.family.compress(self.covariances), n_features).reshape(blocks)

    @cached_property
    def precision_factors(self) -> Factors:
        """Their inverses."""
        return self.family.precision_factors(self.factors)

    @cached_property
    def log_scale(self) -> Weights:
        """log w_k + log |L_k^-1| - D/2 log 2 pi, as the kernel reads it, (sample, cluster)."""
        n_features = self.means.shape[2]
        log_det = self.family.log_precision_determinants(self.precision_factors, n_features)
        log_weights: Array = np.log(np.maximum(self.weights, np.finfo(np.float64).tiny))
        return log_weights + log_det - 0.5 * n_features * LOG_2PI


def _end_to_end(arrays: Sequence[Array]) -> Array:
    """Arrays (chain, draw, ...) as one (sample, ...), C-contiguous; not copied if there is one that is."""
    flat = [array.reshape(-1, *array.shape[2:]) for array in arrays]
    return np.ascontiguousarray(flat[0] if len(flat) == 1 else np.concatenate(flat))
