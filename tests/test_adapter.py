"""Posteriors of other people's mixtures, laid out as ours."""

import numpy as np
import pytest
import xarray as xr

from bayesgmm.bayes.adapter import mixture_posterior, rows_of
from bayesgmm.words.errors import InputError

CHAINS, DRAWS, K, D = 2, 5, 3, 2


def their_draws(rng):
    root = rng.normal(size=(CHAINS, DRAWS, K, D, D))
    covariances = root @ np.swapaxes(root, -1, -2) + np.eye(D)
    return {
        "w": rng.dirichlet(np.ones(K), (CHAINS, DRAWS)),
        "mu": rng.normal(size=(CHAINS, DRAWS, K, D)),
        "cov": covariances,
        "chol": np.linalg.cholesky(covariances),
        "prec": np.linalg.inv(covariances),
        "sd": np.exp(rng.normal(size=(CHAINS, DRAWS, K, D))),
    }


NAMES = {"weights": "w", "means": "mu"}


@pytest.mark.parametrize(("kind", "name"), [("covariances", "cov"), ("cholesky", "chol"), ("precisions", "prec")])
def test_matrices_of_any_kind_give_covariances(kind, name):
    draws = their_draws(np.random.default_rng(0))
    tree = mixture_posterior(draws, names={**NAMES, kind: name})
    np.testing.assert_allclose(tree["posterior"]["covariances"], draws["cov"], rtol=1e-9)
    np.testing.assert_array_equal(tree["posterior"]["means"], draws["mu"])
    np.testing.assert_array_equal(tree["posterior"]["weights"], draws["w"])


def test_scales_stand_on_the_diagonal():
    draws = their_draws(np.random.default_rng(1))
    got = mixture_posterior(draws, names={**NAMES, "sds": "sd"})["posterior"]["covariances"].to_numpy()
    np.testing.assert_allclose(got, draws["sd"][..., None] ** 2 * np.eye(D))
    shared = mixture_posterior(draws | {"sd": draws["sd"][:, :, 0]}, names={**NAMES, "variances": "sd"})
    want = draws["sd"][:, :, :1, :, None] * np.eye(D)
    np.testing.assert_allclose(shared["posterior"]["covariances"], np.broadcast_to(want, draws["cov"].shape))


def test_one_feature_needs_no_feature_axis():
    rng = np.random.default_rng(2)
    draws = {"w": rng.dirichlet(np.ones(K), (4, 7)), "mu": rng.normal(size=(4, 7, K)), "tau": rng.random((4, 7, K)) + 1}
    tree = mixture_posterior(draws, names={**NAMES, "precisions": "tau"})
    np.testing.assert_allclose(tree["posterior"]["covariances"].to_numpy()[..., 0, 0], 1 / draws["tau"])
    one_sd = mixture_posterior(draws | {"tau": draws["tau"][..., 0]}, names={**NAMES, "sds": "tau"})
    want = np.broadcast_to(draws["tau"][..., :1] ** 2, (4, 7, K))
    np.testing.assert_allclose(one_sd["posterior"]["covariances"].to_numpy()[..., 0, 0], want)


def test_arrays_without_chains_are_one_chain():
    draws = {name: values[0] for name, values in their_draws(np.random.default_rng(3)).items()}
    draws["lp"] = np.zeros(DRAWS)
    tree = mixture_posterior(draws, names={**NAMES, "covariances": "cov"})
    assert tree["posterior"].sizes["chain"] == 1
    np.testing.assert_array_equal(tree["posterior"]["means"][0], draws["mu"])


def test_a_data_tree_with_any_dimension_names_and_order():
    draws = their_draws(np.random.default_rng(4))
    arrays = {
        "w": xr.DataArray(np.moveaxis(draws["w"], 2, 0), dims=("w_dim_0", "chain", "draw")),
        "mu": xr.DataArray(draws["mu"], dims=("chain", "draw", "mu_dim_0", "mu_dim_1")),
        "cov": xr.DataArray(draws["cov"], dims=("chain", "draw", "a", "b", "c")),
    }
    lp = xr.Dataset({"lp": (("chain", "draw"), np.zeros((CHAINS, DRAWS)))})
    theirs = xr.DataTree.from_dict({"posterior": xr.Dataset(arrays), "sample_stats": lp})
    names = {**NAMES, "covariances": "cov"}
    tree = mixture_posterior(theirs, np.zeros((4, D)), names=names)
    np.testing.assert_array_equal(tree["posterior"]["weights"], draws["w"])
    assert tree["sample_stats"]["lp"].shape == (CHAINS, DRAWS)
    assert rows_of(tree).shape == (4, D)
    assert dict(mixture_posterior(xr.Dataset(arrays), names=names)["posterior"].sizes) == dict(tree["posterior"].sizes)


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        ({}, {}, "a variable 'weights'"),
        ({}, {**NAMES, "covariances": "cov", "sds": "sd"}, "one of"),
        ({}, {**NAMES, "sigmas": "sd"}, "one of"),
        ({"mu": np.zeros((CHAINS, DRAWS, K + 1, D))}, {**NAMES, "covariances": "cov"}, "means with axes"),
        ({"cov": np.zeros((CHAINS, DRAWS, K, D, D))}, {**NAMES, "covariances": "cov"}, "positive diagonal"),
        ({"cov": np.ones((CHAINS, DRAWS, K, D + 1, D))}, {**NAMES, "covariances": "cov"}, "that fit means"),
        ({"w": np.ones((CHAINS, DRAWS, K))}, {**NAMES, "covariances": "cov"}, "sum to one"),
        ({"mu": np.full((CHAINS, DRAWS, K, D), np.nan)}, {**NAMES, "covariances": "cov"}, "mu without missing"),
    ],
)
def test_what_does_not_fit_is_named(change, names, message):
    draws = their_draws(np.random.default_rng(5)) | change
    with pytest.raises(InputError, match=message):
        mixture_posterior(draws, names=names)


def test_neither_draws_nor_rows_are_guessed():
    with pytest.raises(InputError, match="mapping of arrays"):
        mixture_posterior(3)
    draws = their_draws(np.random.default_rng(6))
    tree = mixture_posterior(draws, names={**NAMES, "covariances": "cov"})
    with pytest.raises(InputError, match="rows X"):
        rows_of(tree)
    with pytest.raises(InputError, match="features"):
        rows_of(tree, np.zeros((3, D + 1)))
