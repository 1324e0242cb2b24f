"""For tests and doctests alike: figures are drawn without a screen; ``--seed-offset N`` shifts every seed."""

import doctest
import os
import signal
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "agg")
# Where it is set, each process that the tests start would compile the sources of all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A family compiles for a minute. Of these kinds others are tested by default: tied_diag, VEI and EVV, EEV and VVE.
LIKE_OTHERS = {"tied_spherical", "EVI", "VEE", "VEV", "EVE"}

# A shell that runs the tests in the background has them, and the processes they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed-offset", type=int, default=0, help="added to every seed: tests marked draws must hold for any"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite on up to four cores; files that are named in this process, where a debugger works."""
    return 0 if config.option.file_or_dir else min(4, os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    _find_examples_of_public_classes()
    if offset := config.getoption("--seed-offset"):
        _shift_seeds(offset)


def _find_examples_of_public_classes() -> None:
    """Examples of classes that say they belong to a face are those of the module where they stand."""
    from bayesgmm._common.lazy import defining_modules

    def defining_module(kind: type) -> str:
        module = kind.__module__
        while hasattr(sys.modules[module], "__path__"):
            module = defining_modules(module)[kind.__name__]
        return module

    is_here = doctest.DocTestFinder._from_module  # type: ignore[attr-defined]

    def from_module(self: doctest.DocTestFinder, module: ModuleType, value: Any) -> bool:
        if isinstance(value, type) and value.__module__.startswith("bayesgmm"):
            return defining_module(value) == module.__name__
        return bool(is_here(self, module, value))

    doctest.DocTestFinder._from_module = from_module  # type: ignore[attr-defined]


def _shift_seeds(offset: int) -> None:
    """Whole-number seeds become others: of generators (of tests, the package, PyMC), seed sequences and nutpie."""
    import nutpie

    make_generator, sample = np.random.default_rng, nutpie.sample

    class SeedSequence(np.random.SeedSequence):
        def __init__(self, entropy: Any = None, **settings: Any) -> None:
            super().__init__(entropy + offset if isinstance(entropy, int | np.integer) else entropy, **settings)

    def default_rng(seed: Any = None) -> np.random.Generator:
        if isinstance(seed, int | np.integer):
            return make_generator(seed + offset)
        return make_generator([*seed, offset] if isinstance(seed, list | tuple | np.ndarray) else seed)

    def sample_with_other_seed(*args: Any, seed: int | None = None, **settings: Any) -> Any:
        return sample(*args, seed=None if seed is None else (seed + offset) % 2**64, **settings)

    np.random.SeedSequence, np.random.default_rng = SeedSequence, default_rng  # type: ignore[misc]
    nutpie.sample = sample_with_other_seed


@pytest.hookimpl(tryfirst=True)  # before those that are slow are left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Examples print the numbers of one seed, and warn of nothing; families that are like others are for slow tests."""
    for item in items:
        settings = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(isinstance(value, str) and value in LIKE_OTHERS for value in settings):
            item.add_marker(pytest.mark.slow)
    examples = [item for item in items if isinstance(item, pytest.DoctestItem)]
    for item in examples:
        item.add_marker(pytest.mark.filterwarnings("error"))
    if config.getoption("--seed-offset"):
        items[:] = [item for item in items if item not in examples]


@pytest.fixture(autouse=True)
def _no_figure_stays_open() -> Iterator[None]:
    """ArviZ makes its figures with pyplot, which keeps them."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
