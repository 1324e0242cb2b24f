"""The density of candidates: the posterior given allocations where that is known, and a density everywhere."""

import numpy as np
import pytest
from monte_carlo import bound

from bayesgmm.data import Data
from bayesgmm.evidence import Conditionals
from bayesgmm.mixture import Draws
from bayesgmm.priors import Model, Prior
from bayesgmm.split_merge.moves import _moments
from bayesgmm.split_merge.pair_density import PairDensity

RNG = np.random.default_rng(0)
X = np.asfortranarray(np.concatenate([RNG.normal(size=(14, 3)), RNG.normal(size=(12, 3)) + 2.0]))
LABELS = np.stack([np.repeat([0, 1], [14, 12]), np.repeat([0, 1], [25, 1]), np.zeros(26, dtype=np.int64)])
PRIORS = {
    "independent": Prior.weakly_informative(X),
    "conjugate": Prior.normal_inverse_wishart(mean=X.mean(axis=0), kappa=0.1, dof=6.0, scale=0.3 * np.eye(3)),
}
FAMILIES = ("full", "diag", "spherical")


def density(covariance_type, prior, weights=(0.5, 0.3, 0.2)):
    resolved = Model.of(covariance_type, 2, 3, prior=PRIORS[prior]).required_prior
    member = (LABELS[:, None] == np.arange(2)[:, None]).astype(float)
    moments = member @ _moments(Data(X), resolved)
    with np.errstate(divide="ignore"):
        return PairDensity.of_moments(resolved, np.log(weights), moments)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_under_a_conjugate_prior_it_is_the_posterior_given_the_allocations(covariance_type):
    own = density(covariance_type, "conjugate", np.full(3, 1 / 3))
    points = own.sample(50, rng=np.random.default_rng(1))
    same = Conditionals.of_prior(own.prior).given(Data(X), LABELS, points[:3])
    np.testing.assert_allclose(own.log_density(points), same.log_density(points), rtol=1e-9)


@pytest.mark.draws
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_points_have_the_density(covariance_type, prior, which):
    """A part of a mixture over the whole has the mean one under the whole, and is at most one over its weight."""
    own, part = density(covariance_type, prior), density(covariance_type, prior, np.eye(3)[which])
    points = own.sample(20_000, rng=np.random.default_rng(1))
    ratio = np.exp(part.log_density(points) - own.log_density(points))
    assert abs(ratio.mean() - 1.0) < bound(18) * ratio.std() / np.sqrt(len(ratio))


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_labels_carry_no_meaning(covariance_type):
    own = density(covariance_type, "independent")
    points = own.sample(20, rng=np.random.default_rng(2))
    swapped = points.reordered(np.tile([1, 0], (20, 1)))
    np.testing.assert_allclose(own.log_density(points), own.log_density(swapped), rtol=1e-12)
    assert isinstance(points, Draws)
