"""Logistic and tanh of int16 fixed point, as gemmlowp computes them, bit for bit.

A value with i integer bits is `code * 2^(i - 15)`. exp is a polynomial about -1/8 times a product
of exp(-2^k); what follows from it is divided by three Newton steps. C twin:
firmware/kernels/fixed16.h. Source: gemmlowp's fixedpoint.h.
"""

from __future__ import annotations

import numpy as np

from spikelet.graph.requantise import rounding_divide_by_pot
from spikelet.graph.tensor import Array

MOST = (1 << 15) - 1
# exp(-2^k), Q0.15, for k = -2 to 4
EXP_POWERS = (25520, 19875, 12055, 4435, 600, 11, 0)
_EIGHTH = 28918  # exp(-1/8)
_THIRD = 10923  # 1/3


def high_mul(a: Array, b: Array | int) -> Array:
    """`a * b / 2^15`, halves up, saturated."""
    product = np.minimum((a * np.asarray(b, np.int64) + (1 << 14)) >> 15, MOST)
    return np.asarray(product)


def saturate(x: Array) -> Array:
    """Clipped to int16."""
    return np.clip(x, -MOST - 1, MOST)


def logistic(x: Array) -> Array:
    """`1 / (1 + exp(-x))` of values with 3 integer bits, as Q0.15; int64 in and out."""
    size = _wrap(np.abs(x))
    half, y = _newton(_exp(_wrap(-size), 3))
    del half
    positive = saturate(y << 1)
    return np.where(x == 0, 1 << 14, np.where(x > 0, positive, MOST - positive))


def tanh(x: Array, integer_bits: int) -> Array:
    """tanh of values with 0 to 6 integer bits, as Q0.15; int64 in and out."""
    y = _newton(_exp(np.where(x < 0, x, -x), integer_bits + 1))[1]
    positive = saturate((y - (1 << 13)) << 2)
    return np.where(x == 0, 0, np.where(x < 0, -positive, positive))


def _wrap(x: Array) -> Array:
    return x.astype(np.int16).astype(np.int64)


def _exp(x: Array, integer_bits: int) -> Array:
    """exp of values not above 0, as Q0.15."""
    fraction = 15 - integer_bits
    quarter = 1 << (fraction - 2)
    part = (x & (quarter - 1)) - quarter  # in [-1/4, 0)
    rest = part - x
    a = (part << integer_bits) + (1 << 12)  # Q0.15, about -1/8
    a2 = high_mul(a, a)
    a3, a4 = high_mul(a2, a), high_mul(a2, a2)
    series = high_mul(_halve(a4, 2) + a3, _THIRD) + a2
    result = saturate(_EIGHTH + high_mul(a + _halve(series, 1), _EIGHTH))
    for k, power in enumerate(EXP_POWERS[: integer_bits + 2], start=-2):
        result = np.where(rest >> (fraction + k) & 1, high_mul(result, power), result)
    if integer_bits > 5:
        result = np.where(x < -(32 << fraction), 0, result)
    return np.where(x == 0, MOST, result)


def _newton(x: Array) -> tuple[Array, Array]:
    """`(1 + x) / 2` of Q0.15 values in [0, 1], and its reciprocal as Q2.13."""
    half = (x + MOST + 1) >> 1
    y = 23130 + high_mul(half, -15420)  # 48/17 - 32/17 * half
    for _ in range(3):
        error = (1 << 13) - high_mul(half, y)
        y = _wrap(y + saturate(high_mul(y, error) << 2))
    return half, y


def _halve(x: Array, exponent: int) -> Array:
    return rounding_divide_by_pot(x, np.asarray(exponent, np.int64))
