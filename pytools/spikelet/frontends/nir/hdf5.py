"""The contents of an HDF5 file as plain arrays: a program, which reads the file from its input.

It writes an .npz: arrays, and `said`, JSON in bytes, which has the `tree` of groups, or why the
file was `refused` (what, cause) or is `damaged`. No link leads out of the file or round in it, and
every array is as large as a network for a microcontroller may be and holds numbers or text.

It imports nothing of Spikelet: it runs for a quarter of a second.
"""

from __future__ import annotations

import io
import json
import math
import sys
from typing import Any

import h5py
import numpy as np

MAX_BYTES = 256 << 20  # of all arrays, unpacked
MAX_ENTRIES = 16384  # arrays and groups
MAX_DEPTH = 16  # groups within groups
MAX_RANK = 6
# What reading of a damaged file raises in h5py and numpy.
_DAMAGED = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError, OverflowError, MemoryError,
    AttributeError, SystemError,
)  # fmt: skip


class Refused(Exception):
    """Why a file is not read: what, and the likely cause."""


class Reader:
    """Reads groups and arrays; what is read in all is bounded."""

    def __init__(self) -> None:
        self.entries, self.bytes = MAX_ENTRIES, MAX_BYTES
        self.arrays: dict[str, Any] = {}

    def group(self, group: Any, path: str, depth: int) -> tuple[str, Any]:
        """`group` and its entries by name."""
        if depth > MAX_DEPTH:
            raise Refused(f"group {_short(path)}: groups nest deeper than {MAX_DEPTH}")
        made = {}
        for name in group:
            here = f"{path}/{name}"
            self.entries -= 1
            if self.entries < 0:
                raise Refused(f"more than {MAX_ENTRIES} arrays and groups")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise Refused(f"entry {_short(here)}: a link, {type(link).__name__}")
            item = group[name]
            if isinstance(item, h5py.Group):
                made[name] = self.group(item, here, depth + 1)
            elif isinstance(item, h5py.Dataset):
                made[name] = self.values(item, here)
            else:
                raise Refused(f"entry {_short(here)}: a {type(item).__name__}")
        return "group", made

    def values(self, item: Any, path: str) -> tuple[str, Any]:
        """`text`, `texts` or `array`, and the value; an array's is its name."""
        text = h5py.check_string_dtype(item.dtype)
        if item.shape is None or item.is_virtual or item.external:
            raise Refused(f"array {_short(path)}: its values are not in the file")
        if len(item.shape) > MAX_RANK:
            raise Refused(f"array {_short(path)}: {len(item.shape)} axes")
        if text is None and (item.dtype.kind not in "fiub" or item.dtype.itemsize > 8):
            raise Refused(f"array {_short(path)}: of {item.dtype}, expected numbers or text")
        self.bytes -= math.prod(item.shape) * max(16, item.dtype.itemsize)
        if self.bytes < 0:
            raise Refused(
                f"array {_short(path)}: the arrays take more than {MAX_BYTES} bytes",
                "a network that is not for a microcontroller",
            )
        if text is not None:
            kind = "text" if item.shape == () else "texts"
            value = item.asstr()[()]
            return kind, value if kind == "text" else value.tolist()
        name = f"a{len(self.arrays)}"
        self.arrays[name] = np.asarray(item[()])
        return "array", name


def _short(name: str, length: int = 80) -> str:
    """A name that fits a message."""
    return repr(name if len(name) <= length else f"{name[: length - 3]}...")


def main() -> None:
    """Read the input, write the answer."""
    reader = Reader()
    said: dict[str, Any]
    try:
        with h5py.File(io.BytesIO(sys.stdin.buffer.read()), "r") as file:
            said = {"tree": reader.group(file, "", 0)}
    except Refused as refused:
        said = {"refused": refused.args}
    except _DAMAGED as error:
        said = {"damaged": f"{type(error).__name__}: {error!s:.200}"}
    arrays = reader.arrays if "tree" in said else {}
    spoken = np.frombuffer(json.dumps(said).encode("utf-8", "backslashreplace"), np.uint8)
    np.savez(sys.stdout.buffer, said=spoken, **arrays)


if __name__ == "__main__":
    main()
