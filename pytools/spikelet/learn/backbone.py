"""The frozen part of a graph that learns: a graph cut behind the tensor that a learner reads."""

from __future__ import annotations

import dataclasses

from spikelet.errors import UsageError
from spikelet.graph import Graph, Operator, Tensor
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.spike_count import SpikeCount
from spikelet.learn.layers.spike_rate import SpikeRate


def until(graph: Graph, tensor: str) -> Graph:
    """The graph that computes `tensor` and nothing else.

    Raises:
        UsageError: the graph has no such tensor, or it is an input.
    """
    given = tensor in {t.name for t in graph.inputs}
    if tensor not in graph.tensors or given:
        computed = [t.name for node in graph.order for t in node.outs]
        raise UsageError(
            f"graph {graph.name} computes no tensor {tensor!r}",
            "it is an input" if given else "a mistyped name, or a tensor of another model",
            f"use one of {', '.join(computed)}",
        )
    needed = {tensor}
    nodes: list[Operator] = []
    for node in reversed(graph.nodes):
        if needed & {t.name for t in node.outs}:
            nodes.insert(0, node)
            needed |= set(node.reads)
    inputs = [t for t in graph.inputs if t.name in needed]
    return dataclasses.replace(graph, inputs=inputs, nodes=nodes, outputs=[tensor])


def readable(graph: Graph, tensor: str) -> tuple[Graph, str]:
    """A graph and a tensor of it that learners can read.

    Spikes are those of one time step; in their place, the graph gets two operators that make
    the rates of all steps of them, (n,) i8.

    Returns:
        the graph and `tensor`; where that is spikes, the graph with `LAYER_rate`, and that name.
    """
    if tensor not in graph.tensors or graph.tensors[tensor].dtype != "bit":
        return graph, tensor
    layer = tensor.partition(".")[0][:26]  # an operator's name has at most 32 characters
    count, rate = f"{layer}_count", f"{layer}_rate"
    counted = [SpikeCount(name=count, inputs=(tensor,)), SpikeRate(name=rate, inputs=(count,))]
    return dataclasses.replace(graph, nodes=[*graph.nodes, *counted]), rate


def spikes_behind(graph: Graph, tensor: str) -> tuple[Graph, str]:
    """The graph that computes a tensor; of rates that `readable` made, their spikes.

    Returns:
        the graph, which computes nothing else, and the tensor's name.
    """
    writers = {t.name: node for node in graph.nodes for t in node.outs}
    rate = writers.get(tensor)
    if not isinstance(rate, SpikeRate) or not isinstance(writers[rate.inputs[0]], SpikeCount):
        return graph, tensor
    spikes = writers[rate.inputs[0]].inputs[0]
    return until(graph, spikes), spikes


def identity(
    shape: tuple[int, ...], dtype: str = "i8", scale: float = 1.0, zero_point: int = 0
) -> Graph:
    """A backbone that hands its input `x` on as `features`, for learners on raw data."""
    x = Tensor("x", dtype, shape, kind="input", scale=scale, zero_point=zero_point)
    return Graph(
        "raw", 1, [x], [Reshape(name="features", inputs=("x",), shape=shape)], ["features"]
    )


def features(graph: Graph) -> str:
    """The tensor that a learner reads by default: what the last operator with weights reads.

    Raises:
        UsageError: no operator with weights reads a computed tensor.
    """
    given = {t.name for t in graph.inputs}
    for node in reversed(graph.order):
        wanted = [name for name in node.inputs if name not in given]
        if has_weights(graph, node) and wanted:
            return wanted[0]
    raise UsageError(
        f"graph {graph.name} has no layer whose input could be features",
        "a network of one layer",
        "name a tensor with --features",
    )


def has_weights(graph: Graph, node: Operator) -> bool:
    """Whether an operator has weights, as its cost says."""
    return node.cost().weight_bits > 0
