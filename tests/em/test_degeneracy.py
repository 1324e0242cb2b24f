"""What counts as a collapsed component."""

import numpy as np
import pytest

from bayesgmm.data.blocks import Data
from bayesgmm.em.degeneracy import COLLAPSED, Degeneracy
from bayesgmm.em.moments import Moments, moments_of
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.model import Model


def mixture(smallest, covariance_type):
    covariances = {
        "full": [np.eye(2), np.diag([smallest, 1.0])],
        "diag": [[1.0, 1.0], [smallest, 1.0]],
        "spherical": [1.0, smallest],
    }
    return Mixture([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], covariances[covariance_type], covariance_type)


def degeneracy(covariance_type, floor=1e-11, covariance=((1.0, 0.0), (0.0, 1.0))):
    moments = Moments(np.zeros(2), np.asarray(covariance))
    return Degeneracy(moments, np.full(2, floor), Model.of(covariance_type, 2, 2))


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_a_thousandth_of_the_variance_of_the_data_is_collapsed(covariance_type):
    beside = degeneracy(covariance_type)
    assert beside.collapsed(mixture(0.9 * COLLAPSED, covariance_type))
    assert not beside.collapsed(mixture(1.1 * COLLAPSED, covariance_type))
    assert degeneracy(covariance_type, floor=0.01).collapsed(mixture(0.01, covariance_type))  # at the floor


def test_the_unit_of_a_feature_does_not_matter():
    beside = degeneracy("full", covariance=np.diag([1e18, 1e-4]))
    units = np.array([1e9, 1e-2])
    for share, collapsed in ((0.9, True), (1.1, False)):
        covariances = [np.diag(units**2), np.diag(units**2 * [1.0, share * COLLAPSED])]
        assert beside.collapsed(Mixture([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], covariances)) == collapsed


@pytest.mark.parametrize("slope", [1.0, 1e8])
def test_a_collapse_shows_beside_a_direction_in_which_the_data_do_not_vary(slope):
    """Rows on a line, and a component that is a point of it."""
    x = np.arange(10.0)
    beside = moments_of(Data.of(np.column_stack([x, slope * x]), np.ones(10)))
    along, across = np.array([1.0, slope]), np.array([1.0, -slope])
    for length, collapsed in ((1.0, False), (1e-5, True)):
        covariance = length * np.outer(along, along) + 1e-11 * np.outer(across, across)
        measure = Degeneracy(beside, 1e-12 * beside.variances, Model.of("full", 1, 2))
        assert measure.rank == 1
        assert measure.collapsed(Mixture([1.0], [[0.0, 0.0]], [covariance])) == collapsed


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_only_rounding_errors_are_ill_defined(covariance_type):
    assert not degeneracy(covariance_type).ill_defined(mixture(1e-12, covariance_type))
    assert degeneracy(covariance_type).ill_defined(mixture(1e-61, covariance_type))
