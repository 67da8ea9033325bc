"""The state of a graph's leaky neurons: its precision and what it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spikelet.graph.graph import Graph
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif

# Instructions of a neuron in a step, the dearest reset: (RV32, Cortex-M4), gcc, by the membrane and
# whether the leak has more than 15 bits; measured by tests/kernels/test_states.py.
INSTRUCTIONS = {
    ("i16", False): (12, 16),
    ("i32", False): (20, 17),
    ("i16", True): (19, 20),
    ("i32", True): (17, 17),
}


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
        instructions: a step takes, about: `rv32` and `m4`.
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
    """Of every layer of leaky neurons, in order."""
    found = []
    for node in graph.nodes:
        if not isinstance(node, Lif | LeakyReadout):
            continue
        membrane = graph.tensors[f"{node.name}.membrane" if isinstance(node, Lif) else node.name]
        rv32, m4 = INSTRUCTIONS[membrane.dtype, node.leak_bits > 15]
        found.append(
            NeuronState(
                node.name,
                membrane.size,
                membrane.dtype,
                node.input_shift,
                node.leak_bits,
                membrane.nbytes,
                {"rv32": rv32 * membrane.size, "m4": m4 * membrane.size},
            )
        )
    return found
