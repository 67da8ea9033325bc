"""Convolutions, fully connected layers and pools of TensorFlow Lite."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.frontends.tflite_layers import Layer, converts
from spikelet.graph import Array
from spikelet.graph.int8 import factor
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.requantise_once import split_factor

SAME = 0


def _image(layer: Layer) -> tuple[int, int, int]:
    shape = layer.file_tensor(0).shape
    if len(shape) != 4 or shape[0] != 1:
        raise layer.refuse(f"input of shape {shape}", "(1, height, width, channels)")
    return shape[1:]


def _steps(layer: Layer, name: str) -> tuple[int, int]:
    """A pair of attributes such as strides, down and right."""
    pattern = {"Stride": "Stride{}", "Dilation": "Dilation{}Factor", "Filter": "Filter{}"}[name]
    sides = ("Height", "Width") if name == "Filter" else ("H", "W")
    found = tuple(int(layer.options[pattern.format(side)]) for side in sides)
    if any(not 1 <= v <= 65535 for v in found):
        raise layer.refuse(f"{name.lower()} {found}", "1 to 65535")
    return found[0], found[1]


def _padding(
    layer: Layer, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Cells beyond the top, left, bottom and right edge."""
    mode = layer.options["Padding"]
    if mode not in (0, 1):
        raise layer.refuse(f"padding {mode}", "SAME or VALID")
    image = _image(layer)
    before, after = [], []
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        outputs = -(-image[axis] // stride[axis])
        total = max((outputs - 1) * stride[axis] + reach - image[axis], 0)
        total = total if mode == SAME else 0
        before.append(total // 2)
        after.append(total - total // 2)
    return before[0], before[1], after[0], after[1]


def _weights(layer: Layer, rank: int, axis: int) -> Array:
    weight = layer.constant(1, ("INT8",))
    found = layer.file_tensor(1)
    if weight.ndim != rank:
        raise layer.refuse(f"weights of shape {weight.shape}", f"{rank} dimensions")
    if np.any(found.zero_points):
        raise layer.refuse("weights with a zero point", "symmetric weights")
    scales = len(found.scales)
    if scales not in (1, weight.shape[axis]) or (scales > 1 and found.axis != axis):
        raise layer.refuse(
            f"{scales} weight scales on axis {found.axis} of {weight.shape}",
            f"one scale, or one for each of axis {axis}",
        )
    return weight


def _rescaling(layer: Layer, channels: int, *, once: bool = False) -> dict[str, Any]:
    """Bias, multipliers, shifts and the output's code, as fields of an operator.

    Args:
        layer: the layer.
        channels: outputs.
        once: sums are rounded once, as the reference kernel of fully connected layers does it.
    """
    source = layer.value(0)
    to = float(layer.quantisation(layer.output())[0])
    scales = np.broadcast_to(layer.file_tensor(1).scales, (channels,))
    ratios = [source.scale * float(scale) / to for scale in scales]
    if max(ratios) >= 128:
        raise layer.refuse(
            f"the output's scale {to:g} is less than 1/128 of the sum's",
            "an output scale that a code can hold sums of",
        )
    if once:
        split = [split_factor(ratio) for ratio in ratios]
        found = {"fraction": np.array([f for _, f, _ in split], np.int32)}
        factors = [(m, s) for m, _, s in split]
    else:
        found = {}
        factors = [factor(ratio) for ratio in ratios]
    bias = np.zeros(channels, np.int32)
    if layer.has(2):
        bias = layer.constant(2, ("INT32",)).astype(np.int32)
        if bias.shape != (channels,):
            raise layer.refuse(f"bias of shape {bias.shape} for {channels} channels")
    return {
        **found,
        "bias": bias,
        "multiplier": np.array([m for m, _ in factors], np.int32),
        "shift": np.array([s for _, s in factors], np.int32),
        "activation": layer.activation(),
        **layer.code(),
    }


@converts("CONV_2D")
def conv_2d(layer: Layer) -> None:
    """`Conv2d`."""
    layer.count((2, 3))
    image = _image(layer)
    weight = _weights(layer, rank=4, axis=0)
    if weight.shape[3] != image[2]:
        raise layer.refuse(
            f"weights of {weight.shape[3]} channels on an input of {image[2]}", "no groups"
        )
    stride, dilation = _steps(layer, "Stride"), _steps(layer, "Dilation")
    layer.add(
        Conv2d(
            name=layer.name,
            inputs=(layer.value(0).name,),
            weight=weight,
            stride=stride,
            dilation=dilation,
            padding=_padding(layer, (weight.shape[1], weight.shape[2]), stride, dilation),
            **_rescaling(layer, weight.shape[0]),
        )
    )


@converts("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(layer: Layer) -> None:
    """`DepthwiseConv2d`."""
    layer.count((2, 3))
    image = _image(layer)
    weight = _weights(layer, rank=4, axis=3)
    multiplier, rest = divmod(weight.shape[3], image[2])
    if weight.shape[0] != 1 or rest or layer.options["DepthMultiplier"] not in (0, multiplier):
        raise layer.refuse(
            f"weights of shape {weight.shape} on an input of {image[2]} channels",
            "(1, height, width, channels * DepthMultiplier)",
        )
    stride, dilation = _steps(layer, "Stride"), _steps(layer, "Dilation")
    layer.add(
        DepthwiseConv2d(
            name=layer.name,
            inputs=(layer.value(0).name,),
            weight=np.ascontiguousarray(weight[0]),
            depth_multiplier=multiplier,
            stride=stride,
            dilation=dilation,
            padding=_padding(layer, (weight.shape[1], weight.shape[2]), stride, dilation),
            **_rescaling(layer, weight.shape[3]),
        )
    )


@converts("FULLY_CONNECTED")
def fully_connected(layer: Layer) -> None:
    """`FullyConnected`; one row of inputs."""
    layer.count((2, 3))
    weight = _weights(layer, rank=2, axis=0)
    if layer.options["WeightsFormat"] != 0:
        raise layer.refuse("shuffled weights", "the default weights format")
    source = layer.value(0)
    if source.size != weight.shape[1]:
        raise layer.refuse(
            f"an input of shape {layer.file_tensor(0).shape} for weights of {weight.shape}",
            f"one row of {weight.shape[1]}",
        )
    layer.add(
        FullyConnected(
            name=layer.name,
            inputs=(source.name,),
            weight=weight,
            **_rescaling(layer, weight.shape[0], once=True),
        )
    )


@converts("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool_2d(layer: Layer) -> None:
    """`AveragePool2d` or `MaxPool2d`."""
    layer.count((1,))
    _image(layer)
    window, stride = _steps(layer, "Filter"), _steps(layer, "Stride")
    kind = AveragePool2d if layer.operator.kind == "AVERAGE_POOL_2D" else MaxPool2d
    layer.add(
        kind(
            name=layer.name,
            inputs=(layer.value(0).name,),
            window=window,
            stride=stride,
            padding=_padding(layer, window, stride, (1, 1)),
            activation=layer.activation(),
            **layer.code(),
        )
    )
