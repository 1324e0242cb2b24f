"""Posteriors of rows not in memory are those of the same rows in memory."""

import _thread
import json
import threading
import time
import warnings
from dataclasses import replace

import arviz as az
import numpy as np
import pandas as pd
import pytest
from monte_carlo import bound
from source_cases import MIXTURE, NAMES, MadeBlock, MadeSource, cut_small, rows, write

import bayesgmm
from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    Mixture,
    Prior,
    check_model,
    combine_modes,
    diagnose,
    log_evidence,
    loo,
    posterior_predictive,
)
from bayesgmm.data import SourceData
from bayesgmm.exceptions import InputError, InterruptedWarning, SamplingError
from bayesgmm.inference import Problem, engines
from bayesgmm.inference.mode_search import Exploration
from bayesgmm.log_posterior import BlockLogPosterior

SHORT = {"draws": 60, "tune": 60, "chains": 2, "n_init": 2, "init": "best", "random_state": 0, "progress": False}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    cut_small(monkeypatch)


def fitted(X, n_components=2, **settings):
    """A fit whose chains are too short to please, and may say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BayesianGaussianMixture(n_components, **{**SHORT, **settings}).fit(X)


@pytest.fixture(scope="module")
def parquet_fit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        yield fitted(write("Parquet, a glob", folder)), folder


def assert_alike(trees):
    """Means of weights, means and log variances agree within their Monte Carlo errors."""
    sampled = []
    for tree in trees:
        posterior = tree["posterior"].to_dataset()
        variances = np.diagonal(posterior["covariances"].to_numpy(), axis1=-2, axis2=-1)
        parts = [posterior["weights"].to_numpy(), posterior["means"].to_numpy(), np.log(variances)]
        sampled.append(np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=-1))
    pairs = zip(*(np.moveaxis(each, -1, 0) for each in sampled), strict=True)
    scores = [(a.mean() - b.mean()) / np.hypot(az.mcse(a), az.mcse(b)) for a, b in pairs]
    assert np.abs(scores).max() < bound(len(scores))


@pytest.mark.draws
@pytest.mark.parametrize("inference", ["nuts", "gibbs"])
def test_the_posterior_is_that_of_memory(inference, tmp_path):
    longer = {"draws": 100, "inference": inference}
    prior = fitted(write(".npy", tmp_path), draws=2, tune=2).prior_  # of the sample: that of memory is of all rows
    fits = [fitted(X, prior=prior, **longer) for X in (rows(), write(".npy", tmp_path))]
    assert_alike([fit.posterior_ for fit in fits])


@pytest.mark.draws
def test_modes_are_searched_for_on_the_sample(tmp_path):
    fit = fitted(write("Parquet", tmp_path), init="spread")
    assert set(json.loads(fit.posterior_.attrs["starting_modes"])) == {0}
    assert "missing" in fit.posterior_.attrs
    np.testing.assert_allclose(np.sort(fit.weights_), MIXTURE.weights, atol=0.1)


def test_places_are_compared_on_all_rows():
    X = rows()
    data = SourceData.read_once(MadeSource(X), rng=np.random.default_rng(0))
    prior = Prior.weakly_informative(X)
    start = GaussianMixture(2, prior=prior, random_state=0).fit(X).mixture_
    problem = Problem(data, prior, start)
    places = (start.permute([1, 0]), start)  # one place, in other labels
    explored = Exploration(replace(problem.on_sample, chain_starts=places), [0, 1, 0], sampler="gibbs")
    found = explored.with_all_rows(problem)
    assert found.problem.data is data
    assert (found.problem.chain_starts, found.starting_modes, found.sampler) == ((), [0, 0, 0], None)
    far = Mixture([0.5, 0.5], [[40.0, 0.0, 0.0], [-40.0, 0.0, 0.0]], np.array([np.eye(3)] * 2))
    moved = Exploration(replace(problem.on_sample, start=far), [0] * 3).with_all_rows(problem)
    assert problem.log_mass(moved.problem.start) >= problem.log_mass(start)


def test_a_source_of_few_rows_gives_the_posterior_of_memory_to_the_last_bit(tmp_path):
    X = rows(300)
    memory, fit = (fitted(each, draws=10, tune=10) for each in (X, write("Parquet", tmp_path, X)))
    np.testing.assert_array_equal(fit.posterior_["posterior"]["means"], memory.posterior_["posterior"]["means"])
    assert log_evidence(fit, random_state=0, progress=False).log_evidence < 0.0  # all rows are there


def test_the_same_seed_gives_the_same_draws_whatever_the_threads(tmp_path):
    source = write("Parquet, a glob", tmp_path)
    for inference in ("nuts", "gibbs"):
        one, other = (fitted(source, inference=inference, draws=4, tune=4, cores=cores) for cores in (1, 3))
        np.testing.assert_array_equal(one.posterior_["posterior"]["means"], other.posterior_["posterior"]["means"])


def test_a_fit_of_rows_in_memory_forgets_the_source(tmp_path):
    fit = fitted(write("Parquet", tmp_path), draws=10, tune=10)
    assert fit.source_.n_rows == 1_003
    assert list(fit.feature_names_in_) == NAMES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit.fit(rows())
    assert not hasattr(fit, "source_")
    assert "source" not in fit.posterior_.attrs


# ---- what is kept, and results


def test_a_sample_stands_for_the_rows_and_comes_back(parquet_fit, tmp_path):
    fit, folder = parquet_fit
    kept = fit.posterior_["observed_data"]["y"].to_numpy()
    assert kept.shape == (300, 3)
    np.testing.assert_array_equal(kept, fit.source_.sample)
    np.testing.assert_allclose(fit.posterior_["constant_data"]["row_weights"], 1_003 / 300)
    fit.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    assert again.source_.paths == tuple(str(folder / f"part-{i}.parquet") for i in range(4))
    assert (again.source_.n_rows, again.source_.fingerprint) == (1_003, fit.source_.fingerprint)
    np.testing.assert_array_equal(again.source_.sample, kept)
    again.predict_to(tmp_path / "clusters.parquet")
    found = pd.read_parquet(tmp_path / "clusters.parquet")["cluster"]
    np.testing.assert_array_equal(found, fit.predict(folder / "part-*.parquet"))


def test_results_are_those_of_memory(parquet_fit, tmp_path):
    fit, folder = parquet_fit
    source, X = folder / "part-*.parquet", pd.DataFrame(rows(), columns=NAMES)
    np.testing.assert_array_equal(fit.predict(source), fit.predict(X))  # of 120 draws all
    np.testing.assert_allclose(fit.predict_proba(source), fit.predict_proba(X), atol=1e-12)
    np.testing.assert_allclose(fit.score_samples(source), fit.score_samples(X), rtol=1e-12)
    assert fit.score(source) == pytest.approx(fit.score(X), rel=1e-12)
    fit.score_samples_to(tmp_path / "densities.parquet", source)
    densities = pd.read_parquet(tmp_path / "densities.parquet")["log_density"]
    np.testing.assert_allclose(densities, fit.score_samples(X), rtol=1e-12)
    fit.predict_to(tmp_path / "shares.parquet", X[:10], proba=True)
    shares = pd.read_parquet(tmp_path / "shares.parquet")
    np.testing.assert_allclose(shares[["p0", "p1"]], fit.predict_proba(X[:10]), atol=1e-12)


def test_what_looks_at_rows_takes_the_sample(parquet_fit):
    fit, _ = parquet_fit
    assert diagnose(fit).figures.n_chains == 2
    assert fit.membership().sizes["obs"] == 300
    assert len(fit.summary()) > 0
    assert bayesgmm.estimate_partition(fit, random_state=0).labels.shape == (300,)


def test_what_needs_all_rows_says_what_to_do(parquet_fit, tmp_path):
    fit, _ = parquet_fit
    for use in (
        lambda: log_evidence(fit),
        lambda: combine_modes(fit),
        lambda: fit.model,
        lambda: loo(fit),
        lambda: check_model(fit),
        lambda: posterior_predictive(fit),
        lambda: (
            bayesgmm.write_report(fit, None, fit.em_, tmp_path / "report.html")
            if hasattr(bayesgmm, "write_report")
            else fit.report(tmp_path / "report.html")
        ),
    ):
        with pytest.raises(InputError, match=r"all rows of the fit for .*1,003 rows on disk.*sample of 300.*sample"):
            use()
    some = fit.source_.sample[:50]
    assert loo(fit, some, progress=False).n_data_points == 50
    assert posterior_predictive(fit, some, n_samples=2)["posterior_predictive"].sizes["obs"] == 50


def test_weights_and_pymc_are_refused(tmp_path):
    source = write(".npy", tmp_path)
    with pytest.raises(InputError, match="no sample_weight with rows not in memory"):
        BayesianGaussianMixture(2).fit(source, sample_weight=np.ones(1_003))
    with pytest.raises(InputError, match=r'engine="native" for rows that are not in memory.*sample'):
        BayesianGaussianMixture(2, engine="pymc").fit(source)
    with pytest.raises(InputError, match="Use inference="):
        fitted(source, inference="gibbs", covariance_type="VEI")
    with pytest.raises(InputError, match="at least two rows to fit; got 1"):
        BayesianGaussianMixture(1).fit(write(".npy", tmp_path, rows(1)))


# ---- interruption


class Slow(MadeBlock):
    """Takes its time once asked to."""

    seconds = 0.0

    def read(self):
        time.sleep(type(self).seconds)
        yield self.part


@pytest.fixture
def slow_source(monkeypatch):
    """A source whose passes take a second of sleep, once chains have made some draws."""
    source = MadeSource(rows())
    source.blocks = [Slow(block.part, block.first_row) for block in source.blocks]
    monkeypatch.setattr(Slow, "seconds", 0.0)
    return source


def slow_after(n_passes, monkeypatch, then=lambda: None):
    """Passes of NUTS become slow after so many; ``then`` is called."""
    original, n_done = BlockLogPosterior.at, [0]

    def at(self, points):
        n_done[0] += 1
        if n_done[0] == n_passes:
            Slow.seconds = 0.3
            then()
        return original(self, points)

    monkeypatch.setattr(BlockLogPosterior, "at", at)


@pytest.mark.draws
def test_ctrl_c_ends_a_pass_and_keeps_the_draws(slow_source, monkeypatch):
    pressed = []

    def press():
        pressed.append(time.monotonic() + 0.5)
        threading.Timer(0.5, _thread.interrupt_main).start()

    def sample(*arguments):
        try:
            return original(*arguments)
        finally:
            ended.append(time.monotonic())

    ended, original = [], engines.sample_nuts
    monkeypatch.setattr(engines, "sample_nuts", sample)
    slow_after(500, monkeypatch, press)
    with pytest.warns(InterruptedWarning, match="Sampling was interrupted: kept"):
        fit = BayesianGaussianMixture(2, **{**SHORT, "draws": 4_000, "tune": 10}, cores=1).fit(slow_source)
    assert ended[0] - pressed[0] < 2.0  # on a busy machine; a block takes 0.3
    stats = fit.posterior_["sample_stats"]
    assert 0 < stats.sizes["draw"] < 4_000
    assert not stats["diverging"].to_numpy()[:, -1].any()
    assert np.isfinite(stats["lp"]).all()


@pytest.mark.draws
@pytest.mark.parametrize("inference", ["nuts", "gibbs"])
def test_max_seconds_keeps_the_draws(inference, tmp_path):
    source = write(".npy", tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = {**SHORT, "draws": 100_000, "max_draws": 100_000, "tune": 5, "inference": inference}
        fit = BayesianGaussianMixture(2, **settings, max_seconds=4.0).fit(source)
    assert any(issubclass(each.category, InterruptedWarning) for each in caught)
    assert 0 < fit.posterior_["posterior"].sizes["draw"] < 100_000
    with pytest.raises(SamplingError, match="max_seconds"):
        BayesianGaussianMixture(2, **settings, max_seconds=1e-3).fit(source)


# ---- a million rows


@pytest.mark.slow
@pytest.mark.draws
def test_a_million_rows_from_disk(tmp_path, monkeypatch):
    monkeypatch.undo()
    X = MIXTURE.sample(1_000_000, rng=np.random.default_rng(0))[0]
    np.save(tmp_path / "rows.npy", X)
    longer = {"draws": 300, "tune": 200, "chains": 4}
    fit = fitted(tmp_path / "rows.npy", init="spread", **longer)
    memory = fitted(X, prior=fit.prior_, **longer)
    assert_alike([fit.posterior_, memory.posterior_])
    assert fit.posterior_["observed_data"].sizes["obs"] == 100_000
