"""A model's C library in a program of CH32V003's class: RV32EC, 16 KB of flash, 2 KB of RAM."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import numpy as np

from spikelet.board import find_board
from spikelet.graph.target import Target
from spikelet.package import Package
from spikelet.paths import house_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.run.exported import export_c
from support import need

PROGRAM = Path(__file__).resolve().parents[1] / "library" / "ch32v003"
GCC = "riscv64-unknown-elf-gcc"
CORE = ("-march=rv32ec_zicsr", "-mabi=ilp32e")
STRICT = ("-std=c11", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-ffunction-sections")


def compiled(folder: Path) -> Path:
    """The program with the library of `folder`, linked to 16 KB and 2 KB."""
    objects = []
    for source in (folder / "src" / "mlp.c", PROGRAM / "main.c"):
        objects.append(folder / f"{source.stem}.o")
        flags = (*CORE, *STRICT, "-I", folder / "include", "-c", source, "-o", objects[-1])
        subprocess.run([GCC, *flags], check=True)
    elf = folder / "program.elf"
    link = ("-nostdlib", "-Wl,--gc-sections", "-T", PROGRAM / "small.ld")
    libgcc = ("-march=rv32ec", "-lgcc")  # found under the plain name
    subprocess.run([GCC, *CORE, *link, *objects, *libgcc, "-o", elf], check=True)
    return elf


def symbol(elf: Path, name: str) -> int:
    listed = subprocess.run(["riscv64-unknown-elf-nm", elf], capture_output=True, text=True)
    match = re.search(rf"^(\w+) \w {name}$", listed.stdout, re.MULTILINE)
    assert match is not None
    return int(match[1], 16)


def test_digits_by_a_kilobyte_of_weights_run_in_two_of_ram(tmp_path: Path) -> None:
    for tool in (GCC, "qemu-system-riscv32"):
        need(tool)
    package = Package.load(house_dir() / "models" / "mnist_mlp" / "mnist_mlp.spk")
    made = export_c(package, tmp_path / "mlp", Target.of_core("rv32ec"), name="mlp")
    elf = compiled(tmp_path / "mlp")

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
