"""Progress: silent where nobody watches, a bar in a notebook without further packages, gone at the end."""

import os
import pty
import subprocess
import sys
from contextlib import contextmanager, suppress

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from bayesgmm import compare_relabellings, estimate_partition, loo, relabel, representative_partitions
from bayesgmm._common.progress import progress_bar

CELL = """
import warnings
warnings.simplefilter("error")
from bayesgmm._common import progress
with progress.progress_bar("Working <b>", show=True) as move:
    move(1, 4)
print(move is not None)
"""


def test_nothing_is_shown_unless_asked_or_where_nobody_watches() -> None:
    with progress_bar("Working", show=False) as move:
        assert move is None
    code = "from bayesgmm._common.progress import progress_bar\nwith progress_bar('W', show=True) as m: print(m)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_a_notebook_shows_a_bar_that_goes_away() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    seen = []
    client = NotebookClient(notebook, kernel_name="python3", timeout=120)
    update = client.process_message

    def watch(message, cell, index):
        seen.append(message.get("content", {}).get("data", {}).get("text/html"))
        return update(message, cell, index)

    client.process_message = watch
    client.execute()
    assert 'Working &lt;b&gt; <progress value="1" max="4"></progress> 1/4' in seen
    shown, printed = notebook.cells[0].outputs
    assert shown["data"] == {"text/plain": "", "text/html": ""}
    assert printed["text"] == "True\n"


def in_terminal(code: str) -> str:
    """What a program writes to its terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=theirs) as program:
        os.close(theirs)
        written = b""
        with suppress(OSError):  # at its end
            while part := os.read(ours, 100_000):
                written += part
    os.close(ours)
    assert program.returncode == 0, written.decode()
    return written.decode()


@pytest.mark.parametrize(("patience", "shown"), [(0.0, True), (1e-9, True), (600.0, False)])
def test_brief_work_shows_no_bar(patience, shown) -> None:
    code = f"""
from bayesgmm._common.progress import progress_bar
with progress_bar("Working", show=True, patience={patience}) as move:
    move(3, 4)
print("done")
"""
    told = in_terminal(code)
    assert ("Working" in told) is shown
    assert ("3/4" in told) is shown
    assert told.endswith("done\r\n")


@pytest.mark.parametrize("inner", [False, True])
def test_long_work_that_does_not_say_how_far_it_is_has_a_bar_too(inner) -> None:
    """And work within it none: two bars would write over each other."""
    code = f"""
import time
from contextlib import nullcontext
from bayesgmm._common.progress import progress_bar
outer = progress_bar("Outer", show=True) if {inner} else nullcontext()
with outer, progress_bar("Inner", show=True, patience=0.1):
    time.sleep(0.5)
"""
    told = in_terminal(code)
    assert ("Inner" in told) is not inner
    assert ("Outer" in told) is inner


FITS = """
import numpy as np
from bayesgmm import BayesianGaussianMixture, GaussianMixture
from bayesgmm._common import progress
from bayesgmm.estimators import _display, bayesian_gaussian_mixture
_display.PATIENCE = bayesian_gaussian_mixture.PATIENCE = 1e-9
X = np.random.default_rng(0).normal(size=(60, 2))
GaussianMixture(2, n_init=3).fit(X)
{}
"""


def test_stages_of_fits_have_bars() -> None:
    told = in_terminal(FITS.format("BayesianGaussianMixture(2, draws=50, tune=50, chains=2).fit(X)"))
    for stage in ("EM starts", "Searching for modes", "Weighing modes, convergence"):
        assert stage in told
    silent = in_terminal(FITS.format("").replace("GaussianMixture(2, n_init=3)", "GaussianMixture(2, verbose=1)"))
    assert "EM starts" not in silent
    assert "Start 0" in silent


def mixture_draws():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-3, 1, 20), rng.normal(3, 1, 20)])[:, None]
    mu = np.array([-3.0, 3.0]) + rng.normal(0, 0.1, (4, 100, 2))
    return {"weights": np.full((4, 100, 2), 0.5), "means": mu, "sd": np.ones((4, 100, 2))}, X


@pytest.mark.parametrize(
    ("function", "last"),
    [
        (relabel, (400, 400)),
        (compare_relabellings, (400, 400)),
        (estimate_partition, (16, 16)),
        (loo, (40, 40)),
        (representative_partitions, (1, 5)),
    ],
)
def test_long_work_on_a_posterior_tells_how_far_it_is(function, last, monkeypatch) -> None:
    shows, told = [], []

    @contextmanager
    def bar(description, *, show, patience):
        assert patience > 0
        shows.append(show)
        yield lambda done, total: told.append((done, total))

    monkeypatch.setattr(sys.modules[function.__module__], "progress_bar", bar)
    function(*mixture_draws(), names={"sds": "sd"})
    assert last in told
    assert all(0 < done <= total for done, total in told)
    function(*mixture_draws(), names={"sds": "sd"}, progress=False)
    assert set(shows[: len(shows) // 2]) == {True}
    assert set(shows[len(shows) // 2 :]) == {False}
