"""QONNX, as Brevitas writes it: Quant, IntQuant, BipolarQuant and Trunc between float operators.

Their constant inputs are scale, zero point and bit width; what they write stays real. Weights keep
their integers in as few bits as hold them, activations become int8 codes between the ends that
their bit width has. Source: github.com/fastmachinelearning/qonnx, docs/qonnx-custom-ops.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from spikelet.frontends.onnx.exact import exactly
from spikelet.frontends.onnx.file import QONNX
from spikelet.frontends.onnx.layers import Coded, Layer, Value, converts
from spikelet.frontends.onnx.quantised import activation_code, same, scales_of, write_shaped
from spikelet.graph import Array
from spikelet.quantise.operators.trunc import ROUNDINGS

ATTRIBUTES = frozenset(["signed", "narrow", "rounding_mode"])
_WIDEST = 32  # bits, of a constant


def _rounding(layer: Layer) -> str:
    """The rounding mode, by its name in `ROUNDINGS`."""
    mode = str(layer.attribute("rounding_mode", "ROUND")).upper()
    if mode not in ROUNDINGS:
        raise layer.refuse(f"rounding mode {mode!r}", ", ".join(sorted(ROUNDINGS)))
    return mode


def _number(layer: Layer, i: int, what: str) -> int:
    """Input i, an integer that may stand there as a float."""
    value = layer.scalar(i, what)
    if value is None or not math.isfinite(value) or value != int(value):
        raise layer.refuse(f"{what} {value}", "an integer")
    return int(value)


def _ends(layer: Layer, bits: int) -> tuple[int, int]:
    """Lowest and highest integer of a bit width."""
    signed, narrow = (bool(layer.attribute(n, d)) for n, d in (("signed", 1), ("narrow", 0)))
    if not 1 <= bits <= _WIDEST:
        raise layer.refuse(f"a bit width of {bits}", f"1 to {_WIDEST}")
    if not signed:
        return 0, (1 << bits) - 1 - narrow
    return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1


@converts("Quant", "IntQuant", domain=QONNX)
def quant(layer: Layer) -> None:
    """A constant gets integers; what is computed is clamped, and has a code from now on."""
    if len(layer.node.inputs) != 4:
        raise layer.refuse(f"{len(layer.node.inputs)} inputs", "4: x, scale, zero point, bits")
    bits, mode = _number(layer, 3, "bit width"), _rounding(layer)
    if bits == 1 and layer.attribute("signed", 1):
        _bipolar(layer, _number(layer, 2, "zero point"))
        return
    ends, zero = _ends(layer, bits), _number(layer, 2, "zero point")
    if layer.value(0).array is not None:
        _constant(layer, ends, zero, bits, mode)
        return
    x, scale = layer.activation(), _scale(layer, 1)
    nearest = mode in ("ROUND", "HALF_EVEN")
    given = x.tensor in layer.building.network.inputs
    if given and not nearest:
        raise layer.refuse(f"rounding mode {mode} of an input, which the host rounds", "ROUND")
    if not nearest or (zero % 2 and not given):  # halves go to even with the zero point on it
        attributes = {"scale": scale, "zero_point": zero, "mode": mode, "output_scale": scale}
        x = layer.add("Trunc", [x.tensor], x.shape, attributes, output=None)
    _write(layer, x, scale, zero, ends)


@converts("BipolarQuant", domain=QONNX)
def bipolar_quant(layer: Layer) -> None:
    """The sign, times a scale; that of 0 is 1."""
    _bipolar(layer, 0)


def _bipolar(layer: Layer, zero: int) -> None:
    if zero:
        raise layer.refuse(f"a sign with zero point {zero}", "zero point 0")
    if layer.value(0).array is not None:
        values, scales = layer.constant(0), _spread(layer, scales_of(layer, 1))
        signs = np.where(values >= 0, 1, -1).astype(np.int64)
        coded = Coded(signs, scales, np.zeros_like(signs), bits=1)
        real: Array = signs.astype(np.float32) * scales
        layer.write(Value(values.shape, real.dtype, real, coded))
        return
    x, scale = layer.activation(), _scale(layer, 1)
    y = layer.add("Trunc", [x.tensor], x.shape, {"mode": "SIGN", "output_scale": scale})
    layer.building.network.codes[y.tensor] = activation_code(layer, scale, 0)


@converts("Trunc", domain=QONNX)
def trunc(layer: Layer) -> None:
    """Integers without their lowest bits; version 1 has five inputs, version 2 six."""
    inputs = len(layer.node.inputs)
    if inputs not in (5, 6):
        raise layer.refuse(f"{inputs} inputs", "5 of version 1, or 6 of version 2")
    x, scale, zero = layer.activation(), _scale(layer, 1), _number(layer, 2, "zero point")
    mode = _rounding(layer)
    if inputs == 5:
        less = _number(layer, 3, "bit width") - _number(layer, 4, "output's bit width")
        divisor, step, ends = 2.0**less, scale, None
        if zero and less:
            raise layer.refuse(f"zero point {zero} of version 1", "zero point 0, or version 2")
    else:
        step = _scale(layer, 4)
        less = round(math.log2(step / scale))
        divisor, ends = 2.0**less, _ends(layer, _number(layer, 5, "output's bit width"))
    if zero % divisor:
        raise layer.refuse(f"zero point {zero} over {divisor:g}", "a multiple")
    shape, x = x.shape, exactly(layer, x)
    attributes: dict[str, Any] = {
        "scale": scale, "zero_point": zero, "mode": mode, "divisor": divisor, "output_scale": step,
    }  # fmt: skip
    y = layer.add("Trunc", [x.tensor], x.shape, attributes, output=None)
    if ends is None:  # it clamps nothing
        layer.building.network.codes[y.tensor] = activation_code(layer, step, int(zero / divisor))
        write_shaped(layer, y, shape)
        return
    _write(layer, y, step, int(zero / divisor), ends, shape)


def _scale(layer: Layer, i: int) -> float:
    scales = scales_of(layer, i)
    if scales.size != 1:
        raise layer.refuse(
            f"{scales.size} scales of an activation", "one: scales by channel are of weights"
        )
    return float(scales.reshape(-1)[0])


def _spread(layer: Layer, scales: Array) -> Array:
    """Scales of every element of input 0."""
    shape = layer.constant(0).shape
    try:
        return np.broadcast_to(scales, shape)
    except ValueError:
        raise layer.refuse(
            f"scales of shape {scales.shape} for shape {shape}: scales by block", "one a channel"
        ) from None


def _constant(layer: Layer, ends: tuple[int, int], zero: int, bits: int, mode: str) -> None:
    values, scales = layer.constant(0), _spread(layer, scales_of(layer, 1))
    if values.dtype.kind != "f" or not np.all(np.isfinite(values)):
        raise layer.refuse(f"a constant of {values.dtype}, or one that is not finite", "floats")
    with np.errstate(over="ignore"):
        steps = np.clip(values.astype(np.float32) / scales + np.float32(zero), *ends)
    integers = ROUNDINGS[mode](steps).astype(np.int64)
    coded = Coded(integers, scales, np.full_like(integers, zero), bits)
    real: Array = (integers - zero).astype(np.float32) * scales
    layer.write(Value(values.shape, real.dtype, real, coded))


def _write(
    layer: Layer, x: Value, scale: float, zero: int, ends: tuple[int, int],
    shape: tuple[int, ...] = (),
) -> None:  # fmt: skip
    """The node's output is x between two integers, in a shape of its own if there is one."""
    low, high = ends
    shift = 128 if high > 127 else 0
    if low - shift < -128 or high - shift > 127 or not -128 <= zero - shift <= 127:
        raise layer.refuse(
            f"an activation of {low} to {high} around {zero}", "integers of up to 8 bits"
        )
    code, codes = activation_code(layer, scale, zero - shift), layer.building.network.codes
    if x.tensor in layer.building.network.inputs:
        known = codes.setdefault(x.tensor, code)
        whole = (low - shift, high - shift) == (-128, 127)
        if whole and same(known, code):
            layer.write(replace(x))
            return
    shape, x = shape or x.shape, exactly(layer, x)
    step = np.float32(scale)
    limits = {"min": float((low - zero) * step), "max": float((high - zero) * step)}
    y = layer.add("Clip", [x.tensor], x.shape, limits, output=0 if x.shape == shape else None)
    codes[y.tensor] = code
    write_shaped(layer, y, shape)
