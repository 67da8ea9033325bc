"""What each layer costs: shape, bits, work, flash and RAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spikelet.codegen.plan import Plan
from spikelet.graph import Graph, Phase
from spikelet.graph.target import Target

# What a host asks for, and the phases of operators that this executes.
RUNS = {
    "inference": (Phase.ONCE, Phase.STEP, Phase.END),
    "learning_step": (Phase.LEARN,),
    "commit": (Phase.COMMIT,),
}
TITLES = {"inference": "an inference", "learning_step": "a learning step", "commit": "a commit"}
SUMMED = ("macs", "synaptic_ops", "updates", "flash_bytes")


@dataclass(frozen=True)
class Layer:
    """One row of the layer table; work is that of a whole inference, learning step or commit.

    Attributes:
        name: the operator's name.
        op: its kind.
        kernel: C functions that the generated C calls for it.
        general: why it is not the fastest kernel of the target; empty where it is.
        phase: once, step, end, learn or commit.
        output: type and shape of its first result; empty where it only changes what is learned.
        weight_bits: bits a weight, 0 without weights.
        synaptic_ops: dense accumulates; what spikes really cause is at most this.
        macs: multiply-accumulates.
        updates: neuron updates.
        flash_bytes: constants.
        ram_bytes: arena of what it writes; layers may share it.
    """

    name: str
    op: str
    kernel: str
    general: str
    phase: str
    output: str
    weight_bits: int
    synaptic_ops: int
    macs: int
    updates: int
    flash_bytes: int
    ram_bytes: int

    def as_dict(self) -> dict[str, str | int]:
        """For JSON."""
        return asdict(self)


def layers(
    graph: Graph,
    plan: Plan,
    const_bytes: Mapping[str, int],
    kernels: Mapping[str, str],
    target: Target,
) -> list[Layer]:
    """The table, in order of execution.

    Args:
        graph: the network.
        plan: its memory.
        const_bytes: by operator name.
        kernels: by operator name, what was emitted.
        target: that it was emitted for.
    """
    rows = []
    for node in graph.order:
        cost = node.cost()
        times = graph.steps if graph.phase(node) is Phase.STEP else 1
        first = next(iter(node.outs), None)
        rows.append(
            Layer(
                name=node.name,
                op=node.KIND,
                kernel=kernels.get(node.name, ""),
                general=node.general(target),
                phase=graph.phase(node).name.lower(),
                output=f"{first.dtype} {'x'.join(map(str, first.shape))}" if first else "",
                weight_bits=cost.weight_bits,
                synaptic_ops=cost.synaptic_ops * times,
                macs=cost.macs * times,
                updates=cost.updates * times,
                flash_bytes=const_bytes.get(node.name, 0),
                ram_bytes=sum(plan.slots[t.name].size for t in node.outs),
            )
        )
    return rows


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """By run, of `RUNS`, the sums of the rows that it executes; runs without a row are left out.

    rows: of the layer table, as JSON holds them.
    """
    sums: dict[str, dict[str, int]] = {}
    for run, phases in RUNS.items():
        names = {phase.name.lower() for phase in phases}
        own = [row for row in rows if row["phase"] in names]
        if own:
            sums[run] = {key: sum(row[key] for row in own) for key in SUMMED}
    return sums
