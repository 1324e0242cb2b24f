"""What counts as a collapsed component."""

import numpy as np
import pytest

from bayesgmm.algorithms.soundness import COLLAPSED, collapsed, ill_defined
from bayesgmm.ground.mixture import Mixture


def mixture(smallest, covariance_type):
    covariances = {
        "full": [np.eye(2), np.diag([smallest, 1.0])],
        "diag": [[1.0, 1.0], [smallest, 1.0]],
        "spherical": [1.0, smallest],
    }
    return Mixture([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], covariances[covariance_type], covariance_type)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_a_thousandth_of_the_variance_of_the_data_is_collapsed(covariance_type):
    assert collapsed(mixture(0.9 * COLLAPSED, covariance_type), np.eye(2), 1e-6)
    assert not collapsed(mixture(1.1 * COLLAPSED, covariance_type), np.eye(2), 1e-6)
    assert collapsed(mixture(0.01, covariance_type), np.eye(2), 0.01)  # at the floor


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_only_rounding_errors_are_ill_defined(covariance_type):
    assert not ill_defined(mixture(1e-12, covariance_type))
    assert ill_defined(mixture(1e-61, covariance_type)) or covariance_type == "full"
