"""Relabelling of posteriors, ours and other people's: what is permuted, what is kept, and that it can be undone."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from arviz_base import from_dict
from pretend_posterior import em_fit, pretend_posterior

from bayesgmm import BayesianGaussianMixture, Prior, compare_relabellings, component_summary, relabel, restore_labels
from bayesgmm.data import Data
from bayesgmm.datasets import load_galaxies, load_old_faithful
from bayesgmm.exceptions import InputError, LabelWarning, NotIdentifiedError
from bayesgmm.label_switching.methods import METHODS
from bayesgmm.label_switching.relabel_draws import relabelling
from bayesgmm.label_switching.search import Memberships
from bayesgmm.posterior.tree import draws_of, prior_to_json

CHAINS, DRAWS, K, D = 2, 30, 3, 2
CENTRES = np.array([[-6.0, 0.0], [0.0, 5.0], [6.0, -1.0]])
NAMES = {"weights": "w", "means": "mu", "sds": "sigma"}


@pytest.fixture(name="X")
def rows():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(c, 1.0, (30, D)) for c in CENTRES])


@pytest.fixture
def theirs():
    """Somebody's draws in random labels: arrays, and what they are in the order of the first feature."""
    rng = np.random.default_rng(1)
    order = rng.permuted(np.broadcast_to(np.arange(K), (CHAINS, DRAWS, K)), axis=2)
    straight = {
        "w": rng.dirichlet([100.0] * K, (CHAINS, DRAWS)),
        "mu": CENTRES + rng.normal(0, 0.1, (CHAINS, DRAWS, K, D)),
        "sigma": np.exp(rng.normal(0, 0.1, (CHAINS, DRAWS, K, D))),
    }
    moved = {
        name: values[np.arange(CHAINS)[:, None, None], np.arange(DRAWS)[:, None], order]
        for name, values in straight.items()
    }
    return moved, straight, order


@pytest.fixture
def their_tree(theirs):
    """The same as PyMC would give it, its axes in an odd order, with more variables and groups."""
    moved, _, _ = theirs
    rng = np.random.default_rng(2)
    arrays = {
        "w": xr.DataArray(np.moveaxis(moved["w"], 2, 0), dims=("w_dim_0", "chain", "draw")),
        "mu": xr.DataArray(moved["mu"], dims=("chain", "draw", "mu_dim_0", "mu_dim_1")),
        "sigma": xr.DataArray(moved["sigma"], dims=("chain", "draw", "w_dim_0", "sigma_dim_1")),
        "log_w": xr.DataArray(np.log(moved["w"]), dims=("chain", "draw", "w_dim_0")),
        "alpha": xr.DataArray(rng.normal(size=(CHAINS, DRAWS)), dims=("chain", "draw")),
        "other": xr.DataArray(rng.normal(size=(CHAINS, DRAWS, K)), dims=("chain", "draw", "other_dim_0")),
    }
    lp = xr.Dataset({"lp": (("chain", "draw"), rng.normal(size=(CHAINS, DRAWS)))})
    seen = xr.Dataset({"likelihood": (("chain", "draw", "obs"), rng.normal(size=(CHAINS, DRAWS, 4)))})
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(arrays), "sample_stats": lp, "log_likelihood": seen})
    tree.attrs = {"inference_library": "pymc"}
    return tree


@pytest.fixture(scope="module")
def ours():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(np.concatenate([rng.normal(c, 1.0, (40, D)) for c in CENTRES]), columns=["width", "height"])
    tree = pretend_posterior(frame, em_fit(frame, K), draws=DRAWS)
    tree.attrs["prior"] = prior_to_json(Prior.weakly_informative(frame.to_numpy()))
    return tree


def in_random_labels(tree, seed=0):
    """A fit's tree whose sampler switched labels, with the permutations of the aligned draws."""
    rng = np.random.default_rng(seed)
    moved = tree.copy()
    draws = tree["posterior"].to_dataset()
    order = rng.permuted(np.broadcast_to(np.arange(K), draws["weights"].shape), axis=2)
    for name in ("weights", "means", "covariances"):
        index = order.reshape(*order.shape, *(1,) * (draws[name].ndim - 3))
        draws[name] = draws[name].copy(data=np.take_along_axis(draws[name].to_numpy(), index, axis=2))
    moved["posterior"] = xr.DataTree(draws)
    return moved, order


# ---- what comes back


@pytest.mark.parametrize("method", METHODS)
def test_arrays_come_back_in_order(method, theirs, X):
    moved, straight, order = theirs
    tree = relabel(moved, X, method=method, names=NAMES)
    np.testing.assert_array_equal(tree["posterior"]["weights"], straight["w"])
    np.testing.assert_array_equal(tree["posterior"]["means"], straight["mu"])
    np.testing.assert_array_equal(tree["posterior"]["covariances"][..., 0, 0], straight["sigma"][..., 0] ** 2)
    np.testing.assert_array_equal(tree["sample_stats"]["permutation"], order.argsort(axis=2))
    assert (tree["sample_stats"]["label_margin"] > 3.0).all()
    assert relabelling(tree).identified


def test_their_tree_keeps_its_names_and_everything_else(their_tree, theirs, X):
    _, straight, _ = theirs
    before = their_tree.copy(deep=True)
    with pytest.warns(LabelWarning, match="components: other"):
        tree = relabel(their_tree, X, names=NAMES)
    assert their_tree.identical(before)
    got = tree["posterior"]
    np.testing.assert_array_equal(got["w"], np.moveaxis(straight["w"], 2, 0))
    np.testing.assert_array_equal(got["log_w"], np.log(straight["w"]))
    np.testing.assert_array_equal(got["mu"], straight["mu"])
    np.testing.assert_array_equal(got["sigma"], straight["sigma"])
    for name in ("alpha", "other"):
        assert got[name].identical(before["posterior"][name])
    assert {name: v.dims for name, v in got.items()} == {name: v.dims for name, v in before["posterior"].items()}
    assert tree["log_likelihood"].identical(before["log_likelihood"])
    assert tree["sample_stats"]["lp"].identical(before["sample_stats"]["lp"])
    assert tree.attrs["inference_library"] == "pymc"


@pytest.mark.parametrize("kind", ["tree", "dataset", "tree without groups"])
def test_labels_are_restored_to_the_bit(kind, their_tree, X):
    given = {
        "tree": their_tree,
        "dataset": their_tree["posterior"].to_dataset(),
        "tree without groups": xr.DataTree(their_tree["posterior"].to_dataset()),
    }[kind]
    relabelled = relabel(given, X, names=NAMES, variables=["other"])
    back = restore_labels(relabel(relabelled, X, method="pra", names=NAMES))
    want = their_tree if kind == "tree" else xr.DataTree.from_dict({"posterior": their_tree["posterior"].to_dataset()})
    assert back.identical(want)
    with pytest.raises(InputError, match="relabel"):
        restore_labels(back)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_is_relabelled_again_and_restored_to_the_bit(method, ours):
    moved, order = in_random_labels(ours)
    moved["sample_stats"] = xr.DataTree(
        moved["sample_stats"].to_dataset().assign(permutation=(("chain", "draw", "cluster"), order))
    )
    once = relabel(moved, method=method)
    again = relabel(once, method=method)
    assert again["posterior"].identical(once["posterior"])
    assert (
        again["sample_stats"]
        .to_dataset()
        .drop_vars("label_margin")
        .identical(once["sample_stats"].to_dataset().drop_vars("label_margin"))
    )
    assert restore_labels(again).identical(moved)
    total = once["sample_stats"]["permutation"].to_numpy()
    np.testing.assert_array_equal(once["posterior"]["weights"], _taken(moved, _new(order, total)))


def _new(given, total):
    """What was done to draws that had been permuted by ``given``, if ``total`` is their permutation now."""
    return np.take_along_axis(given.argsort(axis=2), total, axis=2)


def _taken(tree, order):
    return np.take_along_axis(tree["posterior"]["weights"].to_numpy(), order, axis=2)


@pytest.mark.draws
def test_labels_of_a_fit_follow_its_em_solution(ours):
    moved, _ = in_random_labels(ours)
    tree = relabel(moved)
    np.testing.assert_allclose(
        tree["posterior"]["means"].mean(("chain", "draw")), ours["constant_data"]["em_means"], atol=0.3
    )
    assert tree["posterior"].identical(ours["posterior"])


def test_ordering_by_name_index_and_weight(ours):
    by_name = relabel(ours, method="ordering", by="height")
    assert (by_name["posterior"]["means"].sel(feature="height").diff("cluster") > 0).all()
    assert by_name["posterior"].identical(relabel(ours, method="ordering", by=1)["posterior"])
    assert (relabel(ours, method="ordering", by="weight")["posterior"]["weights"].diff("cluster") > 0).all()


def test_wasserstein_and_kl_agree_where_clusters_are_apart(theirs, X):
    trees = [
        relabel(theirs[0], X, method="optimal-assignment", names=NAMES, divergence=d) for d in ("kl", "wasserstein")
    ]
    assert trees[0]["posterior"].identical(trees[1]["posterior"])


def test_one_feature_one_scale_for_all():
    rng = np.random.default_rng(4)
    X = np.concatenate([rng.normal(-4, 1, 30), rng.normal(4, 1, 30)])[:, None]
    mu = rng.permuted(np.array([-4.0, 4.0]) + rng.normal(0, 0.2, (20, 2)), axis=1)
    tree = relabel({"w": np.full((20, 2), 0.5), "mu": mu, "s": np.ones(20)}, X, names=NAMES | {"sds": "s"})
    np.testing.assert_array_equal(tree["posterior"]["means"][0, ..., 0], np.sort(mu, axis=1))
    dims = {"w": ("chain", "draw", "k"), "mu": ("chain", "draw", "k2"), "s": ("chain", "draw")}
    arrays = {"w": np.full((1, 20, 2), 0.5), "mu": mu[None], "s": np.ones((1, 20))}
    dataset = xr.Dataset({name: (dims[name], values) for name, values in arrays.items()})
    np.testing.assert_array_equal(
        relabel(dataset, X, names=NAMES | {"sds": "s"})["posterior"]["mu"][0], np.sort(mu, axis=1)
    )


def test_a_shared_covariance_is_left_alone(their_tree, X):
    shared = xr.DataArray(np.tile(np.diag([1.0, 2.0]), (CHAINS, DRAWS, 1, 1)), dims=("chain", "draw", "a", "b"))
    theirs = xr.DataTree.from_dict({"posterior": their_tree["posterior"].to_dataset().assign(cov=shared)})
    tree = relabel(theirs, X, names={"weights": "w", "means": "mu", "covariances": "cov"}, variables=["sigma", "other"])
    assert tree["posterior"]["cov"].identical(theirs["posterior"]["cov"])
    assert "cov" not in json.loads(tree.attrs["relabelling"])["variables"]


# ---- other variables of the components


def others(theirs):
    """More variables in their labels, and in straight ones."""
    moved, _, order = theirs
    rng = np.random.default_rng(11)
    beta = np.array([-1.0, 0.0, 1.0]) + rng.normal(0, 0.1, (CHAINS, DRAWS, K))
    loadings = rng.normal(size=(CHAINS, DRAWS, K, K))
    z = rng.integers(K, size=(CHAINS, DRAWS, 7))
    taken = np.arange(CHAINS)[:, None, None], np.arange(DRAWS)[:, None]
    old_z = np.take_along_axis(order.argsort(axis=2), z, axis=2)
    in_theirs = {"beta": beta[*taken, order], "loadings": np.swapaxes(loadings[*taken, order], 2, 3), "z": old_z}
    return moved | in_theirs, {"beta": beta, "loadings": np.swapaxes(loadings, 2, 3), "z": z}


@pytest.mark.parametrize("kind", ["arrays", "tree"])
def test_other_variables_of_the_components_go_along_when_asked_to(kind, theirs, X):
    moved, straight = others(theirs)
    given = moved if kind == "arrays" else from_dict({"posterior": moved})
    asked = {"beta": None, "loadings": 1, "z": None}
    tree = relabel(given, X, names=NAMES, variables=asked)
    for name, values in straight.items():
        np.testing.assert_array_equal(tree["posterior"][name], values, err_msg=name)
    again = relabel(tree, X, names=NAMES if kind == "tree" else {}, method="ordering", by="weight")
    back = restore_labels(again)["posterior"]
    for name in straight:
        np.testing.assert_array_equal(back[name], moved[name], err_msg=name)
    from_one = {**moved, "z": moved["z"] + 1}
    counted = relabel(from_one, X, names=NAMES, variables={"z": None, "loadings": "loadings_dim_1"})
    np.testing.assert_array_equal(counted["posterior"]["z"], straight["z"] + 1)
    np.testing.assert_array_equal(counted["posterior"]["loadings"], straight["loadings"])


def test_what_may_belong_to_the_components_and_is_left_is_named(theirs, X):
    moved, _ = others(theirs)
    with pytest.warns(LabelWarning, match=r"components: beta, loadings, z\. .*variables=\[\"beta\"\]"):
        tree = relabel(from_dict({"posterior": moved | {"lp": moved["w"][..., 0]}}), X, names=NAMES)
    for name in ("beta", "loadings", "z", "lp"):
        assert name in tree["posterior"]
    np.testing.assert_array_equal(tree["posterior"]["beta"], moved["beta"])
    with pytest.raises(InputError, match="restore_labels first"):
        relabel(tree, X, names=NAMES, variables="beta")
    named = from_dict(
        {"posterior": moved}, dims={"w": ["group"], "beta": ["group"], "z": ["obs"], "loadings": ["row", "col"]}
    )
    named["posterior"] = xr.DataTree(named["posterior"].to_dataset().drop_vars("z"))
    assert (relabel(named, X, names=NAMES)["posterior"]["beta"].diff("group") > 0).all()  # no warning: all have names


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (["gamma"], "variables among the draws"),
        (["loadings"], "an axis of loadings"),
        ({"loadings": 2}, "counted after chain and draw"),
        ({"z": 0}, "an axis of z"),
        (["lp"], "an axis of lp"),
    ],
)
def test_variables_that_cannot_be_relabelled_are_refused(variables, message, theirs, X):
    moved, _ = others(theirs)
    with pytest.raises(InputError, match=message):
        relabel(moved | {"lp": moved["w"][..., 0]}, X, names=NAMES, variables=variables)


def test_dimensions_in_any_order_come_back_in_it(theirs, X):
    """Means stored (feature, component), where the name of the weights' dimension says which is which."""
    moved, straight, _ = theirs
    dims = ("chain", "draw", "component", "feature")
    dataset = xr.Dataset(
        {"w": (dims[:3], moved["w"]), "mu": (dims, moved["mu"]), "sigma": (dims, moved["sigma"])}
    ).transpose("draw", "feature", "chain", "component")
    tree = relabel(dataset, X, names=NAMES)["posterior"]
    assert tree["mu"].dims == ("draw", "feature", "chain", "component")
    for name in ("w", "mu", "sigma"):
        np.testing.assert_array_equal(tree[name].transpose("chain", "draw", "component", ...), straight[name])


def test_constants_that_tell_components_apart_leave_nothing_to_relabel(theirs, X):
    moved, straight, _ = theirs
    names = {**NAMES, "weights": [1 / 3] * 3}
    np.testing.assert_array_equal(relabel(moved, X, names=names, variables=[])["posterior"]["means"], straight["mu"])
    tree = relabel(from_dict({"posterior": {"mu": moved["mu"], "sigma": moved["sigma"]}}), X, names=names)
    np.testing.assert_array_equal(tree["posterior"]["mu"], straight["mu"])
    with pytest.raises(InputError, match="nothing to relabel"):
        relabel(moved, X, names={**NAMES, "weights": [0.2, 0.3, 0.5]})


def test_one_component():
    rng = np.random.default_rng(5)
    draws = {"w": np.ones((2, 9, 1)), "mu": rng.normal(size=(2, 9, 1, 2)), "sigma": np.ones((2, 9, 1, 2))}
    tree = relabel(draws, rng.normal(size=(20, 2)), names=NAMES)
    np.testing.assert_array_equal(tree["posterior"]["means"], draws["mu"])
    assert relabelling(tree).identified


def test_memberships_are_those_of_each_mixture(ours):
    from bayesgmm import Mixture

    X = np.asfortranarray(ours["observed_data"]["y"].to_numpy())
    draws, rows = draws_of(ours), np.array([5, 0, 60])
    some = Memberships(draws, Data(X)).of_rows(rows)
    for s, (log_density, resp) in enumerate(some):
        mixture = Mixture(*(values[s] for values in draws.arrays))
        np.testing.assert_allclose(resp.T, mixture.responsibilities(X[rows]), atol=1e-12)
        np.testing.assert_allclose(log_density, mixture.log_prob(X[rows]))
        np.testing.assert_array_equal(some.of_draw(s), resp)


# ---- comparison and summaries


def test_all_methods_agree_on_separated_clusters(theirs, X):
    table = compare_relabellings(theirs[0], X, names=NAMES)
    assert list(table.index) == list(table.columns) == list(METHODS)
    assert (table.to_numpy() == 1.0).all()


def unidentified():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(80, 1))
    draws = {"w": np.full((2, 50, 2), 0.5), "mu": rng.normal(0, 0.5, (2, 50, 2)), "s": np.ones((2, 50, 2))}
    return draws, X, {"weights": "w", "means": "mu", "sds": "s"}


@pytest.mark.draws
def test_summaries_are_refused_unless_forced():
    draws, X, names = unidentified()
    tree = relabel(draws, X, names=names)
    record = relabelling(tree)
    assert not record.identified
    with pytest.raises(NotIdentifiedError, match="not identified") as caught:
        component_summary(tree)
    assert caught.value.findings == tuple(record.findings)
    assert len(component_summary(tree, force=True)) == 2 * 3


@pytest.mark.draws
def test_methods_disagree_where_components_are_not_identified():
    draws, X, names = unidentified()
    draws["s"] = np.exp(np.random.default_rng(7).normal(size=(2, 50, 2)))
    table = compare_relabellings(draws, X, methods=["stephens", "ordering", "pra"], names=names).to_numpy()
    assert (np.diag(table) == 1.0).all()
    assert table[0, 1] < 0.9
    np.testing.assert_array_equal(table, table.T)


def test_the_summary_is_arviz_own(theirs, their_tree, X):
    tree = relabel(their_tree, X, names=NAMES, variables=[])
    table = component_summary(tree, names={"means": "mu"})
    assert len(table) == K * D
    np.testing.assert_allclose(table["mean"].astype(float), theirs[1]["mu"].mean(axis=(0, 1)).ravel(), atol=0.01)
    assert len(component_summary(tree)) == K * D * 2 + K * 2  # log_w as well


@pytest.mark.draws
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")  # few draws, and components too many
@pytest.mark.parametrize(
    ("rows", "n_components", "identified"),
    [
        pytest.param(load_old_faithful().to_numpy(), 2, True, id="Old Faithful"),
        pytest.param(load_galaxies().to_numpy().reshape(-1, 1), 6, False, id="galaxies"),
        pytest.param(np.random.default_rng(8).normal(size=(200, 2)), 2, False, id="one Gaussian, two components"),
        pytest.param(
            np.random.default_rng(9).normal(size=(300, 1)) * np.repeat([1, 10], 150)[:, None], 2, True, id="scales"
        ),
    ],
)
def test_the_verdict_on_real_posteriors(rows, n_components, identified):
    fit = BayesianGaussianMixture(n_components, draws=250, chains=2, random_state=1, progress=False).fit(rows)
    tree = relabel(fit)
    assert relabelling(tree).identified == identified
    assert not identified or relabel(tree)["posterior"].identical(tree["posterior"])
    assert restore_labels(tree).identical(fit.posterior_)


# ---- what is refused


def test_bad_input_is_told_before_any_work(theirs, ours, X):
    moved, _, _ = theirs
    with pytest.raises(InputError, match="method one of"):
        relabel(moved, X, method="kmeans", names=NAMES)
    with pytest.raises(InputError, match="method one of"):
        compare_relabellings(moved, X, methods=["kmeans"], names=NAMES)
    with pytest.raises(InputError, match="rows X"):
        relabel(moved, names=NAMES)
    with pytest.raises(InputError, match="features"):
        relabel(moved, X[:, :1], names=NAMES)
    for by in ("depth", 2, -1, 0.5):
        with pytest.raises(InputError, match="by"):
            relabel(ours, method="ordering", by=by)
    with pytest.raises(InputError, match="divergence"):
        relabel(ours, method="optimal-assignment", divergence="hellinger")
    with pytest.raises(InputError, match="relabel"):
        component_summary(ours)


def test_labels_that_mean_something_stay(ours):
    tree = ours.copy()
    prior = Prior.independent(mean=CENTRES, mean_covariance=np.eye(D), dof=5.0, scale=np.eye(D))
    tree.attrs = {**ours.attrs, "prior": prior_to_json(prior)}
    with pytest.raises(InputError, match="identifies the labels"):
        relabel(tree)


def test_permutations_that_are_none(ours):
    tree = ours.copy()
    zeros = (("chain", "draw", "cluster"), np.zeros((2, DRAWS, K), dtype=int))
    tree["sample_stats"] = xr.DataTree(tree["sample_stats"].to_dataset().assign(permutation=zeros))
    with pytest.raises(InputError, match="permutation"):
        relabel(tree)
