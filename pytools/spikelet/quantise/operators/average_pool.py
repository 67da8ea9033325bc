"""Means of windows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value, channels_last, code_of, like
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator
from spikelet.quantise.spatial import cells, margins_in_torch, pool_window, spatial, zeros_before

if TYPE_CHECKING:
    import torch


class AveragePool(NetworkOperator):
    """x (N, C, *spatial): (N, C, *spatial); `count_include_pad` says whether margins count."""

    OP = "AveragePool"
    clamped = True
    keeps_code = True
    averages = True
    homogeneous = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x = inputs[0]
        y: Array = sum(cells(x, attributes, 0.0), start=np.zeros((), x.dtype))
        # The margin counts or not; what lies beyond it, because of ceil_mode, never does.
        counted = bool(attributes.get("count_include_pad", 0))
        rank = x.ndim - 2
        kernel = [int(k) for k in attributes["kernel_shape"]]
        strides = spatial(attributes, "strides", rank, 1)
        dilations = spatial(attributes, "dilations", rank, 1)
        pads = spatial(attributes, "pads", 2 * rank, 0)
        for i in range(rank):
            taps = np.arange(y.shape[2 + i])[:, None] * strides[i] - pads[i]
            taps = taps + np.arange(kernel[i]) * dilations[i]
            length = x.shape[2 + i]
            low, high = (-pads[i], length + pads[rank + i]) if counted else (0, length)
            count = ((taps >= low) & (taps < high)).sum(axis=1).astype(y.dtype)
            y = y / count.reshape(-1, *(1,) * (rank - 1 - i))
        return y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> torch.Tensor:
        import torch
        from torch.nn import functional

        x = inputs[0]
        rank = x.dim() - 2
        call = functional.avg_pool2d if rank == 2 else functional.avg_pool1d
        kernel = list(attributes["kernel_shape"])
        strides = spatial(attributes, "strides", rank, 1)
        ceil = bool(attributes.get("ceil_mode", 0))
        counted = bool(attributes.get("count_include_pad", 0))
        padded, padding = margins_in_torch(x, attributes)
        mean = call(padded, kernel, strides, padding, ceil, counted)
        if padded is x or counted:
            return mean
        # padded unevenly: divided by the cells that lie inside
        inside = margins_in_torch(torch.ones_like(x[:1]), attributes)[0]
        return mean / call(inside, kernel, strides, padding, ceil)

    def fold(self, folding: Folding, node: Node) -> bool:
        """GlobalAveragePool over all of an image; zeros before it become margins that count."""
        margins = node.attributes.get("pads") or ()
        whole = list(folding.shapes[node.inputs[0]][2:]) == list(node.attributes["kernel_shape"])
        if whole and not any(margins):
            return folding.replace(node, node.replace(op="GlobalAveragePool", attributes={}))
        zeros = zeros_before(folding, node)
        if zeros is None or any(margins) or node.attributes.get("ceil_mode", 0):
            return False
        pad, pads = zeros
        attributes = {**node.attributes, "pads": pads, "count_include_pad": 1}
        return folding.replace(node, node.replace(inputs=pad.inputs[:1], attributes=attributes))

    def lower(self, layer: Layer) -> Value:
        source, size = layer.image()
        window, margins = pool_window(layer, size), layer.margins()
        counted = bool(layer.node.attributes.get("count_include_pad", 0)) and any(margins)
        plain = layer.pair("dilations", 1) == (1, 1) and not counted
        code, layout = code_of(source), channels_last(len(layer.shape))
        same = (source.scale, source.zero_point) == (float(layer.code.scale), layer.code.zero_point)
        beyond = any(window["padding"][i] > margins[i] for i in (2, 3))
        if plain and (same or any(window["padding"])):
            pool = AveragePool2d(
                name=layer.name,
                inputs=(source.name,),
                activation=layer.activation(code),
                **window,
                **like(code),
            )
            return layer.finish(layer.add(pool), layout)
        if beyond or (any(margins) and not counted):
            raise layer.refuse(
                "windows that reach beyond the margin, or a dilated window in a margin",
                "ceil_mode or count_include_pad or dilations, not together",
            )
        # A depthwise convolution with the weight 1 / cells: margins count, one rounding.
        channels = source.shape[2]
        scales = np.full(channels, 1 / math.prod(window["window"]))
        made = DepthwiseConv2d(
            name=layer.name,
            inputs=(source.name,),
            weight=np.ones((*window["window"], channels), np.int8),
            stride=window["stride"],
            dilation=layer.pair("dilations", 1),
            padding=window["padding"],
            **layer.rescaling(source, scales, np.zeros(channels), layer.code),
        )
        return layer.finish(layer.add(made), layout)
