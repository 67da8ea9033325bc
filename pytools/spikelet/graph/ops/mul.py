"""Element-wise product of int8 tensors. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.elementwise import Elementwise
from spikelet.graph.int8 import factor
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Mul(Elementwise):
    """`a * b`, with one multiplier for the product of codes."""

    KIND: ClassVar[str] = "mul"
    C_NAME: ClassVar[str] = "spk_mul_s8"
    LARGEST: ClassVar[int] = 255 * 255

    def factors(self) -> dict[str, int]:
        a, b = (np.float32(t.scale) for t in self._operands)
        multiplier, shift = factor(float(a * b / np.float32(self.output_scale)))
        return {"multiplier": multiplier, "shift": shift}

    def combine(self, a: Array, b: Array) -> Array:
        f = self.factors()
        return requantise(a * b, f["multiplier"], f["shift"])
