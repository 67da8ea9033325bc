"""Tensors one behind the other along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value, like
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class Concat(NetworkOperator):
    """Its inputs along `axis`; all have one code."""

    OP = "Concat"
    keeps_code = True
    joins_codes = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return np.concatenate(inputs, axis=int(attributes["axis"]))

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        return torch.cat(list(inputs), attributes["axis"])

    def idle(self, folding: Folding, node: Node) -> bool:
        return len(node.inputs) == 1

    def lower(self, layer: Layer) -> Value:
        axis = int(layer.node.attributes["axis"])
        if axis == 0:
            raise layer.refuse("tensors one behind the other along the batch axis")
        layout = layer.input_as_is().layout
        parts = [
            layer.lowering.recode(layer.input(layout, i), layer.code).name
            for i in range(len(layer.node.inputs))
        ]
        lead = int(len(layout) == 2)
        made = Concatenate(
            name=layer.name, inputs=tuple(parts), axis=lead + layout.index(axis), **like(layer.code)
        )
        return layer.finish(layer.add(made), layout)
