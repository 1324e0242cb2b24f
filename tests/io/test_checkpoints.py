import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bayesgmm import GaussianMixture, Mixture, open_source, select_components
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.io import Series, checkpoint_at, checkpoints, fingerprint_of_arrays, once

WORK = {"call": "test", "X": "ab" * 32, "n_components": 2, "random_state": 1}
ROWS = np.random.default_rng(0).normal(size=(60, 2))


def opened(path: Path, **changed: object):
    return checkpoint_at(path, lambda: {**WORK, **changed})


def fill(path: Path, n: int) -> None:
    with opened(path) as kept:
        for i in range(n):
            kept[f"piece {i}"] = np.arange(float(i), 10.0)


def ends_in(path: Path) -> list[int]:
    """Where pieces end in their file."""
    with (path / "pieces").open("rb") as file:
        return [end for _, _, end in checkpoints._records(file)]


def repeated(*_: object, **__: object) -> None:
    raise AssertionError("finished work was repeated")


# ---- pieces


def test_pieces_come_back(tmp_path):
    rng = np.random.default_rng(3)
    rng.spawn(2)
    mixture = Mixture([0.5, 0.5], [[0.0], [1.0]], [[1.0], [2.0]], "diag")
    with opened(tmp_path / "new" / "folder") as kept:
        kept["numbers"] = {"a": np.asfortranarray(ROWS), "b": (1.5, None, True), "c": ROWS[::2]}
        kept["records"] = [mixture, rng]
        assert "numbers" in kept
        assert "others" not in kept
    with opened(tmp_path / "new" / "folder") as kept:
        numbers, (again, generator) = kept["numbers"], kept["records"]
    np.testing.assert_array_equal(numbers["a"], ROWS)
    np.testing.assert_array_equal(numbers["c"], ROWS[::2])
    assert numbers["b"] == (1.5, None, True)
    assert again.family is mixture.family
    np.testing.assert_array_equal(again.covariances, mixture.covariances)
    assert generator.random() == rng.random()
    assert generator.spawn(1)[0].random() == rng.spawn(1)[0].random()


def test_the_last_of_a_name_counts(tmp_path):
    with opened(tmp_path) as kept:
        kept["a"] = 1
        kept["a"] = 2
        assert kept["a"] == 2
    with opened(tmp_path) as kept:
        assert kept["a"] == 2


def test_what_a_kill_leaves_of_a_piece_is_cut_off(tmp_path):
    fill(tmp_path, 3)
    whole, ends = (tmp_path / "pieces").read_bytes(), ends_in(tmp_path)
    for size in range(0, len(whole), 7):
        (tmp_path / "pieces").write_bytes(whole[:size])
        n_whole = sum(end <= size for end in ends)
        with opened(tmp_path) as kept:
            assert [f"piece {i}" in kept for i in range(3)] == [i < n_whole for i in range(3)]
            kept["next"] = "sound"
        with opened(tmp_path) as kept:
            assert kept["next"] == "sound"


@pytest.mark.parametrize("damage", ["flipped bit", "zeros"])
def test_a_damaged_piece_and_all_that_follows_are_left_out(tmp_path, damage):
    fill(tmp_path, 3)
    file = tmp_path / "pieces"
    content = bytearray(file.read_bytes())
    second = ends_in(tmp_path)[0]
    if damage == "zeros":
        content[second:] = bytes(len(content) - second)
    else:
        content[second + 40] ^= 1
    file.write_bytes(content)
    with opened(tmp_path) as kept:
        assert [f"piece {i}" in kept for i in range(3)] == [True, False, False]
    assert file.stat().st_size == second


def test_a_write_that_fails_leaves_the_others(tmp_path, monkeypatch):
    with opened(tmp_path) as kept:
        kept["a"] = 1
        size = (tmp_path / "pieces").stat().st_size

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(checkpoints.os, "fsync", full)
            kept._flushed = -np.inf
            with pytest.raises(OSError, match="No space"):
                kept["b"] = 2
        assert (tmp_path / "pieces").stat().st_size == size
        kept["c"] = 3
    with opened(tmp_path) as kept:
        assert (kept["a"], "b" in kept, kept["c"]) == (1, False, 3)


def test_pieces_call_nothing(tmp_path):
    with opened(tmp_path) as kept:
        for value in (os.system, np.load, subprocess.run, print, GaussianMixture.fit):
            kept["code"] = value
            with pytest.raises(pickle.UnpicklingError, match="a piece of a checkpoint asks for"):
                kept["code"]


def test_rows_are_referred_to(tmp_path):
    data = Data(np.asfortranarray(ROWS))
    with opened(tmp_path) as kept:
        kept.rows = data
        kept["a"] = {"rows": data, "more": 1}
        assert kept["a"]["rows"] is data
        with pytest.raises(TypeError, match="rows that are not those of the call"):
            kept["b"] = Data(np.asfortranarray(2.0 * ROWS))
    assert (tmp_path / "pieces").stat().st_size < ROWS.nbytes


def test_once():
    assert once(None, "a", lambda: 1) == 1
    kept: dict[str, int] = {}
    assert [once(kept, "a", lambda v=v: v, unless=lambda v=v: v == 0) for v in range(3)] == [0, 1, 1]


def test_series_go_on(tmp_path):
    assert list(Series(None, "draws")) == []
    assert Series(None, "draws").wait == np.inf
    with opened(tmp_path) as kept:
        series = Series(kept, "draws 7")
        assert 0.0 < series.wait <= checkpoints._OFTEN
        series.append("a")
        series.append("b")
        Series(kept, "draws 8").append("x")
    with opened(tmp_path) as kept:
        series = Series(kept, "draws 7")
        assert list(series) == ["a", "b"]
        series.append("c")
        assert list(Series(kept, "draws 7")) == ["a", "b", "c"]


# ---- the folder


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"n_components": 3}, r"another n_components \(3, there 2\)"),
        ({"X": "cd" * 32}, "another X\\."),
        ({"X": "cd" * 32, "n_components": 3}, "another X and n_components"),
        ({"random_state": 2}, "another random_state"),
        ({"further": 1}, "another further"),
    ],
)
def test_other_work_is_refused(tmp_path, changed, told):
    fill(tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=told), opened(tmp_path, **changed):
        pass
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_seed_takes_that_of_the_folder(tmp_path):
    fill(tmp_path, 1)
    with opened(tmp_path, random_state=None) as kept:
        assert "piece 0" in kept


def test_another_version_is_refused(tmp_path, monkeypatch):
    fill(tmp_path, 1)
    monkeypatch.setattr(checkpoints, "version", lambda _: "99")
    with pytest.raises(InputError, match="another version of bayesgmm"), opened(tmp_path):
        pass


@pytest.mark.parametrize("name", ["thesis.tex", "pieces", "checkpoint.json"])
def test_a_folder_that_is_something_else_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError), opened(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "{}"


def test_remains_of_a_kill_before_the_first_piece_are_used(tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / ".saving-1234").write_text("half")
    fill(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "pieces"]
    assert json.loads((tmp_path / "checkpoint.json").read_text())["work"] == WORK


def test_two_processes_do_not_write_to_one(tmp_path):
    code = (
        "import sys; from bayesgmm.io import checkpoint_at\n"
        f"with checkpoint_at(sys.argv[1], lambda: {WORK!r}): print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match=f"process {other.pid}"), opened(tmp_path):
            pass
        other.kill()
    fill(tmp_path, 1)


def test_refused_input_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="n_components"):
        GaussianMixture(100).fit(ROWS, checkpoint=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_comparison_that_is_refused_midway_goes_on(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise InputError(expected="a test", got="a refusal")

    with monkeypatch.context() as patched:
        patched.setattr("bayesgmm.selection.select._scores", refused)
        with pytest.raises(InputError, match="a refusal"):
            select_components(ROWS, 2, "full", random_state=0, checkpoint=tmp_path, progress=False)
    assert (tmp_path / "full-2-em").is_dir()
    assert select_components(ROWS, 2, "full", random_state=0, checkpoint=tmp_path, progress=False).table.shape[0] == 1


def test_fingerprints_tell_arrays_apart():
    arrays = [ROWS, np.nextafter(ROWS, 9.0), ROWS.T, ROWS[:, :1], ROWS.astype(np.float32), np.empty((0, 2)), None]
    found = [fingerprint_of_arrays(array) for array in arrays]
    assert len(set(found)) == len(arrays)
    assert fingerprint_of_arrays(np.asfortranarray(ROWS)) == found[0]
    assert fingerprint_of_arrays(ROWS, None) != found[0]


# ---- what fits do with it


def test_finished_starts_are_not_repeated(tmp_path, monkeypatch):
    first = GaussianMixture(3, random_state=0, n_init=4).fit(ROWS, checkpoint=tmp_path)
    monkeypatch.setattr("bayesgmm.em.multistart._Race.start", repeated)
    again = GaussianMixture(3, random_state=0, n_init=4, n_jobs=2).fit(ROWS, checkpoint=tmp_path)
    np.testing.assert_array_equal(again.means_, first.means_)
    np.testing.assert_array_equal(again.history_, first.history_)


def test_runs_on_all_rows_are_not_repeated(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(120_000, 2)) + np.repeat([[0.0], [5.0]], 60_000, axis=0)
    np.save(tmp_path / "rows.npy", rows)
    fit = GaussianMixture(2).fit(tmp_path / "rows.npy", checkpoint=tmp_path / "checkpoint")
    monkeypatch.setattr("bayesgmm.em.multistart._Race.start", repeated)
    monkeypatch.setattr("bayesgmm.em.multistart._Race.on_all_rows", repeated)
    again = GaussianMixture(2).fit(tmp_path / "rows.npy", checkpoint=tmp_path / "checkpoint")
    np.testing.assert_array_equal(again.means_, fit.means_)
    np.save(tmp_path / "rows.npy", rows[1:])
    with pytest.raises(InputError, match="another X"):
        GaussianMixture(2).fit(tmp_path / "rows.npy", checkpoint=tmp_path / "checkpoint")
    assert open_source(tmp_path / "rows.npy").n_rows == 119_999


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"prior": "weakly_informative"}, "another prior"),
        ({"covariance_type": "diag"}, "another covariance_type"),
        ({"tol": 1e-3}, "another tol"),
        ({"means_init": [[0.0, 0.0]] * 3}, "another means_init"),
    ],
)
def test_other_settings_are_refused(tmp_path, settings, told):
    GaussianMixture(3, random_state=0, n_init=1).fit(ROWS, checkpoint=tmp_path)
    with pytest.raises(InputError, match=told):
        GaussianMixture(3, random_state=0, n_init=1, **settings).fit(ROWS, checkpoint=tmp_path)


def test_other_weights_and_a_warm_start_are_refused(tmp_path):
    fit = GaussianMixture(3, random_state=0, n_init=1, warm_start=True)
    fit.fit(ROWS, checkpoint=tmp_path)
    with pytest.raises(InputError, match="another start"):
        fit.fit(ROWS, checkpoint=tmp_path)
    with pytest.raises(InputError, match="another sample_weight"):
        GaussianMixture(3, random_state=0, n_init=1, warm_start=True).fit(ROWS, None, np.ones(60), checkpoint=tmp_path)


def test_finished_replicates_are_not_repeated(tmp_path, monkeypatch):
    fit = GaussianMixture(1, random_state=0).fit(ROWS)
    first = fit.bootstrap(ROWS, n_replicates=20, checkpoint=tmp_path, progress=False)
    monkeypatch.setattr("bayesgmm.standard_errors.bootstrap_replicates._Plan.replicate", repeated)
    again = fit.bootstrap(ROWS, n_replicates=20, checkpoint=tmp_path, progress=False)
    np.testing.assert_array_equal(again.means, first.means)
    with pytest.raises(InputError, match="another kind"):
        fit.bootstrap(ROWS, n_replicates=20, kind="weighted", checkpoint=tmp_path, progress=False)


def test_finished_models_are_not_repeated(tmp_path, monkeypatch):
    first = select_components(ROWS, 2, ["diag", "full"], checkpoint=tmp_path, progress=False)
    monkeypatch.setattr("bayesgmm.em.multistart._Race.start", repeated)
    monkeypatch.setattr("bayesgmm.selection.select._scores", repeated)
    again = select_components(ROWS, 2, ["diag", "full"], checkpoint=tmp_path, progress=False)
    assert again.table.equals(first.table)
    with pytest.raises(InputError, match="another models"):
        select_components(ROWS, 3, ["diag", "full"], checkpoint=tmp_path, progress=False)
