"""Scaling of int32 sums with one rounding, as LiteRT's fully connected kernels do it.

They multiply the sum by a double and round halves away from zero. A double's 53 bits are carried
as a Q31 multiplier and 22 bits of `fraction`: `factor = (multiplier + fraction / 2^22) * 2^(shift -
31)`. C twin: firmware/kernels/requantise_once.h. Source: LiteRT's reference fully_connected.h.
"""

from __future__ import annotations

import math

import numpy as np

from spikelet.graph.tensor import Array, GraphError

FRACTION_BITS = 22


def split_factor(real: float) -> tuple[int, int, int]:
    """(multiplier, fraction, shift) of a positive factor, exact; all 0 below 2^-32."""
    if not (math.isfinite(real) and 0 <= real < 1 << 30):
        raise GraphError(f"a ratio of scales of {real:g} is not in 0..2^30")
    mantissa, shift = math.frexp(real)
    bits = int(mantissa * (1 << 53))
    if bits == 0 or shift < -31:
        return 0, 0, 0
    return bits >> FRACTION_BITS, bits & ((1 << FRACTION_BITS) - 1), shift


def requantise_once(x: Array, multiplier: Array, fraction: Array, shift: Array) -> Array:
    """`x * factor` to the nearest integer, halves away from zero.

    The result can differ from LiteRT's only where the exact product lies below a half by less than
    2^-45 and the double's own rounding carries it over.

    Args:
        x: int32 values of any integer type; the last axis holds the channels.
        multiplier: (O,) int32, not negative.
        fraction: (O,) int32, 0 to 2^22 - 1.
        shift: (O,) int32, -31 to 30.

    Returns:
        int64 array of the shape of `x`.
    """
    size = np.abs(x.astype(np.int64))
    right = 31 - shift.astype(np.int64)
    product = size * multiplier + (size * fraction >> FRACTION_BITS)
    rounded = (product + (np.int64(1) << (right - 1))) >> right
    result: Array = np.where(x < 0, -rounded, rounded)
    return result
