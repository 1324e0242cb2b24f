"""Gibbs sampling of a posterior: rows with weights, the estimator, refusals, interruptions."""

import time
from dataclasses import replace

import arviz as az
import numpy as np
import pytest
from monte_carlo import bound
from reference import FAMILIES, RESTRICTED, load_data

from bayesgmm import BayesianGaussianMixture, Prior
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError, InterruptedWarning, SamplingError
from bayesgmm.inference import Problem, SamplerSettings, gibbs
from bayesgmm.inference.gibbs import check_gibbs, sample_gibbs
from bayesgmm.mixture import Mixture, covariance_family

CONJUGATE = [name for name in FAMILIES if name != "VEI"]
pytestmark = pytest.mark.draws


def faithful_problem(family="full", data=None, **prior):
    data = Data.of(load_data("faithful")) if data is None else data
    given = Prior.weakly_informative(data.rows, sample_weight=data.row_weights, **prior)
    start = Mixture(
        [0.36, 0.64], [[2.04, 54.5], [4.29, 80.0]], np.array([[[0.07, 0.4], [0.4, 34.0]], [[0.17, 0.9], [0.9, 36.0]]])
    )
    family = covariance_family(family)
    covariances = family.compress(start.full_covariances)
    return Problem(data, given, Mixture(start.weights, start.means, covariances, family.name))


def test_whole_weights_count_rows():
    """Draws by 100 rows, each of which stands for up to six, are distributed as those by all rows one by one."""
    rng = np.random.default_rng(4)
    rows, counts = load_data("faithful")[:100], rng.integers(1, 7, 100)
    settings = SamplerSettings(seed=1, draws=3_000, progress=False)
    given = faithful_problem(data=Data(np.asfortranarray(rows), counts.astype(float)))
    weighted, trace = sample_gibbs(given, settings, rng)
    repeated, other = sample_gibbs(
        faithful_problem(data=Data(np.asfortranarray(np.repeat(rows, counts, axis=0)))), settings, rng
    )
    quantities = [(trace.stats["lp"], other.stats["lp"])]
    for a, b in zip(weighted.arrays, repeated.arrays, strict=True):
        columns = zip(a.reshape(12_000, -1).T, b.reshape(12_000, -1).T, strict=True)
        quantities += [(x.reshape(4, -1), y.reshape(4, -1)) for x, y in columns]
    scores = [(a.mean() - b.mean()) / np.hypot(az.mcse(a), az.mcse(b)) for a, b in quantities]
    assert np.abs(scores).max() < bound(len(scores))


def test_log_densities_are_those_of_the_draws():
    given = faithful_problem()
    draws, trace = sample_gibbs(given, SamplerSettings(seed=1, draws=5, progress=False), np.random.default_rng(0))
    mixtures = [draws.mixture(s) for s in range(len(draws))]
    expected = [given.log_likelihood(each) + given.model.required_prior.log_prob(each) for each in mixtures]
    np.testing.assert_allclose(trace.stats["lp"].ravel(), expected, rtol=1e-12)
    np.testing.assert_array_equal(draws.chain, np.repeat(np.arange(4), 5))


# ---- the estimator


@pytest.mark.parametrize("family", CONJUGATE)
def test_a_fit_by_gibbs_is_a_fit_by_nuts(family):
    X, sampled = load_data("faithful"), []
    for inference in ("nuts", "gibbs"):
        model = BayesianGaussianMixture(2, covariance_type=family, inference=inference, random_state=3, progress=False)
        tree = model.fit(X).posterior_
        assert model.converged_
        posterior = tree["posterior"].to_dataset()
        diagonal = np.diagonal(posterior["covariances"].to_numpy(), axis1=-2, axis2=-1)
        parts = (posterior["weights"].to_numpy(), posterior["means"].to_numpy(), np.log(diagonal))
        sampled.append(np.concatenate([part.reshape(4, 1000, -1) for part in parts], axis=-1))
    scores = [
        (a.mean() - b.mean()) / np.hypot(az.mcse(a), az.mcse(b))
        for a, b in zip(*(np.moveaxis(each, -1, 0) for each in sampled), strict=True)
    ]
    assert np.abs(scores).max() < bound(len(scores))
    assert tree["sample_stats"]["lp"].shape == (4, 1000)
    assert tree.attrs["n_gradients"] == 0


def refused():
    X = load_data("faithful")
    common = {"n_components": 2, "inference": "gibbs"}
    fixed = Prior.separation(
        mean=X.mean(axis=0), mean_covariance=np.cov(X.T), variance_shape=2.0, variance_scale=1.0, eta=1.5
    )
    yield {**common, "prior": fixed}, None, "variances and correlations"
    for name in RESTRICTED:
        yield {**common, "covariance_type": name}, None, name
    yield {**common, "engine": "pymc"}, None, "native"
    yield common, np.where(np.arange(len(X)) < 3, 0.5, 1.0), r"got 0\.5"


@pytest.mark.parametrize(("parameters", "weights", "told"), list(refused()))
def test_what_has_no_conditional_distribution_is_refused_before_any_work(parameters, weights, told):
    began = time.perf_counter()
    with pytest.raises(InputError, match=told):
        BayesianGaussianMixture(**parameters).fit(load_data("faithful"), sample_weight=weights)
    assert time.perf_counter() - began < 5.0


def test_fewer_draws_when_time_is_over():
    given = faithful_problem()
    check_gibbs(given.model, given.data)
    sample_gibbs(given, SamplerSettings(seed=1, draws=1, tune=1, progress=False), np.random.default_rng(0))  # compiled
    settings = SamplerSettings(seed=1, draws=10**6, tune=1, progress=False, until=time.monotonic() + 1.0)
    with pytest.warns(InterruptedWarning, match="of 1000000 draws"):
        draws, trace = sample_gibbs(given, settings, np.random.default_rng(0))
    assert trace.interrupted
    assert time.monotonic() - settings.until < 5.0
    n_chains, n_draws = trace.stats["lp"].shape
    assert n_chains == 4
    assert 1 <= n_draws < 10**6
    assert len(draws) == 4 * n_draws
    with pytest.raises(SamplingError):
        sample_gibbs(given, replace(settings, tune=10**6, until=0.0), np.random.default_rng(0))


def test_ctrl_c_keeps_the_draws_so_far(monkeypatch):
    given, calls = faithful_problem(), []
    in_threads = gibbs.in_threads

    def interrupted(task, items, **options):
        calls.append(len(items))

        def last(item, stop):
            result = task(item, stop)
            if len(calls) == 4:
                stop.set()
            return result

        return in_threads(last, items, **options)

    monkeypatch.setattr(gibbs, "in_threads", interrupted)
    settings = SamplerSettings(seed=1, draws=10**5, tune=1, progress=False)
    with pytest.warns(InterruptedWarning):
        draws, trace = sample_gibbs(given, settings, np.random.default_rng(0))
    assert len(calls) == 4
    assert trace.interrupted
    assert 4 <= len(draws) < 4 * 10**5
    assert np.isfinite(trace.stats["lp"]).all()
    calls[:] = [0, 0, 0]
    with pytest.raises(KeyboardInterrupt):
        sample_gibbs(given, replace(settings, tune=10**5), np.random.default_rng(0))


def test_weights_of_a_sparse_prior_do_not_vanish():
    """Four components on two groups with a concentration of .01: empty components have weights that are tiny, not 0."""
    X = load_data("faithful")
    model = BayesianGaussianMixture(
        4, prior=Prior.weakly_informative(X, concentration=0.01), inference="gibbs", random_state=1, progress=False
    )
    weights = model.fit(X).posterior_["posterior"]["weights"].to_numpy()
    assert weights.min() > 0.0
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-9)
    assert np.median(weights.min(axis=-1)) < 1e-12
