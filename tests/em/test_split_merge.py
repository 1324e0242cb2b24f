"""Split and merge moves: bounds that hold, misplaced components that cross over, starts with many components."""

import warnings

import numpy as np
import pytest

from bayesgmm import GaussianMixture, Mixture
from bayesgmm.data.blocks import Data
from bayesgmm.em.degeneracy import Degeneracy
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.local_search import SearchData, ShortEM
from bayesgmm.em.split_merge import promising_swaps, split_and_merge
from bayesgmm.exceptions import SingleBestStartWarning
from bayesgmm.priors.model import Model

pytestmark = pytest.mark.draws

CENTRES = np.array([[0.0, 0.0], [4.0, 0.0], [12.0, 0.0], [12.0, 12.0], [0.0, 12.0]])
MISPLACED = np.array([[2.0, 0.0], [11.5, 0.0], [12.5, 0.0], [12.0, 12.0], [0.0, 12.0]])  # one on two, two on one


def searched(X, covariance_type, start, weights=None):
    """A run from equal components in some places, and what moves from its end need."""
    data = Data.of(X, weights)
    model = Model.of(covariance_type, *start.shape)
    degeneracy = Degeneracy.of(data, EMSettings(), model)
    short_em = ShortEM(degeneracy, degeneracy.with_floors(EMSettings()), lambda: False)
    search_data = SearchData.of_rows(data, degeneracy, size=10**6, rng=np.random.default_rng(0))
    covariances = model.family.compress(np.repeat(np.eye(2)[None], len(start), axis=0))
    mixture = Mixture(np.full(len(start), 1.0 / len(start)), start, covariances, covariance_type)
    return run_em(data, mixture, settings=EMSettings(tol=1e-4)), search_data, short_em


def groups(centres, n_rows, sd=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return centres[rng.integers(len(centres), size=n_rows)] + sd * rng.normal(size=(n_rows, 2))


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_a_swap_promises_is_a_lower_bound(covariance_type, weighted):
    X = groups(CENTRES, 1_500)
    weights = 1.0 + np.arange(len(X)) % 3 if weighted else None
    run, search_data, short_em = searched(X, covariance_type, MISPLACED, weights)
    swaps = promising_swaps(run, search_data, short_em)
    assert len(swaps) == 1
    centre = run.mixture.means[swaps[0].split]
    np.testing.assert_allclose(centre, [2.0, 0.0], atol=0.5)
    promised = swaps[0].halves.gain - swaps[0].pair.loss
    proposal = swaps[0].of(run.mixture)
    assert proposal.weights.sum() == pytest.approx(1.0)
    kept = proposal.log_prob(X) @ (np.ones(len(X)) if weights is None else weights)
    assert kept - run.objective >= promised - 0.02 * abs(promised) > 0.0  # small shares are left out


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_components_cross_over_to_the_group_that_lacks_one(covariance_type):
    X = groups(CENTRES, 1_500)
    run, search_data, short_em = searched(X, covariance_type, MISPLACED)
    right = searched(X, covariance_type, CENTRES)[0]
    assert run.objective < right.objective - 10.0
    found = split_and_merge(run, search_data, short_em)
    assert found.objective == pytest.approx(right.objective, abs=1.0)
    assert split_and_merge(right, search_data, short_em) is right
    assert short_em.spent > 0.0


def test_rows_that_vary_in_fewer_directions_are_no_groups():
    rng = np.random.default_rng(0)
    line = rng.normal(size=600)
    X = np.column_stack([line, 2.0 * line]) + CENTRES[rng.integers(5, size=600)]
    for reg_covar in (None, 0.0):
        data, model = Data.of(X), Model.of("full", 5, 2)
        degeneracy = Degeneracy.of(data, EMSettings(reg_covar=reg_covar), model)
        short_em = ShortEM(degeneracy, degeneracy.with_floors(EMSettings()), lambda: False)
        search_data = SearchData.of_rows(data, degeneracy, size=1_000, rng=rng)
        run = short_em.run(data, search_data.scattered(rng), 2)
        assert np.isfinite(split_and_merge(run, search_data, short_em).objective)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_what_has_collapsed_throughout_is_left_alone(covariance_type):
    X = np.column_stack([groups(CENTRES, 300), np.zeros(300)])
    data, model = Data.of(X), Model.of(covariance_type, 5, 3)
    settings = EMSettings(max_iter=0, reg_covar=0.0)
    degeneracy = Degeneracy.of(data, settings, model)
    search_data = SearchData(model, data, None)  # places belong to random moves
    short_em = ShortEM(degeneracy, degeneracy.with_floors(settings), lambda: False)
    covariances = model.family.compress(np.repeat(1e-14 * np.eye(3)[None], 5, axis=0))
    mixture = Mixture(np.full(5, 0.2), X[:5], covariances, covariance_type)
    run = run_em(data, mixture, settings=settings)
    assert split_and_merge(run, search_data, short_em) is run


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_start_with_many_components_ends_near_the_truth(seed):
    """Groups at random, some on others: components without a group of their own end on few rows, one lacks its own."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0.0, 10.0, (16, 2))
    X = groups(centres, 8_000, 0.5, seed=seed + 100)
    truth = Mixture(np.full(16, 1 / 16), centres, np.full((16, 2), 0.25), "diag")
    want = run_em(Data.of(X), truth).objective
    for random_state in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingleBestStartWarning)
            fit = GaussianMixture(16, covariance_type="diag", n_init=1, tol=1e-3, random_state=random_state).fit(X)
        assert not fit.starts_.degenerate.any()
        assert fit.log_likelihood_ >= want - 0.005 * len(X)
        assert fit.converged_
