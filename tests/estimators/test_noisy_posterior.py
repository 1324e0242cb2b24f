"""`noise=` of `BayesianGaussianMixture`: draws, what a posterior says of noise, keeps in a file, and refuses."""

import warnings

import numpy as np
import pytest
from monte_carlo import bound, z_score
from reference import load_data

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior
from bayesgmm.exceptions import InputError
from bayesgmm.posterior import draws_of
from bayesgmm.prediction import log_densities

TABLE = load_data("faithful_noise")
ROWS, TRUTH = TABLE[:, :2], TABLE[:, 2] == 1.0
SETTINGS = {"covariance_type": "tied", "noise": True, "random_state": 1, "progress": False}


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BayesianGaussianMixture(2, **SETTINGS, draws=250, tune=250).fit(ROWS)


@pytest.mark.draws
def test_draws_are_near_ems_solution_and_flag_the_noise(fit):
    em = GaussianMixture(2, covariance_type="tied", noise=True, random_state=1).fit(ROWS)
    found = fit.posterior_["posterior"]
    np.testing.assert_allclose(fit.weights_.sum() + fit.noise_weight_, 1.0)
    np.testing.assert_allclose(found["weights"].sum("cluster") + found["noise_weight"], 1.0)
    off = np.abs(found["means"].mean(("chain", "draw")) - em.means_) / found["means"].std(("chain", "draw"))
    assert off.max() < 0.5
    assert abs(fit.noise_weight_ - em.noise_weight_) < float(found["noise_weight"].std())
    assert ((fit.predict(ROWS) == -1) != TRUTH).mean() < 0.08


@pytest.mark.draws
def test_of_one_component_that_is_known_the_weight_of_noise_is_exact():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0.0, 0.01, (60, 1)), np.linspace(-50.0, 50.0, 20)[:, None]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = BayesianGaussianMixture(1, noise=True, random_state=2, progress=False, draws=500, tune=300).fit(rows)
    drawn = model.posterior_["posterior"]["noise_weight"].to_numpy()
    a, b = 1 + 20, 9 + 60  # rows in the middle of noise that are none are told apart
    assert abs(z_score(drawn, a / (a + b))) < bound()


def test_probabilities_have_a_last_column_and_labels_are_minus_one(fit):
    proba = fit.predict_proba(ROWS)
    assert proba.shape == (len(ROWS), 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_array_equal(fit.predict(ROWS) == -1, proba.argmax(axis=1) == 2)
    np.testing.assert_array_equal(fit.labels_, fit.predict(ROWS))
    far = fit.noise_.upper[None] + 50.0
    np.testing.assert_array_equal(fit.predict_proba(np.concatenate([far, ROWS]))[0, 2], 0.0)
    np.testing.assert_allclose(fit.predict_proba(np.concatenate([far, ROWS]))[1:], proba)


def test_densities_of_draws_are_those_of_their_mixtures(fit):
    draws, rows = draws_of(fit.posterior_)[::300], np.concatenate([ROWS[:20], fit.noise_.upper[None] + 50.0])
    expected = [draws.mixture(s).log_prob(rows) for s in range(len(draws))]
    np.testing.assert_allclose(log_densities(draws, bayesgmm.data.Data.of(rows)), expected, rtol=1e-9)


def test_diagnosis_summary_and_loo_have_noise(fit):
    assert "noise_weight" in bayesgmm.diagnostics.invariants(fit)
    assert fit.summary(force=True).shape[0] > 0
    assert np.isfinite(fit.loo(progress=False).elpd)
    assert "noise is 23% of the rows" in str(fit)


def test_relabelled_and_plotted_it_keeps_its_noise(fit):
    tree = bayesgmm.relabel(fit, progress=False)
    np.testing.assert_array_equal(tree["posterior"]["noise_weight"], fit.posterior_["posterior"]["noise_weight"])
    fit.plot()


def test_a_saved_posterior_is_the_same(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.predict_proba(ROWS), fit.predict_proba(ROWS))
    assert again.noise_weight_ == fit.noise_weight_
    assert again.em_.noise_weight == pytest.approx(fit.em_.noise_weight)


REFUSED = [
    ("the evidence", lambda fit: bayesgmm.log_evidence(fit)),
    ("weights of modes", lambda fit: bayesgmm.combine_modes(fit)),
    ("power scaling", lambda fit: bayesgmm.power_scaling_sensitivity(fit)),
    ("posterior predictive rows", lambda fit: fit.sample(3)),
    ("posterior predictive rows", lambda fit: bayesgmm.posterior_predictive(fit)),
    ("ArviZ's groups", lambda fit: fit.to_arviz()),
    ("partitions", lambda fit: bayesgmm.sample_labels(fit)),
    ("partitions", lambda fit: bayesgmm.similarity_matrix(fit)),
    ("partitions", lambda fit: bayesgmm.estimate_partition(fit, progress=False)),
    ("partitions", lambda fit: bayesgmm.occupied_clusters(fit)),
    ("marginal and conditional mixtures", lambda fit: fit.marginal(0)),
    ("marginal and conditional mixtures", lambda fit: bayesgmm.impute(fit, ROWS)),
    ("the uncertainty of memberships", lambda fit: bayesgmm.membership_uncertainty(fit)),
    ("a check of the model", lambda fit: bayesgmm.check_model(fit, progress=False)),
    ("merging components", lambda fit: bayesgmm.merge_components(fit)),
    ("moment matching and refits", lambda fit: fit.loo(moment_match=True, progress=False)),
    ("the PyMC model", lambda fit: fit.model),
    ("a report", lambda fit: fit.report("report.html")),
    ("densities of some features", lambda fit: bayesgmm.plot_density(fit)),
]


@pytest.mark.parametrize(("what", "call"), REFUSED)
def test_what_posteriors_with_noise_do_not_offer_is_refused_by_name(fit, what, call):
    with pytest.raises(InputError, match=f"a fit without noise for {what}"):
        call(fit)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"engine": "pymc"}, "engine='pymc'"),
        ({"inference": "gibbs"}, "inference other than 'nuts'"),
        ({"inference": "laplace"}, "inference other than 'nuts'"),
        ({"missing": "marginalize"}, "missing='marginalize'"),
    ],
)
def test_what_does_not_go_with_noise_is_refused_before_sampling(settings, what):
    with pytest.raises(InputError, match=f"no {what} with a noise component"):
        BayesianGaussianMixture(2, **SETTINGS, **settings).fit(ROWS)


def test_a_prior_of_the_concentration_is_refused():
    prior = Prior.malsiner_walli(ROWS, concentration=Prior.gamma(10.0, 20.0))
    with pytest.raises(InputError, match="a concentration in numbers"):
        BayesianGaussianMixture(2, **SETTINGS, prior=prior).fit(ROWS)
