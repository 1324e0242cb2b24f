"""Frequency weights in the Bayesian half: a row with a weight of three is that row three times."""

import json
import warnings

import numpy as np
import pytest
from em_cases import best_fit
from mode_cases import exact_log_evidences
from monte_carlo import bound
from reference import FAMILIES, load_data
from scipy.special import logsumexp

from bayesgmm import BayesianGaussianMixture, Prior, diagnose, load
from bayesgmm.data.blocks import Data
from bayesgmm.diagnostics.label_invariants import invariants
from bayesgmm.evidence.conditional_densities import Conditionals
from bayesgmm.evidence.mode_weights import Target, weigh_modes
from bayesgmm.evidence.modes import Mode, Modes
from bayesgmm.evidence.pooled_modes import combine_modes, stacking_weights
from bayesgmm.exceptions import InputError, SamplingWarning
from bayesgmm.inference.engine_pymc import sample_pymc
from bayesgmm.inference.engines import sample_native
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.draws import Draws
from bayesgmm.posterior.adapter import mixture_posterior, row_weights_of

SETTINGS = SamplerSettings(seed=1, draws=1500, tune=300, chains=2, progress=False)


@pytest.fixture(scope="module")
def faithful():
    """Rows, weights from nought to three, and the rows written as often."""
    X = load_data("faithful")
    v = np.random.default_rng(0).integers(0, 4, len(X))
    return X, v, np.repeat(X, v, axis=0)


def fitted(X, v=None, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        model = BayesianGaussianMixture(2, random_state=2, progress=False, **{"draws": 400, **settings})
        return model.fit(X, sample_weight=v)


@pytest.fixture(scope="module")
def pair(faithful):
    X, v, repeated = faithful
    return fitted(X, v), fitted(repeated)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_density_and_gradient_are_those_of_repeated_rows(faithful, covariance_type):
    X, v, repeated = faithful
    prior = Prior.weakly_informative(X, sample_weight=v)
    em, _ = best_fit(Data.of(X, v), 2, rng=np.random.default_rng(0), covariance_type=covariance_type)
    start = em.mixture
    present = v > 0
    weighted = Problem(Data.of(X[present], v[present].astype(float)), prior, start).log_posterior
    plain = LogPosterior(Data.of(repeated), weighted.prior, weighted.coordinates)
    for point in np.random.default_rng(1).normal(size=(5, weighted.n_dim)):
        (value, gradient), (want, slope) = weighted(point), plain(point)
        assert value == pytest.approx(want, rel=1e-10)
        np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-10 * np.abs(slope).max())
    around = Coordinates.around(start)
    np.testing.assert_allclose(weighted.coordinates.point(start), plain.coordinates.point(start))
    assert around.n_dim == weighted.n_dim


@pytest.mark.draws
def test_the_posterior_is_that_of_repeated_rows(pair):
    weighted, repeated = pair
    np.testing.assert_allclose(weighted.prior_.scale, repeated.prior_.scale, rtol=1e-10)
    np.testing.assert_allclose(weighted.em_.means, repeated.em_.means, rtol=1e-8)
    for name in ("weights", "means", "covariances"):
        one, other = (fit.posterior_["posterior"][name].to_numpy() for fit in pair)
        spread = np.log(one.std(axis=(0, 1)) / other.std(axis=(0, 1)))
        difference = np.abs(one.mean(axis=(0, 1)) - other.mean(axis=(0, 1)))
        error = np.sqrt(2.0 / 600) * other.std(axis=(0, 1))  # 1,600 draws, worth 600 at least
        assert (difference < bound(difference.size) * error).all()
        assert (np.abs(spread) < bound(difference.size) * np.sqrt(1.0 / 600)).all()  # of two, each sqrt(1 / 2 n)


def test_weights_are_kept_saved_and_read(pair, faithful, tmp_path):
    X, v, _ = faithful
    fit = pair[0]
    present = v > 0
    np.testing.assert_array_equal(row_weights_of(fit.posterior_), v[present])
    np.testing.assert_array_equal(fit.posterior_["observed_data"]["y"], X[present])
    fit.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(row_weights_of(load(tmp_path / "fit.nc").posterior_), v[present])
    assert row_weights_of(pair[1].posterior_) is None
    assert row_weights_of(mixture_posterior(fit, X)) is None  # other rows


def test_sums_over_rows_count_weights(pair, faithful):
    _, _, repeated = faithful
    weighted, plain = invariants(pair[0]), invariants(pair[0], repeated)
    for name in ("log_likelihood", "count", "entropy"):
        np.testing.assert_allclose(weighted[name], plain[name], rtol=1e-9)
    np.testing.assert_allclose(
        diagnose(pair[0]).figures.log_likelihood, diagnose(pair[0], repeated).figures.log_likelihood, rtol=1e-9
    )
    assert combine_modes(pair[0]) is pair[0].posterior_


def test_weights_of_one_change_nothing(faithful):
    X, _, _ = faithful
    one, other = (fitted(X, v, draws=20, tune=50, chains=1) for v in (None, np.ones(len(X))))
    np.testing.assert_array_equal(one.means_, other.means_)
    assert row_weights_of(other.posterior_) is None


def test_draws_are_those_of_repeated_rows_in_any_order(faithful):
    X, v, repeated = faithful
    few = {"draws": 30, "tune": 100, "chains": 2}
    one, other = fitted(X, v, **few), fitted(np.random.default_rng(1).permutation(repeated), **few)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(one.posterior_["posterior"][name], other.posterior_["posterior"][name])


@pytest.mark.parametrize("form", ["normal_inverse_wishart", "independent"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_densities_given_allocations_count_weights(form, covariance_type):
    rng = np.random.default_rng(0)
    X, v = rng.normal(size=(12, 2)), rng.integers(1, 4, 12)
    common = {"mean": [0.1, 0.2], "dof": 5.0, "scale": np.eye(2)}
    if form == "independent":
        prior = Prior.independent(mean_covariance=np.eye(2), **common)
    else:
        prior = Prior.normal_inverse_wishart(kappa=0.3, **common)
    density = Conditionals.of_prior(prior.resolve(2, 2, covariance_type))
    labels, means = rng.integers(0, 2, (4, 12)), rng.normal(size=(4, 2, 2))
    family = covariance_family(covariance_type)
    draws = Draws(np.full((4, 2), 0.5), means, np.tile(np.eye(2), (4, 2, 1, 1)), family=family)
    weighted = density.given(Data(X, v.astype(float)), labels, draws)
    repeated = density.given(Data(np.repeat(X, v, axis=0)), np.repeat(labels, v, axis=1), draws)
    for name in ("concentration", "mean", "kappa", "mean_precision", "dof", "scale"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-10, atol=1e-12)


@pytest.mark.draws
def test_the_evidence_of_weighted_rows_equals_enumeration():
    X, v = np.array([0.0, 0.4, 3.0, 3.5, 2.6])[:, None], np.array([2.0, 1.0, 3.0, 1.0, 1.0])
    repeated = np.repeat(X, v.astype(int), axis=0)
    prior = Prior.normal_inverse_wishart(concentration=1.5, mean=[1.0], kappa=0.3, dof=4.0, scale=[[1.0]])
    em, _ = best_fit(Data.of(X, v), 2, rng=np.random.default_rng(0), prior=prior)
    problem = Problem(Data.of(X, v), prior, em.mixture)
    points = sample_native(problem, SETTINGS, np.random.default_rng(1))[0]
    whole = Modes((Mode(np.zeros(5, np.int32), 1, len(points), [0, 1], 0.0),), np.zeros(len(points), int), 1.0)
    target = Target(Data.of(X, v), problem.model)
    (mode,) = weigh_modes(whole, points, target, rng=np.random.default_rng(0)).modes
    exact = logsumexp(exact_log_evidences(repeated, prior, 2)[1])
    assert mode.bridge.se < 0.05
    assert abs(mode.bridge.log_z - exact) < bound() * mode.bridge.se


def test_stacking_counts_a_row_as_often_as_its_weight():
    """Against repetition, and against a grid over the one free weight."""
    rng = np.random.default_rng(0)
    elpd, v = rng.normal(-2.0, 1.0, (2, 40)), rng.integers(0, 5, 40)
    got = stacking_weights(elpd, v.astype(float))
    np.testing.assert_allclose(got, stacking_weights(np.repeat(elpd, v, axis=1)), atol=1e-6)
    grid = np.linspace(0.0, 1.0, 2001)
    score = [v @ np.log(w * np.exp(elpd[0]) + (1.0 - w) * np.exp(elpd[1])) for w in grid]
    assert got[0] == pytest.approx(grid[np.argmax(score)], abs=1e-3)
    assert got.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("weights", [[1.0], -np.ones(272), np.zeros(272), np.full(272, np.nan), np.ones((272, 1))])
def test_bad_weights_are_refused_before_any_work(faithful, weights):
    with pytest.raises(InputError, match="sample_weight"):
        BayesianGaussianMixture(2).fit(faithful[0], sample_weight=weights)


def test_the_pymc_model_takes_no_weights(faithful, pair):
    X, v, _ = faithful
    with pytest.raises(InputError, match="repeat the rows"):
        BayesianGaussianMixture(2, engine="pymc").fit(X, sample_weight=v)
    with pytest.raises(InputError, match="repeat the rows"):
        _ = pair[0].model
    problem = Problem(Data.of(X, v + 1.0), pair[0].prior_, pair[0].em_)
    with pytest.raises(InputError, match="repeat the rows"):
        sample_pymc(problem, SETTINGS, np.random.default_rng(0))


@pytest.mark.draws
def test_exploratory_chains_use_weights():
    """Two groups of which one counts for next to nothing: with weights the emptied component is within reach."""
    X = np.concatenate([np.random.default_rng(0).normal(0.0, 1.0, 60), [4.0, 4.2, 4.1]])[:, None]
    light = np.append(np.ones(60), np.full(3, 0.01))
    one, other = (fitted(X, v, draws=50, tune=100, chains=1) for v in (light, np.append(np.ones(60), np.full(3, 30.5))))
    records = [json.loads(fit.posterior_.attrs["scouts"]) for fit in (one, other)]
    assert "one emptied" in records[0]["starts"]
    assert "one emptied" in records[1]["far_below"]
