"""The first M-step and the moments of data."""

import numpy as np
import pytest
from reference import FAMILIES, load_data

from bayesgmm.data.blocks import Data
from bayesgmm.em.initialization import first_step, mild_pseudo_data
from bayesgmm.em.moments import moments_of
from bayesgmm.mixture import covariance_family
from bayesgmm.priors.conjugate_counts import pseudo_data
from bayesgmm.priors.model import Model


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_moments_are_numpys(offset):
    X, v = load_data("thyroid") + offset, np.arange(215) % 4
    mean, covariance = moments_of(Data.of(X, v.astype(float)))
    np.testing.assert_allclose(mean, np.average(X, axis=0, weights=v), rtol=1e-13)
    np.testing.assert_allclose(covariance, np.cov(X.T, bias=True, fweights=v), rtol=1e-6 if offset else 1e-11)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_shares_become_weighted_moments(covariance_type):
    X = load_data("iris")
    family, shares = covariance_family(covariance_type), np.random.default_rng(0).dirichlet(np.ones(3), size=150)
    shares[:50] = [1.0, 0.0, 0.0]
    nothing = pseudo_data(None, 3, 4, family)
    got = first_step(X, shares, nothing, moments=moments_of(Data.of(X, np.ones(150))), family=family, reg_covar=0.0)
    full = np.stack([np.cov(X.T, bias=True, aweights=share) for share in shares.T])
    if family.shared:
        full = np.repeat(np.einsum("k,kij->ij", shares.mean(axis=0), full)[None], 3, axis=0)
    np.testing.assert_allclose(got.weights, shares.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got.means, (shares.T @ X) / shares.sum(axis=0)[:, None], rtol=1e-12)
    np.testing.assert_allclose(got.covariances, family.compress(full), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_a_component_without_rows_starts_in_the_middle(covariance_type):
    X, family = load_data("iris"), covariance_family(covariance_type)
    moments = moments_of(Data.of(X, np.ones(150)))
    shares = np.zeros((150, 2))
    shares[:, 0] = 1.0
    pseudo = mild_pseudo_data(moments, Model.of(covariance_type, 2, 4))
    got = first_step(X, shares, pseudo, moments=moments, family=family, reg_covar=1e-6)
    np.testing.assert_allclose(got.means[1], moments.mean)
    np.testing.assert_allclose(got.weights, [151 / 152, 1 / 152])
    assert np.linalg.eigvalsh(got.full_covariances).min() > 0
