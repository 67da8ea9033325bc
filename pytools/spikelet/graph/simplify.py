"""Less of a graph that computes the same: channels that are always one code, or that nobody reads.

Real networks have dead filters. The intervals of a graph tell which channels have a single code
whatever the input is. Such a channel needs no weights. Where it stands for real 0, or nothing can
tell it from a bias, it is no channel at all for who reads it; a channel that nobody reads is left
out with the weights that make it. Inputs and outputs of the graph keep their shapes, every channel
that is left keeps its codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spikelet.graph.graph import Graph
from spikelet.graph.int8 import by_channel, ranges
from spikelet.graph.operator import Operator
from spikelet.graph.quantised import Quantised
from spikelet.graph.tensor import Array

MULTIPLE = 4  # channels that every kernel takes at a time


@dataclass(frozen=True)
class Layer:
    """What became of a layer with weights.

    Attributes:
        name: of the layer.
        channels: of its output, before.
        constant: of these, how many have a single code.
        kept: numbers of the channels that are left.
        macs: multiply-accumulates before and after.
        weights: before and after.
    """

    name: str
    channels: int
    constant: int
    kept: Array
    macs: tuple[int, int]
    weights: tuple[int, int]

    def as_dict(self) -> dict[str, object]:
        """For JSON; `kept` as ranges such as 0-3,7, and only where channels are missing."""
        fields = dataclasses.asdict(self)
        fields["kept"] = len(self.kept)
        if len(self.kept) < self.channels:
            fields["kept_channels"] = ranges(self.kept)
        return fields


@dataclass(frozen=True)
class Simplified:
    """A graph that computes the same with less.

    Attributes:
        graph: it.
        kept: by tensor that lost channels, the numbers of those that are left.
        layers: with weights, those that lost any.
        macs: multiply-accumulates before and after.
        weights: before and after.
    """

    graph: Graph
    kept: dict[str, Array]
    layers: list[Layer]
    macs: tuple[int, int]
    weights: tuple[int, int]

    def manifest_entry(self) -> dict[str, object]:
        """What a package's manifest says of it; nothing where nothing was left out."""
        if not self.layers:
            return {}
        layers = [layer.as_dict() for layer in self.layers]
        return {"simplified": {"macs": self.macs, "weights": self.weights, "layers": layers}}


def simplify(graph: Graph) -> Simplified:
    """The graph without what it computes in vain; a graph that learns is left as it is."""
    if graph.learns:
        return Simplified(graph, {}, [], (_macs(graph),) * 2, (_weights(graph.nodes),) * 2)
    plain = _with(graph, [node.fold_constants(graph.bounds) for node in graph.nodes])
    kept = {name: np.flatnonzero(left) for name, left in _channels_left(plain).items()}
    nodes = [_narrow(plain, node, kept) for node in plain.nodes]
    made = _with(graph, nodes)
    layers = [
        _layer(graph, before, made, after, kept)
        for before, after in zip(graph.nodes, made.nodes, strict=True)
        if isinstance(before, Quantised)
    ]
    return Simplified(
        made,
        {n: left for n, left in kept.items() if len(left) < graph.tensors[n].shape[-1]},
        [layer for layer in layers if layer.macs[0] != layer.macs[1] or layer.constant],
        (_macs(graph), _macs(made)),
        (_weights(graph.nodes), _weights(made.nodes)),
    )


def _with(graph: Graph, nodes: list[Operator]) -> Graph:
    return Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)


def _macs(graph: Graph) -> int:
    return sum(_cost(graph, node) for node in graph.nodes)


def _cost(graph: Graph, node: Operator) -> int:
    return node.cost().macs


def _weights(nodes: list[Operator]) -> int:
    return sum(node.weight.size for node in nodes if isinstance(node, Quantised))


def _layer(
    graph: Graph, before: Quantised, made: Graph, after: Operator, kept: dict[str, Array]
) -> Layer:
    low, high = by_channel(graph.bounds[before.name])
    return Layer(
        before.name,
        len(low),
        int(np.sum(low == high)),
        kept[before.name],
        (_cost(graph, before), _cost(made, after)),
        (_weights([before]), _weights([after])),
    )


def _narrow(graph: Graph, node: Operator, kept: dict[str, Array]) -> Operator:
    every = (node.name, *node.inputs)
    if all(len(kept[name]) == graph.tensors[name].shape[-1] for name in every if name in kept):
        return node
    return node.with_channels([kept[name] for name in node.inputs], kept[node.name])


def _channels_left(graph: Graph) -> dict[str, Array]:
    """By tensor, which channels stay, (C,) bool: those that are read, and some to fill up."""
    left = {name: np.zeros(t.shape[-1], np.bool_) for name, t in graph.tensors.items()}
    for name in (*(t.name for t in graph.inputs), *graph.outputs):
        left[name][:] = True
    _spread(graph, left)
    while (missing := next(_missing(graph, left), None)) is not None:
        name, channel = missing
        left[name][channel] = True
        _spread(graph, left)
    return left


def _spread(graph: Graph, left: dict[str, Array]) -> None:
    """Adds what the channels that stay need, and what stands and falls with them."""
    before = -1
    while before != (count := sum(int(channels.sum()) for channels in left.values())):
        before = count
        for node in reversed(graph.nodes):
            follows = node.follows()
            if follows is None:
                for name in (*node.inputs, *(t.name for t in node.outs)):
                    left[name][:] = True
                continue
            for name, source in zip(node.inputs, follows, strict=True):
                if source is None:
                    left[name] |= np.any(node.mixes()[left[node.name]], axis=0)
                    continue
                tied = np.flatnonzero(source >= 0)
                np.logical_or.at(left[name], source[tied], left[node.name][tied])
                left[node.name][tied] |= left[name][source[tied]]


def _missing(graph: Graph, left: dict[str, Array]) -> Iterator[tuple[str, int]]:
    """Channels that make a tensor's count a multiple of four, the cheapest first."""
    for name, channels in left.items():
        count = int(channels.sum())
        if (count % MULTIPLE or count == 0) and not channels.all():
            low, high = by_channel(graph.bounds[name])
            costs = np.where(channels, 2, low != high)  # one that is a constant needs no weights
            yield name, int(np.argmin(costs))
