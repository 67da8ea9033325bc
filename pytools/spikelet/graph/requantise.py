"""Fixed-point scaling of int32 sums, as TensorFlow Lite's reference kernels do it, bit for bit.

A real factor is `multiplier * 2^(shift - 31)`. The product is rounded twice: to the doubled high
word, halves up, then by the right shift, halves away from zero. C twin:
firmware/kernels/requantise.h. Source: gemmlowp's fixedpoint.h, TensorFlow Lite's common.h.
"""

from __future__ import annotations

import math

import numpy as np

from spikelet.graph.tensor import Array


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) of a real factor, as TensorFlow Lite's QuantizeMultiplier.

    The multiplier is in [2^30, 2^31), or 0 for a factor of 0 or below 2^-32; shift > 0 is to the
    left. Raises ValueError for a factor that is negative or not finite.
    """
    if not math.isfinite(real) or real < 0:
        raise ValueError(f"a factor of {real} cannot be quantised")
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * (1 << 31) + 0.5)  # halves away from zero; it is positive
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def rounding_doubling_high_mul(a: Array, b: Array) -> Array:
    """`a * b / 2^31` to the nearest integer, halves up; int32 values in and out, as int64.

    Saturates where both are -2^31.
    """
    product = a.astype(np.int64) * np.asarray(b, np.int64)
    result: Array = np.minimum((product + (1 << 30)) >> 31, (1 << 31) - 1)
    return result


def rounding_divide_by_pot(x: Array, exponent: Array) -> Array:
    """`x / 2^exponent` to the nearest integer, halves away from zero; int64, exponent 0 to 31."""
    exponent = np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    away = np.where(exponent > 0, x >> 63, 0)  # -1 for negative x
    result: Array = (x + half + away) >> exponent
    return result


def requantise(x: Array, multiplier: Array | int, shift: Array | int) -> Array:
    """`x * multiplier * 2^(shift - 31)`, MultiplyByQuantizedMultiplier with double rounding.

    Args:
        x: int32 values of any integer type; the last axis holds the channels.
        multiplier: int32, one or one a channel.
        shift: -31 to 30, > 0 to the left, one or one a channel. A left shift wraps at 32 bits.

    Returns:
        int64 array of the shape of `x`.
    """
    shift = np.asarray(shift, np.int64)
    left = (x.astype(np.int64) << np.maximum(shift, 0)).astype(np.int32)
    high = rounding_doubling_high_mul(left, np.asarray(multiplier, np.int64))
    return rounding_divide_by_pot(high, np.maximum(-shift, 0))
