"""How the starts of a fit are made: kinds, subsets of rows, threads."""

import numpy as np
import pytest
from em_cases import best_fit
from reference import EVERY_FAMILY

from bayesgmm.data.blocks import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.initialization import Initialisation, distances_for
from bayesgmm.em.local_search import EFFORTS, SearchData, ShortEM
from bayesgmm.em.start_plan import KINDS_IN_TURN, Plan
from bayesgmm.priors.model import Model

MIXED = Initialisation("mixed")


def overlapping(n_rows, n_features=3):
    rng = np.random.default_rng(0)
    means = rng.normal(0.0, 1.5, (4, n_features))
    return means[rng.integers(4, size=n_rows)] + rng.normal(size=(n_rows, n_features))


def test_kinds_take_turns():
    _, starts = best_fit(Data.of(overlapping(300)), 2, rng=np.random.default_rng(0), n_init=6, initialisation=MIXED)
    assert starts.kinds == (*KINDS_IN_TURN, *KINDS_IN_TURN)[:6]


def test_a_number_of_starts_of_many_components_or_long_passes_takes_fewer_kinds():
    """Of six components k-means alone, if they may have any direction; no short random runs where passes are long."""
    many, wide = overlapping(300), np.random.default_rng(0).normal(size=(400, 90))
    wide[:200] += 2.0
    for X, k, covariance_type, kinds in (
        (many, 6, "full", KINDS_IN_TURN[:1]),
        (many, 6, "diag", KINDS_IN_TURN),
        (wide, 2, "full", KINDS_IN_TURN[:3]),
        (wide, 2, "diag", KINDS_IN_TURN),
    ):
        for in_race in (False, True):
            data, model = Data.of(X), Model.of(covariance_type, k, X.shape[1])
            degeneracy = Degeneracy.of(data, EMSettings(), model)
            settings = degeneracy.with_floors(EMSettings())
            plan = Plan(data, model, settings, MIXED, None, degeneracy, in_race=in_race)
            assert tuple(plan.kind(index) for index in range(4)) == tuple(
                (KINDS_IN_TURN if in_race else kinds)[index % (4 if in_race else len(kinds))] for index in range(4)
            )


@pytest.mark.draws
def test_starts_take_the_distances_under_which_the_rows_are_likely():
    """Groups a long way apart in one unit, in columns most of which vary as much; and the same in wild units."""
    rng = np.random.default_rng(0)
    apart = np.column_stack([10.0 * rng.integers(3, size=(900, 2)), np.zeros((900, 6))])
    X = apart + rng.normal(size=(900, 8))
    for units in (np.ones(8), 10.0 ** rng.uniform(-2, 2, 8)):
        data, model = Data.of(X * units), Model.of("full", 9, 8)
        degeneracy = Degeneracy.of(data, EMSettings(), model)
        settings = degeneracy.with_floors(EMSettings())
        plan = Plan(data, model, settings, MIXED, None, degeneracy)
        search_data = SearchData.of_rows(data, degeneracy, size=data.shape[0], rng=rng)
        short_em = ShortEM(degeneracy, settings, lambda: False)
        likely = plan.likely_start("short_kmeans", search_data, short_em, rng=np.random.default_rng(1))
        own = np.random.default_rng(1)
        each = [
            short_em.run(data, plan.start_by("short_kmeans", distances, own, data), max_iter=2).objective
            for distances in distances_for(model.family)
        ]
        assert likely.log_prob(data.rows).sum() == pytest.approx(max(each), rel=1e-9)
        assert max(each) > min(each) + 1.0


@pytest.mark.parametrize("covariance_type", EVERY_FAMILY)
def test_moves_are_weighed_where_components_have_covariances_of_their_own(covariance_type):
    """Halves of a component take covariances that others need not share."""
    data, model = Data.of(overlapping(300)), Model.of(covariance_type, 8, 3)
    degeneracy = Degeneracy.of(data, EMSettings(), model)
    plan = Plan(data, model, degeneracy.with_floors(EMSettings()), MIXED, None, degeneracy)
    assert plan.weighs_moves == (covariance_type in ("full", "diag", "spherical"))


@pytest.mark.parametrize(("n_rows", "n_init"), [(300, 3), (30_000, 3), (4_000, 3), (4_000, None), (110_000, None)])
def test_threads_do_not_change_a_bit(n_rows, n_init):
    """Alone, in threads as asked for, and as many as there are cores; a number of starts, and races."""
    X = overlapping(n_rows)
    found = [
        best_fit(
            Data.of(X),
            4,
            rng=np.random.default_rng(1),
            n_init=n_init,
            initialisation=MIXED,
            n_jobs=n_jobs,
        )
        for n_jobs in (1, 3, None)
    ]
    for result, starts in found[1:]:
        np.testing.assert_array_equal(result.mixture.means, found[0][0].mixture.means)
        np.testing.assert_array_equal(result.mixture.covariances, found[0][0].mixture.covariances)
        np.testing.assert_array_equal(starts.objectives, found[0][1].objectives)


def plan_of(n_rows, effort="standard"):
    data, model, settings = Data.of(overlapping(n_rows)), Model.of("full", 4, 3), EMSettings()
    degeneracy = Degeneracy.of(data, settings, model)
    return Plan(data, model, degeneracy.with_floors(settings), MIXED, None, degeneracy, EFFORTS[effort])


def test_starts_are_compared_on_a_part_where_rows_are_many():
    rng = np.random.default_rng(0)
    assert plan_of(300).part(rng) is None
    middle = plan_of(30_000)
    assert middle.part(rng) is middle.data
    some = plan_of(110_000).part(rng)
    assert some.shape == (40_000, 3)
    assert some.total == pytest.approx(110_000)


def test_a_race_may_cost_more_where_its_first_start_is_slow_and_where_more_is_asked_for():
    plan, thorough = plan_of(30_000), plan_of(30_000, "thorough")
    start = plan.plain_start("random", 0, np.random.default_rng(0), plan.data.subset(500, rng=np.random.default_rng(0)))
    short, long = (run_em(plan.data, start, settings=EMSettings(max_iter=n)).history for n in (3, 60))
    assert plan.limit(short) < plan.limit(long) < thorough.limit(long)
    assert plan_of(100).limit(short) == plan_of(50).limit(short) == EFFORTS["standard"].seconds
