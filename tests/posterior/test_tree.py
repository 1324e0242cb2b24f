"""The posterior DataTree: its layout, and what ArviZ makes of it."""

import json

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pretend_posterior import em_fit, pretend_posterior
from reference import FAMILIES, load_data, random_mixture

import bayesgmm.posterior.tree
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.draws import Draws
from bayesgmm.posterior.tree import (
    aligned,
    draws_of,
    in_family,
    in_order,
    mean_mixture,
    posterior_tree,
    prior_from_json,
    prior_to_json,
    start_mixture,
    with_covariances,
)
from bayesgmm.priors.prior import Prior

NAMES = ["eruptions", "waiting"]
SAMPLE = ("chain", "draw")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.DataFrame(load_data("faithful"), columns=NAMES)


@pytest.fixture(scope="module", params=FAMILIES)
def tree(frame, request) -> xr.DataTree:
    return pretend_posterior(frame, em_fit(frame, 2, request.param))


@pytest.fixture
def full_tree(frame) -> xr.DataTree:
    return pretend_posterior(frame, em_fit(frame, 2))


# ---- layout


def test_groups_dimensions_and_coordinates(tree, frame):
    assert set(tree.children) == {"posterior", "sample_stats", "observed_data", "constant_data"}
    posterior = tree["posterior"]
    assert posterior["weights"].dims == (*SAMPLE, "cluster")
    assert posterior["means"].dims == (*SAMPLE, "cluster", "feature")
    assert posterior["covariances"].dims == (*SAMPLE, "cluster", "feature", "feature_bis")
    assert posterior["covariances"].shape == (2, 40, 2, 2, 2)
    assert posterior["feature"].to_numpy().tolist() == posterior["feature_bis"].to_numpy().tolist() == NAMES
    assert posterior["cluster"].to_numpy().tolist() == [0, 1]
    assert tree["sample_stats"]["lp"].dims == SAMPLE
    observed = tree["observed_data"]["y"]
    assert observed.dims == ("obs", "feature")
    np.testing.assert_array_equal(observed.values, frame.to_numpy())
    assert observed["obs"].to_numpy().tolist() == list(range(len(frame)))
    assert tree["constant_data"]["em_covariances"].dims == ("cluster", "feature", "feature_bis")


def test_attributes_tell_versions_and_time(full_tree):
    versions = json.loads(full_tree.attrs["versions"])
    assert {"bayesgmm", "numpy", "numba", "nutpie", "xarray", "python"} <= set(versions)
    assert pd.Timestamp(full_tree.attrs["created_at"]).tzinfo is not None
    assert full_tree.attrs["covariance_type"] == "full"


def test_permutations_have_a_label_axis(frame):
    em = em_fit(frame, 2)
    draws = Draws(*(np.stack([v] * 6) for v in (em.weights, em.means, em.full_covariances)), family=em.family)
    stats = {"lp": np.zeros((2, 3)), "permutation": np.zeros((6, 2), dtype=np.int64)}
    tree = posterior_tree(
        draws, stats, X=frame.to_numpy(), feature_names=NAMES, start=em, attributes={"covariance_type": "full"}
    )
    assert tree["sample_stats"]["permutation"].dims == (*SAMPLE, "cluster")


def test_the_em_start_comes_back_in_its_family(tree, frame):
    family = tree.attrs["covariance_type"]
    em = em_fit(frame, 2, family)
    back = start_mixture(tree)
    assert back.covariance_type == family
    np.testing.assert_allclose(back.covariances, em.covariances, rtol=1e-12)
    np.testing.assert_array_equal(back.means, em.means)


def test_posterior_means_in_the_shape_of_the_family(tree):
    mean = mean_mixture(tree)
    draws = tree["posterior"]
    np.testing.assert_allclose(mean.weights, draws["weights"].mean(SAMPLE))
    np.testing.assert_allclose(mean.means, draws["means"].mean(SAMPLE))
    np.testing.assert_allclose(mean.full_covariances, draws["covariances"].mean(SAMPLE), rtol=1e-10, atol=1e-12)
    assert mean.covariance_type == tree.attrs["covariance_type"]


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_a_family_survives_full_matrices(covariance_type):
    mixture = random_mixture(np.random.default_rng(0), covariance_type, (3, 2))
    as_full = type(mixture)(mixture.weights, mixture.means, mixture.full_covariances, "full")
    np.testing.assert_allclose(in_family(as_full, mixture.family).covariances, mixture.covariances, rtol=1e-12)


# ---- variances in place of covariances


def test_large_diagonal_covariances_are_kept_as_variances(tree, frame, monkeypatch):
    em = em_fit(frame, 2, tree.attrs["covariance_type"])
    full_size = tree["posterior"]["covariances"].nbytes
    monkeypatch.setattr(bayesgmm.posterior.tree, "LARGEST", full_size)
    xr.testing.assert_identical(pretend_posterior(frame, em)["posterior"], tree["posterior"])
    monkeypatch.setattr(bayesgmm.posterior.tree, "LARGEST", full_size - 1)
    compact = pretend_posterior(frame, em)
    if not em.family.diagonal:
        xr.testing.assert_identical(compact["posterior"], tree["posterior"])
        return
    assert [*compact["posterior"].data_vars] == ["weights", "means", "variances"]
    assert compact["posterior"]["variances"].dims == (*SAMPLE, "cluster", "feature")
    xr.testing.assert_identical(with_covariances(compact)["posterior"].to_dataset(), tree["posterior"].to_dataset())
    assert with_covariances(tree) is tree
    for found, wanted in zip(draws_of(compact).arrays, draws_of(tree).arrays, strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(mean_mixture(compact).factors, mean_mixture(tree).factors)
    turned = compact.copy()
    turned["posterior"] = xr.DataTree(compact["posterior"].to_dataset().transpose("feature", "draw", "cluster", ...))
    xr.testing.assert_identical(in_order(turned)["posterior"], compact["posterior"])
    turned["posterior"] = xr.DataTree(compact["posterior"].to_dataset().isel(feature=0))
    with pytest.raises(InputError, match="means"):
        in_order(turned)


# ---- alignment


def test_draws_are_put_in_the_labels_of_the_reference():
    rng = np.random.default_rng(0)
    reference = random_mixture(rng, "full", (3, 2))
    orders = np.array([[rng.permutation(3) for _ in range(4)] for _ in range(2)])
    shuffled = [a[orders] for a in (reference.weights, reference.means, reference.covariances)]
    draws, order = aligned(reference, Draws(*shuffled, family=reference.family), alike=np.zeros(3, dtype=int))
    for got, want in zip(draws.arrays, (reference.weights, reference.means, reference.covariances), strict=True):
        np.testing.assert_array_equal(got, np.broadcast_to(want, got.shape))
    np.testing.assert_array_equal(np.take_along_axis(orders, order, axis=2), np.tile(np.arange(3), (2, 4, 1)))


def test_labels_with_a_meaning_are_left_alone():
    rng = np.random.default_rng(0)
    reference, other = (random_mixture(rng, "full", (3, 2)) for _ in range(2))
    draws = Draws(*(a[None] for a in (other.weights, other.means, other.covariances)), family=other.family)
    same, order = aligned(reference, draws, alike=np.arange(3))
    assert order.tolist() == [[0, 1, 2]]
    assert same is draws


# ---- ArviZ


def test_arviz_takes_it(tree):
    names = ["weights", "means"]
    assert len(az.summary(tree, var_names=names)) == 6
    assert az.rhat(tree, var_names=names)["means"].dims == ("cluster", "feature")
    assert az.ess(tree, var_names=names)["weights"].shape == (2,)
    assert float(az.mcse(tree, var_names=["means"])["means"].min()) > 0
    assert az.hdi(tree, var_names=names)["weights"].sizes["ci_bound"] == 2
    assert az.extract(tree, var_names=["weights"]).sizes["sample"] == 80


# ---- priors as JSON


@pytest.mark.parametrize(
    "prior",
    [
        Prior.weakly_informative(load_data("faithful"), concentration=0.1),
        Prior.fraley_raftery(load_data("galaxies"), 3),
        Prior.independent(
            concentration=[1 / 3, 2.0],
            mean=[[0.1, 0.2], [1e-300, 1e300]],
            mean_covariance=np.eye(2) / 7,
            dof=[3.1, 5.0],
            scale=np.stack([np.eye(2), np.eye(2) / 3]),
        ),
    ],
)
def test_a_prior_comes_back_exactly(prior):
    back = prior_from_json(prior_to_json(prior))
    assert back.form == prior.form
    assert back.exchangeable == prior.exchangeable
    for name in ("concentration", "mean", "dof", "scale", "kappa", "mean_covariance"):
        got, want = getattr(back, name), getattr(prior, name)
        assert (got is None) == (want is None)
        if want is not None:
            assert got.shape == want.shape
            np.testing.assert_array_equal(got, want)
