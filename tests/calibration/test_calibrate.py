"""Calibration: exact posteriors pass, wrong ones are found and told how; files, interruption, input."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import arviz_plots
import numpy as np
import pytest
import xarray as xr
from incomplete_cases import without_some

from bayesgmm import BayesianGaussianMixture, Prior, calibrate, load
from bayesgmm.calibration import sbc
from bayesgmm.calibration import simulate as module
from bayesgmm.calibration.calibration import GROUP, Calibration
from bayesgmm.calibration.simulate import Design, quantities, simulate, spaced
from bayesgmm.data import Data
from bayesgmm.evidence import Conditionals
from bayesgmm.exceptions import InputError, InterruptedWarning, SamplingError
from bayesgmm.io import load_tree
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.posterior import posterior_tree, prior_to_json
from bayesgmm.priors import Model

PRIOR = Prior.normal_inverse_wishart(mean=[1.0, -1.0], kappa=0.5, dof=5.0, scale=np.eye(2))
INDEPENDENT = Prior.independent(mean=[0.0], mean_covariance=[[4.0]], dof=3, scale=[[0.1]])
SEPARATE = Prior.separation(mean=[0.0], mean_covariance=[[4.0]], variance_shape=2.0, variance_scale=[1.0], eta=1.0)
SMALL = {"n_rows": 12, "n_components": 1, "random_state": 1, "progress": False}


def exact_tree(design, rows, *, seed, change=lambda draws: draws, n=400):
    """Independent draws of one component's posterior, which is conjugate, laid out as a fit of four chains."""
    model, rng = design.model, np.random.default_rng(seed)
    start = Mixture([1.0], rows.mean(axis=0)[None], np.cov(rows.T)[None] if rows.shape[1] > 1 else [[[1.0]]])
    first = Draws(start.weights[None], start.means[None], start.full_covariances[None], family=start.family)
    allocations = np.zeros((1, len(rows)), dtype=np.int64)
    given = Conditionals.of_prior(model.required_prior).given(Data.of(rows), allocations, first)
    draws = change(given.sample(n, rng=rng))
    attributes = {"covariance_type": "full", "prior": design.prior, "converged": 1}
    stats = {"lp": np.zeros((4, n // 4))}
    names = [f"x{j}" for j in range(rows.shape[1])]
    return posterior_tree(draws, stats, X=rows, feature_names=names, start=start, attributes=attributes)


def wider(draws):
    centre = draws.means.mean(axis=0)
    return Draws(draws.weights, centre + 5.0 * (draws.means - centre), draws.covariances, family=draws.family)


def narrower(draws):
    centre = draws.means.mean(axis=0)
    return Draws(draws.weights, centre + 0.2 * (draws.means - centre), draws.covariances, family=draws.family)


def larger(draws):
    return Draws(draws.weights, draws.means, 2.0 * draws.covariances, family=draws.family)


def use(monkeypatch, change=lambda draws: draws):
    monkeypatch.setattr(module, "_posterior", lambda d, rows, *, seed: exact_tree(d, rows, seed=seed, change=change))


@pytest.mark.draws
def test_exact_posteriors_are_calibrated(monkeypatch):
    use(monkeypatch)
    found = calibrate(PRIOR, n_simulations=60, **SMALL)
    assert found.calibrated
    assert found.table["p_value"].min() > found.limit
    assert found.findings[0].startswith("Posteriors are calibrated, as far as 60 simulations can tell")
    assert set(found.table.index) >= {"log_likelihood", "mean[0, x0]", "covariance[0, x1, x0]", "log_density[3]"}


@pytest.mark.draws
@pytest.mark.parametrize(
    ("change", "worst", "told"),
    [(wider, "mean", "too wide"), (narrower, "mean", "too narrow"), (larger, "covariance", "too high")],
)
def test_wrong_posteriors_are_found_and_told(change, worst, told, monkeypatch):
    use(monkeypatch, change)
    found = calibrate(PRIOR, n_simulations=60, **SMALL)
    assert not found.calibrated
    assert found.findings[0].startswith("Posteriors are not calibrated")
    assert any(f"of {worst}[" in line and told in line for line in found.findings)
    assert all(name in " ".join(found.findings) for name in found.table.index[found.table["p_value"] < found.limit])


@pytest.mark.draws
def test_a_fit_under_another_prior_is_found(monkeypatch):
    """The whole of it, with Gibbs sampling: components thought to be wider than they are."""
    own = module._posterior
    other = Prior.independent(mean=[0.0], mean_covariance=[[4.0]], dof=3, scale=[[3.0]])

    def wrong(design, rows, *, seed):
        settings = {**design.__dict__, "prior": prior_to_json(other)}
        tree = own(Design(**settings), rows, seed=seed)
        tree.attrs["prior"] = design.prior
        return tree

    monkeypatch.setattr(module, "_posterior", wrong)
    found = calibrate(INDEPENDENT, n_simulations=20, inference="gibbs", **SMALL)
    assert found.table["p_value"]["covariance[0, x0]"] < found.limit


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize("inference", ["nuts", "gibbs"])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_default_fits_are_calibrated(inference, covariance_type):
    found = calibrate(
        n_rows=60,
        n_components=2,
        n_features=2,
        covariance_type=covariance_type,
        inference=inference,
        random_state=2,
        progress=False,
    )
    assert found.calibrated, found


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize("inference", ["nuts", "gibbs"])
def test_fits_of_rows_with_missing_values_are_calibrated(inference, monkeypatch):
    def incomplete(design, rows, *, seed):
        return (
            BayesianGaussianMixture(
                design.n_components,
                prior=PRIOR,
                inference=inference,
                missing="marginalize",
                cores=1,
                random_state=seed,
                progress=False,
            )
            .fit(without_some(rows, 0.3, seed=seed))
            .posterior_
        )

    monkeypatch.setattr(module, "_posterior", incomplete)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = calibrate(PRIOR, n_rows=60, n_components=2, n_simulations=100, random_state=2, progress=False)
    assert found.calibrated, found


@pytest.mark.slow
@pytest.mark.draws
def test_laplace_approximations_are_calibrated_where_they_are_accepted():
    settings = {"n_rows": 300, "n_components": 1, "random_state": 1, "progress": False}
    found = calibrate(INDEPENDENT, inference="laplace", n_simulations=80, **settings)
    assert found.calibrated, found


def test_a_laplace_approximation_that_is_refused_ends_a_calibration():
    with pytest.raises(SamplingError, match="Laplace approximation") as caught:
        calibrate(INDEPENDENT, inference="laplace", n_simulations=5, **{**SMALL, "n_components": 3})
    assert "In simulation " in caught.value.__notes__[0]


# ---- quantities and ranks


def two_components(prior, *, n=300, seed=0):
    rng = np.random.default_rng(seed)
    X, model = rng.normal(size=(20, 1)), Model.of("full", 2, 1, prior=prior)
    arrays = rng.dirichlet([1.0, 1.0], n), rng.normal(size=(n, 2, 1)), rng.gamma(2.0, 1.0, (n, 2, 1, 1))
    return X, Draws(*arrays, family=model.family)


def as_tree(X, draws, prior):
    start = draws.mixture(0)
    attributes = {"covariance_type": "full", "prior": prior_to_json(prior), "converged": 1}
    stats = {"lp": np.zeros((2, len(draws) // 2))}
    return posterior_tree(draws, stats, X=X, feature_names=["x0"], start=start, attributes=attributes)


def test_labels_do_not_matter_if_they_carry_no_meaning():
    X, draws = two_components(INDEPENDENT)
    order = np.random.default_rng(1).permuted(np.tile([0, 1], (len(draws), 1)), axis=1)
    one, other = (quantities(as_tree(X, own, INDEPENDENT)) for own in (draws, draws.reordered(order)))
    xr.testing.assert_identical(one, other)
    assert (one["weight"].isel(rank=0) >= one["weight"].isel(rank=1)).all()


def test_parameters_keep_their_components_if_the_prior_tells_them_apart():
    prior = Prior.independent(mean=[[0.0], [5.0]], mean_covariance=[[4.0]], dof=3, scale=[[0.1]])
    X, draws = two_components(prior)
    found = quantities(as_tree(X, draws, prior))
    np.testing.assert_array_equal(found["mean"].to_numpy().reshape(-1, 2), draws.means[..., 0])


def test_ranks_among_equal_draws_are_drawn():
    rng = np.random.default_rng(0)
    draws = xr.DataArray(np.zeros((9, 2000)), dims=("sample", "many"))
    ranks = module._rank(draws, xr.DataArray(np.zeros((1, 1, 2000)), dims=("chain", "draw", "many")), rng)
    counts = np.histogram(ranks, bins=10, range=(0, 1))[0]
    assert counts.min() > 120
    above = module._rank(draws, xr.DataArray(np.ones((1, 1, 2000)), dims=("chain", "draw", "many")), rng)
    assert above.min() > 0.9


def test_draws_that_depend_on_each_other_are_thinned():
    rng = np.random.default_rng(0)
    independent = rng.normal(size=(4, 1000))
    slow = np.repeat(rng.normal(size=(4, 20)), 50, axis=1)
    dims = ("chain", "draw")
    assert spaced(xr.Dataset({"a": (dims, independent)})).sizes["sample"] == 100
    kept = spaced(xr.Dataset({"a": (dims, independent), "b": (dims, slow)}))
    assert 10 <= kept.sizes["sample"] <= 80


# ---- the design


def test_a_prior_made_from_rows_is_made_once_of_standard_rows():
    seen = []

    def made(rows):
        seen.append(rows)
        return Prior.weakly_informative(rows)

    found = calibrate(made, n_rows=9, n_components=1, n_features=3, n_simulations=1, random_state=1, progress=False)
    (rows,) = seen
    assert rows.shape == (9, 3)
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.cov(rows.T), np.eye(3), atol=1e-12)
    prior = json.loads(json.loads(found.tree.attrs["design"])["prior"])
    np.testing.assert_allclose(prior["scale"], np.eye(3) / 10.0, atol=1e-12)


def test_the_default_prior_is_that_of_the_fits():
    found = calibrate(n_features=2, n_simulations=1, inference="gibbs", **SMALL)
    prior = json.loads(json.loads(found.tree.attrs["design"])["prior"])
    np.testing.assert_allclose(prior["mean_covariance"], 4.0 * np.eye(2), atol=1e-12)


@pytest.mark.parametrize(
    "covariance_type",
    ["tied", *(pytest.param(name, marks=pytest.mark.slow) for name in ("spherical", "VEI", "EVI", "VEE", "EVV"))],
)
def test_every_family_is_simulated(covariance_type):
    found = calibrate(
        n_rows=15, n_components=2, n_features=2, covariance_type=covariance_type, n_simulations=1, random_state=0
    )
    sizes = {"tied": (1, 3), "spherical": (2, 1), "VEI": (2, 2), "EVI": (2, 2), "VEE": (2, 3), "EVV": (2, 3)}
    assert found.ranks["covariance"].shape[1:] == sizes[covariance_type]


def test_sampled_hyperparameters_are_drawn_for_each_truth():
    settings = {**SMALL, "n_rows": np.int64(12)}
    found = calibrate(Prior.malsiner_walli, n_features=1, n_simulations=2, inference="gibbs", **settings)
    assert 0.0 < float(found.ranks["log_likelihood"].min()) < 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_simulations": 0}, "n_simulations"),
        ({"n_rows": 1}, "n_rows"),
        ({"n_components": 13}, "n_samples >= n_components"),
        ({"n_features": 3}, "n_features of the prior, 2; got 3"),
        ({"prior": "weakly_informative"}, "n_features, of a prior that is made from rows"),
        ({"prior": "strong", "n_features": 2}, "weakly_informative, fraley_raftery, or a function"),
        ({"inference": "hmc"}, "'nuts', 'gibbs', 'laplace'"),
        ({"covariance_type": "round"}, "covariance_type"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"random_state": "one"}, "random_state"),
        ({"path": "no/such/folder/file.nc"}, "existing folder"),
        ({"prior": SEPARATE, "inference": "gibbs"}, "variances and correlations"),
    ],
)
def test_what_cannot_be_simulated_is_refused_before_any_work(settings, message, monkeypatch):
    monkeypatch.setattr(module, "_posterior", lambda *args, **kwargs: pytest.fail("work began"))
    with pytest.raises(InputError, match=message):
        calibrate(**{"prior": PRIOR, **SMALL, **settings})


def test_an_error_says_in_which_simulation(monkeypatch):
    def broken(design, rows, *, seed):
        raise ValueError("broken")

    monkeypatch.setattr(module, "_posterior", broken)
    with pytest.raises(ValueError, match="broken") as caught:
        calibrate(PRIOR, n_simulations=2, **SMALL)
    assert "In simulation 0, which begins with numpy.random.default_rng([" in caught.value.__notes__[0]


# ---- going on, processes, interruption


def same(one, other):
    xr.testing.assert_identical(one.tree[GROUP].to_dataset(), other.tree[GROUP].to_dataset())


def test_a_file_is_gone_on_with(tmp_path, monkeypatch):
    use(monkeypatch)
    path = tmp_path / "found.nc"
    whole = calibrate(PRIOR, n_simulations=7, **SMALL)
    calibrate(PRIOR, n_simulations=3, path=path, **SMALL)
    asked = []
    monkeypatch.setattr(sbc, "simulate", lambda d, i: (asked.append(i), simulate(d, i))[1])
    same(calibrate(PRIOR, n_simulations=7, path=path, **SMALL), whole)
    assert asked == [3, 4, 5, 6]
    again = calibrate(PRIOR, n_simulations=7, path=path, **{**SMALL, "random_state": None})  # the file's seed
    assert len(asked) == 4
    same(again, whole)
    same(Calibration(load_tree(path)), whole)


@pytest.mark.parametrize(
    ("other", "message"),
    [({"random_state": 2}, "another seed"), ({"n_rows": 13}, "another n_rows"), ({"prior": INDEPENDENT}, "prior")],
)
def test_a_file_of_another_calibration_is_refused(other, message, tmp_path, monkeypatch):
    use(monkeypatch)
    path = tmp_path / "found.nc"
    calibrate(PRIOR, n_simulations=2, path=path, **SMALL)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        calibrate(**{"prior": PRIOR, **SMALL, **other}, n_simulations=2, path=path)
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_not_overwritten(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(InputError, match="a file as save"):
        calibrate(PRIOR, n_simulations=1, path=path, **SMALL)
    assert path.read_text() == "mine"


def test_results_do_not_depend_on_processes(pytestconfig):
    if pytestconfig.getoption("--seed-offset"):
        pytest.skip("processes of their own do not know the offset")
    settings = {**SMALL, "n_simulations": 3, "inference": "gibbs"}
    same(calibrate(INDEPENDENT, n_jobs=2, **settings), calibrate(INDEPENDENT, **settings))


def test_interruption_keeps_what_is_done(tmp_path, monkeypatch):
    use(monkeypatch)
    path = tmp_path / "found.nc"

    def interrupted(design, number):
        if number == 3:
            raise KeyboardInterrupt
        return simulate(design, number)

    monkeypatch.setattr(sbc, "simulate", interrupted)
    with pytest.warns(InterruptedWarning, match="after 3 of 9 simulations"):
        found = calibrate(PRIOR, n_simulations=9, path=path, **SMALL)
    assert found.n_simulations == load_tree(path)[GROUP].sizes["simulation"] == 3


def test_interruption_before_the_first_is_one(monkeypatch):
    def at_once(design, number):
        raise KeyboardInterrupt

    monkeypatch.setattr(sbc, "simulate", at_once)
    with pytest.raises(KeyboardInterrupt):
        calibrate(PRIOR, n_simulations=9, **SMALL)


def test_a_fit_that_was_interrupted_does_not_count(monkeypatch):
    def stopped(design, rows, *, seed):
        tree = exact_tree(design, rows, seed=seed)
        tree.attrs["interrupted"] = 1
        return tree

    monkeypatch.setattr(module, "_posterior", stopped)
    with pytest.raises(KeyboardInterrupt):
        calibrate(PRIOR, n_simulations=2, **SMALL)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_ends_it_and_keeps_what_is_done(n_jobs, tmp_path):
    path = tmp_path / "found.nc"
    code = f"""
        from bayesgmm import Prior, calibrate
        prior = Prior.independent(mean=[0.0], mean_covariance=[[4.0]], dof=3, scale=[[0.1]])
        common = dict(n_rows=12, n_components=1, random_state=1, n_jobs={n_jobs}, path={str(path)!r})
        calibrate(prior, n_simulations=2, **common)
        print("begun", flush=True)
        calibrate(prior, n_simulations=10**6, **common)
        print("kept", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout.readline() == "begun\n"
    time.sleep(2.0)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 5.0, err
    assert out == "kept\n", err
    assert "Calibration was interrupted after" in err
    assert load_tree(path)[GROUP].sizes["simulation"] >= 2


# ---- what is shown


def test_findings_count_fits_that_did_not_converge(monkeypatch):
    def unconverged(design, rows, *, seed):
        tree = exact_tree(design, rows, seed=seed, n=16)
        tree.attrs["converged"] = 0
        return tree

    monkeypatch.setattr(module, "_posterior", unconverged)
    found = calibrate(PRIOR, n_simulations=3, **SMALL)
    assert "were 3 of 3 fits" in str(found)
    assert "Nearly independent draws were fewer than 20 in 3 of 3 posteriors" in str(found)


def test_figure_page_and_arviz(monkeypatch):
    use(monkeypatch)
    found = calibrate(PRIOR, n_simulations=20, **SMALL)
    figure = found.plot()
    drawn = [panel for panel in figure.axes if panel.get_title()]
    assert [panel.get_title() for panel in drawn] == list(found.ranks)
    assert len(drawn[-1].lines) == 1 + 3  # the zero line, and the entries of one covariance
    (curve,) = [line for line in found.plot("log_likelihood").axes[0].lines if len(line.get_xdata()) > 2]
    values = found.ranks["log_likelihood"].to_numpy()
    np.testing.assert_allclose(curve.get_ydata()[50], (values <= 0.5).mean() - 0.5)
    with pytest.raises(InputError, match="quantities among log_likelihood"):
        found.plot("evidence")
    assert "<table" in found._repr_html_()
    assert repr(found) == str(found)
    arviz_plots.plot_ecdf_pit(found.tree, var_names=["entropy"], sample_dims="simulation")


def test_it_is_no_fit(tmp_path, monkeypatch):
    use(monkeypatch)
    calibrate(PRIOR, n_simulations=1, path=tmp_path / "found.nc", **SMALL)
    with pytest.raises(InputError):
        load(tmp_path / "found.nc")
