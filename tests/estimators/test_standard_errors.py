"""Standard errors and the bootstrap as methods of `GaussianMixture`."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import load_data

from bayesgmm import GaussianMixture
from bayesgmm.standard_errors.bootstrap_replicates import bootstrap
from bayesgmm.standard_errors.information import standard_errors


def fitted(X, **kwargs):
    return GaussianMixture(2, n_init=2, random_state=0, tol=1e-9, **kwargs).fit(X)


@pytest.mark.parametrize("prior", [None, "weakly_informative"])
def test_standard_errors_are_those_of_the_fit(prior):
    X = load_data("faithful")
    fit = fitted(X, prior=prior)
    found, want = fit.standard_errors(X), standard_errors(X, fit.mixture_, prior=fit.prior_)
    assert_array_equal(found.covariance, want.covariance)
    assert found.distance < 1e-2
    robust = fit.standard_errors(X, robust=True)
    assert robust.robust
    assert (robust.means != found.means).all()


def test_sample_weight_counts_rows():
    X = load_data("faithful")
    counts = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    fit = GaussianMixture(2, n_init=2, random_state=0, tol=1e-9).fit(X, sample_weight=counts)
    many = np.repeat(X, counts.astype(int), axis=0)
    assert_allclose(fit.standard_errors(X, counts).means, fit.standard_errors(many).means, rtol=1e-8)
    assert fit.bootstrap(X, counts, n_replicates=5).n_replicates == 5


def test_the_bootstrap_has_the_seed_and_settings_of_the_estimator():
    X = load_data("faithful")
    fit = fitted(X, prior="weakly_informative")
    found = fit.bootstrap(X, kind="weighted", n_replicates=8)
    assert_array_equal(found.means, fit.set_params(n_jobs=3).bootstrap(X, kind="weighted", n_replicates=8).means)
    child = np.random.default_rng(0).spawn(1)[0]
    want = bootstrap(X, fit.mixture_, rng=child, kind="weighted", n_replicates=8, prior=fit.prior_)
    assert_allclose(found.means, want.means, rtol=1e-3)


def test_progress_is_silent_unless_somebody_watches(capsys, monkeypatch):
    X = load_data("faithful")
    fit = fitted(X)
    fit.bootstrap(X, n_replicates=4)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    fit.bootstrap(X, n_replicates=4)
    assert "4/4" in capsys.readouterr().err
    fit.bootstrap(X, n_replicates=4, progress=False)
    assert capsys.readouterr() == ("", "")
