"""Maxima over all spatial axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelet.graph import Array
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.quantise.layers import Layer, Value, channels_last, code_of, like
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class GlobalMaxPool(NetworkOperator):
    """x (N, C, *spatial): (N, C, 1, ...)."""

    OP = "GlobalMaxPool"
    clamped = True
    keeps_code = True
    homogeneous = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        y: Array = inputs[0].max(axis=tuple(range(2, inputs[0].ndim)), keepdims=True)
        return y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        return torch.amax(inputs[0], dim=list(range(2, inputs[0].dim())), keepdim=True)

    def lower(self, layer: Layer) -> Value:
        source, size = layer.image()
        code = code_of(source)
        made = MaxPool2d(
            name=layer.name,
            inputs=(source.name,),
            window=size,
            activation=layer.activation(code),
            **like(code),
        )
        return layer.finish(layer.add(made), channels_last(len(layer.shape)))
