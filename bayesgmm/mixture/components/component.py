"""What a component's distribution is, given whitened residuals, and the Gaussian.

A component turns the squared length of a whitened residual into a log density, and responsibilities into the weights
with which rows enter the first and second moments. Both are one for all covariance families.

What it reads beside log scales, such as degrees of freedom, stands behind them in one array: ``log_scale`` is
(cluster,) for Gaussians and longer for others. What it sums beside counts are rows of ``Sums.others``.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bayesgmm._common import Array, IntArray, Weights
from bayesgmm._compiled import Behaviour, BehaviourType, allocation_free
from bayesgmm.exceptions import InputError

LOG_2PI = math.log(2.0 * math.pi)


class Component(Behaviour, ABC):
    """The distribution of a component; in Python also what is estimated of it beside mean and covariance."""

    name: ClassVar[str]
    n_sums: ClassVar[int] = 0  # rows of `Sums.others`

    # ---- compiled: the kernel. ``shape`` is (cluster, feature); places are those of `Layout`
    n_kept: Any  # (): places that it needs for each row and component
    log_density: Any  # (layout, log_scale, shape, k, i, square, work): log w + log density of a vector of rows
    add_sums: Any  # (layout, log_scale, shape, k, padded, work, place): its sums; returns the place behind them
    add_marginal_sums: Any  # (log_scale, shape, k, d, found, sums): those of rows of which d features are observed
    moment_weights: Any  # (layout, k): the place of the weights with which rows enter moments
    log_normaliser: Any  # (log_scale, shape, k): of the density of whitened residuals
    marginal_normaliser: Any  # (log_scale, shape, k, d): its change where only d features are observed

    # ---- compiled: the M-step and its extrapolation
    moment_count: Any  # (sums, k): the sum of the weights of moments
    expansion: Any  # (sums, log_scale): what counts of covariances are multiplied by where there is no prior
    update: Any  # (sums, expansion, shape, before, after): what stands behind the log scales
    n_coordinates: Any  # (k): unconstrained coordinates beside those of a Gaussian
    write_coordinates: Any  # (base, other, k, q): relative to a base
    write_information: Any  # (weights, q): of these coordinates, a row of complete data
    move: Any  # (base, q, k, after): the inverse

    # ---- compiled: the log posterior, whose coordinates are logarithms relative to a centre, ``n_free`` of them
    place: Any  # (others, q, n_free, k, log_scale): what stands behind; log prior density, Jacobian included
    place_gradient: Any  # (sums, log_scale, shape, n_free, gradient): by these coordinates, likelihood and prior

    @property
    def has_others(self) -> bool:
        """Whether anything is read or summed beside what a Gaussian needs."""
        return self.n_sums > 0

    def packed(self, log_heights: Weights, others: Array, n_features: int) -> Array:
        """What the kernel reads, from log w + log |L^-1| (..., cluster) and what stands behind the log scales."""
        log_scale = log_heights + self.log_normalisers(others, log_heights.shape[-1], n_features)
        whole = np.concatenate([log_scale, others], axis=-1) if others.shape[-1] else log_scale
        return np.ascontiguousarray(whole)

    @abstractmethod
    def picked(self, log_scale: Array, index: Any, n_components: int) -> Array:
        """What the kernel reads of some components."""

    @property
    def with_prior(self) -> Self:
        """The same with a prior on what is estimated beside the rest."""
        return self

    @property
    def record(self) -> dict[str, str | float]:
        """The arguments of `component_of`."""
        return {"component": self.name}

    @abstractmethod
    def n_parameters(self, n_components: int) -> int:
        """How many numbers are estimated beside weights, means and covariances."""

    @abstractmethod
    def start(self, n_components: int) -> Array:
        """What stands behind the log scales where a run begins."""

    @abstractmethod
    def behind(self, dof: Array | None) -> Array:
        """What stands behind the log scales, given degrees of freedom (..., cluster)."""

    @abstractmethod
    def log_normalisers(self, others: Array, n_components: int, n_features: int) -> Weights | float:
        """`log_normaliser` of each component, given what stands behind the log scales."""

    @abstractmethod
    def dof(self, others: Array, n_components: int) -> Array | None:
        """Degrees of freedom (cluster,), None where there are none."""

    @abstractmethod
    def weights(self, dof: Array | None, lengths: Array, n_features: int) -> Array | float:
        """Weights of moments over responsibilities, given squared lengths (obs, cluster) of whitened residuals."""

    @abstractmethod
    def stretches(self, dof: Array | None, labels: IntArray, rng: np.random.Generator) -> Array | float:
        """By what to multiply normal residuals (obs, feature) of rows of these components."""

    @abstractmethod
    def covariance_factors(self, dof: Array | None) -> Array | float:
        """By what scale matrices are multiplied to be covariances (..., cluster); infinite where there are none."""

    @abstractmethod
    def coordinates(self, dof: Array | None, centre: Array | None) -> Array:
        """Those of `place`, (..., free), of degrees of freedom (..., cluster)."""

    @abstractmethod
    def placed(self, coordinates: Array, centre: Array | None) -> Array | None:
        """Degrees of freedom (..., cluster) at `coordinates`."""

    @abstractmethod
    def draw_dof(self, n: int, n_components: int, rng: np.random.Generator) -> Array | None:
        """Degrees of freedom (draw, cluster) from the prior; None where there are none."""

    @abstractmethod
    def log_prior(self, dof: Array | None) -> Array | float:
        """Log prior density (...) of what is estimated beside, given dof (..., cluster); zero without a prior."""

    def check_gaussian(self, what: str, hint: str = "Fit with component='gaussian'.") -> None:
        """Refuse what is for Gaussian components only."""


@dataclass(frozen=True)
class Gaussian(Component):
    r"""The normal distribution: log density :math:`-|z|^2 / 2`, moments weighted by responsibilities."""

    name = "gaussian"

    @staticmethod
    @allocation_free
    def n_kept():  # type: ignore[no-untyped-def]
        return 0

    @staticmethod
    @allocation_free
    def log_density(layout, log_scale, shape, k, i, square, work):  # type: ignore[no-untyped-def]
        return log_scale[k] - square * 0.5

    @staticmethod
    @allocation_free
    def add_sums(layout, log_scale, shape, k, padded, work, place):  # type: ignore[no-untyped-def]
        return place

    @staticmethod
    @allocation_free
    def add_marginal_sums(log_scale, shape, k, d, found, sums):  # type: ignore[no-untyped-def]
        pass

    @staticmethod
    @allocation_free
    def moment_weights(layout, k):  # type: ignore[no-untyped-def]
        """Responsibilities as they are."""
        return layout.resp + k * layout.stride

    @staticmethod
    @allocation_free
    def log_normaliser(log_scale, shape, k):  # type: ignore[no-untyped-def]
        return -(0.5 * shape[1] * LOG_2PI)

    @staticmethod
    @allocation_free
    def marginal_normaliser(log_scale, shape, k, d):  # type: ignore[no-untyped-def]
        return 0.5 * (shape[1] - d) * LOG_2PI

    @staticmethod
    @allocation_free
    def moment_count(sums, k):  # type: ignore[no-untyped-def]
        return sums.counts[k]

    @staticmethod
    @allocation_free
    def expansion(sums, log_scale):  # type: ignore[no-untyped-def]
        return 1.0

    @staticmethod
    @allocation_free
    def update(sums, expansion, shape, before, after):  # type: ignore[no-untyped-def]
        pass

    @staticmethod
    @allocation_free
    def n_coordinates(k):  # type: ignore[no-untyped-def]
        return 0

    @staticmethod
    @allocation_free
    def write_coordinates(base, other, k, q):  # type: ignore[no-untyped-def]
        pass

    @staticmethod
    @allocation_free
    def write_information(weights, q):  # type: ignore[no-untyped-def]
        pass

    @staticmethod
    @allocation_free
    def move(base, q, k, after):  # type: ignore[no-untyped-def]
        pass

    @staticmethod
    @allocation_free
    def place(others, q, n_free, k, log_scale):  # type: ignore[no-untyped-def]
        return 0.0

    @staticmethod
    @allocation_free
    def place_gradient(sums, log_scale, shape, n_free, gradient):  # type: ignore[no-untyped-def]
        pass

    def picked(self, log_scale: Array, index: Any, n_components: int) -> Array:
        picked: Array = log_scale[index]
        return picked

    def n_parameters(self, n_components: int) -> int:
        return 0

    def start(self, n_components: int) -> Array:
        return np.empty(0)

    def behind(self, dof: Array | None) -> Array:
        return np.empty(0)

    def log_normalisers(self, others: Array, n_components: int, n_features: int) -> float:
        return -(0.5 * n_features * LOG_2PI)

    def dof(self, others: Array, n_components: int) -> None:
        return None

    def weights(self, dof: Array | None, lengths: Array, n_features: int) -> float:
        return 1.0

    def stretches(self, dof: Array | None, labels: IntArray, rng: np.random.Generator) -> float:
        return 1.0

    def covariance_factors(self, dof: Array | None) -> float:
        return 1.0

    def coordinates(self, dof: Array | None, centre: Array | None) -> Array:
        return np.empty(0)

    def placed(self, coordinates: Array, centre: Array | None) -> None:
        return None

    def draw_dof(self, n: int, n_components: int, rng: np.random.Generator) -> None:
        return None

    def log_prior(self, dof: Array | None) -> float:
        return 0.0


def refused(component: Component, what: str, hint: str) -> InputError:
    """The error of what is for Gaussian components only."""
    return InputError(expected=f"Gaussian components for {what}", got=f"component={component.name!r}", hint=hint)


COMPONENT = BehaviourType(Component)  # in declared signatures: any of them
GAUSSIAN = Gaussian()
