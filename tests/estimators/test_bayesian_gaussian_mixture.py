"""The estimator as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import arviz as az
import numpy as np
import pandas as pd
import pytest
from monte_carlo import bound
from reference import load_data
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import bayesgmm
from bayesgmm import BayesianGaussianMixture, Prior
from bayesgmm.datasets import load_old_faithful
from bayesgmm.em import best_of_starts, multistart
from bayesgmm.estimators import bayesian_gaussian_mixture as module
from bayesgmm.exceptions import InputError, InterruptedWarning, NotIdentifiedError, SamplingError
from bayesgmm.inference import engines

SHORT = {"draws": 60, "tune": 150, "chains": 2, "random_state": 0, "progress": False}
short_run = pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")  # too few draws, on purpose


def short(n_components=2, **settings) -> BayesianGaussianMixture:
    return BayesianGaussianMixture(n_components, **{**SHORT, **settings})


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return load_old_faithful()


@pytest.fixture(scope="module")
def fit(frame) -> BayesianGaussianMixture:
    return BayesianGaussianMixture(2, random_state=1, progress=False).fit(frame)


# ---- Old Faithful


@pytest.mark.draws
def test_the_posterior_of_old_faithful(fit):
    np.testing.assert_allclose(fit.means_, [[2.04, 54.5], [4.29, 80.0]], rtol=0.01)
    np.testing.assert_allclose(fit.weights_, [0.357, 0.643], atol=0.01)
    assert fit.covariances_.shape == (2, 2, 2)
    assert fit.weights_.sum() == pytest.approx(1.0)
    assert np.abs(fit.em_.means - fit.means_).max() < 0.2
    assert fit.posterior_["posterior"].sizes["draw"] == 1000
    assert fit.posterior_["posterior"].sizes["chain"] == 4
    assert float(az.rhat(fit.posterior_).to_dataset().max().to_array().max()) < 1.01


@pytest.mark.draws
def test_names_come_from_the_dataframe(fit):
    assert fit.feature_names_in_.tolist() == ["eruptions", "waiting"]
    posterior = fit.posterior_["posterior"]
    assert posterior["feature"].to_numpy().tolist() == ["eruptions", "waiting"]
    waiting = posterior["means"].sel(feature="waiting", cluster=1)
    assert float(waiting.mean()) == pytest.approx(80.0, abs=0.5)
    with pytest.raises(ValueError, match="feature names"):
        fit.predict(pd.DataFrame({"a": [1.0], "b": [2.0]}))


def test_the_record_of_the_run(fit):
    attrs = fit.posterior_.attrs
    assert attrs["seed"] == 1
    assert attrs["engine"] == "native"
    assert attrs["em_best_reached"] <= attrs["em_starts"] == 10
    assert attrs["interrupted"] == 0
    assert attrs["sampling_time"] > 0
    assert attrs["n_gradients"] > 4000
    assert json.loads(attrs["settings"])["chains"] == 4
    stats = fit.posterior_["sample_stats"]
    assert {"diverging", "lp", "n_steps", "step_size", "tree_depth", "permutation", "energy"} <= set(stats.data_vars)


@pytest.mark.draws
def test_prediction(fit, frame):
    proba = fit.predict_proba(frame)
    assert proba.shape == (272, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_array_equal(fit.predict(frame), proba.argmax(axis=1))
    assert fit.predict(pd.DataFrame([[1.9, 52.0], [4.5, 82.0]], columns=frame.columns)).tolist() == [0, 1]
    scores = fit.score_samples(frame)
    np.testing.assert_allclose(scores, fit.em_.log_prob(frame), atol=0.5)
    assert fit.score(frame) == pytest.approx(scores.mean())


@pytest.mark.draws
def test_membership_of_old_and_new_rows(fit, frame):
    old = fit.membership()
    assert dict(old.sizes) == {"obs": 272, "cluster": 2, "ci_bound": 2}
    np.testing.assert_allclose(old["mean"], fit.predict_proba(frame), rtol=1e-10, atol=1e-15)
    between = pd.DataFrame([[3.0, 67.0]], columns=frame.columns)
    new = fit.membership(between, ci_prob=0.9)["ci"].sel(cluster=0)
    assert 0.0 <= float(new.sel(ci_bound="lower").item()) < float(new.sel(ci_bound="upper").item()) <= 1.0


@pytest.mark.draws
def test_drawing_rows(fit, frame):
    rows, labels = fit.sample(5000)
    assert rows.shape == (5000, 2)
    assert set(labels) == {0, 1}
    np.testing.assert_allclose(rows.mean(axis=0), frame.mean(), rtol=0.05)
    np.testing.assert_array_equal(fit.sample(3)[0], fit.sample(3)[0])
    with pytest.raises(InputError, match="at least one row"):
        fit.sample(0)


def test_summary_sets_em_beside_the_posterior(fit):
    table = fit.summary()
    assert {"em", "mean", "sd", "r_hat", "ess_bulk"} <= set(table.columns)
    assert len(table) == 2 + 4 + 6
    assert table.loc["means[1, waiting]", "mean"] == pytest.approx(fit.means_[1, 1])


def test_the_pymc_model_of_the_fit(fit):
    model = fit.model
    assert [variable.name for variable in model.free_RVs] == ["weights", "covariances", "means"]
    np.testing.assert_array_equal(model["X"].get_value(), fit.posterior_["observed_data"]["y"])
    assert list(model.coords["feature"]) == ["eruptions", "waiting"]


def test_save_and_load(fit, frame, tmp_path):
    path = tmp_path / "fit.nc"
    fit.save(path)
    again = bayesgmm.load(path)
    for name in ("weights_", "means_", "covariances_", "feature_names_in_", "n_features_in_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fit, name))
    np.testing.assert_array_equal(again.em_.covariances, fit.em_.covariances)
    np.testing.assert_array_equal(again.predict_proba(frame), fit.predict_proba(frame))
    np.testing.assert_array_equal(again.sample(4)[0], fit.sample(4)[0])
    assert again.posterior_.attrs == fit.posterior_.attrs
    assert again.get_params()["n_components"] == 2
    with pytest.raises(InputError, match="overwrite=True"):
        fit.save(path)
    fit.save(path, overwrite=True)


def test_a_posterior_of_another_make_is_refused(fit, tmp_path):
    stranger = fit.posterior_.copy()
    del stranger.attrs["settings"]
    stranger.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="without the record of a fit"):
        bayesgmm.load(tmp_path / "other.nc")


@pytest.mark.draws
@pytest.mark.slow
def test_loo_through_the_pymc_model(fit):
    import pymc as pm

    with fit.model:
        with_likelihood = pm.compute_log_likelihood(fit.posterior_.copy(), progressbar=False)
    pointwise = with_likelihood["log_likelihood"]["y"]
    assert pointwise.dims == ("chain", "draw", "obs")
    expected = np.logaddexp.reduce(pointwise.to_numpy(), axis=(0, 1)) - np.log(4000)
    np.testing.assert_allclose(fit.score_samples(load_old_faithful()), expected, rtol=1e-8)
    assert az.loo(with_likelihood).elpd == pytest.approx(-1145, abs=10)


# ---- seeds


@short_run
def test_the_same_seed_gives_the_same_draws(frame):
    one, two = short(cores=1).fit(frame), short(cores=2).fit(frame)
    other = short(random_state=5).fit(frame)
    draws = [f.posterior_["posterior"]["means"].to_numpy() for f in (one, two, other)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).all()


@short_run
def test_a_fit_without_a_seed_can_be_repeated_from_its_record(frame):
    first = short(random_state=None).fit(frame)
    again = short(random_state=first.posterior_.attrs["seed"]).fit(frame)
    np.testing.assert_array_equal(again.means_, first.means_)


# ---- families, sizes and ties


@short_run
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VVI", "EEI", "EII"])
def test_every_family(frame, covariance_type):
    fitted = short(covariance_type=covariance_type).fit(frame)
    family = fitted.em_.family
    assert fitted.covariances_.shape == family.covariances_shape(2, 2)
    assert fitted.posterior_["posterior"]["covariances"].shape == (2, 60, 2, 2, 2)
    assert fitted.predict_proba(frame).shape == (272, 2)


@short_run
@pytest.mark.parametrize(("columns", "n_components"), [([1], 2), ([0, 1], 1), ([1], 1)])
def test_one_feature_and_one_component(frame, columns, n_components, tmp_path):
    X = frame.iloc[:, columns]
    fitted = short(n_components).fit(X)
    assert fitted.means_.shape == (n_components, len(columns))
    assert fitted.predict_proba(X).shape == (272, n_components)
    assert len(fitted.summary()) == n_components * (1 + len(columns) + len(columns) * (len(columns) + 1) // 2)
    fitted.save(tmp_path / "fit.nc")
    np.testing.assert_array_equal(bayesgmm.load(tmp_path / "fit.nc").means_, fitted.means_)


@pytest.mark.draws
@pytest.mark.parametrize("n_components", [2, 3])
@short_run
def test_ties_draw_no_posterior_mass_to_spikes(n_components):
    """Half of the rows share one value: a prior that does not vanish at zero would put a component on them."""
    rng = np.random.default_rng(0)
    X = np.concatenate([np.zeros(60), np.round(rng.normal(size=60), 1)])[:, None]
    fitted = short(n_components, draws=500, chains=4).fit(X)
    sd = np.sqrt(fitted.posterior_["posterior"]["covariances"].to_numpy())
    # the prior's scale, cov / 10, is worth one row: 60 equal rows can narrow a component to sqrt(S / 65), not to 0
    floor = np.sqrt(X.var() / 10 / 65)
    assert sd.min() > 0.5 * floor


@pytest.mark.draws
@short_run
def test_rounded_data_keep_the_spread_of_their_clusters():
    X = load_data("faithful")[:, 1:]  # whole minutes
    coarse = 5.0 * np.round(X / 5.0)
    sd = np.sqrt(short(2, draws=300).fit(coarse).posterior_["posterior"]["covariances"].to_numpy())
    assert sd.min() > 3.0  # the clusters' own are near 6


@pytest.mark.draws
@short_run
def test_the_units_of_the_data_do_not_matter(frame):
    X = frame.to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", bayesgmm.exceptions.DegeneracyWarning)
        fitted, small = short().fit(X), short().fit(X * 1e-6)
    np.testing.assert_allclose(small.means_, fitted.means_ * 1e-6, rtol=0.05)


@short_run
def test_as_many_components_as_rows(frame):
    assert short(5, draws=20).fit(frame.iloc[:5]).means_.shape == (5, 2)


@short_run
@pytest.mark.parametrize("draws", [1, 4])
def test_a_handful_of_draws(frame, draws):
    fitted = short(draws=draws, chains=1).fit(frame)
    assert fitted.posterior_["posterior"].sizes["draw"] == draws
    assert np.isfinite(fitted.membership()["mean"]).all()


# ---- labels


@short_run
def test_draws_are_aligned_and_the_permutations_kept(frame):
    stats = short().fit(frame).posterior_["sample_stats"]
    order = stats["permutation"].to_numpy()
    np.testing.assert_array_equal(np.sort(order, axis=-1), np.broadcast_to([0, 1], order.shape))


@pytest.mark.draws
@short_run
def test_a_prior_that_tells_components_apart_keeps_its_labels(frame):
    """Components in descending order, as the prior asks; no draw is relabelled."""
    cov = np.cov(frame.to_numpy().T)
    prior = Prior.independent(
        mean=[[4.3, 80.0], [2.0, 54.0]], mean_covariance=cov / 10, dof=4, scale=cov / 10, concentration=[3.0, 1.0]
    )
    fitted = short(prior=prior).fit(frame)
    order = fitted.posterior_["sample_stats"]["permutation"].to_numpy()
    np.testing.assert_array_equal(order, np.broadcast_to([0, 1], order.shape))
    assert fitted.means_[0, 1] == pytest.approx(80.0, abs=1.0)
    assert fitted.prior_.exchangeable is False


# ---- bad input, before any work


@pytest.fixture
def no_work(monkeypatch):
    """Neither EM nor a sampler may be reached."""

    def forbidden(*_, **__):
        raise AssertionError("work was done")

    monkeypatch.setattr(multistart, "run_em", forbidden)
    monkeypatch.setitem(engines.ENGINES, "native", forbidden)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 300}, "n_components"),
        ({"n_components": 0}, "n_components"),
        ({"n_components": 2.5}, "n_components"),
        ({"covariance_type": "round"}, "covariance_type"),
        ({"draws": 0}, "draws"),
        ({"tune": 0}, "tune"),
        ({"chains": 0}, "chains"),
        ({"cores": 0}, "cores"),
        ({"target_accept": 1.0}, "target_accept"),
        ({"engine": "stan"}, "engine"),
        ({"inference": "advi"}, "inference"),
        ({"n_init": 0}, "n_init"),
        ({"random_state": "one"}, "random_state"),
        ({"progress": 3}, "progress"),
        ({"prior": "flat"}, "prior"),
        ({"prior": Prior.weakly_informative([[1.0], [2.0]])}, "prior for 2 features"),
        ({"prior": Prior.normal_inverse_wishart(mean=np.zeros((3, 2)), kappa=1, dof=4, scale=np.eye(2))}, "fits shape"),
    ],
)
def test_bad_settings(frame, no_work, settings, message):
    with pytest.raises(ValueError, match=message):
        short(**{"n_components": 2, **settings}).fit(frame)


@pytest.mark.parametrize(
    "X",
    [
        [[1.0, np.nan], [2.0, 3.0]],
        [[np.inf], [1.0]],
        [1.0, 2.0],
        [["a"], ["b"]],
        [[1.0]],
        np.empty((0, 2)),
        np.ones((9, 2)),
    ],
)
def test_bad_data(no_work, X):
    with pytest.raises(ValueError):  # noqa: PT011  scikit-learn's words for some, ours for others
        short().fit(X)


def test_what_needs_a_fit_says_so(frame, tmp_path):
    unfitted = short()
    for use in (unfitted.predict, unfitted.predict_proba, unfitted.score_samples, unfitted.membership):
        with pytest.raises(NotFittedError):
            use(frame)
    for use in (unfitted.summary, unfitted.sample, lambda: unfitted.model, lambda: unfitted.save(tmp_path / "a.nc")):
        with pytest.raises(NotFittedError):
            use()


# ---- scikit-learn's ways


def test_clone_and_parameters():
    prior = Prior.weakly_informative(load_data("faithful"))
    estimator = BayesianGaussianMixture(3, prior=prior, chains=2)
    copied = clone(estimator)
    assert copied.get_params()["chains"] == 2
    assert copied.get_params()["n_components"] == 3
    np.testing.assert_array_equal(copied.prior.scale, prior.scale)
    assert estimator.set_params(draws=7).draws == 7
    with pytest.raises(ValueError, match="Invalid parameter"):
        estimator.set_params(samples=7)


@short_run
def test_fit_predict_is_fit_then_predict(frame):
    np.testing.assert_array_equal(short().fit_predict(frame), short().fit(frame).predict(frame))


# ---- Ctrl-C


INTERRUPTED = """
import os, signal, threading, warnings
import numpy as np
from bayesgmm import BayesianGaussianMixture
from bayesgmm.inference import ENGINES
X = np.concatenate([np.random.default_rng(0).normal(size=(50, 1)) + c for c in (0, 6)])
settings = dict(random_state=0, progress=False, chains=2, cores=2)
BayesianGaussianMixture(2, draws=20, tune=20, **settings).fit(X)  # compiled code is loaded
sample = ENGINES["native"]
def press_ctrl_c_soon(*arguments):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    return sample(*arguments)
ENGINES["native"] = press_ctrl_c_soon
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fit = BayesianGaussianMixture(2, draws=2_000_000, tune=100, **settings).fit(X)
print([str(w.message) for w in caught if w.category.__name__ == "InterruptedWarning"])
print(fit.posterior_.attrs["interrupted"], fit.posterior_["posterior"].sizes["draw"], fit.predict([[0.0], [6.0]]))
"""


def test_ctrl_c_keeps_the_draws_made_so_far():
    command = [sys.executable, "-W", "ignore", "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    message, result = done.stdout.splitlines()
    assert message.startswith("['Sampling was interrupted: kept ")
    interrupted, n_draws, labels = result.split(maxsplit=2)
    assert interrupted == "1"
    assert 10 < int(n_draws) < 2_000_000
    assert labels == "[0 1]"


def test_ctrl_c_during_em_ends_the_fit(frame, monkeypatch):
    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(module, "starts_with", lambda noise, data: interrupted)
        with pytest.raises(KeyboardInterrupt):
            short().fit(frame)

    def stopped(*arguments, **options):
        return best_of_starts(*arguments, **{**options, "callback": lambda start, state: True})

    monkeypatch.setattr(module, "starts_with", lambda noise, data: stopped)
    with pytest.raises(KeyboardInterrupt, match="before the first draw"):
        short().fit(frame)


# ---- the pymc engine


@pytest.mark.draws
@pytest.mark.slow
@short_run
@pytest.mark.parametrize("n_components", [1, 2])
def test_the_pymc_engine(frame, n_components):
    fitted = short(n_components, engine="pymc", draws=300).fit(frame)
    native = short(n_components, draws=300).fit(frame)
    np.testing.assert_allclose(fitted.means_, native.means_, rtol=0.02)
    assert fitted.posterior_.attrs["engine"] == "pymc"
    assert set(fitted.posterior_["sample_stats"].data_vars) == set(native.posterior_["sample_stats"].data_vars)


def test_a_native_fit_imports_neither_pymc_nor_pytensor():
    code = (
        "import sys, numpy as np, bayesgmm\n"
        "X = np.concatenate([np.random.default_rng(0).normal(size=(30, 1)) + c for c in (0, 6)])\n"
        "fit = bayesgmm.BayesianGaussianMixture(2, draws=100, random_state=0, progress=False).fit(X)\n"
        "fit.summary(); fit.predict(X); fit.membership(); fit.sample(3)\n"
        "print([name for name in ('pymc', 'pytensor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ.copy())
    assert done.stdout == "[]\n", done.stderr
    assert "Error" not in done.stderr


@pytest.mark.draws
@short_run
def test_components_that_are_not_there_are_not_summarised_unless_forced():
    rows = np.random.default_rng(1).normal(size=(120, 2))
    fit = BayesianGaussianMixture(2, random_state=1, progress=False, draws=300).fit(rows)
    with pytest.raises(NotIdentifiedError, match="components"):
        fit.summary()
    assert len(fit.summary(force=True)) == 12


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")  # of however many draws there are
def test_sampling_ends_when_its_time_is_over():
    X, endless = load_data("faithful"), {"draws": 3_000_000, "init": "best", "chains": 1, "progress": False}
    for _ in range(2):  # the first compiles
        begun = time.monotonic()
        BayesianGaussianMixture(2, **{**endless, "draws": 20}, tune=20, random_state=0).fit(X)
    enough = 0.5 + 3.0 * (time.monotonic() - begun)  # for the first draws, on this machine as busy as it is
    with pytest.warns(InterruptedWarning, match="kept"):
        fit = BayesianGaussianMixture(2, **endless, tune=50, random_state=0, max_seconds=enough).fit(X)
    assert 0 < fit.posterior_["posterior"].sizes["draw"] < endless["draws"]
    assert fit.posterior_.attrs["interrupted"] == 1
    with pytest.raises(SamplingError, match="max_seconds"):
        BayesianGaussianMixture(2, **endless, tune=3_000_000, random_state=0, max_seconds=0.3).fit(X)


@pytest.mark.draws
@pytest.mark.parametrize("concentration", [1.0, 0.5])
def test_many_rows_have_short_trajectories(concentration, monkeypatch):
    """And the same posterior. Sparse priors keep theirs: longer steps would miss small components."""
    X = load_old_faithful()
    settings = {"prior": Prior.weakly_informative(X, concentration=concentration), "progress": False}
    usual = BayesianGaussianMixture(2, random_state=1, **settings).fit(X)
    monkeypatch.setattr(module, "MANY_ROWS", 200)
    short = BayesianGaussianMixture(2, random_state=2, **settings).fit(X)
    steps = [int(fit.posterior_["sample_stats"]["n_steps"].max()) for fit in (usual, short)]
    assert steps[0] > 3
    assert (steps[1] <= 3) is (concentration == 1.0)
    assert short.converged_
    own = BayesianGaussianMixture(2, random_state=2, target_accept=0.8, draws=50, chains=2, **settings).fit(X)
    assert int(own.posterior_["sample_stats"]["n_steps"].max()) > 3
    for name in ("weights", "means"):
        own, other = (fit.posterior_["posterior"][name] for fit in (usual, short))
        errors = np.hypot(az.mcse(own), az.mcse(other))
        scores = (own.mean(["chain", "draw"]) - other.mean(["chain", "draw"])) / errors
        assert float(abs(scores).max()) < bound(scores.size)
