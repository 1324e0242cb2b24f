"""`BayesianGaussianMixture` with Student-t components: draws, what is said of them, files, and what is refused."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from monte_carlo import bound, z_score
from reference import load_data
from scipy.stats import gamma, multivariate_t, t

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture
from bayesgmm.data import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws
from bayesgmm.posterior import draws_of, mean_mixture, model_of, start_mixture, with_covariances
from bayesgmm.prediction import log_densities

ROWS = load_old_faithful().to_numpy()
SETTINGS = {"component": "student_t", "random_state": 1, "progress": False}


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BayesianGaussianMixture(2, **SETTINGS, draws=250, tune=250).fit(ROWS)


@pytest.mark.draws
def test_chains_start_at_the_mode_under_the_same_prior_and_stay_around_it(fit):
    em = GaussianMixture(2, component="student_t", prior="weakly_informative", random_state=0).fit(ROWS)
    np.testing.assert_allclose(fit.em_.dof, em.dof_, rtol=1e-3)
    found = fit.posterior_["posterior"]
    off = np.abs(found["means"].mean(("chain", "draw")) - em.means_) / found["means"].std(("chain", "draw"))
    assert off.max() < 0.5
    assert not fit.posterior_["sample_stats"]["diverging"].any()


def test_attributes_say_what_is_a_covariance(fit):
    drawn = fit.posterior_["posterior"]
    np.testing.assert_allclose(fit.dof_, drawn["dof"].mean(("chain", "draw")))
    np.testing.assert_allclose(fit.scales_, drawn["scales"].mean(("chain", "draw")))
    for k, dof in enumerate(fit.dof_):
        np.testing.assert_allclose(fit.covariances_[k], dof / (dof - 2.0) * fit.scales_[k])
    assert "covariances" not in drawn
    dof = drawn["dof"].to_numpy().copy()
    dof[0, 0, 0] = 1.5
    changed = fit.posterior_.copy()
    changed["posterior"] = xr.DataTree(changed["posterior"].to_dataset().assign(dof=drawn["dof"].copy(data=dof)))
    full = with_covariances(changed)["posterior"]["covariances"].to_numpy()
    assert np.isinf(full[0, 0, 0]).all()
    np.testing.assert_allclose(full[1], (dof / (dof - 2.0))[1][..., None, None] * drawn["scales"].to_numpy()[1])


def test_summary_and_diagnosis_have_degrees_of_freedom(fit):
    table = fit.summary()
    np.testing.assert_allclose(table.loc[["dof[0]", "dof[1]"], "em"], fit.em_.dof)
    np.testing.assert_allclose(table.loc[["dof[0]", "dof[1]"], "mean"], fit.dof_)
    np.testing.assert_allclose(table.loc["scales[1, x0, x1]", "mean"], fit.scales_[1, 0, 1])
    assert not table.index.str.startswith("covariances").any()
    assert "dof" in bayesgmm.diagnostics.diagnosis.parameters(fit.posterior_)


def test_densities_and_memberships_are_averages_over_the_mixtures_drawn(fit):
    draws, rows = draws_of(fit.posterior_)[::200], np.concatenate([ROWS[:20], [[9.0, 200.0]]])
    mixtures = [draws.mixture(s) for s in range(len(draws))]
    expected = [mixture.log_prob(rows) for mixture in mixtures]
    np.testing.assert_allclose(log_densities(draws, Data.of(rows)), expected, rtol=1e-9)
    each = [
        w * multivariate_t(m, scale, df=nu).pdf(rows)
        for w, m, scale, nu in zip(draws.weights[0], draws.means[0], draws.covariances[0], draws.dof[0], strict=True)
    ]
    np.testing.assert_allclose(np.exp(expected[0]), sum(each), rtol=1e-9)
    np.testing.assert_allclose(fit.predict_proba(rows).sum(axis=1), 1.0)
    np.testing.assert_array_equal(fit.predict(ROWS), fit.labels_)
    assert np.isfinite(fit.score(rows))


def test_rows_far_from_all_clusters_weigh_little(fit):
    rows = [[2.0, 54.0], [4.3, 80.0], [3.0, 20.0]]
    weights = fit.robust_weights(rows)
    draws = draws_of(fit.posterior_)
    expected = np.mean([draws.mixture(s).robust_weights(rows) for s in range(0, 1000, 10)], axis=0)
    np.testing.assert_allclose(weights, expected, rtol=0.1)
    assert weights.argmin() == 2
    assert weights[2] < 0.6 < weights[0]
    assert fit.robust_weights().shape == (len(ROWS),)


def test_components_in_another_order_keep_their_degrees_of_freedom(fit):
    draws = draws_of(fit.posterior_)[::100]
    swapped = draws.reordered(np.tile([1, 0], (len(draws), 1)))
    np.testing.assert_array_equal(swapped.dof, draws.dof[:, ::-1])
    data = Data.of(ROWS[:5])
    np.testing.assert_allclose(log_densities(swapped, data), log_densities(draws, data))
    np.testing.assert_array_equal(Draws.joined([draws, swapped]).dof[len(draws) :], swapped.dof)


def test_relabelling_restores_what_was_shuffled(fit):
    tree, order = fit.posterior_.copy(), np.zeros((4, 250), dtype=np.int64)
    order[::2, ::3] = 1
    posterior = tree["posterior"].to_dataset()
    shuffled = {
        name: posterior[name].copy(
            data=np.where(
                order.reshape(*order.shape, *(1,) * (posterior[name].ndim - 2)),
                np.flip(posterior[name].to_numpy(), axis=2),
                posterior[name].to_numpy(),
            )
        )
        for name in ("weights", "means", "scales", "dof")
    }
    tree["posterior"] = xr.DataTree(posterior.assign(shuffled))
    found = bayesgmm.relabel(tree, progress=False)["posterior"]
    for name in shuffled:
        np.testing.assert_array_equal(found[name], posterior[name])


def test_a_saved_posterior_is_the_same(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.predict_proba(ROWS), fit.predict_proba(ROWS))
    np.testing.assert_array_equal(again.dof_, fit.dof_)
    assert again.em_.component == fit.em_.component == model_of(again.posterior_).component
    np.testing.assert_array_equal(again.em_.dof, start_mixture(fit.posterior_).dof)
    assert mean_mixture(again.posterior_).component.prior == (2.0, 0.1)


def test_loo_partitions_and_arviz_follow(fit):
    assert np.isfinite(fit.loo(progress=False).elpd)
    assert bayesgmm.similarity_matrix(fit).shape == (len(ROWS), len(ROWS))
    tree = fit.to_arviz(groups=["posterior", "log_prior"])
    assert tree["posterior"]["dof"].sizes["cluster"] == 2
    draws, model = draws_of(fit.posterior_), model_of(fit.posterior_)
    expected = model.required_prior.log_density_of(draws) + gamma(2, scale=10).logpdf(draws.dof).sum(axis=1)
    np.testing.assert_allclose(tree["log_prior"]["mixture"].to_numpy().ravel(), expected)


@pytest.mark.draws
def test_simulated_rows_have_the_tails_of_the_draws():
    n = 4_000
    draws = Draws(np.ones((1, 1)), np.zeros((1, 1, 1)), np.ones((1, 1, 1, 1)), family=start_family())
    heavy = draws.with_component(bayesgmm.mixture.component_of("student_t", 3.0), np.array([[3.0]]))
    rng = np.random.default_rng(0)
    rows, _ = bayesgmm.prediction.predictive_sample(heavy, n, rng=rng)
    far = (np.abs(rows[:, 0]) > 3.0).astype(float)
    assert abs(z_score(far.reshape(4, -1), 2.0 * t(3).cdf(-3.0))) < bound()


def start_family():
    return bayesgmm.mixture.covariance_family("full")


def test_marginals_of_draws_are_student_t(fit):
    tree = bayesgmm.marginal(fit, 0)
    draws, own = draws_of(fit.posterior_), draws_of(tree)
    expected = draws.mixture(7).marginal(0).log_prob(ROWS[:5, :1])
    np.testing.assert_allclose(own.mixture(7).log_prob(ROWS[:5, :1]), expected)


def test_variables_without_what_tells_of_the_components_are_refused(fit):
    with pytest.raises(InputError, match="a fit with Student-t components, or its DataTree"):
        bayesgmm.diagnose(fit.posterior_["posterior"].to_dataset(), ROWS)


def test_plots_show_it(fit):
    fit.plot()
    bayesgmm.plot_density(fit)
    plt.close("all")


REFUSED = [
    ("the evidence", lambda fit: bayesgmm.log_evidence(fit)),
    ("weights of modes", lambda fit: bayesgmm.combine_modes(fit)),
    ("model averaging", lambda fit: bayesgmm.average_models([fit, fit])),
    ("conditional mixtures", lambda fit: fit.condition({0: 3.0})),
    ("features predicted from others", lambda fit: fit.predict_features(ROWS[:3, 1:], observed=[1])),
    ("features predicted from others", lambda fit: bayesgmm.impute(fit, ROWS)),
    ("checks and outlier scores", lambda fit: bayesgmm.check_model(fit, progress=False)),
    ("a comparison", lambda fit: bayesgmm.compare(fit, GaussianMixture(2, random_state=0).fit(ROWS))),
    ("moment matching and refits", lambda fit: fit.loo(moment_match=True, progress=False)),
    ("the PyMC model", lambda fit: fit.model),
    ("a report", lambda fit: fit.report("report.html")),
]


@pytest.mark.parametrize(("what", "call"), REFUSED)
def test_what_is_for_gaussian_components_is_refused_by_name(fit, what, call):
    with pytest.raises(InputError, match=f"Gaussian components for {what}; got component='student_t'"):
        call(fit)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"engine": "pymc"}, "the PyMC model"),
        ({"inference": "gibbs"}, "inference='gibbs'"),
        ({"inference": "laplace"}, "inference='laplace'"),
    ],
)
def test_what_samples_gaussian_components_only_is_refused_before_sampling(settings, what):
    with pytest.raises(InputError, match=f'Gaussian components for {what}; .* Use inference="nuts"'):
        BayesianGaussianMixture(2, **SETTINGS, **settings).fit(ROWS)


def test_a_gaussian_refit_leaves_nothing_behind(fit):
    again = BayesianGaussianMixture(2, **SETTINGS)
    again._set_posterior(fit.posterior_)
    assert hasattr(again, "dof_")
    plain = BayesianGaussianMixture(1, draws=20, tune=20, chains=1, random_state=0, progress=False, init="best")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again._set_posterior(plain.fit(ROWS).posterior_)
    assert not hasattr(again, "dof_")
    assert not hasattr(again, "scales_")


@pytest.mark.draws
def test_degrees_of_freedom_that_are_given_stay():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = BayesianGaussianMixture(1, dof=5.0, **SETTINGS, draws=50, tune=100, chains=2).fit(ROWS)
    np.testing.assert_array_equal(fit.posterior_["posterior"]["dof"], 5.0)
    assert np.isfinite(fit.diagnose().figures.invariants.r_hat)


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dof", ["each", "shared"])
@pytest.mark.parametrize(("name", "n_components"), [("faithful", 2), ("iris", 3)])
def test_chains_mix(name, n_components, dof, seed):
    rows = load_data(name)[:, : 2 if name == "faithful" else 4]
    fit = BayesianGaussianMixture(n_components, component="student_t", dof=dof, random_state=seed, progress=False)
    found = fit.fit(rows).diagnose()
    assert found.figures.invariants.r_hat < 1.01
    assert found.figures.relabelled.r_hat < 1.01
