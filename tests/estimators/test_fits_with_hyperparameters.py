"""Whole fits under priors whose scale is sampled, and under separation priors."""

import arviz_stats as azs
import numpy as np
import pytest
from monte_carlo import FALSE_ALARM, bound
from reference import load_data
from scipy.stats import chi2, kstest

import bayesgmm
from bayesgmm import BayesianGaussianMixture, Prior, combine_modes
from bayesgmm.mixture.mixture import Mixture

pytestmark = pytest.mark.draws


def separation(X) -> Prior:
    v = X.var(axis=0)
    return Prior.separation(
        mean=X.mean(axis=0), mean_covariance=np.diag(4 * v), variance_shape=2, variance_scale=v / 10, eta=2
    )


def fit(X, k, prior, **settings) -> BayesianGaussianMixture:
    settings = {"random_state": 1, "progress": False, **settings}
    return BayesianGaussianMixture(k, prior=prior, **settings).fit(X)


def check_scales(posterior, prior) -> None:
    """The scales are draws given the covariances of the same draws."""
    covariances, drawn = posterior["covariances"].to_numpy(), posterior["prior_scale"].to_numpy()
    count = prior.scale_prior.dof + covariances.shape[2] * float(prior.dof)
    inner = np.linalg.inv(prior.scale_prior.scale) + np.linalg.inv(covariances).sum(axis=2)
    traces = np.trace(inner @ drawn, axis1=-2, axis2=-1).ravel()  # chi square of N d degrees of freedom, independent
    assert kstest(chi2(count * drawn.shape[-1]).cdf(traces), "uniform").pvalue > FALSE_ALARM


def test_a_fit_has_its_scale_and_keeps_it_in_a_file(tmp_path):
    X = load_data("faithful")
    model = fit(X, 2, Prior.malsiner_walli(X, concentration=1), draws=500)
    posterior = model.posterior_["posterior"].to_dataset()
    assert posterior["prior_scale"].dims == ("chain", "draw", "feature", "feature_bis")
    check_scales(posterior, model.prior_)
    model.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.posterior_["posterior"]["prior_scale"], posterior["prior_scale"])
    mixture = Mixture(model.weights_, model.means_, model.covariances_)
    assert again.prior_.log_prob(mixture) == model.prior_.log_prob(mixture)
    assert bayesgmm.diagnose(again).verdict == bayesgmm.diagnose(model).verdict
    summary = model.summary()
    assert np.isfinite(summary["mean"]).all()


def test_pooled_modes_get_scales_of_their_own():
    X = load_data("iris")
    model = fit(X, 3, Prior.malsiner_walli(X), draws=150, tune=150)  # two and three occupied components
    assert "modes" in model.posterior_.attrs
    check_scales(model.posterior_["posterior"].to_dataset(), model.prior_)
    again = combine_modes(model, random_state=2)
    check_scales(again["posterior"].to_dataset(), model.prior_)


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")  # 300 draws are few
def test_separation_fits(tmp_path):
    X = load_data("faithful")
    model = fit(X, 2, separation(X), draws=300)
    assert set(model.posterior_["posterior"].data_vars) == {"weights", "means", "covariances"}
    model.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc").prior_
    assert again.variances.eta == 2.0
    np.testing.assert_array_equal(again.variances.variance_scale, X.var(axis=0) / 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["malsiner_walli", "separation", "richardson_green"])
def test_both_engines_have_the_same_posterior(name):
    X = load_data("faithful")[::4]
    X = X[:, 1:] if name == "richardson_green" else X
    prior = {
        "malsiner_walli": lambda: Prior.malsiner_walli(X, concentration=1),
        "richardson_green": lambda: Prior.richardson_green(X),
        "separation": lambda: separation(X),
    }[name]()
    draws = [
        fit(X, 2, prior, engine=engine, init="best", draws=800).posterior_["posterior"].to_dataset()
        for engine in ("native", "pymc")
    ]
    for variable in draws[0].data_vars:
        for statistic, method in (("mean", "mean"), ("std", "sd")):
            values = [getattr(d[variable], statistic)(("chain", "draw")).to_numpy() for d in draws]
            errors = [azs.mcse(d, method=method)[variable].to_numpy() for d in draws]
            assert (np.abs(values[0] - values[1]) < bound(len(errors[0].ravel())) * np.hypot(*errors)).all(), (
                variable,
                statistic,
            )


@pytest.mark.slow
def test_galaxies_under_richardson_and_greens_prior():
    X = load_data("galaxies")
    model = fit(X, 3, Prior.richardson_green(X), draws=4000, tune=1000)
    assert model.converged_
    np.testing.assert_allclose(model.means_.ravel(), [9.7, 21.4, 32.7], atol=0.5)
