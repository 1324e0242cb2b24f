"""Sampling goes on where only draws are missing, begins anew after divergences, and loses nothing."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bayesgmm import BayesianGaussianMixture
from bayesgmm.datasets import load_old_faithful
from bayesgmm.diagnostics.verdict import CONVERGED, DIVERGENCES, NOT_MIXED, SEVERAL_MODES
from bayesgmm.exceptions import InputError, InterruptedWarning, SamplingError, SamplingWarning
from bayesgmm.inference.enough_draws import sample_enough
from bayesgmm.inference.settings import SamplerSettings, Trace
from bayesgmm.mixture import Draws, covariance_family

SETTINGS = SamplerSettings(seed=1, draws=10, tune=20, chains=2, progress=False)


class Pretended:
    """An exploration whose draws are numbered in the order in which they were made, and by their chain."""

    def __init__(self):
        self.asked, self.begun, self.error = [], [], None

    def sample(self, asked, settings, rng):
        self.asked.append(settings)
        if self.error is not None and len(self.asked) > 1:
            raise self.error
        first = 1_000 * (len(self.asked) - 1)
        numbers = first + np.arange(settings.draws) + 0.1 * np.arange(settings.chains)[:, None]
        weights = numbers[..., None]
        draws = Draws(
            weights, weights[..., None], np.ones((*weights.shape, 1, 1)), family=covariance_family("full")
        ).end_to_end()
        counts = np.ones(settings.chains, dtype=np.int64)
        return draws, Trace({}, {"lp": numbers}, counts, np.arange(settings.chains), False, 1.0)

    def going_on(self, draws):
        self.begun.append([draws.weights[draws.chain == c][-1, 0] for c in np.unique(draws.chain)])
        return self


def run(explored, verdicts, *, most=40, careful=None, mixed=False):
    """What came out, with these verdicts in turn."""
    verdicts = iter(verdicts)

    def judge(sampled):
        return sampled, SimpleNamespace(verdict=next(verdicts), figures=SimpleNamespace(is_mixed=mixed))

    return sample_enough(explored, None, SETTINGS, np.random.default_rng(0), most=most, careful=careful, judge=judge)[0]


def test_chains_go_on_from_their_last_draws_and_all_draws_are_kept():
    explored = Pretended()
    draws, trace = run(explored, [NOT_MIXED, NOT_MIXED, CONVERGED])
    assert trace.n_draws == 40
    assert [settings.draws for settings in explored.asked] == [10, 10, 20]
    assert len({settings.seed for settings in explored.asked}) == 3
    assert explored.begun == [[9.0, 9.1], [1_009.0, 1_009.1]]
    expected = np.concatenate([np.arange(10), 1_000 + np.arange(10), 2_000 + np.arange(20)])
    np.testing.assert_allclose(draws.weights[draws.chain == 0][:, 0], expected)
    np.testing.assert_allclose(draws.weights[draws.chain == 1][:, 0], expected + 0.1)
    np.testing.assert_allclose(trace.stats["lp"][1], expected + 0.1)
    assert trace.n_gradients.tolist() == [3, 3]
    assert trace.seconds == 3.0


@pytest.mark.parametrize(
    ("verdict", "options"),
    [
        (CONVERGED, {}),
        (SEVERAL_MODES, {}),
        (NOT_MIXED, {"mixed": True}),
        (NOT_MIXED, {"most": 10}),
    ],
)
def test_they_do_not_where_that_would_not_help_or_was_not_asked_for(verdict, options):
    explored = Pretended()
    assert run(explored, [verdict], **options)[1].n_draws == 10
    assert len(explored.asked) == 1


def test_the_limit_is_kept():
    assert run(Pretended(), [NOT_MIXED] * 3, most=25)[1].n_draws == 25


def test_after_divergences_steps_are_smaller_and_draws_made_anew():
    explored = Pretended()
    draws, trace = run(explored, [DIVERGENCES, NOT_MIXED, CONVERGED], most=20, careful=0.95)
    assert [settings.target_accept for settings in explored.asked] == [0.8, 0.95, 0.95]
    assert explored.asked[1].tune == 2 * SETTINGS.tune
    assert trace.n_draws == 20
    assert draws.weights.min() >= 1_000  # none of those before
    assert run(Pretended(), [DIVERGENCES], careful=None)[1].n_draws == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt("Ctrl-C"), SamplingError("no time")])
@pytest.mark.parametrize("first", [NOT_MIXED, DIVERGENCES])
def test_what_ends_the_second_run_does_not_lose_the_first(first, error):
    explored = Pretended()
    explored.error = error
    with pytest.warns(InterruptedWarning, match="ended with 10 draws of each chain"):
        assert run(explored, [first], careful=0.95)[1].n_draws == 10


@pytest.mark.draws
def test_a_fit_goes_on_by_itself_and_begins_as_the_one_that_does_not():
    X = load_old_faithful()
    settings = {"random_state": 1, "progress": False, "tune": 100, "init": "best"}
    short = BayesianGaussianMixture(2, draws=60, **settings)
    with pytest.warns(SamplingWarning, match="not mixed"):
        short.fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        longer = BayesianGaussianMixture(2, draws=60, max_draws=120, **settings).fit(X)
    draws = longer.posterior_["posterior"]["means"]
    assert short.posterior_["posterior"].sizes["draw"] == 60
    assert draws.sizes["draw"] == 120
    np.testing.assert_array_equal(draws[:, :60], short.posterior_["posterior"]["means"])
    assert longer.posterior_["sample_stats"]["n_steps"].sizes["draw"] == 120


def test_a_limit_below_the_draws_is_refused_before_any_work():
    with pytest.raises(InputError, match="max_draws of at least draws=100; got 50"):
        BayesianGaussianMixture(2, draws=100, max_draws=50).fit(np.zeros((5, 1)))


def test_settings_of_a_run_say_how_many_draws_it_made():
    _, trace = Pretended().sample(None, replace(SETTINGS, draws=7), None)
    assert trace.n_draws == 7
