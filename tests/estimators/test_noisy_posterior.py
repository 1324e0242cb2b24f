"""`noise=` of `BayesianGaussianMixture`: draws, what a posterior says of noise, keeps in a file, and refuses."""

import warnings

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from monte_carlo import bound, z_score
from reference import load_data
from scipy.special import entr
from scipy.stats import beta, norm

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture, Mixture, Prior
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws
from bayesgmm.model_checks.predictive_cdf import predictive_cdf
from bayesgmm.noise import NOISE_PRIOR
from bayesgmm.plots._data import shown
from bayesgmm.plots.density import credible_band, curves, density_grid
from bayesgmm.posterior import draws_of
from bayesgmm.prediction import log_densities, reference, simulated_rows
from bayesgmm.style import DATA

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


def memberships_of_draws(fit, which):
    """Of every row in components and noise under some draws, by their mixtures (draw, obs, group)."""
    draws = draws_of(fit.posterior_)
    return np.array([draws.mixture(s).responsibilities(ROWS) for s in which])


def test_the_summary_has_the_weight_of_noise(fit):
    row = fit.summary(force=True).loc["noise_weight"]
    drawn = fit.posterior_["posterior"]["noise_weight"]
    assert row["em"] == fit.em_.noise_weight
    np.testing.assert_allclose(row[["mean", "sd"]].astype(float), [drawn.mean(), drawn.std(ddof=1)], rtol=1e-9)


def test_rows_that_are_both_noise_are_together(fit):
    every = memberships_of_draws(fit, range(fit.posterior_["posterior"]["weights"].size // 2))
    expected = np.einsum("sik,sjk->ij", every, every) / len(every)
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(bayesgmm.similarity_matrix(fit), expected, atol=1e-9)
    split = bayesgmm.membership_uncertainty(fit)
    np.testing.assert_allclose(split["total"], entr(every.mean(axis=0)).sum(axis=1), atol=1e-9)
    np.testing.assert_allclose(split["overlap"], entr(every).sum(axis=2).mean(axis=0), atol=1e-9)


@pytest.mark.draws
def test_drawn_labels_are_noise_as_often_as_memberships_say(fit):
    labels = bayesgmm.sample_labels(fit, random_state=3).to_numpy().reshape(-1, len(ROWS))
    p = memberships_of_draws(fit, range(len(labels)))[:, :, 2]
    z = ((labels == -1).sum() - p.sum()) / np.sqrt((p * (1.0 - p)).sum())
    assert abs(z) < bound()
    found = bayesgmm.occupied_clusters(labels)
    assert float(found["probability"].sel(n_clusters=2)) == 1.0  # noise is no cluster


@pytest.mark.draws
def test_the_best_partition_marks_noise(fit):
    found = bayesgmm.estimate_partition(fit, n_runs=2, random_state=0, progress=False)
    assert found.n_clusters == 2
    assert (np.asarray(found.labels == -1) != (fit.predict(ROWS) == -1)).mean() < 0.05
    assert "of noise" in repr(found)
    ball = bayesgmm.credible_ball(found, fit, random_state=0)
    assert ball.radius < 2.0


def test_labels_of_minus_one_are_one_cluster_and_marked_where_they_are_most():
    draws = [[0, 0, 1, 1, -1, -1]] * 5 + [[0, 0, 1, 1, 1, -1]]
    found = bayesgmm.estimate_partition(draws, random_state=0, progress=False)
    assert found.labels.tolist() == [0, 0, 1, 1, -1, -1]
    assert bayesgmm.similarity_matrix(draws).to_numpy()[4, 5] == pytest.approx(5 / 6)
    assert bayesgmm.occupied_clusters(draws)["probability"].to_numpy().tolist() == [0.0, 0.0, 1.0, 0.0]
    assert bayesgmm.estimate_partition([[0, 0, 1]] * 3, random_state=0, progress=False).labels.min() == 0


@pytest.mark.draws
def test_simulated_rows_are_noise_as_often_as_it_weighs(fit):
    draws = draws_of(fit.posterior_)
    far = Draws.of_mixture(Mixture([1.0], [[1e4, 1e4]], [np.eye(2)])).with_noise(fit.noise_, np.array([0.3]))
    rows = simulated_rows(far, np.array([0]), 4_000, rng=np.random.default_rng(1))[0]
    noisy = rows[:, 0] < 1e3
    assert abs(noisy.sum() - 0.3 * len(rows)) / np.sqrt(0.21 * len(rows)) < bound()
    assert fit.noise_.holds(rows[noisy].T).all()
    rows, labels = fit.sample(4_000)
    p = float(draws.noise_weight.mean())
    assert abs((labels == -1).mean() - p) / np.sqrt(p * (1.0 - p) / len(labels)) < bound()
    assert fit.noise_.holds(rows[labels == -1].T).all()
    assert bayesgmm.posterior_predictive(fit, n_samples=8)["posterior_predictive"]["y"].shape == (4, 2, len(ROWS), 2)


def test_groups_for_arviz_have_the_weight_of_noise_and_its_prior(fit):
    tree = fit.to_arviz(draws=8, random_state=0)
    drawn = tree["posterior"]["noise_weight"].to_numpy()
    np.testing.assert_allclose(tree["log_prior"]["noise_weight"], beta(*NOISE_PRIOR).logpdf(drawn))
    components = [draws_of(fit.posterior_).mixture(s).components for s in (0, 249)]
    expected = [fit.prior_.resolve(2, 2, "tied").log_prob(each) for each in components]
    np.testing.assert_allclose(tree["log_prior"]["mixture"][0, [0, -1]], expected, rtol=1e-9)
    assert 0.0 < tree["prior"]["noise_weight"].mean() < 0.5
    table = bayesgmm.power_scaling_sensitivity(fit)
    assert table.loc["noise_weight", "likelihood"] > 0.05


def test_the_predictive_distribution_of_a_feature_has_noise(fit):
    draws, data = draws_of(fit.posterior_)[::100], bayesgmm.data.Data.of(ROWS[:25])
    found = predictive_cdf(draws, data, reference(draws, rng=np.random.default_rng(0)), left_out=False)
    mixtures = [draws.mixture(s) for s in range(len(draws))]
    own = [
        sum(w * norm(m, np.sqrt(c)).cdf(data.rows) for w, m, c in zip(each.weights, each.means, variances, strict=True))
        + each.noise_weight * fit.noise_.cdf(data.rows)
        for each, variances in zip(mixtures, draws.variances, strict=True)
    ]
    np.testing.assert_allclose(found.features, np.mean(own, axis=0), atol=1e-9)
    np.testing.assert_allclose(np.exp(found.log_density), np.exp(log_densities(draws, data)).mean(axis=0))


@pytest.mark.draws
def test_checks_refit_the_noise(fit):
    found = bayesgmm.check_model(fit, n_replicates=39, random_state=0, progress=False)
    assert "2 components and noise" in found.findings[0]
    assert (found.pit_table["p"] > 1e-4).all()


@pytest.mark.draws
def test_fits_with_noise_agree_with_em(fit):
    em = GaussianMixture(2, covariance_type="tied", noise=True, random_state=1).fit(ROWS)
    found = bayesgmm.compare(em, fit, bootstrap=0, folds=2, progress=False)
    row = found.parameters.loc["noise_weight"]
    assert row["em"] == em.noise_weight_
    assert abs(row["difference"]) < 0.5
    assert found.partitions.cross_table.loc[-1, -1] == (found.partitions.labels == -1).all(axis=1).sum()
    assert found.partitions.ari > 0.9
    found.plot()


@pytest.mark.parametrize("plot", [bayesgmm.plot_components, bayesgmm.plot_pairs, bayesgmm.plot_membership_uncertainty])
def test_plots_draw_rows_of_noise_in_grey(fit, plot):
    figure = plot(fit).viz["figure"].item()
    panel = figure.axes[2 if plot is bayesgmm.plot_pairs else 0]
    drawn = [each for each in panel.collections if len(each.get_edgecolors())]
    grey = [each for each in drawn if np.allclose(each.get_edgecolors()[:, :3], to_rgb(DATA))]
    assert sum(len(each.get_offsets()) for each in grey) == (fit.predict(ROWS) == -1).sum()


def test_densities_in_plots_have_noise(fit):
    sample = shown(fit.posterior_, None, names={}, num_samples=50, labelled=False, force=True)
    grid = density_grid(sample, [0, 1])
    area = float((grid["x"][1] - grid["x"][0]) * (grid["y"][1] - grid["y"][0]))
    assert float(grid.sum()) * area == pytest.approx(1.0, abs=0.02)
    found = curves(sample, 0, credible_band(None, None))
    assert np.trapezoid(found.mean, found.at) == pytest.approx(1.0, abs=0.02)
    assert np.trapezoid(found.components.sum(axis=0), found.at) == pytest.approx(fit.weights_.sum(), abs=0.05)
    figure = bayesgmm.plot_similarity(fit, max_rows=100, num_samples=50).viz["figure"].item()
    assert "2 estimated clusters and noise" in figure.axes[0].get_title()


REFUSED = [
    ("the evidence", lambda fit: bayesgmm.log_evidence(fit)),
    ("weights of modes", lambda fit: bayesgmm.combine_modes(fit)),
    ("marginal and conditional mixtures", lambda fit: fit.marginal(0)),
    ("marginal and conditional mixtures", lambda fit: bayesgmm.impute(fit, ROWS)),
    ("merging components", lambda fit: bayesgmm.merge_components(fit)),
    ("moment matching and refits", lambda fit: fit.loo(moment_match=True, progress=False)),
    ("the PyMC model", lambda fit: fit.model),
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
