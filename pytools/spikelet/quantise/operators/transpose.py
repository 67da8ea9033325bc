"""Axes in another order. In the integer graph it only renames them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class Transpose(NetworkOperator):
    """Axis i of the output is axis `perm[i]` of the input."""

    OP = "Transpose"
    keeps_code = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return np.ascontiguousarray(np.transpose(inputs[0], attributes.get("perm")))

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        x: Tensor = inputs[0]
        return x.permute(*attributes["perm"])

    def idle(self, folding: Folding, node: Node) -> bool:
        return list(node.attributes["perm"]) == sorted(node.attributes["perm"])

    def fold(self, folding: Folding, node: Node) -> bool:
        """Two in a row are one."""
        first = folding.same_before(node)
        if first is None:
            return False
        perm = [first.attributes["perm"][i] for i in node.attributes["perm"]]
        return folding.replace(node, node.replace(inputs=first.inputs, attributes={"perm": perm}))

    def lower(self, layer: Layer) -> Value:
        perm, value = [int(axis) for axis in layer.node.attributes["perm"]], layer.input_as_is()
        if perm[0] != 0 or value.order is not None:
            raise layer.refuse("it moves the batch axis", "a batch axis that stays")
        return layer.finish(value.tensor, tuple(perm.index(axis) for axis in value.layout))
