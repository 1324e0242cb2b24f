"""Degeneracy checks: collapsed, emptied and ill-defined components."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from bayesgmm._common import Array
from bayesgmm.data import Data
from bayesgmm.em.em import EMResult, EMSettings, EMState
from bayesgmm.em.moments import Moments, inverse_scales, moments_of, principal_directions, variance_floors
from bayesgmm.mixture import Mixture
from bayesgmm.priors import Model

COLLAPSED = 1e-3  # smallest variance of a component over that of the data
EMPTIED = 1e-3  # rows' worth of weight of a component whose covariance is shared
_AT_FLOOR = 1.001  # times the floor
_ROUNDING = 1e-14  # an eigenvalue below this, in units of the variances of the data, is rounding error of a zero
_NOTHING = 1e-60  # so is a variance below this


@dataclass(frozen=True)
class Degeneracy:
    """Criteria of degeneracy for fits to some data, in units of each feature's standard deviation.

    Attributes
    ----------
    moments : Moments
    floors : (feature,)
        Smallest variances, see `variance_floors`.
    model : Model
    """

    moments: Moments
    floors: Array
    model: Model

    @classmethod
    def of(cls, data: Data, settings: EMSettings, model: Model) -> Self:
        """The criteria for data, the settings of their fits and the model."""
        moments = moments_of(data, model.family)
        return cls(moments, variance_floors(settings.reg_covar, moments, model.family), model)

    def with_floors(self, settings: EMSettings) -> EMSettings:
        """Settings with the floors in numbers, for runs on parts or copies of the rows."""
        return replace(settings, reg_covar=self.floors)

    def is_proper(self, run: EMResult | EMState) -> bool:
        """Whether a run did not end, or does not stand, in a spike, see `best_of_starts`."""
        if self.model.prior is not None:
            return run.n_floored == 0
        return not (bool(run.counts.min() < self.fewest) or self.collapsed(run.mixture))

    def log_mass(self, run: EMResult) -> float:
        """What runs are compared by, see `Model.log_mass`."""
        return self.model.log_mass(run.objective, run.mixture, run.counts)

    @property
    def fewest(self) -> float:
        """Rows' worth of weight below which a component is emptied."""
        if self.model.n_components == 1:
            return 0.0
        family = self.model.family
        return EMPTIED if family.shared else family.parametrisation.fewest_rows(self.model.n_features)

    def collapsed(self, mixture: Mixture) -> bool:
        """Whether a covariance shrank to almost nothing beside that of the data, or to the floor.

        Directions in which the data do not vary themselves cannot show it, and are left out.
        """
        one = self.model.family.parametrisation
        if one.correlated:
            narrow, at_floor = self._possibly(mixture)
            return (narrow and self._narrow(mixture)) or (at_floor and self._at_floor(mixture))
        variances = mixture.factors[:, 0, :] ** 2
        of_data, floors = (one.uncorrelated(each)[0] for each in (self.moments.variances, self.floors))
        narrow = variances < COLLAPSED * of_data
        at_floor = (variances <= _AT_FLOOR * floors) & (of_data > floors)
        return bool((narrow | at_floor).any())

    def ill_defined(self, mixture: Mixture) -> bool:
        """Whether a covariance is zero in a direction, but for rounding errors."""
        if not np.isfinite(mixture.means).all() or not self.moments.variances.any():
            return True
        if self.model.family.parametrisation.correlated:
            unit = inverse_scales(self.moments)
            scaled = _blocks(mixture) * np.outer(unit, unit)
            return not np.isfinite(scaled).all() or bool((np.linalg.eigvalsh(scaled) <= _ROUNDING).any())
        of_data = self.model.family.parametrisation.uncorrelated(self.moments.variances)[0]
        return bool((mixture.factors[:, 0, :] ** 2 <= _NOTHING * of_data).any())

    @cached_property
    def rank(self) -> int:
        """In how many directions the data vary, judged where every feature has unit variance."""
        if self.model.family.parametrisation.follows_rank:
            return len(self._principal[0])
        return int(np.count_nonzero(self.moments.variances))

    @cached_property
    def _principal(self) -> tuple[Array, Array]:
        return principal_directions(self.moments)

    def _possibly(self, mixture: Mixture) -> tuple[bool, bool]:
        """Whether bounds on the precisions' largest eigenvalues, their traces, leave it open: narrow, at the floor."""
        precisions = self.model.family.parametrisation.precision_diagonals(mixture.precision_factors)
        narrow, at_floor = (~((precisions @ self._limits).max(axis=0) < 1.0)).tolist()
        return narrow, at_floor

    @cached_property
    def _limits(self) -> Array:
        """The variances (feature, 2) that a diagonal covariance must exceed: a share of the data's, and the floor."""
        smallest = self._principal[0][0] if self.rank else 0.0
        return np.column_stack([COLLAPSED * smallest * self.moments.variances, _AT_FLOOR * self.floors])

    def _narrow(self, mixture: Mixture) -> bool:
        values, directions = self._principal
        if not len(values):
            return False
        along = directions.T @ _blocks(mixture) @ directions
        return bool((np.linalg.eigvalsh(along)[:, 0] < COLLAPSED * values[0]).any())

    def _at_floor(self, mixture: Mixture) -> bool:
        """Whether the data vary more than the floor somewhere in the directions in which a covariance does not."""
        if not self.floors.all():
            return False
        unit = 1.0 / np.sqrt(self.floors)
        of_data = self.moments.covariance * np.outer(unit, unit)
        for block in _blocks(mixture):
            values, vectors = np.linalg.eigh(block * np.outer(unit, unit))
            lifted = vectors[:, values <= _AT_FLOOR]
            if lifted.size and np.linalg.eigvalsh(lifted.T @ of_data @ lifted)[-1] > 1.0:
                return True
        return False


def smallest_variances(mixture: Mixture) -> Array:
    """The variances (block, direction) that must not collapse: of full covariances the smallest eigenvalue.

    Zero where a run broke down.
    """
    if mixture.family.parametrisation.correlated:
        blocks = _blocks(mixture).copy()
        blocks[~np.isfinite(blocks)] = 0.0
        return np.linalg.eigvalsh(blocks)[:, :1]
    return mixture.factors[:, 0, :] ** 2


def _blocks(mixture: Mixture) -> Array:
    """Full covariances (block, feature, feature_bis)."""
    return mixture.covariances.reshape(-1, mixture.n_features, mixture.n_features)
