"""Choices that change a device's work and not a single result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from spikelet.graph.graph import Graph
from spikelet.graph.grid import fewest_bits
from spikelet.graph.ops.conv2d_sums import Conv2dSums
from spikelet.graph.ops.dense import Dense
from spikelet.graph.tensor import Array

# A change costs about a tenth more than a spike: two lists, and sums that are read back.
_CHANGE_COST = 1.1


def tune(graph: Graph, inputs: Mapping[str, Array]) -> Graph:
    """The same graph with `Dense.by_change` set where inputs change less often than they spike.

    Args:
        graph: any graph.
        inputs: typical samples by input, (N, *shape); training data, never test data.
    """
    trace = graph.run(inputs, trace=True).trace
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Dense) and node.can_update_by_change and node.inputs[0] in trace:
            spikes = trace[node.inputs[0]].astype(bool)
            changes = int(spikes[0].sum()) + int(np.sum(spikes[1:] != spikes[:-1]))
            node = dataclasses.replace(node, by_change=_CHANGE_COST * changes < int(spikes.sum()))
        nodes.append(node)
    return Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)


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
