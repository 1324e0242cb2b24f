"""How the starts of a fit are made: kinds, subsets of rows, threads."""

import numpy as np
import pytest
from em_cases import best_fit

from bayesgmm.data.blocks import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.initialization import Initialisation
from bayesgmm.em.local_search import ShortEM, approached
from bayesgmm.em.start_plan import COARSE_KINDS, KINDS_IN_TURN
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.model import Model

MIXED = Initialisation("mixed")


def overlapping(n_rows, n_features=3):
    rng = np.random.default_rng(0)
    means = rng.normal(0.0, 1.5, (4, n_features))
    return means[rng.integers(4, size=n_rows)] + rng.normal(size=(n_rows, n_features))


@pytest.mark.parametrize(("tol", "kinds"), [(1e-3, COARSE_KINDS), (1e-6, KINDS_IN_TURN)])
def test_loose_fits_are_quick(tol, kinds):
    _, starts = best_fit(
        Data.of(overlapping(300)),
        2,
        rng=np.random.default_rng(0),
        settings=EMSettings(tol),
        n_init=5,
        initialisation=MIXED,
    )
    assert starts.kinds == (*kinds, *kinds)[:5]


@pytest.mark.parametrize(("n_rows", "tol"), [(300, 1e-3), (30_000, 1e-3), (4_000, 1e-6)])
def test_threads_do_not_change_a_bit(n_rows, tol):
    """Alone, in threads as asked for, and as many as there are cores."""
    X = overlapping(n_rows)
    found = [
        best_fit(
            Data.of(X),
            4,
            rng=np.random.default_rng(1),
            settings=EMSettings(tol),
            n_init=3,
            initialisation=MIXED,
            n_jobs=n_jobs,
        )
        for n_jobs in (1, 3, None)
    ]
    for result, starts in found[1:]:
        np.testing.assert_array_equal(result.mixture.means, found[0][0].mixture.means)
        np.testing.assert_array_equal(result.mixture.covariances, found[0][0].mixture.covariances)
        np.testing.assert_array_equal(starts.objectives, found[0][1].objectives)


def test_on_many_rows_a_start_comes_close_on_a_few_of_them():
    """EM on all the rows begins higher than from the start itself, and ends no lower."""
    rng, settings = np.random.default_rng(0), EMSettings(1e-6)
    means = 3.5 * np.eye(4, 3)
    X = means[rng.integers(4, size=60_000)] + rng.normal(size=(60_000, 3))
    rows = Data.of(X, np.ones(len(X))).subset(2_000, rng=np.random.default_rng(0))
    short_em = ShortEM(Degeneracy.of(rows, settings, Model.of("full", 4, 3)), settings, lambda: False)
    start = Mixture(np.full(4, 0.25), means + 0.7, np.tile(2.0 * np.eye(3), (4, 1, 1)))
    close = approached(start, rows, short_em, n_rows=len(X))
    short, long = (run_em(Data.of(X), mixture, settings=settings) for mixture in (close, start))
    assert short.history[0] > long.history[0]
    assert short.log_likelihood > long.log_likelihood - 1e-4 * len(X)
    assert approached(start, rows, short_em, n_rows=4_000) is start
