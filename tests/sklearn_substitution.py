"""scikit-learn's own tests of its mixtures, with the classes of this package in the place of scikit-learn's.

What is expected to fail, and why, stands in ``sklearn_differences.toml`` and nowhere else: test by test, with a
piece of the text of the failure. A listed test that passes, or fails otherwise, is a failure here.
"""

import functools
import importlib.util
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
import sklearn.mixture
import sklearn.utils._array_api as array_api

from bayesgmm import BayesianGaussianMixture, GaussianMixture

CLASSES = {"GaussianMixture": GaussianMixture, "BayesianGaussianMixture": BayesianGaussianMixture}
DIFFERENCES = Path(__file__).with_name("sklearn_differences.toml")
SHORT = {"draws": 40, "tune": 60, "chains": 2, "progress": False, "init": "best"}

# scikit-learn's configuration does not make these warnings errors; its tests fit on purpose what earns them.
quietly = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.DegeneracyWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SingleBestStartWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning"),
]


def differences(name: str) -> dict[str, dict[str, str]]:
    """Tests of a module of scikit-learn's that are expected to fail, with ``reason`` and ``fails_with``."""
    with DIFFERENCES.open("rb") as file:
        listed: dict[str, dict[str, str]] = tomllib.load(file)[name]
    return listed


def substituted(name: str) -> dict[str, Callable[..., None]]:
    """The tests of a module of scikit-learn's, ready to be run as those of the module that asks for them."""
    found = {key: value for key, value in vars(_module(name)).items() if key.startswith("test_")}
    listed = differences(name)
    unknown = set(listed) - set(found)
    if unknown:
        raise LookupError(f"{DIFFERENCES.name} lists tests that {name} does not have: {sorted(unknown)}")
    return {key: _expected(test, **listed[key]) if key in listed else test for key, test in found.items()}


def first_by_default(test: Callable[..., None]) -> None:
    """Of the cases of a test that all ask the same, the first runs by default, the others with ``-m slow``."""
    (mark,) = (mark for mark in test.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    first, *others = mark.args[1]
    mark.args[1][:] = [first, *(pytest.param(*case, marks=pytest.mark.slow) for case in others)]


def _module(name: str) -> ModuleType:
    """A copy of the module, executed where scikit-learn's classes are ours."""
    path = Path(sklearn.mixture.__file__).with_name("tests") / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"substituted_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    devices = array_api.yield_namespace_device_dtype_combinations
    with (
        mock.patch.multiple(sklearn.mixture, **CLASSES),
        # pytest wants a list of parameters, and scikit-learn gives it a generator.
        mock.patch.object(array_api, devices.__name__, lambda *args, **kwargs: list(devices(*args, **kwargs))),
        mock.patch.dict(BayesianGaussianMixture.__init__.__kwdefaults__, SHORT),
    ):
        spec.loader.exec_module(module)
    if hasattr(module, "PRIOR_TYPE"):
        # scikit-learn's other one, the Dirichlet process, is another model: tests/estimators/test_prior_parameters.py.
        module.PRIOR_TYPE = ["dirichlet_distribution"]  # type: ignore[attr-defined]
    return module


def _expected(
    test: Callable[..., None], *, reason: str, fails_with: str, some_cases: bool = False
) -> Callable[..., None]:
    """The test, expected to fail, or to skip itself, with this text in the failing line or in its message.

    Of a test that fails in some of its cases only, the others may pass.
    """

    @functools.wraps(test)
    def failing(*args: object, **kwargs: object) -> None:
        try:
            test(*args, **kwargs)
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
            lines = [frame.line for frame in traceback.extract_tb(error.__traceback__)]
            told = "\n".join([*map(str, lines[1:2]), str(error)])
        else:
            if some_cases:
                return
            pytest.fail(f"{test.__name__} passes: strike it from {DIFFERENCES.name}")
        assert fails_with in told
        pytest.xfail(reason)

    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name != "skipif"]
    failing.pytestmark = marks  # type: ignore[attr-defined]
    return failing


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def global_dtype(request: pytest.FixtureRequest) -> type:
    """Both halves: what SKLEARN_RUN_FLOAT32_TESTS=1 turns on in scikit-learn."""
    return request.param


@pytest.fixture
def global_random_seed(request: pytest.FixtureRequest) -> int:
    """What scikit-learn's conftest gives by default; its tests are to hold for any from 0 to 99."""
    return (42 + int(request.config.getoption("--seed-offset"))) % 100


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains as short as a check of the interface allows."""
    for name, value in SHORT.items():
        monkeypatch.setitem(BayesianGaussianMixture.__init__.__kwdefaults__, name, value)
