"""Linked functions: one copy of machine code, called from Python and compiled code, loaded from the disk cache."""

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from numba import njit, types

from bayesgmm._compiled.linalg import allocation_free
from bayesgmm._compiled.linking import (
    IN_1,
    OUT_1,
    Behaviour,
    BehaviourType,
    LinkedFunction,
    Version,
    link,
    linked,
    record_type,
)


class Pair(NamedTuple):
    numbers: np.ndarray
    factors: np.ndarray


PAIR = record_type(Pair, OUT_1, OUT_1)


@linked(types.float64(IN_1, PAIR))
def total(x, pair):
    if x[0] < 0.0:
        raise ValueError("negative")
    return (x * pair.numbers * pair.factors).sum()


def _sum(x):
    return x.sum()


@allocation_free
def _half(x, pair):
    return 0.5 * total(x, pair)


@linked(types.float64(OUT_1, types.int64), allocates=False)
def repeated(x, n):
    found = 0.0
    for _ in range(n):
        found += _half(x, Pair(x, x))
    return found


@linked(types.float64(types.float64))
def rare(x):
    return -3.0 * x


@linked(types.float64(types.float64))
def steps(x):
    return rare(x) if x < 0.0 else 2.0 * x


class Animal(Behaviour):
    """Anything with a compiled size, and a rare method that is compiled apart."""


class Cat(Animal):
    @staticmethod
    @allocation_free
    def size(x):
        return 2.0 * x

    @staticmethod
    @linked(types.float64(types.float64))
    def rare(x):
        return -x


class Dog(Animal):
    @staticmethod
    @allocation_free
    def size(x):
        return 3.0 * x

    @staticmethod
    @linked(types.float64(types.float64))
    def rare(x):
        return 3.0 * x


class Puppy(Dog):
    @staticmethod
    @allocation_free
    def size(x):
        return 5.0 * x


ANIMAL = BehaviourType(Animal)


@linked(types.float64(ANIMAL, types.float64))
def size_of(animal, x):
    return animal.size(x)


@linked(types.float64(ANIMAL, types.float64, types.float64))
def of_animal(animal, money, x):
    if x < 0.0:
        return money + animal.rare(x)
    return money + size_of(animal, x)


@njit
def _through_a_plain_function(animal):
    return size_of(animal, 1.0)


def test_a_linked_function_is_called_from_python_and_from_compiled_code():
    x = np.array([1.0, 2.0, 3.0])
    assert total(x, Pair(x, x)) == pytest.approx((x**3).sum())
    assert repeated(x, 3) == pytest.approx(1.5 * (x**3).sum())
    frozen = x.copy()
    frozen.flags.writeable = False
    assert total(frozen, Pair(x, x)) == total(x, Pair(x, x))
    assert len(total.version().dispatcher.signatures) == 1


def test_its_exceptions_reach_the_caller():
    with pytest.raises(ValueError, match="negative"):
        repeated(-np.ones(2), 1)


def test_a_caller_contains_no_copy_of_it():
    link(repeated.function)
    fresh = njit(repeated.signature, nogil=True, _nrt=False)(repeated.function)  # of cached code nothing can be read
    code = fresh.inspect_llvm(repeated.signature.args).replace('"', "")
    assert re.search(rf"@{re.escape(total.version().symbol)}\.cell = external \w*\s*global", code)
    assert "negative" not in code


def test_plain_compiled_functions_are_linked_before_they_run():
    @njit
    def doubled(x):
        return 2.0 * total(x, Pair(x, x))

    assert link(doubled) is doubled
    assert doubled(np.ones(2)) == 4.0


def test_threads_that_come_first_compile_once():
    fresh = LinkedFunction(types.float64(OUT_1), _sum, allocates=True).version()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fresh.dispatcher, range(8)))
    assert all(each is found[0] for each in found)


def test_threads_that_come_first_make_one_version(monkeypatch):
    """Its symbols name memory of the one made last: a second that is dropped leaves compiled code with freed memory."""
    made = []

    class Slow(Version):
        def __init__(self, *args):
            made.append(self)
            time.sleep(0.02)
            super().__init__(*args)

    monkeypatch.setattr("bayesgmm._compiled.linking.Version", Slow)
    fresh = LinkedFunction(types.float64(OUT_1), _sum, allocates=True)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fresh.version(), range(8)))
    assert made == [found[0]]


def test_the_symbol_changes_with_the_types():
    other = LinkedFunction(types.float64(OUT_1, PAIR), total.function, allocates=True)
    assert other.version().symbol != total.version().symbol


def test_what_is_not_called_is_not_compiled():
    assert steps(1.0) == 2.0
    assert "dispatcher" not in vars(rare.version())
    assert steps(-1.0) == 3.0
    assert "dispatcher" in vars(rare.version())


def test_an_interruption_of_a_compilation_in_compiled_code_is_raised_later(monkeypatch):
    fresh = LinkedFunction(types.float64(OUT_1), _sum, allocates=True).version()
    interrupted, compile_once = [], type(fresh).dispatcher.func

    def dispatcher(self):
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return compile_once(self)

    monkeypatch.setattr(type(fresh), "dispatcher", property(dispatcher))

    def fill():
        fresh._fill()
        time.sleep(1.0)

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert fresh._cell.value


@pytest.mark.parametrize("animal", [Cat(), Dog(), Puppy()])
def test_behaviours_choose_compiled_methods(animal):
    expected = {"Cat": 2.0, "Dog": 3.0, "Puppy": 5.0}[type(animal).__name__]
    assert of_animal(animal, 10.0, 1.0) == 10.0 + expected
    assert of_animal(animal, 10.0, -1.0) == (7.0 if isinstance(animal, Dog) else 11.0)
    assert link(_through_a_plain_function, type(animal))(animal) == expected


CODE = """
import json
from bayesgmm.data import Data
from bayesgmm.em.em import EMSettings, compiled_steps, run_em
from bayesgmm.em.m_step import compiled_m_step
from bayesgmm.em.squarem import next_iterate
from bayesgmm.mixture import Mixture
from bayesgmm.mixture.kernel import add_statistics
chain = [compiled_steps, next_iterate, compiled_m_step, add_statistics]
before = [function.versions != {} for function in chain]
start = Mixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]])
run_em(Data.of([[-1.1], [-0.9], [2.0], [2.2]]), start, settings=EMSettings(max_iter=3))
versions = [version for function in chain for version in function.versions.values()]
print(json.dumps([before, [sum(version.dispatcher.stats.cache_misses.values()) for version in versions]]))
"""


def test_nothing_is_compiled_at_import_and_a_later_process_loads_all():
    for _ in range(2):  # the first one may have to compile
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
        before, misses = json.loads(done.stdout)
        assert before == [False] * 4
    assert misses == [0] * 4
