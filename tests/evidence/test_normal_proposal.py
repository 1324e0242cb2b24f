"""The normal proposal of bridge sampling: its density, and evidences against those with conjugate proposals."""

import numpy as np
import pytest
from em_cases import load_data
from reference import RESTRICTED, random_mixture

from bayesgmm import BayesianGaussianMixture, log_evidence
from bayesgmm.evidence.mode_weights import Target
from bayesgmm.evidence.normal_proposal import NormalProposal
from bayesgmm.log_posterior import Coordinates


@pytest.mark.draws
@pytest.mark.parametrize("covariance_type", ["full", *RESTRICTED])
def test_the_density_is_that_of_its_draws(covariance_type):
    """In coordinates around another mixture: the mean of density ratios of two proposals is one."""
    rng = np.random.default_rng(0)
    centre = random_mixture(rng, covariance_type, (2, 2))
    around = Coordinates.around(centre)
    draws = around.parameters(0.3 * rng.standard_normal((400, around.n_dim)))
    proposal = NormalProposal.following(draws)
    other = NormalProposal(around, np.zeros(around.n_dim), 0.36 * np.eye(around.n_dim))
    drawn = proposal.sample(4_000, rng=rng)
    ratios = np.exp(other.log_density(drawn) - proposal.log_density(drawn))
    assert abs(ratios.mean() - 1.0) < 5.0 * ratios.std() / np.sqrt(len(ratios))


@pytest.mark.draws
@pytest.mark.parametrize("n_components", [1, 2])
def test_evidences_are_those_of_conjugate_proposals(n_components, monkeypatch):
    X = load_data("iris")
    fit = BayesianGaussianMixture(n_components, covariance_type="diag", random_state=0, progress=False).fit(X)
    conjugate = log_evidence(fit, random_state=0, cross_check=False)
    monkeypatch.setattr(Target, "conjugate", False)
    normal = log_evidence(fit, random_state=0)
    assert normal.thames is None
    se = np.hypot(conjugate.se, normal.se)
    assert abs(normal.log_evidence - conjugate.log_evidence) < 5.0 * se
    assert se < 0.2


@pytest.mark.draws
def test_with_one_feature_it_is_the_model_without_ties():
    X = load_data("acidity")
    evidences = [
        log_evidence(BayesianGaussianMixture(2, covariance_type=name, random_state=0, progress=False).fit(X))
        for name in ("VEI", "diag")
    ]
    assert evidences[0].thames is None
    se = np.hypot(evidences[0].se, evidences[1].se)
    assert abs(evidences[0].log_evidence - evidences[1].log_evidence) < 5.0 * se
    assert se < 0.2
