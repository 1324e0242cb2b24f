r"""Factor analysis of one matrix by maximum likelihood.

The matrix S is that of many normal rows. Given the noise :math:`\Psi` the best loadings are known (Joreskog 1967): with
eigenvalues :math:`\theta` and eigenvectors U of :math:`\Psi^{-1/2} S \Psi^{-1/2}`, the largest q,
:math:`\Lambda = \Psi^{1/2} U (\theta - 1)_+^{1/2}`. What is left is a function of :math:`\log \psi`,

.. math:: f = \sum_{j > q} (\theta_j - \log \theta_j - 1), \qquad
          \frac{\partial f}{\partial \log \psi_i} = 1 - \frac{(S - \Lambda \Lambda^\top)_{ii}}{\psi_i}, \qquad
          \frac{\partial^2 f}{\partial \log \psi_i \partial \log \psi_j} \approx \Big(\sum_{h > q} u_{ih} u_{jh}\Big)^2,

and the last is exact where S is of low rank plus a diagonal: Newton's steps there find it to the last digits.
"""

import numpy as np
from scipy.linalg import eigh

from bayesgmm._common import Array, Factors

_SMALLEST = 1e-6  # noise variance over variance
_FIRST_STEPS, _MOST_STEPS, _LONGEST, _LITTLE = 3, 50, 1.0, 1e-14  # steps; of a step in log variances; of a gradient


def decomposed(matrix: Array, n_factors: int, *, most_steps: int = _MOST_STEPS) -> Factors:
    """Loadings and noise standard deviations (D, q + 1) of a matrix with positive variances.

    The first steps are fixed points, the others, no more than ``most_steps``, Newton's.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.mixture.covariance.low_rank.decomposition import decomposed
    >>> loadings = np.array([[2.0], [1.0], [-1.0]])
    >>> found = decomposed(loadings @ loadings.T + np.diag([1.0, 0.5, 0.25]), 1)
    >>> np.abs(found[:, 0]).round(3), np.square(found[:, 1]).round(3)
    (array([2., 1., 1.]), array([1.  , 0.5 , 0.25]))
    """
    sds = np.sqrt(np.diagonal(matrix))
    correlations = matrix / np.outer(sds, sds)
    noise = np.full(len(sds), 0.5)
    for _ in range(_FIRST_STEPS):
        noise = np.clip(1.0 - np.square(_loadings(correlations, noise, n_factors)).sum(axis=1), _SMALLEST, 1.0)
    for _ in range(most_steps):
        loadings, others = _eigen(correlations, noise, n_factors)
        gradient = 1.0 - (1.0 - np.square(loadings).sum(axis=1)) / noise
        at_border = (noise <= _SMALLEST) & (gradient > 0.0)
        gradient[at_border] = 0.0
        if np.abs(gradient).max() <= _LITTLE:
            break
        curvature = np.square(others @ others.T) + 1e-10 * np.eye(len(noise))
        step = np.linalg.solve(curvature, gradient)
        noise = np.clip(noise * np.exp(-np.clip(step, -_LONGEST, _LONGEST)), _SMALLEST, 1.0)
    loadings = _loadings(correlations, noise, n_factors)
    return np.column_stack([loadings, np.sqrt(noise)]) * sds[:, None]


def _loadings(correlations: Array, noise: Array, n_factors: int) -> Array:
    """The best loadings (D, q) given the noise."""
    roots, last = np.sqrt(noise), len(noise) - 1
    values, vectors = eigh(correlations / np.outer(roots, roots), subset_by_index=(last + 1 - n_factors, last))
    return np.asarray(roots[:, None] * vectors * np.sqrt(np.maximum(values - 1.0, 0.0)))


def _eigen(correlations: Array, noise: Array, n_factors: int) -> tuple[Array, Array]:
    """These loadings, and the other eigenvectors."""
    roots = np.sqrt(noise)
    values, vectors = np.linalg.eigh(correlations / np.outer(roots, roots))
    first = vectors[:, -n_factors:] * np.sqrt(np.maximum(values[-n_factors:] - 1.0, 0.0))
    return roots[:, None] * first, vectors[:, :-n_factors]
