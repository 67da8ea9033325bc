"""Images for RV32E: QEMU executes what such a core has not, so the image itself is read."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from binary_graphs import binary_layers
from int8_graphs import join, low_bits
from spikelet.board import find_board
from spikelet.run import make
from support import need
from targets import make_package

FLAGS = 36  # offset of e_flags in the header of a 32-bit ELF
EF_RISCV_RVE = 8
MISSING = re.compile(r"\bx(1[6-9]|2\d|3[01])\b")
MULTIPLIES = re.compile(r"\t(mul|mulh\w*|div|divu|rem|remu|amo\w+|lr\.w|sc\.w)\t")


def disassembly(elf: Path) -> str:
    tool = "riscv64-unknown-elf-objdump"
    need(tool)
    command = [tool, "-d", "-M", "numeric,no-aliases", str(elf)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("toolchain", ["gcc", pytest.param("zig", marks=pytest.mark.long)])
def test_an_image_keeps_to_sixteen_registers_and_adds(toolchain: str, tmp_path: Path) -> None:
    board = find_board("virt-rv32e")
    need(board.toolchains[toolchain].command[0])
    package = make_package(join(low_bits(0, 8), binary_layers()), 1)
    elf = make(package, board, tmp_path, toolchain=toolchain).firmware.elf
    (flags,) = struct.unpack_from("<I", elf.read_bytes(), FLAGS)
    assert flags & EF_RISCV_RVE
    text = disassembly(elf)
    assert len(text.splitlines()) > 2000 and re.search(r"\bx15\b", text)
    assert MISSING.findall(text) == [] and MULTIPLIES.findall(text) == []


def test_the_same_image_of_a_larger_core_is_told_apart(tmp_path: Path) -> None:
    """The test above can fail."""
    need("riscv64-unknown-elf-gcc")
    package = make_package(binary_layers(), 1)
    elf = make(package, find_board("virt-rv32"), tmp_path, toolchain="gcc").firmware.elf
    (flags,) = struct.unpack_from("<I", elf.read_bytes(), FLAGS)
    text = disassembly(elf)
    assert not flags & EF_RISCV_RVE and MISSING.search(text) and MULTIPLIES.search(text)
