"""A network's first layers, executed in bands of rows: less memory, more work, the same bits.

Where the first tensors of a network are the largest, its first layers make their last output band
by band. A band needs a few rows more of what lies before it; these rows are made again for the next
band. It is a graph of the same operators: slices, convolutions with the padding that a band has,
and a concatenation, which the memory plan lets lie where the bands are written.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from spikelet.graph.graph import NAME_BYTES, Graph
from spikelet.graph.operator import Operator
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.slice import Slice
from spikelet.graph.tensor import GraphError, Tensor

MOST_BANDS = 16


@dataclass(frozen=True)
class Tiling:
    """A graph with its first layers in bands.

    Attributes:
        graph: computes the same.
        layers: operators in bands, the first ones.
        bands: how many.
        macs: multiply-accumulates of it.
        macs_before: of the graph that it was.
    """

    graph: Graph
    layers: int
    bands: int
    macs: int
    macs_before: int

    @property
    def more_work(self) -> float:
        """Share of multiply-accumulates that it adds."""
        return self.macs / max(1, self.macs_before) - 1


def tilings(graph: Graph) -> list[Tiling]:
    """Every way to execute the first layers in bands, the least work first."""
    possible = []
    before = _macs(graph)
    if graph.steps == 1:
        for layers in range(1, len(graph.nodes) + 1):
            if not _is_closed(graph, layers):
                continue
            rows = graph.nodes[layers - 1].outs[0].shape[0]
            for bands in _counts(rows):
                try:
                    made = tile(graph, layers, bands)
                except GraphError:
                    break  # a layer needs whole tensors, or there are too many operators
                possible.append(Tiling(made, layers, bands, _macs(made), before))
    return sorted(possible, key=lambda tiling: (tiling.macs, tiling.layers, tiling.bands))


def tile(graph: Graph, layers: int, bands: int) -> Graph:
    """The graph with the first `layers` operators in `bands` bands.

    Raises:
        GraphError: one of them cannot make its rows from rows, or the bands are too many.
    """
    if not _is_closed(graph, layers):
        raise GraphError(f"graph {graph.name}: more than one tensor leaves the first {layers}")
    out = graph.nodes[layers - 1].outs[0]
    if not 1 <= bands <= out.shape[0]:
        raise GraphError(f"graph {graph.name}: {bands} bands of {out.name} {out.shape}")
    nodes: list[Operator] = []
    parts = []
    taken = set(graph.tensors)
    for number in range(bands):
        first = number * out.shape[0] // bands
        end = (number + 1) * out.shape[0] // bands
        made = list(_band(graph, layers, number, first, end, taken))
        nodes += made
        parts.append(made[-1].name)
    joined = Concatenate(
        name=out.name,
        inputs=tuple(parts),
        axis=0,
        output_scale=out.scale,
        output_zero_point=out.zero_point,
    )
    rest = graph.nodes[layers:]
    return Graph(graph.name, 1, graph.inputs, [*nodes, joined, *rest], graph.outputs)


def _macs(graph: Graph) -> int:
    return sum(n.cost().macs for n in graph.nodes)


def _counts(rows: int) -> list[int]:
    """Numbers of bands that differ in the height of a band."""
    heights = {-(-rows // n): n for n in range(min(rows, MOST_BANDS), 1, -1)}
    return sorted(heights.values())


def _is_closed(graph: Graph, layers: int) -> bool:
    """Whether nothing but the last one's output leaves the first operators."""
    inside = graph.nodes[: layers - 1]
    made = {t.name for node in inside for t in node.outs}
    after = {name for node in graph.nodes[layers:] for name in node.inputs}
    return not made & (after | set(graph.outputs)) and all(
        len(node.outs) == 1 for node in graph.nodes[:layers]
    )


def _band(
    graph: Graph, layers: int, number: int, first: int, end: int, taken: set[str]
) -> Iterator[Operator]:
    """The operators of one band, in order, named as nothing in `taken`, which they join."""
    nodes = graph.nodes[:layers]
    needed: dict[str, tuple[int, int]] = {nodes[-1].name: (first, end)}
    fields = {}
    reads = {}
    for node in reversed(nodes):
        band = node.band(*needed[node.name]) if node.name in needed else None
        if band is None:
            raise node.error("its rows cannot be made one band after the other")
        fields[node.name], reads[node.name] = band.fields, band.rows
        for name, (low, high) in zip(node.inputs, band.rows, strict=True):
            known = needed.get(name, (low, high))
            needed[name] = min(low, known[0]), max(high, known[1])
    there = {t.name: (t.name, 0, t.shape[0]) for t in graph.inputs}
    cut: dict[tuple[str, int, int], str] = {}
    for node in nodes:
        inputs = []
        for name, (low, high) in zip(node.inputs, reads[node.name], strict=True):
            source, start, stop = there[name]
            if (low, high) != (start, stop) and (name, low, high) not in cut:
                made = _name(name, f"_rows{len(cut)}_{number}", taken)
                yield _rows(graph.tensors[name], made, source, low - start, high - low)
                cut[name, low, high] = made
            inputs.append(cut.get((name, low, high), source))
        own = _name(node.name, f"_{number}", taken)
        there[node.name] = (own, *needed[node.name])
        yield dataclasses.replace(node, name=own, inputs=tuple(inputs), **fields[node.name])


def _name(name: str, end: str, taken: set[str]) -> str:
    """The name with that end, shortened and counted until it is a new one."""
    for count in itertools.count():
        tail = f"_{count}{end}" if count else end
        short = name[: NAME_BYTES - len(tail)].rstrip("_") + tail
        if short not in taken:
            break
    taken.add(short)
    return short


def _rows(tensor: Tensor, name: str, source: str, first: int, count: int) -> Slice:
    rest = tensor.shape[1:]
    return Slice(
        name=name,
        inputs=(source,),
        begin=(first, *(0 for _ in rest)),
        size=(count, *rest),
        stride=(1,) * len(tensor.shape),
        output_scale=tensor.scale,
        output_zero_point=tensor.zero_point,
    )
