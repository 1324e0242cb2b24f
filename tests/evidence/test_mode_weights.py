"""Samples of a mode from draws and proposals."""

import numpy as np
import pytest
from mode_cases import CONJUGATE, LEFT, RIGHT, THREE_GROUPS, exact_log_evidences, stuck_chains
from reference import FAMILIES

from bayesgmm.data import Data
from bayesgmm.em import EMSettings, run_em
from bayesgmm.evidence.bridge_sampling import Bridge
from bayesgmm.evidence.mode_weights import Target, _sample, log_masses, visited_modes
from bayesgmm.log_posterior import whitened_log_posterior
from bayesgmm.mixture import Draws, Mixture, covariance_family
from bayesgmm.priors import Model, Prior


def draws(n: int) -> Draws:
    return Draws(np.ones((n, 1)), np.zeros((n, 1, 1)), np.ones((n, 1, 1, 1)), family=covariance_family("full"))


def test_a_mode_that_no_proposal_meets_keeps_its_draws():
    estimate = Bridge(-np.inf, np.inf, 5, 7, 3.0)
    found = _sample(estimate, (draws(5), np.zeros(5)), (draws(7), np.full(7, -np.inf)), np.arange(5))
    np.testing.assert_allclose(found.weights, 0.2)
    np.testing.assert_array_equal(found.source, np.arange(5))
    assert found.effective_size == 3.0


def mode_of_two(covariance_type: str, prior: Prior | None = None):
    """Two groups so far apart that allocations are certain, and the mode with a component at each."""
    rng = np.random.default_rng(3)
    X = np.vstack([rng.normal(size=(40, 2)), rng.normal(size=(60, 2)) * [2.0, 0.5] + 40.0])
    prior = prior or Prior.fraley_raftery(X, 2, covariance_type=covariance_type)
    model, covariances = Model.of(covariance_type, 2, 2, prior=prior), np.stack([np.eye(2)] * 2)
    means = np.stack([X[:40].mean(axis=0), X[40:].mean(axis=0)])
    start = Mixture([0.4, 0.6], means, model.family.compress(covariances), covariance_type)
    run = run_em(Data.of(X), start, prior=model.prior, settings=EMSettings(tol=1e-14, max_iter=5_000))
    return Data.of(X), model, run


@pytest.mark.parametrize("covariance_type", [name for name in FAMILIES if name != "VEI"])
def test_the_mass_of_a_conjugate_mode_with_certain_allocations_is_its_evidence(covariance_type):
    """By Chib's identity: joint over conditional density, at any point."""
    data, model, run = mode_of_two(covariance_type)
    mixture, target = run.mixture, Target(data, model)
    point = Draws(mixture.weights[None], mixture.means[None], mixture.full_covariances[None], family=mixture.family)
    given = target.conditionals(point, rng=np.random.default_rng(0))
    evidence = target.log_joint(point)[0] - given.log_labelled_density(point)[0, 0]
    assert model.log_mass(run.objective, mixture, run.counts) == pytest.approx(evidence, abs=1e-6)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_mass_of_a_mode_is_near_laplaces(covariance_type):
    """Also where means are independent of covariances, and shapes tied."""
    rows = mode_of_two(covariance_type)[0].rows
    data, model, run = mode_of_two(covariance_type, Prior.weakly_informative(rows))
    density = whitened_log_posterior(data, model.required_prior, run.mixture)
    laplace = density(np.zeros(density.n_dim))[0] + 0.5 * density.n_dim * np.log(2.0 * np.pi)
    assert model.log_mass(run.objective, run.mixture, run.counts) == pytest.approx(laplace, abs=0.6)


def test_the_mass_does_not_depend_on_units_while_height_does():
    """The height of two modes compares differently in other coordinates; masses differ by the data's Jacobian."""
    data, model, run = mode_of_two("full")
    moved = Data.of(data.rows * [1e3, 1e-2])
    prior = Prior.fraley_raftery(moved.rows, 2)
    other = Model.of("full", 2, 2, prior=prior)
    means, scale = run.mixture.means * [1e3, 1e-2], np.diag([1e3, 1e-2])
    start = Mixture(run.mixture.weights, means, scale @ run.mixture.covariances @ scale)
    again = run_em(moved, start, prior=other.prior, settings=EMSettings(tol=1e-14, max_iter=5_000))
    shift = data.total * np.log(1e3 * 1e-2)
    before, after = (m.log_mass(r.objective, r.mixture, r.counts) for m, r in ((model, run), (other, again)))
    assert after == pytest.approx(before - shift, abs=1e-5)
    assert abs(again.objective - (run.objective - shift)) > 1.0


def test_the_mass_of_a_point_is_the_evidence_of_its_allocation_wherever_it_is():
    """Of rows that certainly lie as they do, over one labelling."""
    allocations, log_z = exact_log_evidences(THREE_GROUPS, CONJUGATE, 2)
    points = stuck_chains(40)
    target = Target(Data.of(THREE_GROUPS), Model.of("full", 2, 1, prior=CONJUGATE))
    masses = log_masses(points, target.log_joint(points), target, rng=np.random.default_rng(0))
    for chain, labels in enumerate((LEFT, RIGHT)):
        want = log_z[(allocations == labels).all(axis=1)][0]
        np.testing.assert_allclose(np.median(masses[points.chain == chain]), want, atol=0.1)


def test_modes_that_chains_visit_weigh_their_shares_of_the_draws():
    """The same draws, of one mode and of another, in random order."""
    rng, points = np.random.default_rng(0), stuck_chains(400)
    shuffled = points[rng.permutation(len(points))]
    shuffled.__dict__["chain"] = np.repeat(np.arange(3), 400)
    found = visited_modes(shuffled, Data.of(THREE_GROUPS), rng=rng)
    assert sorted(mode.weight for mode in found.modes) == pytest.approx([1 / 3, 2 / 3])
    for mode in found.modes:
        assert mode.weight_se == pytest.approx(np.sqrt(2 / 9 / 1_200), rel=0.25)
        assert mode.sample is None


def test_a_single_chain_may_visit_several_modes():
    rng, points = np.random.default_rng(0), stuck_chains(200)
    shuffled = points[rng.permutation(len(points))]
    shuffled.__dict__["chain"] = np.zeros(600, dtype=np.int64)
    found = visited_modes(shuffled, Data.of(THREE_GROUPS), rng=rng)
    assert sorted(mode.weight for mode in found.modes) == pytest.approx([1 / 3, 2 / 3])
