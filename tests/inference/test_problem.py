"""What is told before sampling that takes minutes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_iris

from bayesgmm import BayesianGaussianMixture
from bayesgmm.data import Data
from bayesgmm.em import best_of_starts
from bayesgmm.exceptions import SamplingWarning
from bayesgmm.inference import Problem, SamplerSettings, problem
from bayesgmm.priors import Model, Prior


@pytest.fixture(scope="module")
def iris() -> Problem:
    X = np.asfortranarray(load_iris().data)
    prior = Prior.weakly_informative(X)
    em, _ = best_of_starts(Data.of(X), Model.of("full", 3, 4, prior=prior), rng=np.random.default_rng(0), n_init=1)
    return Problem(Data.of(X), prior, em.mixture)


def test_seconds_follow_the_number_of_draws(iris: Problem) -> None:
    few = SamplerSettings(seed=1, draws=100, tune=100)
    seconds = [iris.seconds_ahead(replace(few, draws=n, tune=n)) for n in (1_000, 10_000)]
    assert seconds[0] > 0.0
    assert 3.0 < seconds[1] / seconds[0] < 30.0


def test_long_sampling_is_told_and_short_is_not(iris: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    iris.warn_if_long(SamplerSettings(seed=1))  # warnings are errors in these tests
    with pytest.warns(SamplingWarning, match=r"about \d+ processor minutes: 44 parameters, 150 rows"):
        iris.warn_if_long(SamplerSettings(seed=1, draws=100_000_000))
    monkeypatch.setattr(problem, "_LONG", 0.0)
    with pytest.warns(SamplingWarning, match="draws=250"):
        BayesianGaussianMixture(1, draws=50, tune=50, chains=2, progress=False).fit(load_iris().data)
