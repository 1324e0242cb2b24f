"""Calls that only POSIX has, and what stands in for them: locks, links, folders on disk, SIGTERM."""

import errno
import os
import signal
import threading

import pytest

from bayesgmm.io import posix
from bayesgmm.io.posix import (
    Terminated,
    ended_by_sigterm,
    holder_of,
    release_lock,
    rename_if_new,
    sync_folder,
    take_lock,
    undisturbed,
)


@pytest.fixture(params=["posix", "elsewhere"])
def system(request, monkeypatch):
    """This system, and one that has none of the calls."""
    if request.param == "elsewhere":
        monkeypatch.setattr(posix, "fcntl", None)
        monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    return request.param


def refuse(code):
    def call(*_, **__):
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.usefixtures("system")
def test_a_lock_is_held_once_and_names_its_process(tmp_path) -> None:
    path = tmp_path / "lock"
    held = take_lock(path)
    assert held is not None
    assert take_lock(path) is None
    assert holder_of(path).startswith(f"process {os.getpid()} on ")
    release_lock(path, held)
    assert list(tmp_path.iterdir()) == []
    again = take_lock(path)
    assert again is not None
    release_lock(path, again)
    assert holder_of(path) == "another process"


def test_the_lock_of_a_dead_process_is_none(tmp_path) -> None:
    path = tmp_path / "lock"
    path.write_text("process 1 on another host")
    held = take_lock(path)
    assert held is not None
    assert holder_of(path).startswith(f"process {os.getpid()} ")
    release_lock(path, held)


def test_a_lock_file_that_its_holder_removed_in_between_locks_nothing(tmp_path, monkeypatch) -> None:
    path, locked, tries = tmp_path / "lock", posix._locked, []

    def locked_too_late(where):
        descriptor = locked(where)
        tries.append(descriptor)
        if len(tries) == 1:
            where.unlink()
        return descriptor

    monkeypatch.setattr(posix, "_locked", locked_too_late)
    held = take_lock(path)
    assert len(tries) == 2
    assert path.exists()
    release_lock(path, held)


def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(posix.fcntl, "flock", refuse(errno.ENOSYS))
    held = take_lock(tmp_path / "lock")
    assert held is not None
    release_lock(tmp_path / "lock", held)
    monkeypatch.setattr(posix.fcntl, "flock", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        take_lock(tmp_path / "lock")


@pytest.mark.parametrize("links", [True, False])
def test_renaming_replaces_nothing(tmp_path, monkeypatch, links) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    source, target = tmp_path / "new", tmp_path / "old"
    source.write_text("new")
    target.write_text("old")
    with pytest.raises(FileExistsError):
        rename_if_new(source, target)
    assert (source.read_text(), target.read_text()) == ("new", "old")
    target.unlink()
    rename_if_new(source, target)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_an_error_of_the_disk_is_none_of_a_missing_call(tmp_path, monkeypatch) -> None:
    (tmp_path / "new").write_text("new")
    monkeypatch.setattr(os, "link", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        rename_if_new(tmp_path / "new", tmp_path / "old")


@pytest.mark.usefixtures("system")
def test_folders_are_synced_where_that_is_possible(tmp_path, monkeypatch) -> None:
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    sync_folder(tmp_path)


def test_a_folder_that_cannot_be_synced_for_another_reason_is_an_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sync_folder(tmp_path)


def test_sigterm_ends_a_block_and_what_was_before_is_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), ended_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_short_block_is_not_disturbed() -> None:
    with undisturbed():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_threads_have_no_handlers() -> None:
    ended = []

    def work():
        with ended_by_sigterm(), undisturbed():
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]
