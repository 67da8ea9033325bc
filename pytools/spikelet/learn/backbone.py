"""The frozen part of a graph that learns: a graph cut behind the tensor that a learner reads."""

from __future__ import annotations

import dataclasses

from spikelet.errors import UsageError
from spikelet.graph import Graph, Operator, Tensor
from spikelet.graph.ops.reshape import Reshape


def until(graph: Graph, tensor: str) -> Graph:
    """The graph that computes `tensor` and nothing else.

    Raises:
        UsageError: the graph has no such tensor, or it is an input.
    """
    if tensor not in graph.tensors or tensor in {t.name for t in graph.inputs}:
        computed = [t.name for node in graph.order for t in graph.written(node)]
        raise UsageError(
            f"graph {graph.name} computes no tensor {tensor!r}",
            "a mistyped name, or a tensor of another model",
            f"use one of {', '.join(computed)}",
        )
    needed = {tensor}
    nodes: list[Operator] = []
    for node in reversed(graph.nodes):
        if needed & {t.name for t in graph.written(node)}:
            nodes.insert(0, node)
            needed |= set(node.reads)
    inputs = [t for t in graph.inputs if t.name in needed]
    return dataclasses.replace(graph, inputs=inputs, nodes=nodes, outputs=[tensor])


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
        weights = node.cost([graph.tensors[name] for name in node.inputs]).weight_bits
        found = [name for name in node.inputs if name not in given]
        if weights and found:
            return found[0]
    raise UsageError(
        f"graph {graph.name} has no layer whose input could be features",
        "a network of one layer",
        "name a tensor with --features",
    )
