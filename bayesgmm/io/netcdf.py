"""DataTrees in NetCDF files: written atomically, verified by checksum before reading.

A file is NetCDF 4, that is HDF5, in which every array of numbers has HDF5's own checksum, and the attribute
``bayesgmm_format`` is the version of this layout. After HDF5's end, where other programs stop reading, follows the
SHA-256 of everything before it. Files of version 0.1, and those rewritten by another program, have none.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import xarray as xr

from bayesgmm.exceptions import InputError
from bayesgmm.io.whole_files import check_target, write_whole

FORMAT, _FORMAT_KEY = 1, "bayesgmm_format"
_SEAL = b"\nbayesgmm sha256 "  # and 64 hexadecimal digits
_SEALED_BY = len(_SEAL) + 64
_BLOCK = 2**20
_CHUNK = 2**26  # bytes; HDF5's limit is 4 GiB, and a chunk is read as a whole
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Where superblocks of versions 0 to 3 have HDF5's end: HDF5 File Format Specification, II.A
_PLACE_OF_END = (40, 44, 28, 28)
_COMPRESSED = 1032  # at most, by deflate
_CHECKSUM, _SHUFFLE = h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


def save_tree(tree: xr.DataTree, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a DataTree to NetCDF; a failed write leaves the old file unchanged.

    HDF5 is unreliable on a full disk: the file is built in memory, which takes as much as its length.

    Raises
    ------
    InputError
        If the file exists and ``overwrite`` is false, or its folder does not exist.
    OSError
        If the system cannot write it, for example on a full disk.
    """
    check_target(path, overwrite=overwrite)
    marked = tree.copy()
    marked.attrs = {**tree.attrs, _FORMAT_KEY: FORMAT}
    content = marked.to_netcdf(engine="h5netcdf", encoding=_encodings(tree))
    seal = _SEAL + hashlib.sha256(content).hexdigest().encode()
    write_whole(path, [content, seal], overwrite=overwrite)


def load_tree(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a DataTree that `save_tree` wrote, into memory.

    Raises
    ------
    InputError
        If the file does not exist, is damaged, of a later version or not a NetCDF file.
    """
    if not os.path.isfile(path):  # noqa: PTH113  which takes names that no file can have
        raise InputError(expected="a file as save() wrote it", got=f"no file at {path}")
    with refused_with(path):
        _check_bytes(Path(path))
        with h5py.File(path, "r") as file:
            _check_sizes(file)
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            found = opened.attrs.pop(_FORMAT_KEY, 0)
            if found > FORMAT:
                raise _UnreadableError(f"it has format {found} of a later version of bayesgmm; this one reads {FORMAT}")
            return opened.load()


class _UnreadableError(Exception):
    """The reason for refusing a file."""


@contextmanager
def refused_with(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn all errors from the content of a file into an `InputError` with its name and the reason."""
    try:
        yield
    except Exception as error:  # h5py, xarray, json and records raise all kinds of errors for foreign content
        plain = isinstance(error, InputError | OSError | _UnreadableError)
        reason = " ".join(f"{'' if plain else type(error).__name__ + ': '}{error}".split()).rstrip(".")
        raise InputError(expected="a file as save() wrote it", got=f"{path}: {reason}") from error


# ---- writing


def _encodings(tree: xr.DataTree) -> dict[str, dict[str, dict[str, Any]]]:
    """HDF5's checksum for every numeric array; it has none for text and scalars."""
    return {
        node.path: {
            str(name): {"fletcher32": True, "chunksizes": _chunks(variable.shape, variable.dtype.itemsize)}
            for name, variable in node.to_dataset(inherit=False).variables.items()
            if variable.size and variable.ndim and variable.dtype.kind in "iufb"
        }
        for node in tree.subtree
    }


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The whole array, or the fewest equal parts of its longest axis that are small enough."""
    longest = int(np.argmax(shape))
    parts = ceil(np.prod(shape, dtype=float) * itemsize / _CHUNK)
    return tuple(ceil(n / parts) if axis == longest else n for axis, n in enumerate(shape))


# ---- reading


def _check_bytes(source: Path) -> None:
    """Raise if the length or checksum that a file states does not match."""
    with source.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = _end_of_hdf5(file)
        file.seek(max(size - _SEALED_BY, 0))
        seal = file.read()
        if seal.startswith(_SEAL):
            if seal[len(_SEAL) :] != _sha256(file, size - _SEALED_BY).encode():
                raise _UnreadableError("it is damaged, for its checksum is another")
        elif size != end:
            raise _UnreadableError(f"it is damaged, for it has {size:,} bytes instead of {end:,}")


def _end_of_hdf5(file: BinaryIO) -> int:
    """The length that an HDF5 file states."""
    file.seek(0)
    head = file.read(64)
    if len(head) < 64 or not head.startswith(_SIGNATURE) or head[8] >= len(_PLACE_OF_END):
        raise _UnreadableError("it is no NetCDF 4 file")
    end: int = struct.unpack_from("<Q", head, _PLACE_OF_END[head[8]])[0]
    return end


def _sha256(file: BinaryIO, size: int) -> str:
    """Checksum of the first bytes, in chunks."""
    digest = hashlib.sha256()
    file.seek(0)
    for start in range(0, size, _BLOCK):
        digest.update(file.read(min(_BLOCK, size - start)))
    return digest.hexdigest()


def _check_sizes(file: h5py.File) -> None:
    """Raise if an array is larger than its bytes in the file can be, before memory is allocated."""

    def check(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or _NO_VARIABLE in str(item.attrs.get("NAME")):
            return
        plan = item.id.get_create_plist()
        filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
        factor = _COMPRESSED if filters - {_CHECKSUM, _SHUFFLE} else 1
        if item.size * item.id.get_type().get_size() > factor * item.id.get_storage_size():
            raise _UnreadableError(
                f"{name} has shape {item.shape}, but {item.id.get_storage_size():,} bytes in the file"
            )

    file.visititems(check)
