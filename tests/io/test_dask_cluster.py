"""Rows on a cluster of processes: to the last bit what this process computes, whoever dies meanwhile."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from source_cases import MIXTURE, MadeSource, rows, write

from bayesgmm import BayesianGaussianMixture, GaussianMixture, open_source, select_components
from bayesgmm.data import HaltedError, SourceData, by_handle, total
from bayesgmm.em import EMSettings, run_em
from bayesgmm.exceptions import ClusterError, InputError, InterruptedWarning
from bayesgmm.log_posterior import BlockLogPosterior
from bayesgmm.mixture import row_densities

SETTINGS = EMSettings(tol=1e-10, reg_covar=np.zeros(3))


@pytest.fixture(autouse=True)
def few_in_memory(monkeypatch):
    monkeypatch.setattr("bayesgmm.data.sources.ROWS_IN_MEMORY", 300)


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=3, threads_per_worker=2, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def read(source):
    return SourceData.read_once(source, rng=np.random.default_rng(0))


def sum_of_squares(block):
    return np.square(block.columns).sum(axis=1)


def sums_for_a_while(data):
    for _ in range(100):
        total(sum_of_squares, data)
        time.sleep(0.05)


def kill(client, address=None):
    """Kill a worker, at an address or any that has rows."""
    pids = client.run(os.getpid)
    os.kill(pids[address or next(iter(pids))], signal.SIGKILL)


# ---- the same results


KINDS = {
    "files": lambda folder: write("Parquet, a glob", folder),
    "Dask array": lambda folder: da.from_array(rows(), chunks=(150, 2)),
    "Dask dataframe": lambda folder: write("Dask dataframe", folder),
    "made by a user": lambda folder: MadeSource(rows()),
}


@pytest.mark.parametrize("kind", ["files", *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(KINDS)[1:])])
def test_fits_and_predictions_are_those_of_this_process_to_the_last_bit(kind, client, tmp_path):
    X = KINDS[kind](tmp_path)
    source = open_source(X, client=client)
    here, there = (GaussianMixture(2, random_state=0).fit(each) for each in (X, source))
    for name in ("weights_", "means_", "covariances_", "history_"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    np.testing.assert_array_equal(there.source_.sample, here.source_.sample)
    assert there.bic() == here.bic() == here.bic(source)
    for method in ("predict", "predict_proba", "score_samples"):
        np.testing.assert_array_equal(getattr(here, method)(source), getattr(here, method)(X))
    np.testing.assert_array_equal(here.standard_errors(source).covariance, here.standard_errors(X).covariance)
    here.predict_to(tmp_path / "here.parquet", X, proba=True)
    here.predict_to(tmp_path / "there.parquet", source, proba=True)
    pd.testing.assert_frame_equal(*(pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("here", "there")))


SHORT = {"draws": 20, "tune": 20, "chains": 2, "n_init": 2, "init": "best", "random_state": 0, "progress": False}


def sampled(X, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # chains are short
        return BayesianGaussianMixture(2, **SHORT, **settings).fit(X)


def assert_same_draws(fit, other):
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(fit.posterior_["posterior"][name], other.posterior_["posterior"][name])


@pytest.mark.parametrize("inference", ["nuts", "gibbs"])
def test_draws_are_those_of_this_process_to_the_last_bit(inference, client):
    x = da.from_array(rows(), chunks=(150, 3))
    source = open_source(x, client=client)
    here, there = (sampled(X, inference=inference) for X in (x, source))
    assert_same_draws(there, here)
    np.testing.assert_array_equal(here.predict(source), here.predict(x))
    assert here.score(source) == here.score(x)


def test_a_dask_array_is_on_the_cluster_of_the_active_client(client):
    x = da.from_array(rows(), chunks=(150, 3))
    assert open_source(x).client is None
    with client.as_current():
        source = open_source(x)
        assert source.client is client
        assert select_components(x, [1, 2], covariance_types="full", random_state=0, progress=False).best is not None


def test_sums_of_many_handles_come_in_few_runs(client, monkeypatch):
    monkeypatch.setattr("bayesgmm.data.totals._MOST_SUMS", 10)
    x = da.from_array(rows(), chunks=(30, 3))
    here, there = SourceData(open_source(x)), SourceData(open_source(x, client=client))
    assert len(there.handles) == 34
    assert len(there.handles.runs) == 9
    np.testing.assert_array_equal(total(sum_of_squares, there), total(sum_of_squares, here))
    shifts = np.arange(34.0)
    task = lambda blocks, shift: [row_densities([block], MIXTURE) + shift for block in blocks]  # noqa: E731  pickled too
    for one, other in zip(by_handle(task, here, None, shifts), by_handle(task, there, None, shifts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_results_for_each_row_come_in_calls_of_few_rows(client, monkeypatch):
    monkeypatch.setattr("bayesgmm.io.dask_cluster._ROWS_PER_CALL", 50)
    monkeypatch.setattr("bayesgmm.io.dask_cluster.longest_run", lambda n_handles: 30)
    data = SourceData(open_source(da.from_array(rows(), chunks=(20, 3)), client=client))
    calls = [places for run in data.handles.runs for places in data.handles._in_calls(run)]
    assert [place for places in calls for place in places] == list(range(51))
    assert max(sum(data.handles[place].n_rows for place in places) for places in calls) <= 50
    picked = data.picked(np.array([0, 500, 1_002]))
    np.testing.assert_array_equal(picked, rows()[[0, 500, 1_002]])


# ---- errors


def test_a_value_that_cannot_be_used_is_named(client):
    X = rows()
    X[640, 1] = np.nan
    source = open_source(da.from_array(X, chunks=(150, 3)), client=client)
    with pytest.raises(InputError, match=r"nan in 'x1' in row 640 of the Dask collection"):
        GaussianMixture(2).fit(source)


def failing(block):
    raise OSError("in the task")


def test_an_error_in_a_task_is_raised(client):
    data = SourceData(open_source(da.from_array(rows(), chunks=(150, 3)), client=client))
    with pytest.raises(OSError, match="in the task"):
        total(failing, data)


def test_rows_that_dask_moves_are_found_and_those_that_are_cancelled_are_opened_again(client):
    source = open_source(da.from_array(rows(), chunks=(150, 3)), client=client)
    data = SourceData(source)
    want, held = total(sum_of_squares, data), data.handles._place
    data.handles._place = {run: next(other for other in client.nthreads() if other != held[run]) for run in held}
    np.testing.assert_array_equal(total(sum_of_squares, data), want)
    client.cancel(list(data.handles._futures.values()), force=True)
    with pytest.raises(ClusterError, match="were cancelled"):
        sums_for_a_while(data)  # workers forget them soon
    np.testing.assert_array_equal(total(sum_of_squares, SourceData(source)), want)


def test_what_is_no_running_client_is_refused(client, tmp_path):
    with pytest.raises(InputError, match=r"dask\.distributed\.Client that is running; got str"):
        open_source(write(".npy", tmp_path), client=client.scheduler.address)
    other = Client(client.scheduler.address, set_as_default=False)
    source = open_source(da.from_array(rows(), chunks=(150, 3)), client=other)
    data = read(source)
    other.close()
    with pytest.raises(ClusterError, match=r"The client of the Dask scheduler at .* was closed"):
        total(sum_of_squares, data)
    with pytest.raises(InputError, match="running; got one that is closed"):
        open_source(write(".npy", tmp_path), client=other)


def test_dask_is_asked_for_where_it_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "bayesgmm.io.dask_cluster", raising=False)
    with pytest.raises(InputError, match=r"pip install 'bayesgmm\[dask\]'"):
        open_source(write(".npy", tmp_path), client="tcp://127.0.0.1:8786")


# ---- an end wanted by the user


def slow(block):
    time.sleep(3.0)
    return 0.0


def test_an_interruption_is_heard_at_once(client):
    data = SourceData(open_source(da.from_array(rows(300), chunks=(50, 3)), client=client))
    assert total(sum_of_squares, data).shape == (3,)
    begun = time.monotonic()
    with pytest.raises(HaltedError):
        total(slow, data, halted=lambda: time.monotonic() > begun + 0.2)
    assert time.monotonic() < begun + 1.2
    raised_by = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.5); os.kill({os.getpid()}, 2)"])
    with pytest.raises(KeyboardInterrupt):
        total(slow, data)
    raised_by.wait()
    assert time.monotonic() < begun + 3.0


# ---- workers that die and come


def test_a_worker_that_dies_between_steps_of_em_changes_nothing_and_one_that_comes_is_used(client):
    x, addresses = da.from_array(rows(), chunks=(40, 3)), set(client.nthreads())
    here = run_em(read(open_source(x)), MIXTURE, settings=SETTINGS)
    data = read(open_source(x, client=client))

    def after_step(state):
        if state.iteration == 3:
            kill(client, data.handles._place[0])

    there = run_em(data, MIXTURE, settings=SETTINGS, callback=after_step)
    np.testing.assert_array_equal(there.history, here.history)
    assert here.n_iter > 5
    begun = time.monotonic()
    while set(data.handles._place.values()) <= addresses and time.monotonic() < begun + 120.0:
        total(sum_of_squares, data)
        time.sleep(0.2)
    assert set(data.handles._place.values()) - addresses
    np.testing.assert_array_equal(*(total(sum_of_squares, each) for each in (data, SourceData(open_source(x)))))


@pytest.mark.slow
def test_a_worker_that_dies_while_chains_run_changes_nothing(client, monkeypatch):
    x, at, calls = da.from_array(rows(), chunks=(40, 3)), BlockLogPosterior.at, itertools.count()
    client.wait_for_workers(3)
    here = sampled(x)

    def at_the_hundredth_call(self, points):
        if next(calls) == 100:
            kill(client)
        return at(self, points)

    monkeypatch.setattr(BlockLogPosterior, "at", at_the_hundredth_call)
    assert_same_draws(sampled(open_source(x, client=client)), here)
    assert next(calls) > 150


def dying(folder, task, block):
    """A task in which one worker dies."""
    try:
        (Path(folder) / "died").touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    except FileExistsError:
        pass
    return task(block)


@pytest.mark.slow
@pytest.mark.parametrize("apply", [total, lambda *args: np.concatenate(list(by_handle(*args)))])
def test_a_worker_that_dies_in_a_round_changes_nothing(apply, client, tmp_path):
    x = da.from_array(rows(), chunks=(40, 3))
    client.wait_for_workers(3)
    here, there = SourceData(open_source(x)), SourceData(open_source(x, client=client))
    task = sum_of_squares if apply is total else partial(row_densities, mixture=MIXTURE)
    np.testing.assert_array_equal(apply(partial(dying, str(tmp_path), task), there), apply(task, here))
    assert (tmp_path / "died").exists()


# ---- a scheduler that dies


@pytest.fixture
def processes(tmp_path):
    """A scheduler and a worker, each a process of its own, as the command line starts them."""
    file, started = tmp_path / "scheduler.json", []
    for which in (["scheduler", "--port", "0"], ["worker", "--no-nanny", "--nthreads", "1"]):
        options = ["--no-dashboard", "--scheduler-file", str(file), "--host", "127.0.0.1"]
        command = [sys.executable, "-m", "dask", *which, *options]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path))
    while not file.exists():
        time.sleep(0.05)
    with Client(scheduler_file=str(file), set_as_default=False, timeout=60) as client:
        yield client, *started
    for process in started:
        process.kill()
        process.wait()


def test_a_scheduler_that_dies_is_one_clear_error_and_em_keeps_its_best_mixture(processes, monkeypatch):
    client, scheduler, worker = processes
    source, steps = open_source(da.from_array(rows(), chunks=(150, 3)), client=client), []

    def after_step(index, state):
        steps.append(state)
        if len(steps) == 3:
            scheduler.kill()
            worker.wait(timeout=60)  # it ends by itself; until then it answers

    monkeypatch.setattr(
        "bayesgmm.estimators.gaussian_mixture.progress_of_starts", lambda **settings: nullcontext(after_step)
    )
    message = f"Dask scheduler at {client.scheduler.address} does not answer any more.*Start the cluster again"
    with pytest.warns(InterruptedWarning, match=f"{message}.* best mixture .* was kept"):
        fit = GaussianMixture(2, means_init=MIXTURE.means).fit(source)
    assert fit.n_iter_ == 2
    np.testing.assert_array_equal(np.sort(fit.means_, axis=0), np.sort(steps[2].mixture.means, axis=0))
    with pytest.raises(InputError, match="Pass X"):
        fit.bic()
    with pytest.raises(ClusterError, match=message):
        fit.score(source)
    pickle.dumps(fit)
    with pytest.raises(InputError, match="running; got one that is"):
        open_source(source, client=client)
