"""The width of vectors: whose it is, that it can be forced, and that no other width's machine code is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import log_joint, reference_with_magnitudes
from scipy.special import logsumexp

from bayesgmm._compiled import simd as vectors
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.mixture import Mixture

TESTS = Path(__file__).parents[1]
WIDTHS = ("2", "4", "8")
EXACT = ("simd", "kernel", "em", "log_posterior", "salso")  # tests of identities, on which all sums rest


def run(*arguments, **environment):
    """The output of Python in a new process."""
    everything = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(Path(__file__).parent)]), **environment}
    done = subprocess.run([sys.executable, *arguments], env=everything, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("cpu", "features", "lanes"),
    [("generic", "", 2), ("haswell", "", 4), ("generic", "+avx2", 4), ("skylake-avx512", "", 8)],
)
def test_width_is_that_of_the_processor_numba_compiles_for(cpu, features, lanes):
    """This machine's own processor does not matter."""
    code = "from bayesgmm._compiled.simd import LANES; print(LANES)"
    found = run("-c", code, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features, BAYESGMM_LANES="")
    assert int(found) == lanes


@pytest.mark.parametrize("value", ["3", "16", "two", "-2", " 4"])
def test_width_that_cannot_be(monkeypatch, value):
    monkeypatch.setenv("BAYESGMM_LANES", value)
    with pytest.raises(InputError, match=f"BAYESGMM_LANES={value}"):
        vectors._lanes()


def mixture_and_rows():
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((3, 5, 5))
    mixture = Mixture([0.2, 0.3, 0.5], rng.normal(size=(3, 5)), factors @ factors.mT + np.eye(5))
    return mixture, rng.normal(size=(301, 5))


REPORT = """
import json
from test_lanes import mixture_and_rows
from bayesgmm.mixture.kernel import add_statistics, pointwise
from bayesgmm.mixture.mixture import expected_statistics
from bayesgmm._compiled.simd import LANES
mixture, X = mixture_and_rows()
sums, log_prob = expected_statistics(X, mixture), mixture.log_prob(X)
print(json.dumps({
    "lanes": LANES,
    "loaded": [
        sum(version.dispatcher.stats.cache_hits.values())
        for function in (add_statistics, pointwise)
        for version in function.versions.values()
    ],
    "log_prob": log_prob.tolist(),
    "second": sums.second.tolist(),
}))
"""


def test_widths_share_a_cache_and_agree(tmp_path):
    """Each width compiles its own kernel, the next process of that width loads it, and all equal plain NumPy."""
    mixture, X = mixture_and_rows()
    log_prob = logsumexp(log_joint(X, mixture), axis=1)
    sums, magnitudes = reference_with_magnitudes(X, mixture)
    for lanes, loaded in (("2", 0), ("8", 0), ("2", 1)):
        found = json.loads(run("-c", REPORT, BAYESGMM_LANES=lanes, NUMBA_CACHE_DIR=str(tmp_path)))
        assert found["lanes"] == int(lanes)
        assert found["loaded"] == [loaded, loaded]
        np.testing.assert_allclose(found["log_prob"], log_prob, rtol=1e-12, atol=1e-12)
        assert (np.abs(found["second"] - sums.second) <= 1e-12 * magnitudes.second).all()


GRAPH = """
import json
import numpy as np
from wrong_shapes import MODES, PARTS, mixture_functions
rows = np.random.default_rng(0).normal(size=(301, 2))
value, *gradients = mixture_functions(MODES["numba"], "full", entries=("gradient",))["gradient"](rows, *PARTS)
print(json.dumps([float(value), *(gradient.tolist() for gradient in gradients)]))
"""


@pytest.mark.slow
def test_widths_share_the_cache_of_compiled_graphs_and_agree(tmp_path):
    """PyTensor's cache holds the machine code of whole graphs, kernel included."""
    caches = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "PYTENSOR_FLAGS": f"base_compiledir={tmp_path / 'graphs'}"}
    found, n_files = [], [0]
    for lanes in ("2", "8", "2"):
        found.append(json.loads(run("-W", "ignore", "-c", GRAPH, BAYESGMM_LANES=lanes, **caches)))
        n_files.append(len(list((tmp_path / "graphs").rglob("*.nbc"))))
    assert n_files[0] < n_files[1] < n_files[2] == n_files[3]
    assert found[0] == found[2]
    for narrow, wide in zip(found[0], found[1], strict=True):
        np.testing.assert_allclose(narrow, wide, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", WIDTHS)
def test_exact_identities_hold_at_every_width(lanes):
    files = [str(next(TESTS.rglob(f"test_{name}.py"))) for name in EXACT]
    run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, BAYESGMM_LANES=lanes)


@pytest.mark.slow
def test_exact_identities_hold_on_a_generic_processor():
    files = [str(next(TESTS.rglob(f"test_{name}.py"))) for name in EXACT]
    run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, BAYESGMM_LANES="", NUMBA_CPU_NAME="generic")
