"""Element-wise maximum of int8 tensors. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.elementwise import Elementwise
from spikelet.graph.operator import Interval
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Maximum(Elementwise):
    """The larger code of both operands, which have the output's code."""

    KIND: ClassVar[str] = "maximum"
    C_OP: ClassVar[str] = "SPK_MAXIMUM"

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        written = super().infer(ins, bounds, steps)
        for tensor in self._operands:
            self.same_code(tensor)
        return written

    def factors(self) -> dict[str, int]:
        return {"multiplier": 0, "shift": 0}

    def combine(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)
