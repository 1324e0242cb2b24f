"""Every script in benchmarks/ runs in its quick mode, and the page of their output is made of what they print."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
# Tens of seconds, of a first run or all.
COMPILE_LONG = {
    *(
        "as_written",
        "calibration",
        "classifier",
        "curves",
        "dask_cluster",
        "fit",
        "install",
        "laplace",
        "mode_references",
        "modes",
        "nuts",
        "source_posterior",
        "sources",
        "startup",
    ),
}
SCRIPTS = [
    pytest.param(path, marks=[pytest.mark.slow] if path.stem in COMPILE_LONG else [], id=path.stem)
    for path in sorted(BENCHMARKS.glob("[!_]*.py"))
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_quick_mode_runs_and_prints_figures(script, monkeypatch, capfd):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [str(script), "--quick"])
    runpy.run_path(str(script), run_name="__main__")
    printed = capfd.readouterr().out
    assert re.search(r"\d\.\d", printed), printed
    assert "nan" not in printed


def test_nuts_but_for_compiling_the_other_side(monkeypatch, capsys):
    nuts = runpy.run_path(str(BENCHMARKS / "nuts.py"))
    problem = nuts["faithful"]()
    settings = nuts["SamplerSettings"](seed=0, draws=20, tune=20, chains=2, progress=False)
    result = nuts["measured"](problem, lambda: nuts["sample_native"](problem, settings, np.random.default_rng(0)))
    assert {"weights", "means", "covariances", "y"} == set(nuts["handwritten"](problem).named_vars) - {"X"}
    nuts["report"]("Old Faithful", [(result, result)], 0.0)
    assert re.search(r"\| ratio \| 1 / 1\.0 \| 1\.00 \| 1\.0, 1\.0, 1\.0 \|", capsys.readouterr().out)


def run_all(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *options])
    runpy.run_path(str(BENCHMARKS / "__main__.py"), run_name="__main__")


def test_a_section_is_replaced_by_what_its_script_prints_and_the_others_stay(monkeypatch, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# Old\n\n## `benchmarks/fit.py`\n\nkept\n\n## `benchmarks/kernel.py`\n\nold figures\n")
    run_all(monkeypatch, "kernel", "--quick", "--output", str(page))
    text = page.read_text()
    assert "old figures" not in text
    assert re.search(r"fit\.py`\n\nkept\n\n## `benchmarks/kernel\.py`", text)
    assert re.search(r"Measured on \S.*, \d+ cores.* at the start, \d\d \w+ \d{4}; Python 3", text)
    assert re.search(r"```text\n\$ python benchmarks/kernel\.py --quick\n(\|.+\|\n){4}```", text)


@pytest.mark.parametrize(
    ("options", "message"), [(["--quick"], "--output of their own"), (["none", "nuts"], "no such script: none")]
)
def test_wrong_options_are_refused_before_anything_runs(monkeypatch, capsys, options, message):
    with pytest.raises(SystemExit):
        run_all(monkeypatch, *options)
    assert message in capsys.readouterr().err


def test_the_page_has_a_section_of_every_script_it_names():
    named = set(re.findall(r"benchmarks/(\w+)\.py", (BENCHMARKS.parent / "README.md").read_text()))
    assert named <= set(re.findall(r"^## .*benchmarks/(\w+)\.py", (BENCHMARKS / "README.md").read_text(), re.MULTILINE))
