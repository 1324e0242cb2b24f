"""Sensitivities to prior and likelihood: ArviZ's, of quantities that do not depend on labels."""

from ast import literal_eval

import arviz_stats as azs
import numpy as np
import pytest
import xarray as xr

from bayesgmm import BayesianGaussianMixture, Prior, power_scaling_sensitivity, to_arviz
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError

FAITHFUL = load_old_faithful()
SETTINGS = {"draws": 250, "tune": 200, "init": "best", "random_state": 1, "progress": False}
STRONG = Prior.independent(
    mean=[3, 70], mean_covariance=[[0.01, 0], [0, 1]], dof=30, scale=[[1, 0], [0, 100]], concentration=50
)


@pytest.fixture(scope="module")
def fit() -> BayesianGaussianMixture:
    return BayesianGaussianMixture(2, **SETTINGS).fit(FAITHFUL)


def test_the_weight_is_arvizs(fit) -> None:
    tree = to_arviz(fit, groups=("log_prior", "log_likelihood"))
    largest = fit.posterior_["posterior"]["weights"].max("cluster")
    tree["posterior"] = xr.DataTree(xr.Dataset({"largest": largest}))
    expected = azs.psense_summary(tree, round_to=6).loc["largest"]
    assert list(power_scaling_sensitivity(fit).loc["weight[0]"]) == list(expected)


def test_labels_do_not_matter(fit) -> None:
    tree, posterior = fit.posterior_.copy(), fit.posterior_["posterior"].to_dataset()
    turned = posterior.isel(cluster=[1, 0]).assign_coords(cluster=posterior["cluster"])
    odd = xr.DataArray(np.arange(250) % 2 == 1, dims="draw")
    tree["posterior"] = xr.DataTree(xr.where(odd, turned, posterior).transpose(*posterior["covariances"].dims, ...))
    got, expected = power_scaling_sensitivity(tree), power_scaling_sensitivity(fit)
    np.testing.assert_allclose(got[["prior", "likelihood"]], expected[["prior", "likelihood"]], atol=1e-5)


@pytest.mark.draws
def test_a_strong_prior_is_noticed(fit) -> None:
    few = BayesianGaussianMixture(2, prior=STRONG, **SETTINGS).fit(FAITHFUL.iloc[:12])
    assert power_scaling_sensitivity(few).loc["weight[0]", "prior"] > 0.1
    weak = power_scaling_sensitivity(fit)
    assert weak.loc["weight[0]", "prior"] < 0.05 < weak.loc["weight[0]", "likelihood"]
    assert "occupied" not in weak.index  # two in every draw


def test_pairs_that_are_decided_are_left_out(fit) -> None:
    table = power_scaling_sensitivity(fit)
    pairs = [literal_eval(name.removeprefix("co_clustering")) for name in table.index if name.startswith("co_")]
    proba = fit.predict_proba(FAITHFUL)
    assert all(min(proba[i].max(), proba[j].max()) < 0.999 for i, j in pairs)


def test_one_cluster_has_nothing_to_be_sensitive_of() -> None:
    single = BayesianGaussianMixture(1, **SETTINGS).fit(FAITHFUL)
    with pytest.raises(InputError, match="two components or more"):
        power_scaling_sensitivity(single)
