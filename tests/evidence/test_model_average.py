"""Fits weighed by their evidences: arithmetic by hand, and averages of what single fits say."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import poisson

from bayesgmm import BayesianGaussianMixture, average_models, similarity_matrix
from bayesgmm.evidence.marginal_likelihood import Estimate, Evidence
from bayesgmm.exceptions import InputError

pytestmark = pytest.mark.draws

X = np.array([-1.2, -0.4, 0.1, 0.3, 0.9, 2.4, 2.9, 3.1, 3.8])[:, None]


def known(log_z, se=0.1):
    estimate = Estimate(log_z, se)
    return Evidence(log_z, se, estimate, None, 1, 100.0, ())


@pytest.fixture(scope="module")
def fits():
    """K = 1 and 2, and 2 again with shared covariances."""
    shapes = [(1, "full"), (2, "full"), (2, "tied")]
    settings = {"draws": 150, "tune": 150, "chains": 2, "init": "best", "random_state": 1, "progress": False}
    return [BayesianGaussianMixture(k, covariance_type=name, **settings).fit(X) for k, name in shapes]


EVIDENCES = [known(-20.0, 0.1), known(-19.0, 0.2), known(-21.0, 0.3)]


def test_probabilities_by_hand(fits):
    average = average_models(fits, evidences=EVIDENCES)
    np.testing.assert_allclose(average.table["prior"], [0.5, 0.25, 0.25])
    weights = np.exp([-20.0, -19.0, -21.0]) * [0.5, 0.25, 0.25]
    want = weights / weights.sum()
    np.testing.assert_allclose(average.table["probability"], want)
    by_k = average.probabilities
    np.testing.assert_allclose(by_k["probability"], [want[0], want[1] + want[2]])
    np.testing.assert_allclose(by_k.loc[2, "probability_se"], by_k.loc[1, "probability_se"])  # they sum to one
    assert average.log_bayes_factors.loc["K=2, full", "K=1, full"] == pytest.approx(1.0)
    assert "probability" in str(average)


def test_what_evidences_rest_on_is_told_of_models_that_count(fits):
    doubted = [replace(each, findings=(f"doubt {i}",)) for i, each in enumerate(EVIDENCES)]
    doubted[2] = replace(doubted[2], log_evidence=-40.0)
    average = average_models(fits, evidences=doubted)
    assert average.findings == ("K=1, full: doubt 0", "K=2, full: doubt 1")
    assert str(average).endswith("K=1, full: doubt 0\nK=2, full: doubt 1")
    assert "doubt 1" in average._repr_html_()
    assert average_models(fits, evidences=EVIDENCES).findings == ()


def test_standard_errors_of_probabilities_by_simulation(fits):
    average = average_models(fits, evidences=EVIDENCES)
    rng = np.random.default_rng(0)
    shifts = 0.1 * rng.normal(size=(20_000, 3)) * [1.0, 2.0, 3.0]
    weights = np.exp(np.array([-20.0, -19.0, -21.0]) + shifts) * [0.5, 0.25, 0.25]
    simulated = (weights / weights.sum(axis=1, keepdims=True)).std(axis=0)
    np.testing.assert_allclose(average.table["probability_se"], simulated, rtol=0.1)


def test_priors_over_k(fits):
    ways = {"poisson": poisson(1).pmf([0, 1]), "mapping": np.array([0.2, 0.8]), "function": np.array([1.0, 4.0])}
    priors = {"poisson": "poisson", "mapping": {1: 0.2, 2: 0.8, 3: 5.0}, "function": lambda k: k**2}
    for name, want in ways.items():
        average = average_models(fits, prior=priors[name], evidences=EVIDENCES)
        np.testing.assert_allclose(average.probabilities["prior"], want / want.sum())
    alone = average_models(fits, prior={1: 1.0}, evidences=EVIDENCES)
    np.testing.assert_allclose(alone.table["probability"], [1.0, 0.0, 0.0])


def test_averages_of_densities_and_similarities(fits):
    average = average_models(fits, evidences=EVIDENCES)
    p = average.table["probability"].to_numpy()
    new = np.array([[0.0], [2.0], [30.0]])
    want = np.log(sum(w * np.exp(fit.score_samples(new)) for w, fit in zip(p, fits, strict=True)))
    np.testing.assert_allclose(average.score_samples(new), want)
    single = [similarity_matrix(fit).to_numpy() for fit in fits]
    got = average.similarity_matrix()
    np.testing.assert_allclose(got, sum(w * own for w, own in zip(p, single, strict=True)), atol=1e-12)
    assert average.similarity_matrix(rows=4, random_state=1).shape == (4, 4)


def test_evidences_are_computed_and_names_kept(fits):
    average = average_models({"one": fits[0], "two": fits[1]}, random_state=1)
    assert list(average.table.index) == ["one", "two"]
    assert np.isfinite(average.table["log_evidence"]).all()
    assert average.table["probability"].sum() == pytest.approx(1.0)


def test_what_cannot_be_averaged(fits):
    with pytest.raises(InputError, match="at least one fit"):
        average_models([])
    other = fits[1].posterior_.copy()
    other["observed_data"] = other["observed_data"].to_dataset() + 1.0
    with pytest.raises(InputError, match="same rows"):
        average_models([fits[0], other], evidences=EVIDENCES[:2])
    with pytest.raises(InputError, match="one a fit"):
        average_models(fits, evidences=EVIDENCES[:2])
    with pytest.raises(InputError, match="not all zero"):
        average_models(fits, prior={7: 1.0}, evidences=EVIDENCES)
    with pytest.raises(InputError, match="uniform"):
        average_models(fits, prior="flat", evidences=EVIDENCES)
