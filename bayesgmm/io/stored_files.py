"""Files of rows that are read again and again, and must not change meanwhile."""

import hashlib
import os
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from bayesgmm.data import SourceBlock
from bayesgmm.exceptions import InputError

_ENDS = 2**16  # bytes at both ends of a file of which its fingerprint is made


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
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def open(self) -> BinaryIO:
        """The file, to be read; an error if it is not what it was."""
        try:
            file = open(self.path, "rb", buffering=0)  # noqa: PTH123, SIM115  for the caller
        except OSError as error:
            expected = f"to read {self.path} once more"
            raise InputError(expected=expected, got=f"an error of the system ({error.strerror})") from error
        found = os.fstat(file.fileno())
        if (found.st_size, found.st_mtime_ns, found.st_ino) != self[1:]:
            file.close()
            raise InputError(
                expected=f"rows in {self.path} that stay as they are while they are read",
                got="a file that has changed meanwhile",
                hint="Start again when nothing writes to it any more.",
            )
        return file

    def ends(self) -> bytes:
        """Its size, first and last bytes: other rows hardly have the same."""
        with self.open() as file:
            first = file.read(_ENDS)
            file.seek(max(0, self.size - _ENDS))
            return str(self.size).encode() + first + file.read(_ENDS)


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
    file.seek(start)
    n_read = 0
    while n_read < len(buffer):
        n = file.readinto(buffer[n_read:])  # type: ignore[attr-defined]
        if not n:
            raise InputError(expected=f"{path} to go on", got="its end", hint="The file is damaged: write it again.")
        n_read += n
