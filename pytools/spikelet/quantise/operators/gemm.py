"""Linear layers: sums along the last axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes
from spikelet.quantise.weighted import Weighted, into_reader

if TYPE_CHECKING:
    from torch import Tensor


class Gemm(Weighted):
    """x (..., I), weight (O, I), bias (O,): (..., O)."""

    OP = "Gemm"

    def channel_axis(self, rank: int) -> int:
        return rank - 1

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        y: Array = np.matmul(inputs[0], inputs[1].T)
        return y + inputs[2] if len(inputs) > 2 and inputs[2] is not None else y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        from torch.nn.functional import linear

        return linear(inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None)

    def fold(self, folding: Folding, node: Node) -> bool:
        """An affine function before it goes into its weights."""
        return into_reader(folding, node)

    def lower(self, layer: Layer) -> Value:
        weights = layer.weights()
        weight = weights[0]
        layout = tuple(range(1, len(layer.source_shape)))
        value = layer.input_as_is()
        order = value.order
        source = value.tensor if order is not None else layer.input(layout)
        fields = layer.scaling(source, weights, once=True)
        fields |= layer.weight_fields(weight if order is None else weight[:, order])
        made = FullyConnected(name=layer.name, inputs=(source.name,), **fields)
        return layer.finish(layer.add(made), layout)
