"""Maxima of windows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.quantise.layers import Layer, Value, channels_last, code_of, like
from spikelet.quantise.operator import Attributes, NetworkOperator
from spikelet.quantise.spatial import cells, margins_in_torch, pool_window, spatial

if TYPE_CHECKING:
    from torch import Tensor


class MaxPool(NetworkOperator):
    """x (N, C, *spatial): (N, C, *spatial); margins lie below every value."""

    OP = "MaxPool"
    clamped = True
    keeps_code = True
    homogeneous = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        first, *rest = cells(inputs[0], attributes, -math.inf)
        best = first.copy()
        for cell in rest:
            np.maximum(best, cell, out=best)
        return best

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        from torch.nn import functional

        x, padding = margins_in_torch(inputs[0], attributes, -math.inf)
        rank = x.dim() - 2
        call = functional.max_pool2d if rank == 2 else functional.max_pool1d
        kernel = list(attributes["kernel_shape"])
        strides = spatial(attributes, "strides", rank, 1)
        dilations = spatial(attributes, "dilations", rank, 1)
        result: Tensor = call(
            x, kernel, strides, padding, dilations, bool(attributes.get("ceil_mode", 0))
        )
        return result

    def lower(self, layer: Layer) -> Value:
        source, size = layer.image()
        if layer.pair("dilations", 1) != (1, 1):
            raise layer.refuse("a dilated window", "dilations of 1")
        code = code_of(source)
        made = MaxPool2d(
            name=layer.name,
            inputs=(source.name,),
            activation=layer.activation(code),
            **pool_window(layer, size),
            **like(code),
        )
        return layer.finish(layer.add(made), channels_last(len(layer.shape)))
