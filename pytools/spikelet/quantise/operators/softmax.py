"""Softmax along one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.softmax import Softmax as IntegerSoftmax
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Code
from spikelet.quantise.operator import UNIT, Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class Softmax(NetworkOperator):
    """`exp(x)` over its sum along `axis`."""

    OP = "Softmax"
    ranks = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        axis = int(attributes.get("axis", -1))
        power = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
        y: Array = power / power.sum(axis=axis, keepdims=True)
        return y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        return torch.softmax(inputs[0], attributes.get("axis", -1))

    def fixed_code(self, measured: bool) -> Code | None:
        return UNIT  # the kernel has no other

    def lower(self, layer: Layer) -> Value:
        axis = int(layer.node.attributes.get("axis", -1)) % len(layer.shape)
        if axis == 0:
            raise layer.refuse("a softmax over the batch axis")
        layout = (*(a for a in layer.input_as_is().layout if a != axis), axis)
        made = IntegerSoftmax(name=layer.name, inputs=(layer.input(layout).name,))
        return layer.finish(layer.add(made), layout)
