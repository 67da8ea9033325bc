"""Where the largest element along one axis lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.argmax import Argmax
from spikelet.quantise.layers import Layer, Value, graph_shape
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class ArgMax(NetworkOperator):
    """The index along `axis`, int64: the first of equal ones, or the last."""

    OP = "ArgMax"
    ranks = True
    writes_index = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x, axis = inputs[0], int(attributes.get("axis", 0))
        if attributes.get("select_last_index", 0):
            index = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis)
        else:
            index = np.argmax(x, axis=axis)
        keep = attributes.get("keepdims", 1)
        y: Array = np.expand_dims(index, axis) if keep else np.asarray(index)
        return y.astype(np.int64)

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        keep = bool(attributes.get("keepdims", 1))
        index: Tensor = inputs[0].argmax(int(attributes.get("axis", 0)), keep)
        return index

    def lower(self, layer: Layer) -> Value:
        axis = int(layer.node.attributes.get("axis", 0)) % len(layer.source_shape)
        if axis == 0 or layer.node.attributes.get("select_last_index", 0):
            raise layer.refuse(
                "over the batch axis, or the last of equal ones", "the first largest"
            )
        rows = tuple(a for a in layer.input_as_is().layout if a != axis)
        tensor = layer.add(Argmax(name=layer.name, inputs=(layer.input((*rows, axis)).name,)))
        layout = (*rows, axis)
        if len(layer.shape) < len(layer.source_shape):
            layout = tuple(a - (a > axis) for a in rows)
        return Value(layer.lowering.reshape(tensor, graph_shape(layer.shape, layout)), layout)
