"""Files that are written whole or not at all, and arrays that are read within limits.

A file that was cut, altered or made to exhaust the memory is an error with a text, never a crash;
what a file means stands elsewhere.
"""

from __future__ import annotations

import errno
import io
import lzma
import math
import os
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from spikelet.errors import UsageError

Array = NDArray[Any]

SYNC_S = 1.0
LIMIT_BYTES = 2 << 30  # of all arrays of one file, unpacked
_ENCRYPTED = 1  # flag of a zip's member

# What zipfile, its decompressors and numpy raise on damaged files; RuntimeError holds
# RecursionError and NotImplementedError (an unknown compression).
UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    SyntaxError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,  # of an .npy header
)


class Unreadable(Exception):
    """A file of arrays that cannot be read; says why in a clause."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # told by the command line


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """For what is written to a place that a user named: raises UsageError where that fails."""
    try:
        yield
    except OSError as e:
        if e.errno is None or e.errno in _FULL:
            raise
        raise UsageError(
            f"{place}: cannot be written ({e.strerror or e})",
            "it is a folder" if place.is_dir() else "it lies below a file, or is not writable",
            f"name a file in it, for instance {place / 'NAME'}"
            if place.is_dir()
            else "choose another place",
        ) from e


def save(path: Path, data: bytes) -> None:
    """Write a file that a user named, and the folders above it; raises UsageError."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside `path` and put it in its place, so that no half of it is ever seen."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():  # a device or a pipe
        path.write_bytes(data)
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class Appended:
    """A file that grows by lines.

    A line that was added outlives this process; it is synced to the disk once `SYNC_S` seconds
    have passed since the last time, and by `sync`, so a power cut costs the last seconds at most.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._synced = time.monotonic()

    def add(self, lines: Iterable[str]) -> None:
        """Append lines, without their ends."""
        with self.path.open("ab") as f:
            f.write("".join(f"{line}\n" for line in lines).encode())
            if time.monotonic() - self._synced > SYNC_S:
                f.flush()
                os.fsync(f.fileno())
                self._synced = time.monotonic()

    def sync(self) -> None:
        """Have all that was added on the disk."""
        with self.path.open("ab") as f:
            os.fsync(f.fileno())
        self._synced = time.monotonic()


def read_arrays(source: Path | bytes, limit: int = LIMIT_BYTES) -> dict[str, Array]:
    """The arrays of an .npz file by name.

    Shapes and types are compared with `limit` and with the file's own sizes before anything is
    allocated; objects are never unpickled.

    Raises:
        Unreadable: with the reason.
    """
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as f:
            if f.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise Unreadable("it is an .npy file, one bare array without a name")
            with zipfile.ZipFile(f) as archive:
                return _members(archive, limit)
    except Unreadable:
        raise
    except UNREADABLE as e:
        raise Unreadable(str(e) or type(e).__name__) from e


def _members(archive: zipfile.ZipFile, limit: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > limit:
        raise Unreadable(f"its arrays take {total} bytes, more than {limit}")
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise Unreadable(f"its member {name!r} is no array")
        if name in arrays:
            raise Unreadable(f"it holds {name} twice")
        if member.flag_bits & _ENCRYPTED:
            raise Unreadable(f"{name} is encrypted")
        try:
            with archive.open(member) as f:
                arrays[name] = _array(f, member.file_size, limit)
        except Unreadable as e:
            raise Unreadable(f"{name}: {e}") from e
        except UNREADABLE as e:
            raise Unreadable(f"{name}: {e or type(e).__name__}") from e
    return arrays


def _array(f: IO[bytes], size: int, limit: int) -> Array:
    """One array of a member of `size` bytes."""
    version = npy.read_magic(f)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(f)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(f)
    else:
        raise Unreadable(f"version {version} of the .npy format is not known")
    if dtype.hasobject:
        raise Unreadable("it holds Python objects")
    if any(n < 0 for n in shape):
        raise Unreadable(f"its shape is {shape}")
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > limit:
        raise Unreadable(f"{dtype} of shape {shape} takes {nbytes} bytes, more than {limit}")
    held = size - f.tell()
    if nbytes != held:
        raise Unreadable(f"{dtype} of shape {shape} takes {nbytes} bytes, the file holds {held}")
    data = bytearray(f.read(nbytes))
    if len(data) != nbytes or f.read(1):  # the last read makes zipfile compare the checksum
        raise Unreadable(f"{len(data)} of {nbytes} bytes are there")
    if not nbytes:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
