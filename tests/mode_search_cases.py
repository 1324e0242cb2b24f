"""A prior under which chains find several modes."""

import numpy as np

from bayesgmm.priors.prior import Prior

HARD = Prior.normal_inverse_wishart(mean=(5.8, 3.1, 3.8, 1.2), kappa=0.01, dof=6, scale=np.diag([0.4, 0.1, 1.8, 0.34]))


def copies(n, rows=10, noise=0.0, seed=0):
    """Copies of one cluster, rotated about the origin: with one component fewer all joins of neighbours are alike."""
    rng = np.random.default_rng(seed)
    block = rng.normal(size=(rows, 2))
    block += [6.0, 0.0] - block.mean(axis=0)
    angles = 2.0 * np.pi * np.arange(n) / n
    turns = np.stack([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    return np.vstack(block @ turns) + noise * rng.normal(size=(n * rows, 2))
