"""An image in the formats that flashing tools read: .hex, .bin and .uf2."""

from __future__ import annotations

import io
import struct
import tempfile
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from intelhex import IntelHex

from spikelet.board.spec import Board
from spikelet.errors import UsageError

ERASED = 0xFF  # what flash holds between the parts of an image
MACHINES = {"EM_ARM": "an Arm core", "EM_RISCV": "a RISC-V core"}
# UF2, https://github.com/microsoft/uf2: blocks of 512 bytes, 256 of them payload.
UF2_PAYLOAD, UF2_DATA = 256, 476
UF2_FAMILY_PRESENT = 0x2000
UF2_MAGIC = (0x0A324655, 0x9E5D5157, 0x0AB16F30)


def flash_content(elf: Path, board: Board) -> IntelHex:
    """What an image puts into flash, by address.

    Raises:
        UsageError: no image, or one of another core or memory map.
    """
    if board.memory is None:
        raise UsageError(f"board {board.name} has no flash", "it is a process on this computer")
    flash, content = board.memory.flash, IntelHex()
    content.padding = ERASED
    try:
        with elf.open("rb") as file:
            image = ELFFile(file)
            machine = image["e_machine"]
            for segment in image.iter_segments("PT_LOAD"):
                data, address = segment.data(), segment["p_paddr"]
                if not data:
                    continue
                if board.memory.loaded and board.memory.ram.holds(address):
                    continue  # the boot ROM puts it where it is used
                if not (flash.holds(address) and flash.holds(address + len(data) - 1)):
                    raise UsageError(
                        f"{elf}: holds {len(data)} bytes for {address:#x}; flash of board "
                        f"{board.name} is {flash.base:#x} to {flash.base + flash.bytes:#x}",
                        "the image of another board",
                        f"build it with --board {board.name}",
                    )
                content.frombytes(data, offset=address)
    except (ELFError, OSError) as error:
        raise UsageError(
            f"{elf}: is no image: {error}", "not an ELF file, or a damaged one",
            "`spikelet build` makes one",
        ) from error  # fmt: skip
    _check_machine(elf, machine, board)
    return content


def _check_machine(elf: Path, machine: str, board: Board) -> None:
    wanted = "EM_ARM" if board.target.arm else "EM_RISCV" if board.target.riscv else machine
    if machine != wanted:
        raise UsageError(
            f"{elf}: is for {MACHINES.get(machine, machine)}, board {board.name} has "
            f"{MACHINES[wanted]}",
            "the image of another board",
            f"build it with --board {board.name}",
        )


def write_image(
    content: IntelHex, kind: str, path: Path, base: int, family: int | None = None
) -> None:
    """Write one of the formats.

    Args:
        content: of flash.
        kind: hex, bin or uf2.
        path: of the file.
        base: first address of flash, and the address of the first byte of a .bin.
        family: of a .uf2.
    """
    match kind:
        case "hex":
            text = io.StringIO()
            content.write_hex_file(text)
            data = text.getvalue().encode("ascii")
        case "bin":
            data = content.tobinstr(start=base)
        case "uf2":
            data = uf2(content, family or 0)
        case _:
            raise ValueError(kind)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
        part.write(data)
    Path(part.name).chmod(0o644)
    Path(part.name).replace(path)  # several devices may be flashed from one folder at once


def uf2(content: IntelHex, family: int) -> bytes:
    """A UF2 file, after Microsoft's specification: a block for every 256 bytes that hold any.

    Args:
        content: of flash.
        family: of the part, as Microsoft's list has it.
    """
    pages = sorted({address // UF2_PAYLOAD for address in content.addresses()})
    first, second, last = UF2_MAGIC
    blocks = []
    for number, page in enumerate(pages):
        address = page * UF2_PAYLOAD
        data = content.tobinstr(start=address, size=UF2_PAYLOAD)
        head = (first, second, UF2_FAMILY_PRESENT, address, UF2_PAYLOAD, number, len(pages), family)
        blocks.append(struct.pack(f"<8I{UF2_DATA}sI", *head, data, last))
    return b"".join(blocks)
