"""The public names: listed once, loaded when they are first used."""

from pathlib import Path

import pytest

import bayesgmm
from bayesgmm._common.lazy import lazy


@pytest.mark.parametrize("name", bayesgmm.__all__)
def test_every_name_loads(name: str) -> None:
    value = getattr(bayesgmm, name)
    assert name in dir(bayesgmm)
    assert getattr(value, "__name__", name).rpartition(".")[2] == name
    assert getattr(value, "__module__", value.__name__).startswith("bayesgmm")


def test_no_module_hides_a_public_name() -> None:
    """Importing a package binds its name: `bayesgmm.compare` would no longer be the function."""
    folders = {path.stem for path in Path(bayesgmm.__path__[0]).iterdir()}
    assert folders & {*bayesgmm.__all__} == {"datasets", "exceptions", "style"}


def test_version_is_the_declared_one() -> None:
    text = Path(__file__).resolve().parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{bayesgmm.__version__}"\n' in text


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'GausianMixture'"):
        bayesgmm.GausianMixture  # noqa: B018


def test_a_face_offers_what_it_imports_for_type_checkers() -> None:
    load, names, offered = lazy("bayesgmm.em")
    assert load("run_em") is bayesgmm.em.run_em
    assert set(offered) <= set(names())
