"""Draws that are kept as they come: runs go on from any part of them."""

import pickle
import time
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from gaussian_target import compiled_log_density, gaussian_arrays, gaussian_header
from monte_carlo import bound, z_score

from bayesgmm import BayesianGaussianMixture, Prior
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError, InterruptedWarning
from bayesgmm.inference import nuts
from bayesgmm.inference.gibbs import sample_gibbs
from bayesgmm.inference.jumps import adapted_jumps, sample_with_jumps
from bayesgmm.inference.nuts import Target, sample_nuts
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.io import checkpoints
from bayesgmm.mixture import Draws, Mixture

pytestmark = pytest.mark.draws
ROWS = np.concatenate([np.random.default_rng(k).normal(4.0 * k, 1.0, (20, 1)) for k in range(2)])
MIXTURE = Mixture([0.5, 0.5], [[0.0], [4.0]], np.ones((2, 1, 1)))
PROBLEM = Problem(Data.of(ROWS), Prior.weakly_informative(ROWS), MIXTURE)


class Kept(dict):
    """Pieces in memory, as they were when they were kept."""

    def __setitem__(self, name, value):
        super().__setitem__(name, pickle.dumps(value))

    def __getitem__(self, name):
        return pickle.loads(super().__getitem__(name))

    def cut(self, n_parts):
        """What there was after so many parts."""
        kept = Kept()
        kept.update(list(self.items())[:n_parts])
        return kept


def gaussian(n_dim=3):
    arrays = gaussian_arrays(np.arange(float(n_dim)), np.diag(np.arange(1.0, n_dim + 1.0)))
    function = compiled_log_density()
    return Target(n_dim, function.address, gaussian_header(*arrays), keep=(function, *arrays))


def run(kept, **options):
    settings = SamplerSettings(**{"seed": 5, "draws": 300, "tune": 100, "chains": 3, "progress": False, **options})
    return sample_nuts(gaussian(), np.full((settings.chains, 3), 0.1), replace(settings, kept=kept))


# ---- NUTS


def test_keeping_draws_does_not_change_them():
    kept = Kept()
    plain, found, again = run(None), run(kept), run(kept)
    for name in plain.stats:
        np.testing.assert_array_equal(found.stats[name], plain.stats[name])
        np.testing.assert_array_equal(again.stats[name], plain.stats[name])
    np.testing.assert_array_equal(again.points, plain.points)
    np.testing.assert_array_equal(again.n_gradients, plain.n_gradients)
    assert again.seconds == pytest.approx(found.seconds)


def parts_of(run, lengths):
    """A checkpoint of the first draws of chains."""
    kept, drawn = Kept(), {}
    for c, n in enumerate(lengths):
        if n:
            stats = {name: values[c, :n] for name, values in run.stats.items()}
            drawn[c] = nuts._Drawn({"point": run.points[c, :n]}, stats, 1_000)
    kept["draws 5 0"] = nuts._Part(drawn, 12.0)
    return kept


@pytest.mark.parametrize("lengths", [(300, 7, 0), (120, 150, 299), (0, 0, 5), (300, 300, 300)])
def test_chains_go_on_to_exactly_the_draws_asked_for(lengths):
    whole = run(None)
    kept = parts_of(whole, lengths)
    found = run(kept)
    assert found.points.shape == whole.points.shape
    assert not found.interrupted
    assert found.seconds >= 12.0
    for c, n in enumerate(lengths):
        np.testing.assert_array_equal(found.points[c, :n], whole.points[c, :n])
        if n < 300:
            assert not (found.points[c, n:] == whole.points[c, n:]).any()
            assert len(np.unique(found.points[c], axis=0)) > 200  # no draws of another run once more
    np.testing.assert_array_equal(run(kept).points, found.points)


def test_a_chain_goes_on_from_its_last_draw(monkeypatch):
    begun = []
    monkeypatch.setattr(nuts, "_usable_starts", lambda target, points: begun.append(points) or points)
    whole = run(None)
    run(parts_of(whole, (40, 0, 60)))
    np.testing.assert_array_equal(begun[1], [[0.1] * 3])
    np.testing.assert_array_equal(begun[2], [whole.points[0, 39], whole.points[2, 59]])


def test_a_run_killed_in_warm_up_is_the_same():
    np.testing.assert_array_equal(run(Kept()).points, run(None).points)


def test_pieces_of_many_runs_have_the_moments_of_the_density():
    """No seam: 40 times 50 draws of each of 4 chains, each a run of its own after its warm-up."""
    kept, found = Kept(), None
    for n in range(50, 2_001, 50):
        if found is not None:
            kept = parts_of(found, [n - 50] * 4)
        found = run(kept, draws=n, chains=4)
    residuals = found.points - np.arange(3.0)
    z = [z_score(found.points[..., i], float(i)) for i in range(3)]
    z += [z_score(residuals[..., i] ** 2, i + 1.0) for i in range(3)]
    assert np.abs(z).max() < bound(len(z)), z


def test_the_end_of_the_time_keeps_what_there_is():
    kept = Kept()
    with pytest.warns(InterruptedWarning):
        short = run(kept, draws=20_000_000, tune=20, until=time.monotonic() + 1.2)
    n = sum(len(kept[name].drawn.get(0, ((), {"lp": ()}))[1]["lp"]) for name in kept)
    assert n >= short.n_draws > 0


def test_the_pymc_engine_is_refused(tmp_path):
    with pytest.raises(InputError, match='engine="native" with a checkpoint'):
        BayesianGaussianMixture(2, engine="pymc").fit(ROWS, checkpoint=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_was_found_and_drawn_is_not_made_again(tmp_path, monkeypatch):
    def repeated(*_, **__):
        raise AssertionError("finished work was repeated")

    def fit():
        settings = {"draws": 150, "tune": 150, "target_accept": 0.8, "random_state": 3, "progress": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return BayesianGaussianMixture(2, **settings).fit(ROWS, checkpoint=tmp_path)

    first = fit()
    for name in (
        "bayesgmm.em.multistart._Race.start",
        "bayesgmm.estimators.bayesian_gaussian_mixture.explore",
        "bayesgmm.inference.nuts._run",
        "bayesgmm.inference.jumps._Walk.step",
    ):
        monkeypatch.setattr(name, repeated)
    again = fit()
    for name, values in first.posterior_["posterior"].data_vars.items():
        np.testing.assert_array_equal(again.posterior_["posterior"][name], values)
    assert again.posterior_.attrs["sampling_time"] == pytest.approx(first.posterior_.attrs["sampling_time"], rel=0.5)


# ---- Gibbs sampling, with jumps and without: the state is the chain's whole memory


def by_gibbs(kept):
    rng = np.random.default_rng(2)
    settings = SamplerSettings(seed=1, draws=60, tune=15, chains=2, progress=False, kept=kept)
    return *sample_gibbs(PROBLEM, settings, rng), rng


@cache
def jumps():
    arrays = (MIXTURE.weights, MIXTURE.means, MIXTURE.covariances)
    draws = Draws(*(np.repeat(array[None], 4, axis=0) for array in arrays), family=MIXTURE.family)
    return adapted_jumps(PROBLEM, draws, draws, rng=np.random.default_rng(3))


def by_jumps(kept):
    rng = np.random.default_rng(2)
    settings = SamplerSettings(seed=1, draws=130, chains=2, progress=False, kept=kept)
    return *sample_with_jumps(jumps(), PROBLEM, settings, rng), rng


@pytest.mark.parametrize("sample", [by_gibbs, by_jumps])
def test_chains_go_on_as_if_they_had_never_ended(sample, monkeypatch):
    monkeypatch.setattr(checkpoints, "_OFTEN", 0.0)
    monkeypatch.setattr(checkpoints, "_COST", 0.0)
    kept = Kept()
    expected, trace, generator = sample(kept)
    assert len(kept) > 2
    state = generator.random()
    plain, plain_trace, plain_generator = sample(None)
    assert plain_generator.random() == state
    for array, other in zip(expected.arrays, plain.arrays, strict=True):
        np.testing.assert_array_equal(array, other)
    for n in range(len(kept) + 1):
        found, again, generator = sample(kept.cut(n))
        for array, other in zip(found.arrays, expected.arrays, strict=True):
            np.testing.assert_array_equal(array, other)
        for name in trace.stats:
            np.testing.assert_array_equal(again.stats[name], plain_trace.stats[name])
        assert generator.random() == state
