"""Cycles of an inference on a core, from the instructions that it executes."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from spikelet.board import find_board
from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.run.cycles.decode import Kind, rv32, thumb
from spikelet.run.cycles.execute import Blocks, Executed, execute
from spikelet.run.cycles.fetching import waits
from spikelet.run.cycles.flash import Flash
from spikelet.run.cycles.timing import ASSUMED, CORES, Core, Span, block_cost
from spikelet.run.workflow import make
from spikelet.streams import package_stream

__all__ = ["CORES", "LayerCycles", "Prediction", "predict"]


@dataclass(frozen=True)
class LayerCycles:
    """One operator.

    Attributes:
        name: of the operator; "" what is behind the last.
        kernel: the kernel that it calls.
        instructions: executed in an inference.
        cycles: least, assumed and most, by the manual, without wait states.
        waits: cycles of waiting for flash.
        factor: measured cycles for one of the manual's, of the same kernel on RTL.
        fitted: whether this kernel was measured on this core; otherwise the factor is the core's.
    """

    name: str
    kernel: str
    instructions: float
    cycles: Span
    waits: float = 0.0
    factor: float = 1.0
    fitted: bool = False

    @property
    def total(self) -> float:
        """Cycles."""
        return self.cycles[ASSUMED] * self.factor + self.waits


@dataclass(frozen=True)
class Prediction:
    """Cycles of an inference of one sample.

    Attributes:
        core: name of the core.
        flash: whose waiting is counted.
        layers: in order of execution.
        kinds: how many instructions of each kind.
        mismatches: elements of the outputs that differ from golden.
        where: board and toolchain of the image.
    """

    core: str
    flash: Flash
    layers: tuple[LayerCycles, ...]
    kinds: dict[Kind, int]
    mismatches: int
    where: str

    @property
    def instructions(self) -> int:
        """Executed in an inference."""
        return round(sum(layer.instructions for layer in self.layers))

    @property
    def cycles(self) -> float:
        """Of an inference."""
        return sum(layer.total for layer in self.layers)

    @property
    def span(self) -> tuple[float, float]:
        """The same with the least and the most that the manual allows."""
        low, high = (
            sum(layer.cycles[i] * layer.factor + layer.waits for layer in self.layers)
            for i in (0, 2)
        )
        return low, high

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What it rests on, in words."""
        core, flash = CORES[self.core], self.flash
        waits = (
            f"flash of {flash.wait} wait states, lines of {flash.line} bytes, of which a cache "
            f"keeps the {flash.lines} that instructions used last, and one the {flash.data_lines} "
            "that loads used last; nothing is read ahead, and constants of the first "
            "kilobyte behind the code are not seen"
            if flash.wait
            else "flash and RAM answer without wait states"
        )
        fitted = (
            ("cycles of each kernel are corrected by what the core's RTL took for it",)
            if any(layer.fitted for layer in self.layers)
            else ()
        )
        return (f"timings of {core.source}", *core.assumptions, waits, *fitted)

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "core": self.core,
            "where": self.where,
            "mismatches": self.mismatches,
            "instructions": self.instructions,
            "cycles": self.cycles,
            "cycles_least_and_most": list(self.span),
            "cycles_per_instruction": self.cycles / max(self.instructions, 1),
            "flash_wait": self.flash.wait,
            "flash_wait_cycles": sum(layer.waits for layer in self.layers),
            "assumptions": list(self.assumptions),
            "instructions_by_kind": {str(k): n for k, n in self.kinds.items()},
            "layers": [
                {
                    "name": layer.name,
                    "kernel": layer.kernel,
                    "instructions": layer.instructions,
                    "cycles": layer.total,
                    "factor": layer.factor if layer.fitted else None,
                }
                for layer in self.layers
            ],
        }


@cache
def factors() -> dict[str, dict[str, float]]:
    """By core and kernel, cycles on RTL for one of the manual's; tools/cycles.py writes them.

    "" is for kernels that were not measured: the mean of the core.
    """
    text = files("spikelet.run.cycles").joinpath("factors.toml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, dict[str, float]]).validate_python(tomllib.loads(text))


def predict(
    package: Package,
    core: str = "cortex-m4",
    *,
    flash: Flash | None = None,
    toolchain: str = "auto",
    fitted: bool = True,
) -> Prediction:
    """Build, execute one sample of the package, and add up what a core takes for it.

    Args:
        package: the network.
        core: one of `CORES`.
        flash: that answers late; None for one that does not. For the Cortex-M4 alone.
        toolchain: of the board that has this core.
        fitted: on RV32, with the factors that were measured on RTL.

    Raises:
        UsageError: no such core, a network without samples, or one that cannot be executed so.
    """
    if core not in CORES:
        raise UsageError(f"no core is called {core!r}", next=f"one of {', '.join(CORES)}")
    known, flash = CORES[core], flash or Flash()
    if flash.wait and core != "cortex-m4":
        raise UsageError(
            f"wait states of flash are estimated for cortex-m4 alone, not {core}",
            next="measure them: flash_wait of a board that extends ibex-rtl",
        )
    stream = package_stream(package)
    if not len(stream):
        raise UsageError("the package has no samples", next="import it with --calibrate")
    inputs = {t.name: stream.inputs[t.name][0] for t in package.graph.inputs}
    board = find_board(known.board)
    with tempfile.TemporaryDirectory(prefix="spikelet-cycles-") as folder:
        images = [
            make(package, board, Path(folder) / f"{trace}", toolchain=toolchain, trace=trace)
            for trace in (True, False)
        ]
        ran, plain = (execute(package, image.firmware, inputs, flash) for image in images)
    kernels = {row.name: row.kernel for row in images[0].generated.layers}
    where = f"{board.name}, {images[1].firmware.toolchain}"
    traced = {name: _spent(known, ran, blocks, flash) for name, blocks in ran.layers.items()}
    released = _spent(known, plain, plain.layers[""], flash)
    probes = sum(blocks.probes for blocks in ran.layers.values())
    probe = (sum(s.values for s in traced.values()) - released.values) / max(probes, 1)
    table = factors().get(core, {}) if fitted else {}
    layers = []
    for name in [*(node.name for node in package.graph.order), ""]:
        if name in traced:
            values = traced[name].values - ran.layers[name].probes * probe
            kernel = kernels.get(name, "")
            least, assumed, most, waits, instructions = np.maximum(values, 0.0).tolist()
            factor = table.get(kernel, table.get("", 1.0))
            layers.append(
                LayerCycles(name, kernel, instructions, (least, assumed, most), waits, factor,
                            kernel in table)
            )  # fmt: skip
    kinds = {kind: times for kind, times in released.kinds.items() if times}
    wrong = _mismatches(package, inputs, (plain, ran))
    return Prediction(core, flash, tuple(layers), kinds, wrong, where)


@dataclass(frozen=True)
class _Spent:
    """What blocks take.

    Attributes:
        values: (5,) cycles (least, assumed, most), cycles of waiting for flash, instructions.
        kinds: instructions of each kind.
    """

    values: NDArray[np.float64]
    kinds: dict[Kind, int]


def _spent(core: Core, ran: Executed, blocks: Blocks, flash: Flash) -> _Spent:
    decode = thumb if core.thumb else rv32
    values, kinds = np.zeros(5), dict.fromkeys(Kind, 0)
    values[3] = flash.wait * blocks.misses
    for (address, size), times in blocks.count.items():
        block, at = [], address - ran.base
        while at < address - ran.base + size:
            block.append(decode(ran.code, at))
            at += block[-1].size
        for one in block:
            kinds[one.kind] += times
        taken = blocks.taken.get((address, size), 0)
        entered = blocks.entered.get((address, size), 0)
        reads = blocks.reads.get((address, size), 0)
        cost = block_cost(core, block, address)
        for i in range(3):
            values[i] += times * cost.run[i] + taken * cost.taken[i] + entered * cost.entered
        loads = sum(one.kind is Kind.LOAD for one in block)
        if core.prefetch and reads and loads:
            values[:3] += reads / loads * waits(core, block, address)
        values[4] += times * len(block)
    return _Spent(values, kinds)


def _mismatches(package: Package, inputs: dict[str, Any], runs: Sequence[Executed]) -> int:
    """Elements of the outputs that differ from golden's, over all runs of the same sample."""
    one = {name: values[None] for name, values in inputs.items()}
    golden = package.graph.run(one).outputs
    wrong = 0
    for ran in runs:
        for name in package.graph.outputs:
            mine = package.graph.tensors[name].from_bytes(ran.outputs[name])
            wrong += int(np.sum(mine != golden[name][0]))
    return wrong
