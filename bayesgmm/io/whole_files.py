"""Atomic file writes: to a temporary file in the same folder, synced, then renamed."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bayesgmm.exceptions import InputError
from bayesgmm.io.posix import rename_if_new, sync_folder


def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """The file to write, with links resolved, checked before any work.

    Raises
    ------
    InputError
        If it exists and ``overwrite`` is false, is not a regular file, or its folder does not exist.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, ValueError) as error:  # a name that is too long or has invalid characters
        raise InputError(expected="a file name", got=f"{path} ({error})") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise InputError(expected="a file name", got=f"the folder {path}")
    if mode is not None and not stat.S_ISREG(mode):
        raise InputError(expected="a file name", got=f"{path}, which is no regular file")
    if mode is not None and not overwrite:
        raise _exists(path)
    if not target.parent.is_dir():
        raise InputError(expected=f"an existing folder for {path}", got="none", hint="Create it first.")
    return target


def write_whole(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview], *, overwrite: bool = False) -> None:
    """Write a file from its parts; after an error, for example a full disk, the old file is unchanged.

    Raises
    ------
    InputError
        As `check_target`, or if another process has created the file meanwhile and ``overwrite`` is false.
    OSError
        If the system cannot write it.
    """
    with whole_file(path, overwrite=overwrite) as file:
        for part in parts:
            file.write(part)


@contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name when the block ends without an error, see `write_whole`."""
    target = check_target(path, overwrite=overwrite)
    unfinished = target.with_name(f".saving-{secrets.token_hex(8)}")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            if target.exists():
                shutil.copymode(target, unfinished)
            unfinished.replace(target)
        else:
            rename_if_new(unfinished, target)
    except FileExistsError:
        raise _exists(path) from None
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(target.parent)


def _exists(path: str | os.PathLike[str]) -> InputError:
    return InputError(expected=f"a new file name for {path}", got="an existing file", hint="Pass overwrite=True.")
