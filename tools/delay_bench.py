"""What delays cost at 1 to 50 % activity: a network of 140-256-256-20, instructions a step.

`python tools/delay_bench.py [--board NAME] [--write]` executes the three layers of weights, each on
random spikes of a given activity, on an emulated board: without delays, with one a neuron
(axonal), with one a synapse that is scattered into a ring of sums or gathered from a history of
spikes. Weights have 8 bits, delays 0 to 24 steps. `--write` puts the table into docs/spiking.md.

`--choice` instead counts scatter and gather in one layer of 64 by 64 for short and long delays and
at 1 to 90 % activity, and holds what `DelayedDense.expected` says against it, by which `tune`
chooses the layers that look back.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench import bench
from marks import place, table

from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.delay import Delay
from spikelet.graph.ops.delayed_dense import DelayedDense
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.frame import Frame
from spikelet.graph.ops.threshold import Threshold
from spikelet.package import Package

ROOT = Path(__file__).resolve().parents[1]
SIZES = (140, 256, 256, 20)
LONGEST, STEPS = 24, 30
ACTIVITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
KINDS = ("none", "axonal", "synaptic, scatter", "synaptic, gather")
COUNTED = ("delay", "dense", "delayed_dense")
# Of the choice between scatter and gather: neurons before and behind, steps, longest delays.
SIDE, CHOICE_STEPS = 64, 150
CHOICE_ACTIVITIES = (0.01, 0.05, 0.2, 0.5, 0.9)
CHOICES = (1, 7, 24, 100)


@dataclass(frozen=True)
class Way:
    """A layer with delays a synapse, by one of its two kernels.

    Attributes:
        counted: instructions a step.
        expected: of them, by `DelayedDense.expected`.
        kept: bytes from step to step.
    """

    counted: float
    expected: float
    kept: int


def package(kind: str, activity: float) -> Package:
    """The layers of weights, each with frames of spikes of its own."""
    rng = np.random.default_rng(0)
    tensors, nodes, inputs = [], list[Operator](), dict[str, Array]()
    for i, (n, m) in enumerate(itertools.pairwise(SIZES)):
        tensors.append(Tensor(f"x{i}", "i8", (STEPS, n), kind="input"))
        inputs[f"x{i}"] = (rng.random((1, STEPS, n)) < activity).astype(np.int8)
        nodes.append(Frame(name=f"frame{i}", inputs=(f"x{i}",)))
        ones = np.ones(n, np.int16)
        nodes.append(Threshold(name=f"bits{i}", inputs=(f"frame{i}",), threshold=ones))
        weight = rng.normal(0, 40, (m, n)).clip(-127, 127).astype(np.int8)
        source = f"bits{i}"
        if kind == "axonal":
            steps = rng.integers(0, LONGEST + 1, n).astype(np.uint8)
            nodes.append(Delay(name=f"late{i}", inputs=(source,), steps=steps))
            source = f"late{i}"
        if kind.startswith("synaptic"):
            delays = rng.integers(0, LONGEST + 1, (m, n)).astype(np.uint8)
            gather = kind.endswith("gather")
            nodes.append(
                DelayedDense(
                    name=f"fc{i}", inputs=(source,), weight=weight, delays=delays, gather=gather
                )
            )
        else:
            nodes.append(Dense(name=f"fc{i}", inputs=(source,), weight=weight))
    graph = Graph("delays", STEPS, tensors, nodes, [nodes[-1].name])
    return Package(graph, inputs, {}).with_golden()


def measure(kind: str, activity: float, board: str) -> tuple[float, int]:
    """Instructions a step of delays and weights, and bytes that they keep from step to step."""
    made = package(kind, activity)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "delays.spk"
        made.save(path)
        result = bench(path, board, "gcc")
    counted = [node for node in made.graph.nodes if node.KIND in COUNTED]
    names = {node.name for node in counted}
    ticks = sum(row["ticks"] for row in result["layers"] if row["name"] in names)
    kept = sum(t.nbytes for node in counted for t in node.outs if t.persistent)
    return ticks / STEPS, kept


def choice(longest: int, activity: float, board: str) -> tuple[Way, Way]:
    """Scatter and gather.

    Args:
        longest: delay, steps.
        activity: share of the inputs that spike in a step.
        board: that counts.
    """
    rng = np.random.default_rng(0)
    spikes = rng.random((1, CHOICE_STEPS, SIDE)) < activity
    weight = rng.integers(-127, 128, (SIDE, SIDE)).astype(np.int8)
    delays = rng.integers(0, longest + 1, (SIDE, SIDE)).astype(np.uint8)
    nodes: list[Operator] = [
        Frame(name="frame", inputs=("x",)),
        Threshold(name="bits", inputs=("frame",), threshold=np.ones(SIDE, np.int16)),
        *(
            DelayedDense(name=f"fc{gather:d}", inputs=("bits",), weight=weight, delays=delays,
                         gather=gather)
            for gather in (False, True)
        ),
    ]  # fmt: skip
    x = Tensor("x", "i8", (CHOICE_STEPS, SIDE), kind="input")
    graph = Graph("choice", CHOICE_STEPS, [x], nodes, ["fc0", "fc1"])
    made = Package(graph, {"x": spikes.astype(np.int8)}, {}).with_golden()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "choice.spk"
        made.save(path)
        result = bench(path, board, "gcc")
    ticks = {row["name"]: row["ticks"] / CHOICE_STEPS for row in result["layers"]}
    seen = np.moveaxis(spikes, 1, 0)
    ahead, back = (
        Way(ticks[node.name], node.expected(seen, node.gather), node.kept_bytes(node.gather))
        for node in graph.nodes
        if isinstance(node, DelayedDense)
    )
    return ahead, back


def choices(board: str) -> str:
    """The table of `--choice`, and how far off what is expected is."""
    rows, errors = [], []
    for longest in CHOICES:
        cells = []
        for activity in CHOICE_ACTIVITIES:
            ways = ahead, back = choice(longest, activity, board)
            cells.append(f"{ahead.counted:,.0f} / {back.counted:,.0f}")
            errors += [abs(way.expected / way.counted - 1) for way in ways]
        rows.append([f"{longest}", *cells, f"{ahead.kept:,} / {back.kept:,}"])
    head = ["longest delay", *(f"{100 * each:g} %" for each in CHOICE_ACTIVITIES), "bytes kept"]
    off = f"What `tune` expects (`DelayedDense.expected`) is off by {max(errors):.0%} at most."
    return f"{table(head, rows)}\n\n{off}"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="virt-rv32")
    parser.add_argument("--write", action="store_true", help="the table of docs/spiking.md")
    parser.add_argument("--choice", action="store_true", help="scatter or gather, one layer")
    asked = parser.parse_args()
    if asked.choice:
        show("choice", choices(asked.board), "--choice --write", asked.write)
        return
    rows = []
    for kind in KINDS:
        cells = [measure(kind, activity, asked.board) for activity in ACTIVITIES]
        rows.append([kind, *(f"{each:,.0f}" for each, _ in cells), f"{cells[0][1]:,}"])
    head = ["delays", *(f"{100 * activity:g} %" for activity in ACTIVITIES), "bytes kept"]
    show("delays", table(head, rows), "--write", asked.write)


def show(mark: str, text: str, options: str, write: bool) -> None:
    """Print a table, and put it between its marks in docs/spiking.md."""
    print(text)
    if write:
        today = datetime.datetime.now(datetime.UTC).date()
        made = f"\n\nMade on {today} by `python tools/delay_bench.py {options}`: QEMU, GCC."
        place(ROOT / "docs" / "spiking.md", mark, text + made)


if __name__ == "__main__":
    main()
