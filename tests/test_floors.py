"""The floor order of docs/architecture.md, held by reading every import of the package, lazy ones too."""

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "bayesgmm"


@dataclass(frozen=True)
class Floors:
    """Where each module stands, (floor, position), and the third parties that each floor may import."""

    places: dict[str, tuple[int, int]]
    third_parties: dict[int, set[str]]


def read_floors(text: str) -> Floors:
    """Read the rows ``| 0 words | `words.arrays`, ... | `numpy` |``; third parties accumulate upwards."""
    places: dict[str, tuple[int, int]] = {}
    third_parties: dict[int, set[str]] = {}
    known: set[str] = set()
    for number, files, packages in re.findall(r"^\| (\d)[^|]*\|([^|]*)\|([^|]*)\|$", text, flags=re.MULTILINE):
        floor = int(number)
        for position, name in enumerate(re.findall(r"`([^`]+)`", files)):
            places[PACKAGE if name == PACKAGE else f"{PACKAGE}.{name}"] = (floor, position)
        known = known | set(re.findall(r"`([^`]+)`", packages))
        third_parties[floor] = known
    return Floors(places, third_parties)


def package_modules() -> dict[str, Path]:
    """Dotted name and file of every module; packages without code of their own are left out."""
    modules = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if parts[-1] != "__init__" or len(ast.parse(path.read_text(encoding="utf-8")).body) > 1:
            modules[name] = path
    return modules


def imported_names(source: str, modules: set[str]) -> list[str]:
    """Dotted names of everything a source imports, at any depth."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            inner = {f"{origin}.{alias.name}" for alias in node.names}
            names += sorted(inner & modules) + ([] if inner <= modules else [origin])
    return names


def violations(source: str, module: str, floors: Floors) -> list[str]:
    """What a module imports that its place does not allow."""
    place = floors.places[module]
    found = []
    for name in imported_names(source, set(floors.places)):
        if name.split(".")[0] == PACKAGE:
            lower = name in floors.places and floors.places[name] < place
            found += [] if lower else [f"{module} (floor {place[0]}) may not import {name}"]
        elif name.split(".")[0] not in sys.stdlib_module_names:
            allowed = any(f"{name}.".startswith(f"{party}.") for party in floors.third_parties[place[0]])
            found += [] if allowed else [f"floor {place[0]} may not import {name} ({module})"]
    return found


MODULES = package_modules()
FLOORS = read_floors((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def test_the_table_lists_exactly_the_modules_there_are() -> None:
    listed, present = set(FLOORS.places), set(MODULES)
    assert not present - listed, "give these a place in docs/architecture.md"
    assert not listed - present, "docs/architecture.md lists files that do not exist"


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_the_floor_order(module: str) -> None:
    assert module in FLOORS.places, "give it a place in docs/architecture.md"
    assert violations(MODULES[module].read_text(encoding="utf-8"), module, FLOORS) == []


PLANTED = read_floors(
    """
| floor | files, in order | third parties it adds |
|---|---|---|
| 0 words | `words.arrays`, `words.checks` | `numpy` |
| 1 ground | `ground.kernel` | `numba`, `sklearn.cluster` |
| 2 public names | `bayesgmm` | |
"""
)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("words.checks", "from bayesgmm.ground.kernel import add_statistics"),
        ("words.checks", "from bayesgmm.ground import kernel"),
        ("words.checks", "def lazily():\n    import bayesgmm.ground.kernel"),
        ("words.checks", "from bayesgmm import Mixture"),
        ("words.checks", "from bayesgmm.words.checks import as_rows"),
        ("words.arrays", "from bayesgmm.words.checks import as_rows"),
        ("words.checks", "from bayesgmm.words import unlisted"),
        ("words.checks", "from .arrays import Array"),
        ("words.checks", "import numba"),
        ("words.checks", "class A:\n    def f(self):\n        from numba import njit"),
        ("ground.kernel", "import pymc as pm"),
        ("ground.kernel", "from sklearn.mixture import GaussianMixture"),
        ("ground.kernel", "import numpyro"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(violations(source, f"{PACKAGE}.{module}", PLANTED)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("words.checks", "import numpy.typing as npt\nfrom numpy.linalg import inv\nimport os.path"),
        ("words.checks", "from bayesgmm.words.arrays import Array"),
        ("words.checks", "from bayesgmm.words import arrays"),
        ("ground.kernel", "import numpy\nfrom numba import njit\nfrom sklearn.cluster import kmeans_plusplus"),
        ("ground.kernel", "from bayesgmm.words.checks import as_rows"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert violations(source, f"{PACKAGE}.{module}", PLANTED) == []


def loaded_after(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after running the code."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


SAMPLERS = {"pymc", "pytensor", "nutpie", "arviz"}


def test_the_check_of_loaded_packages_can_fail() -> None:
    assert "json" in loaded_after("import json")


def test_import_loads_no_third_party() -> None:
    assert not loaded_after("import bayesgmm") & (SAMPLERS | {"numpy", "sklearn", "numba", "pandas"})
