"""One network at several widths of its weights, and an input that says at which it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from spikelet.graph.graph import Graph
from spikelet.graph.operator import Operator
from spikelet.graph.ops.gate import Gate
from spikelet.graph.ops.select import Select
from spikelet.graph.quantised import Quantised
from spikelet.graph.tensor import GraphError, Tensor

EFFORT = "effort.bits"  # u8 (1,): bits of the weights of this inference


def at_widths(graphs: Mapping[int, Graph], name: str) -> Graph:
    """One graph of several that compute the same at different widths.

    The device executes the one that the input `effort.bits` names, from the next inference on; it
    refuses a width that is not there. Weights that several of them have are in flash once.

    Args:
        graphs: by bits. They have the same inputs, and one output of the same code each.
        name: of the graph that is made.

    Raises:
        GraphError: their inputs or outputs differ, or they learn.
    """
    widths = sorted(graphs, reverse=True)
    first = graphs[widths[0]]
    nodes: list[Operator] = []
    outputs = []
    _check_alike(name, first, {f"{w} bits": graph for w, graph in graphs.items()})
    for width in widths:
        part, output = _renamed(graphs[width], str(width), (EFFORT, width))
        nodes += part
        outputs.append(output)
    effort = Tensor(EFFORT, "u8", (1,), kind="input", choices=tuple(sorted(widths)))
    scores = first.outputs[0].partition(".")[0]
    nodes.append(Select(name=scores, inputs=(EFFORT, *outputs), values=tuple(widths)))
    return Graph(name, first.steps, [*first.inputs, effort], nodes, [scores])


def at_width(graph: Graph, width: int) -> Graph:
    """The network at one width of a graph that has several: what `at_widths` was given.

    Raises:
        GraphError: there is no such width.
    """
    nodes = [node for node in graph.order if node.when == (EFFORT, width)]
    if not nodes:
        known = sorted({n.when[1] for n in graph.nodes if n.when and n.when[0] == EFFORT})
        raise GraphError(f"graph {graph.name}: no width of {width} bits, there are {known}")
    suffix = f"_{width}"
    own = {tensor.name: _without(tensor.name, suffix) for node in nodes for tensor in node.outs}
    back = [
        dataclasses.replace(
            node,
            name=node.name.removesuffix(suffix),
            inputs=tuple(own.get(name, name) for name in node.inputs),
            when=None,
        )
        for node in nodes
    ]
    given = [tensor for tensor in graph.inputs if tensor.name != EFFORT]
    (chosen,) = [node for node in graph.nodes if isinstance(node, Select)]
    output = chosen.inputs[1 + chosen.values.index(width)]
    return Graph(graph.name, graph.steps, given, back, [own[output]])


def packed(graph: Graph) -> Graph:
    """The same weights with upper bits of codes in arrays of their own, packed.

    Sums are smaller by a power of two and shifted less, so a code may be rounded otherwise by one.
    Layers are faster so, for as many bits a weight more in flash. A layer stays as it is where its
    bias is no whole number of the coarser steps.
    """
    nodes = [_packed(node) if isinstance(node, Quantised) else node for node in graph.nodes]
    return dataclasses.replace(graph, nodes=nodes)


def _packed(node: Quantised) -> Quantised:
    finer = 8 - node.upper
    if not finer or np.any(node.bias & ((1 << finer) - 1)) or np.any(node.shift > 30 - finer):
        return node
    fields: dict[str, Any] = {"bits": node.upper, "upper": 8, "weight": node.weight >> finer}
    return dataclasses.replace(node, bias=node.bias >> finer, shift=node.shift + finer, **fields)


def _without(tensor: str, suffix: str) -> str:
    head, dot, part = tensor.partition(".")
    return f"{head.removesuffix(suffix)}{dot}{part}"


def draft_first(draft: Graph, whole: Graph, lead: int, name: str) -> Graph:
    """One graph of two: where the answer of the draft is not sure, the whole network answers.

    Its output tensor `unsure` is 1 where the whole network was executed.

    Args:
        draft: cheap, such as the same network at 1 bit.
        whole: with the same inputs and an output of the same code.
        lead: of the draft's best score over its second, in units of its code, below which the whole
            network is executed.
        name: of the graph that is made.

    Raises:
        GraphError: their inputs or outputs differ, or they learn.
    """
    _check_alike(name, whole, {"draft": draft})
    first, scores = _renamed(draft, "draft", None)
    second, answer = _renamed(whole, "whole", ("unsure", 1))
    gate = Gate(name="unsure", inputs=(scores,), lead=lead)
    chosen = whole.outputs[0].partition(".")[0]
    select = Select(name=chosen, inputs=("unsure", answer, scores), values=(1, 0))
    nodes = [*first, gate, *second, select]
    return Graph(name, whole.steps, list(whole.inputs), nodes, [chosen, "unsure"])


def _check_alike(name: str, first: Graph, others: Mapping[str, Graph]) -> None:
    for of, graph in others.items():
        if graph.inputs != first.inputs or len(graph.outputs) != 1 or graph.learns:
            raise GraphError(
                f"graph {name}: {of} has inputs {graph.inputs} and outputs {graph.outputs},"
                f" expected {first.inputs} and one output"
            )


def _renamed(graph: Graph, suffix: str, when: tuple[str, int] | None) -> tuple[list[Operator], str]:
    """The operators with a suffix to their names, under a condition; the name of the output."""
    given = {tensor.name for tensor in graph.inputs}

    def renamed(tensor: str) -> str:
        head, dot, part = tensor.partition(".")
        return tensor if tensor in given else f"{head}_{suffix}{dot}{part}"

    nodes = [
        dataclasses.replace(
            node,
            name=f"{node.name}_{suffix}",
            inputs=tuple(map(renamed, node.inputs)),
            when=when,
        )
        for node in graph.order
    ]
    return nodes, renamed(graph.outputs[0])


def upper_bits(graph: Graph, width: Literal[1, 2, 4, 8]) -> Graph:
    """The same graph of odd int8 weights, of whose codes the upper bits count."""
    nodes = [
        dataclasses.replace(node, upper=width)
        if isinstance(node, Quantised) and node.bits == 8 and node.odd
        else node
        for node in graph.nodes
    ]
    return dataclasses.replace(graph, nodes=nodes)
