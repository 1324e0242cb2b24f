"""The uniform density of noise: the box around the rows, and its volume."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bayesgmm._common import Array, Columns, Rows
from bayesgmm.data import Data
from bayesgmm.em import moments_of, principal_directions
from bayesgmm.exceptions import InputError

_ROUNDING = 1e-9  # of a side: rows on the border stay inside when their coordinates are computed again


@dataclass(frozen=True, eq=False)
class Uniform:
    r"""A uniform density :math:`1 / V` on a box.

    The box is the smaller of two that hold the rows: the bounding box, and the box along the principal axes of their
    covariance (mclust's ``hypvol``). It is found once, before the fit, and stays as it is. Scaled or rotated rows may
    have another box, so that fits with noise are not equivariant.

    Attributes
    ----------
    axes : (side, feature)
        Directions of the sides, orthonormal.
    lower, upper : (side,)
        Where the sides begin and end, along these.
    volume : float
        V, that of the box unless the user gave another, which counts within the same box.
    given : bool
        Whether the user gave it.

    Examples
    --------
    >>> from bayesgmm.data import Data
    >>> from bayesgmm.noise import Uniform
    >>> box = Uniform.around(Data.of([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [2.0, 3.0]]))
    >>> box.volume
    6.0
    """

    __module__ = "bayesgmm.noise"

    axes: Array
    lower: Array
    upper: Array
    volume: float
    given: bool = False

    @classmethod
    def around(cls, data: Data, volume: float | None = None) -> Self:
        """The smaller box around rows that count, with its volume or a given one.

        Raises
        ------
        InputError
            If a feature is constant, features are linearly dependent, or the volume is no positive finite number of
            double precision.
        """
        rows, moments = data.rows[data.weights > 0], moments_of(data)
        n_varying = len(principal_directions(moments)[0])
        if n_varying < rows.shape[1]:
            raise InputError(
                expected="rows that vary in every direction, for the volume of noise",
                got=f"{n_varying} directions of {rows.shape[1]} features",
                hint="Drop constant and linearly dependent columns.",
            )
        both = [cls._along(axes, rows) for axes in (np.eye(rows.shape[1]), np.linalg.eigh(moments.covariance)[1].T)]
        box = min(both, key=lambda each: each.log_volume)
        found = float(np.exp(box.log_volume)) if volume is None else float(volume)
        if not 0.0 < found < np.inf:
            raise InputError(
                expected="a volume of noise within double precision",
                got=f"{found:g}",
                hint="Scale the features, for instance with sklearn.preprocessing.StandardScaler.",
            )
        return cls(box.axes, box.lower, box.upper, found, volume is not None)

    @classmethod
    def _along(cls, axes: Array, rows: Rows) -> Self:
        along = axes @ rows.T
        return cls(np.ascontiguousarray(axes), along.min(axis=1), along.max(axis=1), np.nan)

    @cached_property
    def log_volume(self) -> float:
        """log V of the box itself."""
        return float(np.log(self.upper - self.lower).sum())

    @property
    def log_density(self) -> float:
        """-log V, within the box."""
        return -float(np.log(self.volume))

    def holds(self, x: Columns) -> NDArray[np.bool_]:
        """Which of some columns (feature, obs) lie in the box."""
        along, slack = self.axes @ x, _ROUNDING * (self.upper - self.lower)
        inside = (along >= (self.lower - slack)[:, None]) & (along <= (self.upper + slack)[:, None])
        return np.asarray(inside.all(axis=0))

    def sample(self, n: int, *, rng: np.random.Generator) -> Rows:
        """Uniform rows (n, feature) in the box."""
        return rng.uniform(self.lower, self.upper, (n, len(self.lower))) @ self.axes
