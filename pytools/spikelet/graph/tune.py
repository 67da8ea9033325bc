"""Choices that change a device's work and not a single result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from spikelet.graph.declared import GraphError
from spikelet.graph.graph import Graph
from spikelet.graph.grid import fewest_bits
from spikelet.graph.operator import Operator
from spikelet.graph.ops.conv2d_sums import Conv2dSums
from spikelet.graph.ops.delayed_dense import DelayedDense
from spikelet.graph.ops.dense import Dense
from spikelet.graph.tensor import Array

# A change costs about a tenth more than a spike: two lists, and sums that are read back.
_CHANGE_COST = 1.1


def tune(graph: Graph, inputs: Mapping[str, Array], delay_bytes: int | None = None) -> Graph:
    """The same graph with the kernels that take the least work on typical inputs.

    `Dense.by_change` is set where inputs change less often than they spike. Delays a synapse add
    each spike ahead (scatter), which takes no longer than looking back at any activity; where they
    would keep more than `delay_bytes`, some look back (`DelayedDense.gather`): those first that
    lose the fewest instructions for each byte that they save.

    Args:
        graph: any graph.
        inputs: typical samples by input, (N, *shape); training data, never test data.
        delay_bytes: of RAM that all `DelayedDense` together keep from step to step at most; None
            for any number.

    Raises:
        GraphError: they keep more than `delay_bytes` in any case.
    """
    trace = graph.run(inputs, trace=True).trace
    late = [node for node in graph.nodes if isinstance(node, DelayedDense)]
    spikes = {node.name: _spikes(graph, node.inputs[0], inputs, trace) for node in late}
    back = _looking_back(late, spikes, delay_bytes)
    nodes: list[Operator] = []
    for node in graph.nodes:
        if isinstance(node, Dense) and node.can_update_by_change and node.inputs[0] in trace:
            moved = trace[node.inputs[0]].astype(bool)
            changes = int(moved[0].sum()) + int(np.sum(moved[1:] != moved[:-1]))
            node = dataclasses.replace(node, by_change=_CHANGE_COST * changes < int(moved.sum()))
        elif isinstance(node, DelayedDense):
            node = dataclasses.replace(node, gather=node.name in back)
        nodes.append(node)
    return Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)


def _spikes(
    graph: Graph, name: str, inputs: Mapping[str, Array], trace: Mapping[str, Array]
) -> Array:
    """(T, N, *shape) of a tensor of spikes, which may be an input of the graph."""
    if name in trace:
        return trace[name]
    given = inputs[name]
    if graph.tensors[name].per_step:
        return np.moveaxis(given, 1, 0)
    return np.broadcast_to(given, (graph.steps, *given.shape))


def _looking_back(
    late: Sequence[DelayedDense], spikes: Mapping[str, Array], most: int | None
) -> set[str]:
    """Names of the operators that look back."""
    ahead, back = ({node.name: node.kept_bytes(way) for node in late} for way in (False, True))
    chosen: set[str] = set()

    def price(node: DelayedDense) -> float:
        """Instructions of a step for each byte that looking back saves."""
        seen, name = spikes[node.name], node.name
        more = node.expected(seen, gather=True) - node.expected(seen, gather=False)
        return more / (ahead[name] - back[name])

    kept = sum(ahead.values())
    smaller = [node for node in late if back[node.name] < ahead[node.name]]
    for node in sorted(smaller, key=price):
        if most is None or kept <= most:
            break
        chosen.add(node.name)
        kept += back[node.name] - ahead[node.name]
    if most is not None and kept > most:
        raise GraphError(
            f"delays a synapse keep {kept} bytes at the least, and delay_bytes is {most}: use "
            "shorter delays, fewer neurons, or one delay a neuron"
        )
    return chosen


def packed_sums(graph: Graph) -> Graph:
    """The same graph with the weights of spikes in the fewest bits that hold them.

    So weights that were trained on a grid of few levels take its bits in flash.
    """
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Dense | Conv2dSums) and node.bits == 8 and node.ins[0].dtype == "bit":
            codes, bits, odd = fewest_bits(node.weight)
            node = dataclasses.replace(node, weight=codes, bits=bits, odd=odd)
        nodes.append(node)
    return Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)
