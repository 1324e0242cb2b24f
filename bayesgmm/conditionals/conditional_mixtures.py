"""`ConditionalMixtures`: the distributions of some features given values of others, one mixture for each row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, Covariances, PerRow, Responsibilities, Rows
from bayesgmm.conditionals.quantiles import mixture_quantiles
from bayesgmm.exceptions import InputError
from bayesgmm.validation import as_finite, told


@dataclass(frozen=True, eq=False)
class ConditionalMixtures:
    r"""Mixtures of the features that were not observed, one for each row of observed values.

    .. math:: p(x_m \mid x_o) = \sum_k w_k(x_o) N(x_m \mid \mu_k(x_o), \Sigma_k), \qquad
        w_k(x_o) \propto w_k N(x_o \mid \mu_{k,o}, \Sigma_{k,oo})

    Attributes
    ----------
    weights : (obs, cluster)
    means : (obs, cluster, feature)
    covariances : (cluster, feature, feature_bis)
        The same for all rows.
    log_density : (obs,)
        Of the observed values, :math:`\log \sum_k w_k N(x_o \mid \mu_{k,o}, \Sigma_{k,oo})`. Where it is low the values
        are far from all components, and the weights are those of the widest.

    Examples
    --------
    >>> from bayesgmm import Mixture
    >>> mixture = Mixture([0.5, 0.5], [[0.0, 0.0], [4.0, 4.0]], [[[1.0, 0.8], [0.8, 1.0]]] * 2)
    >>> given = mixture.condition({0: [0.0, 2.0, 3.0]})
    >>> given.mean.round(2)
    array([[0.  ],
           [2.  ],
           [3.19]])
    >>> given.quantiles([0.05, 0.95])[1].round(2)  # between the components
    array([[0.82, 3.18]])
    """

    __module__ = "bayesgmm.conditionals"

    weights: Responsibilities
    means: Array
    covariances: Covariances
    log_density: PerRow

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def mean(self) -> Array:
        """Conditional means (obs, feature): the regression curve."""
        return np.einsum("nk,nkj->nj", self.weights, self.means)

    @property
    def covariance(self) -> Array:
        """Conditional covariances (obs, feature, feature_bis)."""
        apart = self.means - self.mean[:, None]
        between = np.einsum("nk,nki,nkj->nij", self.weights, apart, apart, optimize=True)
        return np.einsum("nk,kij->nij", self.weights, self.covariances) + between

    @property
    def sd(self) -> Array:
        """Conditional standard deviations (obs, feature)."""
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))

    def quantiles(self, probs: ArrayLike) -> Array:
        """Quantiles (obs, feature, prob) of each feature.

        Parameters
        ----------
        probs : (prob,)
            Between 0 and 1.

        Raises
        ------
        InputError
            For other probabilities.
        """
        sds = np.sqrt(np.diagonal(self.covariances, axis1=-2, axis2=-1))
        return mixture_quantiles(as_probabilities(probs), self.weights[:, None], np.swapaxes(self.means, 1, 2), sds.T)

    def sample(self, *, rng: np.random.Generator) -> Rows:
        """One row (obs, feature) from each."""
        cumulative = self.weights.cumsum(axis=1)
        labels = (rng.random((len(self), 1)) * cumulative[:, -1:] > cumulative).sum(axis=1)
        z = rng.standard_normal((len(self), self.means.shape[2]))
        noise = np.einsum("nij,nj->ni", np.linalg.cholesky(self.covariances)[labels], z)
        return self.means[np.arange(len(self)), labels] + noise


def as_probabilities(probs: ArrayLike, *, name: str = "probs") -> Array:
    """Checked probabilities (prob,)."""
    array = np.atleast_1d(as_finite(probs, name=name))
    if array.ndim != 1 or not ((array > 0.0) & (array < 1.0)).all():
        raise InputError(expected=f"{name} between 0 and 1, one or several", got=told(probs))
    return array
