"""What is said of neurons' state, of every kind with a membrane."""

from __future__ import annotations

import dataclasses
from typing import Any

from every_kind import every_graph
from spikelet.cli.render import spiking_tables
from spikelet.graph import Array, Graph, Operator, Role, Tensor
from spikelet.graph.operator import Inferred, Precision
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.states import neuron_states


@dataclasses.dataclass(kw_only=True)
class Integrator(Operator):
    """Derives from none of ours, and its membrane has a name of its own."""

    KIND = ""

    def infer(self, bounds: dict[str, Any], steps: int) -> Inferred:
        bounds[f"{self.name}.potential"] = bounds[self.inputs[0]]
        shape = self.ins[0].shape
        return Inferred(
            [Tensor(f"{self.name}.potential", "i16", shape, kind="state", persistent=True)]
        )

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[f"{self.name}.potential"] = env[self.inputs[0]]

    def tensor_roles(self) -> dict[str, Role]:
        return {f"{self.name}.potential": Role.MEMBRANE}

    def membrane_precision(self) -> Precision:
        return Precision(3, 0)


class Derived(LeakyReadout):
    """Of ours, by another name."""

    KIND = ""


def test_a_state_is_told_by_its_role() -> None:
    nodes: list[Operator] = [
        Integrator(name="own", inputs=("x",)),
        Derived(name="late", inputs=("own.potential",), leak=1 << 14, input_shift=2),
    ]
    graph = Graph("states", 3, [Tensor("x", "i16", (5,), kind="input")], nodes, ["late"])
    own, late = neuron_states(graph)
    assert (own.layer, own.neurons, own.membrane, own.ram_bytes) == ("own", 5, "i16", 10)
    assert (own.fraction_bits, own.leak_bits, own.instructions) == (3, 0, {})
    # Its own two fraction bits are below the step of what it reads, which has three.
    assert (late.layer, late.neurons, late.fraction_bits, late.leak_bits) == ("late", 5, 5, 15)
    assert set(late.instructions) == {"rv32", "m4"} and min(late.instructions.values()) >= 5
    assert spiking_tables([own.to_json(), late.to_json()], [])


def test_every_kind_with_a_membrane_says_its_precision() -> None:
    kinds = set()
    for graph in every_graph():
        told = {row.layer for row in neuron_states(graph)}
        for node in graph.nodes:
            has = Role.MEMBRANE in node.tensor_roles().values()
            assert has == (node.name in told), (node.KIND, node.name)
            kinds |= {node.KIND} if has else set()
    assert kinds >= {"lif", "leaky_readout"}
