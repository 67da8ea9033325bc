"""A model's C library in a program of CH32V003's class: RV32EC, 16 KB of flash, 2 KB of RAM."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from spikelet.board import find_board
from spikelet.board.flashing import plan_flash
from spikelet.board.image_files import flash_content
from spikelet.board.toolchain import choose_toolchain
from spikelet.codegen.library import Library
from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.paths import house_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.run.exported import export_c
from support import need

VIRT = Path(__file__).resolve().parents[1] / "library" / "ch32v003"
GCC = "riscv64-unknown-elf-gcc"
STRICT = ("-std=c11", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-ffunction-sections")
FLASH, RAM = 16384, 2048


def library(folder: Path) -> Library:
    package = Package.load(house_dir() / "models" / "mnist_mlp" / "mnist_mlp.spk")
    return export_c(package, folder, find_board("ch32v003"), name="mlp")


def compiled(folder: Path, part: Path, script: Path, toolchain: str = "gcc") -> Path:
    """The board's firmware with the library of `folder`, for the part or for an emulator."""
    board = find_board("ch32v003")
    spec = board.toolchains[toolchain]
    need(spec.command[0])
    _, command = choose_toolchain(board, toolchain)
    includes = ("-I", folder / "include", "-I", board.folder)
    objects = []
    for source in (folder / "src" / "mlp.c", board.path("main.c"), part):
        objects.append(folder / f"{source.stem}-{toolchain}.o")
        flags = (*spec.flags, *STRICT, "-fno-math-errno", *includes)
        subprocess.run([*command, *flags, "-c", source, "-o", objects[-1]], check=True)
    elf = folder / f"{script.stem}-{toolchain}.elf"
    link = ("-nostdlib", "-static", "-Wl,--gc-sections", "-L.", "-T", script)
    linking = [*command, *spec.flags, *link, *objects, *spec.link, "-o", elf]
    subprocess.run(linking, cwd=board.folder, check=True)
    return elf


def symbol(elf: Path, name: str) -> int:
    listed = subprocess.run(["riscv64-unknown-elf-nm", elf], capture_output=True, text=True)
    match = re.search(rf"^(\w+) \w {name}$", listed.stdout, re.MULTILINE)
    assert match is not None
    return int(match[1], 16)


def test_digits_by_a_kilobyte_of_weights_run_in_two_of_ram(tmp_path: Path) -> None:
    need("qemu-system-riscv32")
    package = Package.load(house_dir() / "models" / "mnist_mlp" / "mnist_mlp.spk")
    made = library(tmp_path / "mlp")
    assert made.arena_bytes <= 1024 and made.constant_bytes <= 10240
    elf = compiled(tmp_path / "mlp", VIRT / "virt.c", VIRT / "virt.ld")

    x, golden = package.inputs["x"], package.vectors[f"golden.{package.graph.outputs[0]}"]
    sensor = tmp_path / "sensor"
    sensor.write_bytes(bytes([len(x)]) + x.tobytes())
    argv = [argument.format(elf=elf) for argument in find_board("virt-rv32e").machines["qemu"].argv]
    argv += ["-device", f"loader,file={sensor},addr=0x80600000,force-raw=on"]
    said = subprocess.run(argv, capture_output=True, timeout=60, check=True).stdout
    rows = np.frombuffer(said[:-4], np.uint8).reshape(len(x), 14)
    assert np.array_equal(rows[:, :10].view(np.int8), golden.reshape(len(x), 10))

    instructions = rows[:, 10:].copy().view("<u4")
    (stack,) = struct.unpack("<I", said[-4:])
    flash, static = symbol(elf, "flash_used"), symbol(elf, "bss_end") - 0x8040_0000
    assert 50_000 < instructions.min() and instructions.max() < 55_000
    assert flash < 6000 and made.arena_bytes <= static < 750 and 100 < stack < 256


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_the_firmware_of_the_part_fits_it_and_begins_where_the_part_does(
    toolchain: str, tmp_path: Path
) -> None:
    board = find_board("ch32v003")
    assert board.memory and (board.memory.flash.bytes, board.memory.ram.bytes) == (FLASH, RAM)
    library(tmp_path / "mlp")
    elf = compiled(tmp_path / "mlp", board.path("part.c"), board.path(board.link_script), toolchain)
    flash, static = symbol(elf, "flash_used"), symbol(elf, "bss_end") - board.memory.ram.base
    assert 4000 < flash < FLASH // 2 and 720 <= static < RAM - 1024
    content = flash_content(elf, board)
    assert symbol(elf, "_start") == board.memory.flash.base == content.minaddr()
    (first,) = struct.unpack("<I", content.tobinstr(start=board.memory.flash.base, size=4))
    assert (
        first & 0x7F == 0x37 and first >> 12 == board.memory.flash.base >> 12
    )  # lui: on to itself
    assert re.search(r"flash .*wlink|wlink .*flash", " ".join(plan_flash(elf, board).lines))


def test_the_agent_is_refused_there_with_what_to_do(tmp_path: Path) -> None:
    package = Package.load(house_dir() / "models" / "mnist_mlp" / "mnist_mlp.spk")
    with pytest.raises(UsageError, match="no room for the agent") as caught:
        make(package, find_board("ch32v003"), tmp_path)
    assert "export --c DIR --board ch32v003" in caught.value.next


def test_they_run_there_with_the_link_too(tmp_path: Path) -> None:
    for tool in (GCC, "qemu-system-riscv32"):
        need(tool)
    package = Package.load(house_dir() / "models" / "mnist_mlp" / "mnist_mlp.spk")
    board = find_board("virt-rv32e")
    built = make(package, board, tmp_path / "build", toolchain="gcc")
    target, folder = SessionTarget(board, built, "qemu"), SessionFolder(tmp_path / "session")
    summary, _ = run(package, target, package_stream(package).head(8), folder)
    assert summary["mismatches"] == 0 and summary["samples"] == 8
    assert summary["link"]["bad_frames"] == 0
    assert summary["ram_bytes"] + summary["stack_bytes"] <= 2048
    assert summary["flash_bytes"] <= 16384
