"""Regressions of components: variances and full matrices of them give the same."""

import numpy as np

from bayesgmm.conditionals import Regressions


def test_variances_are_matrices_without_correlations():
    rng = np.random.default_rng(0)
    means, variances = rng.normal(size=(5, 2, 4)), rng.uniform(0.5, 2.0, (5, 2, 4))
    X = rng.normal(size=(6, 2))
    compact = Regressions.of(means, variances, [1, 3], [2, 0])
    full = Regressions.of(means, variances[..., None] * np.eye(4), [1, 3], [2, 0])
    assert compact.slopes is None
    assert compact.means(X).shape == (6, 5, 2, 2)
    np.testing.assert_allclose(compact.means(X), full.means(X), rtol=1e-13)
    np.testing.assert_allclose(compact.sds, full.sds, rtol=1e-13)


def test_lines_far_from_the_origin_keep_their_digits():
    shift = 1e8
    means, covariance = np.array([[shift, 1.0], [shift + 2.0, 3.0]]), np.array([[[1.0, 0.5], [0.5, 1.0]]] * 2)
    found = Regressions.of(means, covariance, [0], [1]).means(np.array([[shift + 1.0]]))
    np.testing.assert_allclose(found[0, :, 0], [1.5, 2.5], rtol=1e-14)
