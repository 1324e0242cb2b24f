"""Vectors in compiled code: their elementary functions, loads and stores, and the sum of their registers."""

import numpy as np
import pytest
from numba import njit

from bayesgmm._compiled.simd import (
    LANES,
    LOWEST,
    TILE,
    aligned_start,
    exp,
    fold,
    load,
    load_single,
    log,
    maximum,
    store,
    zeros,
)


def apply(function, values):
    """A vector function over a whole array."""

    @njit
    def loop(source, target):
        for i in range(0, source.size, TILE):
            store(target, i, function(load(TILE, source, i)))

    padded = np.concatenate([values, np.full(-len(values) % TILE, values[-1])])
    result = np.empty_like(padded)
    loop(padded, result)
    return result[: len(values)]


def test_exp_is_accurate_to_a_few_ulp_and_flushes():
    x = np.concatenate([-np.geomspace(1e-300, 200.0, 4001), np.linspace(LOWEST, 0.0, 4001)])
    np.testing.assert_allclose(apply(exp, x), np.exp(x), rtol=4.5e-16)
    edges = np.array([0.0, -0.0, LOWEST, np.nextafter(LOWEST, -np.inf), -1e300, -np.inf])
    np.testing.assert_allclose(apply(exp, edges), [1.0, 1.0, np.exp(LOWEST), 0.0, 0.0, 0.0], rtol=4.5e-16)


def test_log_is_accurate_to_a_few_ulp():
    x = np.concatenate([1.0 + np.geomspace(1e-16, 1.0, 4001), np.geomspace(1.0, 1e300, 4001)])
    np.testing.assert_allclose(apply(log, x), np.log(x), rtol=5e-16, atol=0.0)


def test_single_precision_is_widened_exactly():
    @njit
    def widen(source, target):
        store(target, 0, load_single(LANES, source, 3))

    source, target = np.random.default_rng(0).normal(size=LANES + 3).astype(np.float32), np.empty(LANES)
    widen(source, target)
    np.testing.assert_array_equal(target, source[3:])


@pytest.mark.parametrize("lanes", [LANES, TILE])
def test_operators_work_lane_by_lane(lanes):
    @njit
    def combine(a, b, out):
        x, y = load(lanes, a, 0), load(lanes, b, 0)
        store(out, 0, maximum((2.0 * x + y - 1.0) / y * x, zeros(lanes)))

    a, b = np.random.default_rng(0).normal(size=(2, lanes))
    out = np.empty(lanes)
    combine(a, b, out)
    np.testing.assert_allclose(out, np.maximum((2.0 * a + b - 1.0) / b * a, 0.0), rtol=1e-13)


def test_fold_adds_the_registers():
    @njit
    def folded(values, out):
        store(out, 0, fold(load(TILE, values, 0)))

    values, out = np.arange(float(TILE)), np.empty(LANES)
    folded(values, out)
    np.testing.assert_array_equal(out, values.reshape(-1, LANES).sum(axis=0))


def test_aligned_start_is_a_cache_line():
    start = njit(lambda array: aligned_start(array))
    whole = np.empty(64)
    for skipped in range(9):
        part = whole[skipped:]
        found = start(part)
        assert 0 <= found < 8
        assert (part.ctypes.data + 8 * found) % 64 == 0
