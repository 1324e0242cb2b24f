"""Criteria against scikit-learn's and against mclust's numbers."""

import numpy as np
import pytest
from em_cases import best_fit
from reference import SCIKIT_LEARNS, load_data, random_mixture
from sklearn.mixture import GaussianMixture as Theirs

from bayesgmm.data.blocks import Data
from bayesgmm.mixture.information_criteria import aic, bic, icl, measure


@pytest.mark.parametrize("covariance_type", SCIKIT_LEARNS)
def test_aic_and_bic_equal_scikit_learn(covariance_type):
    X = load_data("iris")
    mixture = random_mixture(np.random.default_rng(0), covariance_type, (3, 4))
    theirs = Theirs(3, covariance_type=covariance_type)
    theirs.weights_, theirs.means_, theirs.covariances_ = mixture.weights, mixture.means, mixture.covariances
    upper = np.swapaxes(mixture.precision_factors, -1, -2)
    theirs.precisions_cholesky_ = {
        "full": upper,
        "tied": upper[0],
        "diag": mixture.precision_factors[:, 0],
        "spherical": mixture.precision_factors[:, 0, 0],
    }[covariance_type]
    measured = measure(Data.of(X), mixture)
    assert measured.n_parameters == theirs._n_parameters()
    assert aic(measured) == pytest.approx(theirs.aic(X), rel=1e-12)
    assert bic(measured) == pytest.approx(theirs.bic(X), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "covariance_type", "k", "mclust_icl"),
    [("faithful", "full", 2, 2322.697), ("iris", "tied", 3, 637.840), ("thyroid", "diag", 3, 4784.515)],
)
def test_icl_equals_mclust(name, covariance_type, k, mclust_icl):
    """Up to mclust's stopping rule, which leaves memberships a little further from the optimum than likelihoods."""
    X = load_data(name)
    best, _ = best_fit(Data.of(X), k, rng=np.random.default_rng(0), covariance_type=covariance_type)
    measured = measure(Data.of(X), best.mixture)
    assert icl(measured) == pytest.approx(mclust_icl, abs=0.1)
    assert icl(measured) - bic(measured) > 0.5


def test_row_weights_are_repeated_rows():
    X, v = load_data("galaxies"), np.arange(82) % 3
    mixture = random_mixture(np.random.default_rng(0), "full", (2, 1))
    weighted, repeated = measure(Data.of(X, v), mixture), measure(Data.of(np.repeat(X, v, axis=0)), mixture)
    assert weighted.n_rows == repeated.n_rows == v.sum()
    assert weighted.log_likelihood == pytest.approx(repeated.log_likelihood, rel=1e-12)
    assert weighted.log_certainty == pytest.approx(repeated.log_certainty, rel=1e-9)
