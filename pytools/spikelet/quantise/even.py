"""Sums of a layer to codes with halves to even: the steps or lines of `graph.requantise_even`.

What a file does between a sum and its code (scale, bias, batch norm, clamps) is executed in its own
steps, in float32, on every sum that a step is looked for at.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array, Tensor
from spikelet.graph.elementwise import Joined
from spikelet.graph.ops.mul import Mul
from spikelet.graph.ops.sub import Sub
from spikelet.graph.requantise_even import MOST_RIGHT, Line, find_line, find_steps
from spikelet.quantise.meaning import evaluate
from spikelet.quantise.network import Code
from spikelet.quantise.operator import operator_of

if TYPE_CHECKING:
    from spikelet.quantise.layers import Layer

FEW_STEPS = 15  # of outputs of up to 4 bits
FACTOR_BITS = 22  # of the operands of a sum: 255 codes of both have less than 32


def even_fields(
    layer: Layer, source: Tensor, levels: Array, scales: Array, bias: Array
) -> dict[str, Any]:
    """Bias, factors, steps or offset, and the code of an operator with weights, as its fields.

    Args:
        layer: its group.
        source: what it reads.
        levels: (O, ...) integers of its weights.
        scales: (O,) of the weights.
        bias: (O,) real.
    """
    channels, code = len(levels), layer.code
    units = scales.astype(np.float64) * float(np.float32(source.scale))
    reals = bias.astype(np.float32)

    def codes(sums: Array) -> Array:
        real = (sums * units[:, None]).astype(np.float32) + reals[:, None]
        return _codes(_behind(layer, real.T).T, code)

    most = int(np.abs(np.array(source.limits) - source.zero_point).max())
    reach = np.abs(levels.astype(np.int64)).reshape(channels, -1).sum(axis=1) * most
    ends = -reach, reach
    first, last = (codes(end[:, None])[:, 0] for end in ends)
    if np.any(first > last):
        raise layer.refuse("what lies behind its sums falls where they rise", "a rising function")
    limits = int(first.min()), int(last.max())
    if limits[0] == limits[1]:  # one step at least, for an array that holds something
        limits = (limits[0] - 1, limits[1]) if limits[0] > -128 else (limits[0], limits[1] + 1)
    steps = find_steps(codes, ends, limits)
    fields = {
        "bias": np.zeros(channels, np.int32),
        "multiplier": np.zeros(channels, np.int32),
        "shift": np.zeros(channels, np.int32),
        "activation": limits,
        "output_scale": float(code.scale),
        "output_zero_point": int(code.zero_point),
    }
    few, lowest = steps.shape[1] <= FEW_STEPS, limits[0] - code.zero_point
    lines = [] if few else _lines(layer, steps, reach, units, bias, lowest)
    if not lines:
        return {**fields, "steps": steps.astype(np.int32)}
    offsets = np.array([line[2] for line in lines], np.int64)
    return {
        **fields,
        "multiplier": np.array([line[0] for line in lines], np.int32),
        "shift": np.array([31 - line[1] for line in lines], np.int32),
        "offset": np.ascontiguousarray(offsets, "<i8").view("<i4").reshape(channels, 2),
    }


def joined_fields(kind: type[Joined], sources: Sequence[Tensor], code: Code) -> Array:
    """Factors and line of a sum, difference or product of two tensors: `Joined.even`.

    The file's float32 codes of all pairs of codes decide between lines; one that has all of them is
    there wherever the scales are powers of two.

    Args:
        kind: of the operator.
        sources: its two operands.
        code: of the output.
    """
    scales = [Fraction(float(np.float32(source.scale))) for source in sources]
    product, sign = issubclass(kind, Mul), -1 if issubclass(kind, Sub) else 1
    first, second = (1, 1) if product else _sum_factors(*scales)
    unit = scales[0] * scales[1] if product else max(scales) / max(first, second)
    every = np.arange(-128, 128, dtype=np.int64)
    a, b = (every - source.zero_point for source in sources)
    sums = np.multiply.outer(a, b) if product else np.add.outer(a * first, sign * b * second)
    real, other = (
        v.astype(np.float32) * np.float32(s.scale) for v, s in zip((a, b), sources, strict=True)
    )
    joined = np.multiply.outer(real, other) if product else np.add.outer(real, sign * other)
    order = np.argsort(sums, axis=None, kind="stable")
    wanted = (_codes(joined, code) - code.zero_point).reshape(-1)[order]
    slope = unit / Fraction(float(np.float32(code.scale)))
    line = _best_line(sums.reshape(-1)[order], wanted, slope)
    words = np.array([line.offset], "<i8").view("<i4")
    return np.array([first, sign * second, line.multiplier, line.right, *words], np.int32)


def _sum_factors(a: Fraction, b: Fraction) -> tuple[int, int]:
    """Integers in the ratio of two scales; where there are none of 22 bits, close to it."""
    ratio = a / b
    if max(ratio.numerator, ratio.denominator) < 1 << FACTOR_BITS:
        return ratio.numerator, ratio.denominator
    most = max(a, b)
    first, second = (round((1 << FACTOR_BITS) * v / most) for v in (a, b))
    return first, second


def _best_line(sums: Array, wanted: Array, slope: Fraction) -> Line:
    """The line that has the most of the wanted codes, less their zero point; sums ascend."""
    ends = int(sums[0]), int(sums[-1])
    widest = max(abs(end) for end in ends)
    plain = next(
        line
        for right in range(MOST_RIGHT, 0, -1)
        for line in [Line(round(slope * (1 << right)), right, 1 << (right - 1))]
        if line.multiplier < 1 << 31 and line.fits((-widest, widest))
    )
    low, high = int(wanted.min()), int(wanted.max())
    reached_ = np.maximum.accumulate(wanted)
    steps = sums[np.searchsorted(reached_, np.arange(low + 1, high + 1))]
    found = find_line(steps, (-widest, widest), low, slope, Fraction(0)) if low < high else None
    lines = [plain] if found is None else [plain, found]
    return min(
        lines, key=lambda line: np.count_nonzero(np.clip(line.rounded(sums), low, high) != wanted)
    )


def _codes(real: Array, code: Code) -> Array:
    """Float32 to int64 codes, in the order of QuantizeLinear."""
    with np.errstate(all="ignore"):
        steps = np.rint((real / np.float32(code.scale)).astype(np.float32))
    clipped: Array = np.clip(steps.astype(np.float64) + code.zero_point, -128, 127)
    return clipped.astype(np.int64)


def _behind(layer: Layer, real: Array) -> Array:
    """What the nodes behind the head make of its values (n, O)."""
    rank = len(layer.shape)
    axis = operator_of(layer.node).channel_axis(rank)
    shape = [1] * rank
    shape[0], shape[axis] = len(real), real.shape[1]
    y = real.reshape(shape)
    constants = layer.lowering.network.constants
    for node in layer.group.nodes[1:]:
        y = evaluate(node, [constants.get(name, y) if name else None for name in node.inputs])
    if y.size != real.size:
        raise layer.refuse("what lies behind its sums changes the shape", "scales of channels")
    return y.reshape(real.shape)


def slopes(layer: Layer, channels: int) -> tuple[list[Fraction], list[Fraction]]:
    """(factor, summand) by channel of the nodes behind the head but for clamps, as fractions."""
    factors, summands = [Fraction(1)] * channels, [Fraction(0)] * channels
    rank = len(layer.shape)
    axis = operator_of(layer.node).channel_axis(rank)
    for node in layer.group.nodes[1:]:
        operator = operator_of(node)
        if operator.limits(node.attributes) is not None:
            continue
        if (slope := operator.slope(node.attributes)) is not None:
            factors = [f * Fraction(slope) for f in factors]
            continue
        named = layer.lowering.network.constants
        constants = [named[name].astype(np.float64) for name in node.inputs if name in named]
        affine = operator.affine(node.attributes, constants, layer.shape, axis)
        if affine is None:
            raise layer.refuse(f"{node.op} behind its sums", "scales and shifts of channels")
        pairs = list(zip(*(v.tolist() for v in affine), strict=True))
        factors = [f * Fraction(a) for f, (a, _) in zip(factors, pairs, strict=True)]
        summands = [
            s * Fraction(a) + Fraction(b) for s, (a, b) in zip(summands, pairs, strict=True)
        ]
    return factors, summands


def _lines(
    layer: Layer, steps: Array, reach: Array, units: Array, bias: Array, lowest: int
) -> list[tuple[int, int, int]]:
    """A proved (multiplier, right shift, offset) of each channel; [] where one has none."""
    factors, summands = slopes(layer, len(steps))
    scale = Fraction(float(np.float32(layer.code.scale)))
    found = []
    for channel, (factor, summand) in enumerate(zip(factors, summands, strict=True)):
        slope = Fraction(float(units[channel])) * factor / scale
        start = (Fraction(float(bias[channel])) * factor + summand) / scale
        end = int(reach[channel])
        line = find_line(steps[channel], (-end, end), lowest, slope, start)
        if line is None:
            return []
        found.append((line.multiplier, line.right, line.offset))
    return found
