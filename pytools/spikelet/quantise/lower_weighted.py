"""Convolutions, linear layers and pools: to the integer graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.ops.slice import Slice
from spikelet.graph.ops.transpose_conv import TransposeConv
from spikelet.quantise.layers import Layer, Value, channels_last, code_of, like, lowers
from spikelet.quantise.meaning import pool_reach

MOST_GROUPS = 64  # of a convolution that is neither dense nor depthwise


@lowers("Conv")
def _conv(layer: Layer) -> Value:
    source, _ = layer.image()
    weight, scales, bias = layer.weights()
    if weight.ndim == 3:
        weight = weight[:, :, None]
    top, left, bottom, right = layer.margins()
    window: dict[str, Any] = {
        "stride": layer.pair("strides", 1),
        "dilation": layer.pair("dilations", 1),
        "padding": (top, left, bottom, right),
    }
    group, channels = int(layer.node.attributes.get("group", 1)), source.shape[2]
    fields: dict[str, Any] = layer.rescaling(source, scales, bias, layer.code)
    layout = channels_last(len(layer.shape))
    if group == channels and weight.shape[1] == 1 and group > 1:
        made = DepthwiseConv2d(
            name=layer.name,
            inputs=(source.name,),
            weight=np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0)),
            depth_multiplier=len(weight) // channels,
            **window,
            **fields,
        )
        return layer.done(layer.add(made), layout)
    rows = np.ascontiguousarray(weight.transpose(0, 2, 3, 1))
    if group == 1:
        conv = Conv2d(name=layer.name, inputs=(source.name,), weight=rows, **window, **fields)
        return layer.done(layer.add(conv), layout)
    if group > MOST_GROUPS:
        raise layer.refuse(
            f"{group} groups of {weight.shape[1]} channels",
            f"1 group, one channel a group, or at most {MOST_GROUPS} groups",
        )
    parts = []
    for i in range(group):
        depth, each = weight.shape[1], len(weight) // group
        size = (*source.shape[:2], depth)
        part = Slice(
            name=layer.lowering.derived(layer.name, f"in{i}"),
            inputs=(source.name,),
            begin=(0, 0, i * depth),
            size=size,
            stride=(1, 1, 1),
            **like(code_of(source)),
        )
        own = slice(i * each, (i + 1) * each)
        mine: dict[str, Any] = {
            k: v[own] if isinstance(v, np.ndarray) else v for k, v in fields.items()
        }
        conv = Conv2d(
            name=layer.lowering.derived(layer.name, f"out{i}"),
            inputs=(layer.add(part).name,),
            weight=np.ascontiguousarray(rows[own]),
            **window,
            **mine,
        )
        parts.append(layer.add(conv).name)
    joined = Concatenate(name=layer.name, inputs=tuple(parts), axis=2, **like(layer.code))
    return layer.done(layer.add(joined), layout)


@lowers("ConvTranspose")
def _conv_transpose(layer: Layer) -> Value:
    source, _ = layer.image()
    weight, scales, bias = layer.weights()
    if weight.ndim == 3:
        weight = weight[:, :, None]
    size = (1, *layer.shape[2:]) if len(layer.shape) == 3 else layer.shape[2:]
    made = TransposeConv(
        name=layer.name,
        inputs=(source.name,),
        weight=np.ascontiguousarray(weight.transpose(0, 2, 3, 1)),
        size=(size[0], size[1]),
        stride=layer.pair("strides", 1),
        padding=layer.margins()[:2],
        **layer.rescaling(source, scales, bias, layer.code),
    )
    return layer.done(layer.add(made), channels_last(len(layer.shape)))


@lowers("Gemm")
def _gemm(layer: Layer) -> Value:
    weight, scales, bias = layer.weights()
    shape = layer.source_shape
    layout = tuple(range(1, len(shape)))
    value = layer.own()
    order = value.order
    source = value.tensor if order is not None else layer.input(layout)
    weight = weight if order is None else np.ascontiguousarray(weight[:, order])
    fields = layer.rescaling(source, scales, bias, layer.code, once=True)
    made = FullyConnected(name=layer.name, inputs=(source.name,), weight=weight, **fields)
    return layer.done(layer.add(made), layout)


def _window(layer: Layer, size: tuple[int, int]) -> dict[str, Any]:
    """Window, stride and padding of a pool; the padding is what its last window needs."""
    kernel, stride = layer.pair("kernel_shape", 1), layer.pair("strides", 1)
    dilation, margins = layer.pair("dilations", 1), layer.margins()
    ceil = bool(layer.node.attributes.get("ceil_mode", 0))
    ends = [
        pool_reach(size[i], kernel[i], stride[i], dilation[i], margins[i], margins[i + 2], ceil)[1]
        for i in (0, 1)
    ]
    return {"window": kernel, "stride": stride, "padding": (*margins[:2], *ends)}


@lowers("MaxPool")
def _max_pool(layer: Layer) -> Value:
    source, size = layer.image()
    if layer.pair("dilations", 1) != (1, 1):
        raise layer.refuse("a dilated window", "dilations of 1")
    code = code_of(source)
    made = MaxPool2d(
        name=layer.name,
        inputs=(source.name,),
        activation=layer.activation(code),
        **_window(layer, size),
        **like(code),
    )
    return layer.done(layer.add(made), channels_last(len(layer.shape)))


@lowers("AveragePool")
def _average_pool(layer: Layer) -> Value:
    source, size = layer.image()
    window, margins = _window(layer, size), layer.margins()
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
        return layer.done(layer.add(pool), layout)
    if beyond or (any(margins) and not counted):
        raise layer.refuse(
            "windows that reach beyond the margin, or a dilated window in a margin",
            "ceil_mode or count_include_pad or dilations, not together",
        )
    # A depthwise convolution with the weight 1 / cells: margins count, one rounding.
    cells, channels = math.prod(window["window"]), source.shape[2]
    scales = np.full(channels, 1 / cells)
    made = DepthwiseConv2d(
        name=layer.name,
        inputs=(source.name,),
        weight=np.ones((*window["window"], channels), np.int8),
        stride=window["stride"],
        dilation=layer.pair("dilations", 1),
        padding=window["padding"],
        **layer.rescaling(source, scales, np.zeros(channels), layer.code),
    )
    return layer.done(layer.add(made), layout)


@lowers("GlobalMaxPool")
def _global_max_pool(layer: Layer) -> Value:
    source, size = layer.image()
    code = code_of(source)
    made = MaxPool2d(
        name=layer.name,
        inputs=(source.name,),
        window=size,
        activation=layer.activation(code),
        **like(code),
    )
    return layer.done(layer.add(made), channels_last(len(layer.shape)))
