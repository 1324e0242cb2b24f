"""How the starts of a fit are made: kinds, subsets of rows, threads."""

import numpy as np
import pytest
from em_cases import best_fit

from bayesgmm.data.blocks import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.initialization import Initialisation
from bayesgmm.em.local_search import EFFORTS
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
    short, long = (run_em(plan.data, start, settings=EMSettings(max_iter=n)) for n in (3, 60))
    assert plan.limit(short) < plan.limit(long) < thorough.limit(long)
    assert plan_of(100).limit(short) == plan_of(50).limit(short) == EFFORTS["standard"].seconds
