"""Calls that only POSIX has, each with what stands in for it elsewhere: folders on disk, locks, hard links, SIGTERM."""

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
    """SIGTERM arrived: like Ctrl-C, but nothing is kept."""


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a power cut; elsewhere the file system sees to that itself."""
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
    """Rename a file, or raise `FileExistsError` where there is one of that name: in one step, whoever else writes.

    POSIX renames over what is there, but links do not; elsewhere renaming does not either. Some file systems have no
    links: there a look comes before the step.
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
    """A descriptor that holds a lock file until `release_lock` or the end of the process; None if another holds it.

    ``flock``, which dies with its process, so that no lock goes stale. On Windows the file itself is the lock, and dies
    with its process too.
    """
    while True:
        descriptor = _locked(path) if fcntl is not None else _created(path)
        if descriptor is None:
            return None
        if _is_at(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return descriptor
        os.close(descriptor)  # the file was removed by who held it before


def release_lock(path: Path, descriptor: int) -> None:
    """Let go of a lock and remove its file."""
    if fcntl is not None:
        path.unlink(missing_ok=True)  # while nobody else can hold it
        os.close(descriptor)
    else:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def holder_of(path: Path) -> str:
    """Who holds a lock: ``process 17 on host``."""
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except OSError:  # gone, or not to be read while it is held
        return "another process"


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:  # a file system without locks is written to without one
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
    """Within the block SIGTERM raises `Terminated`, so that what was begun is cleaned up."""

    def stop(*_: object) -> None:
        raise Terminated

    with _handled({signal.SIGTERM: stop}):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within the block, a short one that must not stop half way, Ctrl-C and SIGTERM do nothing."""
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
