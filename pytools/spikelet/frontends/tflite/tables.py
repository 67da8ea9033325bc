"""Functions of one code whose tables TensorFlow Lite's reference kernels define.

Where nothing else is said, that is `round(f(scale * (code - zero point)) / output scale)` in single
precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from spikelet.frontends.tflite.layers import Layer, converts
from spikelet.graph import Array, Tensor
from spikelet.graph.int8 import CODES, clip, code_factor, factor, round_half_away
from spikelet.graph.ops.table import Table
from spikelet.graph.requantise import (
    requantise,
    rounding_divide_by_pot,
    rounding_doubling_high_mul,
)

_RSQRT_SHIFT = 20


def _convert(layer: Layer, table: Array) -> None:
    function = layer.operator.kind.lower()
    source = layer.value(0)
    layer.add(
        Table(
            name=layer.name, inputs=(source.name,), table=table, function=function, **layer.code()
        )
    )


def _input(layer: Layer, *, positive: bool = False) -> Tensor:
    layer.count((1,))
    source = layer.value(0)
    if source.dtype != "i8":
        raise layer.refuse(f"an input of {layer.file_tensor(0).dtype}", "INT8")
    if positive and source.zero_point != -128:
        raise layer.refuse(
            f"an input of zero point {source.zero_point}, which may be negative", "-128"
        )
    return source


def _real(layer: Layer, source: Tensor, function: Callable[[Array], Array]) -> Array:
    """The table of a real function of float64 values, rounded to single precision."""
    scale, zero_point = layer.quantisation(layer.output())
    x = np.float32(source.scale) * (CODES - source.zero_point).astype(np.float32)
    with np.errstate(all="ignore"):
        y = function(x.astype(np.float64)).astype(np.float32) * (np.float32(1) / np.float32(scale))
    if not np.all(np.abs(y) < 1 << 31):
        raise layer.refuse("values that no int32 holds", "a larger output scale")
    return clip(round_half_away(y).astype(np.int64) + zero_point)


@converts("ABS")
def absolute(layer: Layer) -> None:
    """|x|, rescaled where the scales differ."""
    source = _input(layer)
    scale, zero_point = layer.quantisation(layer.output())
    x = np.abs(CODES - source.zero_point)
    if source.scale != scale:
        x = requantise(x, *code_factor(float(np.float32(source.scale) / np.float32(scale))))
    _convert(layer, clip(x + zero_point))


@converts("EXP")
def exp(layer: Layer) -> None:
    """exp(x)."""
    _convert(layer, _real(layer, _input(layer), np.exp))


@converts("LOG")
def log(layer: Layer) -> None:
    """log(x), the lowest code where x is not positive."""
    source = _input(layer)
    scale, zero_point = layer.quantisation(layer.output())
    lowest = float(np.float32(-128 - zero_point) * np.float32(scale))

    def function(x: Array) -> Array:
        return np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), lowest)

    _convert(layer, _real(layer, source, function))


@converts("GELU")
def gelu(layer: Layer) -> None:
    """x times the normal distribution up to x, or its approximation by tanh."""
    source = _input(layer)
    approximate = bool(layer.options["Approximate"])

    def function(x: Array) -> Array:
        if approximate:
            inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
            result: Array = 0.5 * x * (1 + np.tanh(inner))
        else:
            result = 0.5 * x * np.array([math.erfc(-v / math.sqrt(2)) for v in x])
        return result

    _convert(layer, _real(layer, source, function))


@converts("ELU")
def elu(layer: Layer) -> None:
    """x where it is positive, exp(x) - 1 elsewhere."""

    def function(x: Array) -> Array:
        return np.where(x < 0, np.expm1(x), x)

    _convert(layer, _real(layer, _input(layer), function))


@converts("SQRT")
def sqrt(layer: Layer) -> None:
    """sqrt(x) of what cannot be negative, rounded toward zero."""
    source = _input(layer, positive=True)
    scale, zero_point = layer.quantisation(layer.output())
    x = np.float32(source.scale) * (CODES - source.zero_point).astype(np.float32)
    y = np.trunc(np.sqrt(x) / np.float32(scale))
    if not np.all(y < 1 << 31):
        raise layer.refuse("values that no int32 holds", "a larger output scale")
    _convert(layer, clip(y.astype(np.int64) + zero_point))


@converts("RSQRT")
def rsqrt(layer: Layer) -> None:
    """1 / sqrt(x) of what cannot be negative, in fixed point; the highest code for 0."""
    source = _input(layer, positive=True)
    scale, zero_point = layer.quantisation(layer.output())
    real = 1 / (math.sqrt(np.float32(source.scale)) * float(np.float32(scale)))
    multiplier, shift = factor(real)
    codes = []
    for x in CODES - source.zero_point:
        if x == 0:
            codes.append(127)
            continue
        inverse, right = _inverse_sqrt(int(x))
        one = requantise(np.array(1), inverse, _RSQRT_SHIFT - right)
        if shift - _RSQRT_SHIFT > 0 and int(one) << (shift - _RSQRT_SHIFT) >= 1 << 31:
            raise layer.refuse("values that no int32 holds", "a larger output scale")
        codes.append(int(requantise(one, multiplier, shift - _RSQRT_SHIFT)) + zero_point)
    _convert(layer, clip(np.array(codes, np.int64)))


def _inverse_sqrt(x: int) -> tuple[int, int]:
    """(multiplier, right shift) of 1 / sqrt(x), x > 0: five Newton steps in Q3.28."""
    if x == 1:
        return (1 << 31) - 1, 0
    right = 11
    pairs = (32 - x.bit_length() - 1) // 2 - 1
    right -= pairs
    value = np.array(x << (2 * pairs), np.int64) >> 1
    half = rounding_divide_by_pot(value, np.array(1))
    guess = np.array(1 << 28, np.int64)
    for _ in range(5):
        cube = _mul(_mul(guess, guess), guess) << 6
        guess = (_mul(np.array(3 << 27), guess) - _mul(half, cube)) << 3
    root = int(_mul(guess, np.array(1518500250)))  # sqrt(2) / 2, Q0.31
    return (root << -right, 0) if right < 0 else (root, right)


def _mul(a: Array, b: Array) -> Array:
    return rounding_doubling_high_mul(a, b)
