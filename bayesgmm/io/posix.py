"""POSIX calls with substitutes elsewhere: folder synchronization, locks, hard links, SIGTERM."""

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_SUCH_CALL = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL, errno.ENOLCK)


class Terminated(SystemExit):
    """Raised on SIGTERM: like Ctrl-C, but nothing is kept."""


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk; elsewhere the file system does so itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems sync files only
        if error.errno not in _NO_SUCH_CALL:
            raise
    finally:
        os.close(descriptor)


def rename_if_new(source: Path, target: Path) -> None:
    """Rename a file, or raise `FileExistsError` if one of that name exists, atomically.

    POSIX renames overwrite, but hard links do not; elsewhere renames do not either. File systems without links are
    checked before the rename.
    """
    if os.name == "posix":
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_SUCH_CALL:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        else:
            source.unlink()
            return
    source.rename(target)


# ---- locks


def take_lock(path: Path) -> int | None:
    """A descriptor that holds a lock file until `release_lock` or the end of the process; None if it is locked.

    ``flock`` ends with its process, so locks do not go stale. On Windows the file itself is the lock, and ends with its
    process too.
    """
    while True:
        descriptor = _locked(path) if fcntl is not None else _created(path)
        if descriptor is None:
            return None
        if _is_at(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return descriptor
        os.close(descriptor)  # the previous holder removed the file


def release_lock(path: Path, descriptor: int) -> None:
    """Release a lock and remove its file."""
    if fcntl is not None:
        path.unlink(missing_ok=True)  # while no other process can hold it
        os.close(descriptor)
    else:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def holder_of(path: Path) -> str:
    """The holder of a lock: ``process 17 on host``."""
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except OSError:  # removed, or not readable while it is held
        return "another process"


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:  # file systems without locks are used without
            os.close(descriptor)
            raise
    return descriptor


def _created(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_TEMPORARY", 0), 0o666)
    except FileExistsError:
        return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


# ---- signals


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, so that cleanup runs."""

    def stop(*_: object) -> None:
        raise Terminated

    with _handled({signal.SIGTERM: stop}):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM within the block, a short one that must complete."""
    with _handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM), signal.SIG_IGN)):
        yield


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Callable[..., Any] | signal.Handlers]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
