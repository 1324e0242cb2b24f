"""The truncated harmonic mean on densities whose constants are known."""

from itertools import permutations
from math import log, pi

import numpy as np
import pytest
from monte_carlo import bound, chi_square_range

from bayesgmm.evidence import thames_estimator as module
from bayesgmm.evidence.thames_estimator import Blocks, count_relabellings, thames
from bayesgmm.exceptions import InputError

K, OWN, SHARED = 4, 3, 2
D = SHARED + K * OWN


def random_ellipsoid(rng):
    root = rng.normal(size=(D, D))
    factor = np.linalg.cholesky(root @ root.T / D + np.eye(D))
    mean = 0.3 * rng.normal(size=D)
    points = mean + rng.normal(size=(200, D)) @ factor.T
    return mean, np.linalg.inv(factor), Blocks(points[:, :SHARED], points[:, SHARED:].reshape(-1, K, OWN))


def counted_one_by_one(blocks, mean, whitening, limit):
    counts = np.zeros(len(blocks))
    for order in permutations(range(K)):
        whitened = (Blocks(blocks.shared, blocks.own[:, list(order)]).flat - mean) @ whitening.T
        counts += (whitened**2).sum(axis=1) <= limit
    return counts


def counted(blocks, mean, whitening, limit):
    centred = (blocks.shared - mean[:SHARED]) @ whitening[:, :SHARED].T
    means = mean[SHARED:].reshape(K, OWN)
    return count_relabellings(centred, blocks.own, means, whitening, limit, np.random.default_rng(0))


def test_relabellings_are_counted_exactly():
    mean, whitening, blocks = random_ellipsoid(np.random.default_rng(0))
    want = counted_one_by_one(blocks, mean, whitening, D + 3.0)
    assert len(np.unique(want)) > 10
    np.testing.assert_array_equal(counted(blocks, mean, whitening, D + 3.0), want)


def test_long_searches_are_replaced_by_an_unbiased_count():
    """Ten blocks that all look alike: 10! relabellings, each in the ellipsoid with about the same probability."""
    rng = np.random.default_rng(1)
    own = 0.01 * rng.normal(size=(3, 10, 1))
    got = count_relabellings(np.zeros((3, 10)), own, np.zeros((10, 1)), np.eye(10), 1.0, rng)
    np.testing.assert_allclose(got, 3628800.0)


def symmetric_target(blocks, apart):
    """Both labellings of two normals `apart` from each other; the constant is 2 (2 pi)^(d/2)."""
    shift = np.array([[0.0], [apart]])
    terms = [-0.5 * ((blocks.own - s) ** 2).sum(axis=(1, 2)) for s in (shift, shift[::-1])]
    return np.logaddexp(*terms)


@pytest.mark.draws
@pytest.mark.parametrize(("apart", "switched"), [(0.5, False), (0.5, True), (2.0, False), (2.0, True), (10.0, False)])
def test_symmetric_densities_however_much_labellings_overlap(apart, switched):
    """Draws with labels as drawn, or put in order, which leaves the symmetric density's draws of one labelling."""
    rng = np.random.default_rng(2)
    own = rng.normal(size=(8000, 2, 3)) + np.array([[0.0], [apart]])
    flipped = rng.random(8000) < 0.5
    if switched:
        own[flipped] = own[flipped][:, ::-1]
    draws = Blocks(np.empty((8000, 0)), own)
    values = symmetric_target(draws, apart)
    found = thames(
        draws[::2],
        draws[1::2],
        log_densities=(values[::2], values[1::2]),
        log_density=lambda blocks: symmetric_target(blocks, apart),
        effective_size=len,
        rng=rng,
    )
    assert found.se < 0.3
    assert abs(found.log_z - log(2.0) - 3.0 * log(2.0 * pi)) < bound() * found.se


@pytest.mark.slow
@pytest.mark.draws
def test_the_standard_error_covers():
    """z-scores over repetitions have about unit variance."""
    rng, scores = np.random.default_rng(3), []
    log_density = lambda blocks: -0.5 * (blocks.own**2).sum(axis=(1, 2))  # noqa: E731
    for _ in range(60):
        draws = [Blocks(np.empty((600, 0)), rng.normal(size=(600, 3, 2))) for _ in range(2)]
        values = tuple(log_density(own) for own in draws)
        found = thames(*draws, log_densities=values, log_density=log_density, effective_size=len, rng=rng)
        scores.append((found.log_z - 3.0 * log(2.0 * pi)) / found.se)
    low, high = chi_square_range(len(scores))
    assert low < np.square(scores).sum() < high


@pytest.mark.draws
def test_labels_stay_as_they_are_where_they_mean_something():
    rng = np.random.default_rng(4)
    shift = np.array([[0.0], [0.5]])
    log_density = lambda blocks: -0.5 * ((blocks.own - shift) ** 2).sum(axis=(1, 2))  # noqa: E731
    draws = [Blocks(np.empty((3000, 0)), rng.normal(size=(3000, 2, 2)) + shift) for _ in range(2)]
    found = thames(
        *draws,
        log_densities=tuple(log_density(own) for own in draws),
        log_density=log_density,
        effective_size=len,
        rng=rng,
        symmetric=False,
    )
    assert abs(found.log_z - 2.0 * log(2.0 * pi)) < bound() * found.se < 0.3


def test_nothing_inside_says_so():
    draws = Blocks(np.empty((50, 0)), np.random.default_rng(5).normal(size=(50, 2, 1)))
    found = thames(
        draws,
        draws,
        log_densities=(np.zeros(50), np.full(50, -1.0)),
        log_density=lambda blocks: np.full(len(blocks), -np.inf),
        effective_size=len,
        rng=np.random.default_rng(0),
    )
    assert np.isnan(found.log_z)
    assert found.se == np.inf


def test_fewer_draws_than_coordinates():
    draws = Blocks(np.empty((5, 0)), np.zeros((5, 3, 2)))
    with pytest.raises(InputError, match="more than 7 draws"):
        thames(
            draws,
            draws,
            log_densities=(np.zeros(5), np.zeros(5)),
            log_density=lambda blocks: np.zeros(len(blocks)),
            effective_size=len,
            rng=np.random.default_rng(0),
        )
    assert module.thames is thames
