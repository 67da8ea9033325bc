"""Integer primitives that several learners share; firmware/learn/fixed.h is their C twin.

Values are integers of any numpy type and are computed as int64; results are int64. `Qn` has n
fraction bits.
"""

from __future__ import annotations

import numpy as np

from spikelet.graph.tensor import Array

INT16_MAX = (1 << 15) - 1
INT32_MAX = (1 << 31) - 1
ONE = 1 << 16  # 1.0 in Q16

# 2^(i/256) - 1 and log2(1 + i/256) in Q16; each curve ends at ONE, which no table needs to hold.
_STEPS = np.arange(256) / 256
EXP2 = np.round(ONE * (np.exp2(_STEPS) - 1)).astype(np.uint16)
LOG2 = np.round(ONE * np.log2(1 + _STEPS)).astype(np.uint16)


def saturate(v: Array, bits: int = 32) -> Array:
    """`v` clipped to a signed integer of `bits` bits."""
    clipped: Array = np.clip(np.asarray(v, np.int64), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return clipped


def add(a: Array, b: Array | int) -> Array:
    """`a + b` of int32, saturated to int32."""
    return saturate(np.asarray(a, np.int64) + np.asarray(b, np.int64))


def add_up(counter: Array, more: int) -> None:
    """Adds to a counter (1,) int32, which stays at its end."""
    counter[0] = min(int(counter[0]) + more, (1 << 31) - 1)


def shift_round(v: Array, n: int | Array) -> Array:
    """`v / 2^n` to the nearest integer, halves up; 0 <= n <= 62, |v| < 2^62."""
    v, n = np.asarray(v, np.int64), np.asarray(n, np.int64)
    rounded: Array = (v + ((np.int64(1) << n) >> 1)) >> n
    return rounded


def ema(mean: Array, x: Array, n: int) -> Array:
    """An exponential moving average: `mean + (x - mean) / 2^n`, halves up; int32, no overflow.

    It stops where |x - mean| < 2^(n-1): give both n fraction bits or more.
    """
    mean = np.asarray(mean, np.int64)
    moved: Array = mean + shift_round(np.asarray(x, np.int64) - mean, n)
    return moved


def decay(v: Array, n: int) -> Array:
    """`v - v / 2^n`, the quotient rounded away from zero: int32; every value comes to rest at 0."""
    v = np.asarray(v, np.int64)
    step = (np.abs(v) + (1 << n) - 1) >> n
    kept: Array = v - np.sign(v) * step
    return kept


def exp2(x: Array) -> Array:
    """`2^x`, x int32 in Q16, result uint32 in Q16: 0 below -17, at most 2^32 - 1.

    A table of 256 steps with linear interpolation: within 1 unit or 2e-5 of the value.
    """
    x = np.asarray(x, np.int64)
    whole, i, rest = x >> 16, (x >> 8) & 255, x & 255
    low = EXP2[i].astype(np.int64)
    high = np.where(i == 255, ONE, EXP2[np.minimum(i + 1, 255)].astype(np.int64))
    power = ONE + low + (((high - low) * rest + 128) >> 8)
    up, down = np.clip(whole, 0, 15), np.clip(-whole, 0, 18)
    value = np.where(whole >= 0, power << up, shift_round(power, down))
    result: Array = np.where(whole > 15, (1 << 32) - 1, value)
    return result


def log2(x: Array) -> Array:
    """`log2(x)` of an integer 1 to 2^63 - 1, in Q16, within 3 units; of 0 or less, -ONE.

    A table of 256 steps with linear interpolation.
    """
    x = np.asarray(x, np.int64)
    whole = bit_length(x) - 1
    at = np.maximum(whole, 0)
    fraction = np.where(at >= 16, x >> np.maximum(at - 16, 0), x << np.maximum(16 - at, 0)) - ONE
    i, rest = (fraction >> 8) & 255, fraction & 255
    low = LOG2[i].astype(np.int64)
    high = np.where(i == 255, ONE, LOG2[np.minimum(i + 1, 255)].astype(np.int64))
    result: Array = np.where(
        x > 0, (whole << 16) + low + (((high - low) * rest + 128) >> 8), np.int64(-ONE)
    )
    return result


def bit_length(x: Array) -> Array:
    """Bits of x: 0 of 0 and less, 63 of 2^63 - 1."""
    x = np.maximum(np.asarray(x, np.int64), 0)
    length = np.frexp(x.astype(np.float64))[1].astype(np.int64)  # one too many, or right
    result: Array = length - ((x >> np.maximum(length - 1, 0)) == 0) * (x > 0)
    return result


def isqrt(x: Array) -> Array:
    """The largest integer whose square is at most x; 0 <= x < 2^62."""
    x = np.asarray(x, np.int64)
    root = np.sqrt(x.astype(np.float64)).astype(np.int64)  # one off at the most
    root = np.where(root * root > x, root - 1, root)
    exact: Array = np.where((root + 1) * (root + 1) <= x, root + 1, root)
    return exact


def mean(total: Array, n: Array | int, fraction: int) -> Array:
    """`floor(total / n)` with `fraction` bits behind the point, saturated to int32.

    total int32, 1 <= n < 2^(32 - fraction), so that 32-bit divisions do.
    """
    return saturate((np.asarray(total, np.int64) << fraction) // np.asarray(n, np.int64))


def divide(a: Array, b: Array | int) -> Array:
    """`a / b` to the nearest integer, halves away from zero: int32, 0 < b < 2^31."""
    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    quotient: Array = np.sign(a) * ((np.abs(a) + (b >> 1)) // b)
    return quotient


def margin(scores: Array) -> tuple[Array, Array]:
    """Of int32 scores (..., C): index of the largest (the first one wins), and its lead.

    The lead over the second largest is saturated to int32; with C = 1 it is the highest int32.
    """
    scores = np.asarray(scores, np.int64)
    best: Array = np.argmax(scores, axis=-1)
    if scores.shape[-1] == 1:
        return best, np.full(best.shape, INT32_MAX, np.int64)
    two = np.partition(scores, -2, axis=-1)[..., -2:]
    return best, saturate(two[..., 1] - two[..., 0])
