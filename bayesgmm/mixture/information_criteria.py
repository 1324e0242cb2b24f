"""Information criteria in scikit-learn's sign: lower is better."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.mixture.mixture import Mixture
from bayesgmm.validation import as_row_weights, as_rows

_ROWS_AT_A_TIME = 10_000  # so that memberships take little memory


@dataclass(frozen=True, slots=True)
class Measured:
    """What the criteria need to know about rows under a mixture.

    Attributes
    ----------
    log_likelihood : float
        Total over rows.
    n_rows : float
        Rows, or their total weight.
    log_certainty : float
        Sum over rows of log max_k r_ik: zero if every assignment is certain.
    n_parameters : int
        Free parameters of the mixture.
    """

    __module__ = "bayesgmm.mixture"

    log_likelihood: float
    n_rows: float
    log_certainty: float
    n_parameters: int


def measure(X: ArrayLike, mixture: Mixture, row_weights: ArrayLike | None = None) -> Measured:
    """Collect what the criteria need.

    Parameters
    ----------
    X : (obs, feature)
    mixture : Mixture
    row_weights : (obs,), optional
        Frequency weights.

    Examples
    --------
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.mixture import bic, measure
    >>> mixture = Mixture([1.0], [[0.0]], [[[1.0]]])
    >>> round(bic(measure([[-1.0], [0.0], [1.0]], mixture)), 3)
    9.711
    """
    X = as_rows(X, n_features=mixture.n_features)
    weights = as_row_weights(row_weights, len(X))
    v = np.ones(len(X)) if weights is None else weights
    n_parameters = mixture.family.n_parameters(mixture.n_components, mixture.n_features)
    log_likelihood = log_certainty = 0.0
    for start in range(0, len(X), _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        log_density, resp = mixture.density_and_responsibilities(X[part])
        log_likelihood += float(v[part] @ log_density)
        log_certainty += float(v[part] @ np.log(resp.max(axis=1)))
    return Measured(log_likelihood, float(v.sum()), log_certainty, n_parameters)


def aic(measured: Measured) -> float:
    r"""Akaike's criterion, :math:`-2 \log L + 2 p` (Akaike 1974)."""
    return -2.0 * measured.log_likelihood + 2.0 * measured.n_parameters


def bic(measured: Measured) -> float:
    r"""Schwarz's criterion, :math:`-2 \log L + p \log n` (Schwarz 1978); mclust's is its negative."""
    return -2.0 * measured.log_likelihood + measured.n_parameters * float(np.log(measured.n_rows))


def icl(measured: Measured) -> float:
    r"""Integrated completed likelihood, :math:`BIC - 2 \sum_i \log \max_k r_{ik}`.

    The version with hard assignments that mclust uses, in the opposite sign (Biernacki, Celeux & Govaert
    2000). It adds to BIC what uncertain assignments cost, and so prefers components that do not overlap.
    """
    return bic(measured) - 2.0 * measured.log_certainty
