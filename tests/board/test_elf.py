"""Our reader of ELF files against pyelftools."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from spikelet.board.elf import FUNCTION, GLOBAL, OBJECT, REL, RELA, Elf
from spikelet.board.image import read_image
from spikelet.board.spec import find_board
from spikelet.errors import UsageError
from support import need

SOURCE = """
extern int outside(const char *, void (*)(void));
int shared = 7;
static int zeros[9];
__attribute__((weak)) void weak(void) {}
static __attribute__((noinline)) int inside(int x) { return outside("text", weak) + zeros[x]; }
int entry(int x) { return inside(x) + shared; }
"""
# Relocations with and without addends, of 32 and of 64 bits.
COMPILERS = {"arm-none-eabi-gcc": REL, "riscv64-unknown-elf-gcc": RELA, "gcc": RELA}
OPTIONS = {"riscv64-unknown-elf-gcc": ["-march=rv32imac", "-mabi=ilp32"]}


@pytest.fixture(params=COMPILERS)
def compiled(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    need(request.param)
    source, to = tmp_path / "source.c", tmp_path / "source.o"
    source.write_text(SOURCE)
    options = ["-O1", "-g", "-ffunction-sections", *OPTIONS.get(request.param, [])]
    subprocess.run([request.param, *options, "-c", source, "-o", to], check=True)
    return request.param, to


def test_tables_are_those_of_pyelftools(compiled: tuple[str, Path]) -> None:
    compiler, path = compiled
    file = Elf.read(path)
    with path.open("rb") as stream:
        oracle = ELFFile(stream)
        sections = [*oracle.iter_sections()]
        assert [tuple(section)[:1] + tuple(section)[2:] for section in file.sections] == [
            (
                s.name, s["sh_flags"], s["sh_addr"], s["sh_offset"], s["sh_size"], s["sh_link"],
                s["sh_info"],
            )
            for s in sections
        ]  # fmt: skip
        table = oracle.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbols = [*table.iter_symbols()]
        assert [(s.name, s.value, s.bytes) for s in file.symbols] == [
            (s.name, s["st_value"], s["st_size"]) for s in symbols
        ]
        relocated = 0
        for ours, theirs in zip(file.sections, sections, strict=True):
            assert (ours.type in (REL, RELA)) == isinstance(theirs, RelocationSection)
            if isinstance(theirs, RelocationSection):
                assert ours.type == COMPILERS[compiler]
                expected = [(r["r_info_sym"], r["r_info_type"]) for r in theirs.iter_relocations()]
                assert [*file.relocations(ours)] == expected
                relocated += len(expected)
            if theirs["sh_type"] != "SHT_NOBITS":
                assert file.of(ours) == theirs.data()
        assert relocated >= 4


def test_symbols_say_what_they_are(compiled: tuple[str, Path]) -> None:
    file = Elf.read(compiled[1])
    by_name = {symbol.name: symbol for symbol in file.symbols}
    assert (by_name["entry"].type, by_name["entry"].binding) == (FUNCTION, GLOBAL)
    assert file.sections[by_name["entry"].section].name == ".text.entry"
    assert (by_name["shared"].type, by_name["shared"].bytes) == (OBJECT, 4)
    assert by_name["outside"].section == 0
    assert file.of(file.sections[by_name["shared"].section]) == b"\x07\0\0\0"


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x01\x02" + bytes(99), bytes(99)])
def test_another_format_is_a_named_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.o"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is no ELF file of a little-endian core"):
        Elf.read(path)


def test_a_program_of_another_format_has_no_sizes(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"\xcf\xfa\xed\xfe" + bytes(99))
    assert read_image(path, find_board("native")).flash_bytes == 0
