"""Convolutions of images and signals, in groups: dense, depthwise and what lies between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from spikelet.graph import Array, Tensor
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.slice import Slice
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value, channels_last, code_of, like
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes
from spikelet.quantise.spatial import margins_in_torch, pad, spatial, zeros_before
from spikelet.quantise.weighted import Weighted, into_reader

if TYPE_CHECKING:
    import torch

CHUNK_BYTES = 1 << 26  # of windows at a time
MOST_GROUPS = 64  # of one that is neither dense nor depthwise


class Conv(Weighted):
    """x (N, C, *spatial), weight (O, C / group, *kernel), bias (O,): (N, O, *spatial)."""

    OP = "Conv"

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x, weight = inputs[0], inputs[1]
        rank = weight.ndim - 2
        strides = spatial(attributes, "strides", rank, 1)
        dilations = spatial(attributes, "dilations", rank, 1)
        x = pad(x, spatial(attributes, "pads", 2 * rank, 0), 0.0)
        if rank == 1:  # an image of one row
            x, weight = x[:, :, None], weight[:, :, None]
            strides, dilations = [1, *strides], [1, *dilations]
        elif rank != 2:
            raise ValueError(f"{rank} spatial axes, expected 1 or 2")
        group = int(attributes.get("group", 1))
        outputs, depth = weight.shape[:2]
        if x.shape[1] != depth * group or outputs % group:
            raise ValueError(
                f"weights of {depth} channels in {group} groups on {x.shape[1]} channels"
            )
        reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
        view = sliding_window_view(x, (reach[0], reach[1]), axis=(2, 3))
        view = view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
        y = (
            _depthwise(view, weight)
            if depth == 1 and group > 1
            else _sum_groups(view, weight, group)
        )
        if len(inputs) > 2 and inputs[2] is not None:
            y += inputs[2].astype(y.dtype)[:, None, None]
        return y[:, :, 0] if rank == 1 else y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> torch.Tensor:
        from torch.nn import functional

        x, padding = margins_in_torch(inputs[0], attributes)
        weight, bias = inputs[1], inputs[2] if len(inputs) > 2 else None
        rank = x.dim() - 2
        strides = spatial(attributes, "strides", rank, 1)
        dilations = spatial(attributes, "dilations", rank, 1)
        call = functional.conv2d if rank == 2 else functional.conv1d
        return call(x, weight, bias, strides, padding, dilations, int(attributes.get("group", 1)))

    def fold(self, folding: Folding, node: Node) -> bool:
        """A margin of zeros before it becomes its own; an affine function goes into its weights."""
        margins = zeros_before(folding, node)
        if margins is None:
            return into_reader(folding, node, int(node.attributes.get("group", 1)))
        pad, pads = margins
        inputs = (pad.inputs[0], *node.inputs[1:])
        attributes = {**node.attributes, "pads": pads}
        return folding.replace(node, node.replace(inputs=inputs, attributes=attributes))

    def lower(self, layer: Layer) -> Value:
        source, _ = layer.image()
        weights = layer.weights()
        weight = weights[0]
        if weight.ndim == 3:
            weight = weight[:, :, None]
        fields: dict[str, Any] = {
            "stride": layer.pair("strides", 1),
            "dilation": layer.pair("dilations", 1),
            "padding": layer.margins(),
            **layer.scaling(source, weights),
        }
        group, channels = int(layer.node.attributes.get("group", 1)), source.shape[2]
        layout = channels_last(len(layer.shape))
        if group == channels and weight.shape[1] == 1 and group > 1:
            made = DepthwiseConv2d(
                name=layer.name,
                inputs=(source.name,),
                weight=layer.as_int8(weight[:, 0].transpose(1, 2, 0)),
                depth_multiplier=len(weight) // channels,
                **fields,
            )
            return layer.finish(layer.add(made), layout)
        rows = weight.transpose(0, 2, 3, 1)
        if group == 1:
            fields |= layer.weight_fields(rows)
            conv = Conv2d(name=layer.name, inputs=(source.name,), **fields)
            return layer.finish(layer.add(conv), layout)
        if group > MOST_GROUPS:
            raise layer.refuse(
                f"{group} groups of {weight.shape[1]} channels",
                f"1 group, one channel a group, or at most {MOST_GROUPS} groups",
            )
        return layer.finish(_in_groups(layer, source, layer.as_int8(rows), fields), layout)


def _depthwise(view: Array, weight: Array) -> Array:
    """Windows (N, C, OH, OW, KH, KW), weight (C * m, 1, KH, KW): (N, C * m, OH, OW)."""
    samples, channels, height, width = view.shape[:4]
    taps = weight.reshape(channels, -1, *weight.shape[2:])  # (C, m, KH, KW)
    y = np.zeros((samples, channels, taps.shape[1], height, width), np.float32)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            y += view[:, :, None, :, :, i, j] * taps[:, :, i, j, None, None]
    return y.reshape(samples, -1, height, width)


def _sum_groups(view: Array, weight: Array, group: int) -> Array:
    """Windows (N, C, OH, OW, KH, KW), weight (O, C / group, KH, KW): (N, O, OH, OW)."""
    samples, channels, height, width = view.shape[:4]
    outputs, depth, tall, wide = weight.shape
    rows = weight.reshape(group, outputs // group, -1).astype(np.float32)
    y = np.empty((samples, group, outputs // group, height * width), np.float32)
    chunk = max(1, CHUNK_BYTES // (4 * channels * height * width * tall * wide))
    for at in range(0, samples, chunk):
        seen = view[at : at + chunk].transpose(0, 1, 4, 5, 2, 3)
        columns = seen.reshape(len(seen), group, depth * tall * wide, height * width)
        y[at : at + chunk] = np.matmul(rows, columns)
    return y.reshape(samples, outputs, height, width)


def _in_groups(layer: Layer, source: Tensor, rows: Array, fields: dict[str, Any]) -> Tensor:
    """A Slice and a Conv2d a group, joined; weights are (O, KH, KW, C / group)."""
    depth = rows.shape[3]
    group = source.shape[2] // depth
    each, parts = len(rows) // group, []
    for i in range(group):
        part = Slice(
            name=layer.lowering.derive_name(layer.name, f"in{i}"),
            inputs=(source.name,),
            begin=(0, 0, i * depth),
            size=(*source.shape[:2], depth),
            stride=(1, 1, 1),
            **like(code_of(source)),
        )
        own = slice(i * each, (i + 1) * each)
        mine: dict[str, Any] = {
            k: v[own] if isinstance(v, np.ndarray) else v for k, v in fields.items()
        }
        conv = Conv2d(
            name=layer.lowering.derive_name(layer.name, f"out{i}"),
            inputs=(layer.add(part).name,),
            weight=np.ascontiguousarray(rows[own]),
            **mine,
        )
        parts.append(layer.add(conv).name)
    return layer.add(Concatenate(name=layer.name, inputs=tuple(parts), axis=2, **like(layer.code)))
