"""The command line as a user meets it: help, the main job end to end, and one clear line for every mistake."""

import errno
import os
import re
import signal
import subprocess
import sys
import warnings

import arviz as az
import numpy as np
import pandas as pd
import pytest

import bayesgmm
from bayesgmm.cli import commands as cli
from bayesgmm.cli import job
from bayesgmm.cli.options import command_line
from bayesgmm.datasets import load_old_faithful
from bayesgmm.estimators import PRIORS
from bayesgmm.exceptions import DegenerateComponentError, InterruptedWarning, SamplingError
from bayesgmm.inference.engines import ENGINES, INFERENCES
from bayesgmm.io.files import EM_FILES, OUTPUT_FILES, SELECTION_FILES, SOURCE_FILES
from bayesgmm.mixture import FAMILIES
from bayesgmm.selection.criteria import CRITERIA
from bayesgmm.selection.task import ALL_FAMILIES

FAITHFUL = load_old_faithful()
QUICK = ["--draws", "50", "--chains", "2", "--seed", "1"]


def run(capsys, *args: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def refused(capsys, *args: str) -> str:
    """The one line that a mistake ends in, with exit status 2."""
    status, out, err = run(capsys, *args)
    assert status == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def faithful_csv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "geyser.csv"
    FAITHFUL.to_csv(path, index=False)
    return path


def test_noise_missing_values_and_heavy_tails_are_options(capsys, faithful_csv) -> None:
    common = ("-k", "2", "--seed", "1", "--em-only", "--overwrite", "--output", "out")
    status, out, _ = run(capsys, "fit", faithful_csv, "--noise", *common)
    assert status == 0
    assert "full covariances, noise" in out
    assert 0.0 < pd.read_csv("out/estimates.csv", index_col=0).loc["noise_weight", "em"] < 0.5
    assert run(capsys, "fit", faithful_csv, "--component", "student_t", "--dof", "4", *common)[0] == 0
    assert pd.read_csv("out/estimates.csv", index_col=0).loc["dof[1]", "em"] == 4.0
    gaps = FAITHFUL.mask(np.random.default_rng(0).random(FAITHFUL.shape) < 0.05).dropna(how="all")
    gaps.to_csv("gaps.csv", index=False)
    assert "--missing marginalize" in refused(capsys, "fit", "gaps.csv", *common)
    assert run(capsys, "fit", "gaps.csv", "--missing", "marginalize", *common)[0] == 0


def test_posteriors_of_heavy_tails(capsys, faithful_csv) -> None:
    options = ("-k", "2", "--component", "student_t", "--dof", "4", *QUICK, "-o", "out")
    assert "--component student_t" in refused(capsys, "fit", faithful_csv, *options, "--report")
    assert run(capsys, "fit", faithful_csv, *options)[0] == 0
    table = pd.read_csv("out/estimates.csv", index_col=0)
    assert table.loc["dof[1]", "mean"] == 4.0
    assert bayesgmm.load("out/posterior.nc").scales_.shape == (2, 2, 2)


def test_commands_of_reports_have_the_noise() -> None:
    assert command_line(["fit", "a.csv"], {"n_components": 2, "noise": True}).endswith("--components 2 --noise")
    assert command_line(["fit", "a.csv"], {"noise": 3.5}).endswith("--noise-volume 3.5")


# ---- help


@pytest.mark.parametrize(
    "args",
    [["--help"], ["fit", "--help"], ["demo", "-h"], ["--version"], ["fit", "none.csv", "-k2"], ["select", "none.csv"]],
)
def test_answers_at_once_load_nothing_heavy(args) -> None:
    code = (
        f"import sys\nfrom bayesgmm.cli.commands import _status\n_status({args})\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded
    assert not loaded & {
        "numba",
        "pymc",
        "pytensor",
        "nutpie",
        "arviz",
        "arviz_stats",
        "matplotlib",
        "sklearn",
        "scipy",
    }


def test_help_names_every_option_and_shows_examples(capsys) -> None:
    _, out, err = run(capsys, "fit", "--help")
    assert all(f"--{name}" in out for name in ("component", "dof", "noise", "noise-volume", "missing"))
    options = "components columns covariance prior no-header draws tune chains cores target-accept engine seed output"
    assert all(f"--{name}" in out for name in [*options.split(), "overwrite", "quiet", "no-progress"])
    assert "bayesgmm fit customers.csv --components 4" in out
    assert err == ""
    _, out, _ = run(capsys, "--help")
    assert "demo" in out
    assert "fit" in out


def test_help_of_select_names_its_options(capsys) -> None:
    _, out, err = run(capsys, "select", "--help")
    options = "components columns covariance criterion prior no-header starts jobs draws seed output overwrite quiet"
    assert all(f"--{name}" in out for name in options.split())
    assert "bayesgmm select customers.csv --components 1:6" in out
    assert err == ""


def test_version(capsys) -> None:
    assert run(capsys, "--version") == (0, f"bayesgmm {bayesgmm.__version__}\n", "")


@pytest.mark.parametrize(
    ("command", "option", "table"),
    [
        ("fit", "covariance", FAMILIES),
        ("fit", "prior", PRIORS),
        ("fit", "engine", ENGINES),
        ("fit", "inference", INFERENCES),
        ("select", "criterion", CRITERIA),
    ],
)
def test_help_and_errors_name_every_choice(capsys, command, option, table) -> None:
    _, out, _ = run(capsys, command, "--help")
    words = set(re.findall(r"\w+", out))
    assert set(table) <= words
    err = refused(capsys, command, "none.csv", f"--{option}", "other")
    assert err == f"Error: Invalid value for '--{option}': 'other' is not one of {', '.join(table)}.\n"


def test_no_command_shows_the_help(capsys) -> None:
    status, out, err = run(capsys)
    assert (status, err) == (2, "")
    assert "Usage: bayesgmm" in out


# ---- the main job


@pytest.mark.slow
def test_the_report_says_how_to_make_it_again(capsys, faithful_csv, tmp_path) -> None:
    status, out, err = run(capsys, "fit", faithful_csv, "-k", "1", *QUICK, "--report", "-c", "waiting", "-o", "out")
    assert (status, err) == (0, "")
    assert "report.html" in out
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "bayesgmm fit geyser.csv --columns waiting --components 1 --draws 50 --chains 2 --seed 1" in text
    assert "read_or_open(&#x27;geyser.csv&#x27;, columns=[&#x27;waiting&#x27;])" in text
    assert "report.html" in refused(capsys, "fit", faithful_csv, "-k", "2", "--report", "-o", "out")


def test_demo_end_to_end(tmp_path) -> None:
    command = [sys.executable, "-m", "bayesgmm.cli", "demo", "--draws", "200", "--chains", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == ""
    assert "Old Faithful: 272 rows of eruptions and waiting; K = 2, full covariances" in done.stdout
    assert "EM: log-likelihood -1130.26" in done.stdout
    assert "NUTS: 4 chains x 200 draws" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("0, waiting "))
    assert float(row[2]) == pytest.approx(54.48, abs=0.06)
    assert float(row[3]) == pytest.approx(54.48, abs=0.2)
    for words in (
        "R-hat is at most",
        "Effective draws: at least",
        "Divergences of the sampler: 0 of 800",
        "bayesgmm-demo-output",
        "What to do next: ",
    ):
        assert words in done.stdout
    folder = tmp_path / "bayesgmm-demo-output"
    printed = str(bayesgmm.load(folder / "posterior.nc")).partition("What to do next")[0]
    assert printed in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == sorted(OUTPUT_FILES)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fit of a file, once for all tests that look at what it wrote."""
    folder = tmp_path_factory.mktemp("fit")
    path = folder / "geyser.csv"
    FAITHFUL.assign(site="Yellowstone").to_csv(path, index=False)
    args = ["fit", path, "-k", 2, "--columns", "waiting,eruptions", "--covariance", "vvi", "-o", folder / "out", *QUICK]
    assert cli._status([str(arg) for arg in args]) == 0
    return folder / "out"


def test_the_posterior_opens_with_arviz_and_bayesgmm(fitted) -> None:
    tree = az.from_netcdf(fitted / "posterior.nc")
    assert tree["posterior"].sizes["draw"] == 50
    assert list(tree["posterior"]["feature"].to_numpy()) == ["waiting", "eruptions"]
    assert len(az.summary(tree, var_names=["means"])) == 4
    model = bayesgmm.load(fitted / "posterior.nc")
    assert model.covariance_type == "VVI"
    assert model.means_.shape == (2, 2)


def test_the_table_has_em_by_maximum_likelihood_in_the_labels_of_the_posterior(fitted) -> None:
    table = pd.read_csv(fitted / "estimates.csv", index_col="parameter")
    em = bayesgmm.GaussianMixture(2, covariance_type="diag", random_state=0).fit(FAITHFUL[["waiting", "eruptions"]])
    np.testing.assert_allclose(table.loc["means[0, eruptions]", "em"], em.means_[0, 1], rtol=1e-4)
    np.testing.assert_allclose(table.loc["covariances[1, waiting]", "em"], em.covariances_[1, 0], rtol=1e-3)
    assert ((table["em"] - table["mean"]).abs() < 2 * table["sd"]).all()
    assert list(table.columns[:5]) == ["em", "mean", "sd", "eti89_lb", "eti89_ub"]


def test_memberships_and_figure_are_there(fitted) -> None:
    members = pd.read_csv(fitted / "memberships.csv", index_col="row")
    assert len(members) == len(FAITHFUL)
    np.testing.assert_allclose(members["p0"] + members["p1"], 1.0)
    assert ((FAITHFUL["waiting"] > 68).astype(int) == members["cluster"]).mean() > 0.95
    assert (fitted / "clusters.png").read_bytes().startswith(b"\x89PNG")


def test_quiet_prints_nothing_of_a_good_fit(capsys, faithful_csv) -> None:
    status, out, err = run(capsys, "fit", faithful_csv, "-k", "1", "--quiet", "--draws", "400", "--seed", "1")
    assert (status, out, err) == (0, "", "")
    assert (faithful_csv.parent / "bayesgmm-geyser-output" / "posterior.nc").exists()


def test_parquet_files_give_what_csv_files_do(capsys, faithful_csv) -> None:
    FAITHFUL.assign(kind="x").to_parquet(faithful_csv.with_name("rows.parquet"))
    for name in ("geyser.csv", "rows.parquet"):
        status, _, _ = run(capsys, "fit", name, "-k", "1", "--columns", "eruptions,waiting", *QUICK)
        assert status == 0
    tables = [faithful_csv.parent / f"bayesgmm-{name}-output" / "estimates.csv" for name in ("geyser", "rows")]
    assert tables[0].read_text() == tables[1].read_text()


# ---- models side by side


def test_select_prints_the_best_models_first_and_writes_table_and_figure(capsys, faithful_csv) -> None:
    command = ["select", faithful_csv, "--components", "2,1,3", "--covariance", "full", "--covariance-type", "EEE"]
    status, out, err = run(capsys, *command, "--starts", "5", "--seed", "1")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "geyser.csv: 272 rows of eruptions and waiting; K = 1, 2, 3"
    *figures, icl, _, of, starts = lines[4].split()
    assert figures == ["tied", "3", "-1126.32", "11", "2314.30", "2274.63"]
    assert float(icl) == pytest.approx(2358.4, abs=0.2)  # entropy is not at its optimum where the likelihood is
    assert (of, starts) == ("of", "5")
    assert max(map(len, lines)) <= 80
    assert "The best model by BIC is tied with K = 3" in out
    assert "ICL prefers full with K = 2" in " ".join(out.split())
    folder = faithful_csv.parent / "bayesgmm-geyser-selection"
    assert sorted(path.name for path in folder.iterdir()) == sorted(SELECTION_FILES)
    table = pd.read_csv(folder / "selection.csv", index_col=["covariance_type", "n_components"])
    expected = bayesgmm.select_components(FAITHFUL, [1, 2, 3], ["full", "tied"], n_init=5, random_state=1).table
    np.testing.assert_allclose(table["bic"], expected["bic"])
    assert (folder / "selection.png").read_bytes().startswith(b"\x89PNG")
    assert "holds selection.csv, selection.png" in refused(capsys, *command)


def test_checkpoints_keep_the_seed_and_what_is_finished(capsys, faithful_csv, monkeypatch) -> None:
    fit = ("fit", faithful_csv, "-k", "2", "--draws", "100", "--tune", "100", "--checkpoint", "fits", "--overwrite")
    assert run(capsys, *fit)[0] == 0
    table = faithful_csv.parent / "bayesgmm-geyser-output" / "estimates.csv"
    first = table.read_text()
    select = ("select", faithful_csv, "-k", "1:2", "--checkpoint", "models", "--overwrite")
    assert run(capsys, *select)[0] == 0
    monkeypatch.setattr("bayesgmm.selection.select._scores", None)
    monkeypatch.setattr("bayesgmm.inference.nuts._run", None)
    assert run(capsys, *select)[0] == 0
    assert run(capsys, *fit)[0] == 0
    assert table.read_text() == first
    status, _, err = run(capsys, *fit[:3], "3", *fit[4:])
    assert (status, err.count("\n")) == (2, 1)
    assert "another n_components (3, there 2)" in err
    assert "another random_state" in refused(capsys, *fit, "--seed", "1")


def test_select_by_leave_one_out_passes_the_samplers_options_on(capsys, faithful_csv) -> None:
    sampler = ["--draws", "300", "--chains", "2", "--seed", "1"]
    args = ["--criterion", "loo", "--criterion", "icl", "--prior", "fraley-raftery", "-o", "out", "--quiet", *sampler]
    status, out, _ = run(capsys, "select", faithful_csv, "-k", "1:2", *args)
    assert (status, out) == (0, "")
    table = pd.read_csv(faithful_csv.parent / "out" / "selection.csv")
    assert list(table["covariance_type"]) == ["full", "full"]
    assert table["loo"].notna().all()


def test_a_long_table_is_cut(capsys, faithful_csv) -> None:
    _, out, _ = run(capsys, "select", faithful_csv, "-k", "1:3", "--starts", "1", "--seed", "1")
    assert f"… and {3 * len(ALL_FAMILIES) - 15} more" in out


# ---- mistakes


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["fit", "none.csv", "-k", "2"], "no file at none.csv"),
        (["fit", ".", "-k", "2"], "a folder at ."),
        (["fit", "none.parquet", "-k", "2"], "no file at none.parquet"),
        (["fit", "geyser.csv"], "Missing option '--components'"),
        (["fit"], "Missing argument 'FILE'"),
        (["fit", "geyser.csv", "-k", "0"], "Invalid value for '--components'"),
        (["fit", "geyser.csv", "-k", "two"], "valid integer"),
        (["fit", "geyser.csv", "-k", "273"], "no larger than the number of rows (272); got 273"),
        (["fit", "geyser.csv", "-k", "2", "--columns", "eruptions,height"], "'eruptions' and 'waiting'; got 'height'"),
        (["fit", "geyser.csv", "-k", "2", "--covariance", "round"], "'round' is not one of"),
        (["fit", "geyser.csv", "-k", "2", "--prior", "mine"], "'mine' is not one of"),
        (["fit", "geyser.csv", "-k", "2", "--init", "far"], "'far' is not one of spread, modes, best"),
        (["fit", "geyser.csv", "-k", "2", "--effort", "none"], "'none' is not one of standard, thorough"),
        (["fit", "geyser.csv", "-k", "2", "--max-seconds", "0"], "Invalid value for '--max-seconds'"),
        (["fit", "geyser.csv", "-k", "2", "--target-accept", "1"], "Invalid value for '--target-accept'"),
        (["fit", "geyser.csv", "-k", "2", "--draws", "0"], "Invalid value for '--draws'"),
        (["fit", "geyser.csv", "-k", "2", "--seed", "-1"], "Invalid value for '--seed'"),
        (["fit", "geyser.csv", "-k", "2", "--wat"], "No such option: --wat"),
        (["fit", "geyser.csv", "-k", "2", "-o", "geyser.csv"], "a folder to write to; got geyser.csv"),
        (["select", "none.csv"], "no file at none.csv"),
        (["select", "geyser.csv", "-k", "3:1"], "A:B with 1 <= A <= B, or as numbers A,B,C; got 3:1"),
        (["select", "geyser.csv", "-k", "0:2"], "got 0:2"),
        (["select", "geyser.csv", "-k", "two"], "got two"),
        (["select", "geyser.csv", "-k", "1:300"], "no larger than the number of rows (272); got 300"),
        (["select", "geyser.csv", "--criterion", "dic"], "'dic' is not one of"),
        (["select", "geyser.csv", "--covariance", "V"], "one feature with covariance_type"),
        (["select", "geyser.csv", "--starts", "0"], "Invalid value for '--starts'"),
        (["fti"], "No such command 'fti'"),
        (["demo", "--chains", "0"], "Invalid value for '--chains'"),
        (["demo", "--output", "x" * 300], "a folder to write to; got xxx"),
        (["fit", "x" * 300, "-k", "2"], "no file at xxx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_is_one_line(capsys, faithful_csv, args, expected) -> None:
    assert expected in refused(capsys, *args)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the empty file"),
        (b"a,b\n", "at least one row"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "cannot be read as one"),
        (b"a,b\n1,x\n2,y\n", "'b' (text such as 'x'), not numeric. Choose numeric ones: --columns a"),
        (b"a,b\n1,\n2,\n3,4\n", "2 missing in 'b' (2 of 3 rows affected)"),
        (b"a\n7\n7\n7\n", "data that vary; got 3 identical rows"),
        (b"a\n7\n", "no larger than the number of rows (1); got 2"),
        (b"1.5,2\n2.5,3\n", "--no-header"),
    ],
)
def test_a_wrong_file_is_one_line(capsys, tmp_path, monkeypatch, content, expected) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.csv").write_bytes(content)
    status, _, err = run(capsys, "fit", "wrong.csv", "-k", "2", *QUICK)
    assert status == 2
    assert err.count("\n") == 1
    assert expected in err
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.csv"]


def test_a_single_row_is_one_line(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.csv").write_text("a\n7\n")
    _, _, err = run(capsys, "fit", "one.csv", "-k", "1")
    assert err == "Error: Expected at least two rows; got 1.\n"


@pytest.mark.draws
@pytest.mark.slow
def test_components_that_are_not_there_are_not_summarised_unless_forced(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(1).normal(size=(120, 2))
    np.savetxt("one.csv", rows, delimiter=",", header="a,b", comments="")
    command = ("fit", "one.csv", "-k", "2", "--seed", "1", "--draws", "100", "--overwrite")
    _, out, _ = run(capsys, *command)
    assert "not identified" in out
    assert "89% ETI" not in out
    _, out, _ = run(capsys, *command, "--force")
    assert "89% ETI" in out


def test_advice_names_options(capsys, faithful_csv) -> None:
    status, out, _ = run(capsys, "fit", faithful_csv, "-k", "1", "--draws", "20", "--seed", "1")
    printed = " ".join(out.split())
    assert status == 0
    assert "Take more draws: --draws 16000, --tune 1000." in printed
    assert "max_draws" not in printed


def test_long_names_fit_into_80_columns_and_settings_reach_the_fit(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"a very long name of a feature that nobody can read at once, number {j}" for j in range(2)]
    FAITHFUL.set_axis(names, axis="columns").to_csv("long.csv", index=False)
    options = ("--init", "best", "--effort", "thorough", "--max-seconds", "500", "--inference", "gibbs")
    status, out, _ = run(capsys, "fit", "long.csv", "-k", "2", *QUICK, *options, "-o", "out")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    fit = bayesgmm.load("out/posterior.nc")
    assert (fit.init, fit.effort, fit.max_seconds, fit.inference) == ("best", "thorough", 500.0, "gibbs")


def test_output_is_not_overwritten_unless_asked(capsys, faithful_csv) -> None:
    folder = faithful_csv.parent / "bayesgmm-geyser-output"
    folder.mkdir()
    (folder / "posterior.nc").write_text("precious")
    args = ["fit", faithful_csv, "-k", "1", *QUICK]
    assert "holds posterior.nc. Name another with --output, or use --overwrite." in refused(capsys, *args)
    assert (folder / "posterior.nc").read_text() == "precious"
    assert run(capsys, *args, "--overwrite")[0] == 0
    assert bayesgmm.load(folder / "posterior.nc").n_components == 1


# ---- what goes wrong on the way


def fail_with(monkeypatch, error: BaseException) -> None:
    def fit_both(*_: object) -> None:
        raise error

    monkeypatch.setattr(job, "fit_both", fit_both)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "Interrupted: nothing was written.\n"),
        (SamplingError("Chain 0\ncannot start"), 1, "Error: Chain 0 cannot start\n"),
        (DegenerateComponentError("all collapsed", figures={"n": 2}), 1, "Error: all collapsed (n = 2)\n"),
    ],
)
def test_failures_leave_one_line_and_no_files(capsys, faithful_csv, monkeypatch, error, status, line) -> None:
    fail_with(monkeypatch, error)
    assert run(capsys, "fit", faithful_csv, "-k", "1")[0::2] == (status, line)
    assert [path.name for path in faithful_csv.parent.iterdir()] == ["geyser.csv"]


def test_a_bug_is_not_hidden(faithful_csv, monkeypatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["fit", str(faithful_csv), "-k", "1"])


def test_an_interrupted_run_writes_what_it_has_and_says_so(capsys, faithful_csv, monkeypatch) -> None:
    original = job.fit_both

    def fit_both(*args):
        warnings.warn("Sampling was interrupted;\nkept 50 draws.", InterruptedWarning, stacklevel=2)
        return original(*args)

    monkeypatch.setattr(job, "fit_both", fit_both)
    status, _, err = run(capsys, "fit", faithful_csv, "-k", "1", *QUICK)
    assert (status, err) == (0, "Warning: Sampling was interrupted; kept 50 draws.\n")
    assert (faithful_csv.parent / "bayesgmm-geyser-output" / "posterior.nc").exists()


def test_a_full_disk_is_one_line(capsys, faithful_csv, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = run(capsys, "fit", faithful_csv, "-k", "1", *QUICK)
    assert (status, err) == (2, "Error: [Errno 28] No space left on device; nothing was written.\n")
    assert [path.name for path in faithful_csv.parent.iterdir()] == ["geyser.csv"]


def test_a_termination_is_one_line_and_leaves_what_was_there(capsys, faithful_csv, monkeypatch) -> None:
    def fit_both(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(job, "fit_both", fit_both)
    args = ("fit", faithful_csv, "-k", "1", "-o", "out")
    assert run(capsys, *args)[0::2] == (143, "Terminated: nothing was written.\n")
    assert [path.name for path in faithful_csv.parent.iterdir()] == ["geyser.csv"]
    (faithful_csv.parent / "out").mkdir()
    (faithful_csv.parent / "out" / "posterior.nc").write_text("precious")
    assert run(capsys, *args, "--overwrite")[0] == 143
    assert [path.read_text() for path in (faithful_csv.parent / "out").iterdir()] == ["precious"]


@pytest.mark.parametrize("second", [["demo"], ["fit", "geyser.csv", "-k", "2"], ["select", "geyser.csv"]])
def test_a_second_run_into_a_folder_is_refused_before_it_samples(capsys, faithful_csv, monkeypatch, second) -> None:
    def fit_both(*_: object) -> None:
        monkeypatch.setattr(job, "fit_both", lambda *_: pytest.fail("must not begin"))
        err = refused(capsys, *second, "-o", "out", "--overwrite")
        assert f"got out, in which process {os.getpid()} on" in err
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "fit_both", fit_both)
    assert run(capsys, "fit", faithful_csv, "-k", "1", "-o", "out", "--quiet")[0] == 130


def test_a_column_of_row_names_is_left_out_on_the_screen(capsys, faithful_csv, monkeypatch) -> None:
    FAITHFUL.to_csv(faithful_csv)
    fail_with(monkeypatch, KeyboardInterrupt())
    _, out, err = run(capsys, "fit", faithful_csv, "-k", "1")
    assert out == "geyser.csv: 272 rows of eruptions and waiting; K = 1, full covariances\n"
    assert err.splitlines()[0].endswith("because unnamed: column 1 (row names: 0, 1, 2, ...).")


# ---- several files, and large ones


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, part in enumerate(np.array_split(np.arange(len(FAITHFUL)), 3)):
        FAITHFUL.assign(day="monday").iloc[part].to_parquet(tmp_path / f"part-{i}.parquet")
    np.save(tmp_path / "geyser.npy", FAITHFUL.to_numpy())
    return tmp_path


def test_a_pattern_of_few_rows_is_fitted_as_one_file(parts, capsys):
    status, out, _ = run(capsys, "fit", "part-*.parquet", "-k", "2", "--columns", "eruptions,waiting", *QUICK)
    assert status == 0
    assert "part-*.parquet: 272 rows of eruptions and waiting; K = 2" in out
    assert {path.name for path in (parts / "bayesgmm-part-output").iterdir()} == set(OUTPUT_FILES)


def test_text_columns_of_a_pattern_are_refused_with_the_option_that_helps(parts, capsys):
    assert "--columns eruptions,waiting" in refused(capsys, "fit", "part-*.parquet", "-k", "2")
    assert "no file at none-*.csv" in refused(capsys, "fit", "none-*.csv", "-k", "2")
    assert "--no-header" in refused(capsys, "fit", "part-*.parquet", "-k", "2", "--no-header")


def test_large_files_are_fitted_by_em(parts, capsys, monkeypatch):
    monkeypatch.setattr("bayesgmm.io.sources._FEW_ROWS", 100)
    options = ["fit", "part-*.parquet", "-k", "2", "-c", "waiting,eruptions", "--seed", "1"]
    status, out, err = run(capsys, *options, "--em-only")
    assert (status, err) == (0, "")
    assert "272 rows of waiting and eruptions" in out
    assert "EM: log-likelihood -1130.26" in out
    folder = parts / "bayesgmm-part-output"
    assert {path.name for path in folder.iterdir()} == set(EM_FILES)
    fit, table = bayesgmm.load(folder / "fit.nc"), pd.read_csv(folder / "estimates.csv", index_col=0)
    np.testing.assert_array_equal(
        pd.read_parquet(folder / "memberships.parquet")["cluster"].to_numpy(),
        fit.predict(FAITHFUL[["waiting", "eruptions"]]),
    )
    assert table.loc["means[1, eruptions]", "em"] == fit.means_[1, 1]
    assert table.loc["covariances[0, eruptions, waiting]", "em"] == fit.covariances_[0, 0, 1]
    assert len(table) == 2 + 4 + 6
    for more in ([], ["--em-only"]):
        assert "for --report" in refused(capsys, *options, *more, "--report", "--overwrite")
    assert "no larger than the number of rows (272)" in refused(capsys, "fit", "geyser.npy", "-k", "300")


def test_the_posterior_of_large_files(parts, capsys, monkeypatch):
    monkeypatch.setattr("bayesgmm.io.sources._FEW_ROWS", 100)
    monkeypatch.setattr("bayesgmm.data.sources.ROWS_IN_MEMORY", 200)
    options = ["fit", "part-*.parquet", "-k", "2", "-c", "waiting,eruptions", *QUICK]
    status, out, _ = run(capsys, *options)
    assert status == 0
    assert "NUTS: " in out
    folder = parts / "bayesgmm-part-output"
    assert {path.name for path in folder.iterdir()} == set(SOURCE_FILES)
    fit = bayesgmm.load(folder / "posterior.nc")
    assert fit.posterior_["observed_data"].sizes["obs"] == 200
    found = pd.read_parquet(folder / "memberships.parquet")
    np.testing.assert_array_equal(found["cluster"].to_numpy(), fit.predict(FAITHFUL[["waiting", "eruptions"]]))


def test_models_of_large_files_are_compared(parts, capsys, monkeypatch):
    monkeypatch.setattr("bayesgmm.io.sources._FEW_ROWS", 100)
    status, out, _ = run(capsys, "select", "geyser.npy", "-k", "1:3", "--covariance", "full", "--seed", "1")
    assert status == 0
    assert "272 rows of x0 and x1" in out
    assert "The best model by BIC is full with K = 2" in out
    status, _, err = run(capsys, "select", "geyser.npy", "-k", "1:3", "--criterion", "loo", "--overwrite")
    assert status == 2
    assert "criteria by EM" in err
