"""Hyperpriors, and separation priors on covariances."""

from dataclasses import dataclass
from math import log, pi
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from bayesgmm._common import Array
from bayesgmm.exceptions import InputError
from bayesgmm.validation import as_covariance, as_positive


@dataclass(frozen=True)
class Gamma:
    r"""Density :math:`b^a / \Gamma(a)\; x^{a-1} e^{-b x}`, of mean a / b.

    Attributes
    ----------
    shape, rate : float
        a and b, both positive.
    """

    __module__ = "bayesgmm.priors"

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

    __module__ = "bayesgmm.priors"

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


@dataclass(frozen=True)
class Separation:
    r"""Covariances D R D of inverse-gamma variances :math:`v_j \sim IG(a_j, b_j)` and :math:`R \sim LKJ(\eta)`.

    Attributes
    ----------
    variance_shape, variance_scale : (feature,)
        a and b.
    eta : float
        The density of correlations is proportional to :math:`|R|^{\eta - 1}`.
    """

    __module__ = "bayesgmm.priors"

    variance_shape: Array
    variance_scale: Array
    eta: float

    @classmethod
    def checked(cls, variance_shape: ArrayLike, variance_scale: ArrayLike, eta: float, *, n_features: int) -> Self:
        """The record, with numbers broadcast to features."""
        numbers = {"variance_shape": variance_shape, "variance_scale": variance_scale}
        arrays = {}
        for name, value in numbers.items():
            array = as_positive(value, name=name)
            if array.shape not in ((), (1,), (n_features,)):
                raise InputError(expected=f"{name} a number or of shape ({n_features},)", got=f"shape {array.shape}")
            arrays[name] = np.broadcast_to(array, (n_features,)).copy()
        return cls(**arrays, eta=_positive(eta, "eta"))

    @property
    def log_constant(self) -> float:
        """Log density of one covariance's lower triangle less the terms that change with it."""
        d, a = len(self.variance_shape), self.variance_shape
        k = np.arange(1, d)
        # Lewandowski, Kurowicka & Joe 2009, eq. 16, in the form of gamma functions
        lkj = 0.5 * k * log(pi) + gammaln(self.eta + 0.5 * (d - 1 - k)) - gammaln(self.eta + 0.5 * (d - 1))
        return float((a * np.log(self.variance_scale) - gammaln(a)).sum() - lkj.sum())

    @property
    def inverse_wishart(self) -> tuple[float, Array]:
        """Degrees of freedom and scale of an inverse-Wishart whose variances are as well known and as large."""
        d, a = len(self.variance_shape), self.variance_shape
        precision = 2.0 * float(a.mean())
        return precision + d - 1.0, np.diag(precision * self.variance_scale / a)


def _positive(value: float, name: str) -> float:
    array = as_positive(value, name=name)
    if array.size != 1:
        raise InputError(expected=f"{name}, one number", got=f"shape {array.shape}")
    return float(np.ravel(array)[0])
