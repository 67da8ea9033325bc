"""What is read of ELF files: sections, symbols, relocations; of little-endian cores, 32 or 64 bits.

A build reads some thirty objects, so each table is read at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikelet.errors import UsageError

MAGIC = b"\x7fELF"
WRITE, ALLOC, EXECUTE = 1, 2, 4  # flags of a section
SYMBOLS, RELA, NO_BITS, REL = 2, 4, 8, 9  # types of sections
OBJECT, FUNCTION = 1, 2  # types of symbols
GLOBAL, WEAK = 1, 2  # bindings of symbols
UNDEFINED = 0  # the section of a symbol that another object has

_HEAD = struct.Struct("<4sBB")
_SECTION = ("name", "type", "flags", "address", "offset", "bytes", "link", "info", "align", "entry")
_WIDE = ("flags", "address", "offset", "bytes", "align", "entry")
# By the bits of an address.
_SYMBOL = {
    32: np.dtype([("name", "<u4"), ("value", "<u4"), ("bytes", "<u4"), ("info", "u1"),
                  ("other", "u1"), ("section", "<u2")]),
    64: np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"),
                  ("value", "<u8"), ("bytes", "<u8")]),
}  # fmt: skip


class Section(NamedTuple):
    """A section: `link` and `info` are numbers of others, by its type; `address` where it lies."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    bytes: int
    link: int
    info: int


class Symbol(NamedTuple):
    """A symbol: `section` is the number of the one that has it."""

    name: str
    value: int
    bytes: int
    binding: int
    type: int
    section: int


@dataclass(frozen=True)
class Elf:
    """A file's bytes.

    Attributes:
        data: all of them.
        bits: of an address, 32 or 64.
    """

    data: bytes
    bits: int

    @classmethod
    def read(cls, path: Path) -> Elf:
        """Read a file.

        Raises:
            UsageError: it is none of this kind.
        """
        data = path.read_bytes()
        if len(data) >= 64:
            magic, width, order = _HEAD.unpack_from(data)
            if magic == MAGIC and width in (1, 2) and order == 1:
                return cls(data, 32 * width)
        raise UsageError(
            f"{path} is no ELF file of a little-endian core",
            "a compiler wrote another format, or was interrupted",
            "build again; `spikelet doctor` lists the compilers",
        )

    @cached_property
    def sections(self) -> list[Section]:
        """By number."""
        word = "<u4" if self.bits == 32 else "<u8"
        row = np.dtype([(n, word if n in _WIDE else "<u4") for n in _SECTION])
        at = int.from_bytes(self.data[32:36] if self.bits == 32 else self.data[40:48], "little")
        sizes = 46 if self.bits == 32 else 58
        _, count, names = struct.unpack_from("<3H", self.data, sizes)
        rows = np.frombuffer(self.data, row, count, at).tolist()
        texts = rows[names][4] if rows else 0
        return [Section(self._text(texts + row[0]), *row[1:8]) for row in rows]

    @cached_property
    def symbols(self) -> list[Symbol]:
        """Of the table of all, in its order; none of a file that was stripped."""
        for section in self.sections:
            if section.type == SYMBOLS:
                break
        else:
            return []
        table = np.frombuffer(self.of(section), _SYMBOL[self.bits])
        texts = self.sections[section.link].offset
        names = [self._text(texts + at) for at in table["name"].tolist()]
        info = table["info"]
        columns = (table["value"], table["bytes"], info >> 4, info & 15, table["section"])
        return [*map(Symbol, names, *(column.tolist() for column in columns))]

    def relocations(self, section: Section) -> Iterator[tuple[int, int]]:
        """Number of the symbol, and type, of each that a section of them holds."""
        words = 2 + (section.type == RELA)
        info = np.frombuffer(self.of(section), f"<u{self.bits // 8}").reshape(-1, words)[:, 1]
        shift = 8 if self.bits == 32 else 32
        return zip((info >> shift).tolist(), (info & (1 << shift) - 1).tolist(), strict=True)

    def of(self, section: Section) -> bytes:
        """What a section holds."""
        if section.type == NO_BITS:
            return b""
        return self.data[section.offset : section.offset + section.bytes]

    def _text(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode(errors="replace")
