"""Information criteria in scikit-learn's sign: lower is better."""

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np

from bayesgmm._common import Array
from bayesgmm.data import Block, Data, total
from bayesgmm.mixture.mixture import Mixture, column_densities
from bayesgmm.mixture.statistics import total_over_rows


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


def measure(data: Data, mixture: Mixture, pool: Executor | None = None) -> Measured:
    """Collect what the criteria need.

    Parameters
    ----------
    data : Data
    mixture : Mixture
    pool : concurrent.futures.Executor, optional
        Threads among which the blocks of data are shared out. The result is the same without.

    Examples
    --------
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.data import Data
    >>> from bayesgmm.mixture import bic, measure
    >>> mixture = Mixture([1.0], [[0.0]], [[[1.0]]])
    >>> round(bic(measure(Data.of([[-1.0], [0.0], [1.0]]), mixture)), 3)
    9.711
    """
    log_likelihood, log_certainty = total(partial(_measured, mixture), data, pool).tolist()
    return Measured(log_likelihood, data.total, log_certainty, mixture.n_parameters)


def _measured(mixture: Mixture, block: Block) -> Array:
    log_density, resp = column_densities(block.columns, mixture, block.patterns, allowed=block.allowed)
    per_row = (log_density, np.log(resp.max(axis=0)))
    return np.array([total_over_rows(values, block.row_weights) for values in per_row])


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
