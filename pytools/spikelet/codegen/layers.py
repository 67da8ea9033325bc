"""What each layer costs: shape, bits, work, flash and RAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spikelet.codegen.plan import Plan
from spikelet.graph import Graph, Phase
from spikelet.graph.target import Target
from spikelet.graph.widths import EFFORT

# What a host asks for, and the phases of operators that this executes.
RUNS = {
    "inference": (Phase.ONCE, Phase.STEP, Phase.END),
    "learning_step": (Phase.LEARN,),
    "commit": (Phase.COMMIT,),
}
TITLES = {"inference": "an inference", "learning_step": "a learning step", "commit": "a commit"}
WORK = ("macs", "synaptic_ops", "updates")
SUMMED = (*WORK, "flash_bytes")


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
        width: of a network at several widths, the bits at which it runs; 0 for all.
        weight_bits: bits of a weight that count, 0 without weights.
        synaptic_ops: dense accumulates; what spikes really cause is at most this.
        macs: multiply-accumulates.
        updates: neuron updates.
        flash_bytes: constants, those that a layer before it has left out.
        reads_bytes: constants that it reads, those of others too.
        ram_bytes: arena of what it writes; layers may share it.
    """

    name: str
    op: str
    kernel: str
    general: str
    phase: str
    output: str
    width: int
    weight_bits: int
    synaptic_ops: int
    macs: int
    updates: int
    flash_bytes: int
    reads_bytes: int
    ram_bytes: int

    def as_dict(self) -> dict[str, str | int]:
        """For JSON."""
        return asdict(self)


def layers(
    graph: Graph,
    plan: Plan,
    constants: Mapping[str, tuple[int, int]],
    kernels: Mapping[str, str],
    target: Target,
) -> list[Layer]:
    """The table, in order of execution.

    Args:
        graph: the network.
        plan: its memory.
        constants: by operator name, bytes that it adds, and bytes that it reads.
        kernels: by operator name, what was emitted.
        target: that it was emitted for.
    """
    rows = []
    for node in graph.order:
        cost = node.cost()
        times = graph.steps if graph.phase(node) is Phase.STEP else 1
        first = next(iter(node.outs), None)
        adds, reads = constants.get(node.name, (0, 0))
        rows.append(
            Layer(
                name=node.name,
                op=node.KIND,
                kernel=kernels.get(node.name, ""),
                general=node.general(target),
                phase=graph.phase(node).name.lower(),
                output=f"{first.dtype} {'x'.join(map(str, first.shape))}" if first else "",
                width=node.when[1] if node.when and node.when[0] == EFFORT else 0,
                weight_bits=cost.weight_bits,
                synaptic_ops=cost.synaptic_ops * times,
                macs=cost.macs * times,
                updates=cost.updates * times,
                flash_bytes=adds,
                reads_bytes=reads,
                ram_bytes=sum(plan.slots[t.name].size for t in node.outs),
            )
        )
    return rows


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """By run, of `RUNS`, the sums of the rows that it executes; runs without a row are left out.

    Of a network at several widths the work is that of the widest.

    rows: of the layer table, as JSON holds them.
    """
    sums: dict[str, dict[str, int]] = {}
    widest = max((row.get("width", 0) for row in rows), default=0)
    for run, phases in RUNS.items():
        names = {phase.name.lower() for phase in phases}
        own = [row for row in rows if row["phase"] in names]
        if own:
            running = [row for row in own if row.get("width", 0) in (0, widest)]
            work = {key: sum(row[key] for row in running) for key in WORK}
            sums[run] = {**work, "flash_bytes": sum(row["flash_bytes"] for row in own)}
    return sums


def by_width(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each width of a network takes, the most bits first; nothing where there is but one.

    Work and `ticks` are those of an inference at that width, `reads_bytes` the constants that it
    reads, `flash_bytes` those that no wider one has.

    rows: of the layer table, as JSON holds them; with `ticks` where they were measured.
    """
    found = []
    for width in sorted({row["width"] for row in rows} - {0}, reverse=True):
        own = [row for row in rows if row["width"] in (0, width)]
        ticks = [row["ticks"] for row in own if row.get("ticks") is not None]
        found.append(
            {
                "bits": width,
                "macs": sum(row["macs"] for row in own),
                "reads_bytes": sum(row["reads_bytes"] for row in own),
                "flash_bytes": sum(row["flash_bytes"] for row in own if row["width"]),
                "ticks": sum(ticks) if len(ticks) == len(own) else None,
            }
        )
    return found
