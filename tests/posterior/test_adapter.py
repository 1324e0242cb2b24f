"""Posteriors of other people's mixtures, laid out as ours."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from arviz_base import extract, from_dict

from bayesgmm.exceptions import InputError
from bayesgmm.inference.engine_pymc import INTERPRETED
from bayesgmm.posterior.adapter import data_of, mixture_posterior

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
    assert data_of(tree).shape == (4, D)
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
        ({"w": np.full((CHAINS, DRAWS, K), np.log(1 / K))}, {**NAMES, "covariances": "cov"}, "logarithms"),
        ({"w": np.full((CHAINS, DRAWS), 0.3)}, {**NAMES, "covariances": "cov"}, r"stack p and 1 - p"),
        ({"w": np.full(K, 1 / K)}, {**NAMES, "covariances": "cov"}, r'names=\{"weights": \[0.5, 0.5\]\}'),
        ({"mu": np.full((CHAINS, DRAWS, K, D), np.nan)}, {**NAMES, "covariances": "cov"}, "mu without missing"),
        ({"mu": np.ma.masked_less(np.zeros((CHAINS, DRAWS, K, D)), 1)}, {**NAMES, "sds": "sd"}, "mu without missing"),
        ({"mu": [np.zeros((5, K, D)), np.zeros((4, K, D))]}, {**NAMES, "sds": "sd"}, "unequal length"),
        ({"sd": np.ones((CHAINS, DRAWS - 1, K, D))}, {**NAMES, "sds": "sd"}, "same chains and draws in all"),
        ({"mu": np.zeros((CHAINS, DRAWS, D, K))}, {**NAMES, "sds": "sd"}, "order .chain, draw, cluster, feature"),
        ({"mu": "text"}, {**NAMES, "sds": "sd"}, "means with axes"),
        ({"chol": np.ones((CHAINS, DRAWS, K, D, D))}, {**NAMES, "cholesky": "chol"}, "triangular chol"),
        ({}, {**NAMES, "cholesky": "chol", "sds": "sd"}, "correlations of diagonal one from chol"),
        ({}, {**NAMES, "correlations": "cov"}, "one of"),
        ({}, {**NAMES, "covariances": "sigma"}, "Give its name"),
    ],
)
def test_what_does_not_fit_is_named(change, names, message):
    draws = their_draws(np.random.default_rng(5)) | change
    with pytest.raises(InputError, match=message):
        mixture_posterior(draws, names=names)


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("mu", (1, 2, 0, 1), np.nan, "got such values in 1 of 5 draws of chain 1. These are draws, not rows"),
        ("sd", (0, 3, 2, 0), -0.1, "Expected sd above zero; got others in 1 of 5 draws of chain 0"),
        ("w", (1, 4, 0), 1.5, "that sum to one; got sums as .* in 1 of 5 draws of chain 1"),
        ("cov", (0, 1, 1, 0, 1), 7.0, "symmetric cov; got others in 1 of 5 draws of chain 0"),
        (
            "cov",
            (0, 1, 1),
            np.array([[1.0, 2.0], [2.0, 1.0]]),
            "positive definite cov; got others in 1 of 5 draws of chain 0",
        ),
        ("prec", (1, 0, 2), np.ones((2, 2)), "positive definite prec; got others in 1 of 5 draws of chain 1"),
        ("chol", (1, 1, 2, 0, 0), 0.0, "zeros on the diagonal; got others in 1 of 5 draws of chain 1"),
    ],
)
def test_draws_at_fault_are_counted_by_chain(name, at, value, message):
    draws = their_draws(np.random.default_rng(7))
    draws[name][at] = value
    kind = {"sd": "sds", "prec": "precisions", "chol": "cholesky"}.get(name, "covariances")
    with pytest.raises(InputError, match=message):
        mixture_posterior(draws, names={**NAMES, kind: name if kind != "covariances" else "cov"})


# ---- which axis is which


ALL = {**NAMES, "covariances": "cov"}


def named(draws, **dims):
    return xr.Dataset({name: (("chain", "draw", *dims[name]), draws[name]) for name in dims})


@pytest.mark.parametrize("order", ["fkg", "gfk", "kgf"])
@pytest.mark.parametrize("cluster", ["component", "k", "group", "obs"])
@pytest.mark.parametrize("n_clusters", [D, K])
def test_names_decide_whatever_the_order(n_clusters, cluster, order):
    """Also with as many clusters as features, and with any name of the dimension that the weights have."""
    draws = {name: values[:, :, :n_clusters] for name, values in their_draws(np.random.default_rng(8)).items()}
    draws["w"] = draws["w"] / draws["w"].sum(axis=2, keepdims=True)
    cov = ("chain", "draw", cluster, "outcome", "outcome_bis")
    dataset = named(draws, w=cov[2:3], mu=cov[2:4], cov=cov[2:], chol=cov[2:], sd=cov[2:4])
    letters = dict(zip("kfg", cov[2:], strict=True))
    moved = dataset.transpose(*(letters[letter] for letter in order), "draw", "chain")
    want = mixture_posterior(draws, names=ALL)["posterior"]
    assert mixture_posterior(moved, names=ALL)["posterior"].identical(want)
    got = mixture_posterior(moved, names={**NAMES, "cholesky": "chol"})["posterior"]["covariances"]
    np.testing.assert_allclose(got, want["covariances"], rtol=1e-9)
    got = mixture_posterior(moved, names={**NAMES, "sds": "sd"})["posterior"]["covariances"]
    np.testing.assert_allclose(got, draws["sd"][..., None] ** 2 * np.eye(D))


def test_shared_scales_of_features_are_told_from_those_of_clusters_by_name():
    draws = {name: values[:, :, :D] for name, values in their_draws(np.random.default_rng(9)).items()}
    draws["w"] = draws["w"] / draws["w"].sum(axis=2, keepdims=True)
    draws["sd"] = draws["sd"][:, :, 0]
    names = {**NAMES, "sds": "sd"}
    by_feature, by_cluster = (
        np.diagonal(mixture_posterior(tree, names=names)["posterior"]["covariances"], axis1=-2, axis2=-1)
        for tree in (named(draws, w=("k",), mu=("k", "j"), sd=("j",)), named(draws, w=("k",), mu=("k", "j"), sd=("k",)))
    )
    np.testing.assert_allclose(by_feature, np.broadcast_to(draws["sd"][:, :, None] ** 2, draws["mu"].shape))
    np.testing.assert_allclose(by_cluster, np.broadcast_to(draws["sd"][:, :, :, None] ** 2, draws["mu"].shape))
    by_order = mixture_posterior(draws, names=names)["posterior"]["covariances"]
    np.testing.assert_array_equal(np.diagonal(by_order, axis1=-2, axis2=-1), by_cluster)


def test_names_that_leave_open_which_is_the_clusters_are_refused():
    draws = {name: values[:, :, :D] for name, values in their_draws(np.random.default_rng(10)).items()}
    draws["w"] = draws["w"] / draws["w"].sum(axis=2, keepdims=True)
    names = {**NAMES, "sds": "sd"}
    for dims in ({"w": ("k",), "mu": ("a", "b")}, {"w": ("w_dim_0",), "mu": ("a", "b")}):
        with pytest.raises(InputError, match="dimensions of mu that say which one"):
            mixture_posterior(named(draws, **dims, sd=("a", "b")), names=names)
    made_up = named(draws, w=("k",), mu=("mu_dim_0", "mu_dim_1"), sd=("sd_dim_0", "sd_dim_1"))
    want = mixture_posterior(draws, names=names)["posterior"]
    assert mixture_posterior(made_up, names=names)["posterior"].identical(want)
    one_named = named(draws, w=("k",), mu=("mu_dim_0", "outcome"), sd=("outcome", "k"))
    got = mixture_posterior(one_named, names=names)["posterior"]
    np.testing.assert_array_equal(got["means"], draws["mu"])
    np.testing.assert_allclose(got["covariances"][..., 0, 0], draws["sd"][:, :, 0] ** 2)


# ---- pieces, constants, containers


def test_correlations_with_scales_and_their_factors_are_taken():
    draws = their_draws(np.random.default_rng(11))
    sds = np.sqrt(np.diagonal(draws["cov"], axis1=-2, axis2=-1))
    correlations = draws["cov"] / sds[..., :, None] / sds[..., None, :]
    factors = draws["chol"] / sds[..., None]
    rows, columns = np.tril_indices(D)
    pieces = {"s": sds, "v": sds**2, "R": correlations, "L": factors, "packed": draws["chol"][..., rows, columns]}
    pieces["upper"] = np.swapaxes(draws["chol"], -1, -2)
    for own in ({"correlations": "R", "sds": "s"}, {"correlations": "R", "variances": "v"}, {"cholesky": "packed"},
                {"cholesky": "L", "sds": "s"}, {"cholesky": "upper"}):  # fmt: skip
        got = mixture_posterior(draws | pieces, names=NAMES | own)["posterior"]["covariances"]
        np.testing.assert_allclose(got, draws["cov"], rtol=1e-9, err_msg=f"{own}")
    shared = {"R": correlations[:, :, 0], "s": sds}
    got = mixture_posterior(draws | shared, names={**NAMES, "correlations": "R", "sds": "s"})["posterior"]
    want = correlations[:, :, :1] * sds[..., :, None] * sds[..., None, :]
    np.testing.assert_allclose(got["covariances"], want)
    got = mixture_posterior(draws | {"c": pieces["packed"][:, :, 0]}, names={**NAMES, "cholesky": "c"})["posterior"]
    np.testing.assert_allclose(got["covariances"], np.broadcast_to(draws["cov"][:, :, :1], draws["cov"].shape))


def test_a_packed_factor_is_read_as_pymc_packs_it():
    packed = np.arange(1.0, 7.0)
    factor = pm.math.expand_packed_triangular(3, packed, lower=True).eval(mode=INTERPRETED)
    draws = {"w": np.ones((1, 2, 1)), "mu": np.zeros((1, 2, 1, 3)), "chol": np.tile(packed, (1, 2, 1, 1))}
    got = mixture_posterior(draws, names={**NAMES, "cholesky": "chol"})["posterior"]["covariances"]
    np.testing.assert_allclose(got[0, 0, 0], factor @ factor.T)


def test_what_is_fixed_is_given_in_place_of_a_name():
    draws = their_draws(np.random.default_rng(12))
    fixed = {"means": "mu", "weights": [0.2, 0.3, 0.5], "sds": 2.0}
    for given in (draws, from_dict({"posterior": draws}), {"mu": draws["mu"][0]}):
        got = mixture_posterior(given, names=fixed)["posterior"]
        np.testing.assert_array_equal(got["weights"], np.broadcast_to([0.2, 0.3, 0.5], got["weights"].shape))
        np.testing.assert_array_equal(got["covariances"], np.broadcast_to(4 * np.eye(D), got["covariances"].shape))
        np.testing.assert_array_equal(got["means"], draws["mu"][: got.sizes["chain"]])
    with pytest.raises(InputError, match=r"names\['weights'\] that sum to one"):
        mixture_posterior(draws, names={**fixed, "weights": np.ones(K)})
    with pytest.raises(InputError, match="means with axes"):
        mixture_posterior(draws, names={**fixed, "weights": [0.5, 0.5]})


def test_containers_of_draws():
    draws = their_draws(np.random.default_rng(13))
    tree = from_dict({"posterior": draws})
    dataset = tree["posterior"].to_dataset()
    want = mixture_posterior(draws, names=ALL)["posterior"]
    inference_data = SimpleNamespace(posterior=dataset, groups=lambda: ["posterior"])  # of ArviZ before version 1
    arrays = {name: variable.drop_vars(variable.coords) for name, variable in dataset.items()}
    for given in (tree, dataset, xr.DataTree(dataset), inference_data, {"posterior": draws}, arrays):
        assert mixture_posterior(given, names=ALL)["posterior"].identical(want)


def test_a_posterior_of_ours_in_another_order_is_put_right():
    tree = mixture_posterior(their_draws(np.random.default_rng(14)), np.zeros((4, D)), names=ALL)
    moved = tree.copy()
    moved["posterior"] = xr.DataTree(tree["posterior"].to_dataset().transpose("feature", "cluster", "draw", ...))
    assert mixture_posterior(moved).identical(tree)
    with pytest.raises(InputError, match="Keep all dimensions"):
        mixture_posterior(tree.isel(chain=0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "mapping of arrays"),
        (pd.DataFrame({"mu[1]": [0.0], "mu[2]": [1.0]}), r'np.stack\(\[frame\["mu\[1\]"\]'),
        ("posterior.nc", "Read the file first"),
        (SimpleNamespace(draws_xr=None), "from_cmdstanpy"),
        (SimpleNamespace(get_samples=None), "from_numpyro"),
        (extract(from_dict({"posterior": their_draws(np.random.default_rng(0))})), "combined=False"),
        (
            from_dict({"posterior": their_draws(np.random.default_rng(0))})["posterior"].to_dataset().isel(chain=0),
            "isel",
        ),
        (
            from_dict({"posterior": their_draws(np.random.default_rng(0))})["posterior"].to_dataset().isel(draw=[]),
            "one draw",
        ),
        (
            {"w": np.ones((2, 5, 2)) / 2, "mu_0": np.zeros((2, 5)), "mu_1": np.zeros((2, 5))},
            "Stack single components first",
        ),
    ],
)
def test_what_holds_no_draws_of_this_form_is_told_how_to(given, message):
    with pytest.raises(InputError, match=message):
        mixture_posterior(given, names=ALL)


def test_neither_draws_nor_rows_are_guessed():
    draws = their_draws(np.random.default_rng(6))
    tree = mixture_posterior(draws, names={**NAMES, "covariances": "cov"})
    with pytest.raises(InputError, match="rows X"):
        data_of(tree)
    with pytest.raises(InputError, match="features"):
        data_of(tree, np.zeros((3, D + 1)))
