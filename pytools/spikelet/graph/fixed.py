"""Integer primitives that several operators share; firmware/kernels/fixed.h is their C twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikelet.graph.tensor import Array

ROUNDINGS = ("floor", "zero", "nearest")
C_ROUNDINGS = {"floor": "SPK_FLOOR", "zero": "SPK_TOWARD_ZERO", "nearest": "SPK_NEAREST"}
Q15_ONE = 1 << 15
LEAK_BITS = range(15, 32)  # fraction bits that a leak factor may have
# Instructions of a leaky neuron in a step, the dearest reset: (RV32, Cortex-M4), gcc, by the
# membrane and whether the leak has more than 15 bits; measured by tests/kernels/test_states.py.
LEAK_INSTRUCTIONS = {
    ("i16", False): (10, 7),
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


def pick_int(low: int, high: int) -> str | None:
    """The narrowest membrane type that holds [low, high], None where none does."""
    if -(1 << 15) <= low and high < 1 << 15:
        return "i16"
    if -(1 << 31) <= low and high < 1 << 31:
        return "i32"
    return None
