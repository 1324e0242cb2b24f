"""Samples of a mode from draws and proposals."""

import numpy as np

from bayesgmm.evidence.bridge_sampling import Bridge
from bayesgmm.evidence.mode_weights import _sample
from bayesgmm.mixture import Draws, covariance_family


def draws(n: int) -> Draws:
    return Draws(np.ones((n, 1)), np.zeros((n, 1, 1)), np.ones((n, 1, 1, 1)), family=covariance_family("full"))


def test_a_mode_that_no_proposal_meets_keeps_its_draws():
    estimate = Bridge(-np.inf, np.inf, 5, 7, 3.0)
    found = _sample(estimate, (draws(5), np.zeros(5)), (draws(7), np.full(7, -np.inf)), np.arange(5))
    np.testing.assert_allclose(found.weights, 0.2)
    np.testing.assert_array_equal(found.source, np.arange(5))
    assert found.effective_size == 3.0
