"""Fits with inference="laplace": beside NUTS, what the tree keeps, diagnosis, refusals, the search for modes."""

import json
from types import SimpleNamespace

import arviz_stats as azs
import numpy as np
import pytest
from monte_carlo import bound
from test_approximation import two_ways
from test_log_ratios import TRUTH

from bayesgmm import BayesianGaussianMixture, diagnose, load, mode_mean
from bayesgmm.comparison import convergence_lines
from bayesgmm.exceptions import InputError, SamplingError
from bayesgmm.laplace import log_ratios as by_rows
from bayesgmm.report.posterior_sections import verdict_section

pytestmark = pytest.mark.draws
QUIET = {"random_state": 0, "progress": False}


def rows(n, seed=0):
    return TRUTH.sample(n, rng=np.random.default_rng(seed))[0]


@pytest.fixture(scope="module")
def fit():
    return BayesianGaussianMixture(3, inference="laplace", **QUIET).fit(rows(3_000))


def entries(tree):
    posterior = tree["posterior"].to_dataset()
    return np.concatenate(
        [posterior[name].to_numpy().reshape(4, -1, posterior[name][0, 0].size) for name in posterior.data_vars], axis=2
    )


@pytest.mark.slow
def test_moments_are_those_of_nuts(fit):
    other = BayesianGaussianMixture(3, **QUIET).fit(rows(3_000))
    one, two = entries(fit.posterior_), entries(other.posterior_)
    errors = [np.array([float(azs.mcse(each[..., j])) for j in range(each.shape[2])]) for each in (one, two)]
    z = (one.mean(axis=(0, 1)) - two.mean(axis=(0, 1))) / np.hypot(*errors)
    assert np.abs(z).max() < bound(len(z))
    ratio = one.std(axis=(0, 1)) / two.std(axis=(0, 1))
    np.testing.assert_allclose(ratio, 1.0, atol=0.12)


def test_the_tree_keeps_how_good_the_approximation_is(fit, tmp_path):
    tree = fit.posterior_
    assert fit.converged_
    assert tree.attrs["inference"] == "laplace"
    assert tree.attrs["k_hat"] <= 0.7
    assert 400 <= tree.attrs["effective_draws"] <= 4_000
    assert tree["posterior"].sizes["draw"] == 1_000
    (record,) = json.loads(tree.attrs["laplace"])
    assert record["n_rows"] == 3_000
    assert record["log_ratio_error"] == 0.0
    proposal = tree["sample_stats"]["proposal"].to_numpy().ravel()
    again = np.flatnonzero(np.diff(proposal) == 0)
    assert len(again) == 4_000 - len(np.unique(proposal)) > 0  # copies are neighbours
    values = entries(tree).reshape(4_000, -1)
    np.testing.assert_array_equal(values[again], values[again + 1])
    fit.save(tmp_path / "fit.nc")
    assert load(tmp_path / "fit.nc").posterior_.attrs["k_hat"] == tree.attrs["k_hat"]


def test_effective_sizes_by_arviz_are_about_those_of_the_weights(fit):
    sizes = azs.ess(fit.posterior_["posterior"].to_dataset(), method="mean")
    median = np.median(np.concatenate([sizes[name].to_numpy().ravel() for name in sizes.data_vars]))
    assert 0.6 * fit.posterior_.attrs["effective_draws"] < median < 1.15 * fit.posterior_.attrs["effective_draws"]


def test_diagnosis_states_k_hat_in_place_of_r_hat(fit):
    found = diagnose(fit)
    assert found.verdict == "converged"
    assert np.isnan(found.figures.invariants.r_hat)
    assert found.to_dict()["figures"]["approximation"]["k_hat"] == fit.posterior_.attrs["k_hat"]
    lines = convergence_lines(fit.posterior_)
    assert lines[0].startswith("Laplace approximation: k-hat of the importance ratios is 0.")
    assert lines[1].startswith("Effective draws by the importance weights: ")
    for text in (str(found), found._repr_html_()):
        assert "k-hat" in text
        assert "R-hat" not in text
    assert "k-hat" in fit._repr_html_()


def test_a_report_states_it_too(fit):
    section = verdict_section(SimpleNamespace(diagnosis=diagnose(fit), tree=fit.posterior_))
    assert section.sentences[0] == "Verdict: converged."
    assert "k-hat" in section.sentences[1]
    assert section.picture is None


def test_subsamples_are_told(monkeypatch):
    monkeypatch.setattr(by_rows, "FEW_ROWS", 4_000)
    fit = BayesianGaussianMixture(3, inference="laplace", init="best", chains=2, draws=300, **QUIET).fit(rows(20_000))
    (record,) = json.loads(fit.posterior_.attrs["laplace"])
    assert record["n_rows"] < 10_000
    assert 0.0 < record["log_ratio_error"] <= 0.05
    assert fit.posterior_["posterior"].sizes["draw"] == 300
    assert "one optimum" in " ".join(diagnose(fit).findings)


def test_several_optima_are_weighed_and_told():
    data, _, *optima = two_ways()
    assert len(optima) == 2
    fit = BayesianGaussianMixture(2, inference="laplace", **QUIET).fit(data.rows)
    modes = json.loads(fit.posterior_.attrs["modes"])
    weights = np.array([mode["weight"] for mode in modes])
    assert abs(weights[:2] - 0.5).max() < bound() * max(mode["weight_se"] for mode in modes)
    assert fit.posterior_.attrs["missing"] < 0.2
    found = diagnose(fit)
    assert found.verdict == "several modes, weighed"
    assert "approximated at" in found.findings[0]
    left = (fit.posterior_["posterior"]["means"][..., 0].min("cluster") < -2.0).to_numpy()
    mean, error = mode_mean(left, fit.posterior_)
    assert abs(mean - 0.5) < bound() * error


def test_a_refusal_says_what_to_do_and_keeps_the_optimum():
    X = rows(60)
    model = BayesianGaussianMixture(4, inference="laplace", **QUIET)
    with pytest.raises(SamplingError, match=r'Laplace approximation .* Use inference="nuts"'):
        model.fit(X)
    assert model.em_.means.shape == (4, 2)
    assert np.isfinite(model.em_.log_prob(X)).all()


def test_a_refusal_leaves_an_earlier_fit_whole():
    model = BayesianGaussianMixture(4, inference="laplace", **QUIET)
    before = model.set_params(n_components=1).fit(rows(200)).em_
    with pytest.raises(SamplingError, match="Laplace approximation"):
        model.set_params(n_components=4).fit(rows(60))
    assert model.em_ is before
    assert model.posterior_["posterior"].sizes["cluster"] == 1


def test_it_evaluates_no_density_of_pymc():
    with pytest.raises(InputError, match=r'engine="native" with inference="laplace"'):
        BayesianGaussianMixture(2, inference="laplace", engine="pymc", **QUIET).fit(rows(100))


def test_time_ends_a_fit_without_a_result():
    model = BayesianGaussianMixture(3, inference="laplace", max_seconds=1e-3, **QUIET)
    with pytest.raises(SamplingError, match="max_seconds ended"):
        model.fit(rows(2_000))
