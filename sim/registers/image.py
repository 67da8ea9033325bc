"""An image and the memory that it is made for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from .bank import ModelError


@dataclass(frozen=True)
class Image:
    """What an ELF file puts into memory.

    Attributes:
        parts: (address in flash, address where it is used, bytes) of what it holds.
        flash: address and bytes, all of the part's.
        ram: address and bytes.
        entry: where a core begins that has no vectors.
    """

    parts: tuple[tuple[int, int, bytes], ...]
    flash: tuple[int, int]
    ram: tuple[int, int]
    entry: int

    def flash_content(self) -> bytes:
        """What flash holds; FF where the image has nothing."""
        base, size = self.flash
        content = bytearray(b"\xff" * size)
        for at, _, data in self.parts:
            if not 0 <= at - base <= size - len(data):
                raise ModelError(f"{len(data)} bytes for {at:#x} lie outside flash")
            content[at - base : at - base + len(data)] = data
        return bytes(content)


def read_image(path: Path, flash: tuple[int, int], ram: tuple[int, int]) -> Image:
    """The image of an ELF file; raises ModelError."""
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            parts = tuple(
                (int(part["p_paddr"]), int(part["p_vaddr"]), part.data())
                for part in elf.iter_segments("PT_LOAD")
                if part["p_filesz"]
            )
            entry = int(elf["e_entry"])
    except (OSError, ELFError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    return Image(parts, flash, ram, entry)
