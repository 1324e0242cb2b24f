"""Draws: covariances and factors of each other, reordering, joining, chains end to end."""

import numpy as np
import pytest
from reference import FAMILIES, random_mixture

import bayesgmm.mixture.draws
from bayesgmm.mixture.alignment import align_to
from bayesgmm.mixture.draws import Draws
from bayesgmm.mixture.mixture import Mixture

VIEWS = ("weights", "means", "covariances", "factors", "precision_factors", "log_scale")
N, SHAPE = 6, (3, 2)


@pytest.fixture(params=FAMILIES)
def mixtures(request) -> list[Mixture]:
    rng = np.random.default_rng(0)
    return [random_mixture(rng, request.param, SHAPE) for _ in range(N)]


def stacked(mixtures: list[Mixture], name: str):
    name = "full_covariances" if name == "covariances" else name
    return np.stack([getattr(mixture, name) for mixture in mixtures])


def full(mixtures: list[Mixture], **settings) -> Draws:
    """Draws made of full covariances."""
    arrays = (stacked(mixtures, name) for name in ("weights", "means", "covariances"))
    return Draws(*arrays, family=mixtures[0].family, **settings)


def narrow(mixtures: list[Mixture]) -> Draws:
    """Draws made of factors."""
    arrays = (stacked(mixtures, name) for name in ("weights", "means", "factors"))
    return Draws.of_factors(*arrays, family=mixtures[0].family)


def assert_same(draws: Draws, mixtures: list[Mixture]) -> None:
    for name in VIEWS:
        np.testing.assert_allclose(getattr(draws, name), stacked(mixtures, name), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("make", [full, narrow])
def test_views_are_those_of_each_mixture(mixtures, make):
    draws = make(mixtures)
    assert_same(draws, mixtures)
    assert len(draws) == N
    assert (draws.chain == -1).all()


def test_compact_covariances_are_made_when_they_are_asked_for(mixtures):
    draws = narrow(mixtures)
    assert draws[:2].log_scale.shape == (2, 3)
    assert "compact" not in vars(draws)
    assert draws.compact is draws.compact


@pytest.mark.parametrize("make", [full, narrow])
def test_diagonal_covariances_are_held_as_variances(mixtures, make):
    draws, diagonal = make(mixtures), mixtures[0].family.diagonal
    assert diagonal == (not np.triu(mixtures[0].full_covariances, 1).any())
    assert draws.compact.ndim == (3 if diagonal else 4)
    again = Draws(draws.weights, draws.means, draws.compact, family=draws.family)
    assert_same(again, mixtures)


@pytest.mark.parametrize("make", [full, narrow])
def test_entries_means_and_permutations_are_those_of_full_matrices(mixtures, make, monkeypatch):
    draws, every = make(mixtures), stacked(mixtures, "covariances")
    rows, columns = np.tril_indices(every.shape[-1])
    k = np.arange(3)[:, None]
    np.testing.assert_allclose(draws.entries(k, rows, columns), every[:, k, rows, columns], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(draws.variances, np.diagonal(every, axis1=-2, axis2=-1), rtol=1e-12)
    np.testing.assert_allclose(draws.average[2], every.mean(axis=0), rtol=1e-12, atol=1e-13)
    monkeypatch.setattr(bayesgmm.mixture.draws, "_AT_ONCE", 2 * every[0].size)
    assert [len(part) for part in draws.parts()] == [2] * (N // 2)
    np.testing.assert_array_equal(draws.order_like(mixtures[0]), align_to(mixtures[0], *draws.arrays))


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("make", [full, narrow])
def test_components_and_draws_in_other_orders(mixtures, make, warm):
    draws = make(mixtures)
    if warm:
        assert_same(draws, mixtures)  # and the views are kept
    order = np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1], [1, 2, 0], [2, 0, 1]])
    moved = [mixture.permute(own) for mixture, own in zip(mixtures, order, strict=True)]
    assert_same(draws.reordered(order), moved)
    some = np.array([4, 0, 5])
    assert_same(draws.reordered(order)[some], [moved[s] for s in some])
    assert draws.reordered(np.asfortranarray(order)).means.flags.c_contiguous


def test_chains_end_to_end(mixtures):
    draws = full(mixtures)
    by_chain = Draws(*(values.reshape(2, 3, *values.shape[1:]) for values in draws.arrays), family=draws.family)
    flat = by_chain.end_to_end(first=4)
    assert_same(flat, mixtures)
    assert flat.chain.tolist() == [4, 4, 4, 5, 5, 5]


def test_sets_are_joined(mixtures):
    one, other = full(mixtures[:2], chain=np.array([0, 1])), narrow(mixtures[2:])
    both = Draws.joined([one, other])
    assert_same(both, mixtures)
    assert both.chain.tolist() == [0, 1, -1, -1, -1, -1]
    assert Draws.joined([one]) is one
