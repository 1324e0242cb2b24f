"""Sweeps of Gibbs sampling: its conditional distributions, and Geweke's joint test of whole sweeps."""

import json
import subprocess
import sys

import arviz as az
import numpy as np
import pytest
from monte_carlo import FALSE_ALARM, bound
from reference import FAMILIES
from scipy.stats import ks_2samp

from bayesgmm import Prior
from bayesgmm.data import Data
from bayesgmm.gibbs import Kept, Sweeps
from bayesgmm.gibbs.sweep import _draw_concentration
from bayesgmm.mixture import Mixture
from bayesgmm.mixture.covariance.family import Diagonal, Full, Spherical
from bayesgmm.priors import Gamma, Model, draw_mixtures
from bayesgmm.priors.concentrations import draw_concentrations

CONJUGATE = [name for name in FAMILIES if name != "VEI"]
PARAMETRISATIONS = {"full": (Full(), 3, 3), "diag": (Diagonal(), 1, 3), "spherical": (Spherical(), 1, 1)}
pytestmark = pytest.mark.draws


# ---- single blocks


@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_a_covariance_is_drawn_as_numpy_draws_it(name):
    one, rows, columns = PARAMETRISATIONS[name]
    rng, root = np.random.default_rng(0), np.random.default_rng(1).normal(size=(rows, columns))
    scale = root @ root.T + np.eye(rows) if rows > 1 else root**2 + 0.5
    factors, inverses = np.empty((2, 4_000, rows, columns))
    for factor, inverse in zip(factors, inverses, strict=True):
        one.draw_factor(rng, 7.5, scale, factor, inverse)
    if rows > 1:
        np.testing.assert_allclose(factors @ inverses, np.broadcast_to(np.eye(rows), factors.shape), atol=1e-12)
        assert not factors[:, *np.triu_indices(rows, 1)].any()
    else:
        np.testing.assert_allclose(factors * inverses, 1.0, rtol=1e-14)
    others = one.draw_factors(np.full(4_000, 7.5), np.broadcast_to(scale, factors.shape), rng)
    for drawn, expected in zip(
        np.moveaxis(one.matrices(factors, 3), 0, -1).reshape(9, -1),
        np.moveaxis(one.matrices(one.factors(_square(others, rows)), 3), 0, -1).reshape(9, -1),
        strict=True,
    ):
        assert ks_2samp(drawn, expected).pvalue > FALSE_ALARM or not drawn.any()


def _square(factors, rows):
    return factors @ np.swapaxes(factors, -1, -2) if rows > 1 else factors**2


@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_a_scale_is_drawn_as_numpy_draws_it(name):
    one, rows, columns = PARAMETRISATIONS[name]
    rng, root = np.random.default_rng(0), np.random.default_rng(1).normal(size=(rows, columns))
    scale, drawn = (root @ root.T + np.eye(rows) if rows > 1 else root**2 + 0.5), np.empty((4_000, rows, columns))
    for each in drawn:
        one.draw_block(rng, 5.5, scale, each)
    others = one.draw_wisharts(np.full(4_000, 5.5), np.broadcast_to(scale, drawn.shape), rng)
    for own, expected in zip(drawn.reshape(4_000, -1).T, others.reshape(4_000, -1).T, strict=True):
        assert ks_2samp(own, expected).pvalue > FALSE_ALARM


@pytest.mark.parametrize("weights", [[0.2, 0.3, 0.5], [1e-9, 0.4, 0.6], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
def test_a_concentration_is_drawn_as_by_inversion(weights):
    """By slices from where the last draw was; a weight of zero is one that is no greater than the smallest number."""
    rng, law, weights = np.random.default_rng(0), Gamma(2.0, 3.0), np.array(weights)
    smallest = np.maximum(weights, np.finfo(np.float64).tiny)
    own, e = np.empty(20_000), 0.5
    for i in range(len(own)):
        arguments = np.array([2.0, 3.0]), 3, np.log(smallest).sum(), int((weights == 0.0).sum())
        own[i] = e = _draw_concentration(rng, *arguments, e)
    thinned = own[::10]
    expected = draw_concentrations(law, np.broadcast_to(weights, (8_000, 3)), rng=rng)
    assert ks_2samp(thinned, expected).pvalue > FALSE_ALARM


# ---- compiling

CODE = """
import json
import numpy as np
from bayesgmm import Prior
from bayesgmm.data import Data
from bayesgmm.gibbs import Kept, Sweeps
from bayesgmm.mixture import Mixture
from bayesgmm.priors import Model
from bayesgmm.gibbs.sweep import _draw_concentration, _draw_scale, _draws, _share_out, evaluate, sweep
start, prior = Mixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]]), dict(kappa=0.7, mean=0.0, dof=3.0, scale=1.0)
model = Model.of("full", 2, 1, prior=Prior.normal_inverse_wishart(concentration=1.0, **prior))
sweeps = Sweeps(Data(np.asfortranarray([[-1.1], [-0.9], [2.0], [2.2]])), model)
chain = sweeps.chain(start)
sweeps.run(np.random.default_rng(0), chain, Kept.room(chain, 1), first=0, n=1)
whole = [version for part in (_draws, sweep, evaluate) for version in part.versions.values()]
misses = [sum(version.dispatcher.stats.cache_misses.values()) for version in whole]
rare = [version for part in (_share_out, _draw_scale, _draw_concentration) for version in part.versions.values()]
print(json.dumps([misses, ["dispatcher" in vars(version) for version in rare]]))
"""


def test_a_later_process_loads_sweeps_and_blocks_that_are_not_drawn_are_not_compiled():
    for _ in range(2):  # the first one may have to compile
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
        misses, compiled = json.loads(done.stdout)
        assert compiled == [False] * 3
    assert misses == [0] * 3


# ---- whole sweeps


def priors():
    """A prior of each form for any family, of tails that have the moments that standard errors need."""
    scale = np.array([[1.5, 0.3], [0.3, 0.8]])
    common = {"mean": np.array([0.3, -0.2]), "dof": 9.0, "scale": 6.0 * scale}
    yield "independent", Prior.independent(mean_covariance=2.0 * scale, concentration=1.7, **common)
    yield "conjugate", Prior.normal_inverse_wishart(kappa=0.7, concentration=1.7, **common)
    yield "sparse", Prior.normal_inverse_wishart(kappa=0.7, concentration=0.2, **common)
    yield "concentration", Prior.independent(mean_covariance=2.0 * scale, concentration=Gamma(2.0, 1.5), **common)
    common |= {"scale": Prior.wishart(6.0, scale), "concentration": 1.7}
    yield "scale", Prior.independent(mean_covariance=2.0 * scale, **common)
    yield "scale, conjugate", Prior.normal_inverse_wishart(kappa=0.7, **common)


PRIORS = dict(priors())


@pytest.mark.parametrize("form", PRIORS)
@pytest.mark.parametrize("family", CONJUGATE)
def test_parameters_and_rows_together_keep_their_joint_distribution(family, form):
    """Geweke (2004): rows drawn given parameters, then parameters given rows, leave the prior as it is."""
    n, k, d, steps = 5, 2, 2, 4_000
    model = Model.of(family, k, d, prior=PRIORS[form])
    prior, rng = model.required_prior, np.random.default_rng(11)
    weights, means, covariances = draw_mixtures(prior, steps, rng=rng)
    mixture = Mixture(weights[0], means[0], model.family.compress(covariances[0]), family)
    sweeps = Sweeps(Data(np.asfortranarray(np.zeros((n, d)))), model)
    chain, rows = sweeps.chain(mixture), sweeps.rows
    at, kept = chain.at, Kept.room(chain, steps)
    for s in range(steps):
        labels = rng.choice(k, size=n, p=at.weights / at.weights.sum())
        full = model.family.expand(at.factors, k, d)
        rows.rows[:] = at.means[labels] + (np.linalg.cholesky(full[labels]) @ rng.normal(size=(n, d, 1)))[..., 0]
        rows.columns[:] = rows.rows.T
        sweeps.run(rng, chain, kept, first=s, n=1)
    got = _moments(kept.weights, kept.means, model.family.expand(kept.factors, k, d))
    expected = _moments(weights, means, covariances)
    scores = (got.mean(axis=0) - expected.mean(axis=0)) / np.hypot(_errors(got), _errors(expected))
    assert np.abs(scores).max() < bound(got.shape[1]), scores.round(1)


def _moments(weights, means, covariances):
    """Functions of the parameters (draw, function) of any order of the components, and their squares."""
    sd = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    correlation = covariances[..., 0, 1] / sd.prod(axis=-1)
    each = [np.log(np.maximum(weights, 1e-3)), means[..., 0], means[..., 1], np.log(sd[..., 0]), correlation]
    both = [np.moveaxis(np.stack([values.mean(axis=-1), values.prod(axis=-1)]), 0, -1) for values in each]
    return np.concatenate([*both, (weights**2).sum(axis=-1, keepdims=True)], axis=-1)


def _errors(values):
    spread = np.array([az.mcse(column[None]) for column in values.T])
    return np.where(values.std(axis=0) > 0, spread, 1.0)
