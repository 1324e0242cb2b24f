"""THAMES of a mixture: coordinates and mixtures are one another's image, also of points far away."""

import numpy as np
import pytest
from reference import FAMILIES

from bayesgmm.evidence.thames_check import _Space
from bayesgmm.evidence.thames_estimator import Blocks
from bayesgmm.mixture.covariance.family import covariance_family

D, K = 3, 2


def random_blocks(family, scale):
    """Coordinates of five points: packed factors, means, and logarithms of weights."""
    rng, one = np.random.default_rng(0), family.parametrisation
    n = one.pack(one.factors(one.blocks(np.eye(D)[None]))).shape[-1]
    entries = scale * rng.normal(size=(5, 1 if family.shared else K, n))
    own = rng.normal(size=(5, K, 1 + D))
    if family.shared:
        return Blocks(entries[:, 0], own)
    return Blocks(np.empty((5, 0)), np.concatenate([own, entries], axis=2))


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_coordinates_of_mixtures_at_coordinates_are_these(covariance_type):
    family = covariance_family(covariance_type)
    space, blocks = _Space(family, D), random_blocks(family, 1.0)
    again = space.blocks(space.points(blocks), np.random.default_rng(1))
    np.testing.assert_allclose(again.shared, blocks.shared, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(again.own[..., 1:], blocks.own[..., 1:], rtol=1e-10, atol=1e-10)
    logs = [each.own[..., 0] - np.logaddexp.reduce(each.own[..., 0], axis=1)[:, None] for each in (again, blocks)]
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_far_points_whose_covariances_are_singular_to_rounding_error_have_densities(covariance_type):
    """An ellipsoid reaches them where a component is nearly empty."""
    family = covariance_family(covariance_type)
    points = _Space(family, D).points(random_blocks(family, 20.0))
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(points.covariances)
    assert np.isfinite(points.log_scale).all()
