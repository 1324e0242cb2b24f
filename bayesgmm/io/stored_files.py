"""Files of rows that are read again and again, and must not change meanwhile."""

import hashlib
import os
import stat
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from bayesgmm.data import SourceBlock
from bayesgmm.exceptions import InputError

_EXCERPT, _N_EXCERPTS = 2**12, 64  # bytes, of which the fingerprint of a file is made


class StoredFile(NamedTuple):
    """A file as it was when it was first seen."""

    path: str
    size: int
    modified: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "StoredFile":
        """The file at a path."""
        try:
            found = os.stat(path)  # noqa: PTH116  names that no file can have are errors here
        except (OSError, ValueError) as error:
            raise InputError(expected="files of rows", got=f"no file at {path}") from error
        if stat.S_ISDIR(found.st_mode):
            hint = f"Say which files in it: '{path}/*.parquet'."
            raise InputError(expected="files of rows", got=f"a folder at {path}", hint=hint)
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def check(self) -> None:
        """An error if it is not what it was."""
        if StoredFile.of(self.path) != self:
            raise InputError(
                expected=f"rows in {self.path} that stay as they are while they are read",
                got="a file that has changed meanwhile",
                hint="Start again when nothing writes to it any more.",
            )

    def open(self) -> BinaryIO:
        """The file, to be read."""
        self.check()
        try:
            return open(self.path, "rb", buffering=0)  # noqa: PTH123  for the caller
        except OSError as error:
            expected = f"a file that can be read at {self.path}"
            raise InputError(expected=expected, got=f"an error of the system ({error.strerror})") from error

    def excerpts(self) -> bytes:
        """Its size and some bytes, spread evenly from the first to the last: a file written anew has others."""
        last = max(0, self.size - _EXCERPT)
        with self.open() as file:
            found = [str(self.size).encode()]
            for i in range(_N_EXCERPTS):
                file.seek(i * last // (_N_EXCERPTS - 1))
                found.append(file.read(_EXCERPT))
        return b"".join(found)


class FileRows(NamedTuple):
    """The rows of a file: blocks, and the names of the columns if it has any."""

    blocks: Sequence[SourceBlock]
    n_features: int
    names: list[str] | None


def fingerprint_of(parts: Sequence[bytes]) -> str:
    """A checksum of parts in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def read_fully(file: BinaryIO, start: int, buffer: memoryview, path: str) -> None:
    """Fill a buffer from a place in a file."""
    n_read = 0
    while n_read < len(buffer):
        n = _read_into(file, start + n_read, buffer[n_read:])
        if not n:
            raise InputError(expected=f"{path} to go on", got="its end", hint="The file is damaged: write it again.")
        n_read += n


def _read_into(file: BinaryIO, start: int, buffer: memoryview) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [buffer], start)
    file.seek(start)
    return file.readinto(buffer)  # type: ignore[attr-defined]
