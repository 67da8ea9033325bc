"""Element-wise sum of int8 tensors. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.elementwise import Joined, near
from spikelet.graph.int8 import factor
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array, Tensor

LEFT_SHIFT = 20


@dataclass(kw_only=True)
class Add(Joined):
    """`a + b`: both are shifted left by 20 bits and brought to twice the larger scale."""

    KIND: ClassVar[str] = "add"
    C_OP: ClassVar[str] = "SPK_ADD"
    C_EVEN: ClassVar[str] = "SPK_EVEN_SUM"
    LARGEST: ClassVar[int] = 255 << LEFT_SHIFT
    SIGN: ClassVar[int] = 1  # of the second operand

    def factors(self) -> dict[str, int]:
        return sum_factors(self.operands, self.output_scale)

    def joined(self, a: Array, b: Array, factors: Sequence[int]) -> Array:
        sums: Array = a * factors[0] + b * factors[1]
        return sums

    def combine_twice(self, a: Array, b: Array) -> Array:
        f = self.factors()
        scaled_a = requantise(a << LEFT_SHIFT, f["a_multiplier"], f["a_shift"])
        scaled_b = requantise(b << LEFT_SHIFT, f["b_multiplier"], f["b_shift"])
        return requantise(scaled_a + self.SIGN * scaled_b, f["multiplier"], f["shift"])

    def variant_twice(self) -> tuple[str, dict[str, int], bool]:
        f = self.factors()
        ones = {"a_one": 1 << LEFT_SHIFT, "b_one": 1 << LEFT_SHIFT}
        if not near(f["shift"]):
            return self.C_OP, {**f, **ones}, False
        # An operand of the larger scale counts half: exactly, and without a multiplier.
        half = (1 << 30, 0)
        exchanged = (f["a_multiplier"], f["a_shift"]) != half
        one, other = ("b_", "a_") if exchanged else ("a_", "b_")
        multiplier, shift = f[other + "multiplier"], f[other + "shift"]
        if (f[one + "multiplier"], f[one + "shift"]) != half or shift < -20:
            return self.C_OP, {**f, **ones}, False
        factors = {
            "a_one": (self.SIGN if exchanged else 1) << (LEFT_SHIFT - 1),
            "b_one": 1 << LEFT_SHIFT if shift < 0 else 1 << (LEFT_SHIFT + 1),
            "b_multiplier": multiplier,
            "b_shift": min(shift, -1),
            "multiplier": f["multiplier"],
            "shift": f["shift"],
        }
        less = self.SIGN < 0 and not exchanged
        return "SPK_NEAR_LESS" if less else "SPK_NEAR_SUM", factors, exchanged


def sum_factors(operands: tuple[Tensor, ...], scale: float) -> dict[str, int]:
    """Multipliers of both operands and of their sum or difference, by field of the C struct."""
    a, b = (np.float32(t.scale) for t in operands)
    twice = 2 * float(max(a, b))
    factors = (
        factor(float(a) / twice),
        factor(float(b) / twice),
        factor(twice / ((1 << LEFT_SHIFT) * float(np.float32(scale)))),
    )
    names = ("a_", "b_", "")
    return {
        f"{name}{part}": value
        for name, pair in zip(names, factors, strict=True)
        for part, value in zip(("multiplier", "shift"), pair, strict=True)
    }
