"""What an ELF image holds: bytes of flash and RAM, sections, and the largest things in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spikelet.board import elf
from spikelet.board.elf import Elf
from spikelet.board.spec import Board

WEIGHT_PREFIX = "spk_const_"
_STACK = ".stack"


@dataclass(frozen=True)
class Section:
    """A section that takes memory on the device.

    Attributes:
        name: as in the image.
        address: where the program sees it.
        bytes: its size.
        region: "flash", "ram", "flash+ram" (.data: stored in one, used in the other) or "stack".
    """

    name: str
    address: int
    bytes: int
    region: str


@dataclass(frozen=True)
class Symbol:
    """A function or an object, one line of the memory map.

    Attributes:
        name: as in the source.
        address: where the program sees it.
        bytes: its size.
        section: section that holds it.
        region: region of that section.
    """

    name: str
    address: int
    bytes: int
    section: str
    region: str


@dataclass(frozen=True)
class ImageSizes:
    """What an image takes.

    Attributes:
        flash_bytes: code, constants and initial values of .data.
        ram_bytes: static data, without the stack.
        weight_bytes: objects whose names start with `spk_const_`.
        sections: in order of address.
        map: functions and objects, in order of address.
    """

    flash_bytes: int
    ram_bytes: int
    weight_bytes: int
    sections: tuple[Section, ...]
    map: tuple[Symbol, ...]


def _region(board: Board, name: str, address: int, flags: int, stored: bool) -> str:
    if name == _STACK:
        return "stack"
    writable = (
        board.memory.ram.holds(address) if board.memory is not None else bool(flags & elf.WRITE)
    )
    if not writable:
        return "flash"
    return "flash+ram" if stored else "ram"


def read_image(path: Path, board: Board) -> ImageSizes:
    """Measure an image; a host's program that is not ELF measures 0 everywhere."""
    if not path.read_bytes().startswith(elf.MAGIC):
        return ImageSizes(0, 0, 0, (), ())
    file = Elf.read(path)
    sections: dict[int, Section] = {}
    for index, found in enumerate(file.sections):
        if found.flags & elf.ALLOC and found.bytes:
            stored = found.type != elf.NO_BITS
            region = _region(board, found.name, found.address, found.flags, stored)
            sections[index] = Section(found.name, found.address, found.bytes, region)
    symbols: set[Symbol] = set()
    for symbol in file.symbols:
        home = sections.get(symbol.section)
        if home is not None and symbol.bytes and symbol.name:
            symbols.add(Symbol(symbol.name, symbol.value, symbol.bytes, home.name, home.region))
    ordered = sorted(symbols, key=lambda symbol: (symbol.address, symbol.name))
    every = sorted(sections.values(), key=lambda section: section.address)
    return ImageSizes(
        flash_bytes=sum(s.bytes for s in every if s.region in ("flash", "flash+ram")),
        ram_bytes=sum(s.bytes for s in every if s.region in ("ram", "flash+ram")),
        weight_bytes=sum(s.bytes for s in ordered if s.name.startswith(WEIGHT_PREFIX)),
        sections=tuple(every),
        map=tuple(ordered),
    )
