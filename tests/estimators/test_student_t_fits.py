"""`GaussianMixture` with Student-t components: attributes, files, criteria, and what is refused."""

import numpy as np
import pytest

import bayesgmm
from bayesgmm import GaussianMixture, check_model, select_components
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError

X = load_old_faithful().to_numpy()


@pytest.fixture(scope="module")
def fit():
    return GaussianMixture(2, component="student_t", random_state=0).fit(X)


def test_attributes_say_what_is_a_covariance(fit):
    assert fit.log_likelihood_ == pytest.approx(-1129.9602, abs=2e-3)  # the reference's optimum
    assert fit.dof_.shape == (2,)
    for k, dof in enumerate(fit.dof_):
        np.testing.assert_allclose(fit.covariances_[k], dof / (dof - 2.0) * fit.scales_[k])
    np.testing.assert_allclose(fit.precisions_ @ fit.covariances_, [np.eye(2)] * 2, atol=1e-9)
    upper = fit.precisions_cholesky_
    np.testing.assert_allclose(upper @ np.swapaxes(upper, 1, 2), fit.precisions_)
    n = fit.n_parameters()
    assert n == 13
    assert fit.bic() == pytest.approx(-2.0 * fit.log_likelihood_ + n * np.log(len(X)))


def test_covariances_do_not_exist_for_two_degrees_of_freedom():
    fit = GaussianMixture(2, component="student_t", dof=2.0, random_state=0).fit(X)
    assert np.isinf(fit.covariances_).all()
    assert not fit.precisions_.any()
    assert np.isfinite(fit.scales_).all()
    assert fit.n_parameters() == 11


def test_a_gaussian_refit_leaves_nothing_behind(fit):
    refit = GaussianMixture(2, component="student_t", random_state=0).fit(X).set_params(component="gaussian").fit(X)
    assert not hasattr(refit, "dof_")
    assert not hasattr(refit, "scales_")


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
@pytest.mark.parametrize("prior", [None, "weakly_informative"])
def test_files_give_the_same_fit(tmp_path, covariance_type, prior):
    settings = {"covariance_type": covariance_type, "prior": prior, "n_init": 2, "random_state": 0}
    fit = GaussianMixture(2, component="student_t", dof="shared", **settings).fit(X)
    fit.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.predict_proba(X), fit.predict_proba(X))
    np.testing.assert_array_equal(again.dof_, fit.dof_)
    assert again.bic() == fit.bic()
    assert again.mixture_.component == fit.mixture_.component
    assert again.set_params(warm_start=True, n_init=1).fit(X).log_likelihood_ >= fit.log_likelihood_ - 1.0


def test_labels_and_missing_values(fit):
    labels = np.full(len(X), -1)
    labels[:20] = fit.predict(X[:20])
    labelled = GaussianMixture(2, component="student_t", random_state=0).fit(X, labels=labels)
    assert labelled.log_likelihood_ <= fit.log_likelihood_ + 1e-6
    holes = X.copy()
    holes[::5, 0] = np.nan
    marginalized = GaussianMixture(2, component="student_t", missing="marginalize", random_state=0).fit(holes)
    assert marginalized.converged_
    assert -np.diff(marginalized.history_).min() <= 1e-8


def test_rows_that_fit_badly_weigh_little(fit):
    weights = fit.mixture_.robust_weights([[2.0, 54.0], [4.3, 80.0], [3.0, 20.0]])
    assert weights.argmin() == 2
    assert weights[2] < 0.6 < weights[0]


ENTRIES = {
    "conditional mixtures": lambda fit: fit.condition({0: 3.0}),
    "features predicted from others": lambda fit: fit.predict_features(X[:3, 1:], observed=[1]),
    "features predicted from others, impute": lambda fit: fit.impute([[np.nan, 60.0]]),
    "standard errors": lambda fit: fit.standard_errors(X),
    "the bootstrap": lambda fit: fit.bootstrap(X, progress=False),
    "a report": lambda fit: fit.report("unwritten.html", X),
    "plots of components": lambda fit: fit.plot(X),
    "scikit-learn's mixture": lambda fit: fit.to_sklearn(),
    "checks and outlier scores": lambda fit: check_model(fit, X, progress=False),
    "checks and outlier scores, scores": lambda fit: bayesgmm.outlier_scores(fit, X, progress=False),
    "a comparison": lambda fit: bayesgmm.compare(fit, fit, X),
}


@pytest.mark.parametrize("what", ENTRIES)
def test_what_is_for_gaussian_components_is_refused_by_name(fit, what):
    with pytest.raises(
        InputError, match=f"Gaussian components for {what.partition(',')[0]}; got component='student_t'"
    ):
        ENTRIES[what](fit)


def test_parameters_set_by_hand_are_refused():
    fit = GaussianMixture(2, component="student_t", dof=5.0, n_init=1, random_state=0).fit(X)
    fit.means_ = fit.means_ + 1.0
    with pytest.raises(InputError, match="parameters set by hand"):
        fit.predict(X)


def test_selection_compares_components():
    found = select_components(X, [1, 2], "full", component=["gaussian", "student_t"], random_state=1, progress=False)
    assert found.table.index.names == ["covariance_type", "component", "n_components"]
    assert found.winner == ("full", "gaussian", 2)
    assert found.table.loc[("full", "student_t", 2), "n_parameters"] == 13
    assert "full (gaussian) with K = 2" in str(found)
    assert found.plot() is not None
    with pytest.raises(InputError, match="Gaussian components for criteria by NUTS"):
        select_components(X, 2, component=["student_t"], criterion="loo", progress=False)
    with pytest.raises(InputError, match="at least one component"):
        select_components(X, 2, component=[], progress=False)


@pytest.mark.draws
def test_checks_suggest_student_t_components_where_tails_are_heavy():
    rng = np.random.default_rng(0)
    heavy, normal = rng.standard_t(3.0, (400, 2)), rng.normal(size=(400, 2))
    for rows in (heavy, normal):
        found = check_model(GaussianMixture(1).fit(rows), rows, n_replicates=99, progress=False, random_state=0)
        kurtosis = found.gaussianity.loc["kurtosis"]
        is_reason = found.p_value <= 0.05 and kurtosis["p"] <= 0.05 and kurtosis["observed"] > kurtosis["median"]
        suggested = any(sentence.startswith("Heavy tails suggest Student-t components") for sentence in found.findings)
        assert suggested == is_reason
        assert suggested or rows is normal
