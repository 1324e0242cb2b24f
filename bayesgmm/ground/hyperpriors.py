"""Distributions of hyperparameters, and of covariances that are no inverse-Wishart: records of frozen numbers."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.words.arrays import Array
from bayesgmm.words.checks import as_covariance, as_positive
from bayesgmm.words.errors import InputError


@dataclass(frozen=True)
class Gamma:
    r"""Density :math:`b^a / \Gamma(a)\; x^{a-1} e^{-b x}`, of mean a / b.

    Attributes
    ----------
    shape, rate : float
        a and b, both positive.
    """

    shape: float
    rate: float

    @classmethod
    def checked(cls, shape: float, rate: float) -> Self:
        """The record of two positive numbers."""
        return cls(_positive(shape, "shape"), _positive(rate, "rate"))

    @property
    def mean(self) -> float:
        """E x."""
        return self.shape / self.rate


@dataclass(frozen=True)
class Wishart:
    r"""Density :math:`\propto |S|^{(n-d-1)/2} \exp(-tr(V^{-1} S)/2)`, of mean n V.

    Attributes
    ----------
    dof : float
        n, above d - 1.
    scale : (feature, feature)
        V.
    """

    dof: float
    scale: Array

    @classmethod
    def checked(cls, dof: float, scale: ArrayLike, *, n_features: int) -> Self:
        """The record, once its numbers make a density."""
        n = _positive(dof, "dof")
        if n <= n_features - 1:
            raise InputError(expected=f"dof > {n_features - 1} (the number of features less one)", got=f"{dof}")
        return cls(n, as_covariance(scale, n_features=n_features, name="scale"))

    @property
    def mean(self) -> Array:
        """E S, (feature, feature)."""
        return self.dof * self.scale


def _positive(value: float, name: str) -> float:
    array = as_positive(value, name=name)
    if array.size != 1:
        raise InputError(expected=f"{name}, one number", got=f"shape {array.shape}")
    return float(np.ravel(array)[0])
