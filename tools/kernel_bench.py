"""What kernels of few bits and of spikes cost: instructions a multiply-accumulate, and their bars.
Of neurons, instructions an update.

Layers of the shapes that other engines are measured on, in one package, with random weights and
inputs. `spikelet bench` counts them on emulated boards, requantisation and all included; a
difference to golden fails it. Of layers that read spikes, an accumulate is one weight of one spike.
`python tools/kernel_bench.py [--only TEXT] [--board NAME]`;
`--write` puts the tables into docs/fewer-bits.md and docs/spiking.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from bench import bench
from marks import place, table

from spikelet.board import find_board
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.binary_conv2d import BinaryConv2d
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.conv2d_sums import Conv2dSums
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.frame import Frame
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.seeded_dense import SeededDense
from spikelet.graph.ops.threshold import Threshold
from spikelet.package import Package

ROOT = Path(__file__).resolve().parents[1]
PLAIN, ZBB, M4, M55 = "virt-rv32", "virt-rv32b", "mps2-an386", "mps3-an547"
ADDS, M0 = "virt-rv32e", "cortex-m0"
BOARDS = {
    PLAIN: "RV32IMAC", ZBB: "RV32, Zba, Zbb", ADDS: "RV32EC", M0: "Cortex-M0", M4: "Cortex-M4",
    M55: "Cortex-M55",
}  # fmt: skip
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
STEPS = 10  # of dense layers that read spikes, others in each: a step of them is short
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
        upper: bits that count.
        outside: of signs, see BinaryConv2d.
        depthwise: each channel by itself.
        activity: part of the inputs that spike; None where the input is no spikes.
        seeded: weights are signs made of a seed, `weights` is None.
        fan_out: of them, see SeededDense.
        neurons: of a layer of neurons, its fields; an update is one of them in a step.
        bars: by board, the most instructions a multiply-accumulate, or the layer that has as many.
    """

    name: str
    image: tuple[int, ...]
    outputs: int
    kernel: int = 1
    weights: tuple[Bits, bool] | None = None
    upper: Bits = 8
    outside: Literal[-1, 0, 1] = -1
    depthwise: bool = False
    activity: float | None = None
    seeded: bool = False
    fan_out: int | None = None
    neurons: Mapping[str, Any] | None = None
    bars: Mapping[str, float | str] = field(default_factory=dict)


# Of cores without a multiplier, or with a small one.
SMALL = {ADDS: 3.5, M0: 3.5}
SMALL_ONES = {ADDS: 0.8, M0: 0.8}
INT8, INT8_DENSE, TWO_DENSE = "8w8a 1x1 64-64", "8w8a dense 1024-64", "2w8a dense 1024-64"
LAYERS = (
    Layer("1w1a dense 1024-64", (1024,), 64, bars={PLAIN: 0.38, ZBB: 0.16, M4: 0.36} | SMALL_ONES),
    Layer("1w1a 3x3 32-32", (16, 16, 32), 32, 3, bars={PLAIN: 0.45, ZBB: 0.22, M4: 0.42}),
    Layer("1w1a 3x3 32-32, masked border", (16, 16, 32), 32, 3, outside=0),
    Layer(
        "1w8a 3x3 32-32", (16, 16, 32), 32, 3, (1, True), bars={PLAIN: 1.1, ZBB: 0.80, M4: 0.70}
    ),
    Layer("1w8a 3x3 16-16", (32, 32, 16), 16, 3, (1, True)),
    Layer(
        "1w8a dense 1024-64", (1024,), 64, 1, (1, True),
        bars={PLAIN: 2.15, ZBB: 1.65, M4: 1.4} | SMALL,
    ),
    Layer("2w8a 1x1 64-64", (25, 5, 64), 64, 1, (2, True), bars={PLAIN: 2.1, ZBB: 2.1, M4: 1.4}),
    Layer(
        "4w8a 1x1 64-64", (25, 5, 64), 64, 1, (4, True),
        bars={PLAIN: 2.35, ZBB: 2.35, M4: 1.3, M55: INT8},
    ),
    Layer("4w8a 3x3 16-16", (32, 32, 16), 16, 3, (4, True)),
    Layer("8w8a 3x3 depthwise 32", (16, 16, 32), 32, 3, (8, False), depthwise=True),
    Layer(INT8, (25, 5, 64), 64, 1, (8, False)),
    *(
        Layer(f"nested 1x1 64-64, at {bits} bit", (25, 5, 64), 64, 1, (8, True), bits)
        for bits in (8, 4, 2, 1)
    ),
    Layer(
        "ternary dense 1024-64", (1024,), 64, 1, (2, False),
        bars=dict.fromkeys(BOARDS, TWO_DENSE) | SMALL,
    ),
    Layer(TWO_DENSE, (1024,), 64, 1, (2, True)),
    Layer(
        "4w8a dense 1024-64", (1024,), 64, 1, (4, True), bars={PLAIN: INT8_DENSE, ZBB: INT8_DENSE}
    ),
    Layer(INT8_DENSE, (1024,), 64, 1, (8, False)),
    *(
        Layer(f"nested dense 1024-64, at {bits} bit", (1024,), 64, 1, (8, True), bits)
        for bits in (8, 4, 2, 1)
    ),
)  # fmt: skip

# Sums of spikes as they are, no requantisation.
SPIKES = (
    *(
        Layer(f"spikes 3x3 32-32 at {percent} %, {bits} bit", (16, 16, 32), 32, 3,
              (bits, bits == 1), activity=percent / 100, bars=bars)
        for bits, percent, bars in (
            (8, 10, {PLAIN: 2.2, M4: 2.2}), (8, 20, {PLAIN: 2.2, M4: 2.2}), (4, 10, {}),
            (2, 10, {}), (1, 10, {}),
        )
    ),
    *(
        Layer(f"spikes 512-128 at {percent} %, {bits} bit", (512,), 128, 1, (bits, bits == 1),
              activity=percent / 100, bars=bars)
        for bits, percent, bars in (
            (8, 1, {PLAIN: 2.05, M4: 2.0}), (8, 10, {}), (4, 1, {}), (4, 10, {}), (2, 10, {}),
            (1, 10, {}),
        )
    ),
)  # fmt: skip


# Reservoirs: spikes or values in, sums out; weights of a seed.
SEEDED = (
    Layer("seeded 128-128, spikes at 10 %", (128,), 128, activity=0.1, seeded=True),
    Layer("seeded 512-128, spikes at 1 %", (512,), 128, activity=0.01, seeded=True),
    Layer(
        "seeded 128-128, spikes at 10 %, fan-out 8", (128,), 128, activity=0.1, seeded=True,
        fan_out=8,
    ),
    Layer("seeded 128-128, values", (128,), 128, seeded=True),
    Layer("seeded 9-128, values", (9,), 128, seeded=True),
    Layer("seeded 128-128, values, fan-out 8", (128,), 128, seeded=True, fan_out=8),
)  # fmt: skip


# Neurons with 16 bits of state, about a tenth of which spike.
AN_UPDATE = {PLAIN: 8.0, ZBB: 8.0, M4: 7.5, M0: 12.0}
NEURONS = tuple(
    Layer(
        f"LIF, {name}, {'one threshold' if count == 1 else 'a threshold each'}", (64,), 128,
        activity=0.1, neurons={**fields, "threshold": np.arange(120, 120 + count, dtype=np.int32)},
        bars=AN_UPDATE,
    )
    for count in (1, 128)
    for name, fields in {
        "subtract": {"reset": "subtract"},
        "subtract in the next step": {"reset": "subtract", "timing": "next_step"},
        "to zero": {"reset": "zero"},
        "to zero in the next step": {"reset": "zero", "timing": "next_step"},
    }.items()
) + tuple(
    Layer(  # as training learns them; a leak may be clipped to all
        f"LIF, {name}, a leak and a threshold each", (64,), 128, activity=0.1,
        neurons={
            **fields, "threshold": np.arange(120, 248, dtype=np.int32),
            "leaks": np.append(np.arange(24001, 24255, 2), 1 << 15).astype(np.uint32),
        },
    )
    for name, fields in {
        "subtract": {"reset": "subtract"},
        "to zero in the next step": {"reset": "zero", "timing": "next_step"},
    }.items()
)  # fmt: skip


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
    if layer.neurons is not None:
        fields = {"membrane": "i16", "leak": 29491, **layer.neurons}
        return Lif(name=name, inputs=(f"{name}_in",), **fields)
    if layer.seeded:
        return SeededDense(
            name=name, inputs=(f"{name}_in",), outputs=outputs, seed=1, fan_out=layer.fan_out
        )
    if layer.activity is not None:
        return spiking_operator(layer, name, rng)
    if layer.weights is None:
        return BinaryConv2d(
            weight=rng.integers(-1, 1, shape).astype(np.int8), padding=padding,
            outside=layer.outside, multiplier=none, shift=none, threshold=none, **same,
        )  # fmt: skip
    bits, odd = layer.weights
    half = 1 << (bits - 1)
    low, high = (-1, 2) if layer.name.startswith("ternary") else (-half, half)
    weight = rng.integers(low, high, shape).astype(np.int8)
    if bits == 8 and not odd:  # as networks have them
        weight = np.clip(rng.normal(0, 40, shape), -127, 127).astype(np.int8)
    spread = 75 * np.sqrt(taps) * half * (2 if odd else 1) / 2
    fraction, exponent = np.frexp(60 / spread)
    same |= {
        "bits": bits, "odd": odd, "upper": layer.upper, "shift": none + int(exponent),
        "multiplier": none + int(fraction * (1 << 31)),
    }  # fmt: skip
    if len(layer.image) == 1:
        return FullyConnected(weight=weight.reshape(outputs, -1), **same)
    if layer.depthwise:
        return DepthwiseConv2d(weight=weight[..., 0].transpose(1, 2, 0), padding=padding, **same)
    return Conv2d(weight=weight, padding=padding, **same)


def spiking_operator(layer: Layer, name: str, rng: np.random.Generator) -> Operator:
    """The layer with random weights; those of 8 bits as networks have them."""
    assert layer.weights is not None
    bits, odd = layer.weights
    half, shape = 1 << (bits - 1), (layer.outputs, layer.kernel, layer.kernel, layer.image[-1])
    weight = rng.integers(-half, half, shape)
    if bits == 8:
        weight = rng.normal(0, 40, shape).clip(-127, 127)
    fields: dict[str, Any] = {"name": name, "inputs": (f"{name}_in",), "bits": bits, "odd": odd}
    codes = weight.astype(np.int8)
    if len(layer.image) == 1:
        return Dense(weight=codes.reshape(layer.outputs, -1), **fields)
    return Conv2dSums(weight=codes, padding=(layer.kernel // 2,) * 4, **fields)


def package(layers: Sequence[Layer]) -> Package:
    """The layers, each with an input of its own."""
    rng = np.random.default_rng(0)
    tensors, nodes, inputs = [], list[Operator](), dict[str, Array]()
    steps = STEPS if _framed(layers[0]) else 1
    for number, layer in enumerate(layers):
        name = f"layer{number}"
        node = operator(layer, name, rng)
        framed = _framed(layer)
        signs = layer.weights is None and not layer.seeded
        bits = not framed and (signs or layer.activity is not None)
        shape = (steps, *layer.image) if framed else layer.image
        tensor = Tensor(f"{name}_in", "bit" if bits else "i8", shape, kind="input")
        low, high = (0, 2) if bits else (-128, 128)
        values = rng.integers(low, high, (SAMPLES, *shape))
        if layer.activity is not None:
            values = rng.random(values.shape) < layer.activity
        inputs[tensor.name] = values.astype(np.uint8 if bits else np.int8)
        tensors.append(tensor)
        if framed:
            nodes.append(Frame(name=f"{name}_frame", inputs=(tensor.name,)))
            ones = np.ones(layer.image, np.int16)
            source: Operator = Threshold(
                name=f"{name}_bits", inputs=(f"{name}_frame",), threshold=ones
            )
            nodes.append(source)
            if layer.neurons is not None:  # what they read are sums of spikes
                weight = rng.integers(-40, 41, (layer.outputs, *layer.image)).astype(np.int8)
                source = Dense(name=f"{name}_sums", inputs=(source.name,), weight=weight)
                nodes.append(source)
            node = dataclasses.replace(node, inputs=(source.name,))
        nodes.append(node)
    last = f"{name}.spikes" if layer.neurons is not None else name
    graph = Graph("kernels", steps, tensors, nodes, [last])
    return Package(graph, inputs, {}).with_golden()


def _framed(layer: Layer) -> bool:
    """Whether it reads other spikes in each step."""
    return layer.activity is not None and len(layer.image) == 1


def cortex_m0(folder: Path) -> str:
    """A board with much memory that executes a Cortex-M0's instructions, as a folder."""
    machine = find_board("mps2-an386").machines["qemu"]
    argv = [argument.format(board="mps2-an386", elf="{elf}") for argument in machine.argv]
    (folder / M0).mkdir()
    (folder / M0 / "board.toml").write_text(M0_BOARD % json.dumps(argv), encoding="utf-8")
    return str(folder / M0)


@dataclass(frozen=True)
class Row:
    """A layer on a board: what it cost, and its bar, both a multiply-accumulate."""

    layer: Layer
    board: str
    kernel: str
    instructions: float
    each: float
    bar: float | None

    @property
    def missed(self) -> bool:
        """Whether it cost more; a layer is measured to a few instructions."""
        return self.bar is not None and round(self.each, 3) > round(self.bar, 3)


def measure(layers: Sequence[Layer], boards: Sequence[str]) -> list[Row]:
    """Each layer on each board."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.spk"
        package(layers).save(path)
        for board in boards:
            where = cortex_m0(Path(folder)) if board == M0 else board
            by_name = {row["name"]: row for row in bench(path, where, "gcc")["layers"]}
            costs = {layer.name: by_name[f"layer{i}"] for i, layer in enumerate(layers)}
            each = {
                layer.name: costs[layer.name]["ticks"] / operations(layer, costs[layer.name])
                for layer in layers
            }
            for layer in layers:
                bar = layer.bars.get(board)
                if isinstance(bar, str):
                    bar = each.get(bar)
                row = costs[layer.name]
                found.append(Row(layer, board, row["kernel"], row["ticks"], each[layer.name], bar))
    return found


def operations(layer: Layer, row: Mapping[str, Any]) -> float:
    """Of an inference, by which instructions are divided."""
    if layer.neurons is not None:
        return STEPS * layer.outputs
    return float(row["effective_ops"] or row["macs"])


def page(rows: Sequence[Row]) -> str:
    """The table of the documentation: a column a board."""
    boards = list(dict.fromkeys(row.board for row in rows))
    cells: dict[str, list[str]] = {}
    for row in rows:
        bar = "" if row.bar is None else f" ({row.bar:.2f})"
        cells.setdefault(row.layer.name, []).append(f"{row.each:.3f}{bar}")
    head = ["layer", *(BOARDS[board] for board in boards)]
    return table(head, [[name, *line] for name, line in cells.items()])


def main() -> None:
    """Measure, print the table; exit with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="layers whose names contain this")
    parser.add_argument("--board", action="append", help=f"default: {', '.join(BOARDS)}")
    parser.add_argument("--write", action="store_true", help="the table of docs/fewer-bits.md")
    asked = parser.parse_args()
    layers = tuple(
        layer for layer in (*LAYERS, *SPIKES, *NEURONS, *SEEDED) if asked.only in layer.name
    )
    rows = []
    for kind in (lambda x: x.activity is None, _framed, lambda x: x.activity and not _framed(x)):
        some = tuple(layer for layer in layers if kind(layer))
        rows += measure(some, asked.board or tuple(BOARDS)) if some else []
    print("| layer | board | kernel | instructions | per MAC or update | bar |\n|" + "---|" * 6)
    for row in rows:
        bar = "" if row.bar is None else f"{row.bar:.3f}" + (" missed" if row.missed else "")
        print(
            f"| {row.layer.name} | {row.board} | {row.kernel} | {row.instructions:,.0f} |"
            f" {row.each:.3f} | {bar} |"
        )
    if asked.write:
        today = datetime.datetime.now(datetime.UTC).date()
        made = f"\n\nMade on {today} by `python tools/kernel_bench.py --write`: QEMU, GCC."
        kinds: dict[tuple[str, str], Callable[[Layer], bool]] = {
            ("fewer-bits", "kernels"): lambda x: x.activity is None,
            ("spiking", "kernels"): lambda x: x.activity is not None and x.neurons is None,
            ("spiking", "updates"): lambda x: x.neurons is not None,
        }
        for (name, part), kind in kinds.items():
            if some := [row for row in rows if kind(row.layer)]:
                place(ROOT / "docs" / f"{name}.md", part, page(some) + made)
    sys.exit(any(row.missed for row in rows))


if __name__ == "__main__":
    main()
