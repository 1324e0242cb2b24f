"""``standardize=True``: the fit of a pipeline with StandardScaler, in units of the data."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import FAMILIES, Equivariance

FAITHFUL = load_old_faithful()
STRONG = Prior.independent(mean=[0.5, -0.5], mean_covariance=np.eye(2) / 50, dof=40.0, scale=np.eye(2), concentration=2)
EQUIVARIANT = [name for name, family in FAMILIES.items() if family.equivariance & Equivariance.SCALES and len(name) > 1]


@pytest.mark.parametrize("prior", [STRONG, "fraley_raftery"], ids=["numbers", "named"])
@pytest.mark.parametrize("family", EQUIVARIANT)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_em_is_that_of_a_pipeline_in_units_of_the_data(family, prior, weighted) -> None:
    weights = np.random.default_rng(0).integers(0, 3, len(FAITHFUL)) if weighted else None
    settings = {"covariance_type": family, "prior": prior, "random_state": 0, "n_init": 3, "tol": 1e-10}
    scaler = StandardScaler()
    scaled = GaussianMixture(2, **settings).fit(scaler.fit_transform(FAITHFUL, sample_weight=weights), None, weights)
    fit = GaussianMixture(2, standardize=True, **settings).fit(FAITHFUL, sample_weight=weights)
    assert list(fit.feature_names_in_) == list(FAITHFUL.columns)
    np.testing.assert_allclose(fit.means_, scaler.inverse_transform(scaled.means_), rtol=1e-5)
    products = np.outer(scaler.scale_, scaler.scale_)
    expected = scaled.mixture_.full_covariances * products
    np.testing.assert_allclose(fit.mixture_.full_covariances, expected, rtol=1e-4, atol=1e-6)
    plain = GaussianMixture(2, **settings).fit(FAITHFUL, sample_weight=weights)
    if prior is STRONG:  # its numbers mean something else in minutes
        assert np.abs(plain.means_ - fit.means_).max() > 0.1


def test_so_is_the_posterior() -> None:
    settings = {"prior": STRONG, "draws": 300, "tune": 200, "init": "best", "random_state": 0, "progress": False}
    pipeline = make_pipeline(StandardScaler(), BayesianGaussianMixture(2, **settings)).fit(FAITHFUL)
    scaler, scaled = pipeline[0], pipeline[1]
    fit = BayesianGaussianMixture(2, standardize=True, **settings).fit(FAITHFUL)
    assert fit.prior_.mean == pytest.approx(scaler.mean_ + scaler.scale_ * STRONG.mean)
    np.testing.assert_allclose(fit.em_.means, scaler.inverse_transform(scaled.em_.means), rtol=1e-4)
    sd = fit.posterior_["posterior"]["means"].std(("chain", "draw")).to_numpy()
    assert np.abs((fit.means_ - scaler.inverse_transform(scaled.means_)) / sd).max() < 0.5  # error of means: 0.05


@pytest.mark.draws
def test_scikit_learns_prior_parameters_too(tmp_path) -> None:
    fit = BayesianGaussianMixture(
        2, mean_prior=[0.0, 0.0], covariance_prior=np.eye(2), standardize=True, draws=50, tune=100, progress=False
    ).fit(FAITHFUL)
    np.testing.assert_allclose(fit.mean_prior_, FAITHFUL.mean())
    np.testing.assert_allclose(np.diagonal(fit.covariance_prior_), FAITHFUL.var(ddof=0))
    fit.save(tmp_path / "fit.nc")
    assert bayesgmm.load(tmp_path / "fit.nc").standardize


@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
@pytest.mark.parametrize("family", ["spherical", "tied_spherical"])
def test_spheres_are_none_in_other_units(kind, family) -> None:
    with pytest.raises(InputError, match=r"clusters keep their kind .*'VEI' or 'tied_diag'"):
        kind(2, covariance_type=family, standardize=True).fit(FAITHFUL)


def test_a_floor_with_units_is_refused() -> None:
    with pytest.raises(InputError, match=r"reg_covar=None with standardize=True.*0\.1"):
        GaussianMixture(2, reg_covar=0.1, standardize=True).fit(FAITHFUL)
