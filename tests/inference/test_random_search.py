"""Search from random starts: every mode of symmetric data, what is left out, and the bound of what may be missing."""

import json
import signal
import threading
import time
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from _mode_cases import copies
from scipy.stats import binom

from bayesgmm import BayesianGaussianMixture
from bayesgmm.data import Data, HaltedError
from bayesgmm.datasets import load_old_faithful
from bayesgmm.em import best_of_starts
from bayesgmm.evidence import visited_modes
from bayesgmm.exceptions import SamplingError, SamplingWarning
from bayesgmm.inference import mode_search, random_search
from bayesgmm.inference.engines import sample_native
from bayesgmm.inference.mode_search import explore
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.random_search import (
    can_search,
    distinct_partitions,
    missing_weight,
    search_from_random_starts,
)
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture import Mixture
from bayesgmm.priors import Model, Prior

pytestmark = pytest.mark.draws
FAITHFUL = np.asarray(load_old_faithful())


@cache
def searched(name, seed=1):
    X, k = {"five copies": (copies(5), 4), "old faithful": (FAITHFUL, 2), "four groups": (four_groups(), 4)}[name]
    prior, rng = Prior.weakly_informative(X), np.random.default_rng(seed)
    data, model = Data.of(X), Model.of("full", k, X.shape[1], prior=prior)
    optima = best_of_starts(data, model, rng=rng, n_init=3)[1].optima
    problem = Problem(data, prior, optima[0])
    return search_from_random_starts(problem, optima, rng=rng), problem


def separate(X):
    """A prior on variances and correlations."""
    return Prior.separation(
        mean=[0.0, 0.0], mean_covariance=np.eye(2), variance_shape=[2.0, 2.0], variance_scale=[1.0, 1.0], eta=2.0
    )


def four_groups():
    """Far apart, and more rows than are searched."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(300, 2)) + centre for centre in ((0, 0), (12, 0), (0, 12), (12, 12))])


@pytest.mark.parametrize("seed", [1, 2])
def test_every_mode_of_symmetric_data_is_met(seed):
    """Five copies of a cluster, one component fewer: as many ways to join two neighbours, all alike."""
    found, problem = searched("five copies", seed)
    assert found.apart
    assert found.near.mean() > 0.8
    places = {merged(labels) for labels in random_search.partitions_of(found.draws, problem.data)}
    assert places >= {frozenset((i, (i + 1) % 5)) for i in range(5)}
    counts = found.counts(visited_modes(found.draws, problem.data, rng=np.random.default_rng(0)))
    assert counts.sum() == found.near.sum()
    assert len(found.near) == 128


def merged(labels):
    """The copies that lie together, if just two do."""
    of_copy = [np.bincount(own).argmax() for own in labels.reshape(5, -1)]
    return frozenset(i for i in range(5) if of_copy.count(of_copy[i]) == 2)


@pytest.mark.parametrize("name", ["old faithful", "four groups"])
def test_clear_clusters_are_one_place_in_which_chains_move_freely(name):
    found, problem = searched(name)
    assert not found.apart
    assert not found.has_small
    assert not found.has_empty
    assert len(found.lasts) == 1
    assert len(found.rows) == min(problem.data.shape[0], 1_000)
    assert found.near.sum() > 10
    if name == "four groups":  # starts that join two of them end far below
        assert not found.near.all()


def test_a_place_far_better_than_the_optima_of_em_is_told_and_chains_start_there(monkeypatch):
    found, problem = searched("four groups")
    assert found.better is None
    own = random_search.log_masses

    def without_optima(points, log_joint, target, *, rng):
        return own(points, log_joint, target, rng=rng) - 1e6 * (np.arange(len(points)) >= 128)

    monkeypatch.setattr(random_search, "log_masses", without_optima)
    joined = Mixture(np.array([0.5, 0.25, 0.2, 0.05]), problem.start.means, problem.start.covariances)
    settings, rng = SamplerSettings(seed=1, progress=False), np.random.default_rng(0)
    explored = explore("spread", replace(problem, start=joined), (joined,), settings=settings, rng=rng)
    assert explored.search.better is not None
    np.testing.assert_allclose(explored.problem.start.weights, 0.25, atol=0.01)


@pytest.mark.parametrize("apart", [True, False])
def test_nearly_empty_components_are_given_to_gibbs_where_chains_do_not_jump(monkeypatch, apart):
    """From different places if these lie apart; NUTS only where every component has rows."""
    found, problem = searched("five copies")
    monkeypatch.setattr(mode_search, "_MOST_JUMPING", 0)
    settings, rng = SamplerSettings(seed=1, draws=20, tune=5, progress=False), np.random.default_rng(0)
    for has_empty in (True, False):
        told = replace(found, apart=apart, has_empty=has_empty, has_small=True)
        monkeypatch.setattr(mode_search, "search_from_random_starts", lambda *_, told=told, **__: told)
        explored = explore("spread", problem, (problem.start,), settings=settings, rng=rng)
        assert explored.sampler == ("gibbs" if has_empty else None)
        if has_empty:
            assert explored.starting_modes == ([0, 1, 2, 3] if apart else [0, 0, 0, 0])
            starts = found.lasts[:4] if apart else []
            assert len(explored.problem.chain_starts) == len(starts)
            for chain, start in zip(explored.problem.chain_starts, starts, strict=True):
                np.testing.assert_array_equal(chain.means, start.means)
            draws, run = explored.sample(sample_native, settings, rng)
            assert len(draws) == 80
            assert not run.values  # no whitened coordinates: not of NUTS


def test_more_random_starts_are_counted_by_the_same_rule():
    found, problem = searched("five copies")
    more = random_search.with_more_starts(found, problem, rng=np.random.default_rng(0))
    assert more.ends.shape == (4 * 128, 50)
    assert len(more.near) == 4 * 128
    np.testing.assert_array_equal(more.ends[:128], found.ends)
    modes = visited_modes(found.draws, problem.data, rng=np.random.default_rng(0))
    assert more.counts(modes).sum() == more.near.sum() > 3 * 128
    part, problem = searched("four groups")  # of which a part of the rows was searched
    more = random_search.with_more_starts(part, problem, rng=np.random.default_rng(0))
    assert more.ends.shape == (4 * 128, 1_000)
    assert more.near[128:].mean() == pytest.approx(part.near.mean(), abs=0.2)  # four errors


def test_distinct_partitions_are_the_highest_of_those_alike():
    labels = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]], dtype=np.int32)
    assert distinct_partitions(labels, np.array([1.0, 2.0, 0.0, 3.0])).tolist() == [3, 1, 2]


def test_the_bound_counts_what_was_met_once_and_what_is_met_seldom():
    assert missing_weight(np.array([1.0]), np.array([100]), 100) == pytest.approx(0.03)
    assert missing_weight(np.array([1.0]), np.array([50]), 100) == pytest.approx(0.06)
    assert missing_weight(np.array([0.9, 0.1]), np.array([50, 1]), 100) == pytest.approx(0.1 + 0.03 * 10)
    assert missing_weight(np.array([0.9, 0.1]), np.array([50, 0]), 100) == pytest.approx(0.1 + 0.03 * 10)
    assert missing_weight(np.array([0.5, 0.5]), np.array([0, 0]), 100) == 1.0


def test_the_bound_holds_in_nineteen_of_twenty_searches():
    """Modes that random starts reach in proportion to weights, more often or more seldom, by simulation."""
    rng, n, n_cases = np.random.default_rng(0), 128, 2_000
    held = 0
    for _ in range(n_cases):
        weights = rng.dirichlet(np.full(int(rng.integers(2, 9)), 0.7))
        reached = weights * rng.uniform(0.3, 1.0, size=len(weights))
        counts = rng.multinomial(n, reached / reached.sum())
        met = counts > 0
        held += weights[~met].sum() <= missing_weight(weights[met] / weights[met].sum(), counts[met], n)
    assert binom.sf(n_cases - held - 1, n_cases, 0.05) > 1e-6


@pytest.mark.parametrize(("k", "possible"), [(1, False), (3, True), (9, True), (51, False)])
def test_it_is_done_for_several_components(k, possible):
    X = np.random.default_rng(0).normal(size=(50, 2))
    assert can_search(Model.of("full", k, 2, prior=Prior.weakly_informative(X)), Data.of(X)) == possible


CASES = {  # covariance family, prior, row weights: five copies of ten rows unless told otherwise
    "as it is": ("full", Prior.weakly_informative, None),
    "a family without Gibbs sampling": ("VEI", Prior.weakly_informative, None),
    "a prior without Gibbs sampling": ("full", separate, None),
    "fractional weights": ("full", Prior.weakly_informative, np.full(50, 1.5)),
}


@pytest.mark.parametrize("name", CASES)
def test_without_gibbs_sampling_em_goes_from_random_starts_to_every_mode(name):
    family, prior, row_weights = CASES[name]
    X = copies(5)
    data, model = Data.of(X, row_weights), Model.of(family, 4, 2, prior=prior(X))
    optima = best_of_starts(data, model, rng=np.random.default_rng(0), n_init=3)[1].optima
    found = search_from_random_starts(Problem(data, prior(X), optima[0]), optima, rng=np.random.default_rng(1))
    assert found.by_chains == (name == "as it is")
    assert found.apart
    places = {merged(labels) for labels in random_search.partitions_of(found.draws, data)}
    assert places >= {frozenset((i, (i + 1) % 5)) for i in range(5)}
    assert found.near.sum() > 64


@cache
def many_rows(name):
    """Three copies of a cluster, two components; or four clear groups."""
    rng = np.random.default_rng(0)
    X = copies(3, 2_000) if name == "three copies" else rng.normal(size=(20_000, 2))
    if name == "four groups":
        X += np.array([(0, 0), (12, 0), (0, 12), (12, 12)])[rng.integers(4, size=20_000)]
    data, model = Data.of(X), Model.of("full", 2 if len(X) == 6_000 else 4, 2, prior=Prior.weakly_informative(X))
    optima = best_of_starts(data, model, rng=rng, n_init=1)[1].optima
    return Problem(data, Prior.weakly_informative(X), optima[0]), optima


@pytest.mark.parametrize("seed", [1, 2])
def test_of_many_rows_every_optimum_is_met_with_all_of_them(seed):
    problem, optima = many_rows("three copies")
    found = search_from_random_starts(problem, optima, rng=np.random.default_rng(seed))
    assert not found.by_chains
    assert found.apart
    assert len(found.lasts) == 3
    assert len(found.others(problem)) == 2
    heights = [problem.log_likelihood(mixture) for mixture in found.lasts]
    np.testing.assert_allclose(heights, problem.log_likelihood(optima[0]), atol=0.05)
    ends = [found.ends[found.near][:, ::100]]
    assert len(np.unique(np.concatenate(ends), axis=0)) == 3
    more = random_search.with_more_starts(found, problem, rng=np.random.default_rng(0))
    assert len(more.near) == 4 * len(found.near)
    assert more.near.mean() == pytest.approx(found.near.mean(), abs=0.25)  # four errors
    np.testing.assert_array_equal(more.ends[: len(found.ends)], found.ends)


def test_of_many_rows_ends_far_below_are_left_out():
    problem, optima = many_rows("four groups")
    found = search_from_random_starts(problem, optima, rng=np.random.default_rng(0))
    assert not found.apart
    assert found.better is None
    assert 10 < found.near.sum() < len(found.near)
    np.testing.assert_allclose(np.sort(found.lasts[0].weights), np.sort(optima[0].weights), atol=1e-3)
    joined = Mixture(np.array([0.5, 0.25, 0.2, 0.05]), optima[0].means[[0, 1, 1, 0]], optima[0].covariances)
    found = search_from_random_starts(problem, (joined,), rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(found.better.weights), np.sort(optima[0].weights), atol=1e-3)


def test_em_from_random_starts_is_over_within_its_time_and_at_once_after_ctrl_c(monkeypatch):
    problem, optima = many_rows("four groups")
    with pytest.raises(SamplingError, match="max_seconds"):
        search_from_random_starts(problem, optima, rng=np.random.default_rng(0), until=time.monotonic() + 0.01)

    once = threading.Event()

    def endless(_data, _start, *, halted, **__):
        if not once.is_set():
            once.set()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        while not halted():
            time.sleep(0.01)
        raise HaltedError

    monkeypatch.setattr(random_search, "run_em", endless)
    with pytest.raises(KeyboardInterrupt, match="before the first draw"):
        search_from_random_starts(problem, optima, rng=np.random.default_rng(0))


@pytest.mark.slow
def test_a_fit_of_many_rows_weighs_the_optima_that_random_starts_met():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        fit = BayesianGaussianMixture(2, random_state=0, progress=False).fit(copies(3, 2_000))
    weights = [mode["weight"] for mode in json.loads(fit.posterior_.attrs["modes"])]
    np.testing.assert_allclose(weights, 1.0 / 3.0, atol=0.05)
    assert fit.posterior_.attrs["missing"] < 0.1
    assert json.loads(fit.posterior_.attrs["random_starts"])["n"] >= 64


def test_ctrl_c_ends_it(monkeypatch):
    found, problem = searched("old faithful")

    def stopped(*_, **__):
        raise KeyboardInterrupt("interrupted before the first draw")

    monkeypatch.setattr(random_search, "run_chains", stopped)
    with pytest.raises(KeyboardInterrupt, match="before the first draw"):
        search_from_random_starts(problem, (found.lasts[0],), rng=np.random.default_rng(0))
