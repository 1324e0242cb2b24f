"""The model record: its numbers, and the priors it resolves."""

import numpy as np
import pytest
from reference import FAMILIES, random_mixture

from bayesgmm import Prior
from bayesgmm.exceptions import InputError
from bayesgmm.priors.model import Model

PRIOR = Prior.weakly_informative(np.random.default_rng(0).normal(size=(20, 3)), concentration=1.4)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_a_model_by_name_is_that_of_its_mixtures(covariance_type):
    mixture = random_mixture(np.random.default_rng(1), covariance_type, (2, 3))
    named, fitted = Model.of(covariance_type, 2, 3, prior=PRIOR), Model.of_mixture(mixture, PRIOR)
    assert (named.family, named.n_components, named.n_features) == (fitted.family, 2, 3)
    assert named.n_parameters == mixture.family.n_parameters(2, 3)
    assert named.describes(mixture)
    assert not Model.of(covariance_type, 3, 3).describes(mixture)
    assert named.required_prior.log_prob(mixture) == fitted.required_prior.log_prob(mixture) == PRIOR.log_prob(mixture)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("n_components", [1, 2, 5])
def test_another_number_of_components_has_the_prior_resolved_anew(covariance_type, n_components):
    resized = Model.of(covariance_type, 3, 3, prior=PRIOR).with_components(n_components)
    anew = Model.of(covariance_type, n_components, 3, prior=PRIOR)
    for got, want in zip(resized.pseudo_data, anew.pseudo_data, strict=True):
        np.testing.assert_array_equal(got, want)
    assert resized.n_parameters == anew.n_parameters


def test_labels_carry_no_meaning_unless_the_prior_tells_components_apart():
    own = {"kappa": 1.0, "dof": 3.0, "scale": [[1.0]]}
    apart = Prior.normal_inverse_wishart(mean=[[0.0], [1.0]], **own)
    assert Model.of("full", 2, 1).exchangeable
    assert Model.of("full", 2, 1, prior=Prior.normal_inverse_wishart(mean=[0.0], **own)).exchangeable
    assert not Model.of("full", 2, 1, prior=apart).exchangeable
    first, second = (Model.of("full", 2, 1, prior=apart).required_prior.of_components(np.array([k])) for k in (0, 1))
    assert (first.mean.item(), second.mean.item()) == (0.0, 1.0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="covariance_type"):
        Model.of("round", 2, 3)
    with pytest.raises(InputError, match="2 features"):
        Model.of("full", 2, 2, prior=PRIOR)
