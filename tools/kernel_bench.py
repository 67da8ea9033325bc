"""What the low-bit and binary kernels cost: instructions a multiply-accumulate, beside their bars.

Layers of the shapes that other engines are measured on, in one package, with random weights and
inputs. `spikelet bench` counts them on emulated boards, requantisation and all included; a
difference to golden fails it. `python tools/kernel_bench.py [--only TEXT]`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from bench import bench

from spikelet.board import find_board
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.binary_conv2d import BinaryConv2d
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.package import Package

PLAIN, ZBB, ADDS, M0 = "virt-rv32", "virt-rv32b", "virt-rv32e", "cortex-m0"
# The boards with a Cortex-M0 have too little RAM for all layers.
M0_BOARD = """
name = "cortex-m0"
description = "an MPS2 that executes a Cortex-M0's instructions"
extends = "mps2-an386"
isa = "armv6-m"
core = "Cortex-M0"
memory = { stack_bytes = 16384 }
machines = { qemu = { argv = %s } }
toolchains = { gcc = { flags = ["-mcpu=cortex-m0", "-mthumb"] } }
"""
SAMPLES = 2
Bits = Literal[1, 2, 4, 8]


@dataclass(frozen=True)
class Layer:
    """A layer that is measured.

    Attributes:
        name: of the row.
        image: (H, W, I), or (I,) of a dense layer.
        outputs: channels.
        kernel: its height and width.
        weights: bits, and whether the grid is odd; None for signs on signs.
        outside: of signs, see BinaryConv2d.
        depthwise: each channel by itself.
        bars: by board, the most instructions a multiply-accumulate.
    """

    name: str
    image: tuple[int, ...]
    outputs: int
    kernel: int = 1
    weights: tuple[Bits, bool] | None = None
    outside: Literal[-1, 0, 1] = -1
    depthwise: bool = False
    bars: Mapping[str, float] = field(default_factory=dict)


LAYERS = (
    Layer("1w1a dense 1024-64", (1024,), 64, bars={PLAIN: 0.38, ZBB: 0.16, ADDS: 0.8, M0: 0.8}),
    Layer("1w1a 3x3 32-32", (16, 16, 32), 32, 3, bars={PLAIN: 0.45, ZBB: 0.22}),
    Layer("1w1a 3x3 32-32, masked border", (16, 16, 32), 32, 3, outside=0),
    Layer("1w8a 3x3 32-32", (16, 16, 32), 32, 3, (1, True), bars={PLAIN: 1.1, ZBB: 0.80}),
    Layer("1w8a 3x3 16-16", (32, 32, 16), 16, 3, (1, True)),
    Layer(
        "1w8a dense 1024-64",
        (1024,),
        64,
        1,
        (1, True),
        bars={PLAIN: 2.15, ZBB: 1.65, ADDS: 3.5, M0: 3.5},
    ),
    Layer("2w8a 1x1 64-64", (25, 5, 64), 64, 1, (2, True), bars={PLAIN: 2.1, ZBB: 2.1}),
    Layer("4w8a 1x1 64-64", (25, 5, 64), 64, 1, (4, True), bars={PLAIN: 2.35, ZBB: 2.35}),
    Layer("4w8a 3x3 16-16", (32, 32, 16), 16, 3, (4, True)),
    Layer("8w8a 3x3 depthwise 32", (16, 16, 32), 32, 3, (8, False), depthwise=True),
    Layer("8w8a 1x1 64-64", (25, 5, 64), 64, 1, (8, False)),
    Layer("ternary dense 1024-64", (1024,), 64, 1, (2, False), bars={ADDS: 3.5, M0: 3.5}),
    Layer("2w8a dense 1024-64", (1024,), 64, 1, (2, True)),
    Layer("4w8a dense 1024-64", (1024,), 64, 1, (4, True)),
    Layer("8w8a dense 1024-64", (1024,), 64, 1, (8, False)),
)


def operator(layer: Layer, name: str, rng: np.random.Generator) -> Operator:
    """The layer with random weights, outputs spread over the codes."""
    taps = layer.kernel**2 * (1 if layer.depthwise else layer.image[-1])
    outputs = layer.outputs
    shape = (outputs, layer.kernel, layer.kernel, layer.image[-1])
    none = np.zeros(outputs, np.int32)
    same: dict[str, Any] = {
        "name": name, "inputs": (f"{name}_in",), "bias": none, "output_scale": 0.5,
        "output_zero_point": 0,
    }  # fmt: skip
    padding = (layer.kernel // 2,) * 4
    if layer.weights is None:
        return BinaryConv2d(
            weight=rng.integers(-1, 1, shape).astype(np.int8), padding=padding,
            outside=layer.outside, multiplier=none, shift=none, threshold=none, **same,
        )  # fmt: skip
    bits, odd = layer.weights
    half = 1 << (bits - 1)
    low, high = (-1, 2) if layer.name.startswith("ternary") else (-half, half)
    weight = rng.integers(low, high, shape).astype(np.int8)
    spread = 75 * np.sqrt(taps) * half * (2 if odd else 1) / 2
    fraction, exponent = np.frexp(60 / spread)
    same |= {
        "bits": bits, "odd": odd, "shift": none + int(exponent),
        "multiplier": none + int(fraction * (1 << 31)),
    }  # fmt: skip
    if len(layer.image) == 1:
        return FullyConnected(weight=weight.reshape(outputs, -1), **same)
    if layer.depthwise:
        return DepthwiseConv2d(weight=weight[..., 0].transpose(1, 2, 0), padding=padding, **same)
    return Conv2d(weight=weight, padding=padding, **same)


def package(layers: tuple[Layer, ...]) -> Package:
    """The layers, each with an input of its own."""
    rng = np.random.default_rng(0)
    tensors, nodes, inputs = [], [], dict[str, Array]()
    for number, layer in enumerate(layers):
        node = operator(layer, f"layer{number}", rng)
        bits = layer.weights is None
        tensor = Tensor(node.inputs[0], "bit" if bits else "i8", layer.image, kind="input")
        low, high = (0, 2) if bits else (-128, 128)
        values = rng.integers(low, high, (SAMPLES, *layer.image))
        inputs[tensor.name] = values.astype(np.uint8 if bits else np.int8)
        tensors.append(tensor)
        nodes.append(node)
    graph = Graph("kernels", 1, tensors, nodes, [nodes[-1].name])
    return Package(graph, inputs, {}).with_golden()


def cortex_m0(folder: Path) -> str:
    """A board with much memory that executes a Cortex-M0's instructions, as a folder."""
    machine = find_board("mps2-an386").machines["qemu"]
    argv = [argument.format(board="mps2-an386", elf="{elf}") for argument in machine.argv]
    (folder / M0).mkdir()
    (folder / M0 / "board.toml").write_text(M0_BOARD % json.dumps(argv), encoding="utf-8")
    return str(folder / M0)


def main() -> None:
    """Measure, print the table; exit with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="layers whose names contain this")
    parser.add_argument("--board", action="append", help=f"also {M0}; default: all")
    asked = parser.parse_args()
    layers = tuple(layer for layer in LAYERS if asked.only in layer.name)
    missed = False
    print("| layer | board | kernel | MACs | instructions | per MAC | bar |\n|" + "---|" * 7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.spk"
        package(layers).save(path)
        for board in asked.board or (PLAIN, ZBB, ADDS, M0):
            place = cortex_m0(Path(folder)) if board == M0 else board
            rows = bench(path, place, "gcc")["layers"]
            by_name = {row["name"]: row for row in rows}
            for number, layer in enumerate(layers):
                row = by_name[f"layer{number}"]
                bar = layer.bars.get(board)
                per_mac = row["ticks"] / row["macs"]
                missed |= bar is not None and per_mac > bar
                print(
                    f"| {layer.name} | {board} | {row['kernel']} | {row['macs']:,} |"
                    f" {row['ticks']:,.0f} | {per_mac:.3f} | {bar or ''} |"
                )
    sys.exit(missed)


if __name__ == "__main__":
    main()
