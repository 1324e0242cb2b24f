"""Alignment: the cost by hand, its symmetries, and permutations undone."""

from itertools import permutations

import numpy as np
import pytest
from reference import random_mixture

from bayesgmm.mixture.alignment import align_to, divergences
from bayesgmm.mixture.mixture import Mixture

KL_FAR = 0.5 * (1 / 4 + 25 / 4 - 1 + np.log(4))  # KL(N(0, 1) || N(5, 4))
KL_BACK = 0.5 * (4 + 25 - 1 - np.log(4))


def one_feature() -> Mixture:
    return Mixture([0.3, 0.7], [[0.0], [5.0]], [[[1.0]], [[4.0]]])


def parts(mixture: Mixture, order=slice(None)):
    return mixture.weights[order], mixture.means[order], mixture.full_covariances[order]


def test_the_cost_by_hand():
    mixture = one_feature()
    cross = 0.5 * (KL_FAR + KL_BACK) + 2.0 * (np.sqrt(0.7) - np.sqrt(0.3)) ** 2
    np.testing.assert_allclose(divergences(mixture, *parts(mixture)), [[0.0, cross], [cross, 0.0]], atol=1e-14)


def test_the_cost_is_zero_on_the_diagonal_and_positive_elsewhere():
    mixture = random_mixture(np.random.default_rng(0), "full", (4, 3))
    cost = divergences(mixture, *parts(mixture))
    np.testing.assert_allclose(np.diag(cost), 0.0, atol=1e-12)
    np.testing.assert_allclose(cost, cost.T, rtol=1e-10, atol=1e-12)
    assert cost[~np.eye(4, dtype=bool)].min() > 0.1


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"])
def test_permuted_mixtures_are_restored(covariance_type):
    mixture = random_mixture(np.random.default_rng(1), covariance_type, (4, 3))
    for order in permutations(range(4)):
        found = align_to(mixture, *parts(mixture, list(order)))
        assert np.array(order)[found].tolist() == [0, 1, 2, 3]


def test_the_assignment_is_the_best_of_all_permutations():
    rng = np.random.default_rng(2)
    reference = random_mixture(rng, "full", (4, 2))
    for _ in range(20):
        other = random_mixture(rng, "full", (4, 2))
        cost = divergences(reference, *parts(other))
        totals = {order: cost[list(order), range(4)].sum() for order in permutations(range(4))}
        assert tuple(align_to(reference, *parts(other)).tolist()) == min(totals, key=totals.get)


def test_leading_axes_pass_through():
    rng = np.random.default_rng(3)
    reference = random_mixture(rng, "full", (3, 2))
    mixtures = [[random_mixture(rng, "full", (3, 2)) for _ in range(5)] for _ in range(2)]
    stacks = [np.array([[getattr(m, a) for m in row] for row in mixtures]) for a in ("weights", "means", "covariances")]
    order = align_to(reference, *stacks)
    assert order.shape == (2, 5, 3)
    for i, row in enumerate(mixtures):
        for j, mixture in enumerate(row):
            assert order[i, j].tolist() == align_to(reference, *parts(mixture)).tolist()


def test_units_of_the_data_do_not_matter():
    rng = np.random.default_rng(4)
    reference, other = (random_mixture(rng, "full", (3, 2)) for _ in range(2))
    matrix, shift = rng.normal(size=(2, 2)) * [[1.0], [1e4]], [3.0, -1e5]

    def moved(mixture: Mixture) -> Mixture:
        return Mixture(mixture.weights, mixture.means @ matrix.T + shift, matrix @ mixture.covariances @ matrix.T)

    expected = divergences(reference, *parts(other))
    np.testing.assert_allclose(divergences(moved(reference), *parts(moved(other))), expected, rtol=1e-6)


def test_weights_tell_equal_components_apart():
    reference = Mixture([0.2, 0.8], [[0.0], [0.0]], [[[1.0]], [[1.0]]])
    assert align_to(reference, np.array([0.7, 0.3]), reference.means, reference.covariances).tolist() == [1, 0]


def test_a_weight_that_rounds_to_zero():
    mixture = one_feature()
    order = align_to(mixture, np.array([[1.0, 0.0]]), mixture.means[None], mixture.covariances[None])
    assert order.tolist() == [[0, 1]]


def test_one_component():
    mixture = random_mixture(np.random.default_rng(5), "full", (1, 2))
    assert align_to(mixture, *parts(mixture)).tolist() == [0]
