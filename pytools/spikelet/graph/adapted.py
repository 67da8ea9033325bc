"""A graph with places for the values of an adapter: y = base(x) + delta(x).

The base stays a constant in flash. What an adapter adds are learned tensors, which a host writes
into RAM; until then they are zeros, and the graph computes what the base does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from spikelet.graph.declared import check_fields, within
from spikelet.graph.graph import Graph
from spikelet.graph.operator import Operator
from spikelet.graph.ops.add_delta import MOST_RANK, AddDelta
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.quantised import Quantised
from spikelet.graph.tensor import GraphError, Learned, Tensor

SCHEMA = 1  # of the values; another meaning of one of them is another number
BASE = "delta.base"  # i32 (1,): what values are for; a device takes no others
HEAD, DELTA = "head", "delta"


@dataclass(frozen=True)
class Adapter:
    """Which values an adapter has.

    Attributes:
        kind: low_rank, of every layer with weights; or head, of the last one alone.
        rank: of each layer's two matrices.
        bits: of an element of them.
        head: besides low_rank, the last layer has a whole matrix of 8 bits.
    """

    kind: Literal["low_rank", "head"]
    rank: Annotated[int, within(0, MOST_RANK)] = 0
    bits: Literal[1, 8] = 8
    head: bool = False

    def __post_init__(self) -> None:
        check_fields(Adapter, "the adapter", vars(self))
        if (self.kind == "low_rank") != (self.rank > 0):
            raise GraphError(f"an adapter of kind {self.kind} and rank {self.rank}")
        if self.kind == "head" and (self.bits, self.head) != (8, False):
            raise GraphError("an adapter of kind head: bits and head are those of low_rank")

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)


def base_sha256(base: Graph) -> str:
    """Hash of a graph and its constants, whatever samples its package holds."""
    total = hashlib.sha256(json.dumps(base.to_json(), sort_keys=True).encode())
    for name, values in sorted(base.constants().items()):
        total.update(f"\0{name} {values.dtype} {values.shape}\0".encode())
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def with_places(base: Graph, adapter: Adapter) -> Graph:
    """The graph with an operator behind each adapted layer, under that layer's name.

    Raises:
        GraphError: it learns already, or no layer of it can be adapted.
    """
    if base.learns:
        raise GraphError(f"graph {base.name}: it learns, and an adapter's values are learned, too")
    layers = [
        node.name
        for node in base.nodes
        if (
            isinstance(node, Conv2d)
            or (isinstance(node, FullyConnected) and len(node.outs[0].shape) == 1)
        )
        and node.when is None
    ]
    if not layers:
        raise GraphError(
            f"graph {base.name}: no layer to adapt, expected an int8 convolution or a linear layer"
        )
    nodes: list[Operator] = []
    learned = [_tag(base, adapter)]
    for node in base.nodes:
        if not isinstance(node, Quantised) or node.name not in layers:
            nodes.append(node)
            continue
        last = node.name == layers[-1]
        if adapter.kind == "head" and not last:
            nodes.append(node)
            continue
        whole = last and (adapter.head or adapter.kind == "head")
        below, added, values = _adapted(node, adapter, whole)
        nodes += [below, added]
        learned += values
    return Graph(base.name, base.steps, base.inputs, nodes, base.outputs, learned)


def _tag(base: Graph, adapter: Adapter) -> Learned:
    """One value that a delta for another base, or of another form, does not hold."""
    form = json.dumps([SCHEMA, adapter.to_json(), base_sha256(base)], sort_keys=True)
    tag = int.from_bytes(hashlib.sha256(form.encode()).digest()[:4], "little", signed=True)
    return Learned.of(BASE, "i32", (1,), np.array([tag], np.int32), low=tag, high=tag)


def _adapted(
    node: Quantised, adapter: Adapter, whole: bool
) -> tuple[Operator, AddDelta, list[Learned]]:
    below = dataclasses.replace(node, name=f"{node.name}_base")
    place: dict[str, Any] = {}
    if isinstance(node, Conv2d):
        place = {
            "kernel": (int(node.weight.shape[1]), int(node.weight.shape[2])),
            "stride": node.stride,
            "dilation": node.dilation,
            "padding": node.padding,
        }
    added = AddDelta(
        name=node.name,
        inputs=(below.name, *node.inputs),
        rank=0 if whole else adapter.rank,
        bits=8 if whole else adapter.bits,
        activation=node.activation,
        output_scale=node.output_scale,
        output_zero_point=node.output_zero_point,
        **place,
    )
    added.ins = (dataclasses.replace(node.outs[0], name=below.name), *node.ins)
    part = f"{node.name}_{HEAD if whole else DELTA}"
    values = [Learned.of(f"{part}.{n}", *form) for n, form in added.values().items()]
    inputs = (*added.inputs, *(learned.tensor.name for learned in values))
    return below, dataclasses.replace(added, inputs=inputs), values


def values_of(graph: Graph, node: AddDelta) -> dict[str, Tensor]:
    """The tensors of an adapted layer's values by what they are: down, up, gain, shift, bias."""
    return {n: graph.tensors[t] for n, t in zip(node.values(), node.inputs[2:], strict=True)}
