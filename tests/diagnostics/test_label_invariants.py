"""Label-invariant quantities, against plain NumPy and against permutations of the components of every draw."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pretend_posterior import em_fit, pretend_posterior
from reference import FAMILIES, load_data

from bayesgmm.diagnostics import label_invariants as module
from bayesgmm.diagnostics.label_invariants import anchor_rows, invariants, row_pairs
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.posterior.tree import in_family

FRAME = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
X = FRAME.to_numpy(dtype=float)


@pytest.fixture(scope="module", params=FAMILIES)
def tree(request):
    return pretend_posterior(FRAME, em_fit(FRAME, 3, request.param), chains=2, draws=12)


def mixture_of(tree, chain: int, draw: int) -> Mixture:
    own = tree["posterior"].to_dataset().isel(chain=chain, draw=draw)
    full = Mixture(*(own[name].to_numpy() for name in ("weights", "means", "covariances")), "full")
    return in_family(full, covariance_family(tree.attrs["covariance_type"]))


def test_every_quantity_against_plain_numpy(tree):
    found = invariants(tree, n_anchors=3, n_pairs=5)
    pairs = np.array([[int(i) for i in pair.split(", ")] for pair in found["pair"].to_numpy()])
    for chain, draw in np.ndindex(2, 12):
        mixture, got = mixture_of(tree, chain, draw), found.isel(chain=chain, draw=draw)
        log_density, resp = mixture.log_prob(X), mixture.responsibilities(X)
        expected = {
            "log_likelihood": log_density.sum(),
            "log_density": log_density[found["anchor"].to_numpy()],
            "weight": np.sort(mixture.weights)[::-1],
            "count": np.sort(resp.sum(axis=0))[::-1],
            "entropy": -np.where(resp > 0, resp * np.log(np.maximum(resp, 1e-300)), 0.0).sum() / len(X),
            "co_clustering": (resp[pairs[:, 0]] * resp[pairs[:, 1]]).sum(axis=1),
            "lp": tree["sample_stats"]["lp"].to_numpy()[chain, draw],
        }
        assert set(found.data_vars) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(got[name].to_numpy(), values, rtol=1e-9, atol=1e-12, err_msg=name)


def permuted(tree, rng) -> xr.DataTree:
    """The same draws, the components of each in an order of its own."""
    draws = tree["posterior"].to_dataset()
    order = rng.permuted(np.tile(np.arange(3), (2, 12, 1)), axis=2)
    arrays = {}
    for name, variable in draws.items():
        index = order.reshape(*order.shape, *(1,) * (variable.ndim - 3))
        arrays[name] = (variable.dims, np.take_along_axis(variable.to_numpy(), index, axis=2))
    result = tree.copy()
    result["posterior"] = xr.DataTree(draws.assign(arrays))
    return result


def test_permutations_of_components_change_no_bit(tree):
    other = permuted(tree, np.random.default_rng(0))
    assert not other["posterior"]["means"].equals(tree["posterior"]["means"])
    xr.testing.assert_identical(invariants(other), invariants(tree))


def test_ties_in_weights_are_no_exception():
    draws = {"weights": np.full((1, 6, 2), 0.5), "means": np.tile([[2.0, 2.0]], (1, 6, 1))}
    sds = np.tile([[1.0, 3.0]], (1, 6, 1))
    sds[0, ::2] = sds[0, ::2, ::-1]
    found = invariants({**draws, "sds": sds}, X[:, :1], names={"sds": "sds"})
    for name, variable in found.items():
        assert (np.ptp(variable.to_numpy(), axis=1) == 0.0).all(), name


def test_rows_in_blocks_add_up(tree, monkeypatch):
    whole = invariants(tree)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 50)
    xr.testing.assert_allclose(invariants(tree), whole, rtol=1e-11)


def test_anchors_lie_apart_and_are_always_the_same():
    clouds = np.concatenate([np.random.default_rng(1).normal(centre, 0.1, (40, 2)) for centre in (0, 10, 20, 30)])
    anchors = anchor_rows(clouds, 4)
    assert sorted(anchors // 40) == [0, 1, 2, 3]
    np.testing.assert_array_equal(anchors, anchor_rows(clouds * 7.0, 4))


@pytest.mark.parametrize("rows", [np.ones((5, 2)), np.ones((1, 1)), np.repeat([[0.0, 1.0], [2.0, 1.0]], 4, axis=0)])
def test_there_are_no_more_anchors_than_different_rows(rows):
    assert len(anchor_rows(rows, 4)) == len(np.unique(rows, axis=0))


@pytest.mark.parametrize(("n_rows", "n_pairs", "expected"), [(272, 8, 8), (2, 8, 1), (1, 8, 0), (100, 0, 0)])
def test_pairs_are_different_rows_and_all_different(n_rows, n_pairs, expected):
    pairs = row_pairs(n_rows, n_pairs)
    assert pairs.shape == (expected, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.max(initial=0) < n_rows
    assert len(np.unique(pairs, axis=0)) == expected
    np.testing.assert_array_equal(pairs, row_pairs(n_rows, n_pairs))


def test_without_anchors_pairs_and_log_posterior_there_are_fewer_variables():
    draws = {"weights": np.full((1, 6, 2), 0.5), "means": np.zeros((1, 6, 2)), "sds": np.ones((1, 6, 2))}
    found = invariants(draws, X[:, :1], names={"sds": "sds"}, n_anchors=0, n_pairs=0)
    assert set(found.data_vars) == {"log_likelihood", "weight", "count", "entropy"}


def test_numbers_below_zero_are_refused(tree):
    with pytest.raises(InputError, match="n_anchors and n_pairs of at least 0; got -1 and 8"):
        invariants(tree, n_anchors=-1)
