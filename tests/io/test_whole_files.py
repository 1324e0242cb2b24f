"""Files appear whole or not at all."""

import errno
import os
import stat

import pytest

from bayesgmm.exceptions import InputError
from bayesgmm.io import whole_files
from bayesgmm.io.whole_files import check_target, write_whole


def test_a_file_is_written_from_its_parts(tmp_path) -> None:
    write_whole(tmp_path / "f", [b"one, ", memoryview(b"two")])
    assert (tmp_path / "f").read_bytes() == b"one, two"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_file_is_replaced_only_if_asked_and_stays_as_private(tmp_path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with pytest.raises(InputError, match="overwrite=True"):
        write_whole(path, [b"new"])
    assert path.read_bytes() == b"old"
    write_whole(path, [b"new"], overwrite=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_behind_a_link_the_file_is_replaced(tmp_path) -> None:
    path, link = tmp_path / "f", tmp_path / "link"
    path.write_bytes(b"old")
    link.symlink_to(path)
    write_whole(link, [b"new"], overwrite=True)
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_on_a_full_disk_the_old_file_stays_alone(tmp_path, monkeypatch, step) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (whole_files.Path, "replace")), full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "f", [b"new"], overwrite=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"old")]


def test_an_interruption_leaves_nothing_behind(tmp_path) -> None:
    def parts():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "f", parts())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_process_made_meanwhile_stays(tmp_path) -> None:
    def parts():
        (tmp_path / "f").write_bytes(b"another's")
        yield b"mine"

    with pytest.raises(InputError, match="an existing file"):
        write_whole(tmp_path / "f", parts())
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"another's")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "got the folder"),
        ("", "got the folder"),
        ("none/f", "an existing folder"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
        ("/dev/null", "no regular file"),
        ("f/g", "an existing folder|Not a directory"),
    ],
)
def test_where_no_file_can_be_it_is_refused_before_any_work(tmp_path, monkeypatch, name, reason) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(InputError, match=reason):
        check_target(name, overwrite=True)
