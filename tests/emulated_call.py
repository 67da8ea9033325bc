"""Calls a function of a bare image on an emulated core: its answer, instructions and stack."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RAM, MAPPED = 0x300000, 1 << 22
GIVEN, COUNTER = RAM, RAM + 0x20000  # where arguments lie
TOP, END = RAM + 0x80000, MAPPED - 16  # of the stack; where a call returns to
STACK, PATTERN = 0x8000, 0xA5

# What compilers call where there is no C library.
STRINGS = """
#include <stddef.h>
void *memset(void *to, int value, size_t n) {
    for (unsigned char *at = to; n--; at++) *at = (unsigned char)value;
    return to;
}
void *memcpy(void *to, const void *from, size_t n) {
    for (size_t i = 0; i < n; i++) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
    return to;
}
"""


@dataclass(frozen=True)
class Answer:
    """What a call gave.

    Attributes:
        status: what the function returned.
        counter: what it left there.
        instructions: executed.
        stack_bytes: that were written.
    """

    status: int
    counter: int
    instructions: int
    stack_bytes: int


class Core:
    """An image in unicorn; functions take (bytes, their number, a pointer to a counter)."""

    def __init__(self, elf: Path, core: str) -> None:
        """Load the image; `core` is rv32imac or a Cortex-M."""
        from elftools.elf.elffile import ELFFile

        self._arm = core.startswith("cortex")
        self._machine = machine = self._opened()
        with elf.open("rb") as file:
            image = ELFFile(file)
            for segment in image.iter_segments("PT_LOAD"):
                machine.mem_write(segment["p_vaddr"], segment.data())
            table = image.get_section_by_name(".symtab")
            self._functions = {s.name: s["st_value"] for s in table.iter_symbols()}
            sizes = [s["sh_size"] for s in image.iter_sections() if s["sh_flags"] & 2 and
                     s["sh_type"] == "SHT_PROGBITS" and not s["sh_flags"] & 1]  # fmt: skip
        self.code_bytes = sum(sizes)

    def _opened(self) -> Any:
        import unicorn

        kind = (
            (unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
            if self._arm
            else (unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        )
        machine = unicorn.Uc(*kind)
        machine.mem_map(0, MAPPED)
        machine.hook_add(unicorn.UC_HOOK_BLOCK, self._block)
        self._sizes: dict[tuple[int, int], int] = {}
        self._count = 0
        return machine

    def _block(self, machine: Any, address: int, size: int, _: object) -> None:
        count = self._sizes.get((address, size))
        if count is None:
            count = self._sizes[address, size] = self._instructions(
                bytes(machine.mem_read(address, size))
            )
        self._count += count

    def _instructions(self, code: bytes) -> int:
        """How many there are: both sets have some of 2 and some of 4 bytes."""
        at = count = 0
        while at < len(code):
            (half,) = struct.unpack_from("<H", code, at)
            long = half >> 11 in (0b11101, 0b11110, 0b11111) if self._arm else half & 3 == 3
            at, count = at + (4 if long else 2), count + 1
        return count

    def call(self, function: str, given: bytes, counter: int) -> Answer:
        """Call it; the stack is filled before, and what is left of it tells how deep it went."""
        from unicorn import arm_const as arm
        from unicorn import riscv_const as riscv

        machine, self._count = self._machine, 0
        machine.mem_write(GIVEN, given or b"\0")
        machine.mem_write(COUNTER, struct.pack("<I", counter))
        machine.mem_write(TOP - STACK, bytes([PATTERN]) * STACK)
        names = ("SP", "LR", "R0", "R1", "R2") if self._arm else ("SP", "RA", "A0", "A1", "A2")
        prefix, module = ("UC_ARM_REG_", arm) if self._arm else ("UC_RISCV_REG_", riscv)
        registers = [getattr(module, prefix + name) for name in names]
        thumb = int(self._arm)
        values = (TOP, END | thumb, GIVEN, len(given), COUNTER)
        for register, value in zip(registers, values, strict=True):
            machine.reg_write(register, value)
        machine.emu_start(self._functions[function] | thumb, END)
        (status,) = struct.unpack("<i", struct.pack("<I", machine.reg_read(registers[2])))
        left = bytes(machine.mem_read(TOP - STACK, STACK))
        used = len(left.lstrip(bytes([PATTERN])))
        return Answer(status, *struct.unpack("<I", machine.mem_read(COUNTER, 4)), self._count, used)
