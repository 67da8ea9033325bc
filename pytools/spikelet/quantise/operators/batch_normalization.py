"""Batch normalisation at inference. Folding leaves none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator
from spikelet.quantise.weighted import as_layer, into_writer

if TYPE_CHECKING:
    from torch import Tensor


class BatchNormalization(NetworkOperator):
    """x (N, C, ...); scale, bias, mean and variance (C,)."""

    OP = "BatchNormalization"
    scales_channels = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x, scale, bias, mean, variance = inputs
        by_channel = (slice(None), *(None,) * (x.ndim - 2))
        deviation = np.sqrt(variance + np.float32(attributes.get("epsilon", 1e-5)))
        factor = scale * (np.float32(1) / deviation)  # in onnxruntime's steps
        y: Array = x * factor[by_channel] + (bias - mean * factor)[by_channel]
        return y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        from torch.nn.functional import batch_norm

        x, scale, bias, mean, variance = inputs
        return batch_norm(x, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))

    def affine(
        self, attributes: Attributes, constants: list[Array], shape: tuple[int, ...], axis: int
    ) -> tuple[Array, Array] | None:
        if axis != 1:
            return None
        scale, bias, mean, variance = constants
        scale = scale / np.sqrt(variance + float(attributes.get("epsilon", 1e-5)))
        return scale, bias - mean * scale

    def fold(self, folding: Folding, node: Node) -> bool:
        return into_writer(folding, node)

    def stand_alone(self, folding: Folding, node: Node) -> bool:
        return as_layer(folding, node)

    def lower(self, layer: Layer) -> Value:
        raise layer.refuse("parameters that are computed", "constant parameters")
