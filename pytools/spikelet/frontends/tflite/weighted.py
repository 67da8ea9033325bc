"""Convolutions, fully connected layers and pools of TensorFlow Lite."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from spikelet.frontends.tflite.file import INT4
from spikelet.frontends.tflite.layers import FileLayer, Layer, converts
from spikelet.graph import Array, Tensor
from spikelet.graph.int8 import factor
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.slice import Slice
from spikelet.graph.ops.transpose_conv import TransposeConv
from spikelet.graph.requantise_once import split_factor

SAME = 0
MAX_GROUPS = 64
MAX_MARGIN = 255  # of a PAD that becomes padding; wider ones stay


def image_shape(layer: FileLayer) -> tuple[int, int, int]:
    """Height, width and channels of the first input."""
    shape = layer.file_tensor(0).shape
    if len(shape) != 4 or shape[0] != 1:
        raise layer.refuse(f"input of shape {shape}", "(1, height, width, channels)")
    return shape[1:]


def steps(layer: FileLayer, name: str) -> tuple[int, int]:
    """A pair of attributes such as strides, down and right."""
    pattern = {"Stride": "Stride{}", "Dilation": "Dilation{}Factor", "Filter": "Filter{}"}[name]
    sides = ("Height", "Width") if name == "Filter" else ("H", "W")
    strides = tuple(int(layer.options[pattern.format(side)]) for side in sides)
    if any(not 1 <= v <= 65535 for v in strides):
        raise layer.refuse(f"{name.lower()} {strides}", "1 to 65535")
    return strides[0], strides[1]


def padding_of(
    layer: FileLayer, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Cells beyond the top, left, bottom and right edge."""
    mode = layer.options["Padding"]
    if mode not in (0, 1):
        raise layer.refuse(f"padding {mode}", "SAME or VALID")
    image = image_shape(layer)
    before, after = [], []
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        outputs = -(-image[axis] // stride[axis])
        total = max((outputs - 1) * stride[axis] + reach - image[axis], 0)
        total = total if mode == SAME else 0
        before.append(total // 2)
        after.append(total - total // 2)
    return before[0], before[1], after[0], after[1]


def _source_and_window(
    layer: Layer, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Tensor, dict[str, Any]]:
    """What a convolution reads, and its place there; a PAD before it is its own padding."""
    source = layer.value(0)
    padding = padding_of(layer, kernel, stride, dilation)
    pad = layer.writer(0)
    if isinstance(pad, Pad) and layer.options["Padding"] != SAME:
        inner = layer.building.known[pad.inputs[0]]
        around = (*pad.before[:2], *pad.after[:2])
        channels = (pad.before[2], pad.after[2])
        if pad.value == inner.zero_point and channels == (0, 0) and max(around) <= MAX_MARGIN:
            layer.building.remove(pad)
            source, padding = inner, (around[0], around[1], around[2], around[3])
    return source, {"stride": stride, "dilation": dilation, "padding": padding}


def _weights(layer: Layer, rank: int, axis: int) -> Array:
    weight = layer.constant(1, ("INT8", INT4))
    tensor = layer.file_tensor(1)
    if weight.ndim != rank:
        raise layer.refuse(f"weights of shape {weight.shape}", f"{rank} dimensions")
    if np.any(tensor.zero_points):
        raise layer.refuse("weights with a zero point", "symmetric weights")
    scales = len(tensor.scales)
    if scales not in (1, weight.shape[axis]) or (scales > 1 and tensor.axis != axis):
        raise layer.refuse(
            f"{scales} weight scales on axis {tensor.axis} of {weight.shape}",
            f"one scale, or one for each of axis {axis}",
        )
    return weight


def _bits(layer: Layer) -> Literal[4, 8]:
    """Of a weight, as it lies in the file."""
    return 4 if layer.file_tensor(1).dtype == INT4 else 8


def _rescaling(
    layer: Layer, channels: int, *, once: bool = False, source: int = 0
) -> dict[str, Any]:
    """Bias, multipliers, shifts and the output's code, as fields of an operator.

    Args:
        layer: the layer.
        channels: outputs.
        once: sums are rounded once, as the reference kernel of fully connected layers does it.
        source: which input is multiplied with the weights; the bias is the one after it and them.
    """
    tensor, at = layer.value(source), max(source, 1) + 1
    to = float(layer.quantisation(layer.output())[0])
    scales = np.broadcast_to(layer.file_tensor(1).scales, (channels,))
    ratios = [tensor.scale * float(scale) / to for scale in scales]
    if max(ratios) >= 128:
        raise layer.refuse(
            f"the output's scale {to:g} is less than 1/128 of the sum's",
            "an output scale that a code can hold sums of",
        )
    if once:
        split = [split_factor(ratio) for ratio in ratios]
        arrays = {"fraction": np.array([f for _, f, _ in split], np.int32)}
        factors = [(m, s) for m, _, s in split]
    else:
        arrays = {}
        factors = [factor(ratio) for ratio in ratios]
    bias = np.zeros(channels, np.int32)
    if layer.has(at):
        bias = layer.constant(at, ("INT32",)).astype(np.int32)
        if bias.shape != (channels,):
            raise layer.refuse(f"bias of shape {bias.shape} for {channels} channels")
    return {
        **arrays,
        "bias": bias,
        "multiplier": np.array([m for m, _ in factors], np.int32),
        "shift": np.array([s for _, s in factors], np.int32),
        "activation": layer.activation(),
        **layer.code(),
    }


@converts("CONV_2D")
def conv_2d(layer: Layer) -> None:
    """`Conv2d`; in groups, `DepthwiseConv2d` or one `Conv2d` a group."""
    layer.count((2, 3))
    image = image_shape(layer)
    weight = _weights(layer, rank=4, axis=0)
    groups, rest = divmod(image[2], weight.shape[3])
    if rest or not groups or weight.shape[0] % groups:
        raise layer.refuse(
            f"weights of shape {weight.shape} on an input of {image[2]} channels",
            "(outputs, height, width, channels / groups)",
        )
    stride, dilation = steps(layer, "Stride"), steps(layer, "Dilation")
    fields = _rescaling(layer, weight.shape[0])
    source, place = _source_and_window(layer, (weight.shape[1], weight.shape[2]), stride, dilation)
    fields |= place
    if groups == 1:
        bits = _bits(layer)
        layer.add(
            Conv2d(name=layer.name, inputs=(source.name,), weight=weight, bits=bits, **fields)
        )
    elif weight.shape[3] == 1:
        layer.add(
            DepthwiseConv2d(
                name=layer.name,
                inputs=(source.name,),
                weight=np.ascontiguousarray(weight[..., 0].transpose(1, 2, 0)),
                depth_multiplier=weight.shape[0] // groups,
                **fields,
            )
        )
    else:
        _convolve_groups(layer, source, weight, groups, fields)


def _convolve_groups(
    layer: Layer, source: Tensor, weight: Array, groups: int, fields: dict[str, Any]
) -> None:
    """A slice of the channels and a convolution for each group, then all of them in one tensor."""
    if groups > MAX_GROUPS:
        raise layer.refuse(f"{groups} groups", f"at most {MAX_GROUPS}, or one a channel")
    height, width, channels = source.shape
    inputs, outputs = channels // groups, len(weight) // groups
    parts = []
    for group in range(groups):
        part = layer.insert(
            Slice(
                name=layer.part(f"input{group}"),
                inputs=(source.name,),
                begin=(0, 0, group * inputs),
                size=(height, width, inputs),
                stride=(1, 1, 1),
                output_scale=source.scale,
                output_zero_point=source.zero_point,
            )
        )
        own = slice(group * outputs, (group + 1) * outputs)
        scaled = {key: fields[key][own] for key in ("bias", "multiplier", "shift")}
        node = Conv2d(
            name=layer.part(f"group{group}"),
            inputs=(part.name,),
            weight=weight[own],
            bits=_bits(layer),
            **{**fields, **scaled},
        )
        parts.append(layer.insert(node).name)
    layer.add(Concatenate(name=layer.name, inputs=tuple(parts), axis=2, **layer.code()))


@converts("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(layer: Layer) -> None:
    """`DepthwiseConv2d`."""
    layer.count((2, 3))
    image = image_shape(layer)
    weight = _weights(layer, rank=4, axis=3)
    multiplier, rest = divmod(weight.shape[3], image[2])
    if weight.shape[0] != 1 or rest or layer.options["DepthMultiplier"] not in (0, multiplier):
        raise layer.refuse(
            f"weights of shape {weight.shape} on an input of {image[2]} channels",
            "(1, height, width, channels * DepthMultiplier)",
        )
    stride, dilation = steps(layer, "Stride"), steps(layer, "Dilation")
    fields = _rescaling(layer, weight.shape[3])
    source, place = _source_and_window(layer, (weight.shape[1], weight.shape[2]), stride, dilation)
    layer.add(
        DepthwiseConv2d(
            name=layer.name,
            inputs=(source.name,),
            weight=np.ascontiguousarray(weight[0]),
            depth_multiplier=multiplier,
            **place,
            **fields,
        )
    )


@converts("TRANSPOSE_CONV")
def transpose_conv(layer: Layer) -> None:
    """`TransposeConv`; the file's first input states the output's shape."""
    layer.count((3, 4))
    to = tuple(layer.integers(0))
    weight = _weights(layer, rank=4, axis=0)
    shape = layer.file_tensor(2).shape
    if len(shape) != 4 or shape[0] != 1 or len(to) != 4 or to[::3] != (1, len(weight)):
        raise layer.refuse(f"input of shape {shape} to {to}", "(1, height, width, channels)")
    stride, mode = steps(layer, "Stride"), layer.options["Padding"]
    if mode not in (0, 1):
        raise layer.refuse(f"padding {mode}", "SAME or VALID")
    padding = [
        max((shape[1 + a] - 1) * stride[a] + weight.shape[1 + a] - to[1 + a], 0) // 2
        for a in (0, 1)
    ]
    layer.add(
        TransposeConv(
            name=layer.name,
            inputs=(layer.value(2).name,),
            weight=weight,
            size=(to[1], to[2]),
            stride=stride,
            padding=(padding[0], padding[1]) if mode == SAME else (0, 0),
            **_rescaling(layer, len(weight), source=2),
        )
    )


@converts("FULLY_CONNECTED")
def fully_connected(layer: Layer) -> None:
    """`FullyConnected`."""
    layer.count((2, 3))
    weight = _weights(layer, rank=2, axis=0)
    if layer.options["WeightsFormat"] != 0:
        raise layer.refuse("shuffled weights", "the default weights format")
    source = layer.value(0)
    if source.size % weight.shape[1]:
        raise layer.refuse(
            f"an input of shape {layer.file_tensor(0).shape} for weights of {weight.shape}",
            f"rows of {weight.shape[1]}",
        )
    layer.add(
        FullyConnected(
            name=layer.name,
            inputs=(source.name,),
            weight=weight,
            bits=_bits(layer),
            **_rescaling(layer, weight.shape[0], once=True),
        )
    )


@converts("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool_2d(layer: Layer) -> None:
    """`AveragePool2d` or `MaxPool2d`."""
    layer.count((1,))
    image_shape(layer)
    window, stride = steps(layer, "Filter"), steps(layer, "Stride")
    kind = AveragePool2d if layer.operator.kind == "AVERAGE_POOL_2D" else MaxPool2d
    layer.add(
        kind(
            name=layer.name,
            inputs=(layer.value(0).name,),
            window=window,
            stride=stride,
            padding=padding_of(layer, window, stride, (1, 1)),
            activation=layer.activation(),
            **layer.code(),
        )
    )
