r"""Loadings and noise variances of one matrix S.

From the noise :math:`\Psi` to the loadings that are likeliest, and back: with eigenvalues :math:`\theta` and
eigenvectors U of :math:`\Psi^{-1/2} S \Psi^{-1/2}`, the largest q, :math:`\Lambda = \Psi^{1/2} U (\theta - 1)_+^{1/2}`
(Joreskog 1967), and :math:`\Psi = diag(S - \Lambda \Lambda^\top)`. A few such steps are near enough to start EM.

A matrix of the family is decomposed by least squares of its correlations R (Harman & Jones 1966), whose minimum is
zero: with the smaller eigenvalues :math:`\gamma` of :math:`R - \Psi` and their eigenvectors :math:`\omega`,

.. math:: f = \frac12 \sum_{h > q} \gamma_h^2, \qquad
          \frac{\partial f}{\partial \psi_i} = - \sum_{h > q} \gamma_h \omega_{ih}^2, \qquad
          \frac{\partial^2 f}{\partial \psi_i \partial \psi_j} \approx \Big(\sum_{h > q} \omega_{ih} \omega_{jh}\Big)^2,

and the last is exact where :math:`\gamma = 0`: Newton's steps find it to the last digits.
"""

import numpy as np
from scipy.linalg import eigh

from bayesgmm._common import Array, Factors

_SMALLEST = 1e-9  # noise variance over variance
_FIRST_STEPS, _MOST_STEPS, _LITTLE, _REGULAR = 3, 100, 1e-15, 1e-12  # steps; of a slope; added to second derivatives


def near_decomposition(matrix: Array, n_factors: int) -> Factors:
    """Loadings and noise standard deviations (D, q + 1) of a matrix with positive variances, nearly the likeliest."""
    correlations, sds = _correlations(matrix)
    noise = _near_noise(correlations, n_factors)
    loadings = _likeliest_loadings(correlations, noise, n_factors)
    return np.column_stack([loadings, np.sqrt(noise)]) * sds[:, None]


def decomposition(matrix: Array, n_factors: int) -> Factors:
    """The same of a matrix of the family, to the last digits; of others by least squares.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.mixture.covariance.low_rank.decomposition import decomposition
    >>> loadings = np.array([[2.0], [1.0], [-1.0]])
    >>> found = decomposition(loadings @ loadings.T + np.diag([1.0, 0.5, 0.25]), 1)
    >>> np.abs(found[:, 0]).round(3), np.square(found[:, 1]).round(3)
    (array([2., 1., 1.]), array([1.  , 0.5 , 0.25]))
    """
    correlations, sds = _correlations(matrix)
    noise = _near_noise(correlations, n_factors)
    for _ in range(_MOST_STEPS):
        values, vectors = np.linalg.eigh(correlations - np.diag(noise))
        left, others = values[:-n_factors], vectors[:, :-n_factors]
        slopes = others**2 @ left
        if np.abs(slopes).max() <= _LITTLE:
            break
        bend = np.square(others @ others.T) + _REGULAR * np.eye(len(noise))
        noise = np.clip(noise + np.linalg.solve(bend, slopes), _SMALLEST, 1.0)
    loadings = vectors[:, -n_factors:] * np.sqrt(np.maximum(values[-n_factors:], 0.0))
    return np.column_stack([loadings, np.sqrt(noise)]) * sds[:, None]


def _correlations(matrix: Array) -> tuple[Array, Array]:
    sds = np.sqrt(np.diagonal(matrix))
    return matrix / np.outer(sds, sds), sds


def _near_noise(correlations: Array, n_factors: int) -> Array:
    noise = np.full(len(correlations), 0.5)
    for _ in range(_FIRST_STEPS):
        explained = np.square(_likeliest_loadings(correlations, noise, n_factors)).sum(axis=1)
        noise = np.clip(1.0 - explained, _SMALLEST, 1.0)
    return noise


def _likeliest_loadings(correlations: Array, noise: Array, n_factors: int) -> Array:
    roots, last = np.sqrt(noise), len(noise) - 1
    values, vectors = eigh(correlations / np.outer(roots, roots), subset_by_index=(last + 1 - n_factors, last))
    return np.asarray(roots[:, None] * vectors * np.sqrt(np.maximum(values - 1.0, 0.0)))
