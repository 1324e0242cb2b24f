"""The groups of `to_arviz`: what they hold, against plain references; what ArviZ makes of them; what is refused."""

import json

import arviz_stats as azs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from monte_carlo import FALSE_ALARM, bound
from pretend_posterior import em_fit, pretend_posterior
from reference import FAMILIES
from scipy.stats import ks_2samp

from bayesgmm import Prior, loo, to_arviz
from bayesgmm.data import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws, covariance_family
from bayesgmm.posterior import aligned, draws_of, posterior_tree, start_mixture
from bayesgmm.prediction import log_densities
from bayesgmm.priors import draw_mixtures

FRAME = pd.DataFrame(np.asarray(load_old_faithful())[::4], columns=["eruptions", "waiting"])
PRIOR = Prior.weakly_informative(FRAME)
ALL = ["posterior", "sample_stats", "log_likelihood", "log_prior", "posterior_predictive", "prior", "prior_predictive"]
ALL += ["observed_data"]
few_draws = pytest.mark.filterwarnings("ignore:Estimated shape parameter", "ignore::bayesgmm.exceptions.ParetoWarning")


def posterior_of(family="full", k=2, frame=FRAME, draws=60):
    return pretend_posterior(frame, em_fit(frame, k, family), draws=draws)


@pytest.fixture(scope="module")
def posterior():
    return posterior_of(draws=200)


@pytest.fixture(scope="module")
def tree(posterior):
    return to_arviz(posterior, prior=PRIOR, random_state=1)


def covariances(tree, group="posterior"):
    """Put together again, (chain, draw, cluster, feature, feature)."""
    parameters = tree[group].to_dataset()
    sds, correlations = (parameters[name].to_numpy() for name in ("sds", "correlations"))
    full = np.zeros((*correlations.shape[:-1], 2, 2)) + np.eye(2)
    full[..., 0, 1] = full[..., 1, 0] = correlations[..., 0]
    return sds[..., :, None] * full * sds[..., None, :]


def test_all_groups_hold_the_draws_of_the_posterior(tree, posterior):
    assert list(tree.children) == ALL
    for name in ("weights", "means"):
        xr.testing.assert_allclose(tree["posterior"][name], posterior["posterior"][name])
    np.testing.assert_allclose(covariances(tree), posterior["posterior"]["covariances"])
    for group in ALL[:-1]:
        assert {tree[group].sizes["chain"], tree[group].sizes["draw"]} == {2, 200}, group
    assert tree["posterior"]["pair"].to_numpy().tolist() == ["eruptions, waiting"]
    for name in FRAME:
        np.testing.assert_array_equal(tree["observed_data"][name], FRAME[name])


@few_draws
def test_the_log_likelihood_of_rows_stands_under_every_name_and_counts_once(tree, posterior):
    group = tree["log_likelihood"].to_dataset()
    stacked = group.to_stacked_array("all", sample_dims=("chain", "draw")).sum("all")
    np.testing.assert_allclose(stacked, group["y"].sum("obs"))
    for name in FRAME:
        np.testing.assert_array_equal(group[name], group["y"])
    assert azs.loo(tree, var_name="y", reff=1.0).elpd == pytest.approx(loo(posterior, r_eff=1.0).elpd)


def test_sensitivity_to_the_likelihood_is_that_of_rows_counted_once(tree):
    once = tree.copy()
    once["log_likelihood"] = xr.DataTree(tree["log_likelihood"].to_dataset()[["y"]])
    for group in ("likelihood", "prior"):
        xr.testing.assert_allclose(azs.psense(tree, group=group), azs.psense(once, group=group))


@few_draws
def test_a_feature_is_predicted_without_the_whole_row(tree):
    found = azs.loo_expectations(tree, var_name="waiting")[0]
    weights = np.exp(azs.loo(tree, var_name="y", pointwise=True).log_weights)
    draws = tree["posterior_predictive"]["waiting"]
    np.testing.assert_allclose(found, (weights * draws).sum(("chain", "draw")) / weights.sum(("chain", "draw")))


def test_the_log_prior_is_that_of_each_draw(tree, posterior):
    draws = draws_of(posterior)
    expected = [PRIOR.log_prob(draws.mixture(s)) for s in range(0, 400, 80)]
    np.testing.assert_allclose(tree["log_prior"]["mixture"].to_numpy().ravel()[::80], expected)


@pytest.mark.draws
def test_predictions_have_the_moments_of_the_draws(tree):
    draws = tree["posterior"].to_dataset()
    expected = (draws["weights"] * draws["means"]).sum("cluster").mean(("chain", "draw"))
    for name in FRAME:
        simulated = tree["posterior_predictive"][name]
        sd = float(simulated.std()) / np.sqrt(simulated.size)
        assert abs(float(simulated.mean() - expected.sel(feature=name))) < bound(2) * sd


@pytest.mark.draws
def test_without_data_prior_and_posterior_agree():
    """A "posterior" that was drawn from the prior, in the labels of an EM solution as those of a fit."""
    start = em_fit(FRAME, 2)
    rng, full = np.random.default_rng(3), covariance_family("full")
    drawn = Draws(*draw_mixtures(PRIOR.resolve(2, 2, "full"), 2000, rng=rng), family=full)
    stats = {"lp": np.zeros((2, 1000))}
    posterior = posterior_tree(
        aligned(start, drawn, alike=np.zeros(2, dtype=int))[0],
        stats,
        X=FRAME.to_numpy(),
        feature_names=list(FRAME),
        start=start,
        attributes={"covariance_type": "full"},
    )
    tree = to_arviz(posterior, prior=PRIOR, groups=["posterior", "prior"], random_state=1)
    for name, values in tree["posterior"].to_dataset().items():
        own, other = (tree[group][name].to_numpy().reshape(2000, -1).T for group in ("posterior", "prior"))
        assert min(ks_2samp(*pair).pvalue for pair in zip(own, other, strict=True)) > FALSE_ALARM, name
        assert values.dims[:2] == ("chain", "draw")
    means = tree["prior"]["means"].to_numpy().reshape(2000, 2, 2)
    assert abs(np.diff(means.mean(axis=0), axis=0)).min() > 0.5 * means.std() / np.sqrt(2000)  # labelled, not symmetric


def test_prior_draws_have_the_labels_of_the_posterior(tree, posterior):
    weights, means = (tree["prior"][name].to_numpy().reshape(400, 2, -1) for name in ("weights", "means"))
    full = covariances(tree, "prior").reshape(400, 2, 2, 2)
    drawn = Draws(weights[..., 0], means, full, family=covariance_family("full"))
    assert (drawn.order_like(start_mixture(posterior)) == np.arange(2)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_does_not_vary_is_left_out(family):
    posterior = posterior_of(family, draws=20)
    tree = to_arviz(posterior, prior=PRIOR, random_state=1)
    shared = covariance_family(family).shared
    assert ("cluster" in tree["posterior"]["sds"].dims) == (not shared)
    assert ("correlations" in tree["posterior"]) == (family in ("full", "tied"))
    expected = np.sqrt(np.diagonal(posterior["posterior"]["covariances"].to_numpy(), axis1=-2, axis2=-1))
    np.testing.assert_allclose(tree["posterior"]["sds"], expected[:, :, 0] if shared else expected)
    assert {**tree["prior"].data_vars}.keys() == {**tree["posterior"].data_vars}.keys()
    assert np.isfinite(tree["log_prior"]["mixture"]).all()
    values = log_densities(draws_of(posterior), Data.of(FRAME.to_numpy()))
    np.testing.assert_allclose(tree["log_likelihood"]["y"].to_numpy().reshape(40, -1), values)


def test_one_component_has_no_weight():
    assert "weights" not in to_arviz(posterior_of(k=1, draws=5), prior=PRIOR)["posterior"]


def test_one_feature_has_one_log_likelihood():
    one = FRAME[["waiting"]]
    tree = to_arviz(posterior_of(frame=one), prior=Prior.weakly_informative(one))
    assert list(tree["log_likelihood"].data_vars) == ["waiting"]
    assert np.isfinite(azs.loo(tree).elpd)
    assert "correlations" not in tree["posterior"]


def test_draws_are_thinned_in_all_groups(posterior, tree):
    few = to_arviz(posterior, draws=40, prior=PRIOR)
    assert {few[group].sizes["draw"] for group in ALL[:-1]} == {20}
    kept = few["posterior"]["draw"].to_numpy()
    assert kept[[0, -1]].tolist() == [0, 199]
    for group, name in (("posterior", "means"), ("log_likelihood", "waiting"), ("sample_stats", "lp")):
        np.testing.assert_array_equal(few[group][name], tree[group][name].sel(draw=kept))


def test_names_that_a_tree_or_arviz_has_no_place_for():
    named = FRAME.set_axis(["mg/dl", "draw"], axis="columns")
    tree = to_arviz(posterior_of(frame=named, draws=5))
    assert list(tree["observed_data"].data_vars) == ["mg|dl", "draw_"]
    assert list(tree["log_likelihood"].data_vars) == ["y", "mg|dl", "draw_", "minus_repeats"]
    with pytest.raises(InputError, match="names differ"):
        to_arviz(posterior_of(frame=FRAME.set_axis(["a/b", "a|b"], axis="columns"), draws=5))
    one_is_y = to_arviz(posterior_of(frame=FRAME.set_axis(["y", "x"], axis="columns"), draws=5))["log_likelihood"]
    np.testing.assert_allclose(one_is_y["y"] + one_is_y["x"] + one_is_y["minus_repeats"], one_is_y["y"])


def test_groups_without_a_prior_or_rows(posterior):
    assert list(to_arviz(posterior).children) == [name for name in ALL if "prior" not in name]
    arrays = {name: posterior["posterior"][name].to_numpy() for name in ("weights", "means", "covariances")}
    assert list(to_arviz(arrays).children) == ["posterior"]
    assert list(to_arviz(arrays, FRAME, groups="log_likelihood").children) == ["log_likelihood"]
    with pytest.raises(InputError, match=r"a prior for log_prior; got none. Pass prior="):
        to_arviz(posterior, groups=["posterior", "log_prior"])
    with pytest.raises(InputError, match="the rows X"):
        to_arviz(arrays, groups=["observed_data"])
    with pytest.raises(InputError, match="sample_stats"):
        to_arviz(arrays, groups=["sample_stats"])


def test_what_would_not_fit_in_memory_is_refused(posterior, monkeypatch):
    monkeypatch.setattr("bayesgmm.prediction.arviz_groups.LARGEST", 100 * 8 * (4 * len(FRAME) + 2 * 4))
    with pytest.raises(InputError, match=r"GiB for 400 draws, 68 rows and 2 features. Pass draws=100, or"):
        to_arviz(posterior)
    assert to_arviz(posterior, draws=100)["log_likelihood"].sizes["draw"] == 50
    to_arviz(posterior, groups=["posterior", "observed_data"])


def test_rows_on_disk_and_weighted_rows_are_refused(posterior):
    far = posterior.copy()
    far.attrs["source"] = json.dumps({"n_rows": 1_000_000})
    with pytest.raises(InputError, match=r"log_likelihood.*1,000,000 rows on disk.*X=fit"):
        to_arviz(far)
    assert list(to_arviz(far, groups="posterior").children) == ["posterior"]
    assert to_arviz(far, FRAME[:10])["observed_data"].sizes["obs"] == 10
    weighted = posterior.copy()
    weighted["constant_data"] = xr.DataTree(
        posterior["constant_data"].to_dataset().assign(row_weights=("obs", np.full(len(FRAME), 2.0)))
    )
    with pytest.raises(InputError, match="row weights"):
        to_arviz(weighted)


@pytest.mark.parametrize("dof", [1.01, 1.1])
def test_a_prior_of_singular_covariances_is_refused(posterior, dof):
    vague = Prior.normal_inverse_wishart(scale=np.eye(2), kappa=1e-4, dof=dof, concentration=1.0, mean=[0.0, 0.0])
    with pytest.raises(InputError, match=rf"full rank.*got {dof} degrees of freedom.*Choose groups without prior"):
        to_arviz(posterior, prior=vague, random_state=0)
    assert "log_prior" in to_arviz(posterior, prior=vague, groups="log_prior").children
