"""The walls between packages, held by reading every import, lazy ones too: docs/architecture.md tells them."""

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "exceptions", "_common", "_compiled", "validation", "datasets", "data", "io", "conditionals", "mixture", "priors",
    "em", "noise", "standard_errors", "log_posterior", "gibbs", "laplace", "posterior", "prediction", "pymc_model",
    "partitions", "label_switching", "evidence", "diagnostics", "inference", "cross_validation", "style", "plots",
    "comparison", "model_checks", "overview", "report", "estimators", "selection", "classification", "calibration",
    "cli",
)  # fmt: skip
MOST_MODULES, MOST_LINES, MOST_NAMES = 12, 600, 30

NUMERICAL = {"numpy", "scipy", "numba", "llvmlite", "joblib", "threadpoolctl"}
TABLES = {*NUMERICAL, "pandas", "xarray"}
DRAWS = {*TABLES, "arviz_base", "arviz_stats", "sklearn.cluster", "sklearn.metrics"}
FIGURES = {*DRAWS, "arviz_plots", "matplotlib", "rich"}
THIRD_PARTIES: dict[str, set[str]] = {
    "exceptions": set(),
    "_common": {*NUMERICAL, "rich"},
    "validation": {*NUMERICAL, "narwhals"},
    "datasets": {"pandas"},
    "style": {"matplotlib"},
    "io": {*TABLES, "dask", "distributed", "h5py", "pyarrow", "zarr"},
    "laplace": DRAWS,
    "pymc_model": {*NUMERICAL, "pymc", "pytensor"},
    "inference": {*DRAWS, "nutpie", "pyarrow", "pymc", "pytensor"},
    "estimators": {*FIGURES, "sklearn"},
    "selection": {*FIGURES, "sklearn"},
    "classification": {*NUMERICAL, "sklearn"},
    "calibration": FIGURES,
    "cli": {"pandas", "rich", "typer"},
}
for allowed, packages in (
    (
        NUMERICAL,
        (
            *("_compiled", "data", "conditionals", "mixture", "priors", "em", "noise", "standard_errors"),
            *("log_posterior", "gibbs"),
        ),
    ),
    (
        DRAWS,
        (
            "posterior",
            "prediction",
            "partitions",
            "label_switching",
            "evidence",
            "diagnostics",
            "cross_validation",
            "overview",
        ),
    ),
    (FIGURES, ("plots", "comparison", "model_checks", "report")),
):
    THIRD_PARTIES.update((package, allowed) for package in packages)
# The model and PyMC's own sampler are asked for by name, and so are samplers that run on JAX.
EXCEPTIONS = {"bayesgmm.estimators._posterior_methods": {"pymc"}, "bayesgmm.pymc_model.jax": {"jax"}}


def package_modules() -> dict[str, Path]:
    """Dotted name and file of every module but the faces."""
    paths = sorted((ROOT / "bayesgmm").rglob("*.py"))
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name: path for name, path in named.items() if not name.endswith(("__init__", "__main__"))}


MODULES = package_modules()
FACES = {package: import_module(f"bayesgmm.{package}") for package in PACKAGES}


def imports(source: str) -> list[tuple[str, str]]:
    """Module and name of everything a source imports, at any depth; the name is empty where a module is imported."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [("." * node.level + str(node.module), alias.name) for alias in node.names]
    return found


def target(origin: str, name: str) -> str:
    """The module that an import statement means."""
    return f"{origin}.{name}" if f"{origin}.{name}" in MODULES else origin


def violations(source: str, module: str) -> list[str]:
    """What a module imports that its package does not allow."""
    package = module.split(".")[1]
    return [
        f"{module} may not import {name or 'all'} from {origin}"
        for origin, name in imports(source)
        if not (
            _may_import(module, package, origin, name)
            if origin.split(".")[0] in ("bayesgmm", "")
            else origin.split(".")[0] in sys.stdlib_module_names
            or any(
                f"{origin}.".startswith(f"{party}.") for party in THIRD_PARTIES[package] | EXCEPTIONS.get(module, set())
            )
        )
    ]


def _may_import(module: str, package: str, origin: str, name: str) -> bool:
    _, other, *inner = [*origin.split("."), ""][:3] if origin.count(".") else (origin, "", "")
    if other == package:  # circles are looked for apart
        return target(origin, name) in MODULES and target(origin, name) != module
    earlier = other in PACKAGES and PACKAGES.index(other) < PACKAGES.index(package)
    offered = vars(FACES[other]) if other == "exceptions" else getattr(FACES.get(other), "__all__", ())
    return earlier and not any(inner) and name in offered


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_earlier_packages_offer(module: str) -> None:
    assert violations(MODULES[module].read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("em.em", "from bayesgmm.estimators import GaussianMixture"),  # a later package
        ("em.em", "def lazily():\n    from bayesgmm.log_posterior import Layout"),
        ("em.em", "from bayesgmm import Mixture"),
        ("em.em", "import bayesgmm.mixture.kernel"),
        ("em.em", "from bayesgmm.mixture.kernel import add_statistics"),  # not by its face
        ("em.em", "from bayesgmm.mixture import _private"),
        ("em.em", "from bayesgmm.mixture import kernel"),
        ("em.em", "from bayesgmm.em import run_em"),  # its own face
        ("em.em", "from .m_step import m_step"),
        ("em.em", "import pymc as pm"),
        ("em.em", "from sklearn.mixture import GaussianMixture"),
        ("exceptions", "import numpy"),
        ("plots.density", "import pymc"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(violations(source, f"bayesgmm.{module}")) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("em.em", "import os.path\nimport numpy.typing as npt\nfrom scipy.linalg import inv"),
        ("em.em", "from bayesgmm.mixture import Mixture\nfrom bayesgmm.exceptions import InputError"),
        ("em.em", "from bayesgmm.em.m_step import m_step\nfrom bayesgmm.em import m_step"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert violations(source, f"bayesgmm.{module}") == []


def circle(sources: dict[str, str]) -> list[str]:
    """Modules that import each other in a circle, if any do."""
    graph = {module: {target(*found) for found in imports(source)} & set(sources) for module, source in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_there_is_no_circle() -> None:
    assert circle({module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}) == []


def test_a_planted_circle_is_found() -> None:
    a, b = "bayesgmm.em.em", "bayesgmm.em.m_step"
    assert circle({a: "from bayesgmm.em import m_step", b: "def lazily():\n    from bayesgmm.em.em import run_em"})


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_stay_small(package: str) -> None:
    inside = {name: path for name, path in MODULES.items() if name.startswith(f"bayesgmm.{package}.")}
    assert max(Counter(path.parent for path in inside.values()).values(), default=0) <= MOST_MODULES
    assert {name for name, path in inside.items() if path.read_text(encoding="utf-8").count("\n") > MOST_LINES} == set()
    if package != "exceptions":
        face = FACES[package]
        assert len(face.__all__) <= MOST_NAMES
        assert face.__doc__
        assert not {name.rpartition(".")[2] for name in inside} & {*face.__all__}, "a module would hide the name"


def test_every_module_has_its_package() -> None:
    assert {name.split(".")[1] for name in MODULES} == set(PACKAGES)
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == PACKAGES


def test_tests_have_the_folders_of_the_package() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders <= set(PACKAGES)


def loaded_after(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after running the code."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


SAMPLERS = {"pymc", "pytensor", "nutpie", "arviz"}


def test_the_check_of_loaded_packages_can_fail() -> None:
    assert "json" in loaded_after("import json")


def test_faces_load_no_third_party() -> None:
    code = "\n".join(["import bayesgmm", *(f"import bayesgmm.{package}" for package in PACKAGES)])
    assert not loaded_after(code) & (SAMPLERS | {"numpy", "sklearn", "numba", "pandas"})


def test_em_loads_no_sampler() -> None:
    code = "from bayesgmm import GaussianMixture, datasets\nGaussianMixture(2).fit(datasets.load_old_faithful())"
    assert not loaded_after(code) & SAMPLERS
