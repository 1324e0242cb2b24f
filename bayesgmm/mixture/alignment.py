"""Alignment of components: the permutation of labels closest to a reference mixture."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from bayesgmm._common import Array, Covariances, IntArray, Means, Weights
from bayesgmm.mixture.mixture import Mixture


def align_to(
    reference: Mixture, weights: Weights, means: Means, covariances: Covariances, *, alike: IntArray | None = None
) -> IntArray:
    r"""Permutations that match mixtures to a reference by optimal assignment.

    The cost of calling component j by the reference's label k is the symmetrised Kullback-Leibler divergence
    between the two Gaussians plus the Hellinger distance between their weights, scaled like it:
    :math:`\tfrac12 KL(N_j, N_k) + \tfrac12 KL(N_k, N_j) + 2 (\sqrt{w_j} - \sqrt{w_k})^2`. It does not depend
    on the units of the data, and a component that empties keeps its label.

    Parameters
    ----------
    reference : Mixture
    weights : (..., cluster)
    means : (..., cluster, feature)
    covariances : (..., cluster, feature, feature_bis)
        Full matrices.
    alike : (cluster,) integers, optional
        Only components with the same number take each other's labels; all do by default.

    Returns
    -------
    (..., cluster) integers
        ``order[k]`` is the component that takes label k: ``weights[order]`` is aligned.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.mixture import align_to
    >>> mixture = Mixture([0.3, 0.7], [[0.0], [5.0]], [[[1.0]], [[4.0]]])
    >>> align_to(mixture, mixture.weights[::-1], mixture.means[::-1], mixture.covariances[::-1])
    array([1, 0])
    """
    cost = divergences(reference, weights, means, covariances)
    if alike is not None:
        cost = np.where(alike[:, None] == alike, cost, np.inf)
    flat = cost.reshape(-1, *cost.shape[-2:])
    order = np.stack([linear_sum_assignment(table.T)[1] for table in flat])
    return order.reshape(cost.shape[:-1])


def divergences(reference: Mixture, weights: Weights, means: Means, covariances: Covariances) -> Array:
    """The cost table (..., component, label) of `align_to`."""
    own, other_cov = np.linalg.inv(covariances), reference.full_covariances
    other = np.linalg.inv(other_cov)
    shift = means[..., :, None, :] - reference.means
    trace = np.einsum("...jab,kab->...jk", own, other_cov) + np.einsum("kab,...jab->...jk", other, covariances)
    by_own = ((shift @ own) * shift).sum(axis=-1)
    by_other = (np.einsum("...jka,kab->...jkb", shift, other) * shift).sum(axis=-1)
    gaussian = 0.25 * (trace + by_own + by_other) - 0.5 * reference.n_features
    apart = np.sqrt(weights)[..., :, None] - np.sqrt(reference.weights)
    return gaussian + 2.0 * apart**2
