"""Sums of a layer to codes with halves to even: the steps or lines of `graph.requantise_even`.

What a file does between a sum and its code (scale, bias, batch norm, clamps) is executed in its own
steps, in float32, on every sum that a step is looked for at.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array, Tensor
from spikelet.graph.requantise_even import find_line, find_steps
from spikelet.quantise.meaning import evaluate
from spikelet.quantise.network import Code
from spikelet.quantise.operator import operator_of

if TYPE_CHECKING:
    from spikelet.quantise.layers import Layer

FEW_STEPS = 15  # of outputs of up to 4 bits


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
