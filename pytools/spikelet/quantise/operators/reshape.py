"""Other shapes for the same elements.

One that tears channels apart is free where only Gemms read it: their weights are permuted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.fold import Folding
from spikelet.quantise.fuse import is_function
from spikelet.quantise.layers import MOST_DIMENSIONS, Layer, Lowering, Value, channels_last
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class Reshape(NetworkOperator):
    """x in `shape`; its batch axis stays what it is."""

    OP = "Reshape"
    keeps_code = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x, shape = inputs[0], [int(d) for d in attributes["shape"]]
        if shape and shape[0] == 1 and -1 not in shape and math.prod(shape) != x.size:
            shape[0] = x.shape[0]  # the batch axis
        y: Array = np.reshape(x, shape)
        return y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        x: Tensor = inputs[0]
        return x.reshape(len(x), *list(attributes["shape"])[1:])

    def idle(self, folding: Folding, node: Node) -> bool:
        return folding.shapes[node.name] == folding.shapes[node.inputs[0]]

    def fold(self, folding: Folding, node: Node) -> bool:
        """The last of two in a row is enough."""
        first = folding.same_before(node)
        return first is not None and folding.replace(node, node.replace(inputs=first.inputs))

    def lower(self, layer: Layer) -> Value:
        shape, source_shape, value = layer.shape, layer.source_shape, layer.input_as_is()
        if source_shape[0] != 1 or shape[:1] != (1,) or len(shape) > MOST_DIMENSIONS + 1:
            raise layer.refuse(
                f"from shape {source_shape} to {shape}",
                f"a batch axis of 1 that stays, and up to {MOST_DIMENSIONS} axes behind it",
            )
        if value.order is not None:
            raise layer.refuse("a flat tensor whose elements are in another order")
        places = _places(source_shape, value.layout)
        rank = len(shape)
        for layout in dict.fromkeys([channels_last(rank), *permutations(range(1, rank))]):
            if np.array_equal(places, _places(shape, layout)):
                return layer.finish(value.tensor, layout)
        if rank == 2 and _only_gemms(layer.lowering, layer.group.name):
            flat = layer.lowering.reshape(value.tensor, (shape[1],))
            return Value(layer.lowering.recode(flat, layer.code), (1,), places)
        wanted = _places(shape, channels_last(rank))
        for layout in permutations(range(1, len(source_shape))):
            if np.array_equal(_places(source_shape, layout), wanted):
                return layer.finish(layer.input(layout), channels_last(rank))
        own = layer.input(tuple(range(1, len(source_shape))))
        return layer.finish(own, tuple(range(1, rank)))


def _places(shape: Sequence[int], layout: tuple[int, ...]) -> Array:
    """Which element of the network's tensor is at each place of the graph's."""
    return np.arange(math.prod(shape)).reshape(shape).transpose(0, *layout).reshape(-1)


def _only_gemms(lowering: Lowering, name: str) -> bool:
    """Whether a flat tensor is only read by Gemms, be it through functions of one value."""
    readers = lowering.readers.get(name, [])
    return (
        name not in lowering.network.outputs
        and bool(readers)
        and all(
            group.head.op == "Gemm"
            or (is_function(lowering.network, group.head) and _only_gemms(lowering, group.name))
            for group in readers
        )
    )
