"""Records of hyperpriors: their numbers are checked, and survive a file."""

from dataclasses import replace

import numpy as np
import pytest

from bayesgmm.exceptions import InputError
from bayesgmm.posterior.tree import prior_from_json, prior_to_json
from bayesgmm.priors.hyperpriors import Gamma, Wishart
from bayesgmm.priors.prior import Prior


def test_means():
    assert Gamma(1.0, 20.0).mean == 0.05
    np.testing.assert_array_equal(Wishart(3.0, np.eye(2)).mean, 3.0 * np.eye(2))


def test_wrong_numbers_raise():
    with pytest.raises(InputError, match="rate > 0"):
        Gamma.checked(1.0, 0.0)
    with pytest.raises(InputError, match="one number"):
        Gamma.checked([1.0, 2.0], 1.0)
    with pytest.raises(InputError, match="dof > 1"):
        Wishart.checked(1.0, np.eye(2), n_features=2)
    with pytest.raises(InputError, match="positive definite"):
        Wishart.checked(3.0, -np.eye(2), n_features=2)


def test_priors_with_hyperpriors_survive_json():
    plain = Prior.weakly_informative([[0.1], [1.0], [7.0]])
    prior = replace(plain, scale_prior=Wishart(0.4, np.array([[1 / 3]])), concentration_prior=Gamma(1.0, 20.0))
    again = prior_from_json(prior_to_json(prior))
    assert again.concentration_prior == prior.concentration_prior
    assert (again.scale_prior.dof, again.scale_prior.scale) == (0.4, 1 / 3)
    assert again.exchangeable
    assert prior_from_json(prior_to_json(plain)).scale_prior is None
