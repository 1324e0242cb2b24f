"""Fits, comparisons and bootstraps whose processes are killed at random moments, and go on."""

import os
import subprocess
import sys
from pathlib import Path

import arviz_stats as azs
import numpy as np
import pytest
from monte_carlo import bound

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
SAME = ("em", "gibbs", "select", "bootstrap")


def killed(folder: Path, n_kills: int, *works: str) -> int:
    """Kill work, let it end, and return how often it was met."""
    seed = int(np.random.default_rng(0).integers(2**31))
    command = [sys.executable, Path(__file__).with_name("long_work.py"), folder, str(seed), str(n_kills), *works]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def results(folder: Path, work: str) -> list[dict[str, np.ndarray]]:
    """What an undisturbed run gave, and one that was killed."""
    files = (np.load(folder / f"{work}-{how}.npz") for how in ("undisturbed", "killed"))
    return [dict(file) for file in files]


def check_same(folder: Path, work: str) -> None:
    undisturbed, found = results(folder, work)
    assert undisturbed.keys() == found.keys()
    for name in undisturbed:
        np.testing.assert_array_equal(found[name], undisturbed[name])


def check_draws(folder: Path) -> None:
    """Exactly the draws asked for, of the same posterior, without a seam."""
    undisturbed, found = results(folder, "nuts")
    z = []
    for name, draws in found.items():
        assert draws.shape == undisturbed[name].shape
        assert np.isfinite(draws).all()
        one, other = (each.reshape(*draws.shape[:2], -1) for each in (undisturbed[name], draws))
        for i in range(one.shape[2]):
            errors = np.hypot(azs.mcse(one[..., i]), azs.mcse(other[..., i]))
            z.append((other[..., i].mean() - one[..., i].mean()) / errors)
            assert azs.rhat(other[..., i]) < 1.03
            assert azs.ess(other[..., i]) > 400
    assert np.abs(z).max() < bound(len(z)), z


@pytest.mark.draws
def test_killed_fits_go_on(tmp_path):
    assert killed(tmp_path, 2, "em", "nuts") >= 1
    check_same(tmp_path, "em")
    check_draws(tmp_path)


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize("work", SAME)
def test_work_killed_at_twenty_moments_ends_with_the_same_result(work, tmp_path):
    assert killed(tmp_path, 20, work) >= 1
    check_same(tmp_path, work)


@pytest.mark.slow
@pytest.mark.draws
def test_nuts_killed_at_twenty_moments_ends_with_the_draws_asked_for(tmp_path):
    assert killed(tmp_path, 20, "nuts") >= 10
    check_draws(tmp_path)
