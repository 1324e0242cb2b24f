"""k-means in compiled code beside plain NumPy and scikit-learn."""

import numpy as np
import pytest
from reference import load_data
from sklearn.cluster import KMeans

from bayesgmm.em.kmeans import k_means_plus_plus, lloyd, nearest_labels


def squares(X, centres):
    return ((X[:, None] - centres) ** 2).sum(axis=2)


@pytest.mark.parametrize("n_rows", [1, 255, 256, 257, 1000])
def test_the_nearest_centre(n_rows):
    rng = np.random.default_rng(n_rows)
    X, centres = rng.normal(size=(n_rows, 3)), rng.normal(size=(4, 3))
    np.testing.assert_array_equal(nearest_labels(X, centres), squares(X, centres).argmin(axis=1))


def test_lloyd_ends_where_scikit_learn_does():
    X = load_data("iris")
    centres, labels = lloyd(X, X[:3], np.ones(150), most_steps=300)
    theirs = KMeans(3, init=X[:3], n_init=1, tol=0.0, algorithm="lloyd").fit(X)
    np.testing.assert_allclose(centres, theirs.cluster_centers_, rtol=1e-12)
    np.testing.assert_array_equal(labels, theirs.labels_)


def test_weights_are_repetitions():
    X, v = load_data("acidity"), np.arange(155) % 3
    weighted, _ = lloyd(X, X[:3], v.astype(float), most_steps=300)
    repeated, _ = lloyd(np.repeat(X, v, axis=0), X[:3], np.ones(v.sum()), most_steps=300)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12)


def test_a_centre_without_rows_stays():
    centres, labels = lloyd(np.array([[0.0], [2.0]]), np.array([[1.0], [50.0]]), np.ones(2), most_steps=5)
    np.testing.assert_array_equal(centres, [[1.0], [50.0]])
    np.testing.assert_array_equal(labels, [0, 0])


def test_lloyd_ends_when_few_rows_change():
    X = load_data("iris")
    once, _ = lloyd(X, X[:3], np.ones(150), most_steps=1)
    few, _ = lloyd(X, X[:3], np.ones(150), most_steps=300, few=150)
    np.testing.assert_array_equal(few, once)


def test_picked_rows_are_drawn_by_squared_distance_and_weight():
    """Two centres of three rows on a line, one candidate at a time: the chances are known."""
    X, v = np.array([[0.0], [1.0], [3.0]]), np.array([1.0, 2.0, 1.0])
    first = v / v.sum()
    after = squares(X, X) * v
    chances = after / after.sum(axis=1, keepdims=True)
    rng, n = np.random.default_rng(0), 20_000
    # With two candidates the better is taken: a pair (a, b) is left if the other candidate is no better.
    left = np.minimum(squares(X, X)[:, None], squares(X, X)[None]) @ v
    want = np.zeros((3, 3))
    for a in range(3):
        for one in range(3):
            for two in range(3):
                want[a, two if left[a, two] < left[a, one] else one] += first[a] * chances[a, one] * chances[a, two]
    found = np.zeros((3, 3))
    for _ in range(n):
        centres = k_means_plus_plus(X, 2, v, rng=rng)[:, 0]
        found[np.searchsorted(X[:, 0], centres[0]), np.searchsorted(X[:, 0], centres[1])] += 1
    n_candidates = 2 + int(np.log(2))
    assert n_candidates == 2
    np.testing.assert_allclose(found / n, want, atol=5.0 * np.sqrt(0.25 / n))


def test_fewer_distinct_rows_than_centres():
    X = np.repeat([[1.0, 2.0], [3.0, 4.0]], 3, axis=0)
    centres = k_means_plus_plus(X, 4, np.ones(6), rng=np.random.default_rng(0))
    assert {tuple(row) for row in centres} == {(1.0, 2.0), (3.0, 4.0)}


def test_rows_of_weight_zero_are_never_picked():
    X, v = np.arange(5.0)[:, None], np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert set(k_means_plus_plus(X, 2, v, rng=rng)[:, 0]) == {1.0, 3.0}
