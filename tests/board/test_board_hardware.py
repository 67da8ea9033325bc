"""Boards of hardware: each builds, fits its part, and begins with what the part looks for."""

from __future__ import annotations

import hashlib
import itertools
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from intelhex import IntelHex

from once import Once
from probes import PROBE, tool_of
from spikelet.board import Firmware, boards, build
from spikelet.board.flashing import plan_flash
from spikelet.board.image_files import flash_content
from support import need

# Of the datasheets: bytes of flash and of RAM that the image may use, its first word's address.
PARTS = {
    "ch32v003": (16 << 10, 2 << 10),  # tests/codegen/test_library_ch32v003.py builds for it
    "ch32v203": (64 << 10, 20 << 10),
    "esp32-c3": (4 << 20, 400 << 10),
    "hifive1-revb": (4 << 20, 16 << 10),
    "longan-nano": (128 << 10, 32 << 10),
    "microbit": (256 << 10, 16 << 10),
    "nrf52840-dk": (1 << 20, 256 << 10),
    "nucleo-h743zi": (2 << 20, 512 << 10),
    "nucleo-l4r5zi": (2 << 20, 640 << 10),
    "pico2": (4 << 20, 520 << 10),
    "pico2-riscv": (4 << 20, 520 << 10),
}
# Of the ESP32-C3: its SRAM as instructions and as data see it, and what its ROM uses of it.
SRAM_CODE, SRAM_DATA, SRAM_BYTES, ROM_USES = 0x4038_0000, 0x3FC8_0000, 0x6_0000, 0x3FCD_C710
LINKED = [name for name in PARTS if not boards()[name].library]
EACH = [
    pytest.param(board, toolchain, marks=[pytest.mark.long] * (toolchain == "gcc"))
    for board in LINKED
    for toolchain in ("zig", "gcc")
]


def image(once: Once, board: str, toolchain: str) -> Firmware:
    need(tool_of(board, toolchain))
    made: Firmware = once(
        f"probe-{board}-{toolchain}", lambda folder: build(PROBE, board, folder, toolchain)
    )
    return made


def word(data: bytes, at: int) -> int:
    (value,) = struct.unpack_from("<I", data, at)
    return int(value)


def test_every_board_of_hardware_is_here_and_says_what_was_tried() -> None:
    hardware = {name for name, board in boards().items() if board.silicon}
    assert hardware == set(PARTS)
    for name in hardware:
        board = boards()[name]
        assert board.silicon == "not yet run on silicon" and board.proof and board.flash
        assert board.mhz and board.tick == "cycle"


@pytest.mark.parametrize(("board", "toolchain"), EACH)
def test_an_image_fits_the_part_and_begins_as_it_must(
    once: Once, board: str, toolchain: str
) -> None:
    made = image(once, board, toolchain)
    memory = made.board.memory
    assert memory is not None
    flash, ram = PARTS[board]
    storage = memory.storage.bytes if memory.storage else 0
    assert memory.flash.bytes + storage <= flash and memory.ram.bytes <= ram
    assert made.flash_bytes < 14 << 10  # esp32-c3, soft floats in the probe: 13,356 bytes
    assert made.ram_bytes + memory.stack_bytes <= memory.ram.bytes
    content = flash_content(made.elf, made.board)
    start = bytes(content.tobinarray(start=memory.flash.base, size=1024))
    with made.elf.open("rb") as file:
        elf = ELFFile(file)
        symbols = elf.get_section_by_name(".symtab")
        irq = made.board.defines["SPK_UART_IRQ"]
        if made.board.target.riscv:
            entry = symbols.get_symbol_by_name("_start")[0]["st_value"]
            assert entry == memory.flash.base  # the core starts at the first instruction
        else:
            handler = symbols.get_symbol_by_name("spk_uart_interrupt")[0]["st_value"]
            top = symbols.get_symbol_by_name("__stack_top")[0]["st_value"]
            assert word(start, 0) == top == memory.ram.base + memory.stack_bytes
            entry = symbols.get_symbol_by_name("spk_arm_start")[0]["st_value"]
            assert word(start, 4) == entry and entry & 1
            assert word(start, 4 * (16 + irq)) == handler and handler & 1
        if made.board.defines.get("SPK_RAM_CODE"):
            name = "trap" if made.board.target.riscv else "spk_uart_interrupt"
            where = symbols.get_symbol_by_name(name)[0]["st_value"]
            assert memory.ram.holds(where)
            inner = symbols.get_symbol_by_name("spk_uart_receive")[0]["st_value"]
            assert memory.ram.holds(inner)


@pytest.mark.parametrize(("board", "toolchain"), EACH)
def test_every_section_lies_where_the_memory_map_has_room(
    once: Once, board: str, toolchain: str
) -> None:
    made = image(once, board, toolchain)
    memory = made.board.memory
    assert memory is not None
    regions = {"flash": memory.flash, "ram": memory.ram}
    if memory.storage:
        regions["storage"] = memory.storage
    ordered = sorted(regions.values(), key=lambda region: region.base)
    for low, high in itertools.pairwise(ordered):
        assert low.base + low.bytes <= high.base
    if memory.storage and not memory.loaded:  # in the part's own flash, in whole pages
        assert memory.storage.base % memory.storage.page_bytes == 0
        end = memory.storage.base + memory.storage.bytes
        assert end <= (memory.flash.base & ~0xFFFFF) + PARTS[board][0]
    same = {SRAM_DATA - SRAM_CODE} if memory.loaded else set()
    with made.elf.open("rb") as file:
        elf = ELFFile(file)
        for section in elf.iter_sections():
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"]:
                start = section["sh_addr"]
                last = start + section["sh_size"] - 1
                assert any(
                    region.holds(start - shift) and region.holds(last - shift)
                    for region in (memory.flash, memory.ram)
                    for shift in (0, *same)
                ), section.name
        trap = elf.get_section_by_name(".symtab").get_symbol_by_name("trap")
    if trap:  # RISC-V: what mtvec holds
        assert trap[0]["st_value"] % made.board.defines.get("SPK_TRAP_ALIGN", 4) == 0


@pytest.mark.parametrize("board", LINKED)
def test_each_tool_is_given_what_it_takes(once: Once, board: str, tmp_path: Path) -> None:
    """Every [flash.TOOL]: its files are written, hold the image, and are named in its calls."""
    made = image(once, board, "zig")
    assert made.board.memory is not None
    base = made.board.memory.flash.base
    elf = tmp_path / "firmware.elf"
    elf.write_bytes(made.elf.read_bytes())
    content = flash_content(elf, made.board)
    for tool in made.board.flash:
        port = str(tmp_path) if tool == "copy" else "/dev/ttyUSB0"
        planned = plan_flash(elf, made.board, tool, port)
        said = " ".join(planned.lines)
        assert any(str(path) in said for path in planned.files.values()), said
        for kind, path in planned.files.items():
            if kind == "hex":
                assert IntelHex(str(path)).todict() == content.todict()
            elif kind == "bin":
                assert path.read_bytes() == content.tobinstr(start=base)
            elif kind == "uf2":
                blocks = path.read_bytes()
                at = [word(blocks, i + 12) for i in range(0, len(blocks), 512)]
                assert at == sorted(at) and at[0] == base


@pytest.mark.parametrize(("board", "image_type"), [("pico2", 0x1021), ("pico2-riscv", 0x1101)])
def test_what_rp2350_is_given_has_its_image_definition(
    once: Once, board: str, image_type: int, tmp_path: Path
) -> None:
    """As the datasheet has it (5.9): in the first 4 KB, a loop of one block, and the right UF2."""
    made = image(once, board, "zig")
    elf = tmp_path / "firmware.elf"
    elf.write_bytes(made.elf.read_bytes())
    planned = plan_flash(elf, made.board, "copy", str(tmp_path))
    data = planned.files["uf2"].read_bytes()
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    assert {word(block, 28) for block in blocks} == {made.board.flash["copy"].family}
    assert word(blocks[0], 12) == 0x1000_0000 and word(blocks[0], 8) == 0x2000
    flash = b"".join(block[32 : 32 + 256] for block in blocks)[:4096]
    at = flash.index(struct.pack("<I", 0xFFFF_DED3))
    assert at % 4 == 0
    assert [word(flash, at + 4 * i) for i in range(5)] == [
        0xFFFF_DED3, image_type << 16 | 0x0142, 0x01FF, 0, 0xAB12_3579,
    ]  # fmt: skip


def test_the_rate_of_each_uart_is_near_what_the_host_opens() -> None:
    """Cycles of the clock a bit, rounded: as the drivers compute it."""
    for name in PARTS:
        board = boards()[name]
        hz = board.defines.get("SPK_UART_HZ")
        for baud in (board.baud, 921_600) if hz else ():
            assert hz is not None
            real = hz / round(hz / baud)
            assert abs(real / baud - 1) < 0.02, name
    assert Path(PROBE).is_dir()


def test_what_esp32_c3_is_given_is_the_image_that_its_rom_reads(once: Once, tmp_path: Path) -> None:
    """Its technical reference manual and esptool's documentation of the image format."""
    made = image(once, "esp32-c3", "zig")
    elf = tmp_path / "firmware.elf"
    elf.write_bytes(made.elf.read_bytes())
    planned = plan_flash(elf, made.board, "esptool", "/dev/ttyUSB0")
    first, second = planned.commands
    assert first[3] == "elf2image" and second[-3:-1] == ("write-flash", "0x0")
    if planned.missing:
        pytest.skip("esptool is not installed")
    subprocess.run(first, check=True, capture_output=True)
    data = Path(second[-1]).read_bytes()
    magic, count, mode, size_and_rate, entry = struct.unpack_from("<4BI", data)
    chip, hashed = struct.unpack_from("<H", data, 12)[0], data[23]
    assert (magic, mode, size_and_rate, chip, hashed) == (0xE9, 2, 0x20, 5, 1)
    at, held, checksum = 24, bytearray(SRAM_BYTES), 0xEF
    for _ in range(count):
        address, size = struct.unpack_from("<2I", data, at)
        part = data[at + 8 : at + 8 + size]
        base = SRAM_CODE if address >= SRAM_CODE else SRAM_DATA
        assert base <= address and address + size - base <= ROM_USES - SRAM_DATA
        held[address - base : address - base + size] = part
        for byte in part:
            checksum ^= byte
        at += 8 + size
    end = at // 16 * 16 + 16  # the last byte of a line of 16
    assert data[end - 1] == checksum
    assert data[end:] == hashlib.sha256(data[:end]).digest()
    with elf.open("rb") as file:
        loaded = ELFFile(file)
        assert loaded["e_entry"] == entry
        for segment in loaded.iter_segments("PT_LOAD"):
            start, part = segment["p_vaddr"], segment.data()
            start -= SRAM_CODE if start >= SRAM_CODE else SRAM_DATA
            assert held[start : start + len(part)] == part
