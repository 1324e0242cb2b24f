"""Lazy loading of the public names of packages (*faces*) on first use (PEP 562)."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

Face = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def lazy(package: str) -> Face:
    """`__getattr__`, `__dir__` and `__all__` of a package, from its imports under ``if TYPE_CHECKING``.

    Each name stands once, where type checkers read it too::

        if TYPE_CHECKING:
            from bayesgmm.em.em import run_em as run_em

        __getattr__, __dir__, __all__ = lazy(__name__)
    """
    homes = defining_modules(package)
    names = vars(sys.modules[package])

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        names[name] = _load(homes[name], name)
        return names[name]

    return load, lambda: sorted({*names, *homes}), sorted(name for name in homes if not name.startswith("_"))


def defining_modules(package: str) -> dict[str, str]:
    """The module of each name that a face imports under ``if TYPE_CHECKING``."""
    body = ast.parse(sys.modules[package].__loader__.get_source(package)).body  # type: ignore[union-attr]
    offered = next(node for node in body if isinstance(node, ast.If))
    imports = [node for node in offered.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def _load(module: str, name: str) -> Any:
    if "." not in module:  # a package of ours
        return import_module(f"{module}.{name}")
    return getattr(import_module(module), name)
