import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bayesgmm.log_posterior._cfunc import header_of, matrix_at, vector_at


def test_compiled_code_reads_arrays_of_any_shape_through_their_addresses():
    for shape in ((2, 3), (5, 1)):
        values = np.random.default_rng(0).normal(size=shape)
        header = header_of(*shape, values)
        np.testing.assert_array_equal(matrix_at(header[2], header[0], header[1]), values)
        np.testing.assert_array_equal(vector_at(header[2], values.size), values.ravel())


def test_views_share_memory():
    values = np.zeros(3)
    vector_at(values.ctypes.data, 3)[1] = 7.0
    assert values[1] == 7.0


def test_header_refuses_arrays_that_an_address_does_not_describe():
    with pytest.raises(ValueError, match="entry 1"):
        header_of(3, np.zeros((3, 4)).T)


LOAD = """
from gaussian_target import compiled_log_density
function = compiled_log_density()
print(function.cache_hits)
"""


def test_a_compiled_density_is_loaded_from_disk_in_another_process(tmp_path):
    """The pattern of the module's docstring: without it every process would compile for a second."""
    hits = [_run_in_new_process(LOAD, cache=tmp_path) for _ in range(2)]
    assert hits == ["0", "1"]


def _run_in_new_process(code, *, cache):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip()
