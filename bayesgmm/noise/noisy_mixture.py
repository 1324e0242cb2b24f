"""`NoisyMixture`: a Gaussian mixture and uniform noise beside it, on a box around the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import qmc

from bayesgmm._common import Array, Columns, Factors, IntArray, Means, PerRow, Responsibilities, Rows, Weights
from bayesgmm.data import COMPLETE, Data, Patterns
from bayesgmm.em import moments_of, principal_directions
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Mixture

NOISE_PRIOR = (1.0, 9.0)  # Beta distribution of the weight of noise where components have a prior: one tenth expected
NOISE_WEIGHT = "noise_weight"  # variable of posteriors, and row of tables
_NO_ROWS = 1e-300  # the least weight of noise, so that its logarithm stays finite
UNASSIGNED = -1
_TABLED, _AVERAGED = (
    1025,
    2**8,
)  # places at which distribution functions are tabled, points that sides are averaged over
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

    @property
    def constants(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """What a posterior keeps of it, with its dimensions."""
        ends = {"noise_lower": (("side",), self.lower), "noise_upper": (("side",), self.upper)}
        numbers = {"noise_volume": ((), self.volume), "noise_given": ((), int(self.given))}
        return {"noise_axes": (("side", "feature"), self.axes), **ends, **numbers}

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

    def cdf(self, rows: Rows) -> Array:
        """Distribution function of each feature at rows, (obs, feature), interpolated in a table."""
        found = [np.interp(x, at, below, 0.0, 1.0) for x, (at, below) in zip(rows.T, self._tables, strict=True)]
        return np.column_stack(found)

    @cached_property
    def _tables(self) -> list[tuple[Array, Array]]:
        """Places and distribution function at them, of each feature."""
        tables = []
        for j in range(len(self.lower)):
            (widest,), starts, reach = self._apart([j])
            width = reach[widest, 0]
            starts = starts[:, 0] + min(width, 0.0)
            low, high = starts.min(), starts.max() + abs(width)
            at = np.linspace(low, high, _TABLED)
            tables.append((at, np.clip((at[:, None] - starts) / abs(width), 0.0, 1.0).mean(axis=1)))
        return tables

    def density_of(self, features: Sequence[int], at: Rows) -> PerRow:
        """Density of one or two features (obs,) at points (obs, feature)."""
        chosen, starts, reach = self._apart(list(features))
        inverse = np.linalg.inv(reach[list(chosen)])
        inside = np.zeros(len(at))
        for start in starts:
            shares = (at - start) @ inverse
            inside += ((shares >= -_ROUNDING) & (shares <= 1.0 + _ROUNDING)).all(axis=1)
        return np.asarray(inside * abs(np.linalg.det(inverse)) / len(starts))

    def _apart(self, features: list[int]) -> tuple[tuple[int, ...], Array, Array]:
        """The sides that span most of some features, where the others may lie, and all sides in these features.

        A place in the box is ``start + sum of shares * sides``. Given the shares of all other sides, the few that span
        most leave a uniform distribution on an interval or a parallelogram; averages over the others are averages over
        the points of a Sobol sequence.
        """
        reach = (self.upper - self.lower)[:, None] * self.axes[:, features]
        spans = {some: abs(np.linalg.det(reach[list(some)])) for some in combinations(range(len(reach)), len(features))}
        chosen = max(spans, key=spans.__getitem__)
        others = np.delete(reach, chosen, axis=0)
        corner = (self.lower @ self.axes)[features]
        if not np.abs(others).max(initial=0.0) > _ROUNDING * np.abs(reach).max():
            return chosen, corner[None], reach
        shares = qmc.Sobol(len(others), scramble=False).random(_AVERAGED) + 0.5 / _AVERAGED
        return chosen, corner + shares @ others, reach

    def beside(self, components: Mixture, weight: float) -> "NoisyMixture":
        """Components and noise of a weight."""
        return NoisyMixture.of(components, self, weight)


class NoisyMixture(Mixture):
    r"""A Gaussian mixture and uniform noise, :math:`p(x) = w_0 / V + \sum_k w_k N(x \mid \mu_k, \Sigma_k)`.

    Outside its box noise has density zero. ``weights`` are the components' shares of all rows: together with
    ``noise_weight`` they sum to one. Memberships have a last column for noise, labels are -1 there (Banfield & Raftery
    1993).

    Attributes
    ----------
    components : Mixture
        The Gaussian mixture without noise, whose weights sum to one.
    noise : Uniform
    noise_weight : float
        :math:`w_0`.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.noise import NoisyMixture, Uniform
    >>> box = Uniform(np.eye(1), np.array([-10.0]), np.array([10.0]), 20.0)
    >>> mixture = NoisyMixture.of(Mixture([1.0], [[0.0]], [[[1.0]]]), box, 0.1)
    >>> mixture.responsibilities([[0.0], [5.0]]).round(3)
    array([[0.986, 0.014],
           [0.   , 1.   ]])
    """

    __module__ = "bayesgmm.noise"

    noise: Uniform
    noise_weight: float

    @classmethod
    def of(cls, components: Mixture, noise: Uniform, noise_weight: float) -> Self:
        """Components and noise of a weight."""
        rest = max(1.0 - noise_weight, _NO_ROWS)
        mixture = cls.from_checked(
            components.family,
            components.weights * rest,
            components.means,
            components.covariances,
            components.factors,
            components.precision_factors,
            components.log_scale + np.log(rest),
        )
        mixture.__dict__.update(noise=noise, noise_weight=max(float(noise_weight), _NO_ROWS), _components=components)
        return mixture

    @property
    def components(self) -> Mixture:
        """The Gaussian mixture without noise."""
        found: Mixture = self.__dict__["_components"]
        return found

    @property
    def terms(self) -> tuple[Weights, Means, Factors]:
        """Those of the components, and noise as one more whose precision is zero."""
        return self.terms_with(float(np.log(self.noise_weight)) + self.noise.log_density)

    @property
    def n_parameters(self) -> int:
        """Those of the components, the weight of noise and, unless it was given, its volume, as in mclust."""
        return self.components.n_parameters + 2 - self.noise.given

    def _densities(
        self, x: Columns, patterns: Patterns = COMPLETE, *, memberships: bool = True
    ) -> tuple[PerRow, Array]:
        inside = self.noise.holds(x)
        if inside.all():
            return super()._densities(x, patterns, memberships=memberships)
        log_density = np.empty(len(inside))
        resp = np.zeros((self.n_components + 1, len(inside)) if memberships else (0, 0))
        parts = (inside, super()._densities, 0.0), (~inside, self.components._densities, np.log(self.weights.sum()))
        for some, of_part, log_share in parts:
            if some.any():
                part, shares = of_part(np.ascontiguousarray(x[:, some]), memberships=memberships)
                log_density[some] = part + log_share
                resp[: len(shares), some[: resp.shape[1]]] = shares
        return log_density, resp

    def most_probable(self, resp: Responsibilities) -> IntArray:
        """The most probable component of each row, (obs,), -1 for noise."""
        found = resp.argmax(axis=1)
        return np.where(found == self.n_components, UNASSIGNED, found)

    def sample(self, n: int, *, rng: np.random.Generator) -> tuple[Array, IntArray]:
        """Draw ``n`` rows and the components they came from, -1 for noise."""
        rows, labels = self.components.sample(n, rng=rng)
        noisy = rng.random(n) < self.noise_weight
        rows[noisy], labels[noisy] = self.noise.sample(int(noisy.sum()), rng=rng), UNASSIGNED
        return rows, labels

    def permute(self, order: ArrayLike) -> Self:
        """The same mixture with its components in another order, a permutation of 0 to K - 1."""
        return type(self).of(self.components.permute(order), self.noise, self.noise_weight)

    def marginal(self, features: Sequence[int | str] | int | str) -> NoReturn:
        """Refused: a box along principal axes has no uniform marginals."""
        raise _refused("a marginal mixture")

    def condition(self, given: Mapping[Any, Any]) -> NoReturn:
        """Refused, as `marginal` is."""
        raise _refused("a conditional mixture")


def noise_of(mixture: Mixture) -> tuple[Uniform | None, float]:
    """Noise and its weight; none and zero where a mixture has none."""
    return (mixture.noise, mixture.noise_weight) if isinstance(mixture, NoisyMixture) else (None, 0.0)


def refuse_noise(fit: Any, what: str) -> None:
    """Refuse what a fit with noise does not offer."""
    of_tree = "noise_volume" in fit["constant_data"] if "constant_data" in getattr(fit, "children", ()) else False
    if of_tree or isinstance(fit, NoisyMixture) or getattr(fit, "noise_", None) is not None:
        raise _refused(what)


def _refused(what: str) -> InputError:
    return InputError(
        expected=f"a fit without noise for {what}",
        got="one with a uniform noise component",
        hint="The fit's mixture_.components is the Gaussian mixture without it.",
    )
