"""The state of a graph's neurons: its precision and what it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spikelet.graph.graph import Graph
from spikelet.graph.operator import Role


@dataclass(frozen=True)
class NeuronState:
    """Of one layer.

    Attributes:
        layer: its name.
        neurons: how many.
        membrane: i16 or i32.
        fraction_bits: of the membrane, below the weight's step.
        leak_bits: of the leak's factor.
        ram_bytes: of its membranes.
        instructions: a step takes, about: `rv32` and `m4`; neither where nobody measured it.
    """

    layer: str
    neurons: int
    membrane: str
    fraction_bits: int
    leak_bits: int
    ram_bytes: int
    instructions: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def neuron_states(graph: Graph) -> list[NeuronState]:
    """Of every layer with a membrane, whatever its kind, in order."""
    states = []
    bits: dict[str, int] = {}  # fraction bits of each membrane: what reads it starts from them
    for node in graph.nodes:
        precision = node.membrane_precision()
        membranes = [name for name, role in node.tensor_roles().items() if role is Role.MEMBRANE]
        if precision is None or not membranes:
            continue
        fraction_bits = precision.fraction_bits + max(bits.get(name, 0) for name in node.inputs)
        bits |= dict.fromkeys(membranes, fraction_bits)
        held = [graph.tensors[name] for name in membranes]
        neurons = sum(membrane.size for membrane in held)
        each = zip(("rv32", "m4"), precision.instructions or (), strict=False)
        states.append(
            NeuronState(
                node.name,
                neurons,
                held[0].dtype,
                fraction_bits,
                precision.leak_bits,
                sum(membrane.nbytes for membrane in held),
                {core: instructions * neurons for core, instructions in each},
            )
        )
    return states
