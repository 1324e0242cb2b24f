import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from gaussian_target import compiled_log_density, gaussian_arrays, gaussian_header
from monte_carlo import bound, z_score
from numba import carray, cfunc

from bayesgmm.exceptions import InputError, InterruptedWarning, SamplingError, SamplingWarning
from bayesgmm.inference import nuts
from bayesgmm.inference.nuts import Target, sample_model, sample_nuts
from bayesgmm.inference.settings import SamplerSettings, Trace
from bayesgmm.log_posterior._cfunc import LOG_DENSITY_SIGNATURE

MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[1.0, 0.8, 0.0], [0.8, 2.0, -0.3], [0.0, -0.3, 0.25]])
STARTS = MEAN + np.arange(12.0).reshape(4, 3) / 10 + 0.05
FOREVER = 20_000_000


def gaussian_target(mean, covariance, **options) -> Target:
    arrays = gaussian_arrays(mean, covariance, **options)
    function = compiled_log_density()
    return Target(len(mean), function.address, gaussian_header(*arrays), keep=(function, *arrays))


def target(**options) -> Target:
    return gaussian_target(MEAN, COVARIANCE, **options)


def draw(seed=1, starts=STARTS, **options) -> Trace:
    settings = SamplerSettings(seed=seed, chains=len(starts), **{"draws": 50, "tune": 50, **options})
    return sample_nuts(target(), starts, settings)


# ---- the draws


@pytest.mark.draws
def test_moments_of_a_correlated_gaussian():
    points = draw(draws=2000, tune=300, seed=3).points
    residuals = points - MEAN
    z = [z_score(points[..., i], MEAN[i]) for i in range(3)]
    z += [z_score(residuals[..., i] * residuals[..., j], COVARIANCE[i, j]) for i in range(3) for j in range(i + 1)]
    assert np.abs(z).max() < bound(len(z)), z


def test_shapes_statistics_and_gradient_counts():
    draws = draw(draws=20, tune=30)
    assert draws.points.shape == (4, 20, 3)
    assert {"lp", "diverging", "energy", "n_steps", "tree_depth", "acceptance_rate", "step_size"} <= set(draws.stats)
    assert all(values.shape == (4, 20) for values in draws.stats.values())
    assert (draws.n_gradients >= draws.stats["n_steps"].sum(axis=1) + 30).all()
    assert not draws.interrupted
    assert draws.chains.tolist() == [0, 1, 2, 3]


def test_lp_is_the_density_at_the_points():
    draws = draw()
    value = target()(draws.points[2, 7])[1]
    assert draws.stats["lp"][2, 7] == pytest.approx(value, rel=1e-12)


def test_the_target_gives_value_and_gradient():
    status, value, gradient = target()(MEAN + np.eye(3)[0])
    precision = np.linalg.inv(COVARIANCE)
    assert status == 0
    assert value == pytest.approx(-0.5 * precision[0, 0])
    np.testing.assert_allclose(gradient, -precision[0])


# ---- seeds, cores, starts


@pytest.mark.parametrize("adaptation", ["diag", "draw_diag", "low_rank"])
def test_the_same_seed_gives_the_same_draws_whatever_the_cores(adaptation):
    one, two = (draw(seed=5, cores=cores, adaptation=adaptation).points for cores in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_other_seeds_give_other_draws_and_so_do_other_chains():
    same_starts = np.tile(STARTS[:1], (4, 1))
    points = np.concatenate([draw(seed=seed, starts=same_starts).points[:, -1, 0] for seed in (5, 6)])
    assert len(np.unique(points)) == 8


@pytest.fixture(scope="module")
def islands():
    """A density that is finite only within 1e-9 of multiples of 1,000, so that chains stay where they start."""

    @cfunc(LOG_DENSITY_SIGNATURE)
    def log_density(n_dim, point_, gradient_, value_, header_):
        point, gradient, value = carray(point_, (n_dim,)), carray(gradient_, (n_dim,)), carray(value_, (1,))
        value[0] = 0.0
        for i in range(n_dim):
            gradient[i] = 1.0
            if not abs(point[i] - 1000.0 * round(point[i] / 1000.0)) < 1e-9:
                return 4
        return 0

    return Target(3, log_density.address, np.zeros(1), keep=(log_density,))


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
@pytest.mark.parametrize("adaptation", ["diag", "draw_diag", "low_rank"])
def test_every_chain_begins_exactly_at_its_own_start(islands, seed, cores, adaptation):
    starts = 1000.0 * np.random.default_rng(0).permutation(15).reshape(5, 3)
    settings = SamplerSettings(seed=seed, cores=cores, chains=5, draws=1, tune=1, adaptation=adaptation)
    points = sample_nuts(islands, starts, settings).points
    np.testing.assert_allclose(points[:, 0], starts, rtol=0, atol=1e-9)


def test_a_start_at_the_mode_is_moved_by_next_to_nothing():
    draws = draw(starts=np.tile(MEAN, (2, 1)))
    assert np.isfinite(draws.points).all()


def test_a_compiled_model_is_sampled_like_a_target():
    model = nuts._compiled_model(target(), lambda seed: np.full(3, np.nan))  # its own starts are replaced
    settings = SamplerSettings(seed=7, draws=20, tune=30)
    draws = sample_model(model, STARTS, settings, {"point": (3,)})
    np.testing.assert_array_equal(draws.points, sample_nuts(target(), STARTS, settings).points)
    with pytest.raises(InputError, match="starts of shape"):
        sample_model(model, STARTS[:, :2], settings, {"point": (3,)})


# ---- things that go wrong


@pytest.mark.draws
def test_divergences_are_counted():
    settings = SamplerSettings(seed=1, draws=100, tune=100)
    draws = sample_nuts(target(wall=MEAN[0] + 1.0), STARTS - 1.0, settings)
    assert draws.stats["diverging"].sum() > 10
    assert draws.points[..., 0].max() <= MEAN[0] + 1.0


def test_a_start_outside_the_support_names_its_chain():
    with pytest.raises(SamplingError, match="Chain 2 cannot start: its log density is -inf"):
        sample_nuts(target(wall=STARTS[2, 0] - 0.1), STARTS - [[0], [1], [0], [0]], SamplerSettings(seed=1))


def test_a_flat_coordinate_is_named():
    flat = gaussian_target(MEAN, COVARIANCE)
    flat.keep[2][:] = np.diag([1.0, 0.0, 1.0])  # its precision
    with pytest.raises(SamplingError, match=r"flat in coordinates \[1\]"):
        sample_nuts(flat, STARTS, SamplerSettings(seed=1))


def test_wrong_starts():
    for starts in (STARTS[:3], STARTS[:, :2], STARTS[0]):
        with pytest.raises(InputError, match="starts of shape"):
            sample_nuts(target(), starts, SamplerSettings(seed=1))
    with pytest.raises(InputError, match="without missing"):
        sample_nuts(target(), np.where(STARTS > 1, np.nan, STARTS), SamplerSettings(seed=1))


@pytest.mark.parametrize(
    "setting",
    [
        {"draws": 0},
        {"tune": 0},
        {"chains": 0},
        {"cores": 0},
        {"max_depth": 0},
        {"draws": 10.0},
        {"tune": True},
        {"seed": -1},
        {"seed": None},
        {"seed": 2**64},
        {"target_accept": 1.0},
        {"target_accept": 0.0},
        {"adaptation": "flow"},
    ],
)
def test_bad_settings(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        SamplerSettings(**{"seed": 1, **setting})


def test_the_smallest_run():
    assert draw(draws=1, tune=1, starts=STARTS[:1]).points.shape == (1, 1, 3)


def test_without_a_c_route_it_samples_the_same_through_python(monkeypatch):
    expected = draw(draws=20, tune=20, seed=4)

    def refuse(**_):
        raise TypeError("unexpected field")

    monkeypatch.setattr(nuts, "CompiledPyMCModel", refuse)
    with pytest.warns(SamplingWarning, match="unexpected field"):
        slow = draw(draws=20, tune=20, seed=4)
    np.testing.assert_array_equal(slow.points, expected.points)


@pytest.mark.draws
def test_the_python_route_counts_divergences_too(monkeypatch):
    monkeypatch.setattr(nuts, "_compiled_model", lambda *_: 1 / None)
    with pytest.warns(SamplingWarning):
        draws = sample_nuts(
            target(wall=MEAN[0] + 1.0), STARTS[:1] - 1.0, SamplerSettings(seed=1, chains=1, draws=50, tune=50)
        )
    assert draws.stats["diverging"].any()


def test_a_density_that_gives_up_ends_sampling_with_one_error(capfd):
    @cfunc(LOG_DENSITY_SIGNATURE)
    def log_density(n_dim, point_, gradient_, value_, header_):
        point, gradient, value = carray(point_, (n_dim,)), carray(gradient_, (n_dim,)), carray(value_, (1,))
        value[0] = -0.5 * point[0] ** 2
        gradient[0] = -point[0]
        return -1 if point[0] > 1.0 else 0

    broken = Target(1, log_density.address, np.zeros(1), keep=(log_density,))
    with pytest.raises(SamplingError, match="nutpie stopped"):
        sample_nuts(broken, [[0.5]], SamplerSettings(seed=1, chains=1))
    capfd.readouterr()  # Rust tells of its panic on stderr


# ---- Ctrl-C


@pytest.fixture
def ctrl_c():
    """Press Ctrl-C after some seconds."""
    timers = []

    def press(seconds):
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)))
        timers[-1].start()

    yield press
    for timer in timers:
        timer.cancel()


def test_ctrl_c_keeps_the_draws_made_so_far(ctrl_c):
    ctrl_c(0.3)
    with pytest.warns(InterruptedWarning, match=r"kept \d+ draws of [12] chains") as caught:
        draws = draw(draws=FOREVER, cores=2, starts=STARTS[:2])
    n_chains, n_draws = draws.points.shape[:2]  # on a busy machine one chain may have got so far that it counts alone
    assert f"kept {n_draws} draws of {n_chains} chains" in str(caught[0].message)
    assert draws.interrupted
    assert 10 < n_draws < FOREVER
    assert np.isfinite(draws.points).all()
    assert all(values.shape == (n_chains, n_draws) for values in draws.stats.values())
    uninterrupted = draw(draws=10, cores=1, starts=STARTS[:2])
    np.testing.assert_array_equal(draws.points[:, :10], uninterrupted.points[draws.chains])


def test_ctrl_c_drops_chains_that_had_not_begun(ctrl_c):
    ctrl_c(0.3)
    with pytest.warns(InterruptedWarning, match="of 1 chains"):
        draws = draw(draws=FOREVER, cores=1)
    assert draws.points.shape[0] == len(draws.n_gradients) == len(draws.chains) == 1


def test_ctrl_c_before_any_draw_passes_on(ctrl_c):
    ctrl_c(0.2)
    with pytest.raises(KeyboardInterrupt, match="before the first draw"):
        draw(tune=FOREVER)


def test_most_draws_survive_the_cut():
    assert nuts._largest_block([0, 0]) == ([0, 1], 0)
    assert nuts._largest_block([5, 0, 5]) == ([0, 2], 5)
    assert nuts._largest_block([100, 90, 95, 3]) == ([0, 1, 2], 90)


# ---- the process around it


def run_python(code):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


SAMPLE = """
import sys
import numpy as np
from gaussian_target import compiled_log_density, gaussian_arrays, gaussian_header
from bayesgmm.inference.nuts import Target, sample_nuts
from bayesgmm.inference.settings import SamplerSettings
arrays = gaussian_arrays(np.zeros(2), np.eye(2))
target = Target(2, compiled_log_density().address, gaussian_header(*arrays), keep=arrays)
sample_nuts(target, np.ones((2, 2)), SamplerSettings(seed=1, chains=2))
print([name for name in ("pymc", "pytensor") if name in sys.modules])
"""


def test_sampling_imports_no_pymc_and_is_silent_without_a_terminal():
    run = run_python(SAMPLE)
    assert run.stdout == "[]\n"
    assert run.stderr == ""


def test_progress_is_shown_only_to_somebody_who_watches(monkeypatch):
    shown, sample = [], nuts.nutpie.sample

    def record(model, *, progress_bar, **options):
        shown.append(progress_bar)
        return sample(model, progress_bar=False, **options)

    monkeypatch.setattr(nuts.nutpie, "sample", record)
    for watched in (False, True):
        monkeypatch.setattr(nuts, "is_watched", lambda watched=watched: watched)
        for progress in (False, True):
            draw(draws=1, tune=1, progress=progress)
            assert shown[-1] == (watched and progress)


@pytest.mark.draws
def test_the_target_outlives_its_name():
    points = sample_nuts(gaussian_target(np.zeros(2), np.eye(2)), np.ones((4, 2)), SamplerSettings(seed=1)).points
    assert points.std() == pytest.approx(1.0, abs=0.2)
