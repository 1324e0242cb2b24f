"""`Mixture`, the parameters of a mixture, with its densities and expected statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import (
    Array,
    Columns,
    Covariances,
    Factors,
    IntArray,
    Means,
    PerRow,
    Responsibilities,
    Weights,
)
from bayesgmm.conditionals import ConditionalMixtures, Regressions, given_values, positions_of
from bayesgmm.data import COMPLETE, EVERY_COMPONENT, Allowed, Patterns
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.components.component import GAUSSIAN, Component
from bayesgmm.mixture.components.table import with_dof
from bayesgmm.mixture.covariance.family import CovarianceFamily, covariance_family
from bayesgmm.mixture.covariance.parametrisation import Parametrisation
from bayesgmm.mixture.far_rows import densities
from bayesgmm.mixture.incomplete import add_incomplete
from bayesgmm.mixture.kernel import Sums, add_statistics
from bayesgmm.mixture.statistics import Statistics
from bayesgmm.validation import as_finite, as_positive, as_row_weights, as_rows, check_whole, default_names, told

_NO_WEIGHTS = np.empty(0)
_FIELDS = (
    *("weights", "means", "covariances", "covariance_type", "dof"),
    *("factors", "precision_factors", "log_scale", "component"),
)


@dataclass(frozen=True)
class Mixture:
    r"""A mixture :math:`p(x) = \sum_k w_k N(x \mid \mu_k, \Sigma_k)`, Gaussian or with ``dof`` of Student-t components.

    Parameters
    ----------
    weights : (cluster,)
        Mixture weights, positive, summing to one.
    means : (cluster, feature)
        Component means, in the units of the data.
    covariances : array
        In scikit-learn's shape of the family: full (K, D, D), tied (D, D), diag (K, D), spherical (K,); matrices
        (K, D, D) for the families it does not have. With ``dof`` they are the scale matrices: covariances are
        :math:`\nu_k / (\nu_k - 2)` times as large, and infinite for :math:`\nu_k \le 2`.
    covariance_type : str
        ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, ``"tied_diag"``, ``"tied_spherical"``, ``"VEI"``,
        ``"EVI"``, ``"VEE"``, ``"EVV"``, ``"EEV"``, ``"VEV"``, ``"EVE"``, ``"VVE"``, or mclust's code (VVV, EEE, VVI,
        VII, EEI, EII; V and E for one feature); or ``"factor3"``, for loadings of three factors and noise variances.
    dof : (cluster,) or float, optional
        Degrees of freedom :math:`\nu_k` of Student-t components, positive.

    Raises
    ------
    InputError
        If shapes disagree, weights are not a distribution, or a covariance is not positive definite.

    Examples
    --------
    >>> from bayesgmm import Mixture
    >>> mixture = Mixture([0.3, 0.7], [[0.0], [5.0]], [[[1.0]], [[4.0]]])
    >>> mixture.log_prob([[0.0], [5.0]]).round(3)
    array([-2.073, -1.969])
    >>> mixture.responsibilities([[0.0]]).round(3)
    array([[0.951, 0.049]])
    >>> Mixture([0.3, 0.7], [[0.0], [5.0]], [[[1.0]], [[4.0]]], dof=4.0).log_prob([[0.0], [50.0]]).round(3)
    array([ -2.08 , -14.136])
    """

    __module__ = "bayesgmm"

    weights: Weights
    means: Means
    covariances: Covariances
    covariance_type: str = "full"
    dof: Weights | None = field(default=None, repr=False)
    factors: Factors = field(init=False, repr=False, compare=False)
    precision_factors: Factors = field(init=False, repr=False, compare=False)
    log_scale: Weights = field(init=False, repr=False, compare=False)
    component: Component = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weights = as_positive(self.weights, name="weights")
        means = np.ascontiguousarray(as_finite(self.means, name="means"))
        covariances = as_finite(self.covariances, name="covariances")
        if weights.ndim != 1 or abs(weights.sum() - 1.0) > 1e-6:
            raise InputError(expected="weights (cluster,) that sum to one", got=told(self.weights))
        if means.ndim != 2 or len(means) != len(weights):
            raise InputError(expected=f"means with shape ({len(weights)}, feature)", got=f"shape {means.shape}")
        family = covariance_family(self.covariance_type, means.shape[1])
        shape = family.covariances_shape(*means.shape)
        if covariances.shape != shape:
            raise InputError(expected=f"{family.name} covariances with shape {shape}", got=f"{covariances.shape}")
        try:
            factors = family.factors(covariances, means.shape[1])
        except np.linalg.LinAlgError as error:
            raise InputError(expected=f"positive definite {family.name} covariances", got=str(error)) from error
        precision = family.precision_factors(factors)
        log_det = family.log_precision_determinants(precision, means.shape[1])
        component, others = with_dof(self.dof, len(weights))
        log_scale = component.packed(np.log(weights) + log_det, others, means.shape[1])
        dof = component.dof(others, len(weights))
        self._set(weights, means, covariances, family.name, dof, factors, precision, log_scale, component)

    def _set(self, *values: object) -> None:
        self.__dict__.update(zip(_FIELDS, values, strict=True))

    @classmethod
    def from_checked(
        cls,
        family: CovarianceFamily,
        weights: Weights,
        means: Means,
        covariances: Covariances,
        factors: Factors,
        precision_factors: Factors,
        log_scale: Weights,
        component: Component = GAUSSIAN,
    ) -> Self:
        """Assemble a mixture from consistent parts without checks, as EM does at each step."""
        mixture = object.__new__(cls)
        mixture.__dict__.update(
            weights=weights,
            means=means,
            covariances=covariances,
            covariance_type=family.name,
            dof=component.dof(log_scale[len(weights) :], len(weights)),
            factors=factors,
            precision_factors=precision_factors,
            log_scale=log_scale,
            component=component,
            family=family,
        )
        return mixture

    def with_component(self, component: Component, dof: Weights | None) -> "Mixture":
        """The mixture with components of another distribution, and their degrees of freedom if it has some."""
        precision = self.precision_factors
        heights = np.log(self.weights) + self.family.log_precision_determinants(precision, self.n_features)
        log_scale = component.packed(heights, component.behind(dof), self.n_features)
        arrays = self.weights, self.means, self.covariances, self.factors, precision, log_scale
        return Mixture.from_checked(self.family, *arrays, component)

    @property
    def n_components(self) -> int:
        """K."""
        return self.means.shape[0]

    @property
    def n_features(self) -> int:
        """D."""
        return self.means.shape[1]

    @cached_property
    def family(self) -> CovarianceFamily:
        """The row of the family table."""
        return covariance_family(self.covariance_type)

    @property
    def n_parameters(self) -> int:
        """Free parameters: weights, means, covariances, and degrees of freedom that are estimated."""
        k = self.n_components
        return self.family.n_parameters(k, self.n_features) + self.component.n_parameters(k)

    @property
    def kernel(self) -> tuple[Parametrisation, Component]:
        """What chooses the compiled code."""
        return self.family.parametrisation, self.component

    @property
    def components(self) -> "Mixture":
        """The mixture without what is no component: itself."""
        return self

    @property
    def terms(self) -> tuple[Weights, Means, Factors]:
        """Log scales, means and precision factors of the terms of the density, as the kernel reads them."""
        return self.log_scale, self.means, self.precision_factors

    def terms_with(self, log_density: float) -> tuple[Weights, Means, Factors]:
        """`terms`, and one more of a constant log density, weight included."""
        return with_constant(self.log_scale, self.means, self.precision_factors, log_density)

    @property
    def full_covariances(self) -> Covariances:
        """Covariances, or scales, as full matrices (cluster, feature, feature_bis), for every family."""
        return self.family.expand(self.factors, self.n_components, self.n_features)

    @property
    def parts(self) -> dict[str, Array]:
        """What covariances are made of: loadings (cluster, feature, factor) and noise variances (cluster, feature).

        Of mixtures of factor analysers; others have none. Columns of loadings are the factors in order of what they
        explain, in units of the noise, with largest entries positive: rotations of them give the same covariances.
        """
        return self.family.parametrisation.parts(self.factors)

    def log_prob(self, X: ArrayLike) -> PerRow:
        """Log density of each row, (obs,)."""
        return column_densities(as_rows(X, n_features=self.n_features).T, self, memberships=False)[0]

    def responsibilities(self, X: ArrayLike) -> Responsibilities:
        """Posterior probability of each component for each row, (obs, cluster)."""
        return self.density_and_responsibilities(X)[1]

    def density_and_responsibilities(self, X: ArrayLike) -> tuple[PerRow, Responsibilities]:
        """`log_prob` and `responsibilities` in one pass."""
        log_density, resp = column_densities(as_rows(X, n_features=self.n_features).T, self)
        return log_density, resp.T

    def robust_weights(self, X: ArrayLike) -> PerRow:
        r"""Weights with which rows enter the moments, (obs,): small for outliers of Student-t components.

        .. math:: \sum_k r_{ik} u_{ik}, \qquad u_{ik} = \frac{\nu_k + D}{\nu_k + |z_{ik}|^2}

        One for every row of Gaussian components (Peel & McLachlan 2000, Statistics and Computing 10:339-348).

        Examples
        --------
        >>> from bayesgmm import Mixture
        >>> Mixture([1.0], [[0.0]], [[[1.0]]], dof=4.0).robust_weights([[0.0], [1.0], [10.0]]).round(2)
        array([1.25, 1.  , 0.05])
        """
        rows, resp, one = as_rows(X, n_features=self.n_features), self.responsibilities(X), self.family.parametrisation
        own = np.broadcast_to(self.precision_factors, (self.n_components, *self.precision_factors.shape[1:]))
        lengths = np.square(one.times(own, rows[:, None, :] - self.means)).sum(axis=2)
        weights: PerRow = (resp * self.component.weights(self.dof, lengths, self.n_features)).sum(axis=1)
        return weights

    def _densities(
        self, x: Columns, patterns: Patterns = COMPLETE, *, memberships: bool = True
    ) -> tuple[PerRow, Array]:
        """`column_densities` of rows that may come from every component."""
        if len(patterns.members):
            self.family.having("missing values")
        n_rows, arrays = x.shape[1], self.terms
        log_density, resp = np.empty(n_rows), np.empty((len(arrays[1]), n_rows) if memberships else (0, 0))
        densities(*self.kernel, x, *arrays, log_density, resp, patterns=patterns)
        return log_density, resp

    def most_probable(self, resp: Responsibilities) -> IntArray:
        """The most probable component of each row, (obs,), given responsibilities."""
        return resp.argmax(axis=1)

    def sample(self, n: int, *, rng: np.random.Generator) -> tuple[Array, IntArray]:
        """Draw ``n`` rows and the components they came from."""
        check_whole(least=0, n=n)
        labels = rng.choice(self.n_components, size=n, p=self.weights / self.weights.sum())
        noise = rng.standard_normal((n, self.n_features))
        blocks = np.minimum(labels, len(self.factors) - 1)
        if self.family.parametrisation.correlated:
            offsets = np.einsum("nij,nj->ni", self.family.parametrisation.roots(self.factors)[blocks], noise)
        else:
            offsets = self.factors[blocks, 0] * noise
        return self.means[labels] + self.component.stretches(self.dof, labels, rng) * offsets, labels

    def permute(self, order: ArrayLike) -> Self:
        """The same mixture with its components in another order, a permutation of 0 to K - 1."""
        index = np.asarray(order)
        if not np.array_equal(np.sort(index, axis=None), np.arange(self.n_components)) or index.ndim != 1:
            raise InputError(expected=f"a permutation of 0 to {self.n_components - 1}", got=f"{order}")
        return self._picked(index)

    def _picked(self, index: IntArray | Allowed) -> Self:
        """Some components, with their weights as they are."""
        own = slice(None) if self.family.shared else index
        return self.from_checked(
            self.family,
            self.weights[index],
            self.means[index],
            self.covariances[own],
            self.factors[own],
            self.precision_factors[own],
            self.component.picked(self.log_scale, index, self.n_components),
            self.component,
        )

    def marginal(self, features: Sequence[int | str] | int | str) -> Self:
        """The mixture of some features, in the order asked for: the others are integrated out.

        It is of the same family, or of full or diagonal covariances where some features have neither the volume nor the
        axes that all have in common (EVI, EVV, EEV, VEV, EVE, VVE).

        Parameters
        ----------
        features : one or several positions, or the names ``"x0"``, ``"x1"``, ... that features have without others

        Examples
        --------
        >>> from bayesgmm import Mixture
        >>> mixture = Mixture([0.3, 0.7], [[0.0, 1.0], [5.0, 6.0]], [[1.0, 2.0], [3.0, 4.0]], "diag")
        >>> mixture.marginal(1).means
        array([[1.],
               [6.]])
        """
        index = positions_of(features, self._names)
        return self._like(self.weights, self.means[:, index], self.full_covariances[:, index][:, :, index], self.dof)

    @overload
    def condition(self, given: Mapping[Any, float]) -> Self: ...
    @overload
    def condition(self, given: Mapping[Any, Sequence[float] | Array]) -> ConditionalMixtures: ...
    def condition(self, given: Mapping[Any, Any]) -> Self | ConditionalMixtures:
        r"""The mixture of the other features given values of some.

        .. math:: p(x_m \mid x_o) = \sum_k w_k(x_o) N\left(x_m \mid
            \mu_{k,m} + \Sigma_{k,mo} \Sigma_{k,oo}^{-1} (x_o - \mu_{k,o}),\;
            \Sigma_{k,mm} - \Sigma_{k,mo} \Sigma_{k,oo}^{-1} \Sigma_{k,om}\right), \qquad
            w_k(x_o) \propto w_k N(x_o \mid \mu_{k,o}, \Sigma_{k,oo})

        Far from all components the weights follow the widest one; ``marginal(...).log_prob`` tells how far.

        Parameters
        ----------
        given : mapping
            From features, see `marginal`, to a number each or, for many rows, to arrays (obs,); numbers beside arrays
            are the same for all rows.

        Returns
        -------
        Mixture or ConditionalMixtures
            A mixture of the same family, or of full or diagonal covariances as in `marginal`, if every value is a
            number; else `bayesgmm.conditionals.ConditionalMixtures`, one for each row.

        Raises
        ------
        InputError
            For unknown features, values that are not finite, or none left without a value.

        References
        ----------
        Bishop 2006, Pattern Recognition and Machine Learning, 2.3.1; Cohn, Ghahramani & Jordan 1996, Journal of
        Artificial Intelligence Research 4:129-145.

        Examples
        --------
        >>> from bayesgmm import Mixture
        >>> mixture = Mixture([0.5, 0.5], [[0.0, 0.0], [4.0, 4.0]], [[[1.0, 0.8], [0.8, 1.0]]] * 2)
        >>> mixture.condition({0: 1.0}).means.round(2)
        array([[0.8],
               [1.6]])
        >>> mixture.condition({0: [0.0, 1.0, 4.0]}).mean.round(2)
        array([[0.  ],
               [0.81],
               [4.  ]])
        """
        self.component.check_gaussian("conditional mixtures")
        observed, rest, rows, one = given_values(given, self._names)
        log_density, weights = self.marginal(observed).density_and_responsibilities(rows)
        found = Regressions.of(self.means, self.full_covariances, observed, rest)
        means = found.means(rows)
        if not one:
            return ConditionalMixtures(weights, means, found.compact, log_density)
        return self._like(np.maximum(weights[0], np.finfo(np.float64).tiny), means[0], found.compact)

    def _like(self, weights: Weights, means: Means, covariances: Covariances, dof: Weights | None = None) -> Self:
        """A mixture of some features with these full covariances."""
        family = self.family.of_part
        return type(self)(weights, means, family.compress(covariances), family.name, dof)

    @property
    def _names(self) -> list[str]:
        return default_names(self.n_features)


def with_constant(
    log_scale: Weights, means: Means, precision_factors: Factors, constant: float
) -> tuple[Weights, Means, Factors]:
    """Terms of a density with one more whose log density is constant: its precision is zero."""
    (k, d), block = means.shape, precision_factors.shape[1:]
    terms = np.full(k + 1, constant), np.zeros((k + 1, d)), np.zeros((k + 1, *block))
    for term, own in zip(terms, (log_scale, means, precision_factors), strict=True):
        term[:k] = own
    return terms


def expected_statistics(X: ArrayLike, mixture: Mixture, row_weights: ArrayLike | None = None) -> Statistics:
    """Expected sufficient statistics of rows under a mixture, in one pass.

    They are EM's E-step, and they are value and gradient of the log-likelihood (Fisher's identity). Records
    of blocks of rows under the same mixture add.

    Parameters
    ----------
    X : (obs, feature)
        Rows. Fortran order (or the transpose of a C-ordered (feature, obs) array) is read without a copy.
    mixture : Mixture
        Current parameters.
    row_weights : (obs,), optional
        Frequency weights.

    Examples
    --------
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.mixture import expected_statistics
    >>> mixture = Mixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]])
    >>> expected_statistics([[-1.0], [1.0]], mixture).counts
    array([1., 1.])
    """
    X = as_rows(X, n_features=mixture.n_features)
    weights = as_row_weights(row_weights, len(X))
    return column_statistics(X.T, mixture, _NO_WEIGHTS if weights is None else weights)


def column_statistics(
    x: Array,
    mixture: Mixture,
    row_weights: PerRow = _NO_WEIGHTS,
    patterns: Patterns = COMPLETE,
    allowed: Allowed = EVERY_COMPONENT,
) -> Statistics:
    """`expected_statistics` for checked columns (feature, obs), C-contiguous, as EM and NUTS call it.

    Rows that may come from the ``allowed`` components only are rows of those, and other components have no share.
    """
    if len(allowed):
        of_part = column_statistics(x, mixture._picked(allowed), row_weights, patterns)
        sums = empty_sums(mixture)
        for each, part in zip(sums[:3], (of_part.counts, of_part.first, of_part.second), strict=True):
            each[allowed] = part
        sums.others[:, allowed] = of_part.others
        return Statistics(of_part.log_likelihood, *sums)
    sums, arrays = empty_sums(mixture), mixture.terms
    if len(patterns.members):
        mixture.family.having("missing values")
        return Statistics(add_incomplete(*mixture.kernel, x, row_weights, patterns, *arrays, sums), *sums)
    return Statistics(add_statistics(*mixture.kernel, x, row_weights, *arrays, sums), *sums)


def empty_sums(mixture: Mixture) -> Sums:
    """Sums over no rows yet under a mixture."""
    _, means, precision_factors = mixture.terms
    return Sums.empty(means.shape, precision_factors.shape[1:], n_others=mixture.component.n_sums)


def column_densities(
    x: Columns,
    mixture: Mixture,
    patterns: Patterns = COMPLETE,
    *,
    memberships: bool = True,
    allowed: Allowed = EVERY_COMPONENT,
) -> tuple[PerRow, Array]:
    """Log densities (obs,) and memberships (cluster, obs), or none, of checked columns (feature, obs), C-contiguous."""
    n_rows = x.shape[1]
    if len(allowed):
        log_density, of_part = column_densities(x, mixture._picked(allowed), patterns, memberships=memberships)
        if not memberships:
            return log_density, of_part
        resp = np.zeros((mixture.n_components, n_rows))
        resp[allowed] = of_part
        return log_density, resp
    return mixture._densities(x, patterns, memberships=memberships)
