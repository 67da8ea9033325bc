"""A model's C library in a program of CH32V003's class: RV32EC, 16 KB of flash, 2 KB of RAM."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from spikelet.board import find_board
from spikelet.graph import Array, Graph, Tensor
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.requantise import quantize_multiplier
from spikelet.graph.target import Target
from spikelet.package import Package
from spikelet.run.exported import export_c
from support import need

PROGRAM = Path(__file__).resolve().parents[1] / "library" / "ch32v003"
HIDDEN, SAMPLES = 30, 120
GCC = "riscv64-unknown-elf-gcc"
CORE = ("-march=rv32ec_zicsr", "-mabi=ilp32e")
STRICT = ("-std=c11", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-ffunction-sections")


def digits() -> tuple[Array, Array]:
    """Digits of 16 x 16 pixels as int8 codes, and what they are."""
    images, labels = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8), np.ones((1, 2, 2)))
    return np.minimum(large.reshape(-1, 256) * 16 - 128, 127).astype(np.int8), labels


def dense(
    name: str, source: str, codes: Array, bits: int, bias: Array, scale: Array
) -> FullyConnected:
    pairs = [quantize_multiplier(float(s)) for s in scale]
    multiplier, shift = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
    return FullyConnected(
        name=name, inputs=(source,), weight=codes.astype(np.int8), bits=bits, odd=True,
        bias=np.rint(bias).astype(np.int32), multiplier=multiplier, shift=shift,
        output_scale=1.0, output_zero_point=-128 if name == "hidden" else 0,
    )  # fmt: skip


def network(x: Array, y: Array) -> Graph:
    """256-30-10: random signs, and scores of 4 bits that are fitted by ridge regression."""
    signs = np.random.default_rng(0).integers(-1, 1, (HIDDEN, 256))
    sums = (x.astype(int) + 128) @ (2 * signs + 1).T
    scale, bias = 60 / sums.std(), -sums.mean(axis=0)
    seen = np.clip(np.rint((sums + bias) * scale), 0, 255)
    seen = np.column_stack([seen, np.ones(len(x))])
    ridge = seen.T @ seen + 1e3 * np.eye(HIDDEN + 1)
    weight = np.linalg.solve(ridge, seen.T @ np.eye(10)[y])
    step = 0.8 * np.abs(weight[:-1]).max(axis=0) / 16
    codes = np.clip(np.floor(weight[:-1] / (2 * step)), -8, 7).T
    spread = 40 / (seen[:, :-1] @ (2 * codes + 1).T * step).std()
    nodes = [
        dense("hidden", "x", signs, 1, bias, np.full(HIDDEN, scale)),
        dense("scores", "hidden", codes, 4, weight[-1] / step, step * spread),
    ]
    x_in = Tensor("x", "i8", (256,), kind="input", zero_point=-128)
    return Graph("mlp", 1, [x_in], nodes, ["scores"])


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


def test_a_network_of_a_kilobyte_runs_in_two(tmp_path: Path) -> None:
    for tool in (GCC, "qemu-system-riscv32"):
        need(tool)
    x, y = digits()
    odd = x[1::2][:SAMPLES]
    package = Package(network(x[::2], y[::2]), {"x": odd}, {}).with_golden()
    made = export_c(package, tmp_path / "mlp", Target.of_core("rv32ec"), name="mlp")
    assert (made.arena_bytes, package.graph.order[0].cost().macs) == (672, 7680)
    elf = compiled(tmp_path / "mlp")

    machine = find_board("virt-rv32e").machines["qemu"].argv
    argv = [argument.format(elf=elf) for argument in machine]
    sensor = tmp_path / "sensor"
    sensor.write_bytes(bytes([SAMPLES]) + odd.tobytes())
    argv += ["-device", f"loader,file={sensor},addr=0x80600000,force-raw=on"]
    said = subprocess.run(argv, capture_output=True, timeout=60, check=True).stdout
    rows = np.frombuffer(said[:-4], np.uint8).reshape(SAMPLES, 14)
    scores = rows[:, :10].view(np.int8)
    assert np.array_equal(scores, package.vectors["golden.scores"])
    assert np.mean(scores.argmax(axis=1) == y[1::2][:SAMPLES]) > 0.75

    instructions = rows[:, 10:].copy().view("<u4")
    (stack,) = struct.unpack("<I", said[-4:])
    flash, static = symbol(elf, "flash_used"), symbol(elf, "bss_end") - 0x8040_0000
    assert 23_000 < instructions.min() and instructions.max() < 24_000
    assert (flash, static) < (3700, 700) and 100 < stack < 200
