"""Element-wise product of int8 tensors. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.elementwise import Joined, near
from spikelet.graph.int8 import factor
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Mul(Joined):
    """`a * b`, with one multiplier for the product of codes."""

    KIND: ClassVar[str] = "mul"
    C_EVEN: ClassVar[str] = "SPK_EVEN_MUL"
    LARGEST: ClassVar[int] = 255 * 255

    def factors(self) -> dict[str, int]:
        a, b = (np.float32(t.scale) for t in self.operands)
        multiplier, shift = factor(float(a * b / np.float32(self.output_scale)))
        return {"multiplier": multiplier, "shift": shift}

    def joined(self, a: Array, b: Array, factors: Sequence[int]) -> Array:
        return a * b

    def combine_twice(self, a: Array, b: Array) -> Array:
        f = self.factors()
        return requantise(a * b, f["multiplier"], f["shift"])

    def variant_twice(self) -> tuple[str, dict[str, int], bool]:
        f = self.factors()
        return "SPK_NEAR_MUL" if near(f["shift"]) else "SPK_MUL", f, False
