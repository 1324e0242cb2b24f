"""For tests and doctests alike: figures are drawn without a screen; ``--seed-offset N`` shifts every seed."""

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "agg")
# Where it is set, each process that the tests start would compile the sources of all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that runs the tests in the background has them, and the processes they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed-offset", type=int, default=0, help="added to every seed: tests marked draws must hold for any"
    )


def pytest_configure(config: pytest.Config) -> None:
    if offset := config.getoption("--seed-offset"):
        _shift_seeds(offset)


def _shift_seeds(offset: int) -> None:
    """Generators of whole-number seeds, of tests, of the package and of NUTS, get others than they ask for."""
    import nutpie

    make_generator, sample = np.random.default_rng, nutpie.sample

    def default_rng(seed: Any = None) -> np.random.Generator:
        return make_generator(seed + offset if isinstance(seed, int | np.integer) else seed)

    def sample_with_other_seed(*args: Any, seed: int | None = None, **settings: Any) -> Any:
        return sample(*args, seed=None if seed is None else seed + offset, **settings)

    np.random.default_rng, nutpie.sample = default_rng, sample_with_other_seed


@pytest.fixture(autouse=True)
def _no_figure_stays_open() -> Iterator[None]:
    """ArviZ makes its figures with pyplot, which keeps them."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
