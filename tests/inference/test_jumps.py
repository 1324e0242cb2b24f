"""Chains that jump between modes: exact posteriors, whatever the density of the candidates, and interruption."""

from dataclasses import replace

import numpy as np
import pytest
from exact_posterior import draws_given_labels
from mode_cases import CONJUGATE, LEFT, RIGHT, THREE_GROUPS, exact_log_evidences
from monte_carlo import bound, z_score
from reference import FAMILIES

from bayesgmm.data import Data
from bayesgmm.evidence import Target, partitions_of
from bayesgmm.exceptions import InterruptedWarning, SamplingError
from bayesgmm.gibbs import Kept, Sweeps
from bayesgmm.inference import jumps as module
from bayesgmm.inference.gibbs import sample_gibbs
from bayesgmm.inference.jumps import adapted_jumps, sample_with_jumps
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture import Draws, Mixture, covariance_family
from bayesgmm.prediction import each_draw
from bayesgmm.priors import Prior

pytestmark = pytest.mark.draws
FULL = covariance_family("full")
SETTINGS = SamplerSettings(seed=1, draws=1_000, progress=False)
PAIRS = ((3, 4), (5, 6))  # together in one of the modes each


def both_modes(rng, n_left=45):
    """The problem and 50 draws of its two modes, in a proportion of our choice."""
    labels = np.repeat([LEFT, RIGHT], [n_left, 50 - n_left], axis=0)
    draws = Draws(**draws_given_labels(THREE_GROUPS, CONJUGATE, labels, 2, rng=rng), family=FULL)
    return Problem(Data.of(THREE_GROUPS), CONJUGATE, draws.mixture(0)), draws


def together(draws, X, pairs):
    """Probabilities (draw, pair) that two rows lie together."""
    resp = np.stack([resp.copy() for _, resp in each_draw(draws, Data.of(X), with_memberships=True)])
    return np.stack([(resp[:, :, i] * resp[:, :, j]).sum(axis=1) for i, j in pairs], axis=1)


@pytest.mark.parametrize("n_left", [3, 47])
def test_two_modes_have_their_weights_by_enumeration(n_left):
    """Whatever the proportion in which the density of the candidates was adapted to them."""
    rng = np.random.default_rng(n_left)
    allocations, log_z = exact_log_evidences(THREE_GROUPS, CONJUGATE, 2)
    p = np.exp(log_z - np.logaddexp.reduce(log_z))
    problem, started = both_modes(rng, n_left)
    jumps = adapted_jumps(problem, started, started, rng=rng)
    assert jumps.usable
    draws, run = sample_with_jumps(jumps, problem, SETTINGS, rng)
    assert 0.05 < run.stats[module.JUMPED].mean() < 0.95
    series = together(draws, THREE_GROUPS, PAIRS).reshape(4, -1, len(PAIRS))
    for each, (i, j) in zip(np.moveaxis(series, -1, 0), PAIRS, strict=True):
        truth = p[allocations[:, i] == allocations[:, j]].sum()
        assert abs(z_score(each, truth)) < bound(2 * 2)
    target = Target(problem.data, problem.model)
    np.testing.assert_allclose(run.stats["lp"].ravel(), target.log_joint(draws), rtol=1e-9)


@pytest.mark.parametrize("covariance_type", [name for name in FAMILIES if name != "VEI"])
@pytest.mark.parametrize("prior", ["weakly_informative", "malsiner_walli"])
def test_chains_equal_those_of_plain_gibbs_sampling(covariance_type, prior):
    """With overlapping components, which it crosses, hyperparameters that are sampled, and weights of rows."""
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(30, 2)), rng.normal(size=(30, 2)) + np.array([2.5, 0.0])])
    made = {"weakly_informative": Prior.weakly_informative, "malsiner_walli": Prior.malsiner_walli}[prior](X)
    data = Data(X, rng.integers(1, 3, size=60).astype(float))
    start = Mixture(np.full(2, 0.5), X[[0, 40]], compressed(covariance_type, X), covariance_type)
    problem = Problem(data, made, start)
    plain = sample_gibbs(problem, replace(SETTINGS, draws=2_000), rng)
    jumps = adapted_jumps(problem, plain[0].thinned(100), plain[0].thinned(20), rng=rng)
    jumping = sample_with_jumps(jumps, problem, replace(SETTINGS, draws=2_000), rng)
    assert jumping[1].stats[module.JUMPED].mean() > 0.01
    for a, b in zip(quantities(*plain), quantities(*jumping), strict=True):
        assert abs(z_between(a, b)) < bound(4 * 18)


def compressed(covariance_type, X):
    return covariance_family(covariance_type).compress(np.broadcast_to(np.cov(X.T), (2, 2, 2)))


def quantities(draws, run):
    smallest = draws.weights.min(axis=1)
    overall = np.einsum("sk,skd->sd", draws.weights, draws.means)
    return [run.stats["lp"], smallest.reshape(4, -1), overall[:, 0].reshape(4, -1), (smallest**2).reshape(4, -1)]


def z_between(a, b):
    """Difference of two means in its Monte Carlo error."""
    za, zb = z_score(a, 0.0) / a.mean(), z_score(b, 0.0) / b.mean()  # one over their errors
    return (a.mean() - b.mean()) / np.hypot(1.0 / za, 1.0 / zb)


def test_candidates_are_as_many_as_it_takes():
    rng = np.random.default_rng(0)
    problem, draws = both_modes(rng)
    jumps = adapted_jumps(problem, draws, draws, rng=rng)
    walk = module._Walk(
        jumps, Target(problem.data, problem.model), Sweeps(problem.data, problem.model), jumps.starts(4, rng), rng
    )
    n_burnt = module._BURN * 4
    for share, n in ((1.0, 1), (module._OFTEN, 4), (0.5 * module._OFTEN, 8), (0.0, 1)):
        walk.n_candidates, walk.n_moved = 4, round(share * n_burnt)
        walk.enough_candidates()
        assert walk.n_candidates == n


def test_chains_begin_where_they_are_told():
    rng = np.random.default_rng(0)
    problem, draws = both_modes(rng)
    jumps = adapted_jumps(problem, draws, draws, rng=rng)
    starts = tuple(draws.mixture(s) for s in range(3))
    seen = []

    class Watching(Sweeps):
        def chain(self, start):
            seen.append(start)
            return super().chain(start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Sweeps", Watching)
        sample_with_jumps(jumps, replace(problem, chain_starts=starts), replace(SETTINGS, draws=2, chains=3), rng)
    assert all(a is b for a, b in zip(seen, starts, strict=True))


def test_ctrl_c_keeps_what_was_drawn(monkeypatch):
    rng = np.random.default_rng(0)
    problem, draws = both_modes(rng)
    jumps = adapted_jumps(problem, draws, draws, rng=rng)
    own, n_calls = module._Walk.step, [0]

    def interrupted(walk):
        n_calls[0] += 1
        if n_calls[0] == stop_at:
            raise KeyboardInterrupt
        return own(walk)

    monkeypatch.setattr(module._Walk, "step", interrupted)
    stop_at = module._BURN + 8
    with pytest.warns(InterruptedWarning, match="kept 7 of 1000 draws"):
        kept, run = sample_with_jumps(jumps, problem, SETTINGS, rng)
    assert len(kept) == 28
    assert run.interrupted
    n_calls[0], stop_at = 0, 3
    with pytest.raises(KeyboardInterrupt):
        sample_with_jumps(jumps, problem, SETTINGS, rng)
    with pytest.raises(SamplingError, match="max_seconds"):
        sample_with_jumps(jumps, problem, replace(SETTINGS, until=0.0), rng)


def test_a_chain_is_put_at_a_draw():
    """And its hyperparameters are drawn given it."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 2))
    prior = Prior.malsiner_walli(X)
    problem = Problem(Data.of(X), prior, Mixture(np.full(2, 0.5), X[:2], compressed("full", X), "full"))
    sweeps = Sweeps(problem.data, problem.model)
    draws, _ = sample_gibbs(problem, replace(SETTINGS, draws=5), rng)
    chain = sweeps.chain(problem.start)
    scales = []
    for _ in range(4_000):
        sweeps.place(chain, draws, 3, rng=rng)
        scales.append(chain.at.scale[0].copy())
    np.testing.assert_array_equal(chain.at.means, draws.means[3])
    np.testing.assert_allclose(
        chain.at.factors @ chain.at.precision_factors, np.broadcast_to(np.eye(2), (2, 2, 2)), atol=1e-9
    )
    expected = problem.model.required_prior.hyperparameters_given(
        np.repeat(draws.weights[3:4], 4_000, axis=0), np.repeat(draws.precision_factors[3:4], 4_000, axis=0), rng=rng
    )["prior_scale"]
    scales = np.stack(scales)
    error = np.sqrt((scales.var(axis=0) + expected.var(axis=0)) / 4_000)
    assert (np.abs(scales.mean(axis=0) - expected.mean(axis=0)) < bound(4) * error).all()
    kept = Kept.room(chain, 1)
    sweeps.run(rng, chain, kept, first=0, n=1)
    assert np.isfinite(kept.log_likelihood).all()
    assert partitions_of(draws, problem.data).shape == (20, 40)
