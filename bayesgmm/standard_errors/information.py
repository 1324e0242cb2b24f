r"""Standard errors of a mixture from the observed information of its rows.

Louis' identity (1982): what the rows tell about the parameters is what they would tell if their components
were known, less what not knowing them costs,

.. math:: I = \sum_i \Big( E[J_i] - \sum_k r_{ik} s_{ik} s_{ik}^\top + s_i s_i^\top \Big), \quad
    s_i = \sum_k r_{ik} s_{ik},

with :math:`s_{ik}` the score of row i had it come from component k and :math:`J_i` its complete information.
All of it is taken in coordinates at the mixture itself: log-ratios u of the weights,
:math:`\mu_k = \hat\mu_k + \hat L_k m_k` and :math:`\Sigma_k = \hat L_k (1 + S_k) \hat L_k^\top` with S_k
symmetric, diagonal or a multiple of the identity. There scores are whitened residuals and their products,
E[J] is algebra on the expected statistics, no units are left, and a prior adds its pseudo-data. One pass, exact.

A row with missing values is one of the mixture of the features observed, and the coordinates of that are linear in
these: :math:`\xi_o = A_o \xi`. So what it tells is :math:`A_o^\top I_o A_o`. A labelled row has responsibilities of the
components that it may come from.

The cost is the last two sums, and they are zero where the component of a row is certain: summed as
:math:`\sum_k r_{ik} (1 - r_{ik}) s_{ik} s_{ik}^\top - \sum_{k \ne l} r_{ik} r_{il} s_{ik} s_{il}^\top`.
"""

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from itertools import combinations_with_replacement
from operator import add
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.special import expit, logit
from scipy.stats import norm

from bayesgmm._common import Array, Covariances, Means, Responsibilities, Weights, one_blas_thread
from bayesgmm.data import Block, Data, IncompleteData, threads_for, total
from bayesgmm.exceptions import InformationError, InformationWarning, warn_user
from bayesgmm.mixture import Mixture, Statistics, column_statistics, row_densities, row_memberships
from bayesgmm.priors import Model, Prior
from bayesgmm.standard_errors.score_coordinates import LocalCoordinates, Sums, whitened_sums
from bayesgmm.validation import check_number

CI_PROB = 0.89  # ArviZ's default
_SMALLEST_SHARE = 1e-7  # of the complete information; below it rounding decides the sign
_FAR = 0.5  # standard errors between a mixture and its maximum that deserve a warning
_ROUNDING = 1e-12  # of a squared distance in standard errors
_ROWS_AT_A_TIME = 5_000  # whose scores stay in a processor's cache
_CERTAIN = 1e-14  # a row this surely in or out of a component misses nothing there


class PerParameter(NamedTuple):
    """One figure for each parameter, in the shapes that the parameters have in the mixture."""

    weights: Weights
    means: Means
    covariances: Covariances


class Estimate(NamedTuple):
    """Estimates with standard errors and intervals; arrays of one shape."""

    value: Array
    standard_error: Array
    lower: Array
    upper: Array


@dataclass(frozen=True)
class StandardErrors:
    """Standard errors of a mixture's parameters and of functions of them.

    Attributes
    ----------
    mixture : Mixture
        The estimate.
    weights, means, covariances : array
        Standard errors, in the shapes of the parameters. A number that a family fixes at zero has error zero.
    covariance : (parameter, parameter)
        Covariance of the free parameters: all weights but the last, means, free entries of the covariances.
    names : tuple of str
        The free parameters, as they are indexed in the mixture: ``"means[0, 1]"``.
    missing : (parameter,)
        Fractions of missing information, due to unknown components and missing values, largest first. The largest is
        EM's rate of convergence (Dempster, Laird & Rubin 1977).
    condition : float
        Largest over smallest share of the complete information that is left.
    distance : float
        Standard errors between the mixture and the maximum that its gradient points to; 0 at the maximum.
    robust : bool
        Whether they are valid for a misspecified model (the sandwich, White 1982).
    """

    __module__ = "bayesgmm.standard_errors"

    mixture: Mixture
    weights: Weights
    means: Means
    covariances: Covariances
    covariance: Array
    names: tuple[str, ...]
    missing: Array
    condition: float
    distance: float
    robust: bool
    local: "LocalCovariance"

    def intervals(self, ci_prob: float = CI_PROB) -> tuple[PerParameter, PerParameter]:
        """Lower and upper ends of intervals for every parameter.

        Normal on the scale on which an estimate is closest to normal, then transformed back: logit for weights, log
        for variances, as it stands for means and for covariances off the diagonal.
        """
        width = _width(ci_prob)
        weights = _on_logit_scale(self.mixture.weights, self.weights, width)
        means = self.mixture.means - width * self.means, self.mixture.means + width * self.means
        covariances = self._covariance_intervals(width)
        lower, upper = zip(weights, means, covariances, strict=True)
        return PerParameter(*lower), PerParameter(*upper)

    def _covariance_intervals(self, width: float) -> tuple[Array, Array]:
        value, error = self.mixture.covariances, self.covariances
        positive = _is_variance(self.mixture)
        factor = np.exp(width * np.divide(error, value, out=np.zeros_like(error), where=positive))
        lower = np.where(positive, value / factor, value - width * error)
        return lower, np.where(positive, value * factor, value + width * error)

    def memberships(self, X: ArrayLike, ci_prob: float = CI_PROB) -> Estimate:
        r"""Probabilities of the components for each row, (obs, cluster), with intervals on the logit scale.

        The gradient of :math:`\log r_{ik}` is the score of the row under component k less its score. Probabilities
        within 1e-14 of zero or one count as certain.
        """
        data = Data.of(X, n_features=self.mixture.n_features)
        pieces = data.pieces(self.local.coordinates.block_size)
        variances = np.concatenate([self._log_membership_variances(piece) for piece in pieces])
        resp = row_memberships(data, self.mixture)
        error = resp * np.sqrt(variances)
        return Estimate(resp, error, *_on_logit_scale(resp, error, _width(ci_prob)))

    def _log_membership_variances(self, data: Data) -> Array:
        at, rows = self.local.coordinates, data.rows
        score, uncertain = at.scores(data), _uncertain(row_memberships(data, at.mixture))
        variances = np.zeros(uncertain.shape)
        for k, own in enumerate(uncertain.T):
            slopes = at.component_scores(rows[own], k) - score[own]
            variances[own, k] = _quadratic(slopes, self.local.covariance)
        return variances

    def log_density(self, X: ArrayLike, ci_prob: float = CI_PROB) -> Estimate:
        """Log density of each row, (obs,); its gradient is the score of the row."""
        data, at = Data.of(X, n_features=self.mixture.n_features), self.local.coordinates
        scores = (at.scores(piece) for piece in data.pieces(at.block_size))
        error = np.sqrt(np.concatenate([_quadratic(score, self.local.covariance) for score in scores]))
        value, width = row_densities(data, self.mixture), _width(ci_prob)
        return Estimate(value, error, value - width * error, value + width * error)


def standard_errors(
    X: ArrayLike | Data,
    mixture: Mixture,
    *,
    prior: Prior | None = None,
    row_weights: ArrayLike | None = None,
    robust: bool = False,
    n_jobs: int | None = None,
) -> StandardErrors:
    r"""Standard errors from the observed information :math:`I` at a maximum: :math:`cov(\hat\theta) = I^{-1}`.

    Errors of functions follow by the delta method. They are valid for large samples, well-separated components and a
    correct model: with few rows in a component, or nearly coinciding components, use `bootstrap`.

    Parameters
    ----------
    X : (obs, feature), or Data
        The rows of the fit; as `Data` with labels or missing values, too.
    mixture : Mixture
        The maximum of the likelihood, or of the posterior density with the prior.
    prior : Prior, optional
        Of a fit by maximum a posteriori: its curvature adds to the information.
    row_weights : (obs,), optional
        Frequency weights.
    robust : bool
        The sandwich :math:`I^{-1} (\sum_i s_i s_i^\top) I^{-1}` instead, which also holds when the
        components are not normal, for the mixture closest to the truth.
    n_jobs : int, optional
        Threads, as in joblib; by default one a core if there are many rows.

    Raises
    ------
    InformationError
        If the information is not positive definite: the mixture is no maximum, or it is not unique.
    InputError
        For mixtures of factor analysers, whose loadings are known up to rotations.

    Warns
    -----
    InformationWarning
        If the maximum lies half a standard error or more away.

    References
    ----------
    Louis 1982, J. R. Statist. Soc. B 44; Basford, Greenway, McLachlan & Peel 1997; White 1982.

    Examples
    --------
    For one component they are the textbook's :math:`\sqrt{\sigma^2 / n}` and :math:`\sigma^2 \sqrt{2 / n}`.

    >>> import numpy as np
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.standard_errors import standard_errors
    >>> X = np.array([[-2.0], [0.0], [2.0], [-1.0], [1.0], [0.0], [0.0], [0.0]])
    >>> errors = standard_errors(X, Mixture([1.0], [[0.0]], [[[1.25]]]))
    >>> errors.means, errors.covariances
    (array([[0.395]]), array([[[0.625]]]))
    """
    mixture.family.having("standard errors")
    data = Data.of(X, row_weights, n_features=mixture.n_features)
    at = LocalCoordinates(mixture)
    with one_blas_thread(), threads_for(data, n_jobs) as pool:
        statistics = total(partial(_statistics, mixture), data, pool)
        missing = _total(partial(_missing_information, at), data, at, pool)
        squared_scores = _total(partial(_squared_scores, at), data, at, pool) if robust else None
    sums = whitened_sums(statistics, mixture, Model.of_mixture(mixture, prior))
    gradient, full = at.gradient(sums), at.complete_information(sums)
    complete, information = (at.free_information(each, sums) for each in (full, full - missing))
    shares = _shares(information, complete, at, sums)
    covariance = at.free @ np.linalg.inv(information) @ at.free.T
    squared = float(
        gradient @ covariance @ gradient
    )  # at the maximum rounding errors are left; else negative: a saddle
    distance = math.sqrt(squared) if squared > 0.0 else 0.0 if squared > -_ROUNDING else math.nan
    _warn_if_far(distance)
    if squared_scores is not None:
        covariance = covariance @ squared_scores @ covariance
    return _record(LocalCovariance(at, covariance), shares=shares, distance=distance, robust=robust)


@dataclass(frozen=True)
class LikelihoodExpansion:
    """The log-likelihood of rows to second order in `LocalCoordinates`: value, gradient and observed information.

    Expansions of different rows add.

    Attributes
    ----------
    statistics : Statistics
        Expected statistics of the rows.
    missing : (n_dim, n_dim)
        Louis' correction.
    """

    __module__ = "bayesgmm.standard_errors"

    coordinates: LocalCoordinates
    statistics: Statistics
    missing: Array

    @classmethod
    def of(cls, data: Data, coordinates: LocalCoordinates, pool: Executor | None = None) -> "LikelihoodExpansion":
        """In one pass over the rows, wherever they are."""

        def of_block(block: Block) -> LikelihoodExpansion:
            statistics = _statistics(coordinates.mixture, block)
            pieces = block.pieces(_ROWS_AT_A_TIME)
            return cls(coordinates, statistics, reduce(add, (_missing_information(coordinates, p) for p in pieces)))

        found: LikelihoodExpansion = total(of_block, data, pool)
        return found

    def __add__(self, other: "LikelihoodExpansion") -> "LikelihoodExpansion":
        """Of both sets of rows."""
        return replace(self, statistics=self.statistics + other.statistics, missing=self.missing + other.missing)

    @property
    def value(self) -> float:
        """The log-likelihood."""
        return self.statistics.log_likelihood

    @cached_property
    def _sums(self) -> Sums:
        mixture = self.coordinates.mixture
        return whitened_sums(self.statistics, mixture, Model.of_mixture(mixture, None))

    @cached_property
    def gradient(self) -> Array:
        """Its gradient, (n_dim,)."""
        return self.coordinates.gradient(self._sums)

    @cached_property
    def information(self) -> Array:
        """Its negative Hessian, (n_dim, n_dim)."""
        return self.coordinates.complete_information(self._sums) - self.missing


@dataclass(frozen=True)
class LocalCovariance:
    """Local coordinates and the covariance of the estimate in them."""

    __module__ = "bayesgmm.standard_errors"

    coordinates: LocalCoordinates
    covariance: Array

    @cached_property
    def natural(self) -> Array:
        """Covariance of the free parameters in the units of the data."""
        change = self.coordinates.natural_change
        return change @ self.covariance @ change.T


def _statistics(mixture: Mixture, block: Block) -> Statistics:
    return column_statistics(block.columns, mixture, block.row_weights, block.patterns, block.allowed)


def _total(task: Callable[[Data], Array], data: Data, at: LocalCoordinates, pool: Executor | None) -> Array:
    """The sum over all rows of what a task gives for small pieces of them."""
    return total(partial(_of_pieces, task, at.block_size), data, pool)


def _of_pieces(task: Callable[[Data], Array], size: int, block: Block) -> Array:
    return reduce(add, map(task, block.pieces(size)))


def _missing_information(at: LocalCoordinates, piece: Data) -> Array:
    """Louis' correction, by pairs of components: only rows that two components share cost anything."""
    if isinstance(piece, IncompleteData):
        return _missing_of_incomplete(at, piece)
    missing = np.zeros((at.n_dim, at.n_dim))
    index = [at.own_index(k) for k in range(at.k)]
    rows, v, resp = piece.rows, piece.weights, row_memberships(piece, at.mixture)
    shared = _uncertain(resp)
    own = [at.own_scores(rows[shared[:, k]], k) for k in range(at.k)]
    for j, k in combinations_with_replacement(range(at.k), 2):
        both = shared[:, j] & shared[:, k]
        product = resp[both, j] * (1.0 - resp[both, j] if j == k else -resp[both, k])
        left, right = own[j][both[shared[:, j]]], own[k][both[shared[:, k]]]
        table = (left * (product * v[both])[:, None]).T @ right
        missing[np.ix_(index[j], index[k])] += table
        if j != k:
            missing[np.ix_(index[k], index[j])] += table.T
    return missing


def _missing_of_incomplete(at: LocalCoordinates, piece: IncompleteData) -> Array:
    """What complete rows with known components would tell, less what is told by the features observed."""
    statistics = reduce(add, (_statistics(at.mixture, block) for block in piece.blocks))
    missing = LikelihoodExpansion(at, statistics, np.zeros((at.n_dim, at.n_dim))).information
    for _, observed, rows in piece.parts():
        part, change = at.marginal(observed)
        missing -= change.T @ LikelihoodExpansion.of(rows, part).information @ change
    return missing


def _uncertain(resp: Responsibilities) -> NDArray[np.bool_]:
    return (resp > _CERTAIN) & (resp < 1.0 - _CERTAIN)


def _squared_scores(at: LocalCoordinates, piece: Data) -> Array:
    """Sum of the squared scores of the rows."""
    scores = at.scores(piece)
    return (scores * piece.weights[:, None]).T @ scores


def _shares(information: Array, complete: Array, at: LocalCoordinates, sums: Sums) -> Array:
    """Shares of the complete information that are observed, smallest first; an error unless all are positive."""
    try:
        shares, directions = eigh(information, complete)
    except np.linalg.LinAlgError:
        shares, directions = np.array([-np.inf]), np.ones((len(complete), 1))
    if shares[0] > _SMALLEST_SHARE:
        return shares
    worst = at.names[int(np.abs(at.free @ directions[:, 0]).argmax())]
    raise InformationError(
        f"The observed information is not positive definite, in a direction that is mostly {worst}: the mixture is not "
        "at a maximum of its likelihood, or the maximum is not unique because components coincide, emptied or sit at "
        "the floor reg_covar. Run EM on with a smaller tol and more steps, ask for fewer components or for a prior, "
        "or bootstrap with weighted rows.",
        figures={"smallest share observed": float(shares[0]), "smallest count": float(sums.counts.min())},
    )


def _warn_if_far(distance: float) -> None:
    if distance < _FAR:
        return
    warn_user(
        f"The maximum of the objective is about {distance:.2g} standard errors away from this mixture: EM stopped "
        "early, a covariance sits at the floor reg_covar, or these are not the rows (weights, prior) of the fit. "
        "Fit with a smaller tol before you read standard errors.",
        InformationWarning,
    )


def _record(local: LocalCovariance, *, shares: Array, distance: float, robust: bool) -> StandardErrors:
    at = local.coordinates
    weights, means, covariances = map(np.sqrt, at.variances(local.covariance))
    return StandardErrors(
        at.mixture,
        weights,
        means,
        covariances,
        covariance=local.natural,
        names=at.names,
        missing=1.0 - shares,
        condition=float(shares[-1] / shares[0]),
        distance=distance,
        robust=robust,
        local=local,
    )


def _quadratic(vectors: Array, matrix: Array) -> Array:
    """vᵀ A v for vectors (obs, n_dim)."""
    return np.maximum(((vectors @ matrix) * vectors).sum(axis=1), 0.0)


def _width(ci_prob: float) -> float:
    """Half the width of a normal interval, in standard errors."""
    check_number(least=0.0, most=1.0, ci_prob=ci_prob)
    return float(norm.ppf(0.5 + 0.5 * ci_prob))


def _on_logit_scale(value: Array, error: Array, width: float) -> tuple[Array, Array]:
    """Intervals of probabilities; a probability of exactly zero or one keeps itself."""
    slope = value * (1.0 - value)
    inside = slope > 0.0
    half = width * np.divide(error, slope, out=np.zeros_like(value), where=inside)
    centre = logit(np.where(inside, value, 0.5))
    return np.where(inside, expit(centre - half), value), np.where(inside, expit(centre + half), value)


def _is_variance(mixture: Mixture) -> NDArray[np.bool_]:
    """Which entries of the covariances are variances."""
    shape, d = mixture.covariances.shape, mixture.n_features
    return np.broadcast_to(np.eye(d, dtype=bool), shape) if mixture.family.as_matrices else np.ones(shape, dtype=bool)
