"""ReLU whose slope below 0 differs between elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.prelu import Prelu
from spikelet.quantise.arithmetic import lower_elementwise
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class PRelu(NetworkOperator):
    """`x` from 0 on, `x * slope` below; the slope is broadcast."""

    OP = "PRelu"

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x = inputs[0]
        y: Array = np.where(x < 0, x * inputs[1], x)
        return y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        x, slope = inputs
        return torch.where(x < 0, x * slope, x)

    def fold(self, folding: Folding, node: Node) -> bool:
        """LeakyRelu, where all slopes are equal."""
        slope = folding.values(node.inputs[1])
        if slope is None or slope.size == 0 or np.any(slope != slope.reshape(-1)[0]):
            return False
        attributes = {"alpha": float(slope.reshape(-1)[0])}
        leaky = node.replace(op="LeakyRelu", inputs=node.inputs[:1], attributes=attributes)
        return folding.replace(node, leaky)

    def lower(self, layer: Layer) -> Value:
        return lower_elementwise(layer, Prelu)
