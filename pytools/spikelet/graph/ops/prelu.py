"""ReLU with a slope for each element below zero. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.elementwise import Elementwise
from spikelet.graph.int8 import code_factor
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Prelu(Elementwise):
    """`a if a >= 0 else a * b`, each side with its own multiplier; b holds the slopes."""

    KIND: ClassVar[str] = "prelu"
    C_OP: ClassVar[str] = "SPK_PRELU"
    CORNERS: ClassVar[bool] = False  # a slope may be negative
    LARGEST: ClassVar[int] = 255 * 255

    def factors(self) -> dict[str, int]:
        a, b = (np.float32(t.scale) for t in self.operands)
        to = np.float32(self.output_scale)
        above = code_factor(float(a / to))
        below = code_factor(float(np.float32(a * b) / to))
        return {
            "a_multiplier": above[0], "a_shift": above[1],
            "multiplier": below[0], "shift": below[1],
        }  # fmt: skip

    def combine(self, a: Array, b: Array) -> Array:
        f = self.factors()
        above = requantise(a, f["a_multiplier"], f["a_shift"])
        below = requantise(a * b, f["multiplier"], f["shift"])
        return np.where(a >= 0, above, below)
