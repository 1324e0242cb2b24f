"""Methods that one tries first exist, and are what they stand for."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.mixture

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import FAMILIES

FAITHFUL = load_old_faithful()


@pytest.fixture(scope="module")
def fit() -> BayesianGaussianMixture:
    return BayesianGaussianMixture(2, draws=250, tune=200, init="best", random_state=1, progress=False).fit(FAITHFUL)


def test_a_posterior_has_them(fit) -> None:
    assert fit.idata is fit.posterior_
    np.testing.assert_array_equal(fit.labels_, fit.predict(FAITHFUL))
    assert fit.diagnose().verdict == bayesgmm.diagnose(fit).verdict
    assert fit.loo(progress=False).elpd == bayesgmm.loo(fit, progress=False).elpd
    assert type(fit.plot()) is type(bayesgmm.plot_clusters(fit))
    unfitted = BayesianGaussianMixture(2)
    assert not hasattr(unfitted, "labels_")
    assert not hasattr(unfitted, "idata")


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"E", "V"}))
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DegeneracyWarning")
def test_scikit_learns_mixture_predicts_the_same(family: str) -> None:
    fit = GaussianMixture(3, covariance_type=family, random_state=0, n_init=2).fit(FAITHFUL)
    model = fit.to_sklearn()
    assert type(model) is sklearn.mixture.GaussianMixture
    np.testing.assert_allclose(model.predict_proba(FAITHFUL), fit.predict_proba(FAITHFUL), atol=1e-9)
    np.testing.assert_allclose(model.score_samples(FAITHFUL), fit.score_samples(FAITHFUL))
    np.testing.assert_array_equal(model.predict(FAITHFUL), fit.predict(FAITHFUL))
    assert list(model.feature_names_in_) == list(FAITHFUL.columns)
    assert model.sample(5)[0].shape == (5, 2)


@pytest.mark.parametrize("convert", [pd.Series, lambda x: pl.Series("waiting", x)], ids=["pandas", "polars"])
def test_a_named_series_is_one_feature(convert) -> None:
    x = convert(FAITHFUL["waiting"])
    fit = GaussianMixture(2, random_state=0).fit(x)
    frame = GaussianMixture(2, random_state=0).fit(FAITHFUL[["waiting"]])
    assert list(fit.feature_names_in_) == ["waiting"]
    np.testing.assert_array_equal(fit.means_, frame.means_)
    np.testing.assert_array_equal(fit.predict(x), frame.predict(FAITHFUL[["waiting"]]))


@pytest.mark.parametrize("x", [FAITHFUL["waiting"].to_numpy(), pd.Series(FAITHFUL["waiting"].to_numpy())])
def test_rows_without_columns_or_a_name_are_told_how_to_be_a_column(x) -> None:
    with pytest.raises(InputError, match=r"Expected 2D array.*X\[:, None\]"):
        GaussianMixture(2).fit(x)


def test_em_is_plotted_with_rows() -> None:
    em = GaussianMixture(2, random_state=0).fit(FAITHFUL)
    assert em.plot(FAITHFUL, backend="matplotlib") is not None
