"""The second-order expansion in one pass: value, gradient and Hessian of the log posterior that NUTS samples."""

import numpy as np
import pytest
from posterior_cases import SHAPES, affine_coordinates, case
from reference import FAMILIES, RESTRICTED

from bayesgmm.data import Data
from bayesgmm.laplace.expansion import likelihood_expansion, likelihood_gradient
from bayesgmm.laplace.mode import _prior_expansion
from bayesgmm.log_posterior import LogPosterior, SparseWeights

STEP = 5e-4


def hessian(log_posterior):
    """By central differences of the exact gradient, of fourth order."""

    def difference(times):
        steps = times * STEP * np.eye(log_posterior.n_dim)
        return np.stack([log_posterior(step)[1] - log_posterior(-step)[1] for step in steps]) / (2.0 * times * STEP)

    return (4.0 * difference(1.0) - difference(2.0)) / 3.0


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", [*FAMILIES, *RESTRICTED])
def test_it_is_that_of_the_sampled_density_wherever_it_is_taken(family, shape, sparse):
    """At a mixture that is no maximum, with weights: rows by algebra, the prior by differences."""
    given, k = case(family, "independent", shape, by_cluster=False), shape[0]
    weights = np.random.default_rng(0).uniform(0.5, 3.0, len(given.X))
    data = Data.of(given.X, weights)
    around = affine_coordinates(given.elsewhere, "identity", SparseWeights(np.full(k, 0.2), -3.0) if sparse else None)
    prior = given.prior.resolve(*shape, family)
    density = LogPosterior(data, prior, around)
    rows, of_prior = likelihood_expansion(data, around), _prior_expansion(around, prior)
    value, gradient = density(np.zeros(around.n_dim))
    np.testing.assert_allclose(rows.value + of_prior.value, value, rtol=1e-12)
    scale = np.abs(rows.gradient).max() + 1.0
    np.testing.assert_allclose(rows.gradient + of_prior.gradient, gradient, atol=1e-11 * scale)
    np.testing.assert_allclose(likelihood_gradient(data, around), rows.gradient, atol=1e-11 * scale)
    scale = np.abs(rows.information).max() + 1.0
    np.testing.assert_allclose(rows.information + of_prior.information, -hessian(density), atol=1e-6 * scale)


def test_expansions_of_parts_of_the_rows_add():
    given = case("full", "independent", (3, 2))
    data, around = Data.of(given.X), given.coordinates()
    parts = [likelihood_expansion(data.take(slice(a, b)), around) for a, b in ((0, 10), (10, 23))]
    q = np.random.default_rng(0).normal(size=(5, around.n_dim))
    np.testing.assert_allclose(likelihood_expansion(data, around)(q), parts[0](q) + parts[1](q), rtol=1e-12)
    rest = likelihood_expansion(data, around) - parts[0]
    np.testing.assert_allclose(rest(q), parts[1](q), rtol=1e-9)
