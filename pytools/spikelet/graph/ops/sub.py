"""Element-wise difference of int8 tensors. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikelet.graph.elementwise import Elementwise
from spikelet.graph.ops.add import LEFT_SHIFT, sum_factors
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Sub(Elementwise):
    """`a - b`, scaled as `Add` does."""

    KIND: ClassVar[str] = "sub"
    C_NAME: ClassVar[str] = "spk_sub_s8"
    LARGEST: ClassVar[int] = 255 << LEFT_SHIFT

    def factors(self) -> dict[str, int]:
        return sum_factors(self._operands, self.output_scale)

    def combine(self, a: Array, b: Array) -> Array:
        f = self.factors()
        scaled_a = requantise(a << LEFT_SHIFT, f["a_multiplier"], f["a_shift"])
        scaled_b = requantise(b << LEFT_SHIFT, f["b_multiplier"], f["b_shift"])
        return requantise(scaled_a - scaled_b, f["multiplier"], f["shift"])
