"""What runs while flash cannot be read lies in RAM, and reaches for nothing that lies in flash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from once import Once
from probes import built
from spikelet.board import boards

# A fault ends what runs, flash or not: what resets the part may lie anywhere.
ENDS = {("trap", "spk_rv32_reset")}
# By the source that erases and writes the board's flash, the functions that do.
FLASH = {
    "common/flash_stm32f1.c": {"erase", "program", "flash_wait"},
    "common/flash_sifive_spi.c": {"flash_change", "exchange", "begin", "end"},
    "common/nrf.c": {"nvmc", "spk_board_storage_erase", "spk_board_storage_write"},
    "common/rp2350.c": {"flash_change"},
}
IN_RAM = (".ramfunc", ".data", ".sdata", ".bss", ".sbss", ".noinit")
EACH = [
    pytest.param(name, toolchain, marks=[pytest.mark.long] * (toolchain == "gcc"))
    for name, board in boards().items()
    if board.defines.get("SPK_RAM_CODE")
    for toolchain in ("zig", "gcc")
]


def in_ram(path: Path) -> Iterator[tuple[str, str, str]]:
    """Of each relocation of code for RAM: its function, the symbol, and the symbol's section."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        symbols: Any = elf.get_section_by_name(".symtab")
        for section in elf.iter_sections():
            target: Any = (
                elf.get_section(section["sh_info"])
                if isinstance(section, RelocationSection)
                else None
            )
            if target is None or not target.name.startswith(".ramfunc"):
                continue
            inside = section["sh_info"]
            (name,) = {
                s.name
                for s in symbols.iter_symbols()
                if s["st_info"]["type"] == "STT_FUNC" and s["st_shndx"] == inside
            }
            for one in filter(lambda one: one["r_info_sym"], section.iter_relocations()):
                symbol = symbols.get_symbol(one["r_info_sym"])
                index = symbol["st_shndx"]
                where = elf.get_section(index).name if isinstance(index, int) else ""
                yield name, symbol.name, where


@pytest.mark.parametrize(("name", "toolchain"), EACH)
def test_nothing_in_ram_reaches_into_flash(once: Once, name: str, toolchain: str) -> None:
    board = boards()[name]
    assert board.memory is not None
    elf, objects = built(once, name, toolchain)
    with elf.open("rb") as file:
        symbols: Any = ELFFile(file).get_section_by_name(".symtab")
        at = {s.name: s["st_value"] & ~1 for s in symbols.iter_symbols()}
    inside = {function for function, address in at.items() if board.memory.ram.holds(address)}
    wanted = {"spk_uart_receive", "trap" if board.target.riscv else "spk_uart_interrupt"}
    for source, names in FLASH.items():
        wanted |= names if source in board.sources else set()
    assert wanted <= inside
    wrong, looked = set(), set()
    for path in objects:
        for function, symbol, section in in_ram(path):
            looked.add(function)
            flash = (
                not section.startswith(IN_RAM)
                if section
                else board.memory.flash.holds(at.get(symbol, 0))
            )
            if flash and (function, symbol) not in ENDS:
                wrong.add(f"{function} reaches for {symbol} {section}")
    assert {"spk_uart_receive"} < looked
    assert not wrong


def test_the_source_that_writes_flash_is_listed_here() -> None:
    """A board that executes from the flash that it writes says which functions do it."""
    for name, board in boards().items():
        memory = board.memory
        if memory and memory.storage and board.silicon and board.defines.get("SPK_RAM_CODE"):
            assert set(board.sources) & set(FLASH), name
