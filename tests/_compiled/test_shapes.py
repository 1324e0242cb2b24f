"""Arrays of wrong shape are refused before compiled code reads past them, and right ones are never read past."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from scipy.stats import norm
from wrong_shapes import MODES, PARTS, ROWS, mixture_functions

from bayesgmm import MvNormalMixture
from bayesgmm._compiled.shapes import ShapeError, Signature
from bayesgmm.exceptions import InputError

# PyTensor silences this hint about its own code at import; pytest resets that.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*np.dot\(\) is faster on contiguous arrays")

TESTS = Path(__file__).parents[1]
PYTHON, NUMBA = MODES["py"], MODES["numba"]
# Tests that call, between them, every compiled function.
COMPILED = (
    "kernel", "simd", "em", "m_step", "squarem", "kmeans", "initialization", "local_search", "log_posterior",
    "conditional_densities", "thames_estimator", "salso", "partition_losses", "label_invariants", "cfunc",
    "mv_normal_mixture", "wishart_scale",
)  # fmt: skip


def run(*arguments, **environment):
    """The output of Python in a new process."""
    everything = {**os.environ, "PYTHONPATH": str(TESTS), **environment}
    done = subprocess.run([sys.executable, *arguments], env=everything, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bounds_check(tmp_path):
    """Compiled code checks every index; caches are new, for they ignore the flag."""
    caches = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "PYTENSOR_FLAGS": f"base_compiledir={tmp_path / 'pytensor'}"}
    return {"NUMBA_BOUNDSCHECK": "1", **caches}


def test_every_entry_refuses_every_wrong_shape():
    all_are_refused(run(str(TESTS / "wrong_shapes.py"), "py"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["py", "numba"])
def test_nothing_is_read_past_before_a_refusal(tmp_path, mode):
    all_are_refused(run(str(TESTS / "wrong_shapes.py"), mode, **bounds_check(tmp_path)))


def all_are_refused(printed):
    outcomes = json.loads(printed)
    assert len(outcomes) > 300
    assert {name: told for name, told in outcomes.items() if not told.startswith("InputError: Expected")} == {}


@pytest.mark.slow
def test_no_array_is_read_past(tmp_path):
    files = [str(next(TESTS.rglob(f"test_{name}.py"))) for name in COMPILED]
    run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, **bounds_check(tmp_path))


def test_compiled_graph_is_the_interpreted_one_and_names_wrong_shapes():
    function = mixture_functions(NUMBA, "full", entries=("gradient",))["gradient"]
    interpreted = mixture_functions(PYTHON, "full", entries=("gradient",))["gradient"]
    for found, expected in zip(function(ROWS, *PARTS), interpreted(ROWS, *PARTS), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ShapeError, match=r"got rows \(4,2\), weights \(3\), means \(2,2\), covariances \(2,2,2\)"):
        function(ROWS, np.ones(3), *PARTS[1:])
    with pytest.raises(ShapeError, match=r"covariances \(2,1,1\)"):
        function(ROWS, *PARTS[:2], np.ones((2, 1, 1)))
    assert function(np.empty((0, 2)), *PARTS)[0] == 0.0


def test_signature():
    signature = Signature("rows (n,d), count (), means (k,d)")
    signature.check((0, 2), (), (3, 2))
    signature.check((None, 2), (), (3, None))
    for shapes in (((4, 2), (), (3, 1)), ((4, 2), (), (0, 2)), ((4, 0), (), (3, 0)), ((4,), (), (3, 2))):
        with pytest.raises(InputError, match=r"got rows .*, count \(\), means "):
            signature.check(*shapes)
    signature.compiled((5, 2, 3, 2))
    for lengths in ((4, 2, 3, 1), (4, 2, 0, 2), (4, 0, 3, 0)):
        with pytest.raises(ShapeError, match=r"Expected shapes that agree, rows \(n,d\), count \(\), means \(k,d\)"):
            signature.compiled(lengths)
        with pytest.raises(ShapeError):
            signature.compiled.py_func(lengths)


Y = np.random.default_rng(0).normal(size=20)
ONE_FEATURE = {"weights": [0.5, 0.5], "means": [[0.0], [1.0]], "covariances": [[[1.0]], [[1.0]]]}


def log_densities(y):
    return np.log(0.5 * norm.pdf(y) + 0.5 * norm.pdf(y - 1.0))


def test_vector_of_one_feature_is_rows():
    """As `pymc.NormalMixture` takes them."""
    one_row = MvNormalMixture.dist(**ONE_FEATURE)
    np.testing.assert_allclose(pm.logp(one_row, Y).eval(mode=PYTHON), log_densities(Y).sum(), rtol=1e-13)
    assert log_densities(Y).sum() == pytest.approx(-30.15975, abs=1e-5)
    symbols = [pt.as_tensor_variable(np.asarray(v)).copy() for v in ONE_FEATURE.values()]
    free = [pt.specify_shape(s, (None,) * s.type.ndim) for s in symbols]
    np.testing.assert_allclose(pm.logp(MvNormalMixture.dist(*free), Y).eval(mode=PYTHON), log_densities(Y).sum())
    rows = MvNormalMixture.dist(**ONE_FEATURE, shape=20)
    np.testing.assert_allclose(pm.logp(rows, Y).eval(mode=PYTHON), log_densities(Y), rtol=1e-13)
    column = pm.draw(MvNormalMixture.dist(**ONE_FEATURE, shape=(20, 1)), random_seed=1, mode=PYTHON)
    np.testing.assert_array_equal(pm.draw(rows, random_seed=1, mode=PYTHON), column[:, 0])


@pytest.mark.parametrize("named", [False, True], ids=["shapes", "dims"])
def test_model_of_a_vector(named):
    """Data of one axis: pointwise log densities, gradient, initial point, other data, predictive draws."""
    shape = {"dims": ("cluster", "feature")} if named else {"shape": (2, 1)}
    with pm.Model(coords={"cluster": [0, 1], "feature": ["x"]}) as model:
        y = pm.Data("data", Y)
        means = pm.Normal("means", 0.0, 1.0, **shape)
        rows = MvNormalMixture("y", [0.5, 0.5], means, ONE_FEATURE["covariances"], observed=y)
    point = {"means": np.array([[0.0], [1.0]])}
    (pointwise,) = model.logp(vars=[rows], sum=False)
    function, slope = model.compile_fn(pointwise, mode=PYTHON), model.compile_fn(model.dlogp(), mode=PYTHON)
    for values in (Y, Y[:7]):
        with model:
            pm.set_data({"data": values})
        np.testing.assert_allclose(function(point), log_densities(values), rtol=1e-13)
        share = 1.0 / (1.0 + np.exp(0.5 - values))  # of the second component
        expected = [((1.0 - share) * values).sum(), (share * (values - 1.0)).sum() - 1.0]
        np.testing.assert_allclose(slope(point), expected, rtol=1e-10)
        assert pm.draw(rows, random_seed=1, mode=PYTHON).shape == values.shape
    with model:
        drawn = pm.sample_prior_predictive(3, random_seed=1, compile_kwargs={"mode": PYTHON})
    assert drawn["prior_predictive"]["y"].shape == (1, 3, 7)


def test_free_vector_starts_at_the_mean():
    with pm.Model() as model:
        MvNormalMixture("y", **ONE_FEATURE, shape=4)
    with pytensor.config.change_flags(linker="py"):
        np.testing.assert_array_equal(model.initial_point()["y"], np.full(4, 0.5))
