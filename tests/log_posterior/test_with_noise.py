"""The density with noise: SciPy's, normalizing constants included; its gradient by differences."""

import numpy as np
import pytest
from reference import FAMILIES, RESTRICTED, load_data, random_mixture
from scipy.stats import beta, multivariate_normal

from bayesgmm import Prior
from bayesgmm.data import Data
from bayesgmm.log_posterior import noisy_log_posterior
from bayesgmm.noise import NoisyMixture, Uniform
from bayesgmm.priors import Model

ROWS = load_data("faithful_noise")[:60, :2]


def density(covariance_type, *, weights=None):
    rng = np.random.default_rng(4)
    data = Data.of((ROWS - ROWS.mean(axis=0)) / ROWS.std(axis=0), row_weights=weights)
    model = Model.of(covariance_type, 3, 2, prior=Prior.weakly_informative(data.rows))
    centre = NoisyMixture.of(random_mixture(rng, covariance_type, (3, 2)), Uniform.around(data), 0.2)
    return noisy_log_posterior(data, model.required_prior, centre), data


@pytest.mark.parametrize("covariance_type", [*FAMILIES, *RESTRICTED])
def test_value_is_scipys_and_gradient_that_of_differences(covariance_type):
    found, data = density(covariance_type, weights=np.arange(60) % 3 + 1)
    rng = np.random.default_rng(6)
    for _ in range(3):
        point = 0.5 * rng.standard_normal(found.n_dim)
        value, gradient = found(point)
        mixture = found.coordinates.parameters(point[None]).mixture(0)
        parts = [
            w * multivariate_normal(m, c).pdf(data.rows)
            for w, m, c in zip(mixture.weights, mixture.means, mixture.full_covariances, strict=True)
        ]
        log_likelihood = data.weights @ np.log(sum(parts) + mixture.noise_weight / mixture.noise.volume)
        of_components = found.coordinates.of_components
        w0, scale = mixture.noise_weight, found.coordinates.scale
        expected = log_likelihood + found.prior.log_prob(mixture.components)
        expected += of_components.log_jacobian(point[:-1]) + beta(1, 9).logpdf(w0) + np.log(scale * w0 * (1.0 - w0))
        assert value == pytest.approx(expected, abs=1e-8 * abs(expected))
        for j in range(found.n_dim):
            step = np.zeros(found.n_dim)
            step[j] = 1e-5
            difference = (found(point + step)[0] - found(point - step)[0]) / 2e-5
            assert gradient[j] == pytest.approx(difference, rel=1e-5, abs=1e-5)


def test_points_and_mixtures_are_inverse():
    found, _ = density("full")
    point = 0.3 * np.random.default_rng(1).standard_normal(found.n_dim)
    mixture = found.coordinates.parameters(point[None]).mixture(0)
    np.testing.assert_allclose(found.coordinates.point(mixture), point, atol=1e-8)
