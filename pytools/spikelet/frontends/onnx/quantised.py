"""Quantised ONNX: QuantizeLinear and DequantizeLinear, and operators on codes (QOperator).

Codes of uint8 become int8 codes by a shift of 128. Weights keep their integers.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np

from spikelet.frontends.onnx.exact import exactly
from spikelet.frontends.onnx.layers import (
    LARGEST_SCALE,
    Coded,
    Layer,
    Value,
    converts,
    operand_code,
)
from spikelet.frontends.onnx.moving import add_concat, add_pool
from spikelet.frontends.onnx.weighted import coded_weight, convolve
from spikelet.graph import Array
from spikelet.quantise import Code

MICROSOFT = "com.microsoft"
# Of the operators of that domain, which have no schemas here.
MICROSOFT_ATTRIBUTES = frozenset(
    re.findall(
        r"\w+",
        "alpha auto_pad axis block_size ceil_mode channels_last count_include_pad kernel_shape "
        "opset pads strides transA transB",
    )
)
_ACTIVATIONS = "int8 and uint8 activations, with one scale a tensor"


def scales_of(layer: Layer, i: int) -> Array:
    """Input i as scales, float32, positive and in range."""
    per_channel = layer.constant(i, "a constant scale")
    with np.errstate(over="ignore"):
        scales: Array = per_channel.astype(np.float32)
    if per_channel.dtype.kind != "f" or not scales.size or not np.all(
        (scales >= 1 / LARGEST_SCALE) & (scales <= LARGEST_SCALE)
    ):  # fmt: skip
        raise layer.refuse(f"scale {scales.reshape(-1)[:4]} is not in 2^-60..2^60")
    return scales


def zeros_of(layer: Layer, i: int, dtype: np.dtype[Any]) -> Array:
    """Input i as zero points of that type; one 0 where it is not there."""
    if not layer.has(i):
        return np.zeros((), dtype)
    zeros = layer.constant(i, "a constant zero point")
    if zeros.dtype.kind not in "iu" or not zeros.size:
        raise layer.refuse(f"a zero point of {zeros.dtype}")
    return zeros


def one_code(layer: Layer, scale: int, zero: int, dtype: np.dtype[Any]) -> tuple[float, Array]:
    """Scale and zero point of an activation, inputs `scale` and `zero`."""
    scales, zeros = scales_of(layer, scale), zeros_of(layer, zero, dtype)
    if scales.size != 1 or zeros.size != 1 or zeros.dtype not in (np.int8, np.uint8):
        raise layer.refuse(
            f"{zeros.dtype} codes with {scales.size} scales and {zeros.size} zero points",
            _ACTIVATIONS,
        )
    return float(scales.reshape(-1)[0]), zeros.reshape(-1)[0]


def real(layer: Layer, x: Value, scale: float, zero: int) -> Value:
    """The real values that the codes x stand for: the same tensor of the network."""
    if not x.quantised or x.array is not None:
        raise layer.refuse(f"computed {x.dtype}", _ACTIVATIONS)
    code = activation_code(layer, scale, int(zero) + x.offset)
    known = layer.building.network.codes.setdefault(x.tensor, code)
    if not same(known, code):
        raise layer.refuse(
            f"it reads codes of scale {known.scale} and zero point {known.zero_point} as if of "
            f"scale {code.scale} and zero point {code.zero_point}",
            "the scale and zero point with which they were written",
        )
    return replace(x, dtype=np.dtype(np.float32))


def activation_code(layer: Layer, scale: float, zero_point: int) -> Code:
    """The int8 code of an activation of the file."""
    return Code(np.asarray(scale, np.float32), zero_point, even=layer.building.even)


def same(a: Code, b: Code) -> bool:
    """Whether two codes of activations are one."""
    return float(a.scale) == float(b.scale) and a.zero_point == b.zero_point


def write_codes(layer: Layer, x: Value, scale: float, zero: Array) -> None:
    """The node's output is x in codes; a tensor that has another code already is requantised."""
    codes = layer.building.network.codes
    of, shape = Value(x.shape, zero.dtype), x.shape
    code = activation_code(layer, scale, int(zero) + of.offset)
    if layer.building.even:
        x = exactly(layer, x)
    if x.tensor not in codes and _saturates(layer, x):
        low, high = ((end - code.zero_point) * float(code.scale) for end in (-128, 127))
        x = layer.add("Clip", [x.tensor], x.shape, {"min": low, "max": high})
    if not same(codes.setdefault(x.tensor, code), code):
        x = layer.add("Requantize", [x.tensor], x.shape)
        codes[x.tensor] = code
    write_shaped(layer, replace(x, dtype=zero.dtype), shape)


def write_shaped(layer: Layer, x: Value, shape: tuple[int, ...]) -> None:
    """The node's output is x, which has a code, in a shape that it may have already."""
    if x.shape == shape:
        layer.write(x)
        return
    code = layer.building.network.codes[x.tensor]
    y = layer.add("Reshape", [x.tensor], shape, {"shape": list(shape)})
    layer.building.network.codes[y.tensor] = code
    layer.write(replace(y, dtype=x.dtype))


_CLAMPING = ("Add", "Conv", "ConvTranspose", "Gemm", "Mul", "Sub")


def _saturates(layer: Layer, x: Value) -> bool:
    """Whether the code's limits may stand for a clamp that the quantiser has left out.

    They then belong to the real meaning; behind these operators a clamp costs nothing.
    """
    network, read = layer.building.network, layer.node.inputs[0]
    writer = network.nodes[-1] if network.nodes else None
    if writer is None or writer.name != x.tensor:
        writer = network.writer(x.tensor)
    if writer is None or writer.op not in _CLAMPING:
        return False
    if layer.node.kind != "QuantizeLinear":
        return True
    model = layer.building.model
    readers = sum(node.inputs.count(read) for node in model.nodes) + model.outputs.count(read)
    return readers == 1 and not network.readers(x.tensor)


@converts("QuantizeLinear")
@converts("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(layer: Layer) -> None:
    """No node: the tensor has a code from now on."""
    x = layer.activation()
    if layer.attribute("output_dtype") not in (None, 0, 2, 3):  # undefined, UINT8, INT8
        raise layer.refuse("this type", _ACTIVATIONS)
    signed = layer.attribute("output_dtype") == 3
    dtype = np.dtype(np.int8 if signed else np.uint8)
    write_codes(layer, x, *one_code(layer, 1, 2, dtype))


@converts("DequantizeLinear")
@converts("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(layer: Layer) -> None:
    """No node: codes are read as the values that they stand for. A constant keeps its integers."""
    x = layer.value(0)
    if layer.attribute("block_size", 0):
        raise layer.refuse("scales by block", "one scale a tensor, or one an output channel")
    if x.array is None:
        scale, zero = one_code(layer, 1, 2, x.dtype)
        layer.write(real(layer, x, scale, int(zero)))
        return
    coded = integers(layer, 0, 1, 2, int(layer.attribute("axis", 1)))
    wide = np.float64 if x.dtype == np.int32 else np.float32
    values: Array = (coded.integers - coded.zero_points).astype(wide) * coded.scales.astype(wide)
    layer.write(Value(x.shape, values.dtype, values, coded))


def integers(layer: Layer, x: int, scale: int, zero: int, axis: int) -> Coded:
    """A constant of integers with its scales; they belong to `axis` where there are several."""
    array = layer.constant(x)
    if array.dtype not in (np.int8, np.uint8, np.int32):
        raise layer.refuse(f"a constant of {array.dtype}", "int8, uint8 or int32")
    scales, zeros = scales_of(layer, scale), zeros_of(layer, zero, array.dtype)
    if zeros.dtype != array.dtype:
        raise layer.refuse(f"{array.dtype} with zero points of {zeros.dtype}")

    def spread(values: Array) -> Array:
        if values.size == 1:
            return np.broadcast_to(values.reshape(()), array.shape)
        if array.ndim == 0 or values.shape != (array.shape[layer.axis(axis, array.ndim)],):
            raise layer.refuse(f"scales of shape {values.shape} for shape {array.shape}")
        shape = [1] * array.ndim
        shape[axis] = -1
        return np.broadcast_to(values.reshape(shape), array.shape)

    bits = layer.value(x).bits
    return Coded(array.astype(np.int64), spread(scales), spread(zeros.astype(np.int64)), bits)


def _operand(layer: Layer, x: int, scale: int, zero: int) -> Value:
    """Codes x, which must be computed, as real values."""
    value = layer.value(x)
    if value.array is not None:
        raise layer.refuse(f"input {x} is a constant", "a computed tensor")
    s, z = one_code(layer, scale, zero, value.dtype)
    return real(layer, value, s, int(z))


def _finish(layer: Layer, y: Value, scale: int, zero: int, dtype: np.dtype[Any]) -> None:
    """The node's output, which the last node of the network writes, is in codes."""
    write_codes(layer, y, *one_code(layer, scale, zero, dtype))


def _bias(layer: Layer, i: int, scales: Array, channels: int) -> str:
    """An int32 bias in units of `scales`, (O,) float64."""
    bias = layer.constant(i, "a constant bias")
    if bias.dtype != np.int32 or bias.size not in (1, channels):
        raise layer.refuse(f"a bias of {bias.dtype} of shape {bias.shape}", f"int32 ({channels},)")
    units = np.broadcast_to(scales.astype(np.float64).reshape(-1), (channels,))
    return layer.place(i, bias.reshape(-1).astype(np.float64) * units, "bias")


@converts("QLinearConv")
def qlinear_conv(layer: Layer) -> None:
    """`Conv`."""
    x = _operand(layer, 0, 1, 2)
    coded = integers(layer, 3, 4, 5, 0)
    values, code = coded_weight(layer, coded)
    inputs = [x.tensor, layer.place(3, values, "weight", code)]
    if layer.has(8):
        units = code.scale.astype(np.float64) * scales_of(layer, 1).reshape(-1)[0].astype(
            np.float64
        )
        inputs.append(_bias(layer, 8, units, len(values)))
    y = convolve(layer, x, values.shape, inputs)
    _finish(layer, y, 6, 7, layer.value(0).dtype)


@converts("QLinearMatMul")
@converts("QLinearMatMul", domain=MICROSOFT)
def qlinear_matmul(layer: Layer) -> None:
    """`Gemm` without a bias."""
    x, coded = _operand(layer, 0, 1, 2), integers(layer, 3, 4, 5, -1)
    y = _linear(layer, x, coded, 3, turned=True)
    _finish(layer, y, 6, 7, layer.value(0).dtype)


def _linear(layer: Layer, x: Value, coded: Coded, i: int, turned: bool, bias: int = -1) -> Value:
    shape = coded.integers.shape[:: -1 if turned else 1]
    if len(shape) != 2 or len(x.shape) < 2 or x.shape[-1] != shape[1]:
        raise layer.refuse(
            f"weights of shape {coded.integers.shape} on an input of shape {x.shape}",
            "a constant matrix",
        )
    values, code = coded_weight(layer, coded, turned)
    inputs = [x.tensor, layer.place(i, values, "weight", code)]
    if bias >= 0 and layer.has(bias):
        scale = scales_of(layer, 1).reshape(-1)[0].astype(np.float64)
        inputs.append(_bias(layer, bias, code.scale.astype(np.float64) * scale, shape[0]))
    return layer.add("Gemm", inputs, (*x.shape[:-1], shape[0]))


@converts("QGemm", domain=MICROSOFT)
def qgemm(layer: Layer) -> None:
    """`Gemm`."""
    x = _operand(layer, 0, 1, 2)
    if layer.attribute("transA", 0) or layer.attribute("alpha", 1.0) != 1.0:
        raise layer.refuse("transA or alpha", "transA=0, alpha=1")
    turned = not layer.attribute("transB", 0)
    y = _linear(layer, x, integers(layer, 3, 4, 5, 1 if turned else 0), 3, turned, 6)
    if layer.has(7):
        _finish(layer, y, 7, 8, layer.value(0).dtype)


@converts("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def qlinear_two(layer: Layer) -> None:
    """`Add` or `Mul` on two computed tensors, or on one and a constant."""
    shape = layer.broadcast(layer.value(0).shape, layer.value(3).shape)
    names = []
    for i in (0, 3):
        if layer.value(i).array is None:
            names.append(_operand(layer, i, i + 1, i + 2).tensor)
            continue
        coded = integers(layer, i, i + 1, i + 2, 0)
        values = (coded.integers - coded.zero_points).astype(np.float32) * coded.scales
        names.append(layer.place(i, values, "", operand_code(coded)))
    y = layer.add(layer.node.kind.removeprefix("QLinear"), names, shape)
    computed = 0 if layer.value(0).array is None else 3
    _finish(layer, y, 6, 7, layer.value(computed).dtype)


@converts("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", domain=MICROSOFT)
def qlinear_function(layer: Layer) -> None:
    """`Sigmoid`, `LeakyRelu` or `Softmax`."""
    x, op = _operand(layer, 0, 1, 2), layer.node.kind.removeprefix("QLinear")
    attributes: dict[str, float | int] = {}
    if op == "LeakyRelu":
        attributes["alpha"] = float(layer.attribute("alpha", 0.01))
    if op == "Softmax":
        axis = layer.axis(int(layer.attribute("axis", -1)), len(x.shape))
        if layer.attribute("opset", 13) < 13 and math.prod(x.shape[axis + 1 :]) != 1:
            raise layer.refuse("a softmax over several axes", "one axis")
        attributes["axis"] = axis
    _finish(layer, layer.add(op, [x.tensor], x.shape, attributes), 3, 4, layer.value(0).dtype)


@converts("QLinearAveragePool", "QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_pool(layer: Layer) -> None:
    """`AveragePool` or `GlobalAveragePool`."""
    x, op = _operand(layer, 0, 1, 2), layer.node.kind.removeprefix("QLinear")
    if layer.attribute("channels_last", 0):
        raise layer.refuse("channels_last", "channels_last=0")
    if op == "AveragePool":
        y = add_pool(layer, x, op)
    elif len(x.shape) in (3, 4):
        y = layer.add(op, [x.tensor], (*x.shape[:2], *(1 for _ in x.shape[2:])))
    else:
        raise layer.refuse(f"an input of shape {x.shape}", "one or two spatial axes")
    _finish(layer, y, 3, 4, layer.value(0).dtype)


@converts("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(layer: Layer) -> None:
    """`Concat` of tensors of different codes."""
    count = len(layer.node.inputs)
    if count < 5 or count % 3 != 2:
        raise layer.refuse(f"{count} inputs")
    values = [_operand(layer, i, i + 1, i + 2) for i in range(2, count, 3)]
    axis = layer.axis(int(layer.attribute("axis", 1)), len(values[0].shape))
    _finish(layer, add_concat(layer, values, axis), 0, 1, layer.value(2).dtype)
