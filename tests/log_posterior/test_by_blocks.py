"""The log posterior by blocks is the native one, points of threads are gathered, and whitening takes few passes."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from posterior_cases import PAIRS, SHAPES, case
from prior_cases import LEGAL, case_of
from reference import RESTRICTED
from source_cases import MadeSource, cut_small, rows
from sparse_weight_cases import CONCENTRATIONS, density, sparse_case

from bayesgmm import GaussianMixture, Prior
from bayesgmm.data import Data, HaltedError, SourceData
from bayesgmm.log_posterior import BlockLogPosterior, Gathered, LogPosterior, whitened_log_posterior
from bayesgmm.log_posterior.by_blocks import SumsAt
from bayesgmm.priors import Model

CASES = {(family, form, shape): case for family, form in PAIRS for shape in SHAPES}
CASES |= {(family, form, shape): case_of for family, form in LEGAL for shape in SHAPES[:3]}


@pytest.fixture
def small(monkeypatch):
    cut_small(monkeypatch)


def in_blocks(native, monkeypatch):
    """The same log posterior, of rows in blocks of seven."""
    monkeypatch.setattr("bayesgmm.data.blocks.ROWS_PER_BLOCK", 7)
    return BlockLogPosterior(Data(native.data.rows, native.data.row_weights), native.prior, native.coordinates)


def assert_equal(by_blocks, native, points):
    values, gradients = by_blocks.at(points)
    for point, value, gradient in zip(points, values, gradients, strict=True):
        expected, slope = native(point)
        assert value == pytest.approx(expected, rel=1e-10)
        np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-10 * np.abs(slope).max())


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
@pytest.mark.parametrize("family", ["full", "tied", *RESTRICTED])
def test_it_is_the_native_one_under_sparse_priors(family, concentration, monkeypatch):
    at = sparse_case(family, CONCENTRATIONS[concentration])
    native = density(at, "dense")
    points = np.stack([native.coordinates.point(mixture) for mixture in (at.centre, at.elsewhere)])
    assert_equal(in_blocks(native, monkeypatch), native, points)


@pytest.mark.parametrize("which", CASES, ids=str)
def test_it_is_the_native_one_for_every_family_and_prior(which, monkeypatch):
    at = CASES[which](*which)
    native = at.log_posterior("dense")
    points = np.stack([native.coordinates.point(mixture) for mixture in (at.centre, at.elsewhere)])
    assert_equal(in_blocks(native, monkeypatch), native, points)


def test_it_is_the_native_one_with_row_weights(monkeypatch):
    at = case("full", "independent", (3, 2))
    native = at.log_posterior("blocks", row_weights=np.arange(len(at.X)) % 4 + 0.5)
    assert_equal(in_blocks(native, monkeypatch), native, native.coordinates.point(at.elsewhere)[None])


def test_far_points_are_not_finite_and_leave_the_others_alone(monkeypatch):
    native = case("full", "independent", (3, 2)).log_posterior("dense")
    by_blocks, points = in_blocks(native, monkeypatch), np.random.default_rng(0).normal(size=(3, native.n_dim))
    points[1] = 1e4
    values, gradients = by_blocks.at(points)
    assert np.isfinite(values).tolist() == [True, False, True]
    np.testing.assert_array_equal(gradients[0], by_blocks(points[0])[1])
    assert not np.isfinite(by_blocks(points[1])[0])


def test_sums_do_not_depend_on_threads_and_the_task_can_be_sent(monkeypatch):
    native = case("full", "independent", (3, 2)).log_posterior("dense")
    by_blocks, points = in_blocks(native, monkeypatch), np.zeros((2, native.n_dim))
    with ThreadPoolExecutor(3) as pool:
        threaded = BlockLogPosterior(by_blocks.data, native.prior, native.coordinates, pool)
        np.testing.assert_array_equal(threaded.at(points)[1], by_blocks.at(points)[1])
    draws = native.coordinates.parameters(points)
    task = SumsAt(native.coordinates.centre.kernel, draws.log_scale, draws.means, draws.precision_factors)
    block = native.data.blocks[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(task))(block), task(block))


def test_a_pass_ends_when_it_is_halted(monkeypatch):
    native = case("full", "independent", (3, 2)).log_posterior("dense")
    halted = threading.Event()
    by_blocks = BlockLogPosterior(native.data, native.prior, native.coordinates, halted=halted.is_set)
    assert np.isfinite(by_blocks(np.zeros(native.n_dim))[0])
    halted.set()
    with pytest.raises(HaltedError):
        by_blocks(np.zeros(native.n_dim))


# ---- points of several threads


def test_points_of_threads_are_evaluated_together(monkeypatch):
    monkeypatch.setattr("bayesgmm.log_posterior.by_blocks._PATIENCE", 2.0)  # of a busy machine
    sizes, together = [], threading.Barrier(4)

    def evaluate(points):
        sizes.append(len(points))
        return points.sum(axis=1), 2.0 * points

    gathered = Gathered(evaluate, 4)

    def chain(number):
        together.wait()
        for step in range(50 * (number + 1)):  # some end before others
            point = np.array([number, step], dtype=float)
            value, gradient = gathered(point)
            assert value == number + step
            np.testing.assert_array_equal(gradient, 2.0 * point)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(chain, range(4)))
    assert sum(sizes) == 50 * (1 + 2 + 3 + 4)
    assert max(sizes) <= 4
    assert len(sizes) <= 0.5 * sum(sizes)  # 0.4 if all come in time


def test_an_error_is_raised_in_every_thread():
    def evaluate(points):
        raise ValueError("unreadable")

    gathered = Gathered(evaluate, 3)
    with ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(gathered, np.zeros(1)) for _ in range(3)]:
            with pytest.raises(ValueError, match="unreadable"):
                future.result()


# ---- whitening


@pytest.mark.usefixtures("small")
def test_whitening_takes_three_passes_and_ends_at_the_mode_of_all_rows(monkeypatch):
    X = rows(4_000)
    data = SourceData.read_once(MadeSource(X), rng=np.random.default_rng(0))
    prior = Prior.weakly_informative(data.sample.rows, sample_weight=data.sample.row_weights)
    centre = GaussianMixture(2, prior=prior, random_state=0, tol=1e-12).fit(X).mixture_
    resolved = Model.of_mixture(centre, prior).required_prior
    n_read, original = [], SumsAt.__call__

    def counting(task, block):
        n_read.append(block.columns.shape[1])
        return original(task, block)

    monkeypatch.setattr(SumsAt, "__call__", counting)
    found = whitened_log_posterior(data, resolved, centre)
    assert sum(n_read) <= 3 * len(X)
    native = whitened_log_posterior(Data.of(X), resolved, centre)
    assert isinstance(native, LogPosterior)
    value, gradient = LogPosterior(Data.of(X), resolved, found.coordinates)(np.zeros(found.n_dim))
    assert np.linalg.norm(gradient) < 0.1  # posterior standard deviations
    assert value == pytest.approx(found(np.zeros(found.n_dim))[0], rel=1e-12)
    ratio = found.coordinates.point(centre) - native.coordinates.point(centre)
    assert np.abs(ratio).max() < 0.1
    covariances = [at.coordinates.blocks[0] @ at.coordinates.blocks[0].T for at in (found, native)]
    inner = np.linalg.solve(covariances[1], covariances[0])
    assert 0.3 < np.linalg.eigvals(inner).real.min() < np.linalg.eigvals(inner).real.max() < 3.0  # of 300 rows in 4,000
