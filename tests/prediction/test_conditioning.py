"""Marginal and conditional mixtures of fits and posteriors, against those of each draw's `Mixture`."""

import numpy as np
import pandas as pd
import pytest
from pretend_posterior import em_fit, pretend_posterior
from reference import FAMILIES, load_data

from bayesgmm import GaussianMixture, condition, diagnose, log_evidence, marginal, plot_density, relabel
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.posterior import data_of, draws_of, mixture_posterior
from bayesgmm.prediction.densities import log_predictive_density

COLUMNS = ["length", "width", "petal length", "petal width"]
FRAME = pd.DataFrame(load_data("iris")[:, :4], columns=COLUMNS)


@pytest.fixture(scope="module", params=FAMILIES)
def tree(request):
    return pretend_posterior(FRAME, em_fit(FRAME, 3, request.param), draws=10)


@pytest.fixture(scope="module")
def full():
    return pretend_posterior(FRAME, em_fit(FRAME, 3), draws=10)


def test_marginal_of_a_posterior_is_each_draw_s(tree):
    found = marginal(tree, ["petal width", 0])
    draws, own = draws_of(tree), draws_of(found)
    for s in range(len(draws)):
        expected = draws.mixture(s).marginal([3, 0])
        np.testing.assert_allclose(own.weights[s], expected.weights, rtol=1e-14)
        np.testing.assert_allclose(own.means[s], expected.means, rtol=1e-14)
        np.testing.assert_allclose(own.covariances[s], expected.full_covariances, rtol=1e-12)
    assert found["posterior"]["feature"].to_numpy().tolist() == ["petal width", "length"]
    assert found["posterior"]["feature_bis"].to_numpy().tolist() == ["petal width", "length"]
    np.testing.assert_array_equal(data_of(found).rows, FRAME[["petal width", "length"]])
    assert found["sample_stats"].identical(tree["sample_stats"])
    assert "prior" not in found.attrs


def test_condition_of_a_posterior_is_each_draw_s(tree):
    given = {"length": 5.5, 3: 1.2}
    found = condition(tree, given)
    draws, own = draws_of(tree), draws_of(found)
    log_density = found["posterior"]["log_density"].to_numpy().ravel()
    for s in range(len(draws)):
        expected = draws.mixture(s).condition({0: 5.5, 3: 1.2})
        np.testing.assert_allclose(own.weights[s], expected.weights, rtol=1e-11)
        np.testing.assert_allclose(own.means[s], expected.means, rtol=1e-11)
        np.testing.assert_allclose(own.covariances[s], expected.full_covariances, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(log_density[s], draws.mixture(s).marginal([0, 3]).log_prob([[5.5, 1.2]]), rtol=1e-11)
    assert found["posterior"]["feature"].to_numpy().tolist() == ["width", "petal length"]


def test_rows_have_a_dimension_and_one_of_them_is_a_posterior(tree):
    rows = condition(tree, {"petal length": [1.4, 4.5], "width": 3.0})
    assert rows["posterior"]["means"].dims == ("chain", "draw", "obs", "cluster", "feature")
    assert rows["posterior"]["covariances"].dims == ("chain", "draw", "cluster", "feature", "feature_bis")
    one = condition(tree, {"petal length": 4.5, "width": 3.0})
    taken = mixture_posterior(rows.isel(obs=1))
    for name in ("weights", "means", "covariances", "log_density"):
        np.testing.assert_allclose(taken["posterior"][name], one["posterior"][name], rtol=1e-12, atol=1e-14)
    with pytest.raises(InputError, match="posterior with weights"):
        mixture_posterior(rows)


def test_other_functions_take_them(full):
    rows = FRAME[["width", "length"]]
    some = marginal(full, ["width", "length"])
    assert relabel(some, progress=False)["posterior"].sizes["feature"] == 2
    assert diagnose(some).verdict
    plot_density(some, features="width")
    given = condition(full, {"petal length": 4.5, "petal width": 1.4})
    plot_density(given, FRAME[["length", "width"]])
    assert np.isfinite(log_predictive_density(draws_of(given), data_of(given, rows.to_numpy()))).all()
    with pytest.raises(InputError):
        log_evidence(given)


def test_variances_stay_variances():
    tree = pretend_posterior(FRAME, em_fit(FRAME, 3, "diag"), draws=10)
    compact = tree.copy()
    posterior = tree["posterior"].to_dataset()
    variances = np.diagonal(posterior["covariances"], axis1=-2, axis2=-1)
    dims = ("chain", "draw", "cluster", "feature")
    compact["posterior"] = posterior.drop_vars(["covariances", "feature_bis"]).assign(variances=(dims, variances))
    for ask in (lambda tree: marginal(tree, ["width", "length"]), lambda tree: condition(tree, {"length": 5.0})):
        small, large = ask(compact), ask(tree)
        assert "variances" in small["posterior"]
        assert "covariances" not in small["posterior"]
        for a, b in zip(draws_of(small).arrays, draws_of(large).arrays, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)


def test_row_weights_belong_to_the_rows():
    tree = pretend_posterior(FRAME, em_fit(FRAME, 2), draws=5)
    weights = np.arange(1.0, 151.0)
    fixed = tree["constant_data"].to_dataset().assign_coords(obs=np.arange(150)).assign(row_weights=("obs", weights))
    tree["constant_data"] = fixed
    np.testing.assert_array_equal(data_of(marginal(tree, "width")).row_weights, weights)


def test_a_fit_by_em_has_names_and_gives_mixtures():
    fit = GaussianMixture(3, n_init=2, random_state=0).fit(FRAME)
    for found in (marginal(fit, ["petal width", "width"]), fit.marginal(["petal width", "width"])):
        np.testing.assert_array_equal(found.means, fit.mixture_.marginal([3, 1]).means)
    for found in (condition(fit, {"width": 3.0, "length": 5.0}), fit.condition({1: 3.0, "length": 5.0})):
        assert isinstance(found, Mixture)
        np.testing.assert_array_equal(found.means, fit.mixture_.condition({1: 3.0, 0: 5.0}).means)
    assert fit.condition({"width": [3.0, 3.5]}).mean.shape == (2, 3)
    np.testing.assert_array_equal(marginal(fit.mixture_, "x1").means, fit.mixture_.means[:, [1]])


def test_draws_from_elsewhere(full):
    posterior = full["posterior"]
    draws = {"w": posterior["weights"].to_numpy(), "mu": posterior["means"].to_numpy()}
    draws["sigma"] = posterior["covariances"].to_numpy()
    names = {"weights": "w", "means": "mu", "covariances": "sigma"}
    found = condition(draws, {"x2": 4.5}, names=names)
    np.testing.assert_allclose(
        found["posterior"]["means"], condition(full, {"petal length": 4.5})["posterior"]["means"], rtol=1e-12
    )
    assert marginal(draws, "x2", names=names)["posterior"].sizes["feature"] == 1


def test_unknown_features_are_told_with_those_there_are(full):
    with pytest.raises(InputError, match="distinct features among length, width, petal length, petal width; got 'x0'"):
        marginal(full, "x0")
    with pytest.raises(InputError, match="distinct features with a value among length"):
        condition(full, {"height": 3.0})
    with pytest.raises(InputError, match="features named that leave at least one"):
        condition(full, dict.fromkeys(COLUMNS, 1.0))
