"""Hard swish on int8. C twin: firmware/kernels/lookup.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.int8 import CODES, Lookup, clip, factor
from spikelet.graph.requantise import rounding_divide_by_pot
from spikelet.graph.tensor import Array, GraphError, Tensor


@dataclass(kw_only=True)
class HardSwish(Lookup):
    """`x * min(max(x + 3, 0), 6) / 6`, in the 16-bit fixed point of TensorFlow Lite's reference."""

    KIND: ClassVar[str] = "hard_swish"


def hard_swish_table(source: Tensor, scale: float, zero_point: int) -> Array:
    """The table from the code of `source`.

    x gets 7 fraction bits. One product scales it to the output, another to a gate in which real
    3 is 32768; gate and value are then multiplied, rounding toward zero.
    """
    fine = np.float32(1 / 128) * np.float32(source.scale)
    value_factor, value_shift = _multiplier16(fine / np.float32(scale))
    gate_factor, gate_shift = _multiplier16(fine / np.float32(3.0 / 32768.0))
    if not -15 <= value_shift <= 0 or gate_shift < -15:
        raise GraphError(
            f"hard swish from scale {source.scale} to {scale}: a shift of {value_shift} or "
            f"{gate_shift} bits, expected -15 to 0 for values and at least -15 for their gate"
        )
    x = _int16((CODES - source.zero_point) * 128)
    value = _high_mul(x, value_factor)
    gate = x
    if gate_shift > 0:
        gate = _saturate(gate << (gate_shift - 1))
    gate = _high_mul(gate, gate_factor)
    if gate_shift > 0:
        gate = _saturate(gate << 1)
    else:
        gate = rounding_divide_by_pot(gate, np.asarray(-gate_shift))
    gate = (gate + (1 << 15)) >> 1
    product = gate * value
    product = np.sign(product) * (np.abs(product) >> 15)
    return clip(rounding_divide_by_pot(product, np.asarray(-value_shift)) + zero_point)


def _multiplier16(real: np.float32) -> tuple[int, int]:
    multiplier, shift = factor(float(real))
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), shift


def _high_mul(a: Array, b: int) -> Array:
    return _saturate((a * b + (1 << 14)) >> 15)


def _saturate(x: Array) -> Array:
    clip: Array = np.clip(x, -(1 << 15), (1 << 15) - 1)
    return clip


def _int16(x: Array) -> Array:
    return x.astype(np.int16).astype(np.int64)
