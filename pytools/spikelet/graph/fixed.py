"""Integer primitives that several operators share; firmware/kernels/fixed.h is their C twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikelet.graph.tensor import Array

ROUNDINGS = ("floor", "zero", "nearest")
C_ROUNDINGS = {"floor": "SPK_FLOOR", "zero": "SPK_TOWARD_ZERO", "nearest": "SPK_NEAREST"}
Q15_ONE = 1 << 15
GAMMA = 0x9E3779B9  # 2^32 / golden ratio, odd: the increment of splitmix
LEAK_BITS = range(15, 32)  # fraction bits that a leak factor may have
# Instructions of a leaky neuron in a step, the dearest reset: (RV32, Cortex-M4), gcc, by the
# membrane and whether the leak has more than 15 bits; measured by tests/kernels/test_states.py.
LEAK_INSTRUCTIONS = {
    ("i16", False): (8, 7),
    ("i32", False): (20, 17),
    ("i16", True): (19, 20),
    ("i32", True): (17, 17),
}


@dataclass(frozen=True)
class Membranes:
    """What the membranes of a layer are proved to be.

    Attributes:
        exact: they never saturate.
        small: their leak takes no 64-bit product: it has 15 bits, and they stay below 2^15.
    """

    exact: bool
    small: bool


def leak(v: Array, factor: int | Array, rounding: str, bits: int = 15) -> Array:
    """`v * factor / 2^bits`, rounded; int64 within 32 bits in, int64 out.

    `floor` rounds down, `zero` toward zero, `nearest` to the nearest integer and halves up. Only
    `zero` lets every membrane decay to rest: with `floor` a negative one ends at -1.
    """
    product = v.astype(np.int64) * factor
    if rounding == "nearest":
        product = product + (1 << (bits - 1))
    elif rounding == "zero":
        product = product + np.where(v < 0, (1 << bits) - 1, 0)
    result: Array = product >> bits
    return result


def saturate(v: Array, dtype: str) -> tuple[Array, Array]:
    """`v` clipped to int16 or int32, and where it was clipped."""
    info = np.iinfo(np.int16 if dtype == "i16" else np.int32)
    clipped = np.clip(v, info.min, info.max)
    return clipped, clipped != v


def xorshift32(state: Array) -> Array:
    """One step of Marsaglia's xorshift32 (13, 17, 5) on uint32; 0 is not a valid state."""
    state = state ^ (state << np.uint32(13))
    state = state ^ (state >> np.uint32(17))
    mixed: Array = state ^ (state << np.uint32(5))
    return mixed


def mix32(values: Array) -> Array:
    """A bijective hash of uint32: the finaliser of splitmix32, any shape.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with
    the 32-bit constants of T. Ettinger.
    """
    z = values.astype(np.uint32)
    z = (z ^ (z >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    z = (z ^ (z >> np.uint32(15))) * np.uint32(0x735A2D97)
    hashed: Array = z ^ (z >> np.uint32(15))
    return hashed


def counted32(seed: int, count: int, first: int = 0) -> Array:
    """Words `first` to `first + count - 1` of splitmix32, (count,) uint32.

    Each is made of its number alone, in any order; every seed is as good as another, 0 too.
    """
    start = int(mix32(np.array([seed & 0xFFFFFFFF], np.uint32))[0])
    index = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
    states = (start + index * GAMMA) & 0xFFFFFFFF
    return mix32(states.astype(np.uint32))


def pick_int(low: int, high: int) -> str | None:
    """The narrowest membrane type that holds [low, high], None where none does."""
    if -(1 << 15) <= low and high < 1 << 15:
        return "i16"
    if -(1 << 31) <= low and high < 1 << 31:
        return "i32"
    return None
