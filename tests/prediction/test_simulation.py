"""Predictive data sets, and that ArviZ reads them."""

import arviz_plots as azp
import numpy as np
import pandas as pd
import pytest
from monte_carlo import bound
from pretend_posterior import em_fit, pretend_posterior

from bayesgmm import Prior, posterior_predictive, prior_predictive
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError

pytestmark = pytest.mark.draws
FRAME = pd.DataFrame(np.asarray(load_old_faithful()), columns=["eruptions", "waiting"])


@pytest.fixture(scope="module")
def tree():
    return pretend_posterior(FRAME, em_fit(FRAME, 2), draws=60)


@pytest.mark.parametrize("family", ["full", "diag", "tied_spherical"])
def test_predicted_data_have_the_moments_of_the_draws(family):
    fit = pretend_posterior(FRAME, em_fit(FRAME, 2, family), draws=100)
    y = posterior_predictive(fit, n_samples=200, random_state=1)["posterior_predictive"]["y"]
    assert dict(y.sizes) == {"chain": 2, "draw": 100, "obs": 272, "feature": 2}
    draws = fit["posterior"]
    means = (draws["weights"] * draws["means"]).sum("cluster")
    np.testing.assert_allclose(y.mean(("chain", "draw", "obs")), means.mean(("chain", "draw")), rtol=0.01)
    second = draws["covariances"] + draws["means"] * draws["means"].rename(feature="feature_bis")
    within = (draws["weights"] * second).sum("cluster").mean(("chain", "draw")).to_numpy()
    np.testing.assert_allclose((y**2).mean(("chain", "draw", "obs")), within.diagonal(), rtol=0.02)


def test_draws_are_thinned_evenly_and_the_posterior_stays(tree):
    found = posterior_predictive(tree, n_samples=20)
    assert found["posterior_predictive"]["draw"].to_numpy()[[0, -1]].tolist() == [0, 59]
    assert found["posterior_predictive"].sizes["draw"] == 10
    assert found["posterior"].sizes["draw"] == 60
    assert "posterior_predictive" not in tree.children


def test_arviz_plots_both_groups(tree):
    azp.plot_ppc_dist(posterior_predictive(tree, n_samples=20, random_state=1), cols=["feature"], num_samples=10)
    prior = Prior.weakly_informative(FRAME)
    drawn = prior_predictive(prior, 2, X=FRAME, n_samples=20, random_state=1)
    azp.plot_ppc_dist(drawn, group="prior_predictive", cols=["feature"], num_samples=10)
    assert drawn["prior_predictive"]["feature"].to_numpy().tolist() == ["eruptions", "waiting"]


def test_prior_predictive_has_the_prior_mean_and_a_seed():
    prior = Prior.weakly_informative(FRAME)
    first, again = (prior_predictive(prior, 3, n_rows=50, n_samples=3000, random_state=4) for _ in range(2))
    np.testing.assert_array_equal(first["prior_predictive"]["y"], again["prior_predictive"]["y"])
    means = first["prior_predictive"]["y"].mean("obs")
    error = means.mean(("chain", "draw")) - FRAME.mean().to_numpy()
    assert (np.abs(error) < bound(2) * means.std(("chain", "draw")) / np.sqrt(3000)).all()
    assert first["prior"]["covariances"].dims == ("chain", "draw", "cluster", "feature", "feature_bis")


def test_what_is_refused(tree):
    with pytest.raises(InputError, match="n_samples"):
        prior_predictive(Prior.weakly_informative(FRAME), 2, n_samples=0)
    bare = {name: tree["posterior"][name].to_numpy() for name in ("weights", "means", "covariances")}
    with pytest.raises(InputError, match="observed_data"):
        posterior_predictive(bare)
