"""Checkpoints: finished pieces of long work in a folder, from which the same call goes on after it was killed.

``checkpoint.json`` tells what work the pieces belong to. ``pieces`` is a file to which they are appended: lengths, a
checksum, a name and a pickle, from which only numbers and records of this package are read. What a kill leaves of the
last piece is cut off when the folder is opened again, and so is all that follows a damaged one: it is made anew. Pieces
are flushed to disk as they come, those of the same half second together.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import pickle
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from bayesgmm._common import Array
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.io.posix import holder_of, release_lock, sync_folder, take_lock
from bayesgmm.io.whole_files import write_whole

_ABOUT, _PIECES, _LOCK, _UNFINISHED = "checkpoint.json", "pieces", "lock", ".saving-"
_FORMAT, _FORMAT_KEY = 1, "bayesgmm_checkpoint"
_HEAD = struct.Struct("<IQI")  # bytes of the name and of the pickle, and CRC-32 of both
_OFTEN = 0.5  # seconds between two flushes, and at least between two parts of a series
_COST, _LOSS = 20.0, 0.01  # a part comes after so many times what the last one took, and this share of the work
_SHORT = 30  # characters of a value that an error shows
_BY_NAME = ("covariance_family", "component_of")  # what families and components are pickled as
_OTHERS = {  # what pieces may hold beside records of this package
    "builtins": ("slice", "Warning", "UserWarning", "RuntimeWarning", "FutureWarning", "DeprecationWarning"),
    "numpy": ("ndarray", "dtype"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy.random._pickle": ("__generator_ctor", "__bit_generator_ctor"),
    "numpy.random._pcg64": ("PCG64",),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
}
_SEED = "random_state"  # None takes that of the folder

type CheckpointPath = str | os.PathLike[str] | None


class Pieces(Protocol):
    """Values by name.

    Attributes
    ----------
    rows : Data, optional
        The rows of the call, which values may refer to and do not contain.
    """

    rows: Data | None

    def __contains__(self, name: object, /) -> bool: ...
    def __getitem__(self, name: str, /) -> Any: ...
    def __setitem__(self, name: str, value: Any, /) -> None: ...


def once[Value](
    kept: Pieces | None, name: str, make: Callable[[], Value], *, unless: Callable[[], bool] = lambda: False
) -> Value:
    """The piece of a name; if there is none, what ``make`` returns, which is kept unless it is not whole.

    Examples
    --------
    >>> kept = {}
    >>> once(kept, "answer", lambda: 42), once(kept, "answer", lambda: 43)
    (42, 42)
    """
    if kept is not None and name in kept:
        value: Value = kept[name]
        return value
    value = make()
    if kept is not None and not unless():
        kept[name] = value
    return value


class Series:
    """A piece that grows: its parts so far, and when the next one is due; nothing is kept without a checkpoint."""

    def __init__(self, kept: Pieces | None, name: str) -> None:
        self._kept, self._name, self._n = kept, name, 0
        self._began = time.monotonic()
        self._due = self._began + _OFTEN

    def __iter__(self) -> Iterator[Any]:
        """The parts that are kept, in order."""
        while self._kept is not None and f"{self._name} {self._n}" in self._kept:
            self._n += 1
            yield self._kept[f"{self._name} {self._n - 1}"]

    @property
    def wait(self) -> float:
        """Seconds until a part is due; infinite without a checkpoint."""
        return np.inf if self._kept is None else max(0.0, self._due - time.monotonic())

    def append(self, part: Any) -> None:
        """Keep one more part."""
        if self._kept is None:
            return
        began = time.monotonic()
        self._n = next(n for n in itertools.count(self._n) if f"{self._name} {n}" not in self._kept)
        self._kept[f"{self._name} {self._n}"] = part
        self.postpone(time.monotonic() - began)

    def postpone(self, took: float) -> None:
        """Have the next part come so late that one that took so many seconds costs little."""
        now = time.monotonic()
        self._due = now + max(_OFTEN, _COST * took, _LOSS * (now - self._began))


@contextmanager
def checkpoint_at(path: CheckpointPath, work: Callable[[], Mapping[str, Any]]) -> Iterator[Pieces | None]:
    """The pieces in a folder, which is made if there is none; None without a path.

    Parameters
    ----------
    path : str or path, optional
    work : callable
        Everything on which the pieces depend, in values of JSON, by the names that an error gives them. A
        ``random_state`` of None goes with any.

    Raises
    ------
    InputError
        The folder belongs to other work, is something else, or another process writes to it.
    OSError
        It cannot be written to, for example on a full disk.
    """
    if path is None:
        yield None
        return
    folder, is_new, checkpoint = _usable(path), False, None
    lock = take_lock(folder / _LOCK)
    if lock is None:
        raise InputError(
            expected="a checkpoint that nothing else writes to",
            got=f"{folder}, in which {holder_of(folder / _LOCK)} is at work",
        )
    try:
        is_new = not (folder / _ABOUT).exists()
        _check_work(folder, json.loads(json.dumps(work())))
        with contextlib.closing(_Checkpoint(folder / _PIECES)) as checkpoint:
            yield checkpoint
    except InputError:  # refused before any work, beside random numbers: the next call may be another
        alone = {each.name for each in folder.iterdir()} <= {_ABOUT, _PIECES, _LOCK}
        if is_new and alone and (checkpoint is None or len(checkpoint) <= 1):
            for name in (_ABOUT, _PIECES):
                (folder / name).unlink(missing_ok=True)
        raise
    finally:
        release_lock(folder / _LOCK, lock)
        if is_new:
            with contextlib.suppress(OSError):  # unless it holds something
                folder.rmdir()


def check_same_work(found: Mapping[str, Any], wanted: Mapping[str, Any], *, at: object) -> None:
    """Raise `InputError` unless two descriptions of work are the same, with the names of what differs."""
    other = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    if other:
        told = [_difference(name, found.get(name), wanted.get(name)) for name in other]
        raise InputError(
            expected=f"the settings that {at} was made with",
            got=f"another {' and '.join(told)}",
            hint="Give another path.",
        )


def fingerprint_of_arrays(*arrays: Array | None) -> str:
    """A checksum of numbers and shapes; None counts too."""
    digest = hashlib.sha256()
    for array in arrays:
        values = None if array is None else np.asarray(array)
        digest.update(repr(None if values is None else (values.shape, values.dtype.str)).encode())
        if values is not None:
            digest.update(np.ascontiguousarray(values.T).view(np.uint8).data if values.size else b"")
    return digest.hexdigest()


# ---- the folder


def _usable(path: str | os.PathLike[str]) -> Path:
    """The folder, new, or one of a checkpoint."""
    try:
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        names = {each.name for each in folder.iterdir()}
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(expected="a folder for a checkpoint", got=f"{path!r} ({reason})") from error
    foreign = sorted(name for name in names if name != _LOCK and not name.startswith(_UNFINISHED))
    if foreign and _ABOUT not in names:
        raise InputError(
            expected="a new folder, or one of a checkpoint", got=f"{folder}, which holds {', '.join(foreign[:3])}"
        )
    return folder


def _check_work(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Write what the pieces belong to, or compare it."""
    about = folder / _ABOUT
    for remains in folder.glob(f"{_UNFINISHED}*"):
        remains.unlink()
    if not about.exists():
        text = json.dumps({_FORMAT_KEY: _FORMAT, "version": version("bayesgmm"), "work": wanted}, indent=1)
        write_whole(about, [text.encode()])
        sync_folder(folder.parent)
        return
    try:
        record = json.loads(about.read_text(encoding="utf-8"))
        found = {"format": record[_FORMAT_KEY], "version of bayesgmm": record["version"], **record["work"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(expected=f"the record of a checkpoint in {about}", got="something else") from error
    if wanted.get(_SEED) is None:
        wanted = {**wanted, _SEED: found.get(_SEED)}
    check_same_work(found, {"format": _FORMAT, "version of bayesgmm": version("bayesgmm"), **wanted}, at=folder)


def _difference(name: str, found: Any, wanted: Any) -> str:
    values = json.dumps(wanted), json.dumps(found)
    is_short = all(len(value) <= _SHORT for value in values)
    return f"{name} ({values[0]}, there {values[1]})" if is_short else name


# ---- the pieces


class _Checkpoint:
    """Pieces in a file; may be used by several threads."""

    def __init__(self, path: Path) -> None:
        self.rows: Data | None = None
        self._path, self._lock, self._flushed = path, threading.Lock(), 0.0
        self._places: dict[str, tuple[int, int]] = {}
        self._file, self._end = path.open("ab", buffering=0), 0
        with path.open("rb") as file:
            for name, start, self._end in _records(file):
                self._places[name] = start, self._end
        self._file.truncate(self._end)

    def close(self) -> None:
        """Flush to disk."""
        os.fsync(self._file.fileno())
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object, /) -> bool:
        return name in self._places

    def __getitem__(self, name: str, /) -> Any:
        start, end = self._places[name]
        with self._path.open("rb") as file:
            file.seek(start)
            return _Unpickler(file.read(end - start), self.rows).load()

    def __setitem__(self, name: str, value: Any, /) -> None:
        buffer = io.BytesIO()
        _Pickler(buffer, self.rows).dump(value)
        named, content = name.encode(), buffer.getbuffer()
        head = _HEAD.pack(len(named), len(content), zlib.crc32(content, zlib.crc32(named))) + named
        with self._lock:
            try:
                self._write(head)
                self._write(content)
                if time.monotonic() - self._flushed > _OFTEN:
                    os.fsync(self._file.fileno())
                    self._flushed = time.monotonic()
            except BaseException:  # a full disk, Ctrl-C: half a piece is none
                self._file.truncate(self._end)
                raise
            start = self._end + len(head)
            self._end = start + len(content)
            self._places[name] = start, self._end

    def _write(self, content: bytes | memoryview) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]


def _records(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Names of the sound pieces, and where they begin and end."""
    at = file.seek(0)
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        n_name, n_content, checksum = _HEAD.unpack(head)
        left = os.fstat(file.fileno()).st_size - file.tell()
        if n_name == 0 or n_name + n_content > left:  # zeros are what a lost page leaves
            return
        named = file.read(n_name)
        if zlib.crc32(file.read(n_content), zlib.crc32(named)) != checksum:
            return
        start, at = at + _HEAD.size + n_name, file.tell()
        yield named.decode(), start, at


class _Pickler(pickle.Pickler):
    """Writes a reference in the place of the rows."""

    def __init__(self, file: BinaryIO, rows: Data | None) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._rows = rows

    def persistent_id(self, value: Any) -> str | None:
        if not isinstance(value, Data):
            return None
        if value is not self._rows:
            raise TypeError("a piece of a checkpoint contains rows that are not those of the call")
        return "rows"


class _Unpickler(pickle.Unpickler):
    """Reads numbers and records of this package, and calls nothing else."""

    def __init__(self, content: bytes, rows: Data | None) -> None:
        super().__init__(io.BytesIO(content))
        self._rows = rows

    def persistent_load(self, name: Any) -> Any:
        return self._rows

    def find_class(self, module: str, name: str) -> Any:
        if name in _OTHERS.get(module, ()):
            return super().find_class(module, name)
        if module.partition(".")[0] == "bayesgmm" and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) or name in _BY_NAME:
                return found
        raise pickle.UnpicklingError(f"a piece of a checkpoint asks for {module}.{name}")
