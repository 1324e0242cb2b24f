"""The public names: one list for users, for the lazy loader and for type checkers."""

import ast
import inspect
from importlib.util import find_spec
from pathlib import Path

import pytest

import bayesgmm


def names_for_type_checkers() -> dict[str, str]:
    """Name and home of every import under ``if TYPE_CHECKING``."""
    tree = ast.parse(inspect.getsource(bayesgmm))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_the_three_lists_agree() -> None:
    expected = {**bayesgmm._HOMES, "datasets": "bayesgmm"}
    assert names_for_type_checkers() == expected
    assert sorted(expected) == bayesgmm.__all__


@pytest.mark.parametrize("name", bayesgmm.__all__)
def test_every_name_loads_from_its_home(name: str) -> None:
    value = getattr(bayesgmm, name)
    assert name in dir(bayesgmm)
    home = bayesgmm._HOMES.get(name, "bayesgmm.datasets")
    assert find_spec(home) is not None
    assert getattr(value, "__module__", getattr(value, "__name__", None)) == home


def test_version_is_the_declared_one() -> None:
    text = Path(__file__).resolve().parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{bayesgmm.__version__}"\n' in text


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'GausianMixture'"):
        bayesgmm.GausianMixture  # noqa: B018
