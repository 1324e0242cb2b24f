"""scikit-learn's five prior parameters: the same prior by density, and the same posterior where that is known."""

import numpy as np
import pytest
from em_cases import scatter
from reference import load_data, random_mixture
from scipy.stats import multivariate_normal, wishart
from sklearn.mixture import BayesianGaussianMixture as Variational

import bayesgmm
from bayesgmm import BayesianGaussianMixture, Mixture, Prior
from bayesgmm.estimators._prior_parameters import PRIOR_PARAMETERS, PriorParameters, fitted_prior_parameters
from bayesgmm.exceptions import InputError

FAITHFUL, IRIS = load_data("faithful"), load_data("iris")[:, :3]
SCALES = {"full": scatter(IRIS) / 7, "tied": scatter(IRIS) / 7, "diag": IRIS.var(axis=0) / 7, "spherical": 0.2}
SHORT = {"draws": 20, "tune": 30, "chains": 1, "init": "best", "n_init": 1, "random_state": 1, "progress": False}
quietly = pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")


def variational(X, n_components, **settings) -> Variational:
    """scikit-learn's fit, converged, without the number that it adds to variances."""
    settings = {"weight_concentration_prior_type": "dirichlet_distribution", "n_init": 5, **settings}
    return Variational(
        n_components=n_components, tol=1e-10, reg_covar=0.0, max_iter=20_000, random_state=0, **settings
    ).fit(X)


def given(covariance_type: str) -> dict:
    return {
        "weight_concentration_prior": 0.7,
        "mean_precision_prior": 0.3,
        "mean_prior": np.array([5.0, 3.5, 3.0]),
        "degrees_of_freedom_prior": 4.5,
        "covariance_prior": SCALES[covariance_type],
    }


def posterior_less(claimed: Prior, prior: Prior, covariance_type: str) -> np.ndarray:
    """Log prior plus log-likelihood less a claimed log posterior of one component, at some parameters."""
    rng = np.random.default_rng(0)
    mixtures = [random_mixture(rng, covariance_type, (1, 3)) for _ in range(5)]
    return np.array([prior.log_prob(m) + m.log_prob(IRIS).sum() - claimed.log_prob(m) for m in mixtures])


# ---- the prior


def test_the_density_is_wishart_on_precisions_as_scikit_learn_says() -> None:
    prior = PriorParameters(**given("full")).prior(IRIS, 2, covariance_type="full")
    mixture = random_mixture(np.random.default_rng(1), "full", (2, 3))
    expected = 0.0  # log of the flat density of two weights
    for mean, covariance in zip(mixture.means, mixture.covariances, strict=True):
        precision = wishart(4.5, np.linalg.inv(SCALES["full"])).logpdf(np.linalg.inv(covariance))
        jacobian = -4.0 * np.linalg.slogdet(covariance)[1]  # d Sigma^-1 / d Sigma is |Sigma|^-(d + 1)
        expected += precision + jacobian
        expected += multivariate_normal(given("full")["mean_prior"], covariance / 0.3).logpdf(mean)
    single = Mixture(mixture.weights, mixture.means, mixture.covariances)
    flat = Prior.normal_inverse_wishart(
        concentration=1.0, kappa=prior.kappa, mean=prior.mean, dof=prior.dof, scale=prior.scale
    )
    assert flat.log_prob(single) == pytest.approx(expected, abs=1e-9)
    assert float(prior.concentration) == 0.7


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_one_component_has_scikit_learns_posterior_exactly(covariance_type) -> None:
    vb = variational(IRIS, 1, covariance_type=covariance_type, **given(covariance_type))
    dof = float(np.ravel(vb.degrees_of_freedom_)[0])
    normalised = np.reshape(vb.covariances_, (3, 3) if covariance_type != "diag" else (3,))
    scale = dof * (normalised if covariance_type != "diag" else np.diag(normalised))
    claimed = Prior.normal_inverse_wishart(
        mean=vb.means_[0], kappa=vb.mean_precision_[0], dof=dof, scale=scale, concentration=1.0
    )
    prior = PriorParameters(**given(covariance_type)).prior(IRIS, 1, covariance_type=covariance_type)
    evidence = posterior_less(claimed, prior, covariance_type)
    np.testing.assert_allclose(evidence, evidence[0], rtol=1e-11)


def test_scikit_learn_counts_a_spherical_row_once_for_all_features() -> None:
    vb = variational(IRIS, 1, covariance_type="spherical", **given("spherical"))
    dof, scale = vb.degrees_of_freedom_[0], vb.degrees_of_freedom_[0] * vb.covariances_[0]
    prior = PriorParameters(**given("spherical")).prior(IRIS, 1, covariance_type="spherical")

    def spread(dof: float, scale: float) -> float:
        claimed = Prior.normal_inverse_wishart(
            mean=vb.means_[0], kappa=vb.mean_precision_[0], dof=dof, scale=scale * np.eye(3)
        )
        return float(np.ptp(posterior_less(claimed, prior, "spherical")))

    n, d = IRIS.shape
    assert dof == 4.5 + n
    assert spread(dof, scale) > 10
    assert spread(4.5 + d * n, 0.2 + d * (scale - 0.2)) < 1e-7


def test_scikit_learn_takes_a_share_of_the_rows_for_a_tied_covariance() -> None:
    vb = variational(IRIS, 3, covariance_type="tied", **given("tied"))
    assert vb.degrees_of_freedom_ == pytest.approx(4.5 + len(IRIS) / 3)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_defaults_and_attributes_are_scikit_learns(covariance_type) -> None:
    for settings in (given(covariance_type), {"mean_precision_prior": 0.5}):
        vb = Variational(n_components=2, covariance_type=covariance_type, max_iter=500, random_state=0, **settings).fit(
            IRIS
        )
        prior = PriorParameters(**settings).prior(IRIS, 2, covariance_type=covariance_type)
        for name, value in fitted_prior_parameters(prior, covariance_type).items():
            np.testing.assert_allclose(value, getattr(vb, name), rtol=1e-12, err_msg=name)


def test_weighted_rows_are_repeated_rows() -> None:
    times = np.random.default_rng(0).integers(1, 4, len(IRIS))
    weighted = PriorParameters(mean_precision_prior=1.0).prior(
        IRIS, 2, covariance_type="full", sample_weight=times.astype(float)
    )
    repeated = PriorParameters(mean_precision_prior=1.0).prior(
        np.repeat(IRIS, times, axis=0), 2, covariance_type="full"
    )
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.scale, repeated.scale)


def test_moments_are_not_asked_of_data_where_they_are_given() -> None:
    constant = np.ones((5, 3))
    prior = PriorParameters(**given("full")).prior(constant, 1, covariance_type="full")
    np.testing.assert_array_equal(prior.scale, SCALES["full"])


# ---- two answers to one model


def standard_deviations(vb: Variational) -> tuple[np.ndarray, np.ndarray]:
    """Variational standard deviations of weights and means."""
    alpha, d = vb.weight_concentration_, vb.means_.shape[1]
    mean = alpha / alpha.sum()
    scale_less = (vb.degrees_of_freedom_ / (vb.degrees_of_freedom_ - d - 1))[:, None]
    variances = np.diagonal(vb.covariances_, axis1=1, axis2=2)
    return (
        np.sqrt(mean * (1 - mean) / (alpha.sum() + 1)),
        np.sqrt(variances * scale_less / vb.mean_precision_[:, None]),
    )


@pytest.mark.draws
@pytest.mark.parametrize(
    ("name", "largest", "smallest"),
    [("faithful", 1.05, 0.93), pytest.param("acidity", 0.93, 0.6, marks=pytest.mark.slow)],
)
def test_variational_means_are_close_and_standard_deviations_too_small(name, largest, smallest) -> None:
    X = load_data(name)
    settings = {"weight_concentration_prior": 0.5, "mean_precision_prior": 1.0}
    vb = variational(X, 2, **settings)
    order = vb.means_[:, 0].argsort()
    nuts = BayesianGaussianMixture(2, random_state=1, progress=False, **settings).fit(X)
    draws = nuts.posterior_["posterior"]
    weights_sd, means_sd = (draws[name].std(("chain", "draw")).to_numpy() for name in ("weights", "means"))
    assert np.abs((vb.weights_[order] - nuts.weights_) / weights_sd).max() < 0.3
    assert np.abs((vb.means_[order] - nuts.means_) / means_sd).max() < 0.3
    ratios = [a[order] / b for a, b in zip(standard_deviations(vb), (weights_sd, means_sd), strict=True)]
    assert max(r.max() for r in ratios) < largest
    assert min(r.min() for r in ratios) > smallest


# ---- the estimator


def test_prior_and_parameters_together_are_refused_before_any_work() -> None:
    prior = Prior.weakly_informative(FAITHFUL)
    for name in PRIOR_PARAMETERS:
        value = {"mean_prior": [3.0, 70.0], "covariance_prior": np.eye(2), "degrees_of_freedom_prior": 3.0}.get(
            name, 1.0
        )
        with pytest.raises(InputError, match=f"either prior or scikit-learn's.*prior and {name}"):
            BayesianGaussianMixture(2, prior=prior, **{name: value}).fit(FAITHFUL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_concentration_prior_type": "dirichlet_process"}, "stick-breaking.*small weight_concentration_prior"),
        ({"degrees_of_freedom_prior": 1.0}, "'degrees_of_freedom_prior' should be greater than 1, but got 1.000"),
        ({"mean_prior": [1.0, 2.0, 3.0]}, r"mean_prior with shape \(2,\); got shape \(3,\)"),
        ({"covariance_prior": [1.0, 2.0]}, r"covariance_prior with shape"),
        ({"covariance_prior": 1.0, "covariance_type": "diag"}, r"shape \(2,\) for covariance_type 'diag'; got shape"),
        ({"covariance_prior": [1.0, 2.0], "covariance_type": "spherical"}, r"shape \(\) for covariance_type"),
        ({"covariance_prior": [1.0, -2.0], "covariance_type": "diag"}, "covariance_prior > 0"),
    ],
)
def test_bad_parameters_are_refused(settings, message) -> None:
    with pytest.raises(InputError, match=message):
        BayesianGaussianMixture(2, **settings).fit(FAITHFUL)


@quietly
@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
def test_a_saved_fit_keeps_the_parameters_and_can_be_fitted_again(covariance_type, tmp_path) -> None:
    scale = np.diag([0.1, 20.0]) if covariance_type == "full" else 3.0
    settings = {"mean_prior": np.array([3.0, 70.0]), "covariance_prior": scale, "mean_precision_prior": np.float64(0.1)}
    fit = BayesianGaussianMixture(2, covariance_type=covariance_type, **settings, **SHORT).fit(FAITHFUL)
    fit.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    assert again.prior is None
    np.testing.assert_array_equal(again.covariance_prior, scale)
    np.testing.assert_array_equal(again.covariance_prior_, fit.covariance_prior_)
    assert again.weight_concentration_prior_ == 0.5
    np.testing.assert_array_equal(again.fit(FAITHFUL).means_, fit.means_)


@quietly
def test_without_them_the_prior_is_ours() -> None:
    fit = BayesianGaussianMixture(2, **SHORT).fit(FAITHFUL)
    np.testing.assert_allclose(fit.prior_.scale, scatter(FAITHFUL) / 10)
    assert not hasattr(fit, "covariance_prior_")
