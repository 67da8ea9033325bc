"""Golden's execution of a graph on N samples, each until its answer is sure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelet.graph.operator import Operator, Phase
from spikelet.graph.tensor import Array
from spikelet.text import brief_repr

if TYPE_CHECKING:
    from spikelet.graph.graph import Graph


@dataclass
class Execution:
    """What golden computed for N samples.

    Attributes:
        outputs: by name, (N, *shape).
        trace: by name, (rows, N, *shape): one row a step, one row in all for an operator that runs
            once; empty unless asked for.
        saturations: (N,) membranes that hit their limit, over all layers and steps.
        steps: (N,) steps that were executed; rows of later ones are 0.
        states: by name, of neurons, as the last step left them; empty unless the graph keeps them.
    """

    outputs: dict[str, Array]
    trace: dict[str, Array]
    saturations: Array
    steps: Array
    states: dict[str, Array]

    __repr__ = brief_repr


class Running:
    """Tensors of the samples that are under way; those that are done are kept apart.

    Args:
        graph: what is executed.
        inputs: by name, (N, *shape).
        env: tensors by name, states at their start; it is changed.
        samples: N.
        trace: whether to keep what every operator wrote in every step.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Mapping[str, Array],
        env: dict[str, Array],
        samples: int,
        trace: bool,
    ) -> None:
        self.graph, self.inputs, self.env, self.trace = graph, inputs, env, trace
        self.active = np.arange(samples)
        self.steps = np.full(samples, graph.steps, np.int64)
        self.saturations = np.zeros(samples, np.int64)
        self.rows: dict[str, list[Array]] = {}
        self.done: list[tuple[Array, dict[str, Array]]] = []
        self.shared = {learned.tensor.name for learned in graph.learned}  # of all samples

    def execution(self) -> Execution:
        """Execute all phases of a prediction."""
        graph = self.graph
        phases: dict[Phase, list[Operator]] = {phase: [] for phase in Phase}
        for node in graph.order:
            phases[graph.phase(node)].append(node)
        samples = len(self.steps)
        self._execute(phases[Phase.ONCE], 0)
        for t in range(graph.steps):
            if graph.stream is not None:
                self.env[graph.stream.name] = self.inputs[graph.stream.name][self.active, t]
            self._execute(phases[Phase.STEP], t)
            if graph.exit and not self._leave(t):
                break
        if self.done:
            self._join()
        self._execute(phases[Phase.END], 0)
        return Execution(
            outputs={name: self.env[name] for name in graph.outputs},
            trace={name: np.stack(values) for name, values in self.rows.items()},
            saturations=self.saturations,
            steps=self.steps,
            states=self._kept(samples) if graph.keeps_state else {},
        )

    def _kept(self, samples: int) -> dict[str, Array]:
        """The states of neurons: what their operators set at the start."""
        names: dict[str, Array] = {}
        for node in self.graph.order:
            if node.KEPT:
                node.start(names, samples)
        return {name: self.env[name] for name in names}

    def _execute(self, nodes: Iterable[Operator], t: int) -> None:
        for node in nodes:
            clipped = node.golden(self.env, t)
            if clipped is not None:
                self.saturations[self.active] += clipped
            for tensor in node.outs if self.trace else ():
                self.rows.setdefault(tensor.name, []).append(self._whole(self.env[tensor.name]))

    def _whole(self, values: Array) -> Array:
        """Values of all samples; 0 of those that are done."""
        if not self.done:
            return values.copy()
        whole = np.zeros((len(self.steps), *values.shape[1:]), values.dtype)
        whole[self.active] = values
        return whole

    def _leave(self, t: int) -> bool:
        """Set samples aside that are sure, or at their end; whether some are left."""
        sure = self.env[self.graph.exit].reshape(-1) == 0
        if t + 1 == self.graph.steps:
            sure[:] = True
        if sure.any():
            gone, self.env = self._part(sure), self._part(~sure)
            self.done.append((self.active[sure], gone))
            self.steps[self.active[sure]] = t + 1
            self.active = self.active[~sure]
        return len(self.active) > 0

    def _part(self, chosen: Array) -> dict[str, Array]:
        return {n: v if n in self.shared else v[chosen] for n, v in self.env.items()}

    def _join(self) -> None:
        """All samples as each was left."""
        self.active = np.concatenate([samples for samples, _ in self.done])
        order = np.argsort(self.active)
        parts = [env for _, env in self.done]
        self.env = {
            name: values
            if name in self.shared
            else np.concatenate([part[name] for part in parts])[order]
            for name, values in parts[0].items()
        }
        self.active, self.done = self.active[order], []
