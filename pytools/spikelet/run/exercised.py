"""Which weights the samples of a session have exercised: those that a run of them can speak for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spikelet.graph import Array, Execution, Graph, Role


@dataclass
class Exercised:
    """Collects, over samples and steps, what ever left its rest.

    A weight is exercised when its input differed from rest (no spike, the zero point) in some
    sample; what is wrong with another one no comparison of these samples can show.
    """

    graph: Graph
    moved: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.graph.nodes:
            roles = node.tensor_roles()
            if Role.WEIGHTED in roles.values():
                for name in (*node.inputs, *(t.name for t in node.outs)):
                    tensor = self.graph.tensors[name]
                    if roles.get(name) is Role.WEIGHTED or tensor.kind == "state":
                        self.moved.setdefault(name, np.zeros(tensor.shape, bool))

    def add(self, execution: Execution, inputs: Mapping[str, Array]) -> None:
        """Take in some samples; `execution` with its trace, inputs (N, *shape) by name."""
        for name, moved in self.moved.items():
            rest = self.graph.tensors[name].zero_point
            moved |= (self.graph.seen(name, execution, inputs) != rest).any(axis=(0, 1))

    def count(self) -> tuple[int, int]:
        """Weights that were exercised, and all weights."""
        counts = [node.exercised_weights(self.moved) for node in self.graph.nodes]
        return sum(some for some, _ in counts), sum(every for _, every in counts)
