"""Exploratory chains: their starts, the modes that they find, and the starts of the chains of a fit."""

from dataclasses import replace

import numpy as np
import pytest
from _mode_cases import HARD
from monte_carlo import bound
from reference import FAMILIES
from sklearn.datasets import load_iris

from bayesgmm.data.blocks import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.em.multistart import best_of_starts
from bayesgmm.inference import mode_search
from bayesgmm.inference.mode_search import away_starts, explore, populated_first, run_exploratory_chains
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.priors.model import Model
from bayesgmm.priors.prior import Prior

pytestmark = pytest.mark.draws

IRIS = np.asfortranarray(load_iris().data)
SETTINGS = SamplerSettings(seed=1, draws=50, tune=50, progress=False)


def problem_for(X, k, prior, covariance_type="full"):
    data, model = Data.of(X), Model.of(covariance_type, k, X.shape[1], prior=prior)
    optima = populated_first(best_of_starts(data, model, rng=np.random.default_rng(0))[1].optima, data, model)
    return Problem(data, prior, optima[0]), optima


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_away_starts_are_mixtures_of_the_same_family_and_finite_density(covariance_type):
    problem, _ = problem_for(IRIS, 3, Prior.weakly_informative(IRIS), covariance_type)
    away = away_starts(problem, np.random.default_rng(1))
    assert set(away) == {"one emptied", "two in one place"}
    for mixture in away.values():
        assert mixture.covariance_type == covariance_type
        assert mixture.n_components == 3
        density = problem.log_posterior
        assert np.isfinite(density(density.coordinates.point(mixture))[0])
    assert away["one emptied"].weights.min() == pytest.approx(1 / 153)
    twins = away["two in one place"]
    assert len(np.unique(twins.means[:, 0])) == 2
    doubled = np.flatnonzero((twins.means == twins.means[-1]).all(axis=1))
    np.testing.assert_allclose(twins.weights[doubled], twins.weights[-1])


def test_no_away_starts_where_there_is_nothing_to_empty():
    problem, _ = problem_for(IRIS, 1, Prior.weakly_informative(IRIS))
    assert away_starts(problem, np.random.default_rng(1)) == {}
    labelled = Prior.normal_inverse_wishart(
        mean=[[5.0, 3.4, 1.5, 0.2], [6.0, 2.8, 4.5, 1.5]], kappa=0.1, dof=6, scale=np.eye(4)
    )
    assert (
        away_starts(Problem(Data.of(IRIS), labelled, problem_for(IRIS, 2, labelled)[0].start), np.random.default_rng(1))
        == {}
    )


def test_exploratory_chains_agree_where_there_is_one_mode():
    X = np.asfortranarray(load_old_faithful().to_numpy())
    problem, optima = problem_for(X, 2, Prior.weakly_informative(X))
    found = explore("spread", problem, optima, settings=SETTINGS, rng=np.random.default_rng(1), random_starts=False)
    assert found.exploratory is None
    assert found.far_below == ["one emptied", "two in one place"]  # a single cluster is 160 nats lower
    assert found.problem.chain_starts == ()
    exploratory = run_exploratory_chains(
        problem, away_starts(problem, np.random.default_rng(1)), SETTINGS, np.random.default_rng(1)
    )
    assert not exploratory.several
    assert found.starting_modes == [0, 0, 0, 0]


def test_coordinates_are_those_of_an_optimum_without_empty_components():
    """Iris, K = 3: the best optimum empties a component; another of comparable mass does not."""
    problem, optima = problem_for(IRIS, 3, HARD)
    counts = [len(IRIS) * mixture.weights for mixture in optima]
    assert counts[0].min() > 5.0
    assert counts[1].min() < 1.0
    assert populated_first(optima[1:2], problem.data, problem.model) == optima[1:2]
    sparse = Model.of("full", 3, 4, prior=replace(HARD, concentration=np.array(0.1)))
    assert populated_first((optima[1], optima[0]), problem.data, sparse) == (optima[1], optima[0])


def test_exploratory_chains_find_the_mode_that_the_optimum_hides():
    """Iris, K = 3: most of the posterior empties a component."""
    problem, optima = problem_for(IRIS, 3, HARD)
    rng = np.random.default_rng(1)
    exploratory = explore("spread", problem, optima, settings=SETTINGS, rng=rng, random_starts=False).exploratory
    assert exploratory.several
    largest = max(exploratory.modes.modes, key=lambda mode: mode.weight)
    assert abs(largest.weight - 0.94) < bound() * largest.weight_se + 0.02  # and the error of that number
    found = explore("spread", problem, optima, settings=SETTINGS, rng=rng, random_starts=False)
    assert len(found.problem.chain_starts) == 4
    assert len(set(found.starting_modes)) > 1


def test_chains_start_where_the_weight_is_in_coordinates_of_that_mode(monkeypatch):
    """Also if no chain from the best optimum is there."""
    problem, optima = problem_for(IRIS, 3, HARD)
    found = explore(
        "spread", problem, optima, settings=SETTINGS, rng=np.random.default_rng(1), random_starts=False
    ).exploratory
    home = found.home
    assert home in found.relevant

    other = next(m for m in found.relevant if m != home)
    monkeypatch.setattr(
        mode_search, "run_exploratory_chains", lambda *_, **__: replace(found, modes=only(found, other))
    )
    moved = explore("spread", problem, optima, settings=SETTINGS, rng=np.random.default_rng(1), random_starts=False)
    assert set(moved.starting_modes) == {other}
    assert len(moved.problem.chain_starts) == 4
    highest = replace(found, modes=only(found, other)).highest
    assert (found.sampled[0].means[found.modes.labels == other] == highest.means).all(axis=(1, 2)).any()
    others = [problem.at_optimum(highest).start, *optima[1:]]
    (chosen,) = [mixture for mixture in others if np.array_equal(mixture.means, moved.problem.start.means)]
    assert mass(chosen, problem) == max(mass(mixture, problem) for mixture in others)
    monkeypatch.setattr(mode_search, "run_exploratory_chains", lambda *_, **__: replace(found, modes=only(found, home)))
    stayed = explore("spread", problem, optima, settings=SETTINGS, rng=np.random.default_rng(1), random_starts=False)
    assert stayed.problem is problem


def mass(mixture, problem):
    height = problem.log_likelihood(mixture) + problem.model.required_prior.log_prob(mixture)
    return problem.model.log_mass(height, mixture, problem.data.total * mixture.weights)


def only(found, one):
    """The modes with all weight at one."""
    modes = (replace(mode, weight=float(m == one)) for m, mode in enumerate(found.modes.modes))
    return replace(found.modes, modes=tuple(modes))


def test_chains_start_at_distinct_optima_or_all_at_the_best():
    problem, optima = problem_for(IRIS, 3, HARD)
    assert len(optima) > 1
    at_modes = explore("modes", problem, optima, settings=SETTINGS, rng=np.random.default_rng(1), random_starts=False)
    assert at_modes.starting_modes == [c % len(optima) for c in range(4)]
    assert at_modes.problem.chain_starts[1] is optima[1]
    points = at_modes.problem.starting_points(4, np.random.default_rng(1))
    back = at_modes.problem.parameters(points)
    np.testing.assert_allclose(back.means[1], optima[1].means, rtol=1e-9)
    assert (
        explore(
            "best", problem, optima, settings=SETTINGS, rng=np.random.default_rng(1), random_starts=False
        ).starting_modes
        == [0] * 4
    )


@pytest.mark.parametrize("where", ["chains", "starts"])
def test_ctrl_c_in_the_search_ends_it(where, monkeypatch):
    """Whoever interrupts the search for modes does not want the sampling that would follow."""
    problem, optima = problem_for(IRIS, 2, Prior.weakly_informative(IRIS))
    settings = replace(SETTINGS, draws=10, tune=10)
    if where == "starts":
        own = mode_search.best_of_starts

        def stopped(*arguments, **options):
            best, starts = own(*arguments, **options)
            return best, replace(starts, interrupted=True)

        monkeypatch.setattr(mode_search, "best_of_starts", stopped)

    def cut_short(*arguments):
        draws, run = mode_search.sample_native(*arguments)
        return draws, replace(run, interrupted=where == "chains")

    search = {
        "starts": lambda rng: explore("spread", problem, optima, settings=settings, rng=rng, random_starts=False),
        "chains": lambda rng: run_exploratory_chains(problem, {}, settings, rng, sampler=cut_short),
    }
    with pytest.raises(KeyboardInterrupt, match="before the first draw"):
        search[where](np.random.default_rng(1))
