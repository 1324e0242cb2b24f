"""Expected sufficient statistics, a record that adds over blocks of rows."""

from dataclasses import dataclass, field

import numpy as np

from bayesgmm._common import Array, Means, PerRow, Weights


def total_over_rows(values: PerRow, row_weights: PerRow | None) -> float:
    """The sum over rows, each as often as its weight says; once, if there are no weights."""
    return float(values.sum() if row_weights is None or not len(row_weights) else row_weights @ values)


@dataclass(frozen=True, slots=True)
class Statistics:
    r"""Sums over rows under one mixture; records of the same mixture add.

    With responsibilities :math:`r_{ik}`, row weights :math:`v_i` and whitened residuals
    :math:`z_{ik} = L_k^{-1}(x_i - \mu_k)`:

    Attributes
    ----------
    log_likelihood : float
        :math:`\sum_i v_i \log p(x_i)`.
    counts : (cluster,)
        :math:`\sum_i v_i r_{ik}`.
    first : (cluster, feature)
        :math:`\sum_i v_i r_{ik} z_{ik}`.
    second : (cluster, rows, columns)
        :math:`\sum_i v_i r_{ik} z_{ik} z_{ik}^\top`, in the shape of the parametrisation: the (D, D) matrix
        for full ones, its (1, D) diagonal for diagonal ones, its (1, 1) trace for spherical ones.
    others : (sum, cluster)
        What components sum beside, none for Gaussians. Student-t ones sum :math:`v_i r_{ik} \log(1 + |z_{ik}|^2 /
        \nu_k)` and :math:`v_i r_{ik} u_{ik}`, where :math:`u_{ik} = (\nu_k + D) / (\nu_k + |z_{ik}|^2)` also weighs
        the rows in the first and second moments.
    """

    log_likelihood: float
    counts: Weights
    first: Means
    second: Array
    others: Array = field(default_factory=lambda: np.empty((0, 0)))

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            self.log_likelihood + other.log_likelihood,
            self.counts + other.counts,
            self.first + other.first,
            self.second + other.second,
            self.others + other.others,
        )
