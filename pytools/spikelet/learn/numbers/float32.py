"""Single-precision arithmetic with the same bits on every machine.

A sum of products is a chain of fused multiply-adds: acc = fma(a, b, acc), rounded once a step. C
twin: firmware/learn/float32.h.
"""

from __future__ import annotations

import numpy as np

from spikelet.graph.tensor import Array

Number = Array | np.float32

_LOW = np.int64((1 << 29) - 1)  # bits of a double below the last place of a normal float
_HALF = np.int64(1 << 28)
_TINY = 2.0**-126  # the smallest normal float
_CHUNK = 1 << 18  # elements of a chain that are checked at once


def fma(a: Number, b: Number, c: Number) -> Array:
    """`a * b + c` of float32, rounded once: float32 of the arguments' common shape."""
    product: Array = np.multiply(a, b, dtype=np.float64)
    total: Array = np.asarray(product + c)
    suspect = _suspect(total)
    if suspect.any():
        total[suspect] = _to_odd(
            product[suspect], np.broadcast_to(c, total.shape)[suspect], total[suspect]
        )
    rounded: Array = total.astype(np.float32)
    return rounded


def _suspect(total: Array) -> Array:
    """Where rounding a double to a float may not be what one rounding gives; 0 is exact."""
    bits = np.atleast_1d(total).view(np.int64).reshape(total.shape)
    suspects: Array = ((bits & _LOW) == _HALF) | ((np.abs(total) < _TINY) & (total != 0))
    return suspects


def _to_odd(product: Array, c: Array, total: Array) -> Array:
    """`product + c` as a double rounded to odd: a second rounding then does no harm."""
    from_c = total - product
    rest = (product - (total - from_c)) + (c - from_c)
    bits = total.copy().view(np.int64)
    # Not of an infinite total, whose rest is not a number.
    even = ((rest > 0) | (rest < 0)) & (bits & 1 == 0)
    bits += np.where(even, np.where((rest > 0) == (total > 0), 1, -1), 0)
    odd: Array = bits.view(np.float64)
    return odd


def chain(start: Array, a: Array, b: Array) -> Array:
    """`acc = start; for k: acc = fma(a[k], b[k], acc)`: float32.

    Args:
        start: of the result's shape, float32.
        a: (K, ...) float32, broadcast against b behind the first axis.
        b: (K, ...) float32.
    """
    acc = np.array(start, np.float32)
    steps = len(a)
    size = max(1, _CHUNK // max(1, acc.size))
    for first in range(0, steps, size):
        part = slice(first, min(first + size, steps))
        acc = _chain_part(acc, a[part], b[part])
    return acc


def _chain_part(start: Array, a: Array, b: Array) -> Array:
    products = np.empty((len(a), *start.shape))
    np.multiply(a, b, out=products, dtype=np.float64)
    totals = np.empty_like(products)
    acc = start.copy()
    for product, total in zip(products, totals, strict=True):
        np.add(product, acc, out=total)
        np.copyto(acc, total, casting="same_kind")
    for k in np.flatnonzero(_suspect(totals).reshape(len(a), -1).any(axis=1)):
        before = start if k == 0 else totals[k - 1].astype(np.float32)
        fixed = _to_odd(products[k], before.astype(np.float64), totals[k]).astype(np.float32)
        if not np.array_equal(fixed, totals[k].astype(np.float32)):
            # Rare: one step was rounded twice. What follows it is computed again.
            return _chain_part(fixed, a[k + 1 :], b[k + 1 :]) if k + 1 < len(a) else fixed
    return acc


def to_half(x: Array) -> Array:
    """Float32 to float16, to nearest, ties to even; beyond +-65504 it is +-65504."""
    halves: Array = np.clip(x, np.float32(-65504), np.float32(65504)).astype(np.float16)
    return halves


def _constant(text: str) -> np.float32:
    return np.float32(float.fromhex(text))


_LN2_HIGH, _LN2_LOW = _constant("0x1.62e4p-1"), _constant("0x1.7f7d1cp-20")
_MAGIC = _constant("0x1.8p23")
_EXP = [
    _constant(t)
    for t in ("0x1.6d119ap-10", "0x1.120cp-7", "0x1.555518p-5", "0x1.5554dcp-3", "0x1.p-1")
]
_LOG = [
    _constant(t)
    for t in (
        "0x1.72acaap-4",
        "-0x1.1f615cp-3",
        "0x1.2d2418p-3",
        "-0x1.540578p-3",
        "0x1.9946c6p-3",
        "-0x1.0001d8p-2",
        "0x1.55558cp-2",
    )
]


def exp(x: Array) -> Array:
    """e^x of float32 within 1.5 units in the last place; 0 below -87, e^88 above 88.

    Range reduction by ln 2 in two parts (Cody and Waite) and a polynomial of degree 6.
    """
    x = np.asarray(x, np.float32)
    held = np.clip(x, np.float32(-87), np.float32(88))
    shifted = fma(held, _constant("0x1.715476p+0"), _MAGIC)
    k = shifted - _MAGIC
    r = fma(k, -_LN2_HIGH, held)
    r = fma(k, -_LN2_LOW, r)
    p = np.full_like(r, _EXP[0])
    for coefficient in (*_EXP[1:], np.float32(1), np.float32(1)):
        p = fma(p, r, coefficient)
    bits = np.atleast_1d(p).view(np.uint32) + (np.atleast_1d(shifted).view(np.uint32) << 23)
    result: Array = np.where(x < -87, np.float32(0), bits.view(np.float32).reshape(x.shape))
    return result


def log(x: Array) -> Array:
    """Natural logarithm of normal float32 x > 0, within 2.5 units in the last place."""
    x = np.asarray(x, np.float32)
    base = np.uint32(0x3F3504F3)
    offset = np.atleast_1d(x).view(np.uint32) - base
    e = (offset.view(np.int32) >> 23).astype(np.float32).reshape(x.shape)
    m = ((offset & np.uint32(0x7FFFFF)) + base).view(np.float32).reshape(x.shape)
    f = m - np.float32(1)
    p = np.full_like(f, _LOG[0])
    for coefficient in _LOG[1:]:
        p = fma(p, f, coefficient)
    square = f * f
    low = fma(e, _LN2_LOW, (square * f) * p)
    return fma(e, _LN2_HIGH, f + fma(square, np.float32(-0.5), low))
