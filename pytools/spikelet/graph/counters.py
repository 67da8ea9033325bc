"""What a device counts while it runs, and golden's count of the same.

The work of a spiking network depends on its data. NeuroBench's metrics are made of these counts
alone (`spikelet.metrics`), which a trace build keeps: one number for each counter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from spikelet.graph.graph import Graph
from spikelet.graph.operator import Operator, Phase, Role
from spikelet.graph.running import Execution
from spikelet.graph.tensor import Array, Tensor


class Counted(StrEnum):
    """What a counter counts each time that its operator runs."""

    OPERATIONS = "synaptic operations"  # weights other than 0 that meet an element other than 0
    SPIKES = "spikes"  # elements that are not 0
    UPDATES = "membrane updates"  # elements that change; in the first step all of them


@dataclass(frozen=True, eq=False)
class Counter:
    """One number that a device counts.

    Attributes:
        node: the operator that reads (OPERATIONS) or writes the tensor.
        tensor: what is counted.
        counted: how.
        weights: of OPERATIONS, for each element how many weights that are not 0 it meets.
    """

    node: Operator
    tensor: Tensor
    counted: Counted
    weights: Array | None = None


def counters(graph: Graph) -> list[Counter]:
    """All counters of a graph, in the order in which a device keeps them."""
    return [counter for node in graph.order for counter in _of(graph, node)]


def _of(graph: Graph, node: Operator) -> Iterator[Counter]:
    if graph.phase(node) > Phase.END:
        return
    for name, met in node.synapses().items():
        yield Counter(node, graph.tensors[name], Counted.OPERATIONS, met.reshape(-1))
    roles = node.tensor_roles()
    for tensor in node.outs:
        if roles.get(tensor.name) is Role.SPIKES:
            yield Counter(node, tensor, Counted.SPIKES)
        if roles.get(tensor.name) is Role.MEMBRANE and graph.phase(node) is Phase.STEP:
            yield Counter(node, tensor, Counted.UPDATES)


def counts(
    graph: Graph, these: Sequence[Counter], execution: Execution, inputs: Mapping[str, Array]
) -> Array:
    """What golden counts, (N, counters) int64.

    Args:
        graph: the network.
        these: its counters.
        execution: what `graph.run(inputs, trace=True)` gave.
        inputs: by name, (N, *shape).
    """
    made = np.zeros((len(execution.steps), len(these)), np.int64)
    for column, counter in enumerate(these):
        seen = graph.seen(counter.tensor.name, execution, inputs)
        rows = _bits(seen).reshape(*seen.shape[:2], -1)  # (rows, N, elements)
        times = _times(graph, counter.node, len(rows), execution.steps)
        weights = np.ones(rows.shape[2]) if counter.weights is None else counter.weights
        for row, values in enumerate(rows):
            counting = values != 0
            if counter.counted is Counted.UPDATES:
                counting = values != rows[row - 1] if row else np.ones(values.shape, np.bool_)
            # Floats add numbers below 2^53 without an error, and fast.
            total = counting.astype(np.float64) @ weights.astype(np.float64)
            made[:, column] += times[row] * total.astype(np.int64)
    return made


def executions(graph: Graph, node: Operator, steps: Array) -> Array:
    """(N,) how often an operator ran, where so many steps (N,) were executed."""
    return steps if graph.phase(node) is Phase.STEP else np.ones_like(steps)


def _times(graph: Graph, node: Operator, rows: int, steps: Array) -> Array:
    """(rows, N) how often an operator met each row of a tensor's trace."""
    if rows == 1:
        return executions(graph, node, steps)[None]
    step = np.arange(rows)[:, None]
    last_only = graph.phase(node) is Phase.END
    return (step == steps - 1 if last_only else step < steps).astype(np.int64)


def _bits(values: Array) -> Array:
    """Elements as a device compares them: floats by their bits."""
    return values.view(f"u{values.itemsize}") if values.dtype.kind == "f" else values
